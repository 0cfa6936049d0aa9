/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys - every system call the store makes, as a table of functions.
 *
 * store_sys_default is libc's.  Tests put their own in front of it or in its
 * place: to fail the n-th call, or to be a disk whose power is cut.  Each
 * returns >= 0 or -errno, never -1; EINTR is handled inside.
 */
#ifndef GODWIT_STORE_SYS_H
#define GODWIT_STORE_SYS_H

#include "store.h"
#include <sys/uio.h>

enum sys_lock { SYS_UNLOCK, SYS_SHARED, SYS_EXCLUSIVE };

/* Constants of the store that tests make small. */
struct store_limits {
	uint64_t data_file_bytes;  /* a journal file is closed at the first border after it */
	uint64_t data_file_epochs; /* ... or after so many epochs */
	uint64_t buffer_bytes;	   /* written at once */
	uint64_t reserve_bytes;	   /* puts are refused when less than this is free, */
	uint32_t reserve_permille; /* ... or less than this part of the file system */
	uint32_t merge_fan_in;	   /* so many runs of a size become one */
	uint64_t tier_entries;	   /* runs below this are all of one size */
	uint64_t small_file_bytes; /* data files below this are put together */
};

static inline uint64_t store_limits_reserve_bytes(const struct store_limits *l, uint64_t total_bytes)
{
	return MAX(l->reserve_bytes, total_bytes / 1000 * l->reserve_permille);
}

struct store_sys {
	void *context;
	struct store_limits limits;

	/* A descriptor; flags as open(2), O_CLOEXEC is added. */
	int (*open)(const struct store_sys *sys, const char *path, int flags, unsigned int mode);
	void (*close)(const struct store_sys *sys, int fd);
	/* May be short, as the system calls. */
	ssize_t (*preadv)(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset);
	ssize_t (*pwritev)(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset);
	int (*size)(const struct store_sys *sys, int fd, uint64_t *ret_bytes);
	int (*truncate)(const struct store_sys *sys, int fd, uint64_t bytes);
	int (*sync_file)(const struct store_sys *sys, int fd);		 /* fdatasync */
	int (*sync_dir)(const struct store_sys *sys, const char *dir); /* names in it are durable after this */
	int (*rename)(const struct store_sys *sys, const char *from, const char *to);
	int (*link)(const struct store_sys *sys, const char *from, const char *to); /* another name for it */
	int (*unlink)(const struct store_sys *sys, const char *path);
	int (*mkdir)(const struct store_sys *sys, const char *path); /* 0 also if it is there */
	/* Each name in @dir but the dots; @each returns 0 to go on, otherwise what list returns. */
	int (*list)(const struct store_sys *sys, const char *dir, int (*each)(void *context, const char *name),
		    void *context);
	/* The whole of an immutable file, read-only. */
	int (*map)(const struct store_sys *sys, int fd, size_t length, const void **ret);
	void (*unmap)(const struct store_sys *sys, const void *map, size_t length);
	/* Before a part of a map is first touched: -EIO if the disk cannot read it back, instead of
	 * a signal.  0 where the kernel cannot tell (before Linux 5.14). */
	int (*populate)(const struct store_sys *sys, const void *at, size_t length);

	/* Hints: begin to write out; next reads are to come from the disk, not from memory. */
	void (*start_writeback)(const struct store_sys *sys, int fd, uint64_t offset, uint64_t length);
	void (*forget)(const struct store_sys *sys, int fd);

	/* Locks on one byte of a file, owned by the open descriptor.  -EAGAIN: held by another. */
	int (*lock)(const struct store_sys *sys, int fd, uint64_t byte, enum sys_lock kind);
	/* A byte in first..last that another descriptor holds: 1 and *@ret, or 0. */
	int (*locked)(const struct store_sys *sys, int fd, uint64_t first, uint64_t last, uint64_t *ret);

	int (*space)(const struct store_sys *sys, const char *dir, uint64_t *ret_free, uint64_t *ret_total);
	void (*pause)(const struct store_sys *sys, uint64_t us);
	uint64_t (*now_us)(const struct store_sys *sys); /* monotonic */
};

/* All @length bytes, or -errno; -ENODATA when the file ends before. */
_must_check_ int sys_read(const struct store_sys *sys, int fd, void *buf, size_t length, uint64_t offset);
_must_check_ int sys_write(const struct store_sys *sys, int fd, const void *buf, size_t length, uint64_t offset);
_must_check_ int sys_write2(const struct store_sys *sys, int fd, struct iovec iov[2], uint64_t offset);

/* "@dir/@name", to be freed; NULL without memory. */
char *sys_path(const char *dir, const char *name);

/* A new file under a temporary name: what a crash left there is unlinked, not
 * written over, for it may still be the file that it was renamed to. */
_must_check_ int sys_create(const struct store_sys *sys, const char *path);

/* Replace @dir/@name by @len bytes so that after a crash it is the old or the new. */
_must_check_ int sys_replace(const struct store_sys *sys, const char *dir, const char *name, const void *buf,
			     size_t len);
/* The whole small file, NUL-terminated, to be freed. */
_must_check_ int sys_slurp(const struct store_sys *sys, const char *dir, const char *name, size_t max, char **ret,
			   size_t *ret_len);

#endif
