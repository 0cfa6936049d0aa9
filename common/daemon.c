/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock is fcntl(2)'s, which belongs to the process: children do not keep
 * it, and the kernel says who holds it, so that the number in the file is for
 * people only.  Its trap: it is lost when the process closes any descriptor of
 * the file.  So the holder never opens the file again: is_own() looks first.
 */
#include "daemon.h"

#include "fileio.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int lock_fd = -1;
static pid_t lock_owner;
static int ready_fd = -1;

static struct flock whole_file(short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

static bool is_own(const char *pid_path)
{
	struct stat held, named;

	return lock_fd >= 0 && lock_owner == getpid() && fstat(lock_fd, &held) == 0 && stat(pid_path, &named) == 0 &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

pid_t daemon_running(const char *pid_path)
{
	struct flock fl = whole_file(F_WRLCK);
	pid_t holder = 0;
	int fd;

	if (is_own(pid_path))
		return getpid();
	fd = open(pid_path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK)
		holder = fl.l_pid;
	close(fd);
	return holder;
}

static int write_pid(int fd)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) < 0)
		return -errno;
	return fileio_pwrite_full(fd, text, (size_t)len, 0);
}

int daemon_lock(const char *pid_path, pid_t *ret_other)
{
	struct flock fl = whole_file(F_WRLCK);
	int fd, err = 0;

	if (is_own(pid_path))
		return 0;
	fd = open(pid_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETLK, &fl) < 0) {
		err = errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
		close(fd);
		if (err == -EBUSY && ret_other)
			*ret_other = daemon_running(pid_path);
		return err;
	}
	err = write_pid(fd);
	if (err) {
		close(fd);
		return err;
	}
	lock_fd = fd;
	lock_owner = getpid();
	return 0;
}

/* The parent's part: the child's one byte is the exit status; none means that
 * it died before it was ready. */
static void wait_and_exit(int fd)
{
	uint8_t status = 1;

	if (fileio_read_full(fd, &status, 1) < 0)
		status = 1;
	_exit(status);
}

int daemon_detach(void)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		int err = -errno;

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (pid > 0) {
		close(ends[1]);
		wait_and_exit(ends[0]);
	}
	close(ends[0]);
	setsid();
	ready_fd = ends[1];
	return 0;
}

/* sd_notify(3): a unit of Type=notify has started now.  Once; a failure is told by the exit status. */
static void tell_systemd(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len > sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&to,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 7)
		unsetenv("NOTIFY_SOCKET");
	close(fd);
}

void daemon_ready(int status)
{
	uint8_t byte = (uint8_t)status;
	int null;

	if (ready_fd < 0) {
		if (status == 0)
			tell_systemd();
		return;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
	}
	/* If the parent was killed meanwhile nobody is waiting for this byte. */
	if (write(ready_fd, &byte, 1) < 0)
		byte = 0;
	close(ready_fd);
	ready_fd = -1;
}

int daemon_signal_fd(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* The lock is gone a moment before or after the process is: wait for the
 * process, by a descriptor that cannot mean another one. */
int daemon_stop(const char *pid_path, unsigned int timeout_ms)
{
	uint64_t deadline = monotonic_now_us() + timeout_ms * USEC_PER_MSEC;
	pid_t pid = daemon_running(pid_path);
	struct pollfd p;
	int n;

	if (pid <= 0)
		return -ESRCH;
	p = (struct pollfd){ .fd = pidfd_open(pid, 0), .events = POLLIN };
	if (p.fd < 0)
		return -errno;
	/* Between the look and the open the number may have changed hands. */
	if (daemon_running(pid_path) != pid) {
		close(p.fd);
		return -ESRCH;
	}
	if (pidfd_send_signal(p.fd, SIGTERM, NULL, 0) < 0) {
		n = -errno;
		close(p.fd);
		return n;
	}
	do {
		uint64_t now = monotonic_now_us();

		n = poll(&p, 1, now >= deadline ? 0 : (int)((deadline - now + 999) / 1000));
	} while (n < 0 && errno == EINTR);
	close(p.fd);
	return n > 0 ? 0 : -ETIMEDOUT;
}

void daemon_raise_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

void daemon_boot_id(char ret[64])
{
	const char *path = getenv("GODWIT_BOOT_ID_FILE");

	memset(ret, 0, 64);
	if (fileio_read_line(path ? path : "/proc/sys/kernel/random/boot_id", ret, 64) < 0)
		ret[0] = '\0';
}
