/* SPDX-License-Identifier: Apache-2.0 */
/* Launches and their jobs, with a server that does what a test tells it. */
#include "db_launches.h"
#include "db_work.h"
#include "launches.h"
#include "launches_fixture.h"
#include "ticks.h"
#include "wallclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

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

static json_t *life_of(void)
{
	json_t *m = ADMIN(200, "GET", "/machines/m", NULL), *life = json_deep_copy(json_object_get(m, "life_cycle"));

	json_decref(m);
	return life;
}

static void expect_replica(const char *launch)
{
	json_t *m = ADMIN(200, "GET", "/machines/m", NULL);

	if (*launch)
		assert_string_equal(text_in(m, "replica"), launch);
	else
		assert_true(is_null_in(m, "replica"));
	json_decref(m);
}

/* What the API of CloudEndure calls a replica, lastTestLaunchDateTime and lastCutoverDateTime. */
static void test_a_machine_has_a_replica_while_a_launch_is_there_and_the_dates_of_what_succeeded(void **state)
{
	static const char *const kinds[] = { "test", "cutover" }, *const dates[] = { "last_test_launch", "last_cutover" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		char launch[ID_SIZE], job[ID_SIZE], job_name[64], before[64], now[WALLCLOCK_TEXT_LEN + 1];
		json_t *record, *life = life_of();
		struct fake f;

		snprintf(before, sizeof(before), "%s", text_in(life, dates[i]) ?: "");
		json_decref(life);
		snprintf(job_name, sizeof(job_name), "%s_job", dates[i]);
		wallclock_format(wallclock_now_us(), now);
		fake_start(&f, all_well);
		ask(kinds[i], launch, job);
		expect_replica("");
		record = new_record(launch, kinds[i]);
		move(record, "booting", "its processors run");
		expect_replica(launch);
		life = life_of();
		assert_string_equal(text_in(life, dates[i]) ?: "", before); /* not before it has succeeded */
		json_decref(life);
		boot(record);
		life = life_of();
		assert_true(strcmp(text_in(life, dates[i]), now) >= 0);
		assert_string_equal(text_in(life, job_name), job);
		json_decref(life);
		expect_replica(launch);
		move(record, "ended", "the machine is gone");
		expect_replica("");
		json_decref(record);
		fake_stop(&f);
	}
}

/* Replication is always a little behind: there is never a point of this very moment. */
static void test_this_moment_is_the_newest_point(void **state)
{
	static const char *const now[] = { "now", "0s ago", "latest" };

	for (size_t i = 0; i < ARRAY_LEN(now); i++) {
		struct fake f;
		json_t *c, *l;

		fake_start(&f, all_well);
		json_decref(ADMIN(202, "POST", "/machines/m/launches", json_pack("{s:s}", "at", now[i])));
		c = command_of(&f, "launch");
		assert_string_equal(text_in(c, "at"), "latest");
		l = get("launches", text_in(c, "launch"));
		assert_string_equal(text_in(l, "at"), now[i]); /* as it was written */
		json_decref(l);
		json_decref(c);
		fake_stop(&f);
	}
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

static void *leave(void *context)
{
	json_decref(command_of(context, "launch"));
	fake_stop(context);
	live_forget(con.console.live, server.id); /* as after 15 s of silence */
	return NULL;
}

/* Long before it would have to answer. */
static void test_a_launch_does_not_wait_for_a_server_that_goes_meanwhile(void **state)
{
	const struct answer none[] = { { NULL } };
	uint64_t began = monotonic_now_us();
	pthread_t leaving;
	json_t *answer, *j;
	struct fake f;

	fake_start(&f, none);
	assert_int_equal(pthread_create(&leaving, NULL, leave, &f), 0);
	answer = ADMIN(202, "POST", "/machines/m/launches", NULL);
	assert_int_equal(pthread_join(leaving, NULL), 0);
	assert_true(monotonic_now_us() - began < 30 * USEC_PER_SEC);
	j = get("jobs", text_in(answer, "job"));
	assert_string_equal(text_in(j, "status"), "PENDING");
	assert_string_equal(text_in(json_array_get(json_object_get(j, "problems"), 0), "code"), "SERVER_AWAY");
	json_decref(j);
	json_decref(answer);
	caller_connect(&con, &server);
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
	json_t *answer, *c, *picture;
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
	/* and as text, for programs that take JSON only */
	snprintf(path, sizeof(path), "/launches/%s/screenshot?base64=1", launch);
	picture = ADMIN(200, "GET", path, NULL);
	assert_string_equal(text_in(picture, "png"), text_in(answers[2].result, "png"));
	json_decref(picture);
	fake_stop(&f);
	json_decref(answers[1].result);
	json_decref(answers[2].result);
	answers[2].result = json_pack("{s:s}", "png", "c29tZXRoaW5nIGVsc2U=");
	fake_start(&f, answers);
	snprintf(path, sizeof(path), "/launches/%s/screenshot", launch);
	refused(ADMIN(404, "GET", path, NULL), "LAUNCH_NO_SCREENSHOT");
	fake_stop(&f);
	json_decref(answers[2].result);
	/* it is listed, and its server has nothing of it */
	answers[1] = (struct answer){ "console_log", "LAUNCH_UNKNOWN" };
	answers[2] = (struct answer){ "screenshot", "LAUNCH_UNKNOWN" };
	fake_start(&f, answers);
	refused(ADMIN(404, "GET", path, NULL), "LAUNCH_NEVER_STARTED");
	refused(call(404, "GET", launch, "/console-log"), "LAUNCH_NEVER_STARTED");
	fake_stop(&f);
	post_status(json_array());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_job_of_a_launch_ends_when_its_post_launch_has_run),
		cmocka_unit_test(test_a_machine_that_is_written_is_done_when_all_of_it_is_there),
		cmocka_unit_test(test_a_launch_and_its_job_follow_the_servers_record),
		cmocka_unit_test(test_a_machine_has_a_replica_while_a_launch_is_there_and_the_dates_of_what_succeeded),
		cmocka_unit_test(test_this_moment_is_the_newest_point),
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
		cmocka_unit_test(test_a_launch_does_not_wait_for_a_server_that_goes_meanwhile),
		cmocka_unit_test(test_what_the_catalogue_could_not_take_is_taken_from_the_next_status),
		cmocka_unit_test(test_what_is_over_is_forgotten_when_deleted_again),
		cmocka_unit_test(test_console_log_and_screenshot_are_the_servers),
	};

	return cmocka_run_group_tests(tests, launches_setup, launches_teardown);
}
