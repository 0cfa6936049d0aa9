/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-convert seen from the launch: a script in its place does what a test wants. */
#include "convert.h"
#include "fileio.h"
#include "wallclock.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define DEADLINE_US (20 * USEC_PER_SEC)

static char folder[64], path[PATH_MAX];

static struct {
	struct loop *loop;
	struct convert *convert;
	char steps[256], error[256];
	bool done, good;
} t;

static void step_done(void *context, const char *line)
{
	strncat(t.steps, line, sizeof(t.steps) - strlen(t.steps) - 1);
	strncat(t.steps, ";", sizeof(t.steps) - strlen(t.steps) - 1);
}

/* As a launch does: what is left of it goes before its words are used. */
static void done(void *context, const char *error)
{
	convert_stop(t.convert);
	t.convert = NULL;
	t.done = true;
	t.good = !error;
	snprintf(t.error, sizeof(t.error), "%s", error ? error : "");
}

static void put_script(const char *text)
{
	char file[PATH_MAX];

	snprintf(file, sizeof(file), "%s/godwit-convert", folder);
	assert_int_equal(fileio_replace(file, text, strlen(text), 0700), 0);
}

static void start(const char *script)
{
	struct convert_options o = { .folder = folder, .disk_count = 1, .bus = BUS_VIRTIO, .step = step_done, .done = done };

	put_script(script);
	assert_int_equal(convert_start(t.loop, &o, &t.convert), 0);
}

static void turn_until_done(void)
{
	uint64_t end = monotonic_now_us() + DEADLINE_US;

	while (!t.done) {
		assert_true(monotonic_now_us() < end);
		assert_int_equal(loop_turn(t.loop), 0);
	}
}

static int begin(void **state)
{
	memset(&t, 0, sizeof(t));
	strcpy(folder, "/tmp/godwit-convert.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s:%s", folder, getenv("PATH") ?: "/usr/bin:/bin");
	setenv("PATH", path, 1);
	return loop_new(&t.loop);
}

static int finish(void **state)
{
	static const char *const names[] = { "godwit-convert", "pid" };
	char file[PATH_MAX];

	convert_stop(t.convert);
	loop_free(t.loop);
	for (unsigned int i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(file, sizeof(file), "%s/%s", folder, names[i]);
		(void)unlink(file);
	}
	return rmdir(folder);
}

static void test_each_step_is_told_and_then_that_it_is_done(void **state)
{
	start("#!/bin/sh\necho 'step one'\necho \"step $2 $3\"\n");
	turn_until_done();
	assert_true(t.good);
	assert_string_equal(t.steps, "one;1 virtio;");
}

static void test_why_it_failed_is_told_when_nothing_of_it_is_left(void **state)
{
	start("#!/bin/sh\necho 'step one'\necho 'its root file system: no such device' >&2\nexit 1\n");
	turn_until_done();
	assert_false(t.good);
	assert_string_equal(t.error, "its root file system: no such device");
	put_script("");
	memset(t.error, 0, sizeof(t.error));
	t.done = false;
	start("#!/bin/sh\nkill -9 $$\n");
	turn_until_done();
	assert_string_equal(t.error, "godwit-convert was killed");
}

static pid_t pid_written(void)
{
	char file[PATH_MAX], text[32] = "";

	snprintf(file, sizeof(file), "%s/pid", folder);
	return fileio_read_line(file, text, sizeof(text)) == 0 ? (pid_t)atoi(text) : 0;
}

static void assert_ends(pid_t pid)
{
	uint64_t end = monotonic_now_us() + DEADLINE_US;

	while (kill(pid, 0) == 0) {
		char stat[64], line[256] = "";

		/* nobody may be there to reap it */
		snprintf(stat, sizeof(stat), "/proc/%d/stat", (int)pid);
		if (fileio_read_line(stat, line, sizeof(line)) || strstr(line, ") Z "))
			return;
		assert_true(monotonic_now_us() < end);
	}
}

static void test_of_its_files_nothing_is_left_when_it_was_killed(void **state)
{
	char file[PATH_MAX];

	start("#!/bin/sh\nmkdir -p \"$1/convert/a\" && ln -s /etc \"$1/convert/etc\" && echo >\"$1/convert/a/b\"\nkill -9 $$\n");
	turn_until_done();
	snprintf(file, sizeof(file), "%s/convert", folder);
	assert_int_not_equal(access(file, F_OK), 0);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void test_what_it_had_started_ends_with_it_however_it_ends(void **state)
{
	start("#!/bin/sh\nsleep 1000 >/dev/null 2>&1 </dev/null &\necho $! >\"$1/pid\"\nkill -9 $$\n");
	turn_until_done();
	assert_true(pid_written() > 0);
	assert_ends(pid_written());
}

static void test_stopped_it_is_gone_and_says_nothing_more(void **state)
{
	start("#!/bin/sh\ntrap 'exit 1' TERM\necho $$ >\"$1/pid.new\" && mv \"$1/pid.new\" \"$1/pid\"\n"
	      "while :; do sleep 1000 & wait; done\n");
	while (!pid_written())
		;
	convert_stop(t.convert);
	t.convert = NULL;
	assert_ends(pid_written());
	assert_false(t.done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_step_is_told_and_then_that_it_is_done, begin, finish),
		cmocka_unit_test_setup_teardown(test_why_it_failed_is_told_when_nothing_of_it_is_left, begin, finish),
		cmocka_unit_test_setup_teardown(test_of_its_files_nothing_is_left_when_it_was_killed, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_it_had_started_ends_with_it_however_it_ends, begin, finish),
		cmocka_unit_test_setup_teardown(test_stopped_it_is_gone_and_says_nothing_more, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
