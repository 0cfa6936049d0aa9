/* SPDX-License-Identifier: Apache-2.0 */
#include "listing.h"

#include "resource.h"

#include <stdio.h>

int listing_of_machine(struct request *r, const char *name,
		       json_t *(*list)(const struct request *r, struct db *db, const char *machine, int64_t limit))
{
	const char *machine = request_query(r, "machine");
	uint64_t limit = LISTING_LIMIT_DEFAULT;
	int status = request_query_number(r, "limit", 1, LISTING_LIMIT_MOST, &limit), err;
	char doing[64];
	struct db *db;
	json_t *shown;

	if (status)
		return status;
	db = catalogue_read(r->console->catalogue);
	shown = list(r, db, machine, (int64_t)limit);
	/* A machine that is removed is still known by what it left. */
	if (!json_array_size(shown) && machine)
		status = resource_need_machine(r, db, machine);
	err = catalogue_read_end(r->console->catalogue);
	if (!err && !status)
		return request_answer(r, 200, json_pack("{s:o}", name, shown));
	json_decref(shown);
	snprintf(doing, sizeof(doing), "listing %s", name);
	return err ? request_catalogue_failed(r, doing, err) : status;
}

int listing_one(struct request *r, const char *kind, enum message_code unknown,
		json_t *(*view)(const struct request *r, struct db *db, const char *id))
{
	json_t *shown = view(r, catalogue_read(r->console->catalogue), r->params[0]);
	int err = catalogue_read_end(r->console->catalogue);
	char doing[64];

	if (shown && !err)
		return request_answer(r, 200, shown);
	json_decref(shown);
	snprintf(doing, sizeof(doing), "reading a %s", kind);
	return err ? request_catalogue_failed(r, doing, err)
		   : request_refuse(r, 404, unknown, kind, r->params[0], NULL);
}
