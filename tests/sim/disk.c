/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's disks.  A write is issued, takes effect in one or two pieces at
 * moments of its own, completes (the tracker sees it), and is acknowledged a
 * little later.  After a power cut, what was in flight may have taken effect or
 * not.
 *
 * The last 16 sectors that each disk begins with belong to the ordered pair: a record is
 * written to the second disk only after its twin on the first was acknowledged.
 *
 * A disk may grow; what is new is written to at once.
 */
#include "world.h"
#include <stdlib.h>

#define PAIR_SECTORS 16u
#define HOT_SECTORS  64u

/* --- sectors ------------------------------------------------------------------ */

void sector_fill(uint8_t bytes[SECTOR_BYTES], uint64_t stamp)
{
	for (unsigned int i = 0; i < SECTOR_BYTES / 8; i++)
		put_le64(bytes + i * 8, stamp ? stamp * 0x9e3779b97f4a7c15ULL + (i ? i * stamp : 0) : 0);
}

/* The stamp is found again by undoing the multiplication. */
uint64_t sector_stamp(struct sim_world *w, const uint8_t bytes[SECTOR_BYTES], const char *where)
{
	uint64_t stamp = get_le64(bytes) * 0xf1de83e19937733dULL;
	uint8_t expected[SECTOR_BYTES];

	sector_fill(expected, stamp);
	if (memcmp(expected, bytes, SECTOR_BYTES) != 0)
		world_fail(w, "%s: a sector is made of pieces of several writes", where);
	return stamp;
}

uint64_t disk_stamp(const struct sim_world *w, unsigned int disk, uint32_t sector)
{
	const struct sim_sector *s = &w->disks[disk].at[sector];

	return s->version_count ? s->versions[s->version_count - 1].stamp : 0;
}

static void add_version(struct sim_sector *s, uint64_t time, uint64_t stamp)
{
	if (s->version_count == s->version_max) {
		s->version_max = s->version_max ? s->version_max * 2 : 4;
		s->versions = realloc(s->versions, s->version_max * sizeof(*s->versions));
	}
	s->versions[s->version_count++] = (struct sim_version){ time, stamp };
}

static void add_write(struct sim_sector *s, uint32_t write)
{
	if (s->write_count == s->write_max) {
		s->write_max = s->write_max ? s->write_max * 2 : 4;
		s->writes = realloc(s->writes, s->write_max * sizeof(*s->writes));
	}
	s->writes[s->write_count++] = write;
}

void disks_init(struct sim_world *w)
{
	w->writes = calloc(SIM_WRITES, sizeof(*w->writes));
	w->write_count = 1; /* 0 is nobody's */
	for (unsigned int i = 0; i < w->s.disks; i++) {
		w->disks[i].sectors = w->s.disk_sectors[i];
		w->disks[i].pair_sector = w->disks[i].sectors - PAIR_SECTORS;
		w->disks[i].at = calloc(w->disks[i].sectors, sizeof(struct sim_sector));
		/* Something is there from the start, half of the disk. */
		for (uint32_t s = 0; s < w->disks[i].sectors; s++)
			if (s / 32 % 2)
				add_version(&w->disks[i].at[s], w->now, (1ULL << 40) + s);
	}
}

void disks_done(struct sim_world *w)
{
	for (unsigned int i = 0; i < w->s.disks; i++) {
		for (uint32_t s = 0; s < w->disks[i].sectors; s++) {
			free(w->disks[i].at[s].versions);
			free(w->disks[i].at[s].writes);
		}
		free(w->disks[i].at);
	}
	free(w->writes);
}

/* --- a write's life -------------------------------------------------------------- */

static void next_write(void *context, uint64_t a, uint64_t b);
static void next_pair(void *context, uint64_t a, uint64_t b);

static bool is_flying(const struct sim_world *w, uint32_t write)
{
	for (unsigned int i = 0; i < w->flying_count; i++)
		if (w->flying[i] == write)
			return true;
	return false;
}

/* Sectors a to b of it take effect (counted from its first). */
static void take_effect(struct sim_world *w, uint32_t write, uint32_t from, uint32_t to)
{
	const struct sim_write *x = &w->writes[write];

	for (uint32_t s = x->sector + from; s < x->sector + to; s++) {
		w->disks[x->disk].at[s].bad = false;
		if (x->op == SIM_DISCARD && write % 3 == 0)
			continue; /* this device keeps what was there */
		add_version(&w->disks[x->disk].at[s], w->now,
			    x->op == SIM_DISCARD && write % 3 == 1 ? (1ULL << 41) + write : x->stamp);
	}
}

static void effect_event(void *context, uint64_t write, uint64_t range)
{
	struct sim_world *w = context;

	if (is_flying(w, (uint32_t)write))
		take_effect(w, (uint32_t)write, (uint32_t)(range >> 32), (uint32_t)range);
}

static void acknowledge(void *context, uint64_t write, uint64_t b)
{
	struct sim_world *w = context;
	struct sim_write *x = &w->writes[write];

	if (!is_flying(w, (uint32_t)write))
		return; /* the power went before */
	for (unsigned int i = 0; i < w->flying_count; i++)
		if (w->flying[i] == write)
			w->flying[i--] = w->flying[--w->flying_count];
	x->acked = w->now;
	if (x->pair)
		world_at(w, w->now + world_random(w, 500), next_pair, w, 0, 0);
}

static void complete(void *context, uint64_t write, uint64_t b)
{
	struct sim_world *w = context;

	if (!is_flying(w, (uint32_t)write))
		return;
	w->writes[write].completed = w->now;
	fake_tracker_complete(w->tracker, (uint32_t)write);
	world_at(w, w->now + 5 + world_random(w, 20), acknowledge, w, write, 0);
}

static void issue(struct sim_world *w, struct sim_write x)
{
	uint32_t write = w->write_count++;
	uint64_t done = w->now + 50 + world_random(w, 2000), at;
	uint32_t half = x.count > 1 ? (uint32_t)world_random(w, x.count) : 0;

	x.issued = w->now;
	x.stamp = x.op == SIM_WRITE && (x.pair || !world_chance(w, 5)) ? write : 0;
	w->writes[write] = x;
	for (unsigned int i = 0; i < w->flying_count; i++) {
		struct sim_write *y = &w->writes[w->flying[i]];

		if (y->disk == x.disk && y->sector < x.sector + x.count && x.sector < y->sector + y->count) {
			y->overlapped = w->writes[write].overlapped = true;
			w->stats.overlaps++;
		}
	}
	w->flying[w->flying_count++] = write;
	for (uint32_t s = x.sector; s < x.sector + x.count; s++)
		add_write(&w->disks[x.disk].at[s], write);
	at = w->now + world_random(w, done - w->now);
	if (half)
		world_at(w, at, effect_event, w, write, half);
	at = w->now + world_random(w, done - w->now);
	world_at(w, at, effect_event, w, write, (uint64_t)half << 32 | x.count);
	world_at(w, done + 2, complete, w, write, 0);
	w->stats.writes++;
}

static bool overlaps_flying(const struct sim_world *w, const struct sim_write *x)
{
	for (unsigned int i = 0; i < w->flying_count; i++) {
		const struct sim_write *y = &w->writes[w->flying[i]];

		if (y->disk == x->disk && y->sector < x->sector + x->count && x->sector < y->sector + y->count)
			return true;
	}
	return false;
}

static struct sim_write draw_write(struct sim_world *w)
{
	struct sim_write x = { .disk = (uint16_t)world_random(w, w->s.disks) };
	uint64_t room = w->disks[x.disk].pair_sector, first = 0, grown = w->disks[x.disk].sectors - room - PAIR_SECTORS;

	if (grown && world_chance(w, 50)) {
		first = room + PAIR_SECTORS;
		room = grown;
	}
	x.count = (uint32_t)(1 + world_random(w, w->s.write_sectors));
	if (world_chance(w, 70))
		x.count = (x.count + 7) / 8 * 8;
	x.count = (uint32_t)MIN(x.count, room);
	if (world_chance(w, w->s.hot_percent))
		x.sector = (uint32_t)world_random(w, MIN(HOT_SECTORS, room - x.count + 1));
	else
		x.sector = (uint32_t)world_random(w, room - x.count + 1);
	if (world_chance(w, 70))
		x.sector = x.sector / 8 * 8;
	x.sector += (uint32_t)first;
	x.op = SIM_WRITE;
	if (world_chance(w, w->s.discard_percent))
		x.op = SIM_DISCARD;
	else if (world_chance(w, w->s.zero_percent))
		x.op = SIM_ZERO;
	return x;
}

static void next_write(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;
	struct sim_write x;

	if (w->quiet || w->write_count + 8 > SIM_WRITES)
		return;
	world_at(w, w->now + world_random(w, 2 * w->s.pause_us), next_write, w, 0, 0);
	if (w->flying_count >= w->s.depth)
		return;
	x = draw_write(w);
	if (w->s.overlaps || !overlaps_flying(w, &x))
		issue(w, x);
}

/* The twin on the first disk, then the one on the last. */
static void next_pair(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;
	unsigned int phase = w->pair_phase++ % 2;
	struct sim_write x = { .disk = (uint16_t)(phase ? w->s.disks - 1 : 0), .count = 1, .op = SIM_WRITE };

	if (w->quiet || w->write_count + 8 > SIM_WRITES)
		return;
	x.sector = (uint32_t)(w->disks[x.disk].pair_sector + (phase ? 8 : 0));
	if (!phase)
		w->pair_number++;
	x.pair = w->pair_number;
	issue(w, x);
}

/* What happens on the source alone, whatever agent and server do. */
bool disks_is_event(void (*run)(void *, uint64_t, uint64_t))
{
	return run == effect_event || run == complete || run == acknowledge || run == next_write || run == next_pair;
}

void disks_start_load(struct sim_world *w)
{
	world_at(w, w->now + 1, next_write, w, 0, 0);
	world_at(w, w->now + 2, next_pair, w, 0, 0);
}

/* What was in flight took effect or not, sector by sector. */
void disks_power_cut(struct sim_world *w)
{
	bool pair = false;

	for (unsigned int i = 0; i < w->flying_count; i++) {
		struct sim_write *x = &w->writes[w->flying[i]];

		pair = pair || x->pair;
		for (uint32_t s = 0; !x->completed && s < x->count; s++)
			if (world_chance(w, 50))
				take_effect(w, w->flying[i], s, s + 1);
		x->completed = w->now;
	}
	w->flying_count = 0;
	if (pair) {
		w->pair_phase = 0; /* a new one, from its first half */
		world_at(w, w->now + 100, next_pair, w, 0, 0);
	}
}

/* --- sectors that cannot be read ---------------------------------------------------- */

void disks_break_sectors(struct sim_world *w)
{
	unsigned int disk = (unsigned int)world_random(w, w->s.disks);
	uint64_t at = world_random(w, w->disks[disk].sectors), n = 1 + world_random(w, 24);

	for (uint64_t s = at; s < MIN(at + n, w->disks[disk].sectors); s++)
		w->disks[disk].at[s].bad = true;
	w->stats.bad++;
}

void disks_heal_sectors(struct sim_world *w)
{
	for (unsigned int i = 0; i < w->s.disks; i++)
		for (uint64_t s = 0; s < w->disks[i].sectors; s++)
			w->disks[i].at[s].bad = false;
}

/* --- growth ---------------------------------------------------------------------------- */

bool disks_grow(struct sim_world *w)
{
	struct sim_disk *d = &w->disks[world_random(w, w->s.disks)];
	uint64_t sectors = d->sectors + 1 + world_random(w, SIM_SECTORS);

	if (w->disks[0].sectors >= SIM_SECTORS && w->disks[w->s.disks - 1].sectors >= SIM_SECTORS)
		return false;
	sectors = MIN(world_chance(w, 70) ? (sectors + 7) / 8 * 8 : sectors, SIM_SECTORS);
	if (sectors <= d->sectors)
		return true;
	d->at = realloc(d->at, sectors * sizeof(*d->at));
	memset(d->at + d->sectors, 0, (sectors - d->sectors) * sizeof(*d->at));
	world_log(w, "disk %u grows from %llu to %llu sectors", (unsigned int)(d - w->disks),
		  (unsigned long long)d->sectors, (unsigned long long)sectors);
	d->sectors = sectors;
	w->stats.grown++;
	return true;
}
