/* SPDX-License-Identifier: Apache-2.0 */
#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

static int libc_open(const struct store_sys *sys, const char *path, int flags, unsigned int mode)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static void libc_close(const struct store_sys *sys, int fd)
{
	close(fd);
}

static ssize_t libc_preadv(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	ssize_t n;

	do
		n = preadv(fd, iov, count, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t libc_pwritev(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	ssize_t n;

	do
		n = pwritev(fd, iov, count, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int libc_size(const struct store_sys *sys, int fd, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int libc_truncate(const struct store_sys *sys, int fd, uint64_t bytes)
{
	return ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
}

/* Never repeated after a failure: the kernel reports a lost page once. */
static int libc_sync_file(const struct store_sys *sys, int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int libc_sync_dir(const struct store_sys *sys, const char *dir)
{
	int fd = libc_open(sys, dir, O_RDONLY | O_DIRECTORY, 0);
	int err;

	if (fd < 0)
		return fd;
	err = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int libc_rename(const struct store_sys *sys, const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

static int libc_link(const struct store_sys *sys, const char *from, const char *to)
{
	return link(from, to) < 0 ? -errno : 0;
}

static int libc_unlink(const struct store_sys *sys, const char *path)
{
	return unlink(path) < 0 ? -errno : 0;
}

static int libc_mkdir(const struct store_sys *sys, const char *path)
{
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int libc_list(const struct store_sys *sys, const char *dir, int (*each)(void *context, const char *name),
		     void *context)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int err = 0;

	if (!d)
		return -errno;
	for (errno = 0; err == 0 && (e = readdir(d)); errno = 0) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = each(context, e->d_name);
	}
	if (err == 0)
		err = -errno;
	closedir(d);
	return err;
}

static int libc_map(const struct store_sys *sys, int fd, size_t length, const void **ret)
{
	void *p = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

static void libc_unmap(const struct store_sys *sys, const void *map, size_t length)
{
	munmap((void *)(uintptr_t)map, length);
}

static int libc_populate(const struct store_sys *sys, const void *at, size_t length)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)at / page * page;

	if (madvise((void *)begin, (uintptr_t)at + length - begin, MADV_POPULATE_READ) == 0)
		return 0;
	return errno == EFAULT || errno == EHWPOISON ? -EIO : 0;
}

static void libc_start_writeback(const struct store_sys *sys, int fd, uint64_t offset, uint64_t length)
{
	(void)sync_file_range(fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
}

static void libc_forget(const struct store_sys *sys, int fd)
{
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int libc_lock(const struct store_sys *sys, int fd, uint64_t byte, enum sys_lock kind)
{
	struct flock l = {
		.l_type = kind == SYS_EXCLUSIVE ? F_WRLCK : kind == SYS_SHARED ? F_RDLCK : F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)byte,
		.l_len = 1,
	};

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int libc_locked(const struct store_sys *sys, int fd, uint64_t first, uint64_t last, uint64_t *ret)
{
	struct flock l = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)first,
		.l_len = (off_t)(last - first + 1),
	};

	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		return -errno;
	if (l.l_type == F_UNLCK)
		return 0;
	*ret = (uint64_t)l.l_start;
	return 1;
}

static int libc_space(const struct store_sys *sys, const char *dir, uint64_t *ret_free, uint64_t *ret_total)
{
	struct statvfs v;

	if (statvfs(dir, &v) < 0)
		return -errno;
	*ret_free = (uint64_t)v.f_bavail * v.f_frsize;
	*ret_total = (uint64_t)v.f_blocks * v.f_frsize;
	return 0;
}

static void libc_pause(const struct store_sys *sys, uint64_t us)
{
	struct timespec t = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static uint64_t libc_now_us(const struct store_sys *sys)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

const struct store_sys store_sys_default = {
	.limits = {
		.data_file_bytes = 128 * MIB,
		.data_file_epochs = 7200,
		.buffer_bytes = 1 * MIB,
		.reserve_bytes = 64 * MIB,
		.reserve_permille = 10,
		.merge_fan_in = 8,
		.tier_entries = 32768,
		.small_file_bytes = 8 * MIB,
	},
	.open = libc_open,
	.close = libc_close,
	.preadv = libc_preadv,
	.pwritev = libc_pwritev,
	.size = libc_size,
	.truncate = libc_truncate,
	.sync_file = libc_sync_file,
	.sync_dir = libc_sync_dir,
	.rename = libc_rename,
	.link = libc_link,
	.unlink = libc_unlink,
	.mkdir = libc_mkdir,
	.list = libc_list,
	.map = libc_map,
	.unmap = libc_unmap,
	.populate = libc_populate,
	.start_writeback = libc_start_writeback,
	.forget = libc_forget,
	.lock = libc_lock,
	.locked = libc_locked,
	.space = libc_space,
	.pause = libc_pause,
	.now_us = libc_now_us,
};

/* --- on top of the table ------------------------------------------------- */

int sys_read(const struct store_sys *sys, int fd, void *buf, size_t length, uint64_t offset)
{
	while (length > 0) {
		struct iovec iov = { buf, length };
		ssize_t n = sys->preadv(sys, fd, &iov, 1, offset);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENODATA;
		buf = (char *)buf + n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

int sys_write2(const struct store_sys *sys, int fd, struct iovec iov[2], uint64_t offset)
{
	while (iov[0].iov_len + iov[1].iov_len > 0) {
		ssize_t n = sys->pwritev(sys, fd, iov, 2, offset);
		size_t first;

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		offset += (uint64_t)n;
		first = MIN((size_t)n, iov[0].iov_len);
		iov[0].iov_base = (char *)iov[0].iov_base + first;
		iov[0].iov_len -= first;
		iov[1].iov_base = (char *)iov[1].iov_base + ((size_t)n - first);
		iov[1].iov_len -= (size_t)n - first;
	}
	return 0;
}

int sys_write(const struct store_sys *sys, int fd, const void *buf, size_t length, uint64_t offset)
{
	void *at = (void *)(uintptr_t)buf;
	struct iovec iov[2] = { { at, length }, { at, 0 } };

	return sys_write2(sys, fd, iov, offset);
}

char *sys_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

int sys_create(const struct store_sys *sys, const char *path)
{
	int err = sys->unlink(sys, path);

	return err < 0 && err != -ENOENT ? err : sys->open(sys, path, O_RDWR | O_CREAT | O_EXCL, 0600);
}

static int write_new(const struct store_sys *sys, const char *path, const void *buf, size_t len)
{
	int fd = sys_create(sys, path);
	int err;

	if (fd < 0)
		return fd;
	err = sys_write(sys, fd, buf, len, 0);
	if (err == 0)
		err = sys->sync_file(sys, fd);
	sys->close(sys, fd);
	return err;
}

int sys_replace(const struct store_sys *sys, const char *dir, const char *name, const void *buf, size_t len)
{
	char *path = sys_path(dir, name);
	char *tmp = NULL;
	int err = -ENOMEM;

	if (path && asprintf(&tmp, "%s.tmp", path) < 0)
		tmp = NULL;
	if (tmp)
		err = write_new(sys, tmp, buf, len);
	if (err == 0)
		err = sys->rename(sys, tmp, path);
	if (err == 0)
		err = sys->sync_dir(sys, dir);
	free(tmp);
	free(path);
	return err;
}

static int slurp_fd(const struct store_sys *sys, int fd, size_t max, char **ret, size_t *ret_len)
{
	uint64_t size;
	char *text;
	int err = sys->size(sys, fd, &size);

	if (err < 0)
		return err;
	if (size > max)
		return -EFBIG;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	err = sys_read(sys, fd, text, size, 0);
	if (err < 0) {
		free(text);
		return err == -ENODATA ? -EBADMSG : err;
	}
	text[size] = '\0';
	*ret = text;
	*ret_len = size;
	return 0;
}

int sys_slurp(const struct store_sys *sys, const char *dir, const char *name, size_t max, char **ret, size_t *ret_len)
{
	char *path = sys_path(dir, name);
	int fd, err;

	if (!path)
		return -ENOMEM;
	fd = sys->open(sys, path, O_RDONLY, 0);
	free(path);
	if (fd < 0)
		return fd;
	err = slurp_fd(sys, fd, max, ret, ret_len);
	sys->close(sys, fd);
	return err;
}
