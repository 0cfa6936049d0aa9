/* SPDX-License-Identifier: Apache-2.0 */
#include "db_events.h"
#include "handlers.h"
#include "resource.h"
#include "wallclock.h"

#include <errno.h>

#define LIMIT_DEFAULT 100u
#define LIMIT_MOST 1000u
#define WAIT_MOST_S 60u

/* 404 for a machine that there is not and never was: one that was removed has its events still. */
static int need_known(struct request *r, struct db *db, const char *machine)
{
	json_t *any = db_event_list(db, machine, -1, 1, r->language);
	int status = json_array_size(any) ? 0 : resource_need_machine(r, db, machine);

	json_decref(any);
	return status;
}

static int read_events(struct request *r, int64_t after, uint64_t limit, json_t **ret)
{
	const char *machine = request_query(r, "machine");
	struct db *db = catalogue_read(r->console->catalogue);
	json_t *list = db_event_list(db, machine, after, (int64_t)limit, r->language);
	int status = machine && !json_array_size(list) ? need_known(r, db, machine) : 0;
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		status = request_catalogue_failed(r, "listing events", err);
	if (status)
		json_decref(list);
	else
		*ret = list;
	return status;
}

int handle_event_list(struct request *r)
{
	uint64_t limit = LIMIT_DEFAULT, after = 0, wait_s = 0, deadline, ticket;
	bool has_after = request_query(r, "after") != NULL;
	json_t *list = NULL;
	int status = request_query_number(r, "limit", 1, LIMIT_MOST, &limit);

	if (!status)
		status = request_query_number(r, "after", 0, INT64_MAX, &after);
	if (!status)
		status = request_query_number(r, "wait", 0, WAIT_MOST_S, &wait_s);
	if (status)
		return status;
	deadline = monotonic_now_us() + wait_s * USEC_PER_SEC;
	for (;;) {
		ticket = live_ticket(r->console->live, LIVE_EVENTS);
		status = read_events(r, has_after ? (int64_t)after : -1, limit, &list);
		if (status)
			return status;
		if (json_array_size(list) || !has_after || !wait_s || !live_wait(r->console->live, LIVE_EVENTS, ticket, deadline))
			return request_answer(r, 200, json_pack("{s:o}", "events", list));
		json_decref(list);
	}
}
