/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plane - a large bitmap that is mostly empty: one bit for each region of a disk.
 *
 * The words lie in memory that survives the agent (tracker_plane()); the
 * summary, one bit for each 64 words, and the count are the process's own and
 * made when the plane is taken over.  Looking for the next set bit and clearing
 * everything cost what is set, not what there is.
 */
#ifndef GODWIT_PLANE_H
#define GODWIT_PLANE_H

#include "base.h"

struct plane {
	uint64_t *words;   /* not owned */
	uint64_t bits;
	uint64_t count;	   /* bits set */
	uint64_t *summary; /* a set bit: its 64 words may have bits set; a clear one: they have none */
};

/* Take over @words, which has room for @bits, as they are.  -ENOMEM. */
_must_check_ int plane_init(struct plane *p, uint64_t *words, uint64_t bits);
void plane_done(struct plane *p);

void plane_set(struct plane *p, uint64_t first, uint64_t count);
void plane_clear(struct plane *p, uint64_t first, uint64_t count);
void plane_clear_all(struct plane *p);
bool plane_test(const struct plane *p, uint64_t bit);
bool plane_any(const struct plane *p, uint64_t first, uint64_t count);

/* The first run of set bits at or after *@bit: returns its length, at most
 * @max, and moves *@bit to its start; 0: none. */
uint64_t plane_next(const struct plane *p, uint64_t *bit, uint64_t max);

#endif
