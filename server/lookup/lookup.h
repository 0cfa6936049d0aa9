/* SPDX-License-Identifier: Apache-2.0 */
/* lookup - which recovery point somebody means. */
#ifndef GODWIT_LOOKUP_H
#define GODWIT_LOOKUP_H

#include "base.h"
#include "store.h"
#include "uuid.h"

/*
 * "latest", a point's id, a label, or a time in any form of
 * wallclock_parse(): then the newest point at or before it, and neither before
 * the first nor after the last.  -ENODATA: there are no points; -ENOENT: no
 * such id or label, and not a time; -ERANGE: a time outside of what is kept;
 * -ETIME: a time after which there are only points whose times have not come yet;
 * -EBADMSG: it may be one that store_points_damaged() hides.
 */
_must_check_ int lookup_point(const struct store_points *points, const struct uuid *machine, const char *at,
			      size_t *ret_index);

#endif
