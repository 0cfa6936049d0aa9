/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hashes - comparing the disk with its replica without sending it.
 *
 *	rescan	what is in the plane `hash' is in doubt: a reboot, a suspect disk, a
 *		store that lost epochs.  Points wait for it (I4).  What differs, and
 *		what is written to while it is compared, becomes pending.
 *	verify	a person wants to know.  Points go on; what differs three times in
 *		a row without having been written to in between is counted,
 *		reported, and set pending, which heals it.  (A read sees writes
 *		in flight; it takes their completion to know that it did.)
 *
 * The server compares a HASH with the disk after every frame before it (W2).
 * So a chunk is asked about only if nothing that the read may hold is still
 * here: no record of the open epoch, none that came during the read.
 *
 * A region's bit leaves `hash' when its answer is there, not when it is asked;
 * and not by an answer, or a read, that is older than the doubt (I3): whatever
 * made the disk suspect may have been written after.
 * An answer that rests on frames that are not durable yet is safe: if they are
 * lost their regions are in their generation.
 */
#include "engine-private.h"
#include <errno.h>

#define VERIFY_READS	 2u
#define VERIFY_DIFFERS	 3u /* in a row: it is so */
#define VERIFY_TRIES	 12u /* written to again and again, or not readable: unsettled */

static uint64_t chunk_end(const struct disk_state *d, uint64_t offset)
{
	return MIN((offset / CHUNK_BYTES + 1) * CHUNK_BYTES, d->track.size_bytes);
}

bool hashes_have_room(const struct engine *e)
{
	return e->asked_count < HASHES_MAX;
}

static unsigned int count_asked(const struct engine *e, bool verify)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < e->asked_count; i++)
		n += e->asked[(e->asked_first + i) % HASHES_MAX].verify == verify;
	return n;
}

/* No more in doubt: it will be read and sent. */
static void to_pending(struct engine *e, struct disk_state *d, uint64_t offset, uint64_t end)
{
	uint64_t first = region_first(d, offset), count = region_end(d, end) - first;

	scanner_mark_pending(e, d->track.disk, first, count);
	plane_clear(&d->planes[PLANE_HASH], first, count);
}

static bool is_dirty(struct engine *e, struct disk_state *d, uint64_t offset, uint64_t end)
{
	uint64_t first = region_first(d, offset), last = region_end(d, end);

	if (plane_any(&d->planes[PLANE_PENDING], first, last - first) ||
	    plane_any(&d->planes[PLANE_LEISURE], first, last - first))
		return true;
	for (uint64_t region = first; region < last; region++)
		if (tracker_live_test(e->tracker, d->track.disk, region))
			return true;
	return false;
}

/* --- rescan -------------------------------------------------------------------- */

/* The next stretch to compare: whole chunks and whole regions. */
static bool next_stretch(struct engine *e, struct disk_state *d, uint64_t *ret_offset, uint64_t *ret_end)
{
	uint64_t unit = MAX(region_bytes(d), (uint64_t)CHUNK_BYTES), region = d->hash_cursor;
	uint64_t count = plane_next(&d->planes[PLANE_HASH], &region, e->o.read_bytes >> d->track.region_shift);
	uint64_t offset, end;

	if (!count)
		return false;
	offset = (region << d->track.region_shift) / unit * unit;
	end = ((region + count) << d->track.region_shift);
	end = MIN((end + unit - 1) / unit * unit, offset + e->o.read_bytes);
	*ret_offset = offset;
	*ret_end = MIN(end, d->track.size_bytes);
	return true;
}

/* All of the disk is in doubt from now on. */
void hashes_doubt(struct engine *e, struct disk_state *d)
{
	plane_set(&d->planes[PLANE_HASH], 0, d->track.region_count);
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		if (r->state != READ_FREE && r->disk == d->track.disk && r->purpose == READ_HASH)
			memset(&r->again, 0xff, sizeof(r->again));
	}
	for (unsigned int i = 0; i < e->asked_count; i++) {
		struct asked *a = &e->asked[(e->asked_first + i) % HASHES_MAX];

		a->outdated = a->outdated || a->disk == d->track.disk;
	}
}

static bool submit_disk(struct engine *e, struct disk_state *d)
{
	struct scan_read *r = scanner_free_read(e);
	uint64_t offset, end;

	if (!r || !d->planes[PLANE_HASH].count)
		return false;
	if (!next_stretch(e, d, &offset, &end)) {
		/* What is left is being read or asked; else something was set behind the cursor. */
		if (scanner_count_reads(e, READ_HASH) || count_asked(e, false))
			return false;
		d->hash_cursor = 0;
		if (!next_stretch(e, d, &offset, &end))
			return false;
	}
	if (scanner_begin(e, r, READ_HASH, d->track.disk, offset, (uint32_t)(end - offset)) < 0)
		return false;
	d->hash_cursor = region_end(d, end);
	return true;
}

bool hashes_submit(struct engine *e)
{
	bool began = false;

	if (scanner_count_reads(e, READ_HASH) >= MAX(e->read_count / 2, 1u))
		return false;
	for (unsigned int i = 0; i < e->disk_limit; i++)
		if (e->disks[i].present && !e->disks[i].missing)
			began |= submit_disk(e, &e->disks[i]);
	return began;
}

static void ask(struct engine *e, const struct scan_read *r, uint64_t offset, uint32_t length)
{
	struct wire_hash m = { .disk = r->disk, .offset_bytes = offset, .length_bytes = length, .seed = e->o.hash_seed };

	payload_hash(r->buffer + (offset - r->offset), length, m.seed, m.hash);
	encoder_hash(&e->encoder, &m);
	e->asked[(e->asked_first + e->asked_count++) % HASHES_MAX] =
		(struct asked){ .disk = r->disk, .verify = r->purpose == READ_VERIFY, .offset = offset, .length = length };
	e->figures.hashed_bytes += length;
}

/* --- verify -------------------------------------------------------------------- */

static struct doubt *find_doubt(struct engine *e, uint16_t disk, uint64_t offset)
{
	for (unsigned int i = 0; i < e->verify.doubt_count; i++)
		if (e->verify.doubts[i].disk == disk && e->verify.doubts[i].offset == offset)
			return &e->verify.doubts[i];
	return NULL;
}

static struct doubt *have_doubt(struct engine *e, uint16_t disk, uint64_t offset)
{
	struct verify *v = &e->verify;
	struct doubt *q = find_doubt(e, disk, offset);

	if (q)
		return q;
	assert(v->doubt_count < DOUBTS_MAX);
	q = &v->doubts[v->doubt_count++];
	*q = (struct doubt){ .disk = disk, .offset = offset };
	return q;
}

static void settle_doubt(struct engine *e, struct doubt *q)
{
	*q = e->verify.doubts[--e->verify.doubt_count];
}

/* So much is not compared by this verify. */
static void give_up(struct verify *v, uint64_t bytes)
{
	v->figures.unsettled_bytes += bytes;
	v->figures.checked_bytes += bytes;
}

/* It could not be compared, or differed: look again later, or give up. */
static void doubt(struct engine *e, struct disk_state *d, uint64_t offset, uint32_t length, bool differed)
{
	struct verify *v = &e->verify;
	struct doubt *q = have_doubt(e, d->track.disk, offset);

	q->flying = false;
	q->not_before_us = now_us(e) + 2 * e->o.epoch_us;
	q->tries++;
	q->differed = differed ? (q->written ? 1 : q->differed + 1) : 0;
	q->written = false;
	if (q->differed >= VERIFY_DIFFERS) {
		v->figures.differing_bytes += length;
		v->figures.checked_bytes += length;
		report(e, ENGINE_VERIFY_DIFFERS, d->track.disk, offset, NULL);
		scanner_mark_pending(e, d->track.disk, region_first(d, offset),
				     region_end(d, offset + length) - region_first(d, offset));
		settle_doubt(e, q);
	} else if (q->tries >= VERIFY_TRIES) {
		give_up(v, length);
		settle_doubt(e, q);
	}
}

/* A record was merged. */
void verify_wrote(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	for (unsigned int i = 0; i < e->verify.doubt_count; i++) {
		struct doubt *q = &e->verify.doubts[i];

		if (q->disk == disk && q->offset < offset + length && offset < q->offset + CHUNK_BYTES)
			q->written = true;
	}
}

static void verify_answer(struct engine *e, struct disk_state *d, const struct asked *a, bool differs)
{
	struct doubt *q;

	if (!e->verify.running)
		return;
	if (differs) {
		doubt(e, d, a->offset, a->length, true);
		return;
	}
	e->verify.figures.checked_bytes += a->length;
	q = find_doubt(e, a->disk, a->offset);
	if (q)
		settle_doubt(e, q);
}

static bool submit_doubt(struct engine *e, struct scan_read *r)
{
	for (unsigned int i = 0; i < e->verify.doubt_count; i++) {
		struct doubt *q = &e->verify.doubts[i];
		struct disk_state *d = &e->disks[q->disk];

		if (q->flying || q->not_before_us > now_us(e))
			continue;
		if (d->missing) {
			give_up(&e->verify, chunk_end(d, q->offset) - q->offset);
			settle_doubt(e, q); /* the last one is in its place */
			i--;
			continue;
		}
		if (scanner_begin(e, r, READ_VERIFY, q->disk, q->offset,
				  (uint32_t)(chunk_end(d, q->offset) - q->offset)) < 0)
			return false;
		q->flying = true;
		return true;
	}
	return false;
}

/* Move the cursor to a disk that is there; what is not is given up.  false: all were visited. */
static bool verify_find_disk(struct engine *e)
{
	struct verify *v = &e->verify;

	while (v->disk < e->disk_limit) {
		const struct disk_state *d = &e->disks[v->disk];

		if (d->present && v->cursor < d->track.size_bytes) {
			if (!d->missing)
				return true;
			give_up(v, d->track.size_bytes - v->cursor);
		}
		v->disk++;
		v->cursor = 0;
	}
	return false;
}

void verify_submit(struct engine *e)
{
	struct verify *v = &e->verify;
	struct scan_read *r;

	while (v->running && scanner_count_reads(e, READ_VERIFY) < VERIFY_READS && (r = scanner_free_read(e))) {
		unsigned int chunks = (unsigned int)(e->o.read_bytes / CHUNK_BYTES);

		if (submit_doubt(e, r))
			continue;
		if (!verify_find_disk(e)) {
			if (!v->doubt_count && !scanner_count_reads(e, READ_VERIFY) && !count_asked(e, true)) {
				v->running = false;
				report(e, ENGINE_VERIFY_DONE, 0, v->figures.differing_bytes, NULL);
			}
			return;
		}
		/* Each chunk that is under way may become a doubt. */
		if (v->doubt_count + count_asked(e, true) + (VERIFY_READS + 1) * chunks > DOUBTS_MAX)
			return;
		if (scanner_begin(e, r, READ_VERIFY, v->disk, v->cursor,
				  (uint32_t)MIN(e->o.read_bytes, e->disks[v->disk].track.size_bytes - v->cursor)) < 0)
			return;
		v->cursor += r->length;
	}
}

uint64_t verify_deadline(const struct engine *e)
{
	uint64_t soonest = UINT64_MAX;

	for (unsigned int i = 0; e->verify.running && i < e->verify.doubt_count; i++)
		if (!e->verify.doubts[i].flying && e->verify.doubts[i].not_before_us > e->submitted_us)
			soonest = MIN(soonest, e->verify.doubts[i].not_before_us);
	return soonest;
}

int engine_verify(struct engine *e)
{
	if (e->verify.running)
		return -EBUSY;
	e->verify = (struct verify){ .running = true };
	for (unsigned int i = 0; i < e->disk_limit; i++)
		if (e->disks[i].present)
			e->verify.figures.total_bytes += e->disks[i].track.size_bytes;
	return 0;
}

void engine_verify_status(const struct engine *e, struct engine_verify *ret)
{
	*ret = e->verify.figures;
	ret->running = e->verify.running;
}

/* --- both ---------------------------------------------------------------------- */

/* The chunks of a read that is there: asked about, or put off. */
void hashes_emit(struct engine *e, struct scan_read *r)
{
	struct disk_state *d = &e->disks[r->disk];

	while (r->emitted < r->length && (r->error || (encoder_ready(&e->encoder) && hashes_have_room(e)))) {
		uint64_t offset = r->offset + r->emitted, end = MIN(chunk_end(d, offset), r->offset + r->length);
		uint32_t first = r->emitted / SECTOR_BYTES, count = (uint32_t)((end - offset) / SECTOR_BYTES);

		r->emitted += (uint32_t)(end - offset);
		if (r->purpose == READ_VERIFY && !e->verify.running)
			continue;
		if (!r->error && !sectors_any(&r->punched, first, count) && !sectors_any(&r->again, first, count) &&
		    !epoch_touches(e->open, r->disk, offset, end - offset) && !is_dirty(e, d, offset, end))
			ask(e, r, offset, (uint32_t)(end - offset));
		else if (r->purpose == READ_VERIFY)
			doubt(e, d, offset, (uint32_t)(end - offset), false);
		else
			to_pending(e, d, offset, end);
	}
}

int hashes_differ(struct engine *e, const struct wire_differ *m)
{
	struct asked a = e->asked[e->asked_first];
	struct disk_state *d = &e->disks[a.disk];
	uint64_t end = a.offset + a.length;

	if (!e->asked_count || a.disk != m->disk || a.offset != m->offset_bytes || a.length != m->length_bytes)
		return -EPROTO;
	e->asked_first = (e->asked_first + 1) % HASHES_MAX;
	e->asked_count--;
	if (!d->present)
		return 0;
	if (a.verify) {
		verify_answer(e, d, &a, m->differs);
	} else if (m->differs) {
		e->figures.differing_bytes += a.length;
		to_pending(e, d, a.offset, end);
	} else if (!a.outdated && (end % region_bytes(d) == 0 || end == d->track.size_bytes)) {
		/* A region larger than a chunk: its other chunks were answered before this one. */
		uint64_t first = region_first(d, a.offset);

		plane_clear(&d->planes[PLANE_HASH], first, region_end(d, end) - first);
	}
	return 0;
}

/* The connection is gone, and with it what was asked. */
void hashes_forget(struct engine *e)
{
	struct verify *v = &e->verify;

	for (unsigned int i = e->asked_count; v->running && i-- > 0;) {
		const struct asked *a = &e->asked[(e->asked_first + i) % HASHES_MAX];

		if (a->verify)
			have_doubt(e, a->disk, a->offset);
	}
	for (unsigned int i = 0; v->running && i < e->read_count; i++) {
		const struct scan_read *r = &e->reads[i];

		for (uint64_t at = r->offset + r->emitted; r->state != READ_FREE && r->purpose == READ_VERIFY && !r->stale &&
		     at < r->offset + r->length; at += CHUNK_BYTES)
			have_doubt(e, r->disk, at);
	}
	for (unsigned int i = 0; i < v->doubt_count; i++)
		v->doubts[i].flying = false;
	e->asked_first = e->asked_count = 0;
	for (unsigned int i = 0; i < e->disk_limit; i++)
		e->disks[i].hash_cursor = 0;
}
