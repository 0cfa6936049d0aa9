/* SPDX-License-Identifier: Apache-2.0 */
/* What is given up cannot be had back, so each test gives it up in a child and
 * looks at what that can still do. */
#include "confine.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-test-confine-XXXXXX";

static int make_dirs(void **state)
{
	return mkdtemp(dir) && chdir(dir) == 0 && mkdir("read", 0700) == 0 && mkdir("write", 0700) == 0 &&
			       mkdir("other", 0700) == 0 &&
			       system("echo text | tee read/f write/f other/f >single; cp /bin/true read/; cp /bin/true write/") == 0
		       ? 0
		       : -1;
}

static int remove_dirs(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return chdir("/") == 0 ? system(command) : -1;
}

/* The exit status of @act in a child. */
static int in_child(int (*act)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(act());
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Each step that does not hold ends the child with its line's number modulo 256. */
#define HOLDS(condition)                       \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 255 + 1; \
	} while (0)

static bool has(cap_flag_t set, cap_value_t cap)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (!caps || cap_get_flag(caps, cap, set, &value) != 0)
		_exit(255);
	cap_free(caps);
	return value == CAP_SET;
}

static int keep_one(void)
{
	static const int keep[] = { CAP_CHOWN };

	HOLDS(confine_capabilities(keep, 1) == 0);
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		HOLDS(has(CAP_PERMITTED, cap) == (cap == CAP_CHOWN));
		HOLDS(has(CAP_EFFECTIVE, cap) == (cap == CAP_CHOWN));
		HOLDS(!has(CAP_INHERITABLE, cap));
	}
	HOLDS(chroot(".") != 0 && errno == EPERM);
	HOLDS(chown("other/f", 1, 1) == 0);
	/* Root that runs a program gets nothing back. */
	HOLDS(system("chroot . /bin/true 2>/dev/null") != 0);
	HOLDS(system("test $(awk '/CapEff/ {print $2}' /proc/self/status) = 0000000000000001") == 0);
	return 0;
}

static int keep_none_twice(void)
{
	HOLDS(confine_capabilities(NULL, 0) == 0);
	HOLDS(!has(CAP_PERMITTED, CAP_CHOWN));
	HOLDS(confine_capabilities(NULL, 0) == 0);
	HOLDS(system("test $(awk '/CapEff/ {print $2}' /proc/self/status) = 0000000000000000") == 0);
	return 0;
}

static int keep_what_is_gone(void)
{
	static const int keep[] = { CAP_CHOWN };

	HOLDS(confine_capabilities(NULL, 0) == 0);
	HOLDS(confine_capabilities(keep, 1) == 0);
	HOLDS(!has(CAP_PERMITTED, CAP_CHOWN));
	return 0;
}

static void skip_unless_root(void)
{
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
}

static void test_only_the_kept_capability_is_left(void **state)
{
	skip_unless_root();
	assert_int_equal(in_child(keep_one), 0);
}

static void test_nothing_kept_and_again(void **state)
{
	assert_int_equal(in_child(keep_none_twice), 0);
}

static void test_what_is_gone_does_not_come_back(void **state)
{
	assert_int_equal(in_child(keep_what_is_gone), 0);
}

static int drop_one(void)
{
	bool kept = has(CAP_EFFECTIVE, CAP_CHOWN);

	HOLDS(confine_drop_capability(CAP_NET_ADMIN) == 0);
	HOLDS(!has(CAP_EFFECTIVE, CAP_NET_ADMIN) && !has(CAP_PERMITTED, CAP_NET_ADMIN));
	HOLDS(has(CAP_EFFECTIVE, CAP_CHOWN) == kept);
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	HOLDS(confine_drop_capability(CAP_NET_ADMIN) == 0);
	execlp("sh", "sh", "-c", "exit $((0x$(sed -n 's/^CapEff:\\s*//p' /proc/self/status) >> 12 & 1))", NULL);
	return 1;
}

static void test_one_capability_is_dropped_and_no_other(void **state)
{
	assert_int_equal(in_child(drop_one), 0);
}

static int confine_here(void)
{
	static const struct confine_path paths[] = {
		{ "read", false }, { "write", true }, { "single", true }, { "/bin", false }, { "/usr", false },
		{ "/lib", false }, { "/lib64", false }, { NULL, false },
	};
	int fd = open("other/f", O_RDONLY);
	bool active = false;

	HOLDS(confine_paths(paths, &active) == 0);
	if (!active)
		return 77;
	HOLDS(open("read/f", O_RDONLY) >= 0);
	HOLDS(open("read/f", O_WRONLY) < 0 && errno == EACCES);
	HOLDS(open("read/new", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
	HOLDS(unlink("read/f") != 0 && errno == EACCES);
	HOLDS(open("write/f", O_RDWR) >= 0);
	HOLDS(open("write/new", O_RDWR | O_CREAT | O_TRUNC, 0600) >= 0);
	HOLDS(rename("write/new", "write/newer") == 0);
	HOLDS(mkdir("write/folder", 0700) == 0);
	HOLDS(rename("write/newer", "write/folder/newer") == 0 || errno == EXDEV); /* version 1 */
	HOLDS(unlink("write/f") == 0);
	HOLDS(open("other/f", O_RDONLY) < 0 && errno == EACCES);
	HOLDS(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	HOLDS(open("single", O_RDWR) >= 0);
	HOLDS(open(".", O_RDONLY) < 0);
	/* What was open stays so; what can be written cannot be run. */
	HOLDS(read(fd, &active, 1) == 1);
	HOLDS(system("read/true") == 0);
	HOLDS(system("write/true 2>&-") != 0);
	HOLDS(system("cat other/f >&- 2>&-") != 0);
	return 0;
}

static int confine_to_a_path_that_is_not_there(void)
{
	static const struct confine_path paths[] = { { "none", false }, { NULL, false } };
	bool active = false;
	int err = confine_paths(paths, &active);

	HOLDS(err == -ENOENT || (err == 0 && !active));
	HOLDS(!active);
	HOLDS(open("other/f", O_RDONLY) >= 0); /* nothing was restricted */
	return 0;
}

static void test_only_the_named_folders_can_be_opened(void **state)
{
	int status = in_child(confine_here);

	if (status == 77) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_a_folder_that_is_missing_is_an_error(void **state)
{
	assert_int_equal(in_child(confine_to_a_path_that_is_not_there), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_kept_capability_is_left),
		cmocka_unit_test(test_nothing_kept_and_again),
		cmocka_unit_test(test_what_is_gone_does_not_come_back),
		cmocka_unit_test(test_one_capability_is_dropped_and_no_other),
		cmocka_unit_test(test_only_the_named_folders_can_be_opened),
		cmocka_unit_test(test_a_folder_that_is_missing_is_an_error),
	};

	return cmocka_run_group_tests_name("confine", tests, make_dirs, remove_dirs);
}
