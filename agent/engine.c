/* SPDX-License-Identifier: Apache-2.0 */
/* engine - life, disks, connection, figures; the algorithm is in merge.c, cut.c,
 * scanner.c, hashes.c and sample.c, the invariants are in engine.h. */
#include "engine-private.h"
#include "utf8.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void set_defaults(struct engine_options *o)
{
	o->arena_bytes = o->arena_bytes ? o->arena_bytes : 32 * MIB;
	o->outbox_bytes = o->outbox_bytes ? o->outbox_bytes : MIB;
	o->read_bytes = o->read_bytes ? MAX(MIN(o->read_bytes, READ_BYTES_MAX), CHUNK_BYTES) : 512 * (uint32_t)KIB;
	o->reads = o->reads ? MIN(o->reads, ENGINE_READS_MAX) : 8;
	o->epoch_us = o->epoch_us ? o->epoch_us : 500000;
	o->idle_us = o->idle_us ? o->idle_us : 900000;
}

int engine_new(const struct engine_options *o, struct engine **ret)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->o = *o;
	set_defaults(&e->o);
	e->tracker = o->tracker;
	e->memory = o->memory;
	e->begun_us = boot_us(e);
	e->sample_seed = o->hash_seed;
	if (arena_new(e->o.arena_bytes, &e->arena) < 0 || epoch_new(e->arena, &e->epochs[0]) < 0 ||
	    epoch_new(e->arena, &e->epochs[1]) < 0 || outbox_init(&e->outbox, (size_t)e->o.outbox_bytes) < 0)
		goto out;
	e->open = e->epochs[0];
	encoder_init(&e->encoder, &e->outbox);
	for (e->read_count = 0; e->read_count < e->o.reads; e->read_count++) {
		struct scan_read *r = &e->reads[e->read_count];

		r->buffer = aligned_alloc(BLOCK_BYTES, e->o.read_bytes);
		r->buffer_bytes = e->o.read_bytes;
		if (!r->buffer)
			goto out;
	}
	*ret = e;
	return 0;
out:
	engine_free(e);
	return -ENOMEM;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	for (unsigned int i = 0; i < ENGINE_READS_MAX; i++) {
		free(e->reads[i].buffer);
		free(e->reads[i].larger);
	}
	for (unsigned int i = 0; i < DISKS_MAX; i++) {
		for (unsigned int p = 0; p < TRACKER_PLANES; p++)
			plane_done(&e->disks[i].planes[p]);
		free(e->disks[i].bad);
	}
	epoch_free(e->epochs[0]);
	epoch_free(e->epochs[1]);
	arena_free(e->arena);
	outbox_done(&e->outbox);
	free(e);
}

unsigned int engine_read_buffers(const struct engine *e, struct iovec ret[ENGINE_READS_MAX])
{
	for (unsigned int i = 0; i < e->read_count; i++)
		ret[i] = (struct iovec){ e->reads[i].larger ?: e->reads[i].buffer, e->o.read_bytes };
	return e->read_count;
}

/* Buffers for reads of @bytes, a region of the largest disk.  All or none.  A read of a connection that
 * is gone may still be under way: it ends in the buffer that it was given (scanner_take_larger()). */
static int enlarge_reads(struct engine *e, uint64_t bytes)
{
	uint8_t *buffers[ENGINE_READS_MAX];

	if (bytes <= e->o.read_bytes)
		return 0;
	if (bytes > READ_BYTES_MAX)
		return -EFBIG;
	for (unsigned int i = 0; i < e->read_count; i++) {
		buffers[i] = aligned_alloc(BLOCK_BYTES, bytes);
		if (buffers[i])
			continue;
		while (i-- > 0)
			free(buffers[i]);
		return -ENOMEM;
	}
	e->o.read_bytes = (uint32_t)bytes;
	for (unsigned int i = 0; i < e->read_count; i++) {
		struct scan_read *r = &e->reads[i];

		assert(r->state != READ_FLYING || r->stale);
		free(r->larger);
		r->larger = buffers[i];
		if (r->state == READ_FREE)
			scanner_take_larger(e, r);
	}
	return 0;
}

/* --- disks ------------------------------------------------------------------- */

static int take_planes(struct engine *e, struct disk_state *d, const struct tracker_disk *track)
{
	struct plane planes[TRACKER_PLANES] = { 0 };

	for (unsigned int i = 0; i < TRACKER_PLANES; i++) {
		uint64_t count, *words = tracker_plane(e->tracker, track->disk, i, &count);
		int r = words && count * 64 >= track->region_count ?
				plane_init(&planes[i], words, track->region_count) : -ENODEV;

		if (r < 0) {
			while (i-- > 0)
				plane_done(&planes[i]);
			return r;
		}
	}
	for (unsigned int i = 0; i < TRACKER_PLANES; i++) {
		plane_done(&d->planes[i]);
		d->planes[i] = planes[i];
	}
	d->track = *track;
	return 0;
}

/* What the tracker has of the disk now, with room to read a region of it. */
static int take_maps(struct engine *e, uint16_t disk)
{
	struct tracker_disk track;
	int r = tracker_disk(e->tracker, disk, &track);

	if (!r)
		r = 1ULL << track.region_shift < BLOCK_BYTES ? -EINVAL : enlarge_reads(e, 1ULL << track.region_shift);
	return r ? r : take_planes(e, &e->disks[disk], &track);
}

/* Nothing is known of it: all is in doubt.  Only then is it armed, so that an
 * agent killed in between begins here again. */
static void arm_disk(struct engine *e, struct disk_state *d)
{
	for (unsigned int i = 0; i < TRACKER_PLANES; i++)
		plane_clear_all(&d->planes[i]);
	plane_set(&d->planes[PLANE_HASH], 0, d->track.region_count);
	memory_arm(e->memory, d->o.disk);
}

int engine_add_disk(struct engine *e, const struct engine_disk_options *o)
{
	struct disk_state *d = &e->disks[o->disk];
	int r;

	assert(o->disk < DISKS_MAX && !d->present && !e->connected);
	r = take_maps(e, o->disk);
	if (r < 0)
		return r;
	d->o = *o;
	if (!(e->memory->armed_disks >> o->disk & 1))
		arm_disk(e, d);
	d->present = true;
	e->disk_limit = MAX(e->disk_limit, o->disk + 1u);
	return 0;
}

void engine_disk_missing(struct engine *e, uint16_t disk, bool missing)
{
	e->disks[disk].missing = missing;
}

static void put_disk(struct engine *e, const struct disk_state *d)
{
	struct wire_disk m = { .disk = d->o.disk, .sector_bytes = d->o.sector_bytes, .id = d->o.id,
			       .size_bytes = d->track.size_bytes };

	memcpy(m.name, d->o.name, sizeof(m.name));
	encoder_disk(&e->encoder, &m);
}

int engine_disk_resized(struct engine *e, uint16_t disk)
{
	struct disk_state *d = &e->disks[disk];
	uint64_t old_bytes = d->track.size_bytes;
	int r;

	assert(!e->connected);
	r = take_maps(e, disk);
	if (r < 0)
		return r;
	d->bad_count = 0;
	d->careful_until = 0;
	if (d->track.size_bytes > old_bytes)
		scanner_mark_pending(e, disk, region_first(d, old_bytes),
				     d->track.region_count - region_first(d, old_bytes));
	return 0;
}

int engine_disk_back(struct engine *e, uint16_t disk)
{
	int r;

	e->disks[disk].bad_hold_us = 0;
	r = engine_disk_resized(e, disk);

	if (r < 0)
		return r;
	engine_rescan(e, disk);
	e->disks[disk].missing = false;
	return 0;
}

void engine_rescan(struct engine *e, uint16_t disk)
{
	if (e->disks[disk].present)
		hashes_doubt(e, &e->disks[disk]);
}

/* The server has nothing, or nothing to compare with: all of it must travel. */
static void sync_disk(struct engine *e, struct disk_state *d)
{
	plane_clear_all(&d->planes[PLANE_HASH]);
	scanner_mark_pending(e, d->o.disk, 0, d->track.region_count);
	memory_set_synced(e->memory, d->o.disk, false);
}

/* --- the connection ----------------------------------------------------------- */

struct outbox *engine_outbox(struct engine *e)
{
	return &e->outbox;
}

void engine_greet(struct engine *e, const struct uuid *machine, uint64_t boot_time_us)
{
	struct wire_hello m = { .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .machine = *machine,
				.boot_time_us = boot_time_us };

	assert(!e->connected);
	outbox_clear(&e->outbox);
	encoder_reset(&e->encoder);
	for (unsigned int i = 0; i < e->disk_limit; i++)
		m.disk_count = (uint16_t)(m.disk_count + e->disks[i].present);
	outbox_put(&e->outbox, wire_put_hello(outbox_reserve(&e->outbox, WIRE_HEADER_BYTES + WIRE_BODY_MAX), &m));
	for (unsigned int i = 0; i < e->disk_limit; i++)
		if (e->disks[i].present)
			put_disk(e, &e->disks[i]);
}

static struct engine_cut *find_cut(struct engine *e, uint64_t epoch)
{
	struct engine_cut *cut = &e->memory->cuts[epoch % ENGINE_CUTS];

	return epoch && cut->epoch == epoch ? cut : NULL;
}

static uint64_t newest_cut(const struct engine *e)
{
	uint64_t newest = 0;

	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		newest = MAX(newest, e->memory->cuts[i].epoch);
	return newest;
}

/* Generations of epochs that turn out to be durable are done with; what is in
 * the others must be sent again (I6). */
static void resolve_generations(struct engine *e, struct disk_state *d, uint64_t durable)
{
	uint64_t open = MAX(newest_cut(e), e->memory->durable_epoch) + 1, run, count;
	uint64_t oldest = open < GENERATIONS ? 1 : open - GENERATIONS + 1;

	for (uint64_t n = MAX(e->memory->durable_epoch + 1, oldest); n <= MIN(open, durable); n++)
		plane_clear_all(generation(d, n));
	for (uint64_t g = 0; g < GENERATIONS; g++) {
		struct plane *p = generation(d, g);

		for (run = 0; (count = plane_next(p, &run, UINT32_MAX)) > 0; run += count) {
			scanner_mark_pending(e, d->o.disk, run, count);
			e->figures.resent_bytes += count * region_bytes(d);
		}
		plane_clear_all(p);
	}
}

static void rescan_all(struct engine *e)
{
	for (unsigned int i = 0; i < e->disk_limit; i++)
		engine_rescan(e, (uint16_t)i);
}

/* Does the server have what this agent knows to have sent?  Otherwise nothing
 * of what the planes say is worth anything. */
static void compare_histories(struct engine *e, uint64_t durable)
{
	uint64_t known = e->memory->durable_epoch, newest = newest_cut(e);

	if (durable < known) {
		report(e, ENGINE_STORE_LOST, 0, durable, NULL);
	} else if (newest && durable > newest) {
		report(e, ENGINE_STORE_FOREIGN, 0, durable, NULL);
	} else {
		/* After a reboot it may have more than is known here, and all is in doubt
		 * already; or it is another store than the one that was begun with. */
		if (durable > known && !newest)
			rescan_all(e);
		return;
	}
	rescan_all(e);
	memory_forget_cuts(e->memory); /* of another history; after the planes */
	memory_set_point(e->memory, 0, 0);
}

void engine_connected(struct engine *e, const struct wire_welcome *welcome)
{
	uint64_t durable = welcome->durable_epoch;
	const struct engine_cut *cut;

	assert(!e->connected && durable <= ENGINE_EPOCH_MAX);
	e->connected = true;
	compare_histories(e, durable);
	cut = find_cut(e, durable);
	for (unsigned int i = 0; i < e->disk_limit; i++) {
		struct disk_state *d = &e->disks[i];

		if (!d->present)
			continue;
		resolve_generations(e, d, durable);
		if (!durable)
			sync_disk(e, d);
	}
	if (!durable)
		memory_set_point(e->memory, 0, 0);
	/* Go on in the ring after the last durable cut; where that is not known,
	 * what is merged again may be durable already, and is no point. */
	if (cut && cut->position > tracker_consumed(e->tracker))
		tracker_consume(e->tracker, cut->position);
	if (!cut)
		memory_raise_horizon(e->memory, tracker_position(e->tracker));
	e->replay_until = e->memory->merged;
	e->merged = tracker_consumed(e->tracker);
	memory_set_durable(e->memory, durable);
	e->memory->durable_time_us = cut ? cut->time_us : e->memory->durable_time_us;
	e->open_since_us = 0;
	cut_begin_epoch(e, durable + 1);
}

/* A label that is not durable is wanted still, unless it was given up. */
static void want_label_again(struct engine *e, const struct wire_commit *m)
{
	if (m->flags & WIRE_COMMIT_LABELLED && strcmp(m->label, e->label) == 0)
		e->label_wanted = true;
}

void engine_disconnected(struct engine *e)
{
	if (!e->connected)
		return;
	e->connected = false;
	if (e->closed)
		want_label_again(e, &e->closing.commit);
	for (unsigned int i = 0; i < e->flight_count; i++)
		want_label_again(e, &e->flights[i].commit);
	hashes_forget(e);
	sample_forget(e);
	scanner_stale(e);
	epoch_clear(e->epochs[0]);
	epoch_clear(e->epochs[1]);
	e->open = e->epochs[0];
	e->closed = NULL;
	e->flight_count = 0;
	e->aim.set = false;
	e->touched = false;
	encoder_reset(&e->encoder);
	outbox_clear(&e->outbox);
}

int engine_frame(struct engine *e, uint16_t type, const uint8_t *body, uint32_t length)
{
	struct wire_durable durable;
	struct wire_differ differ;
	int r;

	assert(e->connected);
	if (type == WIRE_DURABLE) {
		r = wire_parse_durable(body, length, &durable);
		return r < 0 ? r : cut_durable(e, &durable);
	}
	if (type == WIRE_DIFFER) {
		r = wire_parse_differ(body, length, &differ);
		return r < 0 ? r : hashes_differ(e, &differ);
	}
	return -EPROTO;
}

uint64_t engine_run(struct engine *e)
{
	uint64_t before;

	if (!e->connected)
		return UINT64_MAX;
	do {
		before = e->outbox.total + e->merged + e->open_number;
		cut_send(e);
		merge_run(e);
		overload_run(e);
		cut_run(e);
		while (scanner_emit(e))
			;
		scanner_submit(e);
	} while (e->outbox.total + e->merged + e->open_number != before);
	return MIN(MIN(cut_deadline(e), scanner_deadline(e)), MIN(verify_deadline(e), overload_deadline(e)));
}

bool engine_wants_ring(const struct engine *e)
{
	return e->connected && !e->blocked;
}

bool engine_is_behind(const struct engine *e)
{
	return e->overload.until_us || !cut_nothing_pending(e);
}

/* --- settings and wishes --------------------------------------------------------- */

void engine_set_epoch_us(struct engine *e, uint64_t epoch_us)
{
	e->o.epoch_us = epoch_us;
}

void engine_set_codec(struct engine *e, enum payload_codec codec, int level)
{
	e->encoder.codec = codec;
	e->encoder.level = level;
}

int engine_mark(struct engine *e, const char *label)
{
	size_t length = strlen(label);

	if (!length || length > WIRE_LABEL_MAX || !utf8_is_printable(label, length))
		return -EINVAL;
	if (e->label_wanted)
		return -EBUSY;
	snprintf(e->label, sizeof(e->label), "%s", label);
	e->label_since_us = boot_us(e);
	e->label_wanted = true;
	return 0;
}

void engine_unmark(struct engine *e)
{
	e->label_wanted = false;
	e->label[0] = '\0'; /* nor if it is in flight and gets lost */
}

/* --- figures ---------------------------------------------------------------------- */

static bool point_in_flight(const struct engine *e)
{
	if (e->closed && e->closing.commit.flags & WIRE_COMMIT_POINT)
		return true;
	for (unsigned int i = 0; i < e->flight_count; i++)
		if (e->flights[i].commit.flags & WIRE_COMMIT_POINT)
			return true;
	return false;
}

static uint64_t lag_us(const struct engine *e, uint64_t wall_us)
{
	uint64_t boot = boot_us(e), point = e->memory->point_time_us;

	if (!e->memory->point_epoch)
		return 0;
	if (e->point_us)
		return boot > e->point_us ? boot - e->point_us : 0;
	/* It is older than this engine, whatever the wall clock is now. */
	return MAX(wall_us > point ? wall_us - point : 0, boot - e->begun_us);
}

#define AHEAD_US 2000000u

void engine_figures(struct engine *e, struct engine_figures *ret)
{
	struct engine_figures *f = &e->figures;
	uint64_t wall_us = boot_us(e) + (uint64_t)tracker_clock_offset_us(e->tracker);

	f->connected = e->connected;
	f->clean = cut_nothing_pending(e);
	f->rescanning = false;
	f->synced = true;
	f->unreadable_regions = 0;
	f->scan_in_flight_bytes = 0;
	f->epoch_us = e->o.epoch_us;
	for (unsigned int i = 0; i < e->disk_limit; i++) {
		const struct disk_state *d = &e->disks[i];

		if (!d->present)
			continue;
		f->clean = f->clean && !tracker_live_count(e->tracker, (uint16_t)i);
		f->rescanning = f->rescanning || d->planes[PLANE_HASH].count;
		f->synced = f->synced && e->memory->synced_disks >> i & 1;
		f->unreadable_regions += d->bad_count;
		for (unsigned int g = 0; g < GENERATIONS; g++)
			f->scan_in_flight_bytes += d->planes[PLANE_GENERATION + g].count * region_bytes(d);
	}
	f->point_sent = point_in_flight(e);
	f->durable_epoch = e->memory->durable_epoch;
	f->newest_point_epoch = e->memory->point_epoch;
	f->newest_point_us = e->memory->point_epoch ? e->memory->point_time_us : 0;
	f->newest_durable_us = e->memory->durable_time_us;
	f->lag_us = lag_us(e, wall_us);
	f->ahead_until_us = e->memory->last_time_us > wall_us + AHEAD_US ? e->memory->last_time_us : 0;
	f->open_epoch = e->open_number;
	f->flights = e->flight_count + (e->closed != NULL);
	f->ring_bytes = tracker_ring_bytes(e->tracker);
	f->ring_used_bytes = tracker_position(e->tracker) - tracker_consumed(e->tracker);
	f->sent_bytes = e->outbox.total;
	f->payload_bytes = e->encoder.payload_bytes;
	f->stored_bytes = e->encoder.stored_bytes;
	f->zero_bytes = e->encoder.zero_bytes;
	f->open_bytes = (arena_blocks(e->arena) - arena_free_blocks(e->arena)) * BLOCK_BYTES;
	*ret = *f;
}

int engine_disk_figures(struct engine *e, uint16_t disk, struct engine_disk_figures *ret)
{
	const struct disk_state *d = disk < DISKS_MAX ? &e->disks[disk] : NULL;

	if (!d || !d->present)
		return -ENOENT;
	ret->size_bytes = d->track.size_bytes;
	ret->pending_bytes = MIN(d->planes[PLANE_PENDING].count * region_bytes(d), d->track.size_bytes);
	ret->hash_bytes = MIN(d->planes[PLANE_HASH].count * region_bytes(d), d->track.size_bytes);
	ret->leisure_bytes = MIN(d->planes[PLANE_LEISURE].count * region_bytes(d), d->track.size_bytes);
	ret->live_bytes = MIN(tracker_live_count(e->tracker, disk) * region_bytes(d), d->track.size_bytes);
	ret->synced = e->memory->synced_disks >> disk & 1;
	ret->missing = d->missing;
	return 0;
}
