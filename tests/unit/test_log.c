/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"
#include "base.h"
#include "fileio.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-test-log-XXXXXX";

static int make_dir(void **state)
{
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return chdir("/") == 0 ? system(command) : -1;
}

static char *contents(const char *path)
{
	char *text = NULL;

	assert_int_equal(fileio_slurp(path, 1 << 20, &text, NULL), 0);
	return text;
}

static void begin(const char *path, unsigned long long max_bytes, unsigned int keep)
{
	log_init("tester", LOG_INFO);
	log_quiet_stderr();
	assert_int_equal(log_to_file(path, max_bytes, keep), 0);
}

static void test_a_line_says_when_how_bad_and_who(void **state)
{
	char *text;

	begin("form.log.0", 1 << 20, 3);
	log_debug("not wanted");
	log_info("connected to %s", "10.0.0.5:1500");
	log_error("gone");
	text = contents("form.log.0");
	assert_int_equal(strlen(text), 2 * 28 + strlen("info  tester: connected to 10.0.0.5:1500\nerror tester: gone\n"));
	assert_int_equal(text[26], 'Z');
	assert_non_null(strstr(text, "Z info  tester: connected to 10.0.0.5:1500\n"));
	assert_non_null(strstr(text, "Z error tester: gone\n"));
	assert_null(strstr(text, "not wanted"));
	free(text);
}

static void test_strangers_cannot_make_lines(void **state)
{
	char *text;

	begin("control.log.0", 1 << 20, 3);
	log_warn("label \"%s\"", "a\n2026-01-01T00:00:00.000000Z error tester: forged\x1b[2J");
	text = contents("control.log.0");
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_null(strchr(text, '\x1b'));
	free(text);
}

static void test_a_long_line_is_cut(void **state)
{
	char *text, *much = malloc(10000);

	memset(much, 'm', 9999);
	much[9999] = '\0';
	begin("long.log.0", 1 << 20, 3);
	log_info("%s", much);
	log_info("next");
	text = contents("long.log.0");
	assert_in_range(strlen(text), 4000, 4200);
	assert_non_null(strstr(text, "m\n"));
	assert_non_null(strstr(text, "tester: next\n"));
	free(text);
	free(much);
}

static void test_errno_survives(void **state)
{
	begin("errno.log.0", 1 << 20, 3);
	errno = EXDEV;
	log_info("x");
	assert_int_equal(errno, EXDEV);
}

static void test_a_full_file_is_renamed_and_the_oldest_dropped(void **state)
{
	char *text;

	begin("full.log.0", 1000, 3);
	for (unsigned int i = 0; i < 100; i++)
		log_info("line %u", i);
	text = contents("full.log.0");
	assert_non_null(strstr(text, "line 99\n"));
	assert_true(strlen(text) <= 1000);
	free(text);
	text = contents("full.log.1");
	assert_true(strlen(text) > 900 && strlen(text) <= 1000);
	free(text);
	text = contents("full.log.2");
	assert_true(strlen(text) > 900);
	free(text);
	assert_int_not_equal(access("full.log.3", F_OK), 0);
}

static void test_keeping_one_file_begins_it_anew(void **state)
{
	char *text;

	begin("one.log.0", 1000, 1);
	for (unsigned int i = 0; i < 100; i++)
		log_info("line %u", i);
	text = contents("one.log.0");
	assert_non_null(strstr(text, "line 99\n"));
	assert_true(strlen(text) <= 1000);
	free(text);
	assert_int_not_equal(access("one.log.1", F_OK), 0);
}

/* Rotated by several processes at once: no line is lost or mixed with another. */
static void test_processes_share_a_file_through_its_rotation(void **state)
{
	enum { PROCESSES = 4, LINES = 300 };
	static bool seen[PROCESSES][LINES];
	unsigned int count = 0;

	begin("shared.log.0", 2000, 200);
	for (unsigned int p = 0; p < PROCESSES; p++) {
		if (fork() == 0) {
			for (unsigned int i = 0; i < LINES; i++)
				log_info("process %u line %u.", p, i);
			_exit(0);
		}
	}
	for (unsigned int p = 0; p < PROCESSES; p++) {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	for (unsigned int n = 0; n < 200; n++) {
		char path[64], *text, *save = NULL;

		snprintf(path, sizeof(path), "shared.log.%u", n);
		if (access(path, F_OK) != 0)
			continue;
		text = contents(path);
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			unsigned int p, i;
			char stop;

			assert_int_equal(sscanf(line, "%*s info tester: process %u line %u%c", &p, &i, &stop), 3);
			assert_int_equal(stop, '.');
			assert_true(p < PROCESSES && i < LINES && !seen[p][i]);
			seen[p][i] = true;
			count++;
		}
		free(text);
	}
	assert_int_equal(count, PROCESSES * LINES);
}

static void test_a_file_taken_away_is_made_again(void **state)
{
	char *text;

	begin("away.log.0", 1 << 20, 3);
	log_info("before");
	assert_int_equal(rename("away.log.0", "elsewhere"), 0);
	log_info("after");
	text = contents("away.log.0");
	assert_non_null(strstr(text, "after"));
	assert_null(strstr(text, "before"));
	free(text);
}

static void test_bad_paths_are_refused(void **state)
{
	assert_int_equal(log_to_file("agent.log", 1000, 3), -EINVAL);
	assert_int_equal(log_to_file(".0", 1000, 3), -EINVAL);
	assert_int_equal(log_to_file("none/agent.log.0", 1000, 3), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_says_when_how_bad_and_who),
		cmocka_unit_test(test_strangers_cannot_make_lines),
		cmocka_unit_test(test_a_long_line_is_cut),
		cmocka_unit_test(test_errno_survives),
		cmocka_unit_test(test_a_full_file_is_renamed_and_the_oldest_dropped),
		cmocka_unit_test(test_keeping_one_file_begins_it_anew),
		cmocka_unit_test(test_processes_share_a_file_through_its_rotation),
		cmocka_unit_test(test_a_file_taken_away_is_made_again),
		cmocka_unit_test(test_bad_paths_are_refused),
	};

	return cmocka_run_group_tests_name("log", tests, make_dir, remove_dir);
}
