/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised to machines that run already. */
#include "memory.h"
#include "daemon.h"
#include "fileio.h"

#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define HAS_BYTES (64 * MIB)

static char root[64];

static const char *folder_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void make(const char *name, const char *kind, unsigned int mib, unsigned int asked_us)
{
	char path[PATH_MAX + 16], text[512];

	snprintf(path, sizeof(path), "%s/spec.json", folder_of(name));
	assert_int_equal(fileio_mkdirs(folder_of(name), 0700), 0);
	snprintf(text, sizeof(text), "{\"launch\":\"6f6ff1e0-0000-4000-8000-000000000001\",\"machine\":\"m\",\"store\":\"/s\","
		 "\"epoch\":7,\"kind\":\"%s\",\"to\":\"/t\",\"memory_mib\":%u,\"asked_us\":%u}", kind, mib, asked_us);
	assert_int_equal(fileio_replace(path, text, strlen(text), 0600), 0);
}

static void say_ready(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void be_machine(int fd)
{
	char *p = mmap(NULL, HAS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "qemu-system-x86");
	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, HAS_BYTES);
	say_ready(fd);
}

/* A process that has the launch, and a machine if it is to have one. */
static pid_t run(const char *name, bool has_machine)
{
	char path[PATH_MAX + 16], c;
	int fds[2];
	pid_t pid, other;

	assert_int_equal(pipe(fds), 0);
	snprintf(path, sizeof(path), "%s/launch.pid", folder_of(name));
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (daemon_lock(path, &other))
			_exit(1);
		if (has_machine && fork() == 0)
			be_machine(fds[1]);
		if (has_machine)
			for (;;)
				pause();
		say_ready(fds[1]);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	return pid;
}

static void end(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static int begin(void **state)
{
	strcpy(root, "/tmp/godwit-memory.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int finish(void **state)
{
	return fileio_remove_tree(root);
}

static void test_what_machines_were_given_and_do_not_have_yet_is_promised(void **state)
{
	pid_t first, second;

	make("own", "test", 1024, 100);
	make("over", "test", 8192, 50);
	make("images", "images", 8192, 50);
	assert_int_equal(memory_promised_bytes(folder_of("own")), 0);
	make("first", "cutover", 1000, 200);
	make("second", "test", 500, 300);
	first = run("first", true);
	second = run("second", true);
	assert_in_range(memory_promised_bytes(folder_of("own")), 1500 * MIB - 2 * HAS_BYTES - 64 * MIB, 1500 * MIB - 2 * HAS_BYTES);
	end(first);
	assert_in_range(memory_promised_bytes(folder_of("own")), 500 * MIB - HAS_BYTES - 32 * MIB, 500 * MIB - HAS_BYTES);
	end(second);
	assert_int_equal(memory_promised_bytes(folder_of("own")), 0);
}

/* Else each would be refused because of the other. */
static void test_of_two_that_begin_the_one_that_was_asked_for_first_counts(void **state)
{
	pid_t pid;

	make("own", "test", 1024, 100);
	make("another", "test", 1000, 99);
	pid = run("another", false);
	assert_int_equal(memory_promised_bytes(folder_of("own")), 1000 * MIB);
	make("another", "test", 1000, 101);
	assert_int_equal(memory_promised_bytes(folder_of("own")), 0);
	end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_machines_were_given_and_do_not_have_yet_is_promised, begin, finish),
		cmocka_unit_test_setup_teardown(test_of_two_that_begin_the_one_that_was_asked_for_first_counts, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
