/* SPDX-License-Identifier: Apache-2.0 */
/* uring - the scanner's reads: several at once, told about by one descriptor. */
#ifndef GODWIT_URING_H
#define GODWIT_URING_H

#include "base.h"
#include <sys/uio.h>

struct uring;

/* Where the kernel forbids io_uring (kernel.io_uring_disabled, seccomp), reads
 * are made one after the other, at once. */
_must_check_ int uring_new(unsigned int depth, struct uring **ret);
void uring_free(struct uring *u);
int uring_fd(const struct uring *u); /* for poll */

/* Reads into buffer n with tag n need not look its pages up each time.  Called again with other
 * buffers, it holds for them, from the moment on when no read is under way; the others may be freed
 * before.  The last ones are freed after @u.  Where it cannot be, nothing is lost. */
void uring_register(struct uring *u, const struct iovec *buffers, unsigned int count);

_must_check_ int uring_read(struct uring *u, int fd, void *buffer, uint32_t length, uint64_t offset, unsigned int tag);

/* One that has ended: 1, its tag, and 0 or -errno (-EIO when the disk ends early); 0: none. */
int uring_ended(struct uring *u, unsigned int *ret_tag, int *ret_error);

#endif
