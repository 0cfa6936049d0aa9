/* SPDX-License-Identifier: Apache-2.0 */
#include "launches.h"

#include "db_events.h"
#include "db_servers.h"
#include "link.h"
#include "utf8.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX 512
#define FAULT_TEXT_MAX 1024

static const struct {
	const char *name;
	bool booted, over;
} states[] = {
	{ "asked" },	     { "preparing" },	    { "starting" },	 { "booting" }, { "booted", true },
	{ "keeping", true }, { "standing", true }, { "stopped", true }, { "writing" }, { "ended", false, true }, { "failed", false, true },
};

static bool is_state(const char *state)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (!strcmp(states[i].name, state))
			return true;
	return false;
}

bool launches_state_is_over(const char *state)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (!strcmp(states[i].name, state))
			return states[i].over;
	return false;
}

bool launches_state_has_booted(const char *state)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (!strcmp(states[i].name, state))
			return states[i].booted;
	return false;
}

static const char *text_in(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

bool launches_is_unproved(const json_t *record)
{
	return json_is_object(json_object_get(record, "not_proved")) && !launches_state_is_over(text_in(record, "state"));
}

/* It has shown that it boots, whatever became of it since. */
static bool is_proved(const json_t *record)
{
	return *text_in(record, "proof") || (launches_state_has_booted(text_in(record, "state")) &&
					     !json_is_object(json_object_get(record, "not_proved")));
}

static bool is_written(const json_t *record)
{
	return json_is_true(json_object_get(json_object_get(record, "images"), "written"));
}

/* A machine that has booted is not ready for its people before its post_launch has run. */
static bool is_running_command(const json_t *record)
{
	return json_is_true(json_object_get(json_object_get(record, "post_launch"), "pending"));
}

static bool was_started_again(const json_t *before, const json_t *record)
{
	return strcmp(text_in(before, "started_again"), text_in(record, "started_again"));
}

bool launches_stands(const json_t *record)
{
	return !strcmp(text_in(record, "state"), "standing") ||
	       (!strcmp(text_in(record, "state"), "stopped") && !json_is_true(json_object_get(record, "needs_store")));
}

/* It could not be made to stand alone, and that is news; what lay between may never have been seen. */
static bool fell_back(const json_t *before, const json_t *record)
{
	if (strcmp(text_in(record, "state"), "booted") || !*text_in(record, "not_kept"))
		return false;
	return strcmp(text_in(before, "state"), "booted") || !*text_in(before, "not_kept") ||
	       strcmp(text_in(before, "since"), text_in(record, "since"));
}

/* --- events ------------------------------------------------------------------------------- */

static void add_event(struct db *db, const struct launch_row *l, const struct fault *f)
{
	db_event_add(db, &(struct event){ .project_id = l->project_id, .machine_id = l->machine_id,
					  .machine_name = l->machine_name, .job_id = l->job_id, .who = "console",
					  .fault = f });
}

static const char *reason_text(const struct fault *why, char *buf, size_t size)
{
	struct message_arg args[FAULT_ARGS_MAX + 1] = { 0 };

	for (unsigned int i = 0; i < why->arg_count; i++)
		args[i] = (struct message_arg){ why->args[i].name, why->args[i].value };
	return message_text(why->code, LANGUAGE_EN, args, buf, size);
}

/* Why it failed; a record without a reason that this version knows has none to give. */
static void read_reason(const json_t *record, struct fault *ret)
{
	const json_t *f = json_object_get(record, "fault");

	if (!f || fault_from_json(f, ret))
		fault_set(ret, 0,
			  strcmp(text_in(record, "state"), "failed") ? MSG_LAUNCH_ENDED_EARLY
								     : MSG_LAUNCH_NOT_STARTED,
			  "reason", "the launch's log may tell", NULL);
}

static const char *seconds_to_proof(const json_t *record, char *buf, size_t size)
{
	json_int_t ms = json_integer_value(json_object_get(json_object_get(record, "milliseconds"), "proof"));

	snprintf(buf, size, "%lld.%lld", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
	return buf;
}

static void drill_event(struct db *db, const struct launch_row *l, const json_t *record)
{
	char seconds[32], reason[FAULT_TEXT_MAX];
	const char *time = text_in(json_object_get(record, "point"), "time");
	struct fault f, why;

	if (is_proved(record) && !strcmp(text_in(record, "state"), "ended")) {
		fault_set(&f, 0, MSG_DRILL_SUCCEEDED, "machine", l->machine_name, "time", time, "seconds",
			  seconds_to_proof(record, seconds, sizeof(seconds)), "launch", l->id, NULL);
	} else {
		read_reason(record, &why);
		fault_set(&f, 0, MSG_DRILL_FAILED, "machine", l->machine_name, "reason",
			  reason_text(&why, reason, sizeof(reason)), "launch", l->id, NULL);
	}
	add_event(db, l, &f);
}

static void not_kept(const json_t *record, const char *launch, struct fault *ret)
{
	const char *reason = text_in(record, "not_kept");
	char text[FAULT_VALUE_MAX];

	fault_set(ret, 0, MSG_LAUNCH_NOT_KEPT, "reason",
		  *reason ? utf8_clean(reason, text, sizeof(text)) : "the launch's log may tell", "launch", launch, NULL);
}

/* It runs on: no state of it changes. */
static void tell_not_proved(struct db *db, const struct launch_row *l, const json_t *record)
{
	struct fault f;

	if (fault_from_json(json_object_get(record, "not_proved"), &f) == 0)
		add_event(db, l, &f);
}

static void tell_what_changed(struct db *db, const struct launch_row *l, const json_t *before, const json_t *record)
{
	bool over = launches_state_is_over(text_in(record, "state"));
	char seconds[32], reason[FAULT_TEXT_MAX];
	struct fault f, why;

	if (!strcmp(l->kind, "drill")) {
		if (over)
			drill_event(db, l, record);
		return;
	}
	if (is_proved(record) && !is_proved(before)) {
		fault_set(&f, 0, MSG_LAUNCH_BOOTED, "machine", l->machine_name, "seconds",
			  seconds_to_proof(record, seconds, sizeof(seconds)), "proof", text_in(record, "proof"),
			  "launch", l->id, NULL);
		add_event(db, l, &f);
	}
	if (!strcmp(text_in(record, "state"), "standing") && !launches_stands(before)) {
		fault_set(&f, 0, MSG_LAUNCH_STANDS, "machine", l->machine_name, "launch", l->id, NULL);
		add_event(db, l, &f);
	}
	if (before && was_started_again(before, record)) {
		fault_set(&f, 0, MSG_LAUNCH_STARTED_AGAIN, "machine", l->machine_name, "launch", l->id, NULL);
		add_event(db, l, &f);
	}
	if (fell_back(before, record)) {
		not_kept(record, l->id, &f);
		add_event(db, l, &f);
	}
	if (!over)
		return;
	if (!strcmp(text_in(record, "state"), "failed")) {
		read_reason(record, &why);
		fault_set(&f, 0, MSG_LAUNCH_FAILED, "machine", l->machine_name, "launch", l->id, "reason",
			  reason_text(&why, reason, sizeof(reason)), NULL);
	} else if (is_written(record)) {
		fault_set(&f, 0, MSG_LAUNCH_WRITTEN, "machine", l->machine_name, "time",
			  text_in(json_object_get(record, "point"), "time"), "folder",
			  text_in(json_object_get(record, "images"), "folder"), "launch", l->id, NULL);
	} else {
		fault_set(&f, 0, MSG_LAUNCH_ENDED, "machine", l->machine_name, "launch", l->id, NULL);
	}
	add_event(db, l, &f);
}

/* --- jobs --------------------------------------------------------------------------------------- */

/* The first line of the record that the job does not have yet. */
static size_t first_new_line(struct db *db, const struct job_row *j, const json_t *lines)
{
	char last[LINE_MAX], message[LINE_MAX];
	uint64_t time_us;
	int64_t last_us = 0;
	size_t i = json_array_size(lines);

	if (!db_job_log_last(db, j->id, &last_us, last, sizeof(last)))
		return 0;
	while (i > 0) {
		const json_t *line = json_array_get(lines, i - 1);

		if (wallclock_parse(text_in(line, "time"), &time_us) == 0) {
			utf8_clean(text_in(line, "message"), message, sizeof(message));
			if ((int64_t)time_us < last_us || ((int64_t)time_us == last_us && !strcmp(message, last)))
				break;
		}
		i--;
	}
	return i;
}

static void copy_log(struct db *db, const struct job_row *j, const json_t *record)
{
	const json_t *lines = json_object_get(record, "log");
	/* What was said before it began belongs to the launch's own job. */
	bool all = strcmp(j->type, "KEEP") && strcmp(j->type, "CLEANUP");
	char message[LINE_MAX];
	uint64_t time_us;

	for (size_t i = first_new_line(db, j, lines); i < json_array_size(lines); i++) {
		const json_t *line = json_array_get(lines, i);

		if (wallclock_parse(text_in(line, "time"), &time_us) || (!all && (int64_t)time_us < j->created_us))
			continue;
		db_job_log_add(db, j->id, (int64_t)time_us,
			       utf8_clean(text_in(line, "message"), message, sizeof(message)));
	}
}

/* Of a machine that was off a job to keep it is done when it runs. */
static bool is_being_started_again(const json_t *before, const json_t *record)
{
	return !strcmp(text_in(record, "state"), "stopped") &&
	       (!strcmp(text_in(before, "state"), "stopped") || launches_state_is_over(text_in(before, "state")));
}

enum outcome { OPEN, DONE, FAILED };

static enum outcome outcome_of(const struct job_row *j, const json_t *before, const json_t *record, struct fault *ret)
{
	const char *state = text_in(record, "state");
	bool over = launches_state_is_over(state), proved = is_proved(record);

	if (over)
		read_reason(record, ret);
	if (!strcmp(j->type, "CLEANUP"))
		return over ? DONE : OPEN;
	if (!strcmp(j->type, "DRILL"))
		return !over ? OPEN : proved && strcmp(state, "failed") ? DONE : FAILED;
	if (!strcmp(j->type, "IMAGES"))
		return !over ? OPEN : is_written(record) ? DONE : FAILED;
	if (strcmp(j->type, "KEEP") && !proved && !over && launches_is_unproved(record))
		return fault_from_json(json_object_get(record, "not_proved"), ret) ? OPEN : FAILED;
	if (strcmp(j->type, "KEEP"))
		return proved && (over || !is_running_command(record)) ? DONE : over ? FAILED : OPEN;
	if (launches_stands(record) && !is_being_started_again(before, record))
		return DONE;
	if (over || !fell_back(before, record))
		return over ? FAILED : OPEN;
	not_kept(record, j->launch_id, ret);
	return FAILED;
}

static void end_job(struct db *db, const struct launch_row *l, const struct job_row *j, const struct fault *f)
{
	json_t *result = f ? json_pack("{s:o}", "fault", fault_to_json(f)) : NULL;
	uint64_t now = wallclock_now_us();

	db_job_set(db, j->id, f ? "FAILED" : "COMPLETED", result, now);
	if (!f)
		db_machine_add_life(db, l->machine_id, j->type, (int64_t)now, j->id);
	json_decref(result);
}

static void follow_jobs(struct db *db, const struct launch_row *l, const json_t *before, const json_t *record)
{
	struct job_row *jobs;
	size_t count = db_job_list_open(db, l->id, &jobs);

	for (size_t i = 0; i < count; i++) {
		struct fault f;
		enum outcome o = outcome_of(&jobs[i], before, record, &f);

		copy_log(db, &jobs[i], record);
		if (o != OPEN)
			end_job(db, l, &jobs[i], o == FAILED ? &f : NULL);
		else if (strcmp(jobs[i].status, "STARTED"))
			db_job_set(db, jobs[i].id, "STARTED", NULL, 0);
	}
	free(jobs);
}

/* --- records -------------------------------------------------------------------------------------- */

/* The one place where a launch changes its state. */
static void take_record(struct db *db, const struct launch_row *l, const json_t *record)
{
	const char *state = text_in(record, "state");
	json_t *before;

	if (!is_state(state))
		return;
	before = db_launch_record(db, l->id);
	if (!json_equal(before, record)) {
		db_launch_set(db, l->id, state, record,
			      !launches_state_is_over(state) ? 0
			      : l->ended_us		     ? l->ended_us
							     : (int64_t)wallclock_now_us());
		follow_jobs(db, l, before, record);
		if (launches_is_unproved(record) && !launches_is_unproved(before))
			tell_not_proved(db, l, record);
		if (strcmp(l->state, state) || was_started_again(before, record) ||
		    is_proved(record) != is_proved(before) || fell_back(before, record))
			tell_what_changed(db, l, before, record);
	}
	json_decref(before);
}

void launches_settle(struct db *db, const struct launch_row *l)
{
	json_t *record = db_launch_record(db, l->id);

	if (record)
		follow_jobs(db, l, record, record);
	json_decref(record);
}

/* What the console itself finds out: a record as the server would have made it. */
static void conclude(struct db *db, const struct launch_row *l, const char *state, const struct fault *f,
		     bool refused)
{
	json_t *record = db_launch_record(db, l->id), *lines;
	char now[WALLCLOCK_TEXT_LEN + 1], text[FAULT_TEXT_MAX];

	if (!json_is_object(record)) {
		json_decref(record);
		record = json_object();
	}
	wallclock_format(wallclock_now_us(), now);
	json_object_set_new(record, "state", json_string(state));
	json_object_set_new(record, "since", json_string(now));
	if (!strcmp(state, "failed"))
		json_object_set_new(record, "fault", fault_to_json(f));
	if (refused)
		json_object_set_new(record, "refused", json_true());
	lines = json_object_get(record, "log");
	if (!json_is_array(lines)) {
		lines = json_array();
		json_object_set_new(record, "log", lines);
	}
	json_array_append_new(lines, json_pack("{s:s, s:s}", "time", now, "message",
					       fault_format(f, LANGUAGE_EN, text, sizeof(text))));
	take_record(db, l, record);
	json_decref(record);
}

/* Gone without a word: as it was asked to, if it was. */
static void vanish(struct db *db, const struct launch_row *l)
{
	struct job_row *jobs;
	size_t count = db_job_list_open(db, l->id, &jobs);
	bool asked_to = false;
	struct fault f;

	for (size_t i = 0; i < count; i++)
		asked_to = asked_to || !strcmp(jobs[i].type, "CLEANUP");
	free(jobs);
	fault_set(&f, 0, MSG_LAUNCH_VANISHED, NULL);
	conclude(db, l, asked_to ? "ended" : "failed", &f, false);
}

/* --- the server's word -------------------------------------------------------------------------------- */

static const json_t *record_of(const json_t *records, const char *id)
{
	const json_t *record;
	size_t i;

	json_array_foreach((json_t *)records, i, record)
		if (!strcmp(text_in(record, "launch"), id))
			return record;
	return NULL;
}

/* A machine that runs though this catalogue never heard of it (it was set back
 * to an older copy, say) must be seen, and be ended, here. */
static bool adopt(struct db *db, const char *server_id, const json_t *record, struct launch_row *ret)
{
	const char *id = text_in(record, "launch"), *kind = text_in(record, "kind"),
		   *state = text_in(record, "state");
	struct machine_row m;
	struct uuid uuid;
	json_t *none;

	if (uuid_parse(id, &uuid) || strlen(id) >= ID_SIZE || !is_state(state) || launches_state_is_over(state) ||
	    !launches_job_type(kind) || !db_machine_by_id(db, text_in(record, "machine_id"), &m) ||
	    strcmp(m.server_id, server_id))
		return false;
	launches_make_row(ret, &m, kind, "", "server");
	uuid_format(&uuid, ret->id);
	none = json_object();
	db_job_add(db, ret->job_id, ret->project_id, ret->machine_id, launches_job_type(kind), ret->initiated_by,
		   ret->id);
	db_launch_add(db, ret, none);
	json_decref(none);
	return true;
}

/* Taken after all, when its job had been given up: it is not wanted any more.
 * The command that ends it, or NULL. */
static json_t *end_late(struct db *db, const struct launch_row *l, const json_t *record)
{
	json_t *before = db_launch_record(db, l->id), *command = NULL;

	if (json_is_true(json_object_get(before, "refused")) && is_state(text_in(record, "state")) &&
	    !launches_state_is_over(text_in(record, "state")))
		command = launches_end(db, l);
	json_decref(before);
	return command;
}

/* What is to be ended onto @ends. */
static void take_records(struct db *db, const char *server_id, const json_t *records, json_t *ends)
{
	struct launch_row l, *open;
	const json_t *record;
	json_t *end;
	size_t count, i;

	json_array_foreach((json_t *)records, i, record) {
		if (db_launch_find(db, text_in(record, "launch"), &l) ? strcmp(l.server_id, server_id)
								      : !adopt(db, server_id, record, &l))
			continue;
		end = end_late(db, &l, record);
		if (end)
			json_array_append_new(ends, end);
		take_record(db, &l, record);
	}
	count = db_launch_list_open(db, server_id, &open);
	for (i = 0; i < count; i++)
		if (open[i].has_record && !record_of(records, open[i].id))
			vanish(db, &open[i]);
	free(open);
}

int launches_take_status(struct console *c, const char *server_id, const json_t *before, const json_t *status)
{
	const json_t *records = json_object_get(status, "launches");
	json_t *ends, *end;
	size_t i;
	int err;

	if (!json_is_array(records) || json_equal(records, json_object_get(before, "launches")))
		return 0;
	ends = json_array();
	take_records(catalogue_write(c->catalogue), server_id, records, ends);
	err = catalogue_commit(c->catalogue);
	if (!err) {
		json_array_foreach(ends, i, end)
			launches_send(c, server_id, json_deep_copy(end));
		live_announce(c->live, LIVE_EVENTS);
	}
	json_decref(ends);
	return err;
}

/* Programs speak of machines by id, people by name. */
static void name_machine(struct fault *f, const struct launch_row *l)
{
	for (unsigned int i = 0; i < f->arg_count; i++)
		if (!strcmp(f->args[i].value, l->machine_id))
			snprintf(f->args[i].value, sizeof(f->args[i].value), "%s", l->machine_name);
}

void launches_answered(struct db *db, const json_t *command, const struct fault *fault)
{
	bool is_launch = !strcmp(text_in(command, "verb"), "launch");
	struct launch_row l;
	struct job_row j;
	struct fault f;

	if (!db_launch_find(db, text_in(command, "launch"), &l) || l.ended_us)
		return;
	if (fault && is_launch) {
		f = *fault;
		name_machine(&f, &l);
		conclude(db, &l, "failed", &f, true);
	}
	if (fault && !is_launch && fault->code == MSG_LAUNCH_UNKNOWN)
		vanish(db, &l);
	if (!fault && is_launch && db_job_find(db, l.job_id, &j) && !strcmp(j.status, "PENDING"))
		db_job_set(db, j.id, "STARTED", NULL, 0);
}

/* --- what is never answered --------------------------------------------------------------------------- */

static bool is_lost(struct console *c, struct db *db, const struct launch_row *l)
{
	struct server_row s;
	struct live_view v;
	bool lost;

	if (!db_server_find(db, l->server_id, &s))
		return true;
	if (l->has_record || (uint64_t)l->created_us + LAUNCH_TAKE_US > wallclock_now_us())
		return false;
	v = live_view(c->live, l->server_id);
	lost = v.connected && !record_of(json_object_get(v.status, "launches"), l->id);
	live_view_done(&v);
	return lost;
}

static void expire_one(struct console *c, struct db *db, const struct launch_row *l)
{
	struct job_row j;
	struct fault f;

	if (db_job_find(db, l->job_id, &j) && !strcmp(j.status, "PENDING")) {
		fault_set(&f, 0, MSG_LAUNCH_NOT_TAKEN, NULL);
		conclude(db, l, "failed", &f, true);
	} else {
		vanish(db, l);
	}
}

/* The command of a launch that was not taken is not to be taken later. */
static bool is_overdue(struct console *c, struct db *db, const struct launch_row *l)
{
	struct job_row j;

	return !l->has_record && (uint64_t)l->created_us + LAUNCH_TAKE_US <= wallclock_now_us() &&
	       db_job_find(db, l->job_id, &j) && !strcmp(j.status, "PENDING");
}

void launches_expire(struct console *c)
{
	struct db *db = catalogue_read(c->catalogue);
	struct launch_row *open, still;
	size_t count = db_launch_list_open(db, NULL, &open), lost = 0;
	int err;

	for (size_t i = 0; i < count; i++)
		if (is_overdue(c, db, &open[i]) || is_lost(c, db, &open[i]))
			open[lost++] = open[i];
	if (catalogue_read_end(c->catalogue) || !lost) {
		free(open);
		return;
	}
	db = catalogue_write(c->catalogue);
	for (size_t i = 0; i < lost; i++) {
		live_withdraw(c->live, open[i].server_id, open[i].id);
		if (db_launch_find(db, open[i].id, &still) && !still.ended_us &&
		    !still.has_record == !open[i].has_record)
			expire_one(c, db, &still);
	}
	free(open);
	err = catalogue_commit(c->catalogue);
	if (err)
		console_catalogue_failed(c, "ending launches", err);
	live_announce(c->live, LIVE_EVENTS);
	live_announce(c->live, LIVE_STATUSES);
}
