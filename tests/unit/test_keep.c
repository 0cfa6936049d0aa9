/* SPDX-License-Identifier: Apache-2.0 */
/* When a machine's disks are its own: the other end of the line is a test instead of qemu. */
#include "keep.h"
#include "fileio.h"
#include "room.h"
#include "wallclock.h"

#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static struct qmp *line;
static struct keep k;
static FILE *heard; /* what qemu hears ... */
static int qemu;    /* ... and where it answers */
static unsigned int times;
static char said[128];

static void done(void *context, const char *error)
{
	times++;
	snprintf(said, sizeof(said), "%s", error ? error : "well");
}

static void event(void *context, const char *name, const json_t *data)
{
	keep_event(&k, name, data);
}

static void closed(void *context)
{
}

static const struct qmp_ops ops = { .event = event, .closed = closed };

static int begin(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 20 };
	char greeting[128];
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/godwit-keep.%d", (int)getpid());
	(void)unlink(a.sun_path);
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 1) ||
	    qmp_connect(a.sun_path, &ops, NULL, &line))
		return -1;
	qemu = accept(listener, NULL, NULL);
	close(listener);
	(void)unlink(a.sun_path);
	(void)setsockopt(qemu, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	heard = fdopen(qemu, "r");
	times = 0;
	said[0] = 0;
	k = (struct keep){ .done = done };
	return fgets(greeting, sizeof(greeting), heard) && send(qemu, "{\"return\":{}}\n", 14, 0) == 14 ? 0 : -1;
}

static int finish(void **state)
{
	qmp_free(line);
	fclose(heard);
	return 0;
}

/* What qemu says, and is heard at once. */
static void say(const char *text)
{
	assert_int_equal(send(qemu, text, strlen(text), 0), (ssize_t)strlen(text));
	qmp_read(line);
}

static void takes(const char *command, const char *about)
{
	char text[512] = "";

	assert_non_null(fgets(text, sizeof(text), heard));
	if (!strstr(text, command) || !strstr(text, about))
		fail_msg("not %s %s: %s", command, about, text);
}

#define WELL "{\"return\":{}}\n"
#define FAILS "{\"error\":{\"desc\":\"no room\"}}\n"
#define STREAMED(n) "{\"event\":\"BLOCK_JOB_COMPLETED\",\"data\":{\"device\":\"keep" #n "\"}}\n"
#define NOT_STREAMED(n) "{\"event\":\"BLOCK_JOB_COMPLETED\",\"data\":{\"device\":\"keep" #n "\",\"error\":\"it broke\"}}\n"

static void begins_two(void)
{
	takes("block-stream", "disk0");
	takes("block-stream", "disk1");
	say(WELL WELL);
}

static void flushes_two(void)
{
	takes("blockdev-reopen", "disk0");
	takes("blockdev-reopen", "disk1");
}

static void test_disks_are_its_own_when_all_are_streamed_and_flushed(void **state)
{
	keep_begin(&k, line, 2);
	begins_two();
	say(STREAMED(1));
	say("{\"event\":\"RESUME\"}\n");
	say(STREAMED(0));
	flushes_two();
	say(WELL);
	assert_int_equal(times, 0);
	say(WELL);
	assert_int_equal(times, 1);
	assert_string_equal(said, "well");
}

static void test_one_that_could_not_be_flushed_is_told_also_if_it_was_not_the_last(void **state)
{
	keep_begin(&k, line, 2);
	begins_two();
	say(STREAMED(0) STREAMED(1));
	flushes_two();
	say(FAILS WELL);
	assert_int_equal(times, 1);
	assert_string_equal(said, "no room");
}

static void test_what_is_left_of_an_attempt_that_failed_is_not_taken_for_the_next(void **state)
{
	keep_begin(&k, line, 2);
	begins_two();
	say(NOT_STREAMED(0));
	assert_string_equal(said, "it broke");
	/* once more while the other disk is on its way still */
	keep_begin(&k, line, 2);
	say(STREAMED(1));
	begins_two();
	say(STREAMED(0));
	assert_int_equal(times, 1);
	say(STREAMED(1));
	flushes_two();
	/* and while one is being flushed still */
	say(FAILS);
	assert_int_equal(times, 2);
	keep_begin(&k, line, 2);
	say(WELL);
	assert_int_equal(times, 2);
	begins_two();
	say(STREAMED(0) STREAMED(1));
	flushes_two();
	say(WELL WELL);
	assert_int_equal(times, 3);
	assert_string_equal(said, "well");
}

static void test_what_cannot_be_begun_or_is_cut_off_is_told_once(void **state)
{
	keep_begin(&k, line, 2);
	takes("block-stream", "disk0");
	takes("block-stream", "disk1");
	say(FAILS FAILS);
	assert_int_equal(times, 1);
	keep_begin(&k, line, 2);
	keep_begin(&k, line, 2);
	begins_two();
	keep_end(&k, "the machine ended");
	keep_end(&k, "the machine ended");
	assert_int_equal(times, 2);
	assert_string_equal(said, "the machine ended");
}

static void test_what_is_cancelled_is_told_once_and_can_be_begun_again(void **state)
{
	keep_cancel(&k, "no room"); /* there is nothing */
	assert_int_equal(times, 0);
	keep_begin(&k, line, 2);
	begins_two();
	keep_cancel(&k, "no room");
	assert_int_equal(times, 1);
	assert_string_equal(said, "no room");
	takes("block-job-cancel", "keep0");
	takes("block-job-cancel", "keep1");
	say(WELL);
	say(WELL);
	say("{\"event\":\"BLOCK_JOB_CANCELLED\",\"data\":{\"device\":\"keep0\"}}\n");
	keep_begin(&k, line, 2);
	say(STREAMED(1)); /* it had ended before it heard of that */
	assert_int_equal(times, 1);
	takes("block-stream", "keep0");
	takes("block-stream", "keep1");
}

/* --- room ------------------------------------------------------------------------------------- */

static void test_what_is_not_there_is_refused_with_figures(void **state)
{
	char why[192] = "";

	assert_int_equal(room_check("/tmp", false, 0, why, sizeof(why)), 0);
	assert_int_equal(room_check("/tmp", false, UINT64_MAX / 2, why, sizeof(why)), -ENOSPC);
	assert_non_null(strstr(why, " MiB are needed, "));
}

static bool is_measured;
static int measure_err;
static uint64_t needed;

static void expire(void *context)
{
	fail_msg("it was not measured in time");
}

static void take_measure(void *context, int err, uint64_t needed_bytes)
{
	is_measured = true;
	measure_err = err;
	needed = needed_bytes;
}

/* 8 MiB of a disk are under it, and 2 MiB in it already. */
static void test_what_a_disk_still_needs_is_measured(void **state)
{
	char folder[] = "/tmp/godwit-room.XXXXXX", before[4096], command[1024];
	struct loop_timer guard = { .fire = expire };
	struct room_needs *n;
	struct loop *loop;

	assert_non_null(getcwd(before, sizeof(before)));
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	snprintf(command, sizeof(command), "dd if=/dev/urandom of=base bs=1M count=8 status=none && truncate -s 1G base && "
		 "qemu-img create -q -f qcow2 -F raw -b base disk0.qcow2 && "
		 "qemu-io -f qcow2 -c 'write 0 2M' disk0.qcow2 >/dev/null");
	assert_int_equal(system(command), 0);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(room_measure(loop, ".", 1, take_measure, NULL, &n), 0);
	loop_set_timer(loop, &guard, monotonic_now_us() + 60 * USEC_PER_SEC);
	while (!is_measured)
		assert_int_equal(loop_turn(loop), 0);
	loop_clear_timer(loop, &guard);
	room_measure_free(n);
	loop_free(loop);
	assert_int_equal(measure_err, 0);
	assert_in_range(needed, 5 * MIB, 8 * MIB);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(fileio_remove_tree(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disks_are_its_own_when_all_are_streamed_and_flushed, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_that_could_not_be_flushed_is_told_also_if_it_was_not_the_last, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_left_of_an_attempt_that_failed_is_not_taken_for_the_next, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_cancelled_is_told_once_and_can_be_begun_again, begin, finish),
		cmocka_unit_test(test_what_is_not_there_is_refused_with_figures),
		cmocka_unit_test(test_what_a_disk_still_needs_is_measured),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_begun_or_is_cut_off_is_told_once, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
