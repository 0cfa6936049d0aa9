/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker.h, simulated: a ring of records with room reserved and given up,
 * records that become visible a little after their place is taken, a live map,
 * planes.  Each call may be the last one that the agent makes (maybe_die()), and
 * the source may go on while it is made (world_meanwhile()).
 */
#include "world.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RECORD_HEADER 32u
#define CARRY_SECTORS 16u /* of one record; the real one carries 128 */

struct fake_record {
	struct tracker_record r;
	uint64_t visible_at; /* reserved before, submitted then */
	bool given_up;
	uint64_t reserved_at;
	uint8_t *payload;
};

struct fake_disk {
	struct tracker_disk d;
	uint8_t *live;
	uint64_t live_count;
	uint64_t *planes[TRACKER_PLANES];
	bool suspect;
};

struct tracker {
	struct sim_world *w;
	uint64_t ring_bytes, position, consumed;
	struct fake_record *records; /* all of them, for the checker; payloads go when consumed */
	size_t count, max, first;    /* first: not consumed */
	enum tracker_mode mode;
	bool full; /* T7 */
	struct fake_disk disks[SIM_DISKS];
};

static void maybe_die(struct tracker *t)
{
	struct sim_world *w = t->w;

	if (w->may_kill && w->kill_in_calls && --w->kill_in_calls == 0)
		longjmp(w->killed, 1);
}

static void fake_disk_make(struct fake_disk *f, uint64_t size_bytes, unsigned int region_shift)
{
	f->d.size_bytes = size_bytes;
	f->d.region_shift = region_shift;
	f->d.region_count = (size_bytes + (1ULL << region_shift) - 1) >> region_shift;
	f->live = calloc(f->d.region_count, 1);
	f->live_count = 0;
	for (unsigned int p = 0; p < TRACKER_PLANES; p++)
		f->planes[p] = calloc(f->d.region_count / 64 + 1, 8);
}

static void fake_disk_free(struct fake_disk *f)
{
	free(f->live);
	for (unsigned int p = 0; p < TRACKER_PLANES; p++)
		free(f->planes[p]);
}

/* --- the kernel's side ---------------------------------------------------------- */

struct tracker *fake_tracker_new(struct sim_world *w)
{
	struct tracker *t = calloc(1, sizeof(*t));

	t->w = w;
	t->ring_bytes = w->s.ring_bytes;
	t->mode = w->s.dirty_map_only ? TRACKER_DIRTY_MAP : TRACKER_PAYLOAD;
	for (unsigned int i = 0; i < w->s.disks; i++) {
		t->disks[i].d.disk = (uint16_t)i;
		fake_disk_make(&t->disks[i], w->disks[i].sectors * SECTOR_BYTES, w->s.region_shift);
	}
	return t;
}

void fake_tracker_free(struct tracker *t)
{
	for (unsigned int i = 0; i < t->w->s.disks; i++)
		fake_disk_free(&t->disks[i]);
	for (size_t i = 0; i < t->count; i++)
		free(t->records[i].payload);
	free(t->records);
	free(t);
}

static void mark(struct tracker *t, uint16_t disk, uint64_t sector, uint64_t count)
{
	struct fake_disk *f = &t->disks[disk];
	unsigned int shift = f->d.region_shift - 9;

	/* What lies past the last region is not marked: the disk has grown, and what is new is read. */
	for (uint64_t r = sector >> shift; r <= (sector + count - 1) >> shift && r < f->d.region_count; r++) {
		f->live_count += !f->live[r];
		f->live[r] = 1;
	}
}

static bool reserve(struct tracker *t, struct fake_record record, uint64_t room)
{
	struct sim_world *w = t->w;

	t->full = t->full || t->position + room - t->consumed > t->ring_bytes;
	if (t->full)
		return false;
	if (t->count == t->max) {
		t->max = t->max ? t->max * 2 : 1024;
		t->records = realloc(t->records, t->max * sizeof(*t->records));
	}
	record.r.position = t->position;
	record.r.next = t->position + room;
	record.r.time_us = w->now - world_random(w, 3);
	record.reserved_at = w->now;
	record.visible_at = w->now + (world_chance(w, 20) ? 1 + world_random(w, 3) : 0);
	t->position += room;
	t->records[t->count++] = record;
	return true;
}

static void carry(struct tracker *t, const struct sim_write *x, uint32_t from, uint32_t count, bool last)
{
	struct sim_world *w = t->w;
	struct fake_record f = { .r = { .disk = x->disk, .op = TRACKER_WRITE, .request_end = last,
					.offset_bytes = (uint64_t)(x->sector + from) * SECTOR_BYTES,
					.length_bytes = (uint64_t)count * SECTOR_BYTES } };
	bool wrong = world_chance(w, w->s.wrong_percent);

	if (world_chance(w, w->s.lost_percent)) { /* the page could not be read: the room is given up */
		f.given_up = true;
		reserve(t, f, RECORD_HEADER + count * SECTOR_BYTES);
		mark(t, x->disk, x->sector + from, count);
		w->stats.lost++;
		return;
	}
	f.payload = malloc((size_t)count * SECTOR_BYTES);
	for (uint32_t i = 0; i < count; i++)
		sector_fill(f.payload + i * SECTOR_BYTES, wrong ? (1ULL << 42) + w->now : x->stamp);
	f.r.payload = f.payload;
	if (!reserve(t, f, RECORD_HEADER + count * SECTOR_BYTES)) {
		free(f.payload);
		mark(t, x->disk, x->sector + from, count);
		w->stats.lost++;
	}
}

/* The write's completion, as the BPF program sees it. */
void fake_tracker_complete(struct tracker *t, uint32_t write)
{
	struct sim_world *w = t->w;
	const struct sim_write *x = &w->writes[write];
	struct fake_record f = { .r = { .disk = x->disk, .op = TRACKER_ZERO, .request_end = true,
					.offset_bytes = (uint64_t)x->sector * SECTOR_BYTES,
					.length_bytes = (uint64_t)x->count * SECTOR_BYTES } };

	if (world_chance(w, w->s.unseen_percent)) {
		t->disks[x->disk].suspect = true;
		w->stats.unseen++;
		return;
	}
	if (t->mode == TRACKER_DIRTY_MAP) {
		mark(t, x->disk, x->sector, x->count);
		return;
	}
	if (x->overlapped || world_chance(w, w->s.false_mark_percent))
		mark(t, x->disk, x->sector, x->count); /* I5, or a false hit of its table */
	f.r.reread = x->op == SIM_DISCARD;
	if (x->op != SIM_WRITE) {
		if (!reserve(t, f, RECORD_HEADER))
			mark(t, x->disk, x->sector, x->count);
	} else {
		for (uint32_t at = 0; at < x->count; at += CARRY_SECTORS)
			carry(t, x, at, MIN(CARRY_SECTORS, x->count - at), at + CARRY_SECTORS >= x->count);
	}
	fake_agent_wake(w->agent, t->position - t->consumed > t->ring_bytes / 4 ? 20 : 2000);
}

/* Between which moments was the ring's position this: after the last record
 * before it, before the first one behind it.  What was given up says nothing: a cut
 * that was aimed before it may be closed when the agent has gone past it. */
void fake_tracker_moment(const struct tracker *t, uint64_t position, uint64_t *ret_from, uint64_t *ret_to)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->records[mid].r.position < position)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_to = low < t->count ? t->records[low].reserved_at - 1 : t->w->now;
	while (low && t->records[low - 1].given_up)
		low--;
	*ret_from = low ? t->records[low - 1].reserved_at : 0;
}

/* --- the agent's side ------------------------------------------------------------- */

int tracker_disk(const struct tracker *t, uint16_t disk, struct tracker_disk *ret)
{
	*ret = t->disks[disk].d;
	return 0;
}

#define REGION_SHIFT_MOST 22u /* of a disk of 32 TiB */

/* Now and then with larger regions, as where the maps would become too large.  Nothing is left
 * of the old maps. */
int tracker_resize_disk(struct tracker *t, uint16_t disk, uint64_t size_bytes)
{
	struct fake_disk old = t->disks[disk], *f = &t->disks[disk];
	unsigned int shift = (unsigned int)(world_chance(t->w, 50) ? world_random(t->w, 4) : 0);

	shift = MIN(shift, REGION_SHIFT_MOST - old.d.region_shift);
	maybe_die(t);
	fake_disk_make(f, size_bytes, old.d.region_shift + shift);
	for (uint64_t r = 0; r < old.d.region_count; r++) {
		f->live[r >> shift] |= old.live[r];
		for (unsigned int p = 0; p < TRACKER_PLANES; p++)
			if (old.planes[p][r / 64] >> r % 64 & 1)
				f->planes[p][(r >> shift) / 64] |= 1ULL << (r >> shift) % 64;
	}
	for (uint64_t r = old.d.size_bytes >> f->d.region_shift; r < f->d.region_count; r++)
		f->live[r] = 1;
	for (uint64_t r = 0; r < f->d.region_count; r++)
		f->live_count += f->live[r];
	fake_disk_free(&old);
	maybe_die(t);
	return 0;
}

enum tracker_mode tracker_mode(const struct tracker *t)
{
	return t->mode;
}

void tracker_prefer_dirty_map(struct tracker *t, bool prefer)
{
}

void tracker_force_dirty_map(struct tracker *t)
{
	t->mode = TRACKER_DIRTY_MAP;
}

bool tracker_is_full(const struct tracker *t)
{
	world_meanwhile(t->w);
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
	world_meanwhile(t->w);
	return t->position;
}

uint64_t tracker_consumed(const struct tracker *t)
{
	return t->consumed;
}

int tracker_peek(struct tracker *t, uint64_t from, struct tracker_record *ret)
{
	size_t low = t->first, high;

	world_meanwhile(t->w);
	high = t->count;
	maybe_die(t);
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->records[mid].r.position < from)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < t->count && t->records[low].visible_at <= t->w->now; low++) {
		if (t->records[low].given_up) {
			ret->next = t->records[low].r.next;
			continue;
		}
		*ret = t->records[low].r;
		return 1;
	}
	return 0;
}

void tracker_consume(struct tracker *t, uint64_t position)
{
	assert(position >= t->consumed && position <= t->position);
	maybe_die(t);
	t->consumed = position;
	while (t->first < t->count && t->records[t->first].r.position < position) {
		free(t->records[t->first].payload);
		t->records[t->first].payload = NULL;
		t->records[t->first++].r.payload = NULL;
	}
}

int64_t tracker_clock_offset_us(const struct tracker *t)
{
	return (int64_t)SIM_WALL_ZERO + t->w->clock_wrong_us;
}

uint64_t tracker_live_next(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	struct fake_disk *f = &t->disks[disk];
	uint64_t first = *region, n = 0;

	world_meanwhile(t->w);
	maybe_die(t);
	while (first < f->d.region_count && !f->live[first])
		first++;
	while (first + n < f->d.region_count && n < max && f->live[first + n])
		n++;
	if (n)
		*region = first;
	return n;
}

uint64_t tracker_live_take(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	uint64_t n = tracker_live_next(t, disk, region, max);

	memset(t->disks[disk].live + *region, 0, n);
	t->disks[disk].live_count -= n;
	maybe_die(t);
	return n;
}

void tracker_live_set(struct tracker *t, uint16_t disk, uint64_t region, uint64_t count)
{
	for (uint64_t i = region; i < region + count; i++) {
		t->disks[disk].live_count += !t->disks[disk].live[i];
		t->disks[disk].live[i] = 1;
	}
}

bool tracker_live_test(const struct tracker *t, uint16_t disk, uint64_t region)
{
	return t->disks[disk].live[region];
}

uint64_t tracker_live_count(struct tracker *t, uint16_t disk)
{
	world_meanwhile(t->w);
	maybe_die(t);
	return t->disks[disk].live_count;
}

uint64_t *tracker_plane(struct tracker *t, uint16_t disk, unsigned int plane, uint64_t *ret_words)
{
	*ret_words = t->disks[disk].d.region_count / 64 + 1;
	return t->disks[disk].planes[plane];
}

int tracker_suspect(struct tracker *t, uint16_t disk, const char **ret_why)
{
	world_meanwhile(t->w);
	if (t->disks[disk].suspect)
		*ret_why = "a write that no program saw";
	return t->disks[disk].suspect;
}

void tracker_suspect_clear(struct tracker *t, uint16_t disk)
{
	maybe_die(t);
	t->disks[disk].suspect = false;
}

bool fake_tracker_is_suspect(const struct tracker *t)
{
	for (unsigned int i = 0; i < t->w->s.disks; i++)
		if (t->disks[i].suspect)
			return true;
	return false;
}
