/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"
#include "cli-config.h"
#include "enrolment.h"
#include "instance.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- interruption ------------------------------------------------------------------------ */

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
	caught = number;
}

void interrupt_catch(void)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

bool interrupted(void)
{
	return caught != 0;
}

int interrupt_status(void)
{
	return 128 + caught;
}

void pause_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (!interrupted())
		nanosleep(&t, NULL);
}

/* --- finding --------------------------------------------------------------------------------- */

bool program_in_path(const char *tool)
{
	const char *path = getenv("PATH");
	char *copy = text_copy(path ? path : "/usr/bin:/bin"), *rest = copy, *folder;
	bool found = false;

	while (!found && (folder = strsep(&rest, ":"))) {
		char *whole = text_format("%s/%s", *folder ? folder : ".", tool);

		found = access(whole, X_OK) == 0;
		free(whole);
	}
	free(copy);
	return found;
}

/* @folder/<what fmt makes of name>, if it can be executed. */
static char *try_place(const char *folder, const char *between, const char *name)
{
	char *path = text_format("%s/%s%s", folder, between, name);

	if (access(path, X_OK) == 0)
		return path;
	free(path);
	return NULL;
}

char *program_find(const struct cli *c, const char *name)
{
	char here[PATH_MAX], between[64], *slash, *found;
	ssize_t n = readlink("/proc/self/exe", here, sizeof(here) - 1);

	if (n < 0)
		n = 0;
	here[n] = '\0';
	slash = strrchr(here, '/');
	if (slash)
		*slash = '\0';
	found = try_place(here, "", name);
	/* build/cli/godwit -> build/agent/godwit-agent */
	snprintf(between, sizeof(between), "../%s/", strchr(name, '-') ? strchr(name, '-') + 1 : name);
	if (!found)
		found = try_place(here, between, name);
	if (!found)
		found = try_place(here, "../sbin/", name);
	if (!found)
		found = try_place(GODWIT_SBINDIR, "", name);
	if (!found)
		cli_fail_message(c, MSG_PROGRAM_NOT_FOUND, "program", name, "folder", here, NULL);
	return found;
}

/* --- running ----------------------------------------------------------------------------------- */

static void exec_child(const char *const argv[], int out, int err)
{
	struct sigaction act = { .sa_handler = SIG_DFL };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	/* A daemon is not to keep what our caller left open. */
	close_range(3, ~0u, 0);
	execvp(argv[0], (char *const *)argv);
	fprintf(stderr, "godwit: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int start(const char *const argv[], int out, int err, pid_t *ret_pid)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		exec_child(argv, out, err);
	*ret_pid = pid;
	return 0;
}

int program_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
		if (interrupted())
			kill(pid, SIGTERM);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int program_run(const char *const argv[])
{
	pid_t pid = 0;
	int r = start(argv, STDERR_FILENO, STDERR_FILENO, &pid);

	return r < 0 ? r : program_wait(pid);
}

static void show_all(int fd)
{
	char text[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, text, sizeof(text), at)) > 0) {
		fwrite(text, 1, (size_t)n, stderr);
		at += n;
	}
}

int program_run_quietly(const char *const argv[])
{
	int said = memfd_create("said", MFD_CLOEXEC), r;
	pid_t pid = 0;

	if (said < 0)
		return -errno;
	r = start(argv, said, said, &pid);
	if (r == 0)
		r = program_wait(pid);
	if (r != 0)
		show_all(said);
	close(said);
	return r;
}

int program_run_with_token(const char *const argv[], const char *token)
{
	int r = setenv(ENROLMENT_TOKEN_VARIABLE, token, 1) < 0 ? -errno : program_run_quietly(argv);

	(void)unsetenv(ENROLMENT_TOKEN_VARIABLE);
	return r;
}

int program_start(const char *const argv[], pid_t *ret_pid, int *ret_fd)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = start(argv, fds[1], STDERR_FILENO, ret_pid);
	close(fds[1]);
	if (r < 0)
		close(fds[0]);
	else
		*ret_fd = fds[0];
	return r;
}

bool confirm_by_typing(const char *question, const char *expected)
{
	char line[128];

	fputs(question, stderr);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, expected) == 0;
}
