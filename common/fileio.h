/* SPDX-License-Identifier: Apache-2.0 */
/* fileio - whole-buffer reads and writes, and files replaced atomically. */
#ifndef GODWIT_FILEIO_H
#define GODWIT_FILEIO_H

#include "base.h"
#include <sys/types.h>

/* All @len bytes or an error: -EIO when the file ends early.  EINTR and short
 * transfers are handled. */
_must_check_ int fileio_read_full(int fd, void *buf, size_t len);
_must_check_ int fileio_pread_full(int fd, void *buf, size_t len, uint64_t offset_bytes);
_must_check_ int fileio_write_full(int fd, const void *buf, size_t len);
_must_check_ int fileio_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset_bytes);

/* The file's text, NUL-terminated, to be freed by the caller.  -EFBIG above
 * @max_bytes. */
_must_check_ int fileio_slurp(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len);

/* First line of a small file, without its newline; for /sys and /proc. */
_must_check_ int fileio_read_line(const char *path, char *buf, size_t size);

/*
 * Replace @path by @len bytes with mode @mode: temporary file, fsync, rename,
 * fsync of the folder.  After a crash the file is the old one or the new one.
 */
_must_check_ int fileio_replace(const char *path, const void *buf, size_t len, mode_t mode);

_must_check_ int fileio_fsync_dir(const char *dir);

/* rm -r of a file, a link (not what it leads to) or a folder; a few folders deep, on which
 * nobody else works.  0 also if there was none; else the first error, with all gone that can be. */
_must_check_ int fileio_remove_tree(const char *path);

/* mkdir -p.  0 also if it was there. */
_must_check_ int fileio_mkdirs(const char *path, mode_t mode);

#endif
