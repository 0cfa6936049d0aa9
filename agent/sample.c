/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample - a few captured blocks a second are read back from the disk.
 *
 * For as long as it runs, capture is not trusted but tested: what the ring said
 * was written must be what the disk returns.  A block that was written to,
 * marked or read again since says nothing and is dropped.  A write may be on
 * the disk before its completion is seen, so that one look proves nothing
 * wrong: it is looked at three times.
 *
 * A block that differs is set pending, which heals it.  Where most do, capture
 * itself is wrong: it goes on with the dirty map alone, and everything is
 * compared.
 */
#include "engine-private.h"

#define SAMPLE_PAUSE_US	 125000u /* between two */
#define SAMPLE_DELAY_US	 10000u	 /* before a block is read */
#define SAMPLE_AGAIN_US	 100000u
#define SAMPLE_TRIES	 3u
#define RECENT		 16u	 /* judged together */
#define RECENT_WRONG	 8u

void sample_consider(struct engine *e, const struct tracker_record *rec)
{
	struct sample *s = NULL;
	uint32_t block, at, length;

	if (rec->op != TRACKER_WRITE || rec->reread || now_us(e) < e->next_sample_us)
		return;
	for (unsigned int i = 0; i < SAMPLES_MAX && !s; i++)
		s = e->samples[i].state == SAMPLE_FREE ? &e->samples[i] : NULL;
	if (!s)
		return;
	e->sample_seed = e->sample_seed * 6364136223846793005ULL + 1442695040888963407ULL;
	block = (uint32_t)((e->sample_seed >> 33) % ((rec->length_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES));
	at = block * BLOCK_BYTES;
	length = (uint32_t)MIN(BLOCK_BYTES, rec->length_bytes - at);
	*s = (struct sample){ .state = SAMPLE_WAITING, .disk = rec->disk, .offset = rec->offset_bytes + at,
			      .length = length, .not_before_us = now_us(e) + SAMPLE_DELAY_US,
			      .checksum = payload_checksum((const uint8_t *)rec->payload + at, length) };
	e->next_sample_us = now_us(e) + SAMPLE_PAUSE_US;
}

void sample_overtaken(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	for (unsigned int i = 0; i < SAMPLES_MAX; i++) {
		struct sample *s = &e->samples[i];

		if (s->state != SAMPLE_FREE && s->disk == disk && s->offset < offset + length &&
		    s->offset + s->length > offset)
			s->overtaken = true;
	}
}

void sample_submit(struct engine *e)
{
	for (unsigned int i = 0; i < SAMPLES_MAX; i++) {
		struct sample *s = &e->samples[i];
		struct scan_read *r;

		if (s->state != SAMPLE_WAITING)
			continue;
		if (s->overtaken) {
			s->state = SAMPLE_FREE;
			continue;
		}
		if (s->not_before_us > now_us(e) || !(r = scanner_free_read(e)))
			continue;
		if (scanner_begin(e, r, READ_SAMPLE, s->disk, s->offset, s->length) < 0) {
			s->state = SAMPLE_FREE;
			continue;
		}
		r->sample = i;
		s->state = SAMPLE_FLYING;
	}
}

static void judge(struct engine *e, bool wrong)
{
	e->figures.samples++;
	e->recent_samples++;
	if (wrong) {
		e->figures.sample_mismatches++;
		e->recent_mismatches++;
	}
	if (e->recent_mismatches >= RECENT_WRONG && tracker_mode(e->tracker) == TRACKER_PAYLOAD) {
		tracker_force_dirty_map(e->tracker);
		report(e, ENGINE_CAPTURE_WRONG, 0, e->recent_mismatches, NULL);
		for (unsigned int i = 0; i < e->disk_limit; i++)
			if (e->disks[i].present)
				engine_rescan(e, (uint16_t)i);
	}
	if (e->recent_samples >= RECENT)
		e->recent_samples = e->recent_mismatches = 0;
}

void sample_ready(struct engine *e, struct scan_read *r)
{
	struct sample *s = &e->samples[r->sample];
	struct disk_state *d = &e->disks[r->disk];
	uint64_t region = region_first(d, r->offset);

	assert(s->state == SAMPLE_FLYING);
	if (r->error || s->overtaken || plane_test(&d->planes[PLANE_PENDING], region) ||
	    plane_test(&d->planes[PLANE_HASH], region) || tracker_live_test(e->tracker, r->disk, region)) {
		s->state = SAMPLE_FREE;
		return;
	}
	if (payload_checksum(r->buffer, r->length) == s->checksum) {
		s->state = SAMPLE_FREE;
		judge(e, false);
	} else if (++s->tries < SAMPLE_TRIES) {
		s->state = SAMPLE_WAITING;
		s->not_before_us = now_us(e) + SAMPLE_AGAIN_US;
	} else {
		s->state = SAMPLE_FREE;
		report(e, ENGINE_MISMATCH, r->disk, r->offset, NULL);
		scanner_mark_pending(e, r->disk, region, 1);
		judge(e, true);
	}
}

/* The connection is gone: what is merged again would overtake them anyway. */
void sample_forget(struct engine *e)
{
	for (unsigned int i = 0; i < SAMPLES_MAX; i++)
		e->samples[i].state = SAMPLE_FREE;
}
