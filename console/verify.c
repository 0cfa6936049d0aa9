/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verify is a job and a command that is kept until the agent has taken it;
 * its progress and its end come with the agent's status.
 *
 *	PENDING (waiting) --agent's status--> STARTED (running) --> COMPLETED | FAILED
 *
 * An agent that was started anew in the middle of one does not know of it any
 * more: then the next POST finds it lost and begins another.
 */
#include "verify.h"

#include "db_events.h"
#include "db_work.h"
#include "handlers.h"
#include "resource.h"
#include "wallclock.h"

#include <stdio.h>

#define TYPE "VERIFY"

static const json_t *told_of(const json_t *status, const char *id)
{
	const json_t *v = json_object_get(status, "verify");
	const char *its = json_string_value(json_object_get(v, "verify"));

	return its && !strcmp(its, id) ? v : NULL;
}

static bool is_still_alive(struct request *r, const struct machine_row *m, const struct job_row *j)
{
	struct live_view v;
	bool alive;

	if (db_job_is_over(j))
		return false;
	v = live_view(r->console->live, m->id);
	alive = !v.connected || told_of(v.status, j->id) ||
		!live_wait_answered(r->console->live, m->id, j->id, monotonic_now_us());
	live_view_done(&v);
	return alive;
}

/* Nobody is to wait for what cannot begin. */
static int need_replication(struct request *r, const struct machine_row *m)
{
	if (strcmp(m->state, "started"))
		return request_refuse(r, 409, MSG_VERIFY_NOT_RUNNING, "machine", m->name, "state", m->state, NULL);
	return resource_need_agent(r, m) ?: resource_need_connection(r, m);
}

int handle_verify_start(struct request *r)
{
	struct machine_row m;
	struct job_row j;
	json_t *command = NULL, *result = NULL;
	struct uuid id = uuid_random();
	struct db *db;
	int status = resource_machine(r, &m), err;
	bool running;

	if (!status)
		status = need_replication(r, &m);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	running = db_job_newest(db, m.id, TYPE, &j, &result) && is_still_alive(r, &m, &j);
	json_decref(result);
	if (!running) {
		uuid_format(&id, j.id);
		command = json_pack("{s:s, s:s, s:s}", "id", j.id, "verb", "verify", "verify", j.id);
		db_job_add(db, j.id, m.project_id, m.id, TYPE, r->who, NULL);
		db_command_add(db, m.id, command);
		resource_event(r, db, &m, NULL, MSG_VERIFY_REQUESTED, NULL);
	}
	err = catalogue_commit(r->console->catalogue);
	if (err) {
		json_decref(command);
		return request_catalogue_failed(r, "starting a verify", err);
	}
	if (command)
		live_command(r->console->live, m.id, command, true);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 202, json_pack("{s:s}", "verify", j.id));
}

/* --- showing ------------------------------------------------------------------------------------ */

static json_t *figures(const json_t *told)
{
	static const char *const counts[] = { "checked_bytes", "total_bytes", "differing_bytes", "unsettled_bytes" };
	json_t *view = json_object(), *error = json_object_get(told, "error");

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		json_object_set_new(view, counts[i], json_integer(resource_integer(told, counts[i], 0)));
	json_object_set_new(view, "error", json_is_object(error) ? json_deep_copy(error) : json_null());
	return view;
}

static const char *state_word(const struct job_row *j, const json_t *told)
{
	if (!strcmp(j->status, "COMPLETED"))
		return "done";
	if (!strcmp(j->status, "FAILED"))
		return "failed";
	return told ? "running" : "waiting";
}

int handle_verify_get(struct request *r)
{
	struct machine_row m;
	struct job_row j = { 0 };
	struct live_view v;
	json_t *result = NULL, *view;
	const json_t *told;
	struct db *db;
	int status = resource_machine(r, &m), err;
	bool found;

	if (status)
		return status;
	db = catalogue_read(r->console->catalogue);
	found = db_job_newest(db, m.id, TYPE, &j, &result);
	err = catalogue_read_end(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "looking up a verify", err);
	if (!found)
		return request_refuse(r, 404, MSG_VERIFY_NONE, "machine", m.name, NULL);
	v = live_view(r->console->live, m.id);
	told = result ? result : told_of(v.status, j.id);
	view = figures(told);
	json_object_set_new(view, "verify", json_string(j.id));
	json_object_set_new(view, "state", json_string(state_word(&j, told)));
	json_object_set_new(view, "started", resource_time((uint64_t)j.created_us));
	json_object_set_new(view, "ended", resource_time((uint64_t)j.ended_us));
	live_view_done(&v);
	json_decref(result);
	return request_answer(r, 200, view);
}

/* --- the agent's word ------------------------------------------------------------------------------ */

static void end_job(struct request *r, struct db *db, const struct machine_row *m, const char *id, const json_t *told,
		    bool failed)
{
	char bytes[24], differing[24];
	int64_t differ = resource_integer(told, "differing_bytes", 0);

	snprintf(bytes, sizeof(bytes), "%lld", (long long)resource_integer(told, "checked_bytes", 0));
	snprintf(differing, sizeof(differing), "%lld", (long long)differ);
	db_job_set(db, id, failed ? "FAILED" : "COMPLETED", told, wallclock_now_us());
	if (failed)
		resource_event(r, db, m, NULL, MSG_VERIFY_FAILED, NULL);
	else if (differ)
		resource_event(r, db, m, NULL, MSG_VERIFY_DIFFERS, "differing", differing, NULL);
	else
		resource_event(r, db, m, NULL, MSG_VERIFY_DONE, "bytes", bytes, NULL);
}

void verify_take_status(struct request *r, const struct machine_row *m, const json_t *old_status,
			const json_t *new_status)
{
	const json_t *told = json_object_get(new_status, "verify"), *before = json_object_get(old_status, "verify");
	const char *state = json_string_value(json_object_get(told, "state"));
	const char *id = json_string_value(json_object_get(told, "verify"));
	bool done = state && !strcmp(state, "done"), failed = state && !strcmp(state, "failed");
	struct job_row j;
	json_t *result = NULL;
	struct db *db;
	int err;

	if (!id || !state || (before && json_equal(before, told)))
		return;
	db = catalogue_write(r->console->catalogue);
	if (db_job_newest(db, m->id, TYPE, &j, &result) && !strcmp(j.id, id) && !db_job_is_over(&j)) {
		if (done || failed)
			end_job(r, db, m, id, told, failed);
		else if (strcmp(j.status, "STARTED"))
			db_job_set(db, id, "STARTED", NULL, 0);
	}
	json_decref(result);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		console_catalogue_failed(r->console, "ending a verify", err);
	else
		live_announce(r->console->live, LIVE_EVENTS);
}
