/* SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"
#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define LAUNCHES 256u /* at once; what there is beyond that is stopped in another round */

/* A descriptor of the process that has the launch @folder/@name, told to end; -1: there is none. */
static int tell(const char *folder, const char *name)
{
	char path[PATH_MAX];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/%s/launch.pid", folder, name);
	pid = daemon_running(path);
	fd = pid > 0 ? pidfd_open(pid, 0) : -1;
	if (fd < 0)
		return -1;
	/* Between the look and the open the number may have changed hands. */
	if (daemon_running(path) != pid || pidfd_send_signal(fd, SIGTERM, NULL, 0)) {
		close(fd);
		return -1;
	}
	printf("waiting for launch %s\n", name);
	return fd;
}

static void wait_for(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	close(fd);
}

/* All are told before one is waited for: they take their time side by side. */
static int stop_round(const char *folder, unsigned int *ret_count)
{
	DIR *d = opendir(folder);
	int fds[LAUNCHES];
	struct dirent *e;

	*ret_count = 0;
	if (!d)
		return -errno;
	while (*ret_count < LAUNCHES && (e = readdir(d))) {
		int fd = e->d_name[0] == '.' ? -1 : tell(folder, e->d_name);

		if (fd >= 0)
			fds[(*ret_count)++] = fd;
	}
	closedir(d);
	(void)fflush(stdout);
	for (unsigned int i = 0; i < *ret_count; i++)
		wait_for(fds[i]);
	return 0;
}

int stop_all(const char *folder)
{
	unsigned int count;
	int err;

	do {
		err = stop_round(folder, &count);
	} while (!err && count == LAUNCHES);
	return err;
}
