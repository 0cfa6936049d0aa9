/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that are made to stand on their own, with a server that does what a test tells it. */
#include "launches_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

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

static size_t count_events(const char *code, const char *launch)
{
	json_t *answer = ADMIN(200, "GET", "/events?limit=1000", NULL), *e;
	size_t i, n = 0;

	json_array_foreach(json_object_get(answer, "events"), i, e)
		n += !strcmp(text_in(e, "code"), code) && !strcmp(text_in(json_object_get(e, "args"), "launch"), launch);
	json_decref(answer);
	return n;
}

/* Killed, or shut down from inside: it is over, and its disks are the only copy. */
static void test_what_ended_and_left_its_disks_is_started_again_by_keeping_it(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], keep_job[ID_SIZE];
	json_t *record, *answer, *c, *l;
	struct fake f;

	fake_start(&f, all_well);
	ask("cutover", launch, job);
	record = new_record(launch, "cutover");
	boot(record);
	move(record, "standing", "all its data is its own");
	json_object_set_new(record, "disks_kept", json_true());
	fault_of(record, "LAUNCH_KILLED");
	move(record, "failed", "it was killed");
	expect_state(launch, "failed");
	answer = call(202, "POST", launch, "/keep");
	snprintf(keep_job, sizeof(keep_job), "%s", text_in(answer, "job"));
	json_decref(answer);
	c = command_of(&f, "keep");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	/* not by how it had ended, and ended it is told, not forgotten */
	expect_job(keep_job, "KEEP", "STARTED", 0);
	json_decref(call(202, "DELETE", launch, ""));
	json_object_del(record, "disks_kept");
	json_object_del(record, "fault");
	move(record, "stopped", "starting it from its own disks");
	json_object_set_new(record, "started_again", json_string("2026-11-23T09:00:00.000000Z"));
	move(record, "standing", "its processors run again");
	expect_job(keep_job, "KEEP", "COMPLETED", 2);
	assert_true(has_event("LAUNCH_STARTED_AGAIN", launch));
	l = get("launches", launch);
	assert_string_equal(text_in(l, "state"), "standing");
	assert_true(is_null_in(l, "ended"));
	assert_true(is_null_in(l, "fault"));
	json_decref(l);
	move(record, "ended", "the machine is gone");
	json_decref(call(204, "DELETE", launch, ""));
	json_decref(record);
	fake_stop(&f);
}

static void test_a_cutover_that_is_not_proved_fails_its_job_and_runs_on(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *answer, *l;
	struct fake f;

	fake_start(&f, all_well);
	ask("cutover", launch, job);
	record = new_record(launch, "cutover");
	json_object_set_new(record, "not_proved",
			    json_pack("{s:s, s:{s:s, s:s, s:s}}", "code", "LAUNCH_UNPROVED", "args", "machine", "m",
				      "seconds", "600", "launch", launch));
	move(record, "booting", "m did not show that it has booted");
	expect_job(job, "CUTOVER_LAUNCH", "FAILED", 1);
	assert_true(has_event("LAUNCH_UNPROVED", launch));
	l = get("launches", launch);
	assert_string_equal(text_in(l, "state"), "booting");
	assert_string_equal(text_in(json_object_get(l, "not_proved"), "code"), "LAUNCH_UNPROVED");
	assert_true(is_null_in(l, "ended"));
	json_decref(l);
	/* a person has seen that it runs */
	answer = call(202, "POST", launch, "/keep");
	move(record, "keeping", "copying");
	move(record, "standing", "all its data is its own");
	expect_job(text_in(answer, "job"), "KEEP", "COMPLETED", 2);
	assert_false(has_event("LAUNCH_BOOTED", launch));
	json_decref(answer);
	move(record, "ended", "the machine is gone");
	json_decref(record);
	fake_stop(&f);
}

/* However little is seen of it. */
static void test_a_machine_that_is_kept_goes_on_with_it_after_a_restart(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE], keep_job[ID_SIZE];
	json_t *record, *answer;
	struct fake f;

	fake_start(&f, all_well);
	for (int seen = 0; seen < 3; seen++) { /* of stopped, booted, keeping: nothing, the last, all */
		ask("test", launch, job);
		record = new_record(launch, "test");
		boot(record);
		answer = call(202, "POST", launch, "/keep");
		snprintf(keep_job, sizeof(keep_job), "%s", text_in(answer, "job"));
		json_decref(answer);
		move(record, "keeping", "copying");
		json_object_set_new(record, "needs_store", json_true());
		if (seen > 1)
			move(record, "stopped", "it is started again when this machine is");
		expect_job(keep_job, "KEEP", "STARTED", seen > 1 ? 2 : 1);
		json_object_set_new(record, "started_again", json_string("2026-11-23T00:00:00.000000Z"));
		json_object_del(record, "needs_store");
		if (seen)
			move(record, "booted", "its processors run again");
		assert_false(has_event("LAUNCH_NOT_KEPT", launch));
		assert_false(has_event("LAUNCH_STANDS", launch));
		if (seen > 1)
			move(record, "keeping", "copying");
		move(record, "standing", "all its data is its own");
		answer = get("jobs", keep_job);
		assert_string_equal(text_in(answer, "status"), "COMPLETED");
		json_decref(answer);
		assert_int_equal(count_events("LAUNCH_STANDS", launch), 1);
		assert_int_equal(count_events("LAUNCH_STARTED_AGAIN", launch), 1);
		/* one that stands is said to once only */
		move(record, "stopped", "it is started again when this machine is");
		move(record, "standing", "its processors run again");
		assert_int_equal(count_events("LAUNCH_STANDS", launch), 1);
		move(record, "ended", "gone");
		json_decref(record);
	}
	fake_stop(&f);
}

static void test_a_machine_that_cannot_be_kept_after_a_restart_either_says_so_again(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record;
	struct fake f;

	fake_start(&f, all_well);
	ask("cutover", launch, job);
	record = new_record(launch, "cutover");
	boot(record);
	move(record, "keeping", "copying");
	json_object_set_new(record, "not_kept", json_string("No space left on device"));
	move(record, "booted", "it still needs the store");
	assert_int_equal(count_events("LAUNCH_NOT_KEPT", launch), 1);
	json_object_del(record, "not_kept");
	json_object_set_new(record, "started_again", json_string("2026-11-23T00:00:00.000000Z"));
	move(record, "booted", "its processors run again");
	assert_int_equal(count_events("LAUNCH_NOT_KEPT", launch), 1);
	/* all of it between two statuses */
	json_object_set_new(record, "started_again", json_string("2026-11-24T00:00:00.000000Z"));
	json_object_set_new(record, "not_kept", json_string("No space left on device"));
	move(record, "booted", "it still needs the store");
	assert_int_equal(count_events("LAUNCH_NOT_KEPT", launch), 2);
	assert_int_equal(count_events("LAUNCH_STARTED_AGAIN", launch), 2);
	move(record, "ended", "gone");
	json_decref(record);
	fake_stop(&f);
}

static void test_a_cutover_that_boots_and_cannot_be_kept_between_two_statuses_says_so(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record;
	struct fake f;

	fake_start(&f, all_well);
	ask("cutover", launch, job);
	record = new_record(launch, "cutover");
	json_object_set_new(record, "not_kept", json_string("No space left on device"));
	boot(record);
	assert_int_equal(count_events("LAUNCH_NOT_KEPT", launch), 1);
	move(record, "ended", "gone");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_machine_is_kept_and_stands),
		cmocka_unit_test(test_what_ended_and_left_its_disks_is_started_again_by_keeping_it),
		cmocka_unit_test(test_a_cutover_that_is_not_proved_fails_its_job_and_runs_on),
		cmocka_unit_test(test_a_machine_that_is_kept_goes_on_with_it_after_a_restart),
		cmocka_unit_test(test_a_machine_that_cannot_be_kept_after_a_restart_either_says_so_again),
		cmocka_unit_test(test_a_cutover_that_boots_and_cannot_be_kept_between_two_statuses_says_so),
		cmocka_unit_test(test_a_machine_that_could_not_be_kept_is_still_booted),
		cmocka_unit_test(test_a_keep_that_the_server_refuses_is_said),
	};

	return cmocka_run_group_tests(tests, launches_setup, launches_teardown);
}
