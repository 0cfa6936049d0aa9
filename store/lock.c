/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define POINT_BASE 65536u
#define WAIT_STEP_US 2000u

static int open_file(const struct store_sys *sys, const char *dir, int flags)
{
	char *path = sys_path(dir, "lock");
	int fd;

	if (!path)
		return -ENOMEM;
	fd = sys->open(sys, path, flags, 0600);
	free(path);
	return fd;
}

void lock_open_shared(const struct store_sys *sys, const char *dir, struct lock *ret)
{
	int fd = open_file(sys, dir, O_RDONLY);

	*ret = (struct lock){ sys, fd < 0 ? -1 : fd };
}

int lock_open(const struct store_sys *sys, const char *dir, struct lock *ret)
{
	int fd = open_file(sys, dir, O_RDWR | O_CREAT);

	if (fd < 0)
		return fd;
	*ret = (struct lock){ sys, fd };
	return 0;
}

void lock_close(struct lock *l)
{
	if (l->fd >= 0)
		l->sys->close(l->sys, l->fd);
	l->fd = -1;
}

int lock_take(struct lock *l, enum lock_byte what)
{
	int err = l->sys->lock(l->sys, l->fd, what, SYS_EXCLUSIVE);

	return err == -EAGAIN ? -EBUSY : err;
}

static int gate(struct lock *l, enum sys_lock kind, unsigned int tries)
{
	int err = -EAGAIN;

	while (err == -EAGAIN && tries-- > 0) {
		err = l->sys->lock(l->sys, l->fd, LOCK_GATE, kind);
		if (err == -EAGAIN)
			l->sys->pause(l->sys, WAIT_STEP_US);
	}
	return err == -EAGAIN ? -EBUSY : err;
}

void lock_enter(struct lock *l)
{
	if (l->fd >= 0)
		(void)gate(l, SYS_SHARED, 2000000 / WAIT_STEP_US);
}

int lock_shut(struct lock *l)
{
	return gate(l, SYS_EXCLUSIVE, 10000000 / WAIT_STEP_US);
}

void lock_leave(struct lock *l)
{
	if (l->fd >= 0)
		(void)l->sys->lock(l->sys, l->fd, LOCK_GATE, SYS_UNLOCK);
}

void lock_hold_point(struct lock *l, uint64_t epoch)
{
	if (l->fd >= 0)
		(void)l->sys->lock(l->sys, l->fd, POINT_BASE + epoch, SYS_SHARED);
}

bool lock_point_held(struct lock *l, uint64_t epoch)
{
	uint64_t at;

	/* A doubt keeps the point. */
	return l->sys->locked(l->sys, l->fd, POINT_BASE + epoch, POINT_BASE + epoch, &at) != 0;
}

bool lock_any_point_held(struct lock *l)
{
	uint64_t at;

	return l->sys->locked(l->sys, l->fd, POINT_BASE, INT64_MAX - 1, &at) != 0;
}
