/* SPDX-License-Identifier: Apache-2.0 */
/*
 * killat - preloaded into a server: the GODWIT_KILL_AT-th call that changes a
 * file, in any process but the first, kills that process before it is made,
 * and the server with it.  So every stage of recovery, commit, seal and
 * upkeep gets its own sudden death.  Half of the writes die in the middle.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pid_t first;
static long *calls; /* shared by all processes */
static long kill_at;

static void __attribute__((constructor)) set_up(void)
{
	const char *text = getenv("GODWIT_KILL_AT");

	first = getpid();
	kill_at = text ? atol(text) : 0;
	calls = mmap(NULL, sizeof(*calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void die(void)
{
	(void)kill(first, SIGKILL);
	(void)kill(getpid(), SIGKILL);
}

static int is_due(void)
{
	return kill_at && calls != MAP_FAILED && getpid() != first && __sync_add_and_fetch(calls, 1) == kill_at;
}

static int is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *buf, size_t n)
{
	if (is_file(fd) && is_due()) {
		if (kill_at % 2)
			(void)!NEXT(write)(fd, buf, n / 2);
		die();
	}
	return NEXT(write)(fd, buf, n);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	if (is_file(fd) && is_due()) {
		if (kill_at % 2)
			(void)!NEXT(pwrite)(fd, buf, n / 2, at);
		die();
	}
	return NEXT(pwrite)(fd, buf, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	if (is_file(fd) && is_due())
		die();
	return NEXT(pwritev)(fd, v, n, at);
}

#define DIES_BEFORE(name, params, args) \
	int name params \
	{ \
		if (is_due()) \
			die(); \
		return NEXT(name) args; \
	}

DIES_BEFORE(fdatasync, (int fd), (fd))
DIES_BEFORE(fsync, (int fd), (fd))
DIES_BEFORE(ftruncate, (int fd, off_t n), (fd, n))
DIES_BEFORE(rename, (const char *a, const char *b), (a, b))
DIES_BEFORE(link, (const char *a, const char *b), (a, b))
DIES_BEFORE(unlink, (const char *a), (a))
DIES_BEFORE(posix_fallocate, (int fd, off_t a, off_t n), (fd, a, n))
DIES_BEFORE(fallocate, (int fd, int mode, off_t a, off_t n), (fd, mode, a, n))
