/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"
#include "fileio.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-daemon-XXXXXX", path[64];

/* A process that holds the lock until it is told or killed; returns when it has it. */
static pid_t start_holder(bool ignore_term)
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		if (ignore_term)
			signal(SIGTERM, SIG_IGN);
		if (daemon_lock(path, NULL) || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static void test_a_lock_is_held_by_one_and_says_by_whom(void **state)
{
	pid_t holder = start_holder(false), other = 0;
	char text[32];

	assert_int_equal(daemon_running(path), holder);
	assert_int_equal(daemon_lock(path, &other), -EBUSY);
	assert_int_equal(other, holder);
	assert_int_equal(fileio_read_line(path, text, sizeof(text)), 0);
	assert_int_equal(atoi(text), holder);
	assert_int_equal(daemon_stop(path, 5000), 0);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	assert_int_equal(daemon_running(path), 0);
	assert_int_equal(daemon_stop(path, 5000), -ESRCH);
}

static void test_a_killed_holder_leaves_no_lock(void **state)
{
	pid_t holder = start_holder(false);

	kill(holder, SIGKILL);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	assert_int_equal(daemon_running(path), 0);
	assert_int_equal(waitpid(start_holder(false), NULL, WNOHANG), 0);
	assert_int_equal(daemon_stop(path, 5000), 0);
	assert_true(wait(NULL) > 0);
}

/* In the foreground, under a unit of Type=notify. */
static void test_systemd_is_told_once_that_it_is_ready_and_of_no_failure(void **state)
{
	struct sockaddr_un here = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	char text[32] = "";

	snprintf(here.sun_path, sizeof(here.sun_path), "%s/notify", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", here.sun_path, 1), 0);
	daemon_ready(1);
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	daemon_ready(0);
	assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), 7);
	assert_string_equal(text, "READY=1");
	daemon_ready(0);
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	close(fd);
	assert_int_equal(unlink(here.sun_path), 0);
}

static void test_one_that_does_not_stop_is_a_timeout(void **state)
{
	pid_t holder = start_holder(true);

	assert_int_equal(daemon_stop(path, 50), -ETIMEDOUT);
	assert_int_equal(daemon_running(path), holder);
	kill(holder, SIGKILL);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
}

static void test_children_do_not_have_the_lock(void **state)
{
	pid_t child, other;
	int status;

	assert_int_equal(daemon_lock(path, &other), 0);
	assert_int_equal(daemon_lock(path, &other), 0);
	assert_int_equal(daemon_running(path), getpid());
	child = fork();
	if (child == 0)
		_exit(daemon_lock(path, &other) == -EBUSY && other == getppid() ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_nothing_runs_where_there_is_no_file(void **state)
{
	assert_int_equal(daemon_running("/tmp/godwit-no-such-file"), 0);
	assert_int_equal(daemon_stop("/tmp/godwit-no-such-file", 1), -ESRCH);
}

/* In a child, because daemon_detach() ends its caller. */
static int detached_status(int status, bool die)
{
	pid_t pid = fork();
	int got;

	if (pid == 0) {
		if (daemon_detach())
			_exit(99);
		if (die)
			_exit(0);
		daemon_ready(status);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &got, 0), pid);
	return WEXITSTATUS(got);
}

static void test_the_command_returns_what_the_daemon_says(void **state)
{
	assert_int_equal(detached_status(0, false), 0);
	assert_int_equal(detached_status(3, false), 3);
}

static void test_a_daemon_that_dies_before_it_is_ready_is_a_failure(void **state)
{
	assert_int_equal(detached_status(0, true), 1);
}

static void test_signals_come_as_reads(void **state)
{
	struct signalfd_siginfo info;
	struct pollfd p;

	p.fd = daemon_signal_fd();
	p.events = POLLIN;
	assert_true(p.fd >= 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	kill(getpid(), SIGTERM);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(read(p.fd, &info, sizeof(info)), sizeof(info));
	assert_int_equal(info.ssi_signo, SIGTERM);
	close(p.fd);
}

static void test_a_program_may_open_as_many_files_as_it_may_at_all(void **state)
{
	struct rlimit before, low, after;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = (struct rlimit){ .rlim_cur = 32, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	daemon_raise_files();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_true(after.rlim_cur == before.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.pid", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_lock_is_held_by_one_and_says_by_whom),
		cmocka_unit_test(test_a_killed_holder_leaves_no_lock),
		cmocka_unit_test(test_systemd_is_told_once_that_it_is_ready_and_of_no_failure),
		cmocka_unit_test(test_one_that_does_not_stop_is_a_timeout),
		cmocka_unit_test(test_nothing_runs_where_there_is_no_file),
		cmocka_unit_test(test_the_command_returns_what_the_daemon_says),
		cmocka_unit_test(test_a_daemon_that_dies_before_it_is_ready_is_a_failure),
		cmocka_unit_test(test_signals_come_as_reads),
		cmocka_unit_test(test_children_do_not_have_the_lock),
		cmocka_unit_test(test_a_program_may_open_as_many_files_as_it_may_at_all),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
