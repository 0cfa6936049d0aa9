/* SPDX-License-Identifier: Apache-2.0 */
#include "db_events.h"
#include "db_launches.h"
#include "handlers.h"
#include "resource.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *server_view(struct request *r, struct db *db, const struct server_row *s)
{
	struct live_view v = live_view(r->console->live, s->id);
	json_t *view = json_pack("{s:s, s:s, s:s, s:I, s:b, s:o, s:I, s:I, s:I, s:o}", "id", s->id, "name", s->name,
				 "address", resource_server_address(r, s), "port", (json_int_t)s->port, "connected",
				 v.connected, "last_seen", resource_time(v.seen_us), "free_bytes",
				 (json_int_t)resource_integer(v.status, "free_bytes", 0), "total_bytes",
				 (json_int_t)resource_integer(v.status, "total_bytes", 0), "machines",
				 (json_int_t)s->machines, "facts", db_server_facts(db, s->id));

	json_object_set_new(view, "status", v.status ? json_deep_copy(v.status) : json_null());
	live_view_done(&v);
	return view;
}

int handle_server_list(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct server_row *rows;
	size_t count = db_server_list(db, &rows);
	json_t *list = json_array();
	int err;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, server_view(r, db, &rows[i]));
	err = catalogue_read_end(r->console->catalogue);
	free(rows);
	if (err) {
		json_decref(list);
		return request_catalogue_failed(r, "listing servers", err);
	}
	return request_answer(r, 200, json_pack("{s:o}", "servers", list));
}

/* Also those whose source is not protected any more. */
static int refuse_launches(struct request *r, struct db *db, const struct server_row *s)
{
	char ids[FAULT_VALUE_MAX] = "", number[24];
	struct launch_row *rows;
	size_t count = db_launch_list_open(db, s->id, &rows), used = 0;

	for (size_t i = 0; i < count && used < sizeof(ids); i++)
		used += (size_t)snprintf(ids + used, sizeof(ids) - used, "%s%.8s", i ? ", " : "", rows[i].id);
	free(rows);
	snprintf(number, sizeof(number), "%zu", count);
	return count ? request_refuse(r, 409, MSG_SERVER_HAS_LAUNCHES, "server", s->name, "count", number, "launches", ids,
				      NULL)
		     : 0;
}

int handle_server_remove(struct request *r)
{
	struct server_row s;
	char machines[24];
	struct db *db = catalogue_write(r->console->catalogue);
	bool found = db_server_find(db, r->params[0], &s);
	int err, status;

	if (!found || s.machines) {
		catalogue_abandon(r->console->catalogue);
		if (!found)
			return request_refuse(r, 404, MSG_SERVER_UNKNOWN, "server", r->params[0], NULL);
		snprintf(machines, sizeof(machines), "%lld", (long long)s.machines);
		return request_refuse(r, 409, MSG_SERVER_IN_USE, "server", s.name, "machines", machines, NULL);
	}
	status = refuse_launches(r, db, &s);
	if (status) {
		catalogue_abandon(r->console->catalogue);
		return status;
	}
	db_server_remove(db, s.id);
	resource_event(r, db, NULL, NULL, MSG_SERVER_DROPPED, "server", s.name, NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "removing a server", err);
	live_forget(r->console->live, s.id);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_nothing(r);
}
