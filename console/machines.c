/* SPDX-License-Identifier: Apache-2.0 */
#include "db_events.h"
#include "db_work.h"
#include "handlers.h"
#include "launches.h"
#include "machine_view.h"
#include "names.h"
#include "resource.h"
#include "wallclock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define REMOVE_PATIENCE_US (10 * USEC_PER_SEC)

/* --- showing ------------------------------------------------------------------------------ */

int handle_machine_list(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct machine_row *rows;
	size_t count = db_machine_list(db, false, NULL, &rows);
	json_t *list = json_array();
	int err;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, machine_view(r, db, &rows[i]));
	err = catalogue_read_end(r->console->catalogue);
	free(rows);
	if (err) {
		json_decref(list);
		return request_catalogue_failed(r, "listing machines", err);
	}
	return request_answer(r, 200, json_pack("{s:o}", "machines", list));
}

static int answer_machine(struct request *r, int status, const char *id)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct machine_row m;
	json_t *view = db_machine_find(db, id, &m) ? machine_view(r, db, &m) : NULL;
	int err = catalogue_read_end(r->console->catalogue);

	if (err || !view) {
		json_decref(view);
		return err ? request_catalogue_failed(r, "reading a machine", err)
			   : request_refuse(r, 404, MSG_MACHINE_UNKNOWN, "machine", id, NULL);
	}
	return request_answer(r, status, view);
}

int handle_machine_get(struct request *r)
{
	return answer_machine(r, 200, r->params[0]);
}

/* --- pause, resume, stop --------------------------------------------------------------------- */

static int set_state(struct request *r, const char *state, enum message_code code)
{
	struct machine_row m;
	int status = resource_machine(r, &m), err;
	struct db *db;

	if (status)
		return status;
	if (strcmp(m.state, state)) {
		db = catalogue_write(r->console->catalogue);
		db_machine_set_state(db, m.id, state);
		resource_event(r, db, &m, NULL, code, NULL);
		err = catalogue_commit(r->console->catalogue);
		if (err)
			return request_catalogue_failed(r, "changing a machine's state", err);
		live_wake(r->console->live, m.id);
		live_wake(r->console->live, m.server_id);
		live_announce(r->console->live, LIVE_EVENTS);
	}
	return answer_machine(r, 202, m.id);
}

int handle_machine_pause(struct request *r)
{
	return set_state(r, "paused", MSG_MACHINE_PAUSED);
}

int handle_machine_resume(struct request *r)
{
	return set_state(r, "started", MSG_MACHINE_RESUMED);
}

int handle_machine_stop(struct request *r)
{
	return set_state(r, "stopped", MSG_MACHINE_STOPPED);
}

/* --- rescan ------------------------------------------------------------------------------------ */

/* When a rescan that is asked for now begins: what it waits for. */
static const char *rescan_begins(struct request *r, const struct machine_row *m)
{
	if (strcmp(m->state, "started"))
		return "resume";
	if (resource_need_agent(r, m))
		return "agent";
	return resource_need_connection(r, m) ? "server" : "now";
}

int handle_machine_rescan(struct request *r)
{
	struct machine_row m;
	int status = resource_machine(r, &m), err;
	json_t *command;
	struct db *db;

	if (status)
		return status;
	command = resource_command("rescan");
	db = catalogue_write(r->console->catalogue);
	db_command_add(db, m.id, command);
	resource_event(r, db, &m, NULL, MSG_RESCAN_REQUESTED, NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err) {
		json_decref(command);
		return request_catalogue_failed(r, "keeping a command", err);
	}
	live_command(r->console->live, m.id, command, true);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 202, json_pack("{s:s}", "begins", rescan_begins(r, &m)));
}

/* --- removal ------------------------------------------------------------------------------------- */

/* Those that run from the machine's store; who stands on its own does not. */
static size_t list_dependent(struct db *db, const struct machine_row *m, struct launch_row **ret)
{
	struct launch_row *rows;
	size_t count = db_launch_list_open(db, NULL, &rows), n = 0;

	for (size_t i = 0; i < count; i++) {
		json_t *record = strcmp(rows[i].machine_id, m->id) ? NULL : db_launch_record(db, rows[i].id);

		if (!strcmp(rows[i].machine_id, m->id) && !launches_stands(record))
			rows[n++] = rows[i];
		json_decref(record);
	}
	*ret = rows;
	return n;
}

static int refuse_launches(struct request *r, const struct machine_row *m)
{
	struct db *db = catalogue_read(r->console->catalogue);
	char ids[FAULT_VALUE_MAX] = "", number[24];
	struct launch_row *rows;
	size_t count = list_dependent(db, m, &rows), used = 0;
	int err = catalogue_read_end(r->console->catalogue);

	for (size_t i = 0; i < count && used < sizeof(ids); i++)
		used += (size_t)snprintf(ids + used, sizeof(ids) - used, "%s%.8s", i ? ", " : "", rows[i].id);
	free(rows);
	if (err)
		return request_catalogue_failed(r, "looking for launches", err);
	snprintf(number, sizeof(number), "%zu", count);
	return count ? request_refuse(r, 409, MSG_MACHINE_HAS_LAUNCHES, "machine", m->name, "count", number, "launches", ids,
				      NULL)
		     : 0;
}

/* The commands that end them onto @commands. */
static void end_launches(struct request *r, struct db *db, const struct machine_row *m, json_t *commands)
{
	struct launch_row *rows;
	size_t count = list_dependent(db, m, &rows);

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(commands, launches_end(db, &rows[i]));
		resource_event(r, db, m, NULL, MSG_LAUNCH_TERMINATED, "launch", rows[i].id, NULL);
	}
	free(rows);
}

/* From the commit on the machine is gone for everybody but its agent and its
 * server, who are told when they come.  Takes @command. */
static int remove_machine(struct request *r, const struct machine_row *m, json_t *command)
{
	struct db *db = catalogue_write(r->console->catalogue);
	json_t *ends = json_array(), *end;
	struct machine_row still;
	size_t i;
	int err;

	if (!db_machine_find(db, m->id, &still) && !db_error(db)) {
		catalogue_abandon(r->console->catalogue);
		json_decref(command);
		json_decref(ends);
		return request_refuse(r, 404, MSG_MACHINE_UNKNOWN, "machine", m->name, NULL);
	}
	end_launches(r, db, m, ends);
	db_machine_remove(db, m->id);
	db_machine_drop_removed(db, MACHINES_REMOVED_KEPT);
	db_command_drop_all(db, m->id);
	db_command_add(db, m->id, command);
	if (!*m->server_id)
		db_machine_set_store_gone(db, m->id);
	resource_event(r, db, m, NULL, MSG_MACHINE_UNPROTECTED, NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err) {
		json_decref(command);
		json_decref(ends);
		return request_catalogue_failed(r, "removing a machine", err);
	}
	json_array_foreach(ends, i, end)
		launches_send(r->console, m->server_id, json_deep_copy(end));
	json_decref(ends);
	live_command(r->console->live, m->id, command, true);
	live_wake(r->console->live, m->server_id);
	live_announce(r->console->live, LIVE_EVENTS);
	return 0;
}

int handle_machine_remove(struct request *r)
{
	struct machine_row m;
	char command_id[ID_SIZE];
	json_t *command;
	bool force = false;
	int status = resource_machine(r, &m);

	if (!status)
		status = request_query_bool(r, "force", &force);
	if (!status && !force)
		status = resource_need_agent(r, &m);
	if (!status && !force)
		status = refuse_launches(r, &m);
	if (status)
		return status;
	command = resource_command("remove");
	snprintf(command_id, sizeof(command_id), "%s", json_string_value(json_object_get(command, "id")));
	status = remove_machine(r, &m, command);
	if (!status && !force)
		live_wait_answered(r->console->live, m.id, command_id, monotonic_now_us() + REMOVE_PATIENCE_US);
	return status ? status : request_nothing(r);
}

/* --- disks ----------------------------------------------------------------------------------------- */

static const json_t *disk_with_id(const json_t *list, const char *id)
{
	json_t *d;
	size_t i;

	json_array_foreach(list, i, d)
		if (!strcmp(json_string_value(json_object_get(d, "id")), id))
			return d;
	return NULL;
}

static const char *size_text(const json_t *disk, char *buf, size_t size)
{
	snprintf(buf, size, "%lld", (long long)json_integer_value(json_object_get(disk, "size_bytes")));
	return buf;
}

static void record_differences(struct request *r, struct db *db, const struct machine_row *m, const json_t *old,
			       const json_t *new)
{
	char was[24], is[24];
	json_t *d;
	size_t i;

	json_array_foreach(new, i, d) {
		const json_t *before = disk_with_id(old, json_string_value(json_object_get(d, "id")));
		const char *name = json_string_value(json_object_get(d, "name"));

		if (!before)
			resource_event(r, db, m, NULL, MSG_DISK_ADDED, "disk", name, "size",
				       size_text(d, is, sizeof(is)), NULL);
		else if (strcmp(size_text(d, is, sizeof(is)), size_text(before, was, sizeof(was))))
			resource_event(r, db, m, NULL, MSG_DISK_RESIZED, "disk", name, "old", was, "new", is, NULL);
	}
	json_array_foreach(old, i, d)
		if (!disk_with_id(new, json_string_value(json_object_get(d, "id"))))
			resource_event(r, db, m, NULL, MSG_DISK_DROPPED, "disk",
				       json_string_value(json_object_get(d, "name")), NULL);
}

int handle_disks(struct request *r)
{
	json_t *disks, *clean, *old;
	const struct member members[] = { { "disks", MEMBER_ARRAY, true, &disks }, { NULL } };
	struct machine_row m;
	struct db *db;
	int status = resource_machine(r, &m), err;

	if (!status && strcmp(m.id, r->peer_id))
		return request_refuse(r, 403, MSG_API_FORBIDDEN, "who", r->who, NULL);
	if (!status)
		status = request_members(r, r->body, "the request", members);
	if (!status)
		status = names_check_disks(r, disks, &clean);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	old = db_disks(db, m.id);
	if (!json_equal(old, clean)) {
		db_disks_replace(db, m.id, clean);
		record_differences(r, db, &m, old, clean);
	}
	json_decref(old);
	json_decref(clean);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "keeping disks", err);
	live_wake(r->console->live, m.id);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_nothing(r);
}
