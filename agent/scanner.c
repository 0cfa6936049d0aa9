/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scanner - reads what is pending and puts it into the stream.
 *
 *	live --take--> pending --submit--> flying --> ready --emit--> generation
 *	                  ^                   |          |
 *	                  '---- error, stale, marked again
 *
 * Of a read R that was submitted when the ring stood at S (`begun') and that
 * had ended when it stood at Q (`ended'):
 *
 * R1	R holds, or is newer than, every write recorded before S and every lost
 *	write marked before its region was taken from the live map.  It may hold
 *	writes recorded from S on.
 * R2	R is emitted when all records before S are merged.  Records from S on that
 *	are merged before that punch their sectors out of R: they are in the
 *	epochs, and newer or the same (I2).
 * R3	Where R is emitted, what the open epoch has in the range is dropped: it
 *	comes from records before S.  It would go out at the cut, after R, and
 *	might bring back what a lost write had replaced.
 * R4	The region leaves `pending' when all of it was emitted or punched, and
 *	is in the generation of the open epoch by then (I6).
 * R5	A region that is taken from the live map while R is under way was marked
 *	after S, perhaps: it stays pending and is read once more (`again').
 * R6	Nothing is emitted between the aim of a cut and its end, or while a closed
 *	epoch is being sent: R would overtake it.
 *
 * A pass goes over a disk's pending regions in order; what was marked in the
 * meantime is taken from the live map when the pass is through, so that a block
 * that is written all the time is not read all the time.
 *
 * A read that fails is repeated region by region.  A region that cannot be read
 * stays pending and is tried again with growing pauses, and at once when it is
 * written to (disks remap sectors then).  Until then no point is called: what a
 * reader of the source would get there is not known.
 */
#include "engine-private.h"
#include <errno.h>
#include <stdlib.h>

#define PASS_PAUSE_US	  20000u    /* between passes over what is marked again and again */
#define RETRY_FIRST_US	  1000000u  /* of a region that could not be read */
#define RETRY_LAST_US	  60000000u
#define CAREFUL_BYTES	  (4 * MIB) /* read region by region after an error */
#define LEISURE_PAUSE_US  5000u	    /* between reads of what was discarded */

/* --- sets of sectors -------------------------------------------------------- */

static void sectors_set(struct sector_set *s, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
		s->words[i / 64] |= 1ULL << (i % 64);
}

static bool sectors_test(const struct sector_set *s, uint32_t i)
{
	return s->words[i / 64] >> (i % 64) & 1;
}

bool sectors_any(const struct sector_set *s, uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++)
		if (sectors_test(s, i))
			return true;
	return false;
}

/* Set in @s what of [@offset, @end) lies in the read. */
static void set_overlap(const struct scan_read *r, struct sector_set *s, uint64_t offset, uint64_t end)
{
	uint64_t from = MAX(offset, r->offset), to = MIN(end, r->offset + r->length);

	if (from < to)
		sectors_set(s, (uint32_t)((from - r->offset) / SECTOR_BYTES), (uint32_t)((to - from) / SECTOR_BYTES));
}

/* --- what others tell the reads under way ------------------------------------- */

void scanner_punch(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length, uint64_t position)
{
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (r->state != READ_FREE && r->disk == disk && r->begun <= position)
			set_overlap(r, &r->punched, offset, offset + length);
	}
}

unsigned int scanner_count_reads(const struct engine *e, enum read_purpose purpose)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < e->read_count; i++)
		n += e->reads[i].state != READ_FREE && e->reads[i].purpose == purpose;
	return n;
}

/* Is a read of what is pending in [@start, @end) under way that was begun before @position? */
static bool is_under_way(const struct engine *e, uint16_t disk, uint64_t start, uint64_t end, uint64_t position)
{
	for (unsigned int i = 0; i < e->read_count; i++) {
		const struct scan_read *r = &e->reads[i];

		if (r->state != READ_FREE && r->purpose == READ_PENDING && r->disk == disk && r->begun <= position &&
		    r->offset < end && r->offset + r->length > start)
			return true;
	}
	return false;
}

/* Does a read of this region, begun before @position, wait to be emitted? */
bool scanner_covers(const struct engine *e, uint16_t disk, uint64_t region, uint64_t position)
{
	unsigned int shift = e->disks[disk].track.region_shift;

	return is_under_way(e, disk, region << shift, (region + 1) << shift, position);
}

void scanner_mark_pending(struct engine *e, uint16_t disk, uint64_t first, uint64_t count)
{
	struct disk_state *d = &e->disks[disk];

	plane_set(&d->planes[PLANE_PENDING], first, count);
	sample_overtaken(e, disk, first << d->track.region_shift, count << d->track.region_shift);
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (r->state != READ_FREE && r->disk == disk)
			set_overlap(r, &r->again, first << d->track.region_shift,
				    (first + count) << d->track.region_shift);
	}
}

/* As above, for what can wait: a read for the same reason began too early. */
void scanner_mark_leisure(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	struct disk_state *d = &e->disks[disk];

	plane_set_bytes(d, &d->planes[PLANE_LEISURE], offset, offset + length);
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (r->state != READ_FREE && r->disk == disk && r->purpose == READ_LEISURE)
			set_overlap(r, &r->again, offset, offset + length);
	}
}

void scanner_stale(struct engine *e)
{
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (r->state == READ_READY)
			r->state = READ_FREE;
		r->stale = true;
	}
	for (unsigned int i = 0; i < e->disk_limit; i++)
		e->disks[i].in_pass = false;
}

/* Nothing is being read into its buffer, nor is what it holds wanted any more. */
void scanner_take_larger(struct engine *e, struct scan_read *r)
{
	assert(r->state == READ_FREE);
	if (!r->larger)
		return;
	free(r->buffer);
	r->buffer = r->larger;
	r->buffer_bytes = e->o.read_bytes;
	r->larger = NULL;
}

/* --- regions that cannot be read ----------------------------------------------- */

static struct bad_region *find_bad(const struct disk_state *d, uint64_t region)
{
	for (unsigned int i = 0; i < d->bad_count; i++)
		if (d->bad[i].region == region)
			return &d->bad[i];
	return NULL;
}

static bool is_barred(const struct engine *e, const struct disk_state *d, uint64_t region)
{
	const struct bad_region *b = d->bad_count ? find_bad(d, region) : NULL;

	return b && b->retry_us > now_us(e);
}

/* It was written to: try now. */
void scanner_wrote(struct engine *e, uint16_t disk, uint64_t region)
{
	struct bad_region *b = find_bad(&e->disks[disk], region);

	if (b)
		b->retry_us = 0;
}

static void note_bad(struct engine *e, struct disk_state *d, uint64_t region)
{
	struct bad_region *b = find_bad(d, region);

	if (!b) {
		if (!d->bad)
			d->bad = calloc(BAD_MAX, sizeof(*d->bad));
		if (!d->bad || d->bad_count == BAD_MAX) {
			/* More than can be kept in mind: it stays pending, and all of the disk rests. */
			d->bad_hold_us = now_us(e) + RETRY_LAST_US;
			return;
		}
		b = &d->bad[d->bad_count++];
		*b = (struct bad_region){ .region = region };
		report(e, ENGINE_READ_ERROR, d->track.disk, region << d->track.region_shift, NULL);
	}
	b->retry_us = now_us(e) + MIN((uint64_t)RETRY_FIRST_US << MIN(b->tries, 16u), RETRY_LAST_US);
	b->tries++;
}

static void forget_bad(struct engine *e, struct disk_state *d, uint64_t region)
{
	struct bad_region *b = d->bad_count ? find_bad(d, region) : NULL;

	if (!b)
		return;
	*b = d->bad[--d->bad_count];
	report(e, ENGINE_READ_HEALED, d->track.disk, region << d->track.region_shift, NULL);
}

static void read_failed(struct engine *e, struct scan_read *r)
{
	struct disk_state *d = &e->disks[r->disk];
	uint64_t first = region_first(d, r->offset), end = region_end(d, r->offset + r->length);

	e->figures.read_errors++;
	if (end - first == 1) {
		note_bad(e, d, first);
		return;
	}
	d->careful_until = end;
	d->cursor = MIN(d->cursor, first);
}

/* --- choosing and submitting ---------------------------------------------------- */

struct scan_read *scanner_free_read(struct engine *e)
{
	if (!overload_may_read(e))
		return NULL;
	for (unsigned int i = 0; i < e->read_count; i++)
		if (e->reads[i].state == READ_FREE)
			return &e->reads[i];
	return NULL;
}

int scanner_begin(struct engine *e, struct scan_read *r, enum read_purpose purpose, uint16_t disk, uint64_t offset,
		  uint32_t length)
{
	int err;

	assert(length > 0 && length <= r->buffer_bytes);
	r->purpose = purpose;
	r->stale = false;
	r->disk = disk;
	r->offset = offset;
	r->length = length;
	r->emitted = 0;
	r->error = 0;
	memset(&r->punched, 0, sizeof(r->punched));
	memset(&r->again, 0, sizeof(r->again));
	r->submitted_us = now_us(e);
	r->begun = tracker_position(e->tracker); /* before it is submitted: R1 */
	r->state = READ_FLYING;
	err = e->o.ops->read(e->o.context, disk, offset, length, r->buffer, (unsigned int)(r - e->reads));
	if (err < 0)
		r->state = READ_FREE;
	return err;
}

void engine_read_done(struct engine *e, unsigned int slot, int error)
{
	struct scan_read *r = &e->reads[slot];

	assert(slot < e->read_count && r->state == READ_FLYING);
	r->ended = tracker_position(e->tracker);
	r->error = error;
	overload_read_ended(e, r->submitted_us);
	r->state = r->stale ? READ_FREE : READ_READY;
	if (r->stale)
		scanner_take_larger(e, r);
}

static bool pass_has_reads(const struct engine *e, uint16_t disk)
{
	return is_under_way(e, disk, 0, UINT64_MAX, UINT64_MAX);
}

/* Everything live becomes pending.  Noted in the plane first: an agent killed
 * in between loses nothing. */
static void take_live(struct engine *e, struct disk_state *d)
{
	uint16_t disk = d->track.disk;
	uint64_t region = 0, count, taken;

	while ((count = tracker_live_next(e->tracker, disk, &region, UINT32_MAX)) > 0) {
		uint64_t at = region;

		scanner_mark_pending(e, disk, region, count);
		taken = tracker_live_take(e->tracker, disk, &at, count);
		assert(at == region && taken == count);
		region += count;
	}
}

/* Is the first scan through?  It may end with a pass, with an answer that the last blocks
 * in doubt are the same, or have ended before its end could be noted. */
static void look_synced(struct engine *e, struct disk_state *d)
{
	uint64_t bit = 1ULL << d->track.disk;

	if (e->memory->synced_disks & bit || d->planes[PLANE_HASH].count || d->planes[PLANE_PENDING].count)
		return;
	memory_set_synced(e->memory, d->track.disk, true);
	cut_soon(e);
	report(e, ENGINE_SYNCED, d->track.disk, 0, NULL);
}

/* Begin, or end, a pass over the disk's pending regions.  false: nothing to do. */
static bool arrange_pass(struct engine *e, struct disk_state *d)
{
	uint64_t now;

	if (d->in_pass)
		return now_us(e) >= d->bad_hold_us;
	if (!tracker_live_count(e->tracker, d->track.disk) && !d->planes[PLANE_PENDING].count) {
		look_synced(e, d);
		return false;
	}
	now = now_us(e);
	if ((now - d->pass_began_us < PASS_PAUSE_US && !e->label_wanted) || now < d->bad_hold_us)
		return false;
	take_live(e, d);
	d->cursor = 0;
	d->in_pass = true;
	d->pass_began_us = now;
	return true;
}

/* The next run of pending regions of a pass that one read can take. */
static uint64_t next_run(struct engine *e, struct disk_state *d, uint64_t *region)
{
	uint64_t max = d->cursor < d->careful_until ? 1 : e->o.read_bytes >> d->track.region_shift;
	uint64_t count;

	for (;;) {
		*region = d->cursor;
		count = plane_next(&d->planes[PLANE_PENDING], region, max);
		if (!count || !is_barred(e, d, *region))
			break;
		d->cursor = *region + 1;
	}
	/* End where a large read would, so that the ones after it are whole chunks. */
	if (max > 1)
		count = MIN(count, max - *region % max);
	for (uint64_t i = 1; d->bad_count && i < count; i++)
		if (find_bad(d, *region + i))
			count = i;
	return count;
}

/* Is a read of any of these regions under way already? */
static bool is_being_read(const struct engine *e, const struct disk_state *d, uint64_t region, uint64_t count)
{
	unsigned int shift = d->track.region_shift;

	return is_under_way(e, d->track.disk, region << shift, (region + count) << shift, UINT64_MAX);
}

static bool submit_pending(struct engine *e, struct disk_state *d)
{
	struct scan_read *r = scanner_free_read(e);
	uint64_t region, count, offset;

	if (!r || !arrange_pass(e, d))
		return false;
	count = next_run(e, d, &region);
	if (!count) {
		if (pass_has_reads(e, d->track.disk))
			return false;
		d->in_pass = false;
		look_synced(e, d);
		/* The next one may have been due already: nothing else would wake it. */
		if (!arrange_pass(e, d) || !(count = next_run(e, d, &region)))
			return false;
	}
	if (is_being_read(e, d, region, count))
		return false; /* after an error the cursor went back: wait for the others */
	offset = region << d->track.region_shift;
	if (scanner_begin(e, r, READ_PENDING, d->track.disk, offset,
			  (uint32_t)(MIN(offset + count * region_bytes(d), d->track.size_bytes) - offset)) < 0)
		return false;
	d->cursor = region + count;
	return true;
}

/* What may differ though points do not wait for it (struct tracker_record,
 * `reread') is read when nothing else is to be done. */
static bool submit_leisure(struct engine *e, struct disk_state *d)
{
	struct plane *p = &d->planes[PLANE_LEISURE];
	struct scan_read *r = scanner_free_read(e);
	uint64_t region = d->leisure_cursor, count, offset;

	if (!p->count || d->in_pass || !r || pass_has_reads(e, d->track.disk) || now_us(e) < d->leisure_next_us ||
	    scanner_count_reads(e, READ_LEISURE))
		return false;
	if (!plane_next(p, &region, 1))
		region = 0;
	count = plane_next(p, &region, e->o.read_bytes >> d->track.region_shift);
	offset = region << d->track.region_shift;
	if (scanner_begin(e, r, READ_LEISURE, d->track.disk, offset,
			  (uint32_t)(MIN(offset + count * region_bytes(d), d->track.size_bytes) - offset)) < 0)
		return false;
	d->leisure_cursor = region + count;
	d->leisure_next_us = now_us(e) + LEISURE_PAUSE_US;
	return true;
}

void scanner_submit(struct engine *e)
{
	bool began;

	if (!e->connected)
		return;
	e->submitted_us = now_us(e);
	do {
		began = false;
		for (unsigned int i = 0; i < e->disk_limit; i++) {
			struct disk_state *d = &e->disks[(e->next_disk + i) % e->disk_limit];

			if (d->present && !d->missing)
				began |= submit_pending(e, d);
		}
		if (e->disk_limit)
			e->next_disk = (e->next_disk + 1) % e->disk_limit;
	} while (began);
	while (hashes_submit(e))
		;
	for (unsigned int i = 0; i < e->disk_limit; i++)
		if (e->disks[i].present && !e->disks[i].missing)
			submit_leisure(e, &e->disks[i]);
	verify_submit(e);
	sample_submit(e);
}

/* --- emitting -------------------------------------------------------------------- */

/* A run of sectors of the read from @at on that are alike: to be sent or not. */
static uint32_t alike(const struct scan_read *r, uint32_t at, uint32_t end, bool *ret_send)
{
	uint32_t n = at;
	bool send = !sectors_test(&r->punched, at) && !sectors_test(&r->again, at);

	while (n < end && (!sectors_test(&r->punched, n) && !sectors_test(&r->again, n)) == send)
		n++;
	*ret_send = send;
	return n;
}

/* false: not now. */
static bool send_run(struct engine *e, struct scan_read *r, uint64_t offset, uint32_t length, const uint8_t *payload)
{
	if (!encoder_ready(&e->encoder) || epoch_drop(e->open, r->disk, offset, length) < 0)
		return false; /* R3 */
	encoder_data(&e->encoder, r->disk, offset, length, payload);
	e->figures.scanned_bytes += length;
	e->touched = true;
	return true;
}

/* One chunk of the read.  false: not now. */
static bool emit_chunk(struct engine *e, struct scan_read *r)
{
	struct disk_state *d = &e->disks[r->disk];
	uint64_t offset = r->offset + r->emitted;
	uint64_t end = MIN(r->offset + r->length, (offset / CHUNK_BYTES + 1) * CHUNK_BYTES);
	uint32_t at = r->emitted / SECTOR_BYTES, stop = at + (uint32_t)((end - offset) / SECTOR_BYTES);

	if (!encoder_ready(&e->encoder))
		return false;
	memory_raise_horizon(e->memory, r->ended);
	plane_set_bytes(d, generation(d, e->open_number), offset, end); /* R4 */
	while (at < stop) {
		bool send;
		uint32_t next = alike(r, at, stop, &send), length = (next - at) * SECTOR_BYTES;
		uint64_t from = r->offset + (uint64_t)at * SECTOR_BYTES;

		/* A chunk full of holes may need more room than there is. */
		if (send && !send_run(e, r, from, length, r->buffer + (size_t)at * SECTOR_BYTES))
			break;
		at = next;
	}
	r->emitted = at * SECTOR_BYTES;
	return at == stop;
}

/* The regions of the read that are dealt with leave their plane (R4, R5). */
static void settle(struct engine *e, struct scan_read *r, struct plane *p)
{
	struct disk_state *d = &e->disks[r->disk];
	uint64_t end = region_end(d, r->offset + r->length);

	for (uint64_t region = region_first(d, r->offset); region < end; region++) {
		uint64_t from = MAX(region << d->track.region_shift, r->offset) - r->offset;
		uint64_t to = MIN(((region + 1) << d->track.region_shift) - r->offset, r->length);

		if (sectors_any(&r->again, (uint32_t)(from / SECTOR_BYTES), (uint32_t)((to - from) / SECTOR_BYTES)))
			continue;
		plane_clear(p, region, 1);
		forget_bad(e, d, region);
	}
}

/* true: the read is dealt with and its slot is free. */
static bool emit_read(struct engine *e, struct scan_read *r)
{
	struct disk_state *d = &e->disks[r->disk];

	while (r->emitted < r->length)
		if (!emit_chunk(e, r))
			return false;
	settle(e, r, &d->planes[r->purpose == READ_PENDING ? PLANE_PENDING : PLANE_LEISURE]);
	return true;
}

static void handle_failed(struct engine *e, struct scan_read *r)
{
	struct disk_state *d = &e->disks[r->disk];
	uint64_t first = region_first(d, r->offset), count = region_end(d, r->offset + r->length) - first;

	switch (r->purpose) {
	case READ_PENDING:
		read_failed(e, r);
		break;
	case READ_LEISURE: /* whoever reads what is pending finds the sector */
		scanner_mark_pending(e, r->disk, first, count);
		plane_clear(&d->planes[PLANE_LEISURE], first, count);
		break;
	case READ_HASH:
	case READ_VERIFY:
		hashes_emit(e, r);
		break;
	case READ_SAMPLE:
		sample_ready(e, r);
		break;
	}
}

static bool handle_ready(struct engine *e, struct scan_read *r)
{
	if (r->error) {
		handle_failed(e, r);
		return true;
	}
	/* Comparing wants nothing on its way that the read may hold already. */
	if (r->purpose == READ_HASH || r->purpose == READ_VERIFY || r->purpose == READ_SAMPLE) {
		if (e->merged < r->ended)
			return false;
		if (r->purpose == READ_SAMPLE) {
			sample_ready(e, r);
			return true;
		}
		if (!encoder_ready(&e->encoder) || !hashes_have_room(e))
			return false;
		hashes_emit(e, r);
		return r->emitted >= r->length;
	}
	return e->merged >= r->begun && emit_read(e, r); /* R2 */
}

bool scanner_emit(struct engine *e)
{
	bool moved = false;

	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (e->closed || e->aim.set)
			return moved; /* R6 */
		if (r->state == READ_READY && handle_ready(e, r)) {
			r->state = READ_FREE;
			moved = true;
		}
	}
	return moved;
}

/* What was due already when reads were last submitted waits for something else than time: a
 * read's end, an answer, the end of a pass.  Whoever sees that runs the engine. */
static uint64_t sooner(const struct engine *e, uint64_t soonest, uint64_t due_us)
{
	return due_us > e->submitted_us ? MIN(soonest, due_us) : soonest;
}

uint64_t scanner_deadline(const struct engine *e)
{
	uint64_t soonest = UINT64_MAX;

	for (unsigned int i = 0; i < e->disk_limit; i++) {
		const struct disk_state *d = &e->disks[i];

		if (!d->present || d->missing)
			continue;
		if (!d->in_pass && (d->planes[PLANE_PENDING].count || e->live_seen))
			soonest = sooner(e, soonest, d->pass_began_us + PASS_PAUSE_US);
		if (d->planes[PLANE_LEISURE].count)
			soonest = sooner(e, soonest, d->leisure_next_us);
		soonest = sooner(e, soonest, d->bad_hold_us);
		for (unsigned int b = 0; b < d->bad_count; b++)
			soonest = sooner(e, soonest, d->bad[b].retry_us);
	}
	return soonest;
}
