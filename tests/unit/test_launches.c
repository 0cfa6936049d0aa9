/* SPDX-License-Identifier: Apache-2.0 */
/* Launches, drills, jobs and blueprints, with a server that does what a test tells it. */
#include "console_fixture.h"
#include "db_launches.h"
#include "db_work.h"
#include "launches.h"
#include "ticks.h"
#include "wallclock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct fixture con;
static struct caller agent, server;

#define ADMIN(status, method, path, ...) fixture_admin(&con, status, method, path, __VA_ARGS__)

static const char *text_in(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int64_t number_in(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static bool is_null_in(const json_t *object, const char *name)
{
	return json_is_null(json_object_get(object, name));
}

static void refused(json_t *error, const char *code)
{
	assert_non_null(code_of(error));
	assert_string_equal(code_of(error), code);
	assert_non_null(text_in(error, "message"));
	json_decref(error);
}

static json_t *get(const char *what, const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/%s/%s", what, id);
	return ADMIN(200, "GET", path, NULL);
}

/* About one launch. */
static json_t *call(int status, const char *method, const char *launch, const char *what)
{
	char path[128];

	snprintf(path, sizeof(path), "/launches/%s%s", launch, what);
	return ADMIN(status, method, path, NULL);
}

/* --- a server that answers what it is asked, until it is told to stop ------------------------ */

struct answer {
	const char *verb, *fault; /* NULL: it goes well, with ... */
	json_t *result;		  /* ... this, or nothing */
};

struct fake {
	pthread_t thread;
	struct caller line; /* of its own: a connection is for one thread */
	const struct answer *answers; /* ends with a NULL verb; a verb that is not there is not answered */
	json_t *commands;	      /* as they came */
	bool stop;
	pthread_mutex_t lock;
	pthread_cond_t came;
};

static void reply(struct fake *f, const json_t *command, const struct answer *a)
{
	json_t *body = json_pack("{s:s, s:b}", "id", text_in(command, "id"), "ok", a->fault == NULL);

	if (a->fault)
		json_object_set_new(body, "fault", json_pack("{s:s, s:{s:s*}}", "code", a->fault, "args", "machine",
							     text_in(command, "machine")));
	else
		json_object_set_new(body, "result", a->result ? json_deep_copy(a->result) : json_object());
	json_decref(caller_call(&con, &f->line, 204, "POST", "/link/reply", body));
}

static void take_command(struct fake *f, const json_t *command)
{
	for (const struct answer *a = f->answers; a->verb; a++)
		if (!strcmp(a->verb, text_in(command, "verb")))
			reply(f, command, a);
	pthread_mutex_lock(&f->lock);
	json_array_append_new(f->commands, json_deep_copy(command));
	pthread_cond_broadcast(&f->came);
	pthread_mutex_unlock(&f->lock);
}

static bool is_stopped(struct fake *f)
{
	bool yes;

	pthread_mutex_lock(&f->lock);
	yes = f->stop;
	pthread_mutex_unlock(&f->lock);
	return yes;
}

static void *serve(void *arg)
{
	struct fake *f = arg;
	int64_t version = 0;

	while (!is_stopped(f)) {
		json_t *answer, *c;
		char path[96];
		size_t i;

		snprintf(path, sizeof(path), "/link?wait=30&version=%lld", (long long)version);
		answer = caller_call(&con, &f->line, 200, "GET", path, NULL);
		version = number_in(answer, "version");
		json_array_foreach(json_object_get(answer, "commands"), i, c)
			take_command(f, c);
		json_decref(answer);
	}
	return NULL;
}

static void fake_start(struct fake *f, const struct answer *answers)
{
	json_t *first, *c;
	size_t i;

	*f = (struct fake){ .answers = answers, .commands = json_array(), .lock = PTHREAD_MUTEX_INITIALIZER,
			    .came = PTHREAD_COND_INITIALIZER, .line = server };
	f->line.http = NULL;
	caller_connect(&con, &f->line);
	first = caller_call(&con, &f->line, 200, "GET", "/link?wait=0", NULL);
	json_array_foreach(json_object_get(first, "commands"), i, c)
		take_command(f, c);
	json_decref(first);
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void fake_stop(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_mutex_unlock(&f->lock);
	live_command(con.console.live, server.id, json_pack("{s:s, s:s}", "id", "stop", "verb", "stop"), true);
	pthread_join(f->thread, NULL);
	live_withdraw(con.console.live, server.id, "stop");
	caller_done(&f->line);
	json_decref(f->commands);
}

/* The first command of that verb, waited for. */
static json_t *command_of(struct fake *f, const char *verb)
{
	struct timespec deadline;
	json_t *found = NULL, *c;
	size_t i;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 20;
	pthread_mutex_lock(&f->lock);
	while (!found) {
		json_array_foreach(f->commands, i, c)
			if (!found && !strcmp(text_in(c, "verb"), verb))
				found = json_deep_copy(c);
		if (!found && pthread_cond_timedwait(&f->came, &f->lock, &deadline))
			break;
	}
	pthread_mutex_unlock(&f->lock);
	assert_non_null(found);
	return found;
}

static json_t *newest_launch(void)
{
	json_t *answer = ADMIN(200, "GET", "/launches?limit=1", NULL);
	json_t *launch = json_incref(json_array_get(json_object_get(answer, "launches"), 0));

	json_decref(answer);
	return launch;
}

/* --- records --------------------------------------------------------------------------------- */

static bool has_points = true;
static char second[ID_SIZE]; /* another machine that has a point, or "" */

static void post_status(json_t *records)
{
	json_t *point =
	    has_points ? json_pack("{s:i, s:s}", "epoch", 7, "time", "2026-11-22T09:41:07Z") : json_null();
	json_t *status = json_pack("{s:s, s:i, s:[{s:s, s:O}, {s:s, s:o}], s:o}", "address", "", "port", 1500,
				   "machines", "id", agent.id, "newest_point", point, "id", *second ? second : "none",
				   "newest_point", point, "launches", records);

	json_decref(caller_call(&con, &server, 204, "POST", "/link/status", status));
}

static void post_one(const json_t *record)
{
	post_status(json_pack("[O]", record));
}

static json_t *new_record(const char *launch, const char *kind)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:i, s:s}, s:{s:s}, s:{}, s:[]}", "launch", launch,
			 "machine", "m", "machine_id", agent.id, "kind", kind, "state", "preparing", "since",
			 "2026-11-22T10:00:00.000000Z", "point", "epoch", 7, "time", "2026-11-22T09:41:07.000000Z",
			 "times", "asked", "2026-11-22T10:00:00.000000Z", "milliseconds", "log");
}

static void move(json_t *record, const char *state, const char *message)
{
	char now[WALLCLOCK_TEXT_LEN + 1];

	wallclock_format(wallclock_now_us(), now);
	json_object_set_new(record, "state", json_string(state));
	json_object_set_new(record, "since", json_string(now));
	json_array_append_new(json_object_get(record, "log"),
			      json_pack("{s:s, s:s}", "time", now, "message", message));
	post_one(record);
}

static void boot(json_t *record)
{
	json_object_set_new(record, "proof", json_string("a login prompt is on its serial console"));
	json_object_set_new(record, "milliseconds", json_pack("{s:i}", "proof", 12345));
	move(record, "booted", "it runs: a login prompt is on its serial console");
}

static void fault_of(json_t *record, const char *code)
{
	json_object_set_new(
	    record, "fault",
	    json_pack("{s:s, s:{s:s, s:s}}", "code", code, "args", "machine", "m", "reason", "why not"));
}

/* POST, answered by a server that takes everything; ids into the buffers. */
static const struct answer all_well[] = { { "launch" }, { "terminate" }, { "keep" }, { NULL } };

static void ask(const char *kind, char launch[ID_SIZE], char job[ID_SIZE])
{
	json_t *answer = ADMIN(202, "POST", "/machines/m/launches", json_pack("{s:s}", "kind", kind));

	snprintf(launch, ID_SIZE, "%s", text_in(answer, "launch"));
	snprintf(job, ID_SIZE, "%s", text_in(answer, "job"));
	json_decref(answer);
}

static void expect_job(const char *id, const char *type, const char *status, size_t lines)
{
	json_t *j = get("jobs", id);

	assert_string_equal(text_in(j, "type"), type);
	assert_string_equal(text_in(j, "status"), status);
	assert_int_equal(json_array_size(json_object_get(j, "log")), lines);
	assert_int_equal(is_null_in(j, "ended"), !strcmp(status, "STARTED") || !strcmp(status, "PENDING"));
	assert_string_equal(text_in(json_array_get(json_object_get(j, "participating_machines"), 0), "id"), agent.id);
	json_decref(j);
}

static void expect_state(const char *launch, const char *state)
{
	json_t *l = get("launches", launch);

	assert_string_equal(text_in(l, "state"), state);
	json_decref(l);
}

static bool has_event(const char *code, const char *launch)
{
	json_t *answer = ADMIN(200, "GET", "/events?limit=1000", NULL), *e;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(answer, "events"), i, e)
		if (!strcmp(text_in(e, "code"), code) &&
		    (!launch || !strcmp(text_in(json_object_get(e, "args"), "launch"), launch)))
			found = true;
	json_decref(answer);
	return found;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_the_job_of_a_launch_ends_when_its_post_launch_has_run(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	json_object_set_new(record, "post_launch", json_pack("{s:b, s:s}", "pending", 1, "output", ""));
	boot(record);
	expect_job(job, "TEST_LAUNCH", "STARTED", 1);
	assert_true(has_event("LAUNCH_BOOTED", launch));
	json_object_set_new(record, "post_launch", json_pack("{s:b, s:s, s:i}", "pending", 0, "output", "", "status", 0));
	move(record, "booted", "post_launch ended with status 0");
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 2);
	json_decref(record);
	fake_stop(&f);
}

static void test_a_machine_that_is_written_is_done_when_all_of_it_is_there(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], killed[ID_SIZE], killed_job[ID_SIZE];
	json_t *record, *body, *answer, *c;
	struct fake f;

	fake_start(&f, all_well);
	for (int i = 0; i < 2; i++) {
		body = json_pack("{s:s, s:s, s:s}", "kind", "images", "to", "/srv/web", "format", "raw");
		answer = ADMIN(202, "POST", "/machines/m/launches", body);
		snprintf(i ? killed : launch, ID_SIZE, "%s", text_in(answer, "launch"));
		snprintf(i ? killed_job : job, ID_SIZE, "%s", text_in(answer, "job"));
		json_decref(answer);
	}
	c = command_of(&f, "launch");
	assert_string_equal(text_in(c, "kind"), "images");
	assert_string_equal(text_in(c, "to"), "/srv/web");
	assert_string_equal(text_in(c, "format"), "raw");
	json_decref(c);
	record = new_record(launch, "images");
	json_object_set_new(record, "images", json_pack("{s:s, s:b}", "folder", "/srv/web", "written", 0));
	move(record, "writing", "writing");
	post_one(record);
	expect_job(job, "IMAGES", "STARTED", 1);
	json_object_set_new(json_object_get(record, "images"), "written", json_true());
	move(record, "ended", "the machine is written");
	expect_job(job, "IMAGES", "COMPLETED", 2);
	assert_true(has_event("LAUNCH_WRITTEN", launch));
	json_decref(record);
	/* ended before it was written: by whoever it was */
	record = new_record(killed, "images");
	move(record, "writing", "writing");
	move(record, "ended", "the machine is gone");
	expect_job(killed_job, "IMAGES", "FAILED", 2);
	assert_false(has_event("LAUNCH_WRITTEN", killed));
	json_decref(record);
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:s, s:s}", "kind", "images", "to", "srv")), "VALUE_BAD");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:s, s:s}", "kind", "images", "to", "/")), "VALUE_BAD");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:s}", "kind", "images")), "VALUE_BAD");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:s}", "to", "/srv/web")), "VALUE_BAD");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "proof", "command")), "BLUEPRINT_NO_COMMAND");
	fake_stop(&f);
}

static void test_a_launch_and_its_job_follow_the_servers_record(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *l, *c;
	struct fake f;

	db_run(catalogue_write(con.console.catalogue), "UPDATE machines SET facts = '{\"firmware\": \"uefi\"}'", "");
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	fake_start(&f, all_well);
	ask("test", launch, job);
	expect_job(job, "TEST_LAUNCH", "STARTED", 0);
	c = command_of(&f, "launch");
	assert_string_equal(text_in(c, "machine"), agent.id);
	assert_string_equal(text_in(c, "at"), "latest");
	assert_string_equal(text_in(c, "kind"), "test");
	assert_int_equal(number_in(json_object_get(c, "blueprint"), "cpus"), 2);
	assert_null(json_object_get(json_object_get(c, "blueprint"), "proof_text"));
	assert_string_equal(text_in(c, "source_firmware"), "uefi");
	json_decref(c);
	record = new_record(launch, "test");
	move(record, "preparing", "looking at the disks");
	expect_job(job, "TEST_LAUNCH", "STARTED", 1);
	move(record, "starting", "starting");
	move(record, "booting", "its processors run");
	post_one(record);
	expect_job(job, "TEST_LAUNCH", "STARTED", 3);
	boot(record);
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 4);
	l = get("launches", launch);
	assert_string_equal(text_in(l, "state"), "booted");
	assert_string_equal(text_in(l, "machine"), "m");
	assert_string_equal(text_in(l, "initiated_by"), "admin");
	assert_int_equal(strlen(text_in(json_object_get(l, "point"), "id")), 36);
	assert_int_equal(number_in(json_object_get(l, "milliseconds"), "proof"), 12345);
	assert_int_equal(json_array_size(json_object_get(l, "log")), 4);
	assert_true(is_null_in(l, "ended"));
	json_decref(l);
	assert_true(has_event("LAUNCH_BOOTED", launch));
	move(record, "ended", "the machine is gone");
	expect_state(launch, "ended");
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 4);
	assert_true(has_event("LAUNCH_ENDED", launch));
	json_decref(record);
	fake_stop(&f);
}

static void test_what_the_server_refuses_is_said_and_kept_as_a_failed_job(void **state)
{
	const struct answer answers[] = { { "launch", "POINT_NONE" }, { NULL } };
	json_t *answer, *job, *l;
	struct fake f;

	fake_start(&f, answers);
	refused(ADMIN(404, "POST", "/machines/m/launches", json_pack("{s:s}", "at", "2h ago")), "POINT_NONE");
	answer = ADMIN(200, "GET", "/jobs?machine=m&limit=1", NULL);
	job = json_array_get(json_object_get(answer, "jobs"), 0);
	assert_string_equal(text_in(job, "status"), "FAILED");
	assert_string_equal(code_of(json_object_get(job, "fault")), "POINT_NONE");
	assert_int_equal(json_array_size(json_object_get(job, "log")), 1);
	l = get("launches", text_in(job, "launch"));
	assert_string_equal(text_in(l, "state"), "failed");
	assert_false(is_null_in(l, "ended"));
	assert_true(has_event("LAUNCH_FAILED", text_in(l, "id")));
	json_decref(l);
	json_decref(answer);
	fake_stop(&f);
}

static void test_bad_launches_are_refused_before_anything_begins(void **state)
{
	json_t *before = ADMIN(200, "GET", "/jobs?limit=1000", NULL), *after;
	struct fake f;

	fake_start(&f, all_well);
	refused(ADMIN(404, "POST", "/machines/nobody/launches", NULL), "MACHINE_UNKNOWN");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:s}", "kind", "fun")), "VALUE_BAD");
	refused(ADMIN(422, "POST", "/machines/m/launches", json_pack("{s:s}", "blueprint", "x")),
		"API_NOT_UNDERSTOOD");
	refused(ADMIN(422, "POST", "/machines/m/launches", json_pack("{s:i}", "at", 5)), "API_NOT_UNDERSTOOD");
	refused(ADMIN(404, "POST", "/machines/m/launches", json_pack("{s:s}", "at", "")), "POINT_UNKNOWN");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:{s:i}}", "blueprint", "cpus", 0)),
		"SETTING_OUT_OF_RANGE");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:{s:i}}", "blueprint", "gpus", 1)),
		"BLUEPRINT_UNKNOWN");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:{s:s}}", "blueprint", "proof", "text")),
		"BLUEPRINT_NO_TEXT");
	refused(ADMIN(404, "GET", "/launches/none", NULL), "LAUNCH_UNKNOWN");
	refused(ADMIN(404, "POST", "/launches/none/keep", NULL), "LAUNCH_UNKNOWN");
	refused(ADMIN(404, "DELETE", "/launches/none", NULL), "LAUNCH_UNKNOWN");
	refused(ADMIN(404, "GET", "/launches/none/console-log", NULL), "LAUNCH_UNKNOWN");
	refused(ADMIN(404, "GET", "/jobs/none", NULL), "JOB_UNKNOWN");
	after = ADMIN(200, "GET", "/jobs?limit=1000", NULL);
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	fake_stop(&f);
}

static void test_a_machine_that_fails_fails_its_job_with_the_reason(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *j;
	struct fake f;

	fake_start(&f, all_well);
	ask("cutover", launch, job);
	record = new_record(launch, "cutover");
	fault_of(record, "LAUNCH_NOT_STARTED");
	move(record, "failed", "the machine could not be started: why not");
	j = get("jobs", job);
	assert_string_equal(text_in(j, "status"), "FAILED");
	assert_string_equal(text_in(j, "type"), "CUTOVER_LAUNCH");
	assert_string_equal(code_of(json_object_get(j, "fault")), "LAUNCH_NOT_STARTED");
	json_decref(j);
	assert_true(has_event("LAUNCH_FAILED", launch));
	json_decref(record);
	fake_stop(&f);
}

static void test_a_launch_that_vanishes_is_over(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], asked[ID_SIZE], asked_job[ID_SIZE];
	json_t *record, *j;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	ask("test", asked, asked_job);
	record = new_record(launch, "test");
	move(record, "booting", "its processors run");
	/* The second is not there yet, and may still come. */
	expect_state(asked, "asked");
	post_status(json_array());
	j = get("jobs", job);
	assert_string_equal(text_in(j, "status"), "FAILED");
	assert_string_equal(code_of(json_object_get(j, "fault")), "LAUNCH_VANISHED");
	json_decref(j);
	expect_state(launch, "failed");
	expect_state(asked, "asked");
	expect_job(asked_job, "TEST_LAUNCH", "STARTED", 0);
	json_decref(record);
	record = new_record(asked, "test");
	move(record, "ended", "the machine is gone");
	j = get("jobs", asked_job);
	assert_string_equal(code_of(json_object_get(j, "fault")), "LAUNCH_ENDED_EARLY");
	json_decref(j);
	json_decref(record);
	fake_stop(&f);
}

static void test_a_launch_that_booted_and_ended_between_two_statuses_was_a_success(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	json_object_set_new(record, "proof", json_string("its guest agent answers"));
	move(record, "ended", "the machine is gone");
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 1);
	assert_true(has_event("LAUNCH_BOOTED", launch));
	assert_true(has_event("LAUNCH_ENDED", launch));
	json_decref(record);
	fake_stop(&f);
}

static void test_a_launch_that_vanishes_when_it_was_to_end_has_ended(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *answer;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	boot(record);
	answer = call(202, "DELETE", launch, "");
	post_status(json_array());
	expect_state(launch, "ended");
	expect_job(text_in(answer, "job"), "CLEANUP", "COMPLETED", 1);
	assert_false(has_event("LAUNCH_FAILED", launch));
	json_decref(answer);
	json_decref(record);
	fake_stop(&f);
}

static void test_a_server_speaks_for_its_own_machines_only(void **state)
{
	const char *foreign = "77777777-7777-4777-8777-777777777777";
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *mine, *unknown;
	struct caller other;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	mine = new_record(launch, "test");
	boot(mine);
	fixture_enrol(&con, &other, "server", "other");
	unknown = new_record(foreign, "test");
	json_object_set_new(mine, "state", json_string("ended"));
	json_decref(caller_call(&con, &other, 204, "POST", "/link/status",
				json_pack("{s:[O, O]}", "launches", mine, unknown)));
	expect_state(launch, "booted");
	refused(call(404, "GET", foreign, ""), "LAUNCH_UNKNOWN");
	json_decref(caller_call(&con, &other, 204, "POST", "/link/status", json_pack("{s:[]}", "launches")));
	expect_state(launch, "booted");
	move(mine, "ended", "gone");
	json_decref(ADMIN(204, "DELETE", "/servers/other", NULL));
	caller_done(&other);
	json_decref(mine);
	json_decref(unknown);
	fake_stop(&f);
}

static void test_a_machine_that_runs_unknown_to_the_catalogue_is_taken_over(void **state)
{
	const char *id = "33333333-3333-4333-8333-333333333333";
	json_t *record = new_record(id, "test"), *l;
	char job[ID_SIZE];
	struct fake f;

	fake_start(&f, all_well);
	json_object_set_new(record, "state", json_string("ended"));
	post_one(record);
	refused(call(404, "GET", id, ""), "LAUNCH_UNKNOWN");
	json_object_set_new(record, "machine_id", json_string("44444444-4444-4444-8444-444444444444"));
	json_object_set_new(record, "state", json_string("booting"));
	post_one(record);
	refused(call(404, "GET", id, ""), "LAUNCH_UNKNOWN");
	json_object_set_new(record, "machine_id", json_string(agent.id));
	boot(record);
	l = call(200, "GET", id, "");
	assert_string_equal(text_in(l, "initiated_by"), "server");
	snprintf(job, sizeof(job), "%s", text_in(l, "job"));
	json_decref(l);
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 1);
	json_decref(call(202, "DELETE", id, ""));
	move(record, "ended", "the machine is gone");
	expect_state(id, "ended");
	json_decref(record);
	fake_stop(&f);
}

/* Whatever a broken server says, what is promised is there, and nothing is believed that is not its. */
static void test_records_that_make_no_sense_do_no_harm(void **state)
{
	static const char *const records[] = {
		"[]", "[7, null, \"x\", [], {}]", "{\"launch\": 1}", "[{\"launch\": \"LAUNCH\"}]",
		"[{\"launch\": \"LAUNCH\", \"state\": \"flying\"}]", "[{\"launch\": \"LAUNCH\", \"state\": 5}]",
		"[{\"launch\": \"LAUNCH\", \"state\": \"booting\", \"log\": 5, \"times\": [], \"point\": \"x\", \"boot\": 1}]",
		"[{\"launch\": \"LAUNCH\", \"state\": \"booting\", \"log\": [1, {\"time\": \"never\", \"message\": \"m\"}, "
		"{\"time\": \"2026-11-22T10:00:00Z\"}], \"point\": {\"epoch\": \"seven\"}}]",
		"[{\"launch\": \"LAUNCH\", \"state\": \"failed\", \"fault\": {\"code\": \"OF_THE_FUTURE\"}}]",
		"[{\"launch\": \"LAUNCH\", \"state\": \"failed\", \"fault\": []}]",
	};
	char launch[ID_SIZE], job[ID_SIZE];
	struct fake f;

	fake_start(&f, all_well);
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		char text[512] = "", *at;
		json_t *l;

		ask("test", launch, job);
		strcpy(text, records[i]);
		while ((at = strstr(text, "LAUNCH"))) {
			memmove(at + 36, at + 6, strlen(at + 6) + 1);
			memcpy(at, launch, 36);
		}
		post_status(json_loads(text, 0, NULL));
		l = call(200, "GET", launch, "");
		assert_true(json_is_array(json_object_get(l, "log")));
		assert_true(json_is_object(json_object_get(l, "times")));
		json_decref(l);
		json_decref(ADMIN(200, "GET", "/jobs", NULL));
		json_decref(ADMIN(200, "GET", "/launches?machine=m", NULL));
	}
	fake_stop(&f);
}

static void backdate(const char *launch)
{
	db_run(catalogue_write(con.console.catalogue),
	       "UPDATE launches SET created_us = created_us - 61000000 WHERE id = ?", "t", launch);
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
}

static void test_a_launch_that_is_not_taken_fails_and_is_not_taken_later(void **state)
{
	const struct answer nothing[] = { { NULL } };
	struct machine_row m;
	struct launch_row l;
	json_t *blueprint = json_object(), *j, *answer, *record, *c;
	struct db *db = catalogue_read(con.console.catalogue);
	struct fake f;

	assert_true(db_machine_find(db, "m", &m));
	assert_int_equal(catalogue_read_end(con.console.catalogue), 0);
	fake_start(&f, nothing);
	fake_stop(&f);
	assert_int_equal(launches_begin(&con.console, &m, "test", "latest", blueprint, NULL, "admin", &l), 0);
	ticks_launches(&con.console);
	expect_state(l.id, "asked");
	backdate(l.id);
	ticks_launches(&con.console);
	j = get("jobs", l.job_id);
	assert_string_equal(code_of(json_object_get(j, "fault")), "LAUNCH_NOT_TAKEN");
	json_decref(j);
	answer = caller_call(&con, &server, 200, "GET", "/link", NULL);
	assert_int_equal(json_array_size(json_object_get(answer, "commands")), 0);
	json_decref(answer);
	json_decref(blueprint);
	/* It had been handed out, and was only slow: once seen it is ended. */
	fake_start(&f, all_well);
	record = new_record(l.id, "test");
	move(record, "booting", "its processors run");
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), l.id);
	json_decref(c);
	move(record, "booting", "still");
	move(record, "ended", "the machine is gone");
	expect_state(l.id, "ended");
	expect_job(l.job_id, "TEST_LAUNCH", "FAILED", 1);
	json_decref(record);
	fake_stop(&f);
}

static void test_a_server_that_is_away_fails_nothing_but_is_said(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *j, *answer, *again, *c;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	move(record, "booting", "its processors run");
	fake_stop(&f);
	live_forget(con.console.live, server.id); /* as after 15 s of silence */
	ticks_launches(&con.console);
	j = get("jobs", job);
	assert_string_equal(text_in(j, "status"), "STARTED");
	assert_string_equal(text_in(json_array_get(json_object_get(j, "problems"), 0), "code"), "SERVER_AWAY");
	json_decref(j);
	refused(ADMIN(503, "POST", "/machines/m/launches", NULL), "SERVER_AWAY");
	/* The end that was asked for waits for it, over a restart, too. */
	answer = call(202, "DELETE", launch, "");
	again = call(202, "DELETE", launch, "");
	assert_string_equal(text_in(answer, "job"), text_in(again, "job"));
	fixture_halt(&con);
	fixture_continue(&con);
	caller_connect(&con, &server);
	caller_connect(&con, &agent);
	expect_job(text_in(answer, "job"), "CLEANUP", "STARTED", 0);
	fake_start(&f, all_well);
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	move(record, "ended", "the machine is gone");
	expect_job(text_in(answer, "job"), "CLEANUP", "COMPLETED", 1);
	expect_job(job, "TEST_LAUNCH", "FAILED", 2);
	json_decref(answer);
	json_decref(again);
	json_decref(record);
	fake_stop(&f);
}

static void in_catalogue(const char *sql)
{
	struct db *db = catalogue_write(con.console.catalogue);

	db_run(db, sql, "");
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
}

static void test_what_the_catalogue_could_not_take_is_taken_from_the_next_status(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *status;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	move(record, "booting", "its processors run");
	in_catalogue("CREATE TRIGGER stop BEFORE UPDATE ON launches BEGIN SELECT RAISE(ABORT, 'no'); END");
	json_object_set_new(record, "state", json_string("booted"));
	status = json_pack("{s:[O]}", "launches", record);
	refused(caller_call(&con, &server, 500, "POST", "/link/status", json_deep_copy(status)), "CATALOGUE_FAILED");
	expect_state(launch, "booting");
	expect_job(job, "TEST_LAUNCH", "STARTED", 1);
	/* Nor is a launch begun that could not be kept in mind. */
	in_catalogue("CREATE TRIGGER stop_too BEFORE INSERT ON launches BEGIN SELECT RAISE(ABORT, 'no'); END");
	refused(ADMIN(500, "POST", "/machines/m/launches", NULL), "CATALOGUE_FAILED");
	in_catalogue("DROP TRIGGER stop_too");
	in_catalogue("DROP TRIGGER stop");
	json_decref(caller_call(&con, &server, 204, "POST", "/link/status", status));
	expect_state(launch, "booted");
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 1);
	move(record, "ended", "gone");
	json_decref(record);
	fake_stop(&f);
}

static void test_a_machine_is_kept_and_stands(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], keep_job[ID_SIZE];
	json_t *record, *answer, *again;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	move(record, "booting", "its processors run");
	refused(call(409, "POST", launch, "/keep"), "LAUNCH_NOT_BOOTED");
	boot(record);
	answer = call(202, "POST", launch, "/keep");
	again = call(202, "POST", launch, "/keep");
	snprintf(keep_job, sizeof(keep_job), "%s", text_in(answer, "job"));
	assert_string_equal(keep_job, text_in(again, "job"));
	json_decref(again);
	json_decref(answer);
	expect_job(keep_job, "KEEP", "STARTED", 0);
	move(record, "keeping", "copying");
	move(record, "standing", "all its data is its own");
	expect_job(keep_job, "KEEP", "COMPLETED", 2);
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 2);
	assert_true(has_event("LAUNCH_STANDS", launch));
	answer = call(202, "POST", launch, "/keep");
	expect_job(text_in(answer, "job"), "KEEP", "COMPLETED", 0);
	json_decref(answer);
	move(record, "ended", "the machine is gone");
	refused(call(409, "POST", launch, "/keep"), "LAUNCH_OVER");
	json_decref(record);
	fake_stop(&f);
}

static void test_a_machine_that_could_not_be_kept_is_still_booted(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], keep_job[ID_SIZE];
	json_t *record, *answer, *j;
	struct fake f;

	fake_start(&f, all_well);
	for (int seen = 0; seen < 2; seen++) { /* with and without its being seen to begin */
		ask("test", launch, job);
		record = new_record(launch, "test");
		boot(record);
		answer = call(202, "POST", launch, "/keep");
		snprintf(keep_job, sizeof(keep_job), "%s", text_in(answer, "job"));
		json_decref(answer);
		if (seen)
			move(record, "keeping", "copying");
		json_object_set_new(record, "not_kept", json_string("No space left on device"));
		move(record, "booted", "it still needs the store");
		j = get("jobs", keep_job);
		assert_string_equal(text_in(j, "status"), "FAILED");
		assert_string_equal(code_of(json_object_get(j, "fault")), "LAUNCH_NOT_KEPT");
		assert_string_equal(text_in(json_object_get(json_object_get(j, "fault"), "args"), "reason"),
				    "No space left on device");
		json_decref(j);
		expect_state(launch, "booted");
		assert_true(has_event("LAUNCH_NOT_KEPT", launch));
		expect_job(job, "TEST_LAUNCH", "COMPLETED", 1);
		move(record, "ended", "gone");
		json_decref(record);
	}
	fake_stop(&f);
}

static void test_a_keep_that_the_server_refuses_is_said(void **state)
{
	const struct answer answers[] = { { "launch" }, { "keep", "LAUNCH_OVER" }, { NULL } };
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *answer;
	struct fake f;

	fake_start(&f, answers);
	ask("test", launch, job);
	record = new_record(launch, "test");
	boot(record);
	refused(call(409, "POST", launch, "/keep"), "LAUNCH_OVER");
	answer = ADMIN(200, "GET", "/jobs?machine=m&limit=1", NULL);
	assert_string_equal(text_in(json_array_get(json_object_get(answer, "jobs"), 0), "status"), "FAILED");
	json_decref(answer);
	move(record, "ended", "gone");
	json_decref(record);
	fake_stop(&f);
}

static void test_what_is_over_is_forgotten_when_deleted_again(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *c;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	record = new_record(launch, "test");
	boot(record);
	move(record, "ended", "the machine is gone");
	json_decref(call(204, "DELETE", launch, ""));
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	refused(call(404, "GET", launch, ""), "LAUNCH_UNKNOWN");
	post_one(record); /* a status that was under way */
	refused(call(404, "GET", launch, ""), "LAUNCH_UNKNOWN");
	expect_job(job, "TEST_LAUNCH", "COMPLETED", 1);
	json_decref(record);
	fake_stop(&f);
}

static void test_console_log_and_screenshot_are_the_servers(void **state)
{
	const char png[] = "iVBORw0KGgpBQg=="; /* the magic, "AB" */
	struct answer answers[] = { { "launch" },
				    { "console_log", NULL,
				      json_pack("{s:s, s:i, s:i}", "text", "login: ", "from", 3, "size", 10) },
				    { "screenshot", NULL, json_pack("{s:s}", "png", png) },
				    { NULL } };
	char launch[ID_SIZE], job[ID_SIZE], path[128], command[512];
	json_t *answer, *c;
	struct fake f;
	FILE *out;
	char bytes[64];
	size_t n;

	fake_start(&f, answers);
	ask("test", launch, job);
	snprintf(path, sizeof(path), "/launches/%s/console-log?from=3", launch);
	answer = ADMIN(200, "GET", path, NULL);
	assert_string_equal(text_in(answer, "text"), "login: ");
	json_decref(answer);
	c = command_of(&f, "console_log");
	assert_int_equal(number_in(c, "from"), 3);
	json_decref(c);
	snprintf(command, sizeof(command),
		 "curl -s --cacert %s -k -H 'Authorization: Bearer %s' "
		 "%s/api/godwit/v1/launches/%s/screenshot",
		 con.console.ca_path, con.admin_token, con.url, launch);
	out = popen(command, "r");
	assert_non_null(out);
	n = fread(bytes, 1, sizeof(bytes), out);
	assert_int_equal(pclose(out), 0);
	assert_int_equal(n, 10);
	assert_memory_equal(bytes, "\x89PNG\r\n\x1a\nAB", 10);
	fake_stop(&f);
	json_decref(answers[1].result);
	json_decref(answers[2].result);
	answers[2].result = json_pack("{s:s}", "png", "c29tZXRoaW5nIGVsc2U=");
	fake_start(&f, answers);
	snprintf(path, sizeof(path), "/launches/%s/screenshot", launch);
	refused(ADMIN(404, "GET", path, NULL), "LAUNCH_NO_SCREENSHOT");
	fake_stop(&f);
	json_decref(answers[2].result);
	post_status(json_array());
}

static void test_a_blueprint_has_defaults_and_its_changes_are_events(void **state)
{
	json_t *table = ADMIN(200, "GET", "/blueprint", NULL), *b = ADMIN(200, "GET", "/machines/m/blueprint", NULL),
	       *e, *m, *c;
	char launch[ID_SIZE], job[ID_SIZE];
	struct fake f;
	size_t i;

	json_array_foreach(json_object_get(table, "members"), i, m)
		assert_true(json_equal(json_object_get(m, "default"), json_object_get(b, text_in(m, "name"))));
	assert_int_equal(i, json_object_size(b));
	json_decref(b);
	json_decref(table);
	b = ADMIN(200, "PATCH", "/machines/m/blueprint",
		  json_pack("{s:i, s:s, s:s, s:s}", "cpus", 3, "memory_mib", "2048", "proof", "text", "proof_text",
			    "準備完了"));
	assert_int_equal(number_in(b, "cpus"), 3);
	assert_int_equal(number_in(b, "memory_mib"), 2048);
	json_decref(b);
	e = ADMIN(200, "GET", "/events?limit=4", NULL);
	m = json_array_get(json_object_get(e, "events"), 0);
	assert_string_equal(text_in(m, "code"), "BLUEPRINT_CHANGED");
	assert_string_equal(text_in(m, "who"), "admin");
	m = json_array_get(json_object_get(m, "changes"), 0);
	assert_string_equal(text_in(m, "name"), "cpus");
	assert_string_equal(text_in(m, "old"), "2");
	assert_string_equal(text_in(m, "new"), "3");
	json_decref(e);
	/* All or nothing. */
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:i, s:s}", "cpus", 4, "network", "wifi")),
		"SETTING_NOT_A_CHOICE");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:n}", "proof_text")), "BLUEPRINT_NO_TEXT");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "proof_text", "a\nb")), "VALUE_BAD");
	refused(ADMIN(422, "PATCH", "/machines/m/blueprint", json_array()), "API_NOT_UNDERSTOOD");
	fake_start(&f, all_well);
	ask("test", launch, job);
	c = command_of(&f, "launch");
	b = json_object_get(c, "blueprint");
	assert_int_equal(number_in(b, "cpus"), 3);
	assert_string_equal(text_in(b, "proof_text"), "準備完了");
	assert_string_equal(text_in(b, "network"), "isolated");
	json_decref(c);
	fake_stop(&f);
	post_status(json_array());
	b = ADMIN(200, "PATCH", "/machines/m/blueprint",
		  json_pack("{s:n, s:n, s:n, s:n}", "cpus", "memory_mib", "proof", "proof_text"));
	assert_int_equal(number_in(b, "cpus"), 2);
	json_decref(b);
}

static json_t *newest_job(void)
{
	json_t *answer = ADMIN(200, "GET", "/jobs?limit=1", NULL);
	json_t *job = json_incref(json_array_get(json_object_get(answer, "jobs"), 0));

	json_decref(answer);
	return job;
}

static size_t count_where(const json_t *list, const char *name, const char *value)
{
	size_t i, n = 0;
	json_t *v;

	json_array_foreach(list, i, v)
		n += !strcmp(text_in(v, name), value);
	return n;
}

static void test_what_many_drills_leave_does_not_pile_up(void **state)
{
	json_t *answer, *life, *m, *oldest = NULL;
	struct fake f;
	size_t n;

	fake_start(&f, all_well);
	for (int i = 0; i < LAUNCH_DRILL_JOBS_KEPT + 5; i++) {
		char launch[ID_SIZE], job[ID_SIZE];
		json_t *record;

		ask("drill", launch, job);
		if (!oldest)
			oldest = newest_launch();
		record = new_record(launch, "drill");
		if (!i)
			boot(record);
		move(record, i ? "failed" : "ended", "gone");
		json_decref(record);
	}
	answer = ADMIN(200, "GET", "/launches?limit=1000", NULL);
	n = count_where(json_object_get(answer, "launches"), "kind", "drill");
	json_decref(answer);
	assert_in_range(n, LAUNCH_DRILLS_KEPT, LAUNCH_DRILLS_KEPT + 2);
	refused(call(404, "GET", text_in(oldest, "id"), ""), "LAUNCH_UNKNOWN");
	answer = ADMIN(200, "GET", "/jobs?limit=1000&machine=m", NULL);
	n = count_where(json_object_get(answer, "jobs"), "type", "DRILL");
	json_decref(answer);
	assert_in_range(n, LAUNCH_DRILL_JOBS_KEPT, LAUNCH_DRILL_JOBS_KEPT + 2);
	/* When one succeeded last is known all the same. */
	m = get("machines", "m");
	life = json_object_get(m, "life_cycle");
	assert_string_equal(text_in(life, "last_drill_job"), text_in(oldest, "job"));
	json_decref(m);
	json_decref(oldest);
	fake_stop(&f);
}

static void set_drills(int seconds)
{
	json_decref(ADMIN(200, "PATCH", "/machines/m/settings", json_pack("{s:i}", "drill_every_seconds", seconds)));
}

static void test_drills_are_started_by_the_console_one_at_a_time(void **state)
{
	char launch[ID_SIZE];
	json_t *job, *again, *record, *c;
	struct caller other;
	struct fake f;

	fake_start(&f, all_well);
	post_status(json_array());
	ticks_launches(&con.console);
	job = newest_job();
	assert_string_not_equal(text_in(job, "type"), "DRILL");
	json_decref(job);
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "network", "user")));
	set_drills(3600);
	/* Without a point there is nothing to show. */
	has_points = false;
	post_status(json_array());
	ticks_launches(&con.console);
	job = newest_job();
	assert_string_not_equal(text_in(job, "type"), "DRILL");
	json_decref(job);
	has_points = true;
	fixture_enrol(&con, &other, "agent", "m2");
	strcpy(second, other.id);
	json_decref(ADMIN(200, "PATCH", "/machines/m2/settings", json_pack("{s:i}", "drill_every_seconds", 3600)));
	post_status(json_array());
	ticks_launches(&con.console);
	ticks_launches(&con.console);
	c = ADMIN(200, "GET", "/launches?limit=2", NULL);
	assert_string_equal(text_in(json_array_get(json_object_get(c, "launches"), 0), "kind"), "drill");
	assert_string_not_equal(text_in(json_array_get(json_object_get(c, "launches"), 1), "kind"), "drill");
	json_decref(c);
	json_decref(ADMIN(204, "DELETE", "/machines/m2?force=1", NULL));
	*second = '\0';
	caller_done(&other);
	post_status(json_array());
	ticks_launches(&con.console);
	c = command_of(&f, "launch");
	assert_string_equal(text_in(c, "kind"), "drill");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "network"), "isolated");
	json_decref(c);
	job = newest_job();
	assert_string_equal(text_in(job, "type"), "DRILL");
	assert_string_equal(text_in(job, "initiated_by"), "console");
	snprintf(launch, sizeof(launch), "%s", text_in(job, "launch"));
	record = new_record(launch, "drill");
	boot(record);
	expect_job(text_in(job, "id"), "DRILL", "STARTED", 1);
	refused(call(409, "POST", launch, "/keep"), "LAUNCH_IS_DRILL");
	move(record, "ended", "the machine is gone");
	expect_job(text_in(job, "id"), "DRILL", "COMPLETED", 2);
	assert_true(has_event("DRILL_SUCCEEDED", launch));
	assert_false(has_event("DRILL_FAILED", launch));
	/* Not again before its time. */
	ticks_launches(&con.console);
	again = newest_job();
	assert_string_equal(text_in(again, "id"), text_in(job, "id"));
	json_decref(again);
	db_run(catalogue_write(con.console.catalogue),
	       "UPDATE jobs SET created_us = created_us - 3600000000 WHERE id = ?", "t", text_in(job, "id"));
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	ticks_launches(&con.console);
	again = newest_job();
	assert_string_not_equal(text_in(again, "id"), text_in(job, "id"));
	json_decref(record);
	record = new_record(text_in(again, "launch"), "drill");
	fault_of(record, "LAUNCH_NOT_BOOTABLE");
	move(record, "failed", "none of the disks can start a machine");
	expect_job(text_in(again, "id"), "DRILL", "FAILED", 1);
	assert_true(has_event("DRILL_FAILED", text_in(again, "launch")));
	set_drills(0);
	json_decref(again);
	json_decref(job);
	json_decref(record);
	fake_stop(&f);
}

static void test_the_life_of_a_machine_has_its_dates(void **state)
{
	json_t *m, *life;
	struct caller a;

	fixture_enrol(&con, &a, "agent", "young");
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "agent_installation"));
	assert_true(is_null_in(life, "connection_established"));
	assert_true(is_null_in(life, "first_byte"));
	assert_true(is_null_in(life, "last_test_launch"));
	json_decref(m);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_pack("{s:i}", "sent_bytes", 0)));
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "connection_established"));
	assert_true(is_null_in(life, "first_byte"));
	json_decref(m);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:i, s:{s:i, s:s}}", "sent_bytes", 10, "newest_point", "epoch", 1, "time",
					  "2026-11-22T09:41:07Z")));
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "first_byte"));
	assert_false(is_null_in(life, "first_point"));
	json_decref(m);
	m = get("machines", "m");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "last_test_launch"));
	assert_false(is_null_in(life, "last_test_launch_job"));
	assert_true(is_null_in(life, "last_cutover"));
	assert_false(is_null_in(life, "last_drill"));
	json_decref(m);
	caller_done(&a);
}

static void test_a_machine_is_not_removed_under_its_launches(void **state)
{
	char launch[ID_SIZE], kept[ID_SIZE], job[ID_SIZE];
	json_t *record, *other, *c;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	ask("cutover", kept, job);
	record = new_record(launch, "test");
	other = new_record(kept, "cutover");
	json_object_set_new(other, "state", json_string("standing"));
	json_object_set_new(record, "state", json_string("booting"));
	post_status(json_pack("[O, O]", record, other));
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_object()));
	refused(ADMIN(409, "DELETE", "/machines/m", NULL), "MACHINE_HAS_LAUNCHES");
	json_decref(ADMIN(204, "DELETE", "/machines/m?force=1", NULL));
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	/* What stands on its own outlives it. */
	expect_state(kept, "standing");
	c = ADMIN(200, "GET", "/launches?machine=m&limit=1000", NULL);
	assert_true(json_array_size(json_object_get(c, "launches")) >= 2);
	json_decref(c);
	json_decref(ADMIN(204, "DELETE", "/machines/young?force=1", NULL));
	refused(ADMIN(409, "DELETE", "/servers/s", NULL), "SERVER_HAS_LAUNCHES");
	json_decref(call(202, "DELETE", kept, ""));
	json_object_set_new(record, "state", json_string("ended"));
	json_object_set_new(other, "state", json_string("ended"));
	post_status(json_pack("[O, O]", record, other));
	expect_state(kept, "ended");
	json_decref(record);
	json_decref(other);
	/* Those of earlier tests that were taken and never shown. */
	db_run(catalogue_write(con.console.catalogue), "UPDATE launches SET created_us = created_us - 61000000", "");
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	fake_stop(&f);
	json_decref(ADMIN(204, "DELETE", "/servers/s", NULL));
	json_decref(call(200, "GET", kept, ""));
	refused(call(409, "GET", kept, "/console-log"), "NO_SERVER");
	ticks_launches(&con.console);
}

static int setup(void **state)
{
	fixture_start(&con);
	fixture_enrol(&con, &server, "server", "s");
	fixture_enrol(&con, &agent, "agent", "m");
	return 0;
}

static int teardown(void **state)
{
	caller_done(&agent);
	caller_done(&server);
	fixture_stop(&con);
	return 0;
}

/* What the agent says of its hardware, @drivers in it, and what the console makes of it. */
static json_t *machine_says_hardware(const char *drivers)
{
	char text[512];
	json_t *hardware;

	snprintf(text, sizeof(text),
		 "{\"kernel\": \"6.1.0\", \"drivers\": %s, \"names\": [{\"file\": \"/etc/fstab\", \"device\": \"/dev/sda1\", "
		 "\"uuid\": null, \"disk\": 0}], \"network\": {\"interface\": \"ens3\", \"mac\": \"52:54:00:00:00:01\", \"bound\": "
		 "[{\"file\": \"/etc/n\", \"by\": \"mac\"}, {\"file\": \"/etc/n\", \"by\": \"name\"}]}}",
		 drivers);
	hardware = json_loads(text, 0, NULL);
	assert_non_null(hardware);
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_pack("{s:o}", "hardware", hardware)));
	return ADMIN(200, "GET", "/machines/m", NULL);
}

static void expect_needs(json_t *machine, const char *codes)
{
	char text[256] = "";
	json_t *need;
	size_t i;

	json_array_foreach(json_object_get(machine, "launch_needs"), i, need) {
		assert_non_null(strstr(text_in(need, "text"), text_in(json_object_get(need, "args"), "file") ?: "6.1.0"));
		strcat(strcat(text, i ? " " : ""), text_in(need, "code"));
	}
	assert_string_equal(text, codes);
	json_decref(machine);
}

static void test_what_a_machine_is_bound_to_is_kept_shown_and_told_to_its_launches(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *c, *hardware;
	struct fake f;

	expect_needs(ADMIN(200, "GET", "/machines/m", NULL), "");
	expect_needs(machine_says_hardware("{\"virtio_pci\": \"boot\", \"virtio_blk\": \"boot\"}"), "NEEDS_NAME NEEDS_NETWORK");
	expect_needs(machine_says_hardware("{\"ahci\": \"boot\", \"sd_mod\": \"boot\"}"), "NEEDS_OTHER_BUS NEEDS_NETWORK");
	/* The kernel is that which runs now, not that of the enrolment. */
	c = ADMIN(200, "GET", "/machines/m", NULL);
	assert_string_equal(text_in(json_object_get(c, "facts"), "kernel"), "6.1.0");
	json_decref(c);
	/* What is not understood changes nothing. */
	expect_needs(machine_says_hardware("{\"ahci\": \"perhaps\"}"), "NEEDS_OTHER_BUS NEEDS_NETWORK");
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_pack("{s:s}", "hardware", "none")));
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "disk_bus", "nvme")));
	expect_needs(ADMIN(200, "GET", "/machines/m", NULL), "NEEDS_INITRAMFS NEEDS_NAME NEEDS_NETWORK");
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint",
			  json_pack("{s:n, s:s, s:s}", "disk_bus", "convert", "never", "new_identity", "yes")));
	fake_start(&f, all_well);
	ask("test", launch, job);
	c = command_of(&f, "launch");
	hardware = json_object_get(c, "hardware");
	assert_string_equal(text_in(hardware, "kernel"), "6.1.0");
	assert_string_equal(text_in(json_object_get(hardware, "drivers"), "ahci"), "boot");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "disk_bus"), "auto");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "convert"), "never");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "new_identity"), "yes");
	json_decref(c);
	fake_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_job_of_a_launch_ends_when_its_post_launch_has_run),
		cmocka_unit_test(test_a_machine_that_is_written_is_done_when_all_of_it_is_there),
		cmocka_unit_test(test_a_launch_and_its_job_follow_the_servers_record),
		cmocka_unit_test(test_what_the_server_refuses_is_said_and_kept_as_a_failed_job),
		cmocka_unit_test(test_bad_launches_are_refused_before_anything_begins),
		cmocka_unit_test(test_a_machine_that_fails_fails_its_job_with_the_reason),
		cmocka_unit_test(test_a_launch_that_vanishes_is_over),
		cmocka_unit_test(test_a_launch_that_booted_and_ended_between_two_statuses_was_a_success),
		cmocka_unit_test(test_a_launch_that_vanishes_when_it_was_to_end_has_ended),
		cmocka_unit_test(test_a_server_speaks_for_its_own_machines_only),
		cmocka_unit_test(test_a_machine_that_runs_unknown_to_the_catalogue_is_taken_over),
		cmocka_unit_test(test_records_that_make_no_sense_do_no_harm),
		cmocka_unit_test(test_a_launch_that_is_not_taken_fails_and_is_not_taken_later),
		cmocka_unit_test(test_a_server_that_is_away_fails_nothing_but_is_said),
		cmocka_unit_test(test_what_the_catalogue_could_not_take_is_taken_from_the_next_status),
		cmocka_unit_test(test_a_machine_is_kept_and_stands),
		cmocka_unit_test(test_a_machine_that_could_not_be_kept_is_still_booted),
		cmocka_unit_test(test_a_keep_that_the_server_refuses_is_said),
		cmocka_unit_test(test_what_is_over_is_forgotten_when_deleted_again),
		cmocka_unit_test(test_console_log_and_screenshot_are_the_servers),
		cmocka_unit_test(test_a_blueprint_has_defaults_and_its_changes_are_events),
		cmocka_unit_test(test_drills_are_started_by_the_console_one_at_a_time),
		cmocka_unit_test(test_the_life_of_a_machine_has_its_dates),
		cmocka_unit_test(test_what_many_drills_leave_does_not_pile_up),
		cmocka_unit_test(test_what_a_machine_is_bound_to_is_kept_shown_and_told_to_its_launches),
		cmocka_unit_test(test_a_machine_is_not_removed_under_its_launches),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
