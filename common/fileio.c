/* SPDX-License-Identifier: Apache-2.0 */
#include "fileio.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REMOVE_DEPTH_MAX 8u

int fileio_read_full(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fileio_pread_full(int fd, void *buf, size_t len, uint64_t offset_bytes)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
		offset_bytes += (uint64_t)n;
	}
	return 0;
}

int fileio_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fileio_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset_bytes)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset_bytes += (uint64_t)n;
	}
	return 0;
}

/* read(2) up to @max_bytes; the files of /proc and /sys do not know their size. */
static int read_to_end(int fd, char *buf, size_t max_bytes, size_t *ret_len)
{
	size_t len = 0;

	while (len < max_bytes) {
		ssize_t n = read(fd, buf + len, max_bytes - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

static int slurp_fd(int fd, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	char *text = malloc(max_bytes + 1), *fitting;
	size_t len;
	int err;

	if (!text)
		return -ENOMEM;
	err = read_to_end(fd, text, max_bytes + 1, &len);
	if (err == 0 && len > max_bytes)
		err = -EFBIG;
	if (err) {
		free(text);
		return err;
	}
	fitting = realloc(text, len + 1);
	if (fitting)
		text = fitting;
	text[len] = '\0';
	*ret_text = text;
	if (ret_len)
		*ret_len = len;
	return 0;
}

int fileio_slurp(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = slurp_fd(fd, max_bytes, ret_text, ret_len);
	close(fd);
	return err;
}

int fileio_read_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	size_t len = 0;
	char *end;

	if (fd < 0)
		return -errno;
	err = read_to_end(fd, buf, size, &len);
	close(fd);
	if (err)
		return err;
	end = memchr(buf, '\n', len);
	if (!end && len == size)
		return -EFBIG;
	if (!end)
		end = buf + len;
	*end = '\0';
	return 0;
}

static int write_and_sync(int fd, const void *buf, size_t len, mode_t mode)
{
	int err = fchmod(fd, mode) == 0 ? 0 : -errno;

	if (err == 0)
		err = fileio_write_full(fd, buf, len);
	if (err == 0 && fsync(fd) != 0)
		err = -errno;
	return err;
}

static int fsync_parent(const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return fileio_fsync_dir(".");
	snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return fileio_fsync_dir(dir);
}

int fileio_replace(const char *path, const void *buf, size_t len, mode_t mode)
{
	char temp[PATH_MAX];
	int fd, err;

	if ((size_t)snprintf(temp, sizeof(temp), "%s.new-XXXXXX", path) >= sizeof(temp))
		return -ENAMETOOLONG;
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write_and_sync(fd, buf, len, mode);
	if (close(fd) != 0 && err == 0)
		err = -errno;
	if (err == 0 && rename(temp, path) != 0)
		err = -errno;
	if (err) {
		unlink(temp);
		return err;
	}
	return fsync_parent(path);
}

int fileio_fsync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

static int remove_at(int dir, const char *name, unsigned int depth);

/* Takes @fd over. */
static int empty_folder(int fd, unsigned int depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	int err = 0, one;

	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		one = remove_at(dirfd(d), e->d_name, depth);
		err = err ? err : one;
	}
	closedir(d);
	return err;
}

/* By descriptors, so that a folder that becomes a link is not followed. */
static int remove_at(int dir, const char *name, unsigned int depth)
{
	int fd, err;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (depth == REMOVE_DEPTH_MAX)
		return -ELOOP;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = empty_folder(fd, depth + 1);
	if (unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT && !err)
		err = -errno;
	return err;
}

int fileio_remove_tree(const char *path)
{
	return remove_at(AT_FDCWD, path, 0);
}

static int make_one(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) != 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int fileio_mkdirs(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	int err;

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (size_t i = 1; i < len; i++) {
		if (part[i] != '/')
			continue;
		part[i] = '\0';
		err = make_one(part, mode);
		part[i] = '/';
		if (err)
			return err;
	}
	return make_one(part, mode);
}
