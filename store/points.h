/* SPDX-License-Identifier: Apache-2.0 */
/* points - every kept point of a folder, oldest first, with the names it has now. */
#ifndef GODWIT_STORE_POINTS_H
#define GODWIT_STORE_POINTS_H

#include "folder.h"
#include "journal.h"
#include "pins.h"

/* Of runs, then of the tail's journals (may be NULL).  @each returns non-zero to stop. */
int points_each(const struct folder *f, const struct tail_journals *tail, const struct pins *pins,
		int (*each)(void *context, const struct run_point *p), void *context);

/* The newest point, or the one that is @epoch.  -ENOENT. */
_must_check_ int points_lookup(const struct folder *f, const struct tail_journals *tail, const struct pins *pins,
			       uint64_t epoch, struct store_epoch *ret);

#endif
