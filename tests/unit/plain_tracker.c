// SPDX-License-Identifier: Apache-2.0
#include "plain_tracker.h"
#include <assert.h>
#include <stdlib.h>

#define RECORD_HEADER 32u
#define RECORDS_MAX   4096u
#define REGIONS	      (PLAIN_BYTES >> PLAIN_REGION_SHIFT)

struct tracker {
	uint64_t ring_bytes, position, consumed, clock_us;
	struct tracker_record records[RECORDS_MAX]; /* a window: those not consumed */
	uint8_t *payloads[RECORDS_MAX];
	unsigned int first, count;
	enum tracker_mode mode;
	bool full; /* T7 */
	bool suspect;
	int64_t wall_offset_us;
	uint8_t disk[PLAIN_BYTES], live[REGIONS];
	uint64_t planes[TRACKER_PLANES][REGIONS / 64 + 1];
};

struct tracker *plain_tracker_new(uint64_t ring_bytes)
{
	struct tracker *t = calloc(1, sizeof(*t));

	assert(t);
	t->ring_bytes = ring_bytes;
	return t;
}

void plain_tracker_free(struct tracker *t)
{
	for (unsigned int i = 0; i < RECORDS_MAX; i++)
		free(t->payloads[i]);
	free(t);
}

const uint8_t *plain_tracker_disk(const struct tracker *t)
{
	return t->disk;
}

static void mark(struct tracker *t, uint32_t sector, uint32_t count)
{
	unsigned int shift = PLAIN_REGION_SHIFT - 9;

	memset(t->live + (sector >> shift), 1, ((sector + count - 1) >> shift) - (sector >> shift) + 1);
}

static bool record(struct tracker *t, uint32_t sector, uint32_t count, enum tracker_op op)
{
	uint64_t room = RECORD_HEADER + (op == TRACKER_WRITE ? (uint64_t)count * SECTOR_BYTES : 0);
	unsigned int at = (t->first + t->count) % RECORDS_MAX;
	struct tracker_record *r = &t->records[at];

	if (t->mode == TRACKER_DIRTY_MAP)
		return false;
	t->full = t->full || t->position + room - t->consumed > t->ring_bytes || t->count == RECORDS_MAX;
	if (t->full)
		return false;
	*r = (struct tracker_record){ .position = t->position, .next = t->position + room, .time_us = ++t->clock_us,
				      .op = (uint8_t)op, .request_end = true, .reread = op == TRACKER_ZERO,
				      .offset_bytes = (uint64_t)sector * SECTOR_BYTES,
				      .length_bytes = (uint64_t)count * SECTOR_BYTES };
	if (op == TRACKER_WRITE) {
		t->payloads[at] = malloc((size_t)count * SECTOR_BYTES);
		assert(t->payloads[at]);
		memcpy(t->payloads[at], t->disk + r->offset_bytes, (size_t)count * SECTOR_BYTES);
		r->payload = t->payloads[at];
	}
	t->position += room;
	t->count++;
	return true;
}

static void fill(struct tracker *t, uint32_t sector, uint32_t count, uint64_t stamp)
{
	assert(count && count <= CHUNK_SECTORS && sector + count <= PLAIN_SECTORS);
	for (uint32_t i = 0; i < count * (SECTOR_BYTES / 8); i++)
		put_le64(t->disk + (uint64_t)sector * SECTOR_BYTES + i * 8, stamp);
}

void plain_tracker_write(struct tracker *t, uint32_t sector, uint32_t count, uint64_t stamp, bool carry)
{
	fill(t, sector, count, stamp);
	if (!carry || !record(t, sector, count, TRACKER_WRITE))
		mark(t, sector, count);
}

void plain_tracker_write_unseen(struct tracker *t, uint32_t sector, uint32_t count, uint64_t stamp)
{
	fill(t, sector, count, stamp);
	t->suspect = true;
}

void plain_tracker_discard(struct tracker *t, uint32_t sector, uint32_t count)
{
	assert(count && sector + count <= PLAIN_SECTORS);
	memset(t->disk + (uint64_t)sector * SECTOR_BYTES, 0, (size_t)count * SECTOR_BYTES);
	if (!record(t, sector, count, TRACKER_ZERO))
		mark(t, sector, count);
}

void plain_tracker_set_clock(struct tracker *t, uint64_t boot_us, int64_t wall_offset_us)
{
	t->clock_us = boot_us - 1;
	t->wall_offset_us = wall_offset_us;
}

/* --- tracker.h --------------------------------------------------------------------- */

int tracker_disk(const struct tracker *t, uint16_t disk, struct tracker_disk *ret)
{
	*ret = (struct tracker_disk){ .size_bytes = PLAIN_BYTES, .region_shift = PLAIN_REGION_SHIFT, .region_count = REGIONS };
	return 0;
}

enum tracker_mode tracker_mode(const struct tracker *t)
{
	return t->mode;
}

void tracker_force_dirty_map(struct tracker *t)
{
	t->mode = TRACKER_DIRTY_MAP;
}

bool tracker_is_full(const struct tracker *t)
{
	return t->full;
}

void tracker_hold(struct tracker *t)
{
	t->full = true;
}

void tracker_carry(struct tracker *t)
{
	t->full = false;
}

uint64_t tracker_ring_bytes(const struct tracker *t)
{
	return t->ring_bytes;
}

uint64_t tracker_position(const struct tracker *t)
{
	return t->position;
}

uint64_t tracker_consumed(const struct tracker *t)
{
	return t->consumed;
}

int tracker_peek(struct tracker *t, uint64_t from, struct tracker_record *ret)
{
	assert(from >= t->consumed && from <= t->position);
	for (unsigned int i = 0; i < t->count; i++) {
		const struct tracker_record *r = &t->records[(t->first + i) % RECORDS_MAX];

		if (r->position < from)
			continue;
		assert(r->position == from);
		*ret = *r;
		return 1;
	}
	*ret = (struct tracker_record){ .position = from, .next = from };
	return 0;
}

void tracker_consume(struct tracker *t, uint64_t position)
{
	assert(position >= t->consumed && position <= t->position);
	t->consumed = position;
	for (; t->count && t->records[t->first].position < position; t->count--) {
		free(t->payloads[t->first]);
		t->payloads[t->first] = NULL;
		t->first = (t->first + 1) % RECORDS_MAX;
	}
}

int64_t tracker_clock_offset_us(const struct tracker *t)
{
	return t->wall_offset_us;
}

uint64_t tracker_live_next(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	uint64_t first = *region, n = 0;

	while (first < REGIONS && !t->live[first])
		first++;
	while (first + n < REGIONS && n < max && t->live[first + n])
		n++;
	if (n)
		*region = first;
	return n;
}

uint64_t tracker_live_take(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	uint64_t n = tracker_live_next(t, disk, region, max);

	if (n)
		memset(t->live + *region, 0, n);
	return n;
}

bool tracker_live_test(const struct tracker *t, uint16_t disk, uint64_t region)
{
	assert(region < REGIONS);
	return t->live[region];
}

uint64_t tracker_live_count(struct tracker *t, uint16_t disk)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < REGIONS; i++)
		n += t->live[i];
	return n;
}

uint64_t *tracker_plane(struct tracker *t, uint16_t disk, unsigned int plane, uint64_t *ret_words)
{
	assert(disk == 0 && plane < TRACKER_PLANES);
	*ret_words = REGIONS / 64 + 1;
	return t->planes[plane];
}

int tracker_suspect(struct tracker *t, uint16_t disk, const char **ret_why)
{
	if (t->suspect)
		*ret_why = "a write that nobody saw";
	return t->suspect;
}

void tracker_suspect_clear(struct tracker *t, uint16_t disk)
{
	t->suspect = false;
}
