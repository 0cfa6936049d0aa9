/* SPDX-License-Identifier: Apache-2.0 */
#include "room.h"
#include "sys.h"
#include "tool.h"
#include "wallclock.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEASURE_US (300 * USEC_PER_SEC)

struct room_needs {
	struct loop *loop;
	const char *folder;
	unsigned int disk, disks;
	uint64_t needed_bytes;
	pid_t pid;
	int fd;
	size_t used;
	char said[4096];
	struct loop_timer limit;
	void (*done)(void *context, int err, uint64_t needed_bytes);
	void *context;
};

static int measure_next(struct room_needs *n);

static void finish(struct room_needs *n, int err)
{
	loop_clear_timer(n->loop, &n->limit);
	n->done(n->context, err, n->needed_bytes); /* it may be freed in there */
}

static uint64_t allocated_bytes(const struct room_needs *n)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/disk%u.qcow2", n->folder, n->disk);
	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static int take_measure(struct room_needs *n)
{
	json_t *j = json_loadb(n->said, n->used, 0, NULL), *required = json_object_get(j, "required");
	uint64_t has = allocated_bytes(n), all = (uint64_t)json_integer_value(required);
	bool known = json_is_integer(required);

	json_decref(j);
	if (known && all > has)
		n->needed_bytes += all - has;
	return known ? 0 : -EIO;
}

static void heard(void *context, uint32_t events)
{
	struct room_needs *n = context;
	ssize_t got = read(n->fd, n->said + n->used, sizeof(n->said) - n->used);
	int err, status;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0) {
		n->used += (size_t)got;
		if (n->used < sizeof(n->said))
			return;
	}
	loop_close(n->loop, &n->fd);
	(void)kill(n->pid, SIGKILL); /* it has ended, or says too much */
	(void)waitpid(n->pid, &status, 0);
	n->pid = 0;
	err = take_measure(n);
	if (!err && ++n->disk < n->disks)
		err = measure_next(n);
	if (err || n->disk == n->disks)
		finish(n, err);
}

static int measure_next(struct room_needs *n)
{
	char file[32];
	const char *const argv[] = { "qemu-img", "measure", "-U", "--output", "json", "-f", "qcow2", "-O", "qcow2", file, NULL };
	int err;

	snprintf(file, sizeof(file), "disk%u.qcow2", n->disk);
	n->used = 0;
	err = tool_start(argv, n->folder, NULL, &n->pid, &n->fd);
	if (err)
		n->pid = 0;
	return err ?: loop_watch(n->loop, n->fd, EPOLLIN, heard, n);
}

static void too_late(void *context)
{
	struct room_needs *n = context;

	(void)kill(n->pid, SIGKILL); /* its end is heard */
}

int room_measure(struct loop *loop, const char *folder, unsigned int disks,
		 void (*done)(void *context, int err, uint64_t needed_bytes), void *context, struct room_needs **ret)
{
	struct room_needs *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	*n = (struct room_needs){ .loop = loop, .folder = folder, .disks = disks, .fd = -1, .done = done, .context = context };
	err = measure_next(n);
	if (err) {
		room_measure_free(n);
		return err;
	}
	n->limit.fire = too_late;
	n->limit.context = n;
	loop_set_timer(loop, &n->limit, monotonic_now_us() + MEASURE_US);
	*ret = n;
	return 0;
}

void room_measure_free(struct room_needs *n)
{
	if (!n)
		return;
	loop_clear_timer(n->loop, &n->limit);
	loop_close(n->loop, &n->fd);
	if (n->pid > 0) {
		(void)kill(n->pid, SIGKILL);
		(void)waitpid(n->pid, NULL, 0);
	}
	free(n);
}

/* What the store keeps back, and as much above it as a session needs to be let in again (server/staging.h). */
static uint64_t reserve_bytes(uint64_t total_bytes)
{
	uint64_t reserve = store_limits_reserve_bytes(&store_sys_default.limits, total_bytes);

	return reserve + reserve / 4;
}

int room_check(const char *folder, bool has_reserve, uint64_t needed_bytes, char *why, size_t size)
{
	uint64_t there, reserve;
	struct statvfs v;

	if (statvfs(folder, &v))
		return -errno;
	there = (uint64_t)v.f_bavail * v.f_frsize;
	reserve = has_reserve ? reserve_bytes((uint64_t)v.f_blocks * v.f_frsize) : 0;
	if (there >= reserve && there - reserve >= needed_bytes)
		return 0;
	snprintf(why, size, "%llu MiB are needed, %llu MiB are free, and %llu MiB of them are kept back for replication",
		 (unsigned long long)((needed_bytes + MIB - 1) / MIB), (unsigned long long)(there / MIB),
		 (unsigned long long)(reserve / MIB));
	return -ENOSPC;
}
