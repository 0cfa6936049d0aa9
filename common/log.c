/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is composed in one buffer and leaves in one write(2) for each
 * destination, so that lines of several processes do not mix.
 *
 * Several processes may have the same file open (a server and its sessions),
 * and each may be the one that rotates it:
 *
 * - Before a line is written the path is compared with the descriptor: if
 *   somebody else has renamed the file, the new one is opened.
 * - Whoever finds the file full locks it (fcntl, so that forked processes
 *   exclude each other although they share the description), looks again
 *   whether the path still is that file, and renames.
 * - Who cannot lock, rename or open (a confined process) goes on writing into
 *   the file it has: a line in an old file is better than none.
 */
#include "log.h"
#include "wallclock.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

static struct {
	const char *program;
	enum log_level least;
	bool quiet_stderr;
	int fd;
	char path[PATH_MAX];
	unsigned long long max_bytes;
	unsigned int keep;
} logger = { .program = "godwit", .least = LOG_INFO, .fd = -1 };

void log_init(const char *program, enum log_level least)
{
	logger.program = program;
	logger.least = least;
}

void log_quiet_stderr(void)
{
	logger.quiet_stderr = true;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	return fd < 0 ? -errno : fd;
}

int log_to_file(const char *path, unsigned long long max_bytes, unsigned int keep)
{
	size_t len = strlen(path);
	int fd;

	assert(keep >= 1 && max_bytes > 0);
	if (len < 3 || strcmp(path + len - 2, ".0") != 0)
		return -EINVAL;
	if (len + 12 > sizeof(logger.path)) /* room for ".4294967295" instead of ".0" */
		return -ENAMETOOLONG;
	fd = open_file(path);
	if (fd < 0)
		return fd;
	if (logger.fd >= 0)
		close(logger.fd);
	memcpy(logger.path, path, len + 1);
	logger.fd = fd;
	logger.max_bytes = max_bytes;
	logger.keep = keep;
	return 0;
}

static char *numbered(char *buf, unsigned int n)
{
	int stem = (int)strlen(logger.path) - 1; /* without the "0" */

	snprintf(buf, PATH_MAX, "%.*s%u", stem, logger.path, n);
	return buf;
}

/* Open what is now at the path; keep the old file if that fails. */
static void reopen(void)
{
	int fd = open_file(logger.path);

	if (fd < 0)
		return;
	close(logger.fd);
	logger.fd = fd;
}

static bool path_is_ours(off_t *ret_size)
{
	struct stat ours, there;

	if (fstat(logger.fd, &ours) != 0 || stat(logger.path, &there) != 0)
		return false;
	*ret_size = ours.st_size;
	return ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

static void rotate(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char from[PATH_MAX], to[PATH_MAX];
	off_t size;

	if (fcntl(logger.fd, F_SETLK, &lock) != 0)
		return; /* somebody else is at it */
	if (path_is_ours(&size)) {
		for (unsigned int n = logger.keep - 1; n > 0; n--)
			(void)rename(numbered(from, n - 1), numbered(to, n));
		if (logger.keep == 1)
			(void)unlink(logger.path);
	}
	/* Closing the old file in reopen() releases the lock. */
	reopen();
	lock.l_type = F_UNLCK;
	(void)fcntl(logger.fd, F_SETLK, &lock);
}

static void write_file(const char *line, size_t len)
{
	off_t size = 0;

	if (!path_is_ours(&size)) {
		reopen();
		if (!path_is_ours(&size))
			size = 0;
	}
	if (size > 0 && (unsigned long long)size + len > logger.max_bytes)
		rotate();
	if (write(logger.fd, line, len) < 0) {
		/* There is nobody left to tell. */
	}
}

/* What a peer or a disk's name put into the text must not make a second line
 * or move a terminal's cursor. */
static void make_printable(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			s[i] = c == '\n' || c == '\t' ? ' ' : '?';
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const words[] = { "debug", "info ", "warn ", "error" };
	char line[LINE_MAX_BYTES], when[WALLCLOCK_TEXT_LEN + 1];
	int saved = errno, head, text;
	va_list ap;
	size_t len;

	if (level < logger.least)
		return;
	head = snprintf(line, sizeof(line) / 2, "%s %s %s: ", wallclock_format(wallclock_now_us(), when),
			words[level], logger.program);
	assert(head > 0 && (size_t)head < sizeof(line) / 2);
	va_start(ap, fmt);
	text = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
	va_end(ap);
	len = (size_t)head + MIN((size_t)MAX(text, 0), sizeof(line) - (size_t)head - 2);
	make_printable(line + head, len - (size_t)head);
	line[len++] = '\n';
	if (!logger.quiet_stderr && write(STDERR_FILENO, line, len) < 0) {
		/* There is nobody left to tell. */
	}
	if (logger.fd >= 0)
		write_file(line, len);
	errno = saved;
}
