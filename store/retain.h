/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retain - which points are kept.
 *
 * R1	The newest point, and every point that somebody named, for ever.
 * R2	Every point younger than every_s; the last point of each hour (UTC)
 *	younger than hourly_s; the last of each day younger than daily_s.
 * R3	Age is counted from the newest point, or from now if that is earlier.
 *	So a machine that is gone keeps its last day second by second until
 *	somebody lets go of it, and a clock that jumps ahead deletes nothing.
 *
 * What a point is kept for does not depend on which other points are still
 * there: the last of an hour stays the last when others go.  So thinning now,
 * later, or in several steps gives the same.
 */
#ifndef GODWIT_STORE_RETAIN_H
#define GODWIT_STORE_RETAIN_H

#include "points.h"

struct retain_point {
	uint64_t epoch, time_us;
	bool named, kept;
};

struct retain {
	struct retain_point *list; /* all points, oldest first */
	size_t count, kept_count;
	uint64_t window_epoch; /* from this point on, every one is kept */
};

_must_check_ int retain_load(const struct folder *f, const struct tail_journals *tail, const struct pins *pins,
			     struct retain *ret);
void retain_done(struct retain *r);

/* Sets kept for each. */
void retain_apply(struct retain *r, const struct store_policy *policy, uint64_t now_us);
/* Keep point number @index, too. */
void retain_keep(struct retain *r, size_t index);

bool retain_keeps(const struct retain *r, uint64_t epoch);
/* The number of points below @epoch: where its group begins. */
size_t retain_place(const struct retain *r, uint64_t epoch);

#endif
