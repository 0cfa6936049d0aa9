/* SPDX-License-Identifier: Apache-2.0 */
#include "tool.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool tool_is_there(const char *program)
{
	char *path = strdup(getenv("PATH") ?: "/usr/sbin:/usr/bin:/sbin:/bin"), full[PATH_MAX], *save = NULL;
	bool found = false;

	for (char *dir = strtok_r(path, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(full, sizeof(full), "%s/%s", dir, program);
		found = access(full, X_OK) == 0;
	}
	free(path);
	return found;
}

int tool_need(const char *const programs[], struct fault *ret_fault)
{
	for (; *programs; programs++)
		if (!tool_is_there(*programs))
			return fault_set(ret_fault, -ENOENT, MSG_LAUNCH_NO_PROGRAM, "program", *programs, NULL);
	return 0;
}

int tool_confine(const struct confine_path *more)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc", "/sys" };
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/kvm" };
	struct confine_path paths[ARRAY_LEN(readable) + ARRAY_LEN(devices) + TOOL_PATHS_MAX + 1];
	size_t n = 0;
	bool active;

	for (unsigned int i = 0; i < ARRAY_LEN(readable); i++)
		if (access(readable[i], F_OK) == 0)
			paths[n++] = (struct confine_path){ readable[i], false };
	for (unsigned int i = 0; i < ARRAY_LEN(devices); i++)
		if (access(devices[i], F_OK) == 0)
			paths[n++] = (struct confine_path){ devices[i], true };
	for (unsigned int i = 0; i < TOOL_PATHS_MAX && more[i].path; i++)
		if (access(more[i].path, F_OK) == 0)
			paths[n++] = more[i];
	paths[n] = (struct confine_path){ NULL, false };
	return confine_capabilities(NULL, 0) ?: confine_paths(paths, &active);
}

static void __attribute__((noreturn)) exec_tool(const char *const argv[], const char *folder, const char *reads,
						int out)
{
	const struct confine_path paths[] = { { folder, true }, { reads, false }, { NULL, false } };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setenv("LC_ALL", "C.UTF-8", 1);
	(void)setenv("TMPDIR", folder, 1);
	(void)setenv("MTOOLS_SKIP_CHECK", "1", 1);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || tool_confine(paths))
		_exit(126);
	execvp(argv[0], (char *const *)argv);
	dprintf(2, "%s cannot be run: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* What it says, until it ends or @until_us: -ETIMEDOUT. */
static int listen_to(int fd, uint64_t until_us, char *said, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char rest[4096];
	size_t used = 0;
	ssize_t n = 1;

	while (n > 0) {
		uint64_t now_us = monotonic_now_us();
		int ready = now_us < until_us ? poll(&p, 1, (int)((until_us - now_us) / USEC_PER_MSEC) + 1) : 0;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0) {
			said[used] = 0;
			return ready ? -errno : -ETIMEDOUT;
		}
		n = used + 1 < size ? read(fd, said + used, size - 1 - used) : read(fd, rest, sizeof(rest));
		if (n > 0)
			used = MIN(used + (size_t)n, size - 1);
	}
	said[used] = 0;
	return 0;
}

int tool_run_for(const char *const argv[], const char *folder, unsigned int seconds, char *said, size_t size)
{
	int fds[2], status, err;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		exec_tool(argv, folder, NULL, fds[1]);
	close(fds[1]);
	err = pid < 0 ? -errno : listen_to(fds[0], monotonic_now_us() + seconds * USEC_PER_SEC, said, size);
	close(fds[0]);
	if (pid < 0)
		return err;
	if (err)
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	if (err == -ETIMEDOUT)
		snprintf(said, size, "%s did not end within %u s", argv[0], seconds);
	if (err || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return err;
	said[strcspn(said, "\n")] = 0;
	return -EIO;
}

int tool_run(const char *const argv[], const char *folder, char *said, size_t size)
{
	return tool_run_for(argv, folder, TOOL_SECONDS, said, size);
}

int tool_start(const char *const argv[], const char *folder, const char *reads, pid_t *ret_pid, int *ret_fd)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid == 0)
		exec_tool(argv, folder, reads, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		int err = -errno;

		close(fds[0]);
		return err;
	}
	*ret_pid = pid;
	*ret_fd = fds[0];
	return 0;
}
