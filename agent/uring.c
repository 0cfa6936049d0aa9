/* SPDX-License-Identifier: Apache-2.0 */
#include "uring.h"
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TAGS_MAX 64u

struct uring {
	struct io_uring ring;
	bool works;
	int event_fd;
	uint32_t lengths[TAGS_MAX];
	struct iovec wanted[TAGS_MAX]; /* buffers by tag, to be registered */
	unsigned int wanted_count;
	bool registered;	       /* they are, */
	bool outdated;		       /* and others before them are still */
	unsigned int under_way;
	/* Without io_uring: what was read at once and not yet told. */
	struct {
		unsigned int tag;
		int error;
	} told[TAGS_MAX];
	unsigned int first, count;
};

int uring_new(unsigned int depth, struct uring **ret)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->event_fd < 0) {
		err = -errno;
		free(u);
		return err;
	}
	u->works = io_uring_queue_init(depth, &u->ring, 0) == 0;
	if (u->works && io_uring_register_eventfd(&u->ring, u->event_fd) < 0) {
		io_uring_queue_exit(&u->ring);
		u->works = false;
	}
	*ret = u;
	return 0;
}

void uring_free(struct uring *u)
{
	if (!u)
		return;
	if (u->works)
		io_uring_queue_exit(&u->ring);
	close(u->event_fd);
	free(u);
}

int uring_fd(const struct uring *u)
{
	return u->event_fd;
}

/* The kernel may wait for reads under way when buffers are others: so it is done when there are none. */
static void register_wanted(struct uring *u)
{
	if (u->outdated)
		(void)io_uring_unregister_buffers(&u->ring);
	u->outdated = false;
	u->registered = io_uring_register_buffers(&u->ring, u->wanted, u->wanted_count) == 0;
	if (!u->registered)
		u->wanted_count = 0; /* no more tries */
}

void uring_register(struct uring *u, const struct iovec *buffers, unsigned int count)
{
	if (!u->works || count > TAGS_MAX ||
	    (count == u->wanted_count && memcmp(u->wanted, buffers, count * sizeof(*buffers)) == 0))
		return;
	memcpy(u->wanted, buffers, count * sizeof(*buffers));
	u->wanted_count = count;
	u->outdated = u->outdated || u->registered;
	u->registered = false; /* another buffer may have the address of one that is gone */
	if (!u->under_way)
		register_wanted(u);
}

static bool is_registered(const struct uring *u, unsigned int tag, const void *buffer, uint32_t length)
{
	return u->registered && tag < u->wanted_count && buffer == u->wanted[tag].iov_base &&
	       length <= u->wanted[tag].iov_len;
}

static int read_at_once(struct uring *u, int fd, void *buffer, uint32_t length, uint64_t offset, unsigned int tag)
{
	ssize_t n = pread(fd, buffer, length, (off_t)offset);
	unsigned int at = (u->first + u->count++) % TAGS_MAX;
	uint64_t one = 1;

	u->told[at].tag = tag;
	u->told[at].error = n < 0 ? -errno : (uint32_t)n < length ? -EIO : 0;
	return write(u->event_fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

/* Hand over what is queued.  If it cannot be done now, the descriptor becomes
 * readable, so that uring_ended() is called and tries again. */
static void submit(struct uring *u)
{
	uint64_t one = 1;

	(void)io_uring_submit(&u->ring);
	if (io_uring_sq_ready(&u->ring))
		(void)!write(u->event_fd, &one, sizeof(one));
}

int uring_read(struct uring *u, int fd, void *buffer, uint32_t length, uint64_t offset, unsigned int tag)
{
	struct io_uring_sqe *sqe;

	if (tag >= TAGS_MAX)
		return -EINVAL;
	if (!u->works)
		return u->count < TAGS_MAX ? read_at_once(u, fd, buffer, length, offset, tag) : -EBUSY;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return -EBUSY;
	u->lengths[tag] = length;
	if (is_registered(u, tag, buffer, length))
		io_uring_prep_read_fixed(sqe, fd, buffer, length, offset, (int)tag);
	else
		io_uring_prep_read(sqe, fd, buffer, length, offset);
	sqe->user_data = tag;
	u->under_way++;
	/* It is in the queue and cannot be taken back: should the kernel be short of memory
	 * now, it is handed over later.  To say that it did not begin would let another read
	 * have its tag and buffer. */
	submit(u);
	return 0;
}

int uring_ended(struct uring *u, unsigned int *ret_tag, int *ret_error)
{
	struct io_uring_cqe *cqe;
	uint64_t count;

	if (u->works ? io_uring_peek_cqe(&u->ring, &cqe) != 0 : !u->count) {
		(void)!read(u->event_fd, &count, sizeof(count));
		if (u->works && io_uring_sq_ready(&u->ring))
			submit(u);
		/* One may have ended between the look and the reading of the counter. */
		if (!u->works || io_uring_peek_cqe(&u->ring, &cqe) != 0)
			return 0;
	}
	if (!u->works) {
		*ret_tag = u->told[u->first].tag;
		*ret_error = u->told[u->first].error;
		u->first = (u->first + 1) % TAGS_MAX;
		u->count--;
		return 1;
	}
	*ret_tag = (unsigned int)cqe->user_data;
	*ret_error = cqe->res < 0 ? cqe->res : (uint32_t)cqe->res < u->lengths[*ret_tag] ? -EIO : 0;
	io_uring_cqe_seen(&u->ring, cqe);
	if (--u->under_way == 0 && u->wanted_count && !u->registered)
		register_wanted(u);
	return 1;
}
