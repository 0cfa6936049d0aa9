/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overload - a source that writes faster than can be sent: when to stop carrying and
 * when to carry again (T7), and how much to read meanwhile.
 *
 * A source that writes faster than can be sent fills the ring whenever there is
 * room, and each of its writes pays for a copy that helps nobody: no point can
 * be called while marks are outstanding, and what was carried is mostly read
 * again with them.  So the ring is opened for one part in CARRY_SHARE of the
 * time: as long as it took to fill, times that, it stays closed, and marks are
 * all that a write costs.  A ring that had held for CALM_US was filled by a
 * burst, and is opened again at once.
 *
 * The ring stays empty as well when most of its records are skipped (merge.c), which
 * an agent with a processor to itself does faster than any source writes.  So what
 * is skipped counts as if it stayed in the ring, and READS_COVER times what is read as
 * if it made room: a load that a scan catches up with little by little is worth
 * carrying.  So is one that would take CALM_US to fill half a ring: it costs too
 * little to matter.
 *
 * While it is closed, reads of the disk are one at a time, with a pause of READ_YIELD
 * times as long as each took: the disk is the source's first, and what is read now
 * is mostly written again before a point can be called.
 *
 * Nothing depends on it but speed: marking is always allowed (T2).
 */
#include "engine-private.h"

#define CALM_US	       1000000u
#define CARRY_SHARE    32u
#define PAUSE_LEAST_US 20000u
#define PAUSE_MOST_US  2000000u
#define READ_YIELD     3u
#define READS_COVER    2u

static uint64_t pause_after(uint64_t carried_us)
{
	if (carried_us >= CALM_US)
		return PAUSE_LEAST_US;
	return MAX(PAUSE_LEAST_US, MIN(CARRY_SHARE * carried_us, PAUSE_MOST_US));
}

/* Would the ring be full, had what was skipped stayed in it? */
static bool carries_in_vain(struct engine *e)
{
	struct overload *o = &e->overload;
	uint64_t half = tracker_ring_bytes(e->tracker) / 2, now = now_us(e);
	uint64_t skipped = e->figures.skipped_bytes - o->skipped_bytes;
	uint64_t made_up = READS_COVER * (e->figures.scanned_bytes - o->scanned_bytes) +
			   half * MIN(now - o->looked_us, CALM_US) / CALM_US;

	o->skipped_bytes = e->figures.skipped_bytes;
	o->scanned_bytes = e->figures.scanned_bytes;
	o->looked_us = now;
	o->vain_bytes = MAX(o->vain_bytes + skipped, made_up) - made_up;
	return o->vain_bytes > half;
}

void overload_run(struct engine *e)
{
	struct overload *o = &e->overload;
	uint64_t now;

	if (carries_in_vain(e))
		tracker_hold(e->tracker);
	if (!tracker_is_full(e->tracker))
		return;
	now = now_us(e);
	if (!o->until_us)
		o->until_us = now + pause_after(now - o->carried_us);
	if (now < o->until_us || tracker_position(e->tracker) - tracker_consumed(e->tracker) > tracker_ring_bytes(e->tracker) / 2)
		return;
	o->until_us = 0;
	o->vain_bytes = 0;
	o->carried_us = now;
	tracker_carry(e->tracker);
}

void overload_read_ended(struct engine *e, uint64_t submitted_us)
{
	uint64_t now = now_us(e);

	e->overload.read_after_us = now + READ_YIELD * (now - submitted_us);
}

bool overload_may_read(const struct engine *e)
{
	if (!e->overload.until_us)
		return true;
	for (unsigned int i = 0; i < e->read_count; i++)
		if (e->reads[i].state != READ_FREE)
			return false;
	return now_us(e) >= e->overload.read_after_us;
}

/* now_us; UINT64_MAX: nothing to wait for but room in the ring, which whoever makes it sees. */
uint64_t overload_deadline(const struct engine *e)
{
	const struct overload *o = &e->overload;
	uint64_t now = now_us(e), open = o->until_us > now ? o->until_us : UINT64_MAX;

	return o->until_us && o->read_after_us > now ? MIN(open, o->read_after_us) : open;
}
