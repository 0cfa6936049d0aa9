/* SPDX-License-Identifier: Apache-2.0 */
/* What a started machine says, and what a launch makes of it: the target is the test's. */
#include "launch-private.h"
#include "fileio.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define EVENTS launch_target_events

static char folder[64];
static struct launch l;
static unsigned int ran, kept, stopped;
static void (*picture_done)(void *context, const char *error);

static void take_picture(struct target *t, const char *path, void (*done)(void *context, const char *error), void *context)
{
	if (picture_done) /* as qemu's does */
		done(context, "a picture is being taken already");
	else
		picture_done = done;
}

static int run(struct target *t, const char *name, const char *command)
{
	ran++;
	return 0;
}

static void keep(struct target *t)
{
	kept++;
}

static void stop(struct target *t)
{
	stopped++;
}

static void power_off(struct target *t)
{
}

static const struct target_ops ops = { .name = "test", .screenshot = take_picture, .run = run, .keep = keep, .stop = stop,
				       .power_off = power_off };

static int begin(void **state)
{
	strcpy(folder, "/tmp/godwit-watch.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	ran = kept = stopped = 0;
	picture_done = NULL;
	l = (struct launch){ .folder = folder, .ops = &ops, .target = (struct target *)folder, .store_fd = -1,
			     .proof_status = -1 };
	l.spec = (struct launch_spec){ .machine = "web", .proof_seconds = 600 };
	if (loop_new(&l.loop) || record_new(folder, &l.spec, &l.record))
		return -1;
	record_state(l.record, LAUNCH_STARTING, "starting");
	record_state(l.record, LAUNCH_BOOTING, "its processors run");
	return 0;
}

static int finish(void **state)
{
	char path[PATH_MAX];

	loop_clear_timer(l.loop, &l.deadline);
	loop_clear_timer(l.loop, &l.power_off_limit);
	loop_clear_timer(l.loop, &l.again);
	record_free(l.record);
	loop_free(l.loop);
	snprintf(path, sizeof(path), "%s/launch.json", folder);
	(void)unlink(path);
	return rmdir(folder);
}

static void say(const char *text)
{
	EVENTS.output(&l, text, strlen(text));
}

static enum launch_state state_now(void)
{
	return record_current(l.record);
}

static void nothing(void *context)
{
}

/* Also if no timer is left that would end the wait. */
static void turn_until(const bool *is_so, uint64_t deadline_us)
{
	uint64_t end = monotonic_now_us() + deadline_us;
	struct loop_timer guard = { .fire = nothing };

	loop_set_timer(l.loop, &guard, end);
	while (!*is_so) {
		assert_true(monotonic_now_us() < end);
		assert_int_equal(loop_turn(l.loop), 0);
	}
	loop_clear_timer(l.loop, &guard);
}

static const char *in_record(void)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/launch.json", folder);
	return path;
}

/* --- the serial console ---------------------------------------------------------------------- */

static void test_a_prompt_is_seen_whatever_came_with_it(void **state)
{
	char text[4096];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memcpy(text + 100, "web login: ", 11);
	say(text);
	assert_int_equal(state_now(), LAUNCH_BOOTED);
}

static void is_proved_by(const char *by)
{
	json_t *j = json_load_file(in_record(), 0, NULL);

	assert_int_equal(state_now(), LAUNCH_BOOTED);
	assert_string_equal(json_string_value(json_object_get(j, "proof")), by);
	assert_true(json_is_integer(json_object_get(json_object_get(j, "milliseconds"), "proof")));
	json_decref(j);
}

static void test_a_guest_agent_that_answers_is_a_proof(void **state)
{
	l.spec.proof = PROOF_AGENT;
	say("web login: ");
	launch_guest_ready(&l);
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	EVENTS.agent(&l);
	is_proved_by("its guest agent answers");
}

/* An ordinary machine has no serial console. */
static void test_godwit_launched_in_it_is_as_good_as_a_login_prompt(void **state)
{
	launch_guest_ready(&l);
	is_proved_by("godwit-launched answers in it");
}

static void test_what_asks_for_a_text_is_not_proved_by_godwit_launched(void **state)
{
	l.spec.proof = PROOF_TEXT;
	strcpy(l.spec.proof_text, "it is up");
	launch_guest_ready(&l);
	EVENTS.agent(&l);
	assert_int_equal(state_now(), LAUNCH_BOOTING);
}

static void test_the_kernels_first_line_has_its_time(void **state)
{
	static const char *const lines[] = { "[    0.000000] Linux version 6.1", "systemd[1]: Detected" };

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		json_t *j;

		say("GRUB loading.\n");
		j = json_load_file(in_record(), 0, NULL);
		assert_null(json_object_get(json_object_get(j, "milliseconds"), "kernel"));
		json_decref(j);
		say(lines[i]);
		j = json_load_file(in_record(), 0, NULL);
		assert_true(json_is_integer(json_object_get(json_object_get(j, "milliseconds"), "kernel")));
		assert_non_null(json_object_get(json_object_get(j, "times"), "kernel"));
		json_decref(j);
		(void)finish(state);
		assert_int_equal(begin(state), 0);
	}
}

static unsigned int lines_with(const char *text)
{
	json_t *j = json_load_file(in_record(), 0, NULL), *line;
	unsigned int n = 0;
	size_t i;

	json_array_foreach(json_object_get(j, "log"), i, line)
		n += strstr(json_string_value(json_object_get(line, "message")), text) != NULL;
	json_decref(j);
	return n;
}

/* qemu waits and tries again, and says so as often. */
static void test_a_machine_without_room_waits_and_that_is_said_once(void **state)
{
	say("web login: ");
	l.standing = true; /* its store is no matter */
	for (unsigned int i = 0; i < 3; i++)
		EVENTS.disk_trouble(&l, "disk0", "No space left on device", true);
	assert_int_equal(lines_with("there is no room left for what it writes"), 1);
	assert_int_equal(state_now(), LAUNCH_BOOTED);
	assert_false(l.failing);
	assert_int_equal(stopped, 0);
}

/* --- no proof ------------------------------------------------------------------------------------ */

static void run_out_of_time(void)
{
	launch_await_proof(&l);
	l.deadline.fire(l.deadline.context);
}

static void test_a_test_that_is_not_proved_in_time_ends(void **state)
{
	run_out_of_time();
	assert_true(l.failing);
	assert_int_equal(l.why.code, MSG_LAUNCH_NOT_PROVED);
	picture_done(&l, NULL);
	assert_int_equal(stopped, 1);
}

static void test_a_cutover_that_is_not_proved_in_time_runs_on_and_is_proved_later(void **state)
{
	json_t *j;

	l.spec.kind = LAUNCH_CUTOVER;
	run_out_of_time();
	assert_false(l.failing);
	assert_non_null(picture_done);
	picture_done(&l, NULL);
	picture_done = NULL;
	assert_int_equal(stopped, 0);
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	j = json_load_file(in_record(), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json_object_get(j, "not_proved"), "code")), "LAUNCH_UNPROVED");
	json_decref(j);
	say("web login: ");
	j = json_load_file(in_record(), 0, NULL);
	assert_null(json_object_get(j, "not_proved"));
	json_decref(j);
	is_proved_by("a login prompt is on its serial console");
	picture_done(&l, NULL);
	assert_int_equal(kept, 1);
}

static void test_a_cutover_that_runs_unproved_can_be_kept(void **state)
{
	l.spec.kind = LAUNCH_CUTOVER;
	launch_keep(&l);
	assert_int_equal(kept, 0);
	run_out_of_time();
	launch_keep(&l);
	assert_int_equal(kept, 1);
	assert_int_equal(state_now(), LAUNCH_KEEPING);
}

static void test_a_test_whose_console_says_why_it_does_not_boot_fails_soon(void **state)
{
	launch_await_proof(&l);
	say("error: you need to load the kernel first.\n");
	assert_in_range(l.deadline.at_us, monotonic_now_us(), monotonic_now_us() + 20 * USEC_PER_SEC);
	l.deadline.fire(l.deadline.context);
	assert_true(l.failing);
	assert_int_equal(l.why.code, MSG_LAUNCH_NO_KERNEL);
}

static void test_a_cutover_whose_console_says_why_it_does_not_boot_runs_on(void **state)
{
	l.spec.kind = LAUNCH_CUTOVER;
	launch_await_proof(&l);
	say("error: you need to load the kernel first.\n");
	l.deadline.fire(l.deadline.context);
	assert_false(l.failing);
	assert_true(l.unproved);
	assert_int_equal(lines_with("you need to load the kernel first"), 1);
	picture_done(&l, NULL);
	picture_done = NULL;
	assert_int_equal(stopped, 0);
	say("web login: ");
	is_proved_by("a login prompt is on its serial console");
}

/* A panic that reboots it, say. */
static void test_what_gets_further_after_it_said_why_it_does_not_boot_has_all_its_time(void **state)
{
	static const char *const further[] = { "[    0.000000] Linux version 6.1\n", "systemd[1]: Detected\n" };

	for (size_t i = 0; i < ARRAY_LEN(further); i++) {
		launch_await_proof(&l);
		say("[    0.000000] Linux version 6.1\n[    0.9] Kernel panic - not syncing: no init\n[    0.9] CPU: 0\n");
		assert_true(l.deadline.at_us < l.proof_us);
		say(further[i]);
		assert_int_equal(l.deadline.at_us, l.proof_us);
		say("[    0.8] Kernel panic - not syncing: again\n");
		assert_true(l.deadline.at_us < l.proof_us);
		say(further[i]);
		l.deadline.fire(l.deadline.context);
		assert_int_equal(l.why.code, MSG_LAUNCH_NOT_PROVED);
		(void)finish(state);
		assert_int_equal(begin(state), 0);
	}
	launch_await_proof(&l);
	say("Kernel panic - not syncing: no init\n");
	say(further[0]);
	say("web login: ");
	assert_int_equal(state_now(), LAUNCH_BOOTED);
}

static void test_a_text_in_many_pieces_is_seen(void **state)
{
	l.spec.proof = PROOF_TEXT;
	strcpy(l.spec.proof_text, "it is up");
	say("web login: it is");
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	EVENTS.output(&l, "", 0);
	say(" up");
	assert_int_equal(state_now(), LAUNCH_BOOTED);
}

static void test_what_has_failed_is_not_proved_while_its_last_picture_is_taken(void **state)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", "web", NULL);
	launch_fail(&l, &f);
	assert_non_null(picture_done);
	say("web login: ");
	EVENTS.agent(&l);
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	/* and it ends, also if there is no picture */
	assert_int_not_equal(l.deadline.at_us, 0);
	picture_done(&l, NULL);
	assert_int_equal(stopped, 1);
}

static void test_the_picture_of_its_proof_begins_nothing_in_what_has_failed_since(void **state)
{
	struct fault f;

	strcpy(l.spec.post_launch, "true");
	EVENTS.ready(&l);
	say("web login: ");
	(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", "web", NULL);
	launch_fail(&l, &f);
	picture_done(&l, NULL);
	assert_int_equal(ran, 0);
	assert_int_equal(kept, 0);
}

static void test_what_has_not_booted_is_not_kept(void **state)
{
	launch_keep(&l);
	assert_int_equal(kept, 0);
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	say("web login: ");
	launch_keep(&l);
	assert_int_equal(kept, 1);
	assert_int_equal(state_now(), LAUNCH_KEEPING);
}

static void test_what_a_stranger_said_is_printable_in_the_log(void **state)
{
	char path[PATH_MAX], *text;

	record_line(l.record, "/etc/fstab: /dev/sda\x1b[2J\xff is left as it is");
	snprintf(path, sizeof(path), "%s/launch.json", folder);
	assert_int_equal(fileio_slurp(path, MIB, &text, NULL), 0);
	assert_non_null(strstr(text, "/etc/fstab: /dev/sda?[2J? is left as it is"));
	free(text);
}

static void test_of_a_console_that_talks_for_ever_the_end_is_kept(void **state)
{
	static char text[MIB];
	char path[PATH_MAX], end[16] = "";
	struct stat st;
	int fd;

	memset(text, 'x', sizeof(text));
	snprintf(path, sizeof(path), "%s/serial.log", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(fileio_write_full(fd, text, sizeof(text)), 0);
		EVENTS.output(&l, text, sizeof(text));
	}
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 40 * MIB);
	assert_in_range(st.st_blocks * 512, 16 * MIB, 20 * MIB);
	assert_int_equal(fileio_pread_full(fd, end, 1, 24 * MIB), 0);
	assert_string_equal(end, "x");
	close(fd);
	(void)unlink(path);
}

/* --- commands in the machine ----------------------------------------------------------------- */

static void prove_by_command(unsigned int seconds)
{
	l.spec.proof = PROOF_COMMAND;
	strcpy(l.spec.proof_command, "true");
	l.spec.proof_seconds = seconds;
	launch_await_proof(&l);
}

static void test_the_end_of_a_command_that_was_not_run_is_no_proof(void **state)
{
	prove_by_command(600);
	EVENTS.ran(&l, "proof_command", 0, "");
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	EVENTS.ready(&l);
	EVENTS.ran(&l, "proof_command", 0, ""); /* it is about to be run */
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	assert_int_equal(loop_turn(l.loop), 0);
	assert_int_equal(ran, 1);
	EVENTS.ran(&l, "post_launch", 0, "");
	assert_int_equal(state_now(), LAUNCH_BOOTING);
	EVENTS.ran(&l, "proof_command", 0, "");
	assert_int_equal(state_now(), LAUNCH_BOOTED);
}

static void test_a_machine_that_talks_too_much_is_asked_no_more_often_and_fails_in_time(void **state)
{
	uint64_t begun = monotonic_now_us();

	prove_by_command(1);
	EVENTS.ready(&l);
	assert_int_equal(loop_turn(l.loop), 0);
	for (int i = 0; i < 100; i++) {
		EVENTS.ran(&l, "proof_command", 1 + i % 2, "no\n");
		EVENTS.ready(&l);
	}
	turn_until(&l.failing, 20 * USEC_PER_SEC);
	assert_int_equal(l.why.code, MSG_LAUNCH_NOT_PROVED);
	assert_in_range(ran, 1, 1 + (monotonic_now_us() - begun) / (3 * USEC_PER_SEC));
}

static void test_post_launch_ends_once(void **state)
{
	strcpy(l.spec.post_launch, "true");
	say("web login: ");
	picture_done(&l, NULL);
	EVENTS.ran(&l, "post_launch", 0, ""); /* nobody is there to run it */
	assert_int_not_equal(l.deadline.at_us, 0);
	EVENTS.ready(&l);
	assert_int_equal(ran, 1);
	EVENTS.ran(&l, "post_launch", 3, "a\n");
	assert_int_equal(l.deadline.at_us, 0);
	EVENTS.ran(&l, "post_launch", 0, "b\n");
	EVENTS.ready(&l);
	assert_int_equal(ran, 1);
}

/* What its record says of post_launch: 1: it is awaited, 0: it has ended, -1: nothing. */
static int post_launch_pending(void)
{
	char path[PATH_MAX];
	json_t *j, *command;
	int pending;

	snprintf(path, sizeof(path), "%s/launch.json", folder);
	j = json_load_file(path, 0, NULL);
	command = json_object_get(json_object_get(j, "post_launch"), "pending");
	pending = command ? json_is_true(command) : -1;
	json_decref(j);
	return pending;
}

static void test_what_has_booted_says_from_the_first_that_post_launch_is_still_to_run(void **state)
{
	strcpy(l.spec.post_launch, "true");
	assert_int_equal(post_launch_pending(), -1);
	EVENTS.ready(&l);
	say("web login: ");
	assert_int_equal(state_now(), LAUNCH_BOOTED);
	assert_int_equal(post_launch_pending(), 1);
	EVENTS.ready(&l); /* once more, while the picture is being taken */
	assert_int_equal(ran, 0);
	picture_done(&l, NULL);
	assert_int_equal(ran, 1);
	EVENTS.ran(&l, "post_launch", 0, "");
	assert_int_equal(post_launch_pending(), 0);
	assert_int_equal(l.deadline.at_us, 0);
}

static void test_a_drill_awaits_no_post_launch(void **state)
{
	strcpy(l.spec.post_launch, "true");
	l.spec.kind = LAUNCH_DRILL;
	say("web login: ");
	assert_int_equal(post_launch_pending(), -1);
}

/* --- with the server's machine ------------------------------------------------------------------ */

/* Whatever comes in between, it is ended when it has not powered itself off in time. */
static void test_nothing_that_a_machine_says_lifts_the_limit_for_its_power_off(void **state)
{
	for (int how = 0; how < 3; how++) {
		l.spec.kind = LAUNCH_CUTOVER;
		l.spec.poweroff_seconds = 1;
		strcpy(l.spec.post_launch, "true");
		if (how == 0) { /* it runs post_launch */
			EVENTS.ready(&l);
			say("web login: ");
			picture_done(&l, NULL);
			assert_int_equal(ran, 1);
		} else { /* it has not shown that it boots */
			run_out_of_time();
		}
		launch_stop_in_order(&l);
		assert_true(l.powering_off);
		if (how == 0)
			EVENTS.ran(&l, "post_launch", 0, "");
		else if (how == 1)
			say("web login: ");
		else
			say("Kernel panic - not syncing: no init\n");
		turn_until(&l.ending, 20 * USEC_PER_SEC);
		assert_int_equal(stopped, 1);
		assert_int_equal(lines_with("had not powered itself off"), 1);
		(void)finish(state);
		assert_int_equal(begin(state), 0);
	}
}

static void test_a_drill_whose_picture_does_not_come_ends_all_the_same(void **state)
{
	l.spec.kind = LAUNCH_DRILL;
	say("web login: ");
	assert_int_equal(stopped, 0);
	assert_in_range(l.deadline.at_us, monotonic_now_us(), monotonic_now_us() + 60 * USEC_PER_SEC);
	l.deadline.fire(l.deadline.context);
	assert_int_equal(stopped, 1);
}

static void test_a_picture_that_comes_too_late_begins_nothing_twice(void **state)
{
	l.spec.kind = LAUNCH_CUTOVER;
	say("web login: ");
	l.deadline.fire(l.deadline.context);
	assert_int_equal(kept, 1);
	picture_done(&l, NULL);
	assert_int_equal(kept, 1);
}

/* --- what is run here ---------------------------------------------------------------------------- */

static void test_a_tool_that_does_not_end_is_ended(void **state)
{
	const char *const argv[] = { "sleep", "600", NULL }, *const quick[] = { "echo", "well", NULL };
	uint64_t begun = monotonic_now_us();
	char said[64];

	assert_int_equal(tool_run_for(argv, folder, 1, said, sizeof(said)), -ETIMEDOUT);
	assert_true(monotonic_now_us() < begun + 60 * USEC_PER_SEC);
	assert_string_equal(said, "sleep did not end within 1 s");
	assert_int_equal(tool_run(quick, folder, said, sizeof(said)), 0);
	assert_string_equal(said, "well\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_prompt_is_seen_whatever_came_with_it, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_text_in_many_pieces_is_seen, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_guest_agent_that_answers_is_a_proof, begin, finish),
		cmocka_unit_test_setup_teardown(test_godwit_launched_in_it_is_as_good_as_a_login_prompt, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_asks_for_a_text_is_not_proved_by_godwit_launched, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_kernels_first_line_has_its_time, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_machine_without_room_waits_and_that_is_said_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_test_that_is_not_proved_in_time_ends, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_cutover_that_is_not_proved_in_time_runs_on_and_is_proved_later, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_cutover_that_runs_unproved_can_be_kept, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_test_whose_console_says_why_it_does_not_boot_fails_soon, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_cutover_whose_console_says_why_it_does_not_boot_runs_on, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_gets_further_after_it_said_why_it_does_not_boot_has_all_its_time, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_has_failed_is_not_proved_while_its_last_picture_is_taken, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_picture_of_its_proof_begins_nothing_in_what_has_failed_since, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_has_not_booted_is_not_kept, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_a_stranger_said_is_printable_in_the_log, begin, finish),
		cmocka_unit_test_setup_teardown(test_of_a_console_that_talks_for_ever_the_end_is_kept, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_end_of_a_command_that_was_not_run_is_no_proof, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_machine_that_talks_too_much_is_asked_no_more_often_and_fails_in_time, begin, finish),
		cmocka_unit_test_setup_teardown(test_post_launch_ends_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_has_booted_says_from_the_first_that_post_launch_is_still_to_run, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_drill_awaits_no_post_launch, begin, finish),
		cmocka_unit_test_setup_teardown(test_nothing_that_a_machine_says_lifts_the_limit_for_its_power_off, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_drill_whose_picture_does_not_come_ends_all_the_same, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_picture_that_comes_too_late_begins_nothing_twice, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_tool_that_does_not_end_is_ended, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
