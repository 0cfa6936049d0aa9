/* SPDX-License-Identifier: Apache-2.0 */
/* ranges - a set of byte ranges of several disks, sorted, disjoint, joined where they touch. */
#ifndef GODWIT_RANGES_H
#define GODWIT_RANGES_H

#include "base.h"

struct range {
	uint16_t disk;
	uint64_t start, end; /* bytes; end exclusive */
};

struct ranges {
	struct range *list;
	size_t count, max;
};

_must_check_ int ranges_init(struct ranges *r, size_t max);
void ranges_done(struct ranges *r);

/* -ENOBUFS: no room, nothing was changed. */
_must_check_ int ranges_add(struct ranges *r, uint16_t disk, uint64_t start, uint64_t end);
_must_check_ int ranges_remove(struct ranges *r, uint16_t disk, uint64_t start, uint64_t end);
bool ranges_overlap(const struct ranges *r, uint16_t disk, uint64_t start, uint64_t end);

#endif
