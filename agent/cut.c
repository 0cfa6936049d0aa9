/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut - where epochs end, and which of them are recovery points.
 *
 *	open --cut_close()--> closed --cut_send()--> in flight --cut_durable()--> gone
 *
 * A cut is a position in the ring and a time such that every write
 * acknowledged before the time lies before the position.  Until it is closed the
 * time is one of CLOCK_BOOTTIME, as records have it; timeline.c makes it one of day:
 *
 *	live cut	the time is taken, then at once the position of "now", so that
 *			little is in it that was written after its time; the epoch
 *			closes when the records before it are merged
 *	late cut	between two records that are merged long after they were written:
 *			the time is that of the first one left out.  It was taken before
 *			the record's place in the ring, so that whatever comes later in the
 *			ring was acknowledged after it, too
 *
 * It is a point (I4) only if after that position was taken no region was live,
 * no disk had outgrown what is known of it, nothing is pending, hash-pending or
 * asked, and no read that is part of the replica ended after the position: it
 * might hold writes from beyond it.  Writes that were still in flight at the
 * position may be in such a read or not; a power cut at that moment would have
 * left the same choice.
 *
 * Of a disk that is missing the replica is what the disk was, if nothing of it is live,
 * pending or in doubt; it must be looked after the position, too, that it is still away.
 */
#include "engine-private.h"
#include <errno.h>

/* Two records may be written by two processors in the order opposite to that
 * of their times, by so much at most; beyond it the clock was set back. */
#define TIME_SKEW_US 1000000u

bool cut_can_close(const struct engine *e)
{
	return e->connected && !e->closed && e->flight_count < ENGINE_FLIGHTS_MAX;
}

bool cut_nothing_pending(const struct engine *e)
{
	for (unsigned int i = 0; i < e->disk_limit; i++) {
		const struct disk_state *d = &e->disks[i];

		if (d->present && (d->planes[PLANE_PENDING].count || d->planes[PLANE_HASH].count))
			return false;
	}
	return true;
}

/* A disk of which something may have escaped ring and live map is compared.
 * Returns whether it can be said that nothing has. */
static bool look_suspect(struct engine *e, struct disk_state *d)
{
	const char *why = NULL;
	int suspect = tracker_suspect(e->tracker, d->track.disk, &why);

	if (suspect != 1)
		return suspect == 0;
	report(e, ENGINE_SUSPECT, d->track.disk, 0, why);
	engine_rescan(e, d->track.disk);
	tracker_suspect_clear(e->tracker, d->track.disk); /* it is noted in a pinned plane */
	return false;
}

/* A disk that is larger than it is known to be may have been written to where nothing is captured
 * yet; what was written before the cut's position was written to a disk that had grown by then. */
static bool has_outgrown(const struct engine *e)
{
	for (unsigned int i = 0; i < e->disk_limit; i++) {
		const struct disk_state *d = &e->disks[i];

		if (d->present && e->o.ops->size(e->o.context, (uint16_t)i) > d->track.size_bytes)
			return true;
	}
	return false;
}

/* Is every disk either followed or certainly away, so that nothing of it goes unseen? */
static bool no_disk_unseen(const struct engine *e)
{
	bool missing = false;

	for (unsigned int i = 0; i < e->disk_limit; i++)
		missing = missing || (e->disks[i].present && e->disks[i].missing);
	return !missing || (e->o.ops->still_gone && e->o.ops->still_gone(e->o.context));
}

bool cut_look_clean(struct engine *e)
{
	bool live = false, sure = timeline_is_sure(e);

	for (unsigned int i = 0; i < e->disk_limit; i++) {
		struct disk_state *d = &e->disks[i];

		if (d->present && !look_suspect(e, d))
			sure = false;
	}
	e->live_seen = e->live_seen || !sure;
	if (!sure || !cut_nothing_pending(e) || !no_disk_unseen(e))
		return false; /* counting what is live as well would be for nothing */
	for (unsigned int i = 0; i < e->disk_limit; i++)
		live = live || (e->disks[i].present && tracker_live_count(e->tracker, (uint16_t)i) > 0);
	live = live || has_outgrown(e);
	e->live_seen = live;
	return !live;
}

void cut_begin_epoch(struct engine *e, uint64_t number)
{
	e->open_number = number;
	e->touched = false;
	e->cut_at_us = now_us(e);
	e->aim.set = false;
	for (unsigned int i = 0; i < e->disk_limit; i++)
		assert(!e->disks[i].present || generation(&e->disks[i], number)->count == 0);
}

static void remember(struct engine *e, const struct flight *f)
{
	memory_set_cut(e->memory, f->commit.epoch, f->position, f->commit.time_us);
}

static void take_label(struct engine *e, struct wire_commit *m, uint64_t cut_us)
{
	if (!e->label_wanted || !(m->flags & WIRE_COMMIT_POINT) || cut_us < e->label_since_us)
		return;
	m->flags |= WIRE_COMMIT_LABELLED;
	memcpy(m->label, e->label, sizeof(m->label));
	e->label_wanted = false;
}

void cut_close(struct engine *e, uint64_t position, uint64_t cut_us, bool clean)
{
	uint64_t last = e->memory->last_time_us, time_us = cut_us + (uint64_t)timeline_offset_us(e);
	struct flight f = { .position = position, .boot_us = cut_us, .commit = { .epoch = e->open_number } };

	assert(cut_can_close(e) && position >= e->merged);
	clean = clean && cut_nothing_pending(e) && position >= e->memory->horizon;
	if (time_us <= last) {
		if (last - time_us < TIME_SKEW_US)
			clean = false;
		time_us = last + 1;
	}
	f.commit.time_us = time_us;
	f.commit.flags = clean ? WIRE_COMMIT_POINT : 0;
	take_label(e, &f.commit, cut_us);
	e->closing = f;
	e->closed = e->open;
	e->open = e->open == e->epochs[0] ? e->epochs[1] : e->epochs[0];
	e->open_since_us = cut_us;
	remember(e, &f);
	e->figures.epochs++;
	e->figures.points += clean;
	cut_begin_epoch(e, f.commit.epoch + 1);
	cut_send(e);
}

/* Send what is left of the closed epoch.  true: something moved. */
bool cut_send(struct engine *e)
{
	struct epoch_piece piece;
	bool moved = false;

	while (e->closed && encoder_ready(&e->encoder)) {
		moved = true;
		if (epoch_next(e->closed, &piece, e->chunk)) {
			if (piece.zero)
				encoder_zero(&e->encoder, piece.disk, piece.offset, piece.length);
			else
				encoder_data(&e->encoder, piece.disk, piece.offset, (uint32_t)piece.length, e->chunk);
			continue;
		}
		encoder_commit(&e->encoder, &e->closing.commit);
		e->closing.ends_at = e->outbox.total;
		assert(e->flight_count < ENGINE_FLIGHTS_MAX);
		e->flights[e->flight_count++] = e->closing;
		epoch_clear(e->closed);
		e->closed = NULL;
	}
	return moved;
}

/* How long the open epoch stays open at least. */
static uint64_t interval_us(const struct engine *e)
{
	return e->touched ? e->o.epoch_us : MAX(e->o.idle_us, e->o.epoch_us);
}

/* While something is dirty at a cut that is due. */
#define LOOK_AGAIN_US	   5000u
#define LOOK_AGAIN_IDLE_US 50000u

uint64_t cut_deadline(const struct engine *e)
{
	uint64_t due = e->cut_at_us + interval_us(e), now = now_us(e);

	if (!cut_can_close(e))
		return UINT64_MAX;
	if (e->label_wanted && cut_nothing_pending(e))
		return now + LOOK_AGAIN_US;
	return due > now ? due : now + (e->touched ? LOOK_AGAIN_US : LOOK_AGAIN_IDLE_US);
}

/* The first point need not wait for the end of an epoch. */
void cut_soon(struct engine *e)
{
	uint64_t now = now_us(e);

	e->cut_at_us = now - MIN(now, interval_us(e));
	e->look_again_us = 0;
}

/* A process may be held up between any two instructions. */
#define AIM_STALL_US 10000u
#define AIM_TRIES    8u

/* First the time, then the position, and at once: what is written in between is in the point. */
static void take_aim(struct engine *e, uint64_t *ret_cut_us, uint64_t *ret_position)
{
	for (unsigned int i = 0; i < AIM_TRIES; i++) {
		uint64_t begun = now_us(e);

		*ret_cut_us = boot_us(e);
		*ret_position = tracker_position(e->tracker);
		if (now_us(e) - begun <= AIM_STALL_US)
			break;
	}
}

/* A live cut, if it is time for one. */
void cut_run(struct engine *e)
{
	uint64_t now = now_us(e), elapsed = now - e->cut_at_us, position, cut_us;
	bool wanted = e->label_wanted, clean;

	if (!cut_can_close(e))
		return;
	if (!e->aim.set) {
		bool overdue = elapsed >= 2 * e->o.epoch_us;

		if (!e->caught_up || (elapsed < interval_us(e) && !wanted))
			return;
		/* To look goes through all that is in flight: not while it is known to be for nothing,
		 * nor as often as there is something to do. */
		if ((!overdue && !cut_nothing_pending(e)) || now < e->look_again_us)
			return;
		take_aim(e, &cut_us, &position);
		clean = cut_look_clean(e); /* after the position: I4 */
		if (!clean)
			e->look_again_us = now + LOOK_AGAIN_US;
		if (!clean && !(overdue && e->touched))
			return;
		e->aim.set = true;
		e->aim.clean = clean;
		e->aim.boot_us = cut_us;
		e->aim.position = position;
	}
	if (e->merged >= e->aim.position)
		cut_close(e, MAX(e->aim.position, e->merged), e->aim.boot_us, e->aim.clean);
}

/* Has the server been sent all of it?  What is not sent cannot be durable (I6). */
static bool is_sent(const struct engine *e, uint64_t epoch)
{
	for (unsigned int i = 0; i < e->flight_count; i++)
		if (e->flights[i].commit.epoch == epoch)
			return e->flights[i].ends_at <= e->outbox.total - outbox_waiting(&e->outbox);
	return false;
}

int cut_durable(struct engine *e, const struct wire_durable *m)
{
	unsigned int n = 0;

	if (!is_sent(e, m->epoch))
		return -EPROTO;
	while (n < e->flight_count && e->flights[n].commit.epoch <= m->epoch) {
		struct flight *f = &e->flights[n++];

		for (unsigned int i = 0; i < e->disk_limit; i++)
			if (e->disks[i].present)
				plane_clear_all(generation(&e->disks[i], f->commit.epoch));
		memory_set_durable(e->memory, f->commit.epoch);
		e->memory->durable_time_us = f->commit.time_us;
		if (f->position > tracker_consumed(e->tracker))
			tracker_consume(e->tracker, f->position);
		if (f->commit.flags & WIRE_COMMIT_POINT) {
			memory_set_point(e->memory, f->commit.epoch, f->commit.time_us);
			e->point_us = f->boot_us;
		}
		e->o.ops->durable(e->o.context, &f->commit, m);
	}
	memmove(e->flights, e->flights + n, (e->flight_count - n) * sizeof(*e->flights));
	e->flight_count -= n;
	e->figures.staging_us += m->staging_us;
	e->figures.receive_us += m->receive_us;
	return 0;
}
