// SPDX-License-Identifier: Apache-2.0
/*
 * The reading end of a BPF ring buffer, without libbpf's: the caller says when
 * the bytes are given back, and reads ahead of that.
 *
 *	page 0		consumer position	written here only
 *	page 1		producer position	written by the kernel
 *	page 2 ...	the data, mapped twice in a row, so that every record is
 *			in one piece
 *
 * A record begins with a length of 32 bits, with a bit for "still being filled"
 * and one for "to be skipped".  The producer position is moved, under the ring's
 * lock, before a record is filled: so what is before it is complete but for
 * records with the busy bit, for which the reader waits (T1).
 */
#include "tracker-private.h"
#include "overlap.h"
#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "wallclock.h"

#define HEADER_BYTES 8
#define BUSY_BIT     (1u << 31)
#define DISCARD_BIT  (1u << 30)

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int ring_poll_open(struct ring *r)
{
	/* Edge-triggered: an event for each wakeup, none for data left in the ring. */
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll_fd < 0)
		return -errno;
	return epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->fd, &ev) ? -errno : 0;
}

int ring_open(struct ring *r, int fd, uint64_t bytes)
{
	size_t page = page_bytes();
	void *p;

	*r = (struct ring){ .fd = fd, .epoll_fd = -1, .bytes = bytes };
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	r->consumer = p;
	p = mmap(NULL, page + 2 * bytes, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (p == MAP_FAILED)
		return -errno;
	r->producer = p;
	r->data = (const uint8_t *)p + page;
	return ring_poll_open(r);
}

void ring_close(struct ring *r)
{
	if (r->consumer)
		munmap(r->consumer, page_bytes());
	if (r->producer)
		munmap((void *)r->producer, page_bytes() + 2 * r->bytes);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct ring){ .fd = -1, .epoll_fd = -1 };
}

static uint64_t ring_produced(const struct ring *r)
{
	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
}

static uint32_t ring_header(const struct ring *r, uint64_t position)
{
	const uint8_t *p = r->data + (position & (r->bytes - 1));

	return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static uint64_t ring_after(uint64_t position, uint32_t header)
{
	uint64_t len = header & ~(BUSY_BIT | DISCARD_BIT);

	return position + ((len + HEADER_BYTES + 7) & ~7ULL);
}

static void ring_parse(const struct ring *r, uint64_t position, uint32_t header, struct tracker_record *ret)
{
	const uint8_t *p = r->data + (position & (r->bytes - 1)) + HEADER_BYTES;
	struct shared_record rec;

	memcpy(&rec, p, sizeof(rec));
	assert(rec.disk < DISKS_MAX);
	assert(rec.op == SHARED_ZERO || (rec.op == SHARED_WRITE && rec.sectors <= CHUNK_SECTORS &&
					 sizeof(rec) + (uint64_t)rec.sectors * SECTOR_BYTES <= header));
	*ret = (struct tracker_record){
		.position = position,
		.next = ring_after(position, header),
		.time_us = rec.time_ns / 1000,
		.disk = rec.disk,
		.op = rec.op == SHARED_ZERO ? TRACKER_ZERO : TRACKER_WRITE,
		.request_end = rec.flags & SHARED_END,
		.reread = rec.flags & SHARED_REREAD,
		.offset_bytes = rec.sector * SECTOR_BYTES,
		.length_bytes = (uint64_t)rec.sectors * SECTOR_BYTES,
		.payload = rec.op == SHARED_WRITE ? p + sizeof(rec) : NULL,
	};
}

/* Nothing to be read: take the event back, so that the descriptor is not
 * readable, and say whether something came in between. */
static bool ring_quiet(struct ring *r, uint64_t position)
{
	struct epoll_event ev;

	if (epoll_wait(r->epoll_fd, &ev, 1, 0) <= 0)
		return true;
	return ring_produced(r) == position;
}

static int ring_nothing(uint64_t until, struct tracker_record *ret)
{
	*ret = (struct tracker_record){ .position = until, .next = until };
	return 0;
}

int tracker_peek(struct tracker *t, uint64_t from, struct tracker_record *ret)
{
	struct ring *r = &t->ring;

	for (;;) {
		uint64_t produced = ring_produced(r);
		uint32_t header;

		assert(from <= produced && produced - from <= r->bytes);
		if (from == produced) {
			if (ring_quiet(r, from))
				return ring_nothing(from, ret);
			continue;
		}
		header = ring_header(r, from);
		if (header & BUSY_BIT)
			return ring_nothing(from, ret);
		if (!(header & DISCARD_BIT)) {
			ring_parse(r, from, header, ret);
			return 1;
		}
		from = ring_after(from, header);
	}
}

void tracker_consume(struct tracker *t, uint64_t position)
{
	assert(position >= *t->ring.consumer && position <= ring_produced(&t->ring));
	__atomic_store_n(t->ring.consumer, position, __ATOMIC_RELEASE);
}

uint64_t tracker_position(const struct tracker *t)
{
	return ring_produced(&t->ring);
}

uint64_t tracker_consumed(const struct tracker *t)
{
	return __atomic_load_n(t->ring.consumer, __ATOMIC_ACQUIRE);
}

uint64_t tracker_ring_bytes(const struct tracker *t)
{
	return t->ring.bytes;
}

bool tracker_is_full(const struct tracker *t)
{
	return overlap_gate(&t->config->gate).reason[SHARED_RING_FULL];
}

void tracker_hold(struct tracker *t)
{
	overlap_gate_close(&t->config->gate, SHARED_RING_FULL);
}

void tracker_carry(struct tracker *t)
{
	overlap_gate_open(&t->config->gate, SHARED_RING_FULL);
}

int tracker_ring_fd(const struct tracker *t)
{
	return t->ring.epoll_fd;
}

/* Between two readings of clocks the caller may be off the processor for long.  The
 * result errs to the early side, by @OFFSET_ERROR_US at most if that can be had:
 * no write acknowledged before a time that is made with it lies behind it. */
#define OFFSET_ERROR_US 50
#define OFFSET_TRIES	16

int64_t tracker_clock_offset_us(const struct tracker *t)
{
	uint64_t best_us = UINT64_MAX;
	int64_t offset = 0;

	(void)t;
	for (int i = 0; i < OFFSET_TRIES && best_us > OFFSET_ERROR_US; i++) {
		uint64_t before = boottime_now_us(), wall = wallclock_now_us(), after = boottime_now_us();

		if (after - before < best_us) {
			best_us = after - before;
			offset = (int64_t)(wall - after);
		}
	}
	return offset;
}
