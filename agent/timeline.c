/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeline - which wall clock the times of points follow (decisions/clock).
 *
 * A point's time is CLOCK_BOOTTIME, which nobody sets, plus an offset: that of
 * the wall clock, unless the wall clock is more than STEP_US ahead of where the
 * times so far lead.  Times never go backwards (protocol 4.9), so one that
 * was taken from a clock that is ahead for a moment would have to be waited for
 * afterwards, for as long as the clock was ahead.
 *
 *	believed --clock more than a minute ahead--> waiting --lasted a minute--> believed
 *	    ^                                           |
 *	    '------------ went back --------------------'
 *
 * While it waits, times go on from those before, as if nothing had been set.
 * After a boot they cannot: how long the machine was off only the wall clock
 * says, and a point with too early a time would hold what was written after it.
 * So there no epoch is a point until the clock is believed (`unsure').
 */
#include "engine-private.h"

#define STEP_US	 60000000 /* further ahead is not believed at once */
#define LASTS_US 60000000u
#define SAME_US	 1000000  /* the clock is steered, and read a little late */

static int64_t believe(struct timeline *t, int64_t offset_us)
{
	t->offset_us = offset_us;
	t->waiting = t->unsure = false;
	return offset_us;
}

static bool knows_a_cut(const struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		if (e->memory->cuts[i].epoch)
			return true;
	return false;
}

/* Of this boot there is a cut, or there has never been any: believe the clock.  Else go
 * on from the last time of the boot before. */
static void begin(struct engine *e, int64_t clock_us)
{
	struct timeline *t = &e->timeline;
	uint64_t last = e->memory->last_time_us;

	t->begun = true;
	t->offset_us = clock_us;
	if (!last || knows_a_cut(e))
		return;
	t->offset_us = (int64_t)(last - boot_us(e));
	t->unsure = true;
}

/* Add to CLOCK_BOOTTIME to get a point's time. */
int64_t timeline_offset_us(struct engine *e)
{
	struct timeline *t = &e->timeline;
	int64_t clock_us = tracker_clock_offset_us(e->tracker);

	if (!t->begun)
		begin(e, clock_us);
	if (clock_us <= t->offset_us + STEP_US)
		return believe(t, clock_us);
	/* A clock that was set back, and forward again to where it was. */
	if ((int64_t)boot_us(e) + clock_us <= (int64_t)e->memory->last_time_us + STEP_US)
		return believe(t, clock_us);
	if (!t->waiting || llabs(clock_us - t->waiting_us) > SAME_US) {
		t->waiting = true;
		t->waiting_us = clock_us;
		t->waiting_since_us = now_us(e);
	}
	return now_us(e) - t->waiting_since_us < LASTS_US ? t->offset_us : believe(t, clock_us);
}

/* false: no time can be given that is right, and no point be made. */
bool timeline_is_sure(struct engine *e)
{
	timeline_offset_us(e);
	return !e->timeline.unsure;
}
