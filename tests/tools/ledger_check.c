// SPDX-License-Identifier: Apache-2.0
/*
 * ledger check - is a disk or image what the log says it was at a time?
 * (ledger.h, L1 to L3)
 *
 * For each sector two times are worked out from the log, in one pass:
 *
 *	settled_us	the latest start of a write to it that was acknowledged
 *			by T: what is there must not be wholly older
 *	zeroed_us	the latest acknowledgement of a discard started by T:
 *			zeroes are as new as that
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ledger.h"
#include "sector.h"

struct expectation {
	uint64_t settled_us, settled_by; /* by: the write's number */
	uint64_t zeroed_us;
};

struct checker {
	const struct ledger_log *log;
	const struct ledger_options *o;
	struct expectation *sectors;
	uint64_t *found[2]; /* number of the write that is there, for L3 */
	uint64_t wrong, shown, written, newest;
};

static void expect(struct checker *c, uint8_t disk)
{
	uint64_t horizon = c->o->at_us + c->o->slack_us;

	memset(c->sectors, 0, c->log->area_sectors * sizeof(*c->sectors));
	for (uint64_t n = 1; n < c->log->next && n < LEDGER_ENTRIES_MAX; n++) {
		const struct ledger_entry *e = &c->log->entries[n];

		if (e->disk != disk || e->start_us == 0)
			continue;
		for (uint64_t s = e->first_sector; s < e->first_sector + e->sectors; s++) {
			struct expectation *x = &c->sectors[s];
			uint64_t until = e->ack_us ? e->ack_us : UINT64_MAX;

			if (e->ack_us && e->ack_us <= c->o->at_us && e->start_us > x->settled_us) {
				x->settled_us = e->start_us;
				x->settled_by = n;
			}
			if (e->op == LEDGER_DISCARD && e->start_us <= horizon && until > x->zeroed_us)
				x->zeroed_us = until;
		}
	}
}

static void complain(struct checker *c, uint8_t disk, uint64_t sector, const char *what, uint64_t found,
		     uint64_t other)
{
	const struct ledger_entry *e = &c->log->entries[other];

	c->wrong++;
	if (c->shown++ >= 5)
		return;
	printf("disk %u sector %" PRIu64 ": %s", disk, sector, what);
	if (found)
		printf(", there is write %" PRIu64 " started %+" PRId64 " us from the point", found,
		       (int64_t)(c->log->entries[found].start_us - c->o->at_us));
	if (other)
		printf(", missing is %s %" PRIu64 " of sectors %" PRIu64 "+%u, %+" PRId64 " to %+" PRId64
		       " us",
		       e->op == LEDGER_DISCARD ? "discard" : "write", other, e->first_sector, e->sectors,
		       (int64_t)(e->start_us - c->o->at_us), (int64_t)(e->ack_us - c->o->at_us));
	printf("\n");
}

static void check_sector(struct checker *c, uint8_t disk, uint64_t sector, const void *data)
{
	const struct expectation *x = &c->sectors[sector];
	uint64_t number = 0, start_us = 0, until;
	const struct ledger_entry *e;

	switch (sector_look(data, sector, &number, &start_us)) {
	case SECTOR_DAMAGED:
		complain(c, disk, sector, "torn, misplaced or not of the ledger", 0, x->settled_by);
		return;
	case SECTOR_ZERO:
		if (x->settled_by && x->zeroed_us < x->settled_us)
			complain(c, disk, sector, "zeroes", 0, x->settled_by);
		return;
	case SECTOR_WRITTEN:
		break;
	}
	c->written++;
	if (number == 0 || number >= c->log->next) {
		complain(c, disk, sector, "a write that is not in the log", 0, 0);
		return;
	}
	e = &c->log->entries[number];
	if (e->start_us != start_us || e->disk != disk || sector < e->first_sector ||
	    sector >= e->first_sector + e->sectors) {
		complain(c, disk, sector, "a write of another run or disk", 0, x->settled_by);
		return;
	}
	if (number > c->newest)
		c->newest = number;
	c->found[disk][sector] = number;
	until = e->ack_us ? e->ack_us : UINT64_MAX;
	if (start_us > c->o->at_us + c->o->slack_us)
		complain(c, disk, sector, "from the future", number, 0);
	else if (until < x->settled_us)
		complain(c, disk, sector, "too old", number, x->settled_by);
}

static void check_disk(struct checker *c, uint8_t disk, const char *path)
{
	uint64_t bytes, area = c->log->area_sectors * CELL_BYTES;
	int fd = ledger_open_disk(path, false, false, &bytes);
	size_t step = 1u << 20;
	char *buf;

	if (posix_memalign((void **)&buf, 4096, step) != 0)
		err(2, "memory");
	if (bytes < area)
		errx(2, "%s has %" PRIu64 " bytes, the ledger %" PRIu64, path, bytes, area);
	expect(c, disk);
	for (uint64_t pos = 0; pos < area; pos += step) {
		uint64_t len = area - pos < step ? area - pos : step;
		ssize_t n = pread(fd, buf, step, (off_t)pos);

		if (n < (ssize_t)len)
			err(2, "%s: read at %" PRIu64, path, pos);
		for (uint64_t i = 0; i < len; i += CELL_BYTES)
			check_sector(c, disk, (pos + i) / CELL_BYTES, buf + i);
	}
	free(buf);
	close(fd);
}

/* L3.  A thread writes its slots in turn, each on the first disk and then on
 * the second: before the write found on the second, the newest to the same
 * sector of the first must be there, or a later one. */
static void check_twins(struct checker *c)
{
	uint64_t *first = calloc(c->log->area_sectors, sizeof(*first));

	if (!first)
		err(2, "memory");
	for (uint64_t n = 1; n < c->log->next && n < LEDGER_ENTRIES_MAX; n++) {
		const struct ledger_entry *e = &c->log->entries[n];

		for (uint64_t s = e->first_sector; s < e->first_sector + e->sectors; s++) {
			if (e->disk == 0)
				first[s] = n;
			else if (n == c->found[1][s] && c->found[0][s] < first[s])
				complain(c, 1, s, "the twin is here, and not on the first disk", n, first[s]);
		}
	}
	free(first);
}

int ledger_check(const struct ledger_options *o)
{
	struct checker c = {.log = ledger_map(o->log, false), .o = o};
	uint64_t area = c.log->area_sectors;

	c.sectors = calloc(area, sizeof(*c.sectors));
	c.found[0] = calloc(area, sizeof(uint64_t));
	c.found[1] = calloc(area, sizeof(uint64_t));
	if (!c.sectors || !c.found[0] || !c.found[1])
		err(2, "memory");
	check_disk(&c, 0, o->device);
	if (o->twin) {
		check_disk(&c, 1, o->twin);
		c.shown = 0;
		check_twins(&c);
	}
	printf("%" PRIu64 " sectors written, newest write %" PRIu64 ", %" PRIu64 " wrong\n", c.written,
	       c.newest, c.wrong);
	return c.wrong != 0;
}

int ledger_tail(const char *path)
{
	uint64_t bytes, best = 0, best_us = 0, number, start_us;
	int fd = ledger_open_disk(path, false, false, &bytes);
	size_t step = 1u << 20;
	char *buf;

	if (posix_memalign((void **)&buf, 4096, step) != 0)
		err(2, "memory");
	for (uint64_t pos = 0; pos < bytes; pos += step) {
		ssize_t n = pread(fd, buf, step, (off_t)pos);

		if (n < 0)
			err(2, "%s", path);
		for (ssize_t i = 0; i + (ssize_t)CELL_BYTES <= n; i += CELL_BYTES)
			if (sector_look(buf + i, (pos + (uint64_t)i) / CELL_BYTES, &number, &start_us) ==
				SECTOR_WRITTEN &&
			    number > best) {
				best = number;
				best_us = start_us;
			}
	}
	printf("%" PRIu64 " %" PRIu64 "\n", best, best_us);
	return 0;
}
