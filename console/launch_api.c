/* SPDX-License-Identifier: Apache-2.0 */
#include "base64.h"
#include "blueprint.h"
#include "db_events.h"
#include "handlers.h"
#include "launch_view.h"
#include "launches.h"
#include "link.h"
#include "listing.h"
#include "names.h"
#include "resource.h"
#include "utf8.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_US (45 * USEC_PER_SEC)
#define LOOK_US (1 * USEC_PER_SEC) /* whether the server is still there */
#define ASK_MS 15000u
#define LAUNCH_TO_MAX 2000
#define PNG_MAGIC "\x89PNG\r\n\x1a\n"

/* --- beginning ------------------------------------------------------------------------------ */

static int check_kind(struct request *r, const char *kind)
{
	if (launches_job_type(kind))
		return 0;
	return request_refuse(r, 400, MSG_VALUE_BAD, "name", "kind", "value", kind, "expected",
			      "test, cutover, drill or images", NULL);
}

/* Where images are to be written, and how: {to, format}; of other kinds NULL. */
static int check_images(struct request *r, const char *kind, const json_t *to, const json_t *format, json_t **ret)
{
	static const char *const formats[] = { "qcow2", "raw", "vmdk", "vhdx" };
	const char *folder = json_string_value(to) ?: "", *how = json_string_value(format) ?: formats[0];
	bool wanted = !strcmp(kind, "images"), known = false;

	if (!wanted && (to || format))
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", to ? "to" : "format", "value",
				      to ? folder : how, "expected", "left out, but for kind images", NULL);
	if (!wanted)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		known = known || !strcmp(formats[i], how);
	if (!known)
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", "format", "value", how, "expected",
				      "qcow2, raw, vmdk or vhdx", NULL);
	if (*folder != '/' || !folder[1] || strlen(folder) > LAUNCH_TO_MAX || folder[strlen(folder) - 1] == '/' ||
	    !utf8_is_printable(folder, strlen(folder)))
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", "to", "value", folder, "expected",
				      "the full path of a folder on the replication server", NULL);
	*ret = json_pack("{s:s, s:s}", "to", folder, "format", how);
	return 0;
}

/* Whatever may name a point; whether it does is for the server to say. */
static int check_at(struct request *r, const struct machine_row *m, const char *at)
{
	struct uuid id;
	uint64_t time;

	if (strlen(at) < LAUNCH_AT_MAX &&
	    (!strcmp(at, "latest") || !uuid_parse(at, &id) || !wallclock_parse(at, &time) || names_label_ok(at)))
		return 0;
	return request_refuse(r, 404, MSG_POINT_UNKNOWN, "machine", m->name, "at", at, NULL);
}

static int need_server(struct request *r, const struct machine_row *m)
{
	struct db *db = catalogue_read(r->console->catalogue);
	char seen[WALLCLOCK_TEXT_LEN + 1];
	struct server_row s;
	struct live_view v;
	bool found = *m->server_id && db_server_find(db, m->server_id, &s);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a server", err);
	if (!found)
		return request_refuse(r, 409, MSG_NO_SERVER, NULL);
	v = live_view(r->console->live, s.id);
	live_view_done(&v);
	if (v.connected)
		return 0;
	return request_refuse(r, 503, MSG_SERVER_AWAY, "server", s.name, "seen",
			      resource_time_or_never(MAX(v.seen_us, (uint64_t)s.last_seen_us), seen), NULL);
}

static int make_blueprint(struct request *r, const struct machine_row *m, const json_t *changes, json_t **ret)
{
	json_t *blueprint;
	struct fault f;
	int status = blueprint_check(r, changes), err;

	if (status)
		return status;
	blueprint = blueprint_in_force(catalogue_read(r->console->catalogue), m->id);
	err = catalogue_read_end(r->console->catalogue);
	if (err) {
		json_decref(blueprint);
		return request_catalogue_failed(r, "reading a blueprint", err);
	}
	blueprint_apply(blueprint, changes);
	if (blueprint_check_whole(blueprint, m->name, &f)) {
		json_decref(blueprint);
		r->fault = f;
		return 400;
	}
	*ret = blueprint;
	return 0;
}

/* What the server refused, as a fault: 0 if it did not. */
static int refusal_of(struct request *r, const json_t *record)
{
	struct fault f;

	if (!json_is_true(json_object_get(record, "refused")) ||
	    fault_from_json(json_object_get(record, "fault"), &f))
		return 0;
	return request_fault(r, &f);
}

/* Until the server has answered.  One that is slow, or is seen to have gone, has its fate in the job. */
static int wait_for_answer(struct request *r, const struct launch_row *l)
{
	uint64_t deadline = monotonic_now_us() + ANSWER_US, look;

	for (;;) {
		uint64_t ticket = live_ticket(r->console->live, LIVE_STATUSES);
		struct db *db = catalogue_read(r->console->catalogue);
		struct job_row j;
		bool waits = db_job_find(db, l->job_id, &j) && !strcmp(j.status, "PENDING");
		json_t *record = db_launch_record(db, l->id);
		int err = catalogue_read_end(r->console->catalogue);
		int status = err ? request_catalogue_failed(r, "reading a launch", err) : refusal_of(r, record);

		json_decref(record);
		look = MIN(deadline, monotonic_now_us() + LOOK_US);
		if (status || !waits || !live_connected(r->console->live, l->server_id))
			return status;
		if (!live_wait(r->console->live, LIVE_STATUSES, ticket, look) &&
		    (look == deadline || monotonic_now_us() < look)) /* too late, or this program ends */
			return status;
	}
}

static json_t *ids_of(const char *launch, const char *job)
{
	return json_pack("{s:s, s:s}", "launch", launch, "job", job);
}

int handle_launch_create(struct request *r)
{
	json_t *at, *kind, *changes, *to, *format, *blueprint = NULL, *images = NULL;
	const struct member members[] = { { "at", MEMBER_TEXT, false, &at },
					  { "kind", MEMBER_TEXT, false, &kind },
					  { "blueprint", MEMBER_OBJECT, false, &changes },
					  { "to", MEMBER_TEXT, false, &to },
					  { "format", MEMBER_TEXT, false, &format },
					  { NULL } };
	json_t *none = r->body ? NULL : json_object();
	struct machine_row m;
	struct launch_row l;
	int status = resource_machine(r, &m), err;

	if (!status)
		status = request_members(r, r->body ? r->body : none, "the request", members);
	json_decref(none);
	if (!status)
		status = check_kind(r, kind ? json_string_value(kind) : "test");
	if (!status)
		status = check_images(r, kind ? json_string_value(kind) : "test", to, format, &images);
	if (!status)
		status = check_at(r, &m, at ? json_string_value(at) : "latest");
	if (!status)
		status = need_server(r, &m);
	if (!status)
		status = make_blueprint(r, &m, changes, &blueprint);
	if (status) {
		json_decref(images);
		return status;
	}
	err = launches_begin(r->console, &m, kind ? json_string_value(kind) : "test",
			     at ? json_string_value(at) : "latest", blueprint, images, r->who, &l);
	json_decref(blueprint);
	json_decref(images);
	if (err)
		return request_catalogue_failed(r, "beginning a launch", err);
	status = wait_for_answer(r, &l);
	return status ? status : request_answer(r, 202, ids_of(l.id, l.job_id));
}

/* --- showing --------------------------------------------------------------------------------- */

static json_t *list_launches(const struct request *r, struct db *db, const char *machine, int64_t limit)
{
	struct launch_row *rows;
	size_t count = db_launch_list(db, machine, limit, &rows);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, launch_view(r, db, &rows[i], false));
	free(rows);
	return list;
}

int handle_launch_list(struct request *r)
{
	return listing_of_machine(r, "launches", list_launches);
}

static json_t *view_launch(const struct request *r, struct db *db, const char *id)
{
	struct launch_row l;

	return db_launch_find(db, id, &l) ? launch_view(r, db, &l, true) : NULL;
}

int handle_launch_get(struct request *r)
{
	return listing_one(r, "launch", MSG_LAUNCH_UNKNOWN, view_launch);
}

static int unknown(struct request *r)
{
	return request_refuse(r, 404, MSG_LAUNCH_UNKNOWN, "launch", r->params[0], NULL);
}

/* The launch that the path names, and its server: 0, or a status. */
static int find_both(struct request *r, struct launch_row *l, struct server_row *s)
{
	struct db *db = catalogue_read(r->console->catalogue);
	bool found = db_launch_find(db, r->params[0], l), has_server = found && db_server_find(db, l->server_id, s);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a launch", err);
	if (!found)
		return unknown(r);
	return has_server ? 0 : request_refuse(r, 409, MSG_NO_SERVER, NULL);
}

static int ask_server(struct request *r, const char *verb, struct launch_row *l, const json_t *from, json_t **ret)
{
	struct server_row s;
	json_t *command;
	int status = find_both(r, l, &s);

	if (status)
		return status;
	command = resource_command(verb);
	json_object_set_new(command, "launch", json_string(l->id));
	if (from)
		json_object_set(command, "from", (json_t *)from);
	status = resource_call(r, &s, command, ASK_MS, ret);
	/* It is listed here, so it is known; the server has nothing of what it never started. */
	if (status == 404 && r->fault.code == MSG_LAUNCH_UNKNOWN)
		return request_refuse(r, 404, MSG_LAUNCH_NEVER_STARTED, "launch", l->id, NULL);
	return status;
}

int handle_launch_log(struct request *r)
{
	uint64_t from = 0;
	struct launch_row l;
	json_t *offset = NULL, *result;
	int status = request_query_number(r, "from", 0, INT64_MAX, &from);

	if (status)
		return status;
	if (request_query(r, "from"))
		offset = json_integer((json_int_t)from);
	status = ask_server(r, "console_log", &l, offset, &result);
	json_decref(offset);
	return status ? status : request_answer(r, 200, result);
}

int handle_launch_screenshot(struct request *r)
{
	struct launch_row l;
	bool coded = false;
	json_t *result, *png;
	size_t len = 0;
	int status = request_query_bool(r, "base64", &coded);

	if (!status)
		status = ask_server(r, "screenshot", &l, NULL, &result);
	if (status)
		return status;
	png = json_object_get(result, "png");
	if (json_is_string(png))
		r->text = (char *)base64_decode(json_string_value(png), json_string_length(png), &len);
	if (!r->text || len < strlen(PNG_MAGIC) || memcmp(r->text, PNG_MAGIC, strlen(PNG_MAGIC)) || coded) {
		bool good = r->text && coded;

		free(r->text);
		r->text = NULL;
		if (good)
			return request_answer(r, 200, result);
		json_decref(result);
		return request_refuse(r, 404, MSG_LAUNCH_NO_SCREENSHOT, "launch", l.id, NULL);
	}
	json_decref(result);
	r->text_len = len;
	r->text_type = "image/png";
	return 200;
}

/* --- keeping --------------------------------------------------------------------------------- */

/* What is over and left its disks is started again from them. */
static int check_keepable(struct request *r, struct db *db, const struct launch_row *l)
{
	json_t *record = db_launch_record(db, l->id);
	bool disks_kept = json_is_true(json_object_get(record, "disks_kept")),
	     runs = launches_state_has_booted(l->state) || launches_is_unproved(record);

	json_decref(record);
	if (l->ended_us && disks_kept)
		return 0;
	if (l->ended_us)
		return request_refuse(r, 409, MSG_LAUNCH_OVER, "launch", l->id, NULL);
	if (!strcmp(l->kind, "drill"))
		return request_refuse(r, 409, MSG_LAUNCH_IS_DRILL, "launch", l->id, NULL);
	if (!runs)
		return request_refuse(r, 409, MSG_LAUNCH_NOT_BOOTED, "launch", l->id, "state", l->state, NULL);
	return 0;
}

/* The open job of that type, or a new one; whether it is new. */
static bool find_or_add_job(struct request *r, struct db *db, const struct launch_row *l, const char *type,
			    char *ret_id)
{
	struct uuid id = uuid_random();
	struct job_row *jobs;
	size_t count = db_job_list_open(db, l->id, &jobs);
	bool found = false;

	for (size_t i = 0; i < count && !found; i++) {
		found = !strcmp(jobs[i].type, type);
		if (found)
			memcpy(ret_id, jobs[i].id, ID_SIZE);
	}
	free(jobs);
	if (!found)
		db_job_add(db, uuid_format(&id, ret_id), l->project_id, l->machine_id, type, r->who, l->id);
	return !found;
}

static int begin_keep(struct request *r, struct launch_row *l, char *ret_job, bool *ret_new)
{
	struct db *db = catalogue_write(r->console->catalogue);
	bool found = db_launch_find(db, r->params[0], l);
	int status = found ? check_keepable(r, db, l) : db_error(db) ? 0 : unknown(r), err;

	if (status) {
		catalogue_abandon(r->console->catalogue);
		return status;
	}
	*ret_new = find_or_add_job(r, db, l, "KEEP", ret_job);
	err = catalogue_commit(r->console->catalogue);
	return err ? request_catalogue_failed(r, "keeping a launch", err) : 0;
}

/* @status: what became of the command. */
static void settle_keep(struct request *r, const struct launch_row *l, const char *job, int status)
{
	struct db *db = catalogue_write(r->console->catalogue);
	struct launch_row now;
	struct job_row j;
	int err;

	if (db_job_find(db, job, &j) && !db_job_is_over(&j)) {
		if (status) {
			json_t *result = json_pack("{s:o}", "fault", fault_to_json(&r->fault));

			db_job_set(db, job, "FAILED", result, wallclock_now_us());
			json_decref(result);
		} else if (db_launch_find(db, l->id, &now)) {
			db_job_set(db, job, "STARTED", NULL, 0);
			if (!now.ended_us) /* else the job waits for what becomes of it now */
				launches_settle(db, &now);
		}
	}
	err = catalogue_commit(r->console->catalogue);
	if (err)
		console_catalogue_failed(r->console, "keeping a launch", err);
}

int handle_launch_keep(struct request *r)
{
	char job[ID_SIZE];
	struct launch_row l;
	json_t *result = NULL;
	bool new;
	int status = begin_keep(r, &l, job, &new);

	if (status)
		return status;
	/* Who stands already has nothing to be told. */
	if (new && strcmp(l.state, "standing")) {
		status = ask_server(r, "keep", &l, NULL, &result);
		json_decref(result);
	}
	if (new)
		settle_keep(r, &l, job, status);
	return status ? status : request_answer(r, 202, ids_of(l.id, job));
}

/* --- ending ---------------------------------------------------------------------------------- */

/* One that is over and is just being started again is not: its job waits for that. */
static bool is_over(struct db *db, const struct launch_row *l)
{
	struct job_row *jobs;
	size_t count = db_job_list_open(db, l->id, &jobs);

	free(jobs);
	return l->ended_us && !count;
}

/* What is over is forgotten, here and at the server. */
static json_t *end_or_forget(struct request *r, struct db *db, const struct launch_row *l, char *ret_job)
{
	struct machine_row m = { 0 };
	json_t *command;

	*ret_job = '\0';
	if (is_over(db, l)) {
		command = launches_end(db, l);
		db_launch_drop(db, l->id);
		return command;
	}
	if (!find_or_add_job(r, db, l, "CLEANUP", ret_job))
		return NULL;
	db_job_set(db, ret_job, "STARTED", NULL, 0);
	memcpy(m.id, l->machine_id, sizeof(m.id));
	memcpy(m.name, l->machine_name, sizeof(m.name));
	memcpy(m.project_id, l->project_id, sizeof(m.project_id));
	resource_event(r, db, &m, NULL, MSG_LAUNCH_TERMINATED, "launch", l->id, NULL);
	return launches_end(db, l);
}

int handle_launch_end(struct request *r)
{
	struct db *db = catalogue_write(r->console->catalogue);
	json_t *command = NULL;
	struct launch_row l;
	char job[ID_SIZE];
	bool found = db_launch_find(db, r->params[0], &l);
	int err;

	if (found)
		command = end_or_forget(r, db, &l, job);
	err = catalogue_commit(r->console->catalogue);
	if (err) {
		json_decref(command);
		return request_catalogue_failed(r, "ending a launch", err);
	}
	if (!found)
		return unknown(r);
	if (command)
		launches_send(r->console, l.server_id, command);
	live_announce(r->console->live, LIVE_EVENTS);
	return *job ? request_answer(r, 202, ids_of(l.id, job)) : request_nothing(r);
}
