/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge - from the ring into the open epoch.
 *
 *	 consumed	   merged		 position
 *	----+----------------+-----------------------+----> ring
 *	    | in an epoch,   | captured, not yet     |
 *	    | not durable    | looked at             |
 *
 * Records are copied into the epoch but stay in the ring until their epoch is
 * durable, so that after a lost connection or a killed agent they are merged
 * again, in their order.  Where the ring is more than half full they are
 * retired: their regions are set in the generation of their epoch, and then
 * the ring may have the room (I6).
 *
 * A record is skipped where a scan will read its region anyway: the region is
 * live, or it is pending and its read has not begun, or began after the record.
 * No point is called until that scan is done (I4), so nothing is lost by it but
 * bandwidth that would have been wasted.
 */
#include "engine-private.h"
#include <errno.h>

#define BUDGET_BYTES (8 * MIB) /* merged in one go, before the socket is looked at again */

static uint64_t ring_used(const struct engine *e)
{
	return tracker_position(e->tracker) - tracker_consumed(e->tracker);
}

static bool ring_needs_room(const struct engine *e)
{
	return ring_used(e) > tracker_ring_bytes(e->tracker) / 2;
}

static uint64_t epoch_of(const struct engine *e, uint64_t position)
{
	for (unsigned int i = 0; i < e->flight_count; i++)
		if (position < e->flights[i].position)
			return e->flights[i].commit.epoch;
	if (e->closed && position < e->closing.position)
		return e->closing.commit.epoch;
	return e->open_number;
}

/* The part of a record that lies on the disk as it is known.  What lies behind
 * it is read when the disk is found to have grown; there is no point until then (cut.c). */
static struct disk_state *clip(struct engine *e, struct tracker_record *rec)
{
	struct disk_state *d = rec->disk < DISKS_MAX ? &e->disks[rec->disk] : NULL;

	if (!d || !d->present || rec->offset_bytes >= d->track.size_bytes || !rec->length_bytes)
		return NULL;
	rec->length_bytes = MIN(rec->length_bytes, d->track.size_bytes - rec->offset_bytes);
	return d;
}

void merge_retire(struct engine *e, uint64_t target)
{
	uint64_t at = tracker_consumed(e->tracker);
	struct tracker_record rec = { 0 };

	assert(target <= e->merged);
	while (at < target && tracker_peek(e->tracker, at, &rec) == 1 && rec.position < target) {
		struct disk_state *d = clip(e, &rec);

		if (d)
			plane_set_bytes(d, generation(d, epoch_of(e, rec.position)), rec.offset_bytes,
					rec.offset_bytes + rec.length_bytes);
		at = rec.next;
	}
	if (target > tracker_consumed(e->tracker))
		tracker_consume(e->tracker, target);
}

static bool is_skipped(struct engine *e, struct disk_state *d, uint64_t region, uint64_t position)
{
	if (d->planes[PLANE_PENDING].count && plane_test(&d->planes[PLANE_PENDING], region)) {
		if (d->bad_count)
			scanner_wrote(e, d->track.disk, region);
		if (!scanner_covers(e, d->track.disk, region, position))
			return true;
	}
	/* A record before the place of a cut that was found clean belongs into its
	 * point, even if a later write has marked the region since. */
	if (e->aim.set && e->aim.clean)
		return false;
	return tracker_live_test(e->tracker, d->track.disk, region);
}

static int merge_write(struct engine *e, struct disk_state *d, const struct tracker_record *rec)
{
	uint64_t at = rec->offset_bytes, end = at + rec->length_bytes;
	const uint8_t *payload = rec->payload;

	/* Whole or not at all: a cut must not find half of it. */
	if (arena_free_blocks(e->arena) < (end - 1) / BLOCK_BYTES - at / BLOCK_BYTES + 1)
		return -ENOBUFS;
	while (at < end) {
		uint64_t region = region_first(d, at), next = MIN(end, (region + 1) << d->track.region_shift);

		if (is_skipped(e, d, region, rec->position)) {
			e->figures.skipped_bytes += next - at;
		} else {
			int r = epoch_write(e->open, d->track.disk, at, (uint32_t)(next - at), payload);

			assert(r == 0);
			scanner_punch(e, d->track.disk, at, next - at, rec->position);
			e->touched = true;
		}
		payload += next - at;
		at = next;
	}
	return 0;
}

static int merge_zero(struct engine *e, struct disk_state *d, const struct tracker_record *rec)
{
	int r = epoch_zero(e->open, d->track.disk, rec->offset_bytes, rec->length_bytes);

	if (r < 0)
		return r;
	scanner_punch(e, d->track.disk, rec->offset_bytes, rec->length_bytes, rec->position);
	e->touched = true;
	return 0;
}

static int merge_record(struct engine *e, struct tracker_record *rec)
{
	struct disk_state *d = clip(e, rec);
	uint64_t skipped = e->figures.skipped_bytes;
	bool first = !e->touched;
	int r = 0;

	if (d) {
		r = rec->op == TRACKER_WRITE ? merge_write(e, d, rec) : merge_zero(e, d, rec);
		if (r < 0)
			return r;
		/* The disk may hold something else there; points need not wait for it. */
		if (rec->reread)
			scanner_mark_leisure(e, rec->disk, rec->offset_bytes, rec->length_bytes);
		e->figures.merged_bytes += rec->length_bytes;
		if (rec->position < e->replay_until)
			e->figures.replayed_bytes += rec->length_bytes;
		sample_overtaken(e, rec->disk, rec->offset_bytes, rec->length_bytes);
		verify_wrote(e, rec->disk, rec->offset_bytes, rec->length_bytes);
		if (e->figures.skipped_bytes == skipped) /* else something newer may be in the replica */
			sample_consider(e, rec);
	}
	if (first && e->touched)
		e->open_since_us = MAX(e->open_since_us, rec->time_us);
	e->merged = rec->next;
	e->memory->merged = MAX(e->merged, e->memory->merged);
	return 0;
}

/* May the cut that is due be put off, and the ring be left to fill? */
static bool should_wait(const struct engine *e)
{
	return !ring_needs_room(e) && !e->live_seen && cut_nothing_pending(e);
}

/* Is it time to cut before a record of this time?  @times: epochs long. */
static bool is_due(const struct engine *e, uint64_t time_us, unsigned int times)
{
	return e->touched && time_us >= e->open_since_us + times * e->o.epoch_us;
}

/* The cut before @rec, if it is time for it.  While something is dirty a little
 * later, for the scan to be done and the cut to be a point.  false: wait. */
static bool cut_if_due(struct engine *e, const struct tracker_record *rec)
{
	bool dirty = e->live_seen || !cut_nothing_pending(e);

	if (!is_due(e, rec->time_us, dirty ? 2 : 1))
		return true;
	if (!cut_can_close(e))
		return !should_wait(e);
	dirty = !cut_look_clean(e);
	if (!dirty || is_due(e, rec->time_us, 2))
		cut_close(e, rec->position, rec->time_us, !dirty);
	return true;
}

/* One record.  false: nothing to merge now, or it must wait. */
static bool merge_step(struct engine *e)
{
	struct tracker_record rec = { .next = e->merged };

	e->blocked = false;
	e->caught_up = tracker_peek(e->tracker, e->merged, &rec) != 1;
	if (e->caught_up) {
		e->merged = MAX(e->merged, rec.next);
		return false;
	}
	if (e->aim.set && rec.position >= e->aim.position) {
		cut_close(e, e->aim.position, e->aim.boot_us, e->aim.clean);
	} else if (!e->aim.set && !cut_if_due(e, &rec)) {
		return !(e->blocked = true);
	}
	if (merge_record(e, &rec) == 0)
		return true;
	/* The epoch is full: close it here, or wait for room. */
	if (cut_can_close(e) && e->touched) {
		cut_close(e, rec.position, rec.time_us, cut_look_clean(e));
		return true;
	}
	e->blocked = true;
	return false;
}

void merge_run(struct engine *e)
{
	uint64_t end = e->merged + BUDGET_BYTES;

	while (e->merged < end && merge_step(e))
		if (ring_needs_room(e))
			merge_retire(e, e->merged);
}
