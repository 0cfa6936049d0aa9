/* SPDX-License-Identifier: Apache-2.0 */
#include "db_events.h"
#include "handlers.h"
#include "points.h"
#include "resource.h"

#include <stdlib.h>

#define START_MS 45000u
#define ASK_MS 5000u

static int start(struct request *r, const struct machine_row *m, json_t *at, json_t *disk, json_t *writable,
		 json_t *listen, json_t **ret)
{
	json_t *command = resource_command("export");

	json_object_set_new(command, "machine", json_string(m->id));
	json_object_set_new(command, "at", at ? points_at(json_string_value(at)) : json_string("latest"));
	json_object_set_new(command, "writable", json_boolean(json_is_true(writable)));
	json_object_set_new(command, "listen", listen ? json_incref(listen) : json_string("unix"));
	if (disk)
		json_object_set(command, "disk", disk);
	return resource_call_server(r, m, command, START_MS, ret);
}

static void record_start(struct request *r, const struct machine_row *m, const json_t *export)
{
	const char *time = json_string_value(json_object_get(json_object_get(export, "point"), "time"));
	struct db *db = catalogue_write(r->console->catalogue);
	int err;

	resource_event(r, db, m, NULL, MSG_EXPORT_STARTED, "time", time ? time : "its newest point", NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		console_catalogue_failed(r->console, "recording an export", err);
	live_announce(r->console->live, LIVE_EVENTS);
}

int handle_export_create(struct request *r)
{
	json_t *at, *disk, *writable, *listen, *export;
	const struct member members[] = { { "at", MEMBER_TEXT, false, &at },
					  { "disk", MEMBER_TEXT, false, &disk },
					  { "writable", MEMBER_BOOL, false, &writable },
					  { "listen", MEMBER_TEXT, false, &listen },
					  { NULL } };
	struct machine_row m;
	int status = resource_machine(r, &m);

	if (!status)
		status = request_members(r, r->body, "the request", members);
	if (!status)
		status = start(r, &m, at, disk, writable, listen, &export);
	if (status)
		return status;
	json_object_set_new(export, "machine", json_string(m.name));
	json_object_set_new(export, "writable", json_boolean(json_is_true(writable)));
	record_start(r, &m, export);
	return request_answer(r, 201, export);
}

static size_t list_servers(struct request *r, struct server_row **ret)
{
	struct db *db = catalogue_read(r->console->catalogue);
	size_t count = db_server_list(db, ret);

	(void)!catalogue_read_end(r->console->catalogue);
	return count;
}

/* Servers speak of machines by id, people by name. */
static void add_exports(struct request *r, json_t *all, const json_t *exports)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct machine_row m;
	json_t *e;
	size_t i;

	json_array_foreach(exports, i, e) {
		const char *id = json_string_value(json_object_get(e, "machine"));

		if (id && db_machine_by_id(db, id, &m))
			json_object_set_new(e, "machine", json_string(m.name));
		json_array_append(all, e);
	}
	(void)!catalogue_read_end(r->console->catalogue);
}

int handle_export_list(struct request *r)
{
	struct server_row *servers;
	size_t count = list_servers(r, &servers);
	json_t *all = json_array(), *result;

	for (size_t i = 0; i < count; i++) {
		if (!live_connected(r->console->live, servers[i].id) ||
		    resource_call(r, &servers[i], resource_command("exports"), ASK_MS, &result))
			continue;
		add_exports(r, all, json_object_get(result, "exports"));
		json_decref(result);
	}
	free(servers);
	return request_answer(r, 200, json_pack("{s:o}", "exports", all));
}

int handle_export_remove(struct request *r)
{
	struct server_row *servers;
	size_t count = list_servers(r, &servers);
	json_t *result;
	int status = 404;

	for (size_t i = 0; i < count && status == 404; i++) {
		json_t *command = resource_command("unexport");

		json_object_set_new(command, "export", json_string(r->params[0]));
		status = resource_call(r, &servers[i], command, ASK_MS, &result);
		/* A server that is away has it, or not; ask the others first. */
		if (status == 503 && i + 1 < count)
			status = 404;
		if (!status)
			json_decref(result);
	}
	free(servers);
	if (status == 404)
		return request_refuse(r, 404, MSG_EXPORT_UNKNOWN, "export", r->params[0], NULL);
	return status ? status : request_nothing(r);
}
