/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The looking of the agent's facts (agent/facts.c), by a clock of the test's: this program is
 * the one that looks, too.
 */
#include "facts.h"
#include "wallclock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define MINUTE (60 * USEC_PER_SEC)

static char dir[] = "/tmp/godwit-facts-XXXXXX";
static struct settings settings;

/* `facts --state FOLDER': killed where there is "busy" in it; otherwise it says something, and counts. */
static int look(const char *folder)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/asked", folder);
	f = fopen(path, "a");
	if (!f || fputc('x', f) == EOF || fclose(f) == EOF)
		return 1;
	snprintf(path, sizeof(path), "%s/busy", folder);
	if (access(path, F_OK) == 0)
		(void)raise(SIGKILL);
	puts("{\"kernel\": \"6.1\"}");
	return 0;
}

static int asked(void)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/asked", dir);
	return stat(path, &st) ? 0 : (int)st.st_size;
}

/* A moment of the agent's loop, until what it started has ended: how often was it looked, and is anything
 * known? */
static void tick(struct facts *f, uint64_t now, int looks, bool known)
{
	siginfo_t info;

	facts_tick(f, now);
	while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0)
		facts_tick(f, now);
	assert_int_equal(asked(), looks);
	assert_int_equal(facts_hardware(f) != NULL, known);
}

static void test_a_look_that_was_killed_is_tried_again_later_and_what_was_known_stays(void **state)
{
	char busy[256], fstab[256];
	struct facts *f;
	uint64_t now = 100 * MINUTE;

	snprintf(busy, sizeof(busy), "%s/busy", dir);
	snprintf(fstab, sizeof(fstab), "%s/etc/fstab", dir);
	assert_int_equal(close(creat(busy, 0600)), 0);
	assert_int_equal(facts_new(&settings, &f), 0);
	tick(f, now, 1, false);
	tick(f, now + 9 * MINUTE, 1, false);
	assert_int_equal(unlink(busy), 0);
	now += 11 * MINUTE;
	tick(f, now, 2, true);
	/* nothing has changed */
	now += 30 * MINUTE;
	tick(f, now, 2, true);
	/* something has, and the machine is busy again */
	assert_int_equal(close(creat(busy, 0600)), 0);
	assert_int_equal(close(creat(fstab, 0600)), 0);
	now += 2 * MINUTE;
	tick(f, now, 3, true);
	assert_int_equal(unlink(busy), 0);
	now += 11 * MINUTE;
	tick(f, now, 4, true);
	facts_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_look_that_was_killed_is_tried_again_later_and_what_was_known_stays),
	};
	char path[256];
	int failed;

	if (argc == 4 && strcmp(argv[1], "facts") == 0)
		return look(argv[3]);
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/etc", dir);
	if (mkdir(path, 0700) || setenv("GODWIT_FACTS_ROOT", dir, 1))
		return 1;
	snprintf(settings.folder, sizeof(settings.folder), "%s", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(path, sizeof(path), "rm -rf %s", dir);
	return system(path) ? 1 : failed;
}
