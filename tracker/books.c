// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel's books against ours: the last line of T5.
 *
 * The kernel counts the sectors that it writes to a disk and discards on it
 * (/sys/dev/block/M:N/stat), in the same place where the programs see a request
 * complete, and just after it.  The two counts run in parallel; should the
 * kernel's get ahead, something completed that no program saw and no audit found.
 *
 *	excess = the kernel's bytes - ours
 *
 * Both cannot be read at the same moment.  But ours goes first: read the kernel's
 * and then ours, and what was unseen before can only come out too small.  If ours
 * did not move around the reading it comes out exactly.
 *
 *	no base yet		the excess is the base once several exact readings,
 *				apart in time, agree
 *	more than the base	unseen: no point for now, and if it is so several
 *				times the disk is suspect, until the base is moved
 *	less than the base	the kernel does not count this one (iostats off, an
 *				audit that was wrong): the base is moved once several
 *				agree
 *
 * On a disk so busy that its count moves around every reading, what completes
 * meanwhile may hide as much that was unseen, until it pauses for microseconds.
 * This comes after overlap table and audit, and stands in for neither.
 */
#include "tracker-private.h"
#include "wallclock.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define READINGS	3 /* in agreement */
#define READINGS_APART_US 50000

/* Sectors written and discarded, by the kernel's count. */
static int read_stat(uint32_t device, uint64_t *ret_bytes)
{
	unsigned long long written, discarded;
	char path[64], text[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", device >> 20, device & ((1u << 20) - 1));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	if (sscanf(text, "%*u %*u %*u %*u %*u %*u %llu %*u %*u %*u %*u %*u %*u %llu", &written, &discarded) != 2)
		return -EBADMSG;
	*ret_bytes = (written + discarded) * SECTOR_BYTES;
	return 0;
}

static int read_ours(const struct tracker *t, uint16_t disk, uint64_t *ret_bytes)
{
	struct shared_counters n;
	int err = counters_sum(t, disk, &n);

	if (!err)
		*ret_bytes = n.bytes + n.unseen;
	return err;
}

/* The excess, or less than it; *@ret_exact: it is that. */
static int read_excess(struct tracker *t, uint16_t disk, int64_t *ret, bool *ret_exact)
{
	uint64_t before, after, kernel;
	int err = audit(t);

	if (!err)
		err = read_ours(t, disk, &before);
	if (!err)
		err = read_stat(t->config->disks[disk].device, &kernel);
	if (!err)
		err = read_ours(t, disk, &after);
	if (err)
		return err;
	*ret = (int64_t)(kernel - after);
	*ret_exact = before == after;
	return 0;
}

/* Has this reading come often enough to be believed?  @same: no other counts. */
static bool agreed(struct books *b, int64_t excess, bool same, uint64_t now_us)
{
	if (!b->readings || (same && b->excess != excess)) {
		*b = (struct books){ .excess = excess, .above = b->above, .readings = 1, .at_us = now_us };
		return false;
	}
	b->excess = excess;
	if (now_us - b->at_us < READINGS_APART_US)
		return b->readings >= READINGS;
	b->at_us = now_us;
	b->readings += b->readings < READINGS;
	return b->readings >= READINGS;
}

enum books_word books_look(struct tracker *t, uint16_t disk)
{
	struct shared_disk *s = &t->config->disks[disk];
	struct books *b = &t->disks[disk].books;
	int64_t excess;
	bool exact, above;

	if (read_excess(t, disk, &excess, &exact))
		return BOOKS_AGREE;
	above = s->base_known && excess > s->base_excess;
	if (above != b->above)
		*b = (struct books){ .above = above };
	if (!above && !exact)
		return BOOKS_AGREE;
	if (!agreed(b, excess, !above, monotonic_now_us()))
		return above ? BOOKS_DOUBT : BOOKS_AGREE;
	if (above)
		return BOOKS_DISAGREE;
	s->base_excess = excess;
	s->base_known = 1;
	return BOOKS_AGREE;
}

void books_settle(struct tracker *t, uint16_t disk)
{
	struct books *b = &t->disks[disk].books;

	if (b->above && b->readings >= READINGS)
		t->config->disks[disk].base_excess = b->excess;
	*b = (struct books){ 0 };
}

void books_begin(struct tracker *t, uint16_t disk)
{
	t->config->disks[disk].base_known = 0;
	t->disks[disk].books = (struct books){ 0 };
}
