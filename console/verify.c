/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verify is a job and a command that is kept until the agent has taken it;
 * its progress and its end come with the agent's status.
 *
 *	PENDING (waiting) --answer or status--> STARTED (running) --status--> COMPLETED | FAILED
 *
 * A status is about the job that it names, be that the newest or not.  An agent
 * that was started anew in the middle of one does not know of it any more: its
 * statuses do not name it, and end it.
 */
#include "verify.h"

#include "db_events.h"
#include "db_work.h"
#include "handlers.h"
#include "link.h"
#include "resource.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

#define TYPE "VERIFY"
#define TAKEN "the agent has taken it" /* in the job's log */
#define LOST_AFTER_US (10 * (int64_t)USEC_PER_SEC)

static const json_t *told_of(const json_t *status, const char *id)
{
	const json_t *v = json_object_get(status, "verify");
	const char *its = json_string_value(json_object_get(v, "verify"));

	return its && !strcmp(its, id) ? v : NULL;
}

/* One that waits for the agent and is not to be told to it any more cannot begin. */
static bool is_alive(struct db *db, const struct job_row *j)
{
	return !db_job_is_over(j) && (!strcmp(j->status, "STARTED") || db_command_is_there(db, j->id));
}

static void end_failed(struct db *db, const char *id, const struct fault *f)
{
	json_t *fault = fault_to_json(f), *result = json_pack("{s:O, s:o}", "error", fault, "fault", fault);

	db_job_set(db, id, "FAILED", result, wallclock_now_us());
	json_decref(result);
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
	struct job_row j = { 0 };
	json_t *command = NULL, *result = NULL;
	struct uuid id = uuid_random();
	struct db *db;
	int status = resource_machine(r, &m), err;
	struct fault lost;
	bool running;

	if (!status)
		status = need_replication(r, &m);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	running = db_job_newest(db, m.id, TYPE, &j, &result) && is_alive(db, &j);
	json_decref(result);
	if (!running && *j.id && !db_job_is_over(&j)) {
		fault_set(&lost, 0, MSG_VERIFY_FAILED, "machine", m.name, NULL);
		end_failed(db, j.id, &lost);
	}
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

/* {code, text, remedy, args} */
static json_t *error_of(const struct request *r, const json_t *told)
{
	const json_t *error = json_object_get(told, "error");
	struct fault f;
	json_t *body;

	if (!json_is_object(error))
		return json_null();
	if (fault_from_json(error, &f))
		return resource_cleaned(error);
	body = request_fault_body(&f, r->language);
	json_object_set(body, "text", json_object_get(body, "message"));
	json_object_del(body, "message");
	return body;
}

static json_t *figures(const struct request *r, const json_t *told)
{
	static const char *const counts[] = { "checked_bytes", "total_bytes", "differing_bytes", "unsettled_bytes" };
	json_t *view = json_object();

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		json_object_set_new(view, counts[i], json_integer(resource_integer(told, counts[i], 0)));
	json_object_set_new(view, "error", error_of(r, told));
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
	view = figures(r, told);
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
	char bytes[24], differing[24], unsettled[24];
	int64_t differ = resource_integer(told, "differing_bytes", 0);
	int64_t left = resource_integer(told, "unsettled_bytes", 0);

	snprintf(bytes, sizeof(bytes), "%lld", (long long)resource_integer(told, "checked_bytes", 0));
	snprintf(differing, sizeof(differing), "%lld", (long long)differ);
	snprintf(unsettled, sizeof(unsettled), "%lld", (long long)left);
	db_job_set(db, id, failed ? "FAILED" : "COMPLETED", told, wallclock_now_us());
	if (failed)
		resource_event(r, db, m, NULL, MSG_VERIFY_FAILED, NULL);
	else if (differ)
		resource_event(r, db, m, NULL, MSG_VERIFY_DIFFERS, "differing", differing, NULL);
	else if (left)
		resource_event(r, db, m, NULL, MSG_VERIFY_UNSETTLED, "unsettled", unsettled, NULL);
	else
		resource_event(r, db, m, NULL, MSG_VERIFY_DONE, "bytes", bytes, NULL);
}

void verify_answered(struct db *db, const char *id, const struct fault *f)
{
	if (f) {
		end_failed(db, id, f);
		return;
	}
	db_job_set(db, id, "STARTED", NULL, 0);
	db_job_log_add(db, id, (int64_t)wallclock_now_us(), TAKEN);
}

enum word { GOES_ON, HAS_BEGUN, HAS_ENDED, IS_LOST };

/* A status may have been made before the command came, and sent after its answer: only what an
 * earlier one named is lost at once. */
static enum word word_about(struct db *db, const struct job_row *j, const json_t *old_status, const json_t *new_status)
{
	const json_t *told = told_of(new_status, j->id);
	const char *state = json_string_value(json_object_get(told, "state"));
	bool started = !strcmp(j->status, "STARTED");
	int64_t taken_us = 0;
	char text[sizeof(TAKEN)];

	if (state && (!strcmp(state, "done") || !strcmp(state, "failed")))
		return HAS_ENDED;
	if (told)
		return started ? GOES_ON : HAS_BEGUN;
	if (!started)
		return GOES_ON;
	if (told_of(old_status, j->id) || !db_job_log_last(db, j->id, &taken_us, text, sizeof(text)))
		return IS_LOST;
	return taken_us + LOST_AFTER_US < (int64_t)wallclock_now_us() ? IS_LOST : GOES_ON;
}

static void take_word(struct request *r, struct db *db, const struct machine_row *m, const char *id, enum word word,
		      const json_t *told)
{
	const char *state = json_string_value(json_object_get(told, "state"));
	struct fault f;

	if (word == HAS_BEGUN) {
		db_job_set(db, id, "STARTED", NULL, 0);
	} else if (word == HAS_ENDED) {
		end_job(r, db, m, id, told, !strcmp(state, "failed"));
	} else {
		fault_set(&f, 0, MSG_VERIFY_FAILED, "machine", m->name, NULL);
		end_failed(db, id, &f);
		db_command_done(db, id);
		live_withdraw(r->console->live, m->id, id);
		resource_event(r, db, m, NULL, MSG_VERIFY_FAILED, NULL);
	}
}

/* How many there is news of; @write: which is taken. */
static size_t take_news(struct request *r, struct db *db, const struct machine_row *m, const json_t *old_status,
			const json_t *new_status, bool write)
{
	struct job_row *jobs;
	size_t count = db_job_list_open_of(db, m->id, TYPE, &jobs), news = 0;

	for (size_t i = 0; i < count; i++) {
		enum word word = word_about(db, &jobs[i], old_status, new_status);

		if (word == GOES_ON)
			continue;
		news++;
		if (write)
			take_word(r, db, m, jobs[i].id, word, told_of(new_status, jobs[i].id));
	}
	free(jobs);
	return news;
}

void verify_take_status(struct request *r, const struct machine_row *m, const json_t *old_status,
			const json_t *new_status)
{
	size_t news = take_news(r, catalogue_read(r->console->catalogue), m, old_status, new_status, false);
	int err = catalogue_read_end(r->console->catalogue);

	if (!err && !news)
		return;
	if (!err) {
		take_news(r, catalogue_write(r->console->catalogue), m, old_status, new_status, true);
		err = catalogue_commit(r->console->catalogue);
	}
	if (err)
		console_catalogue_failed(r->console, "ending a verify", err);
	else
		live_announce(r->console->live, LIVE_EVENTS);
}
