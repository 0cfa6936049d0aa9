/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staging - how much room the staging area has, and how much of it the store
 * keeps back (store_limits).
 *
 *	0 ....... reserve ....... resume ............................ total
 *	  refuse            go on where one is, let nobody in
 *
 * Collecting space takes some space first, so data stops at the reserve and
 * not at nothing; a session is let in again only some way above it, so that
 * the two do not alternate.
 */
#ifndef GODWIT_STAGING_H
#define GODWIT_STAGING_H

#include "base.h"

struct staging_room {
	uint64_t free_bytes, total_bytes, reserve_bytes;
};

_must_check_ int staging_room(int dir_fd, struct staging_room *ret);

/* "the staging disk is full ...", with its figures, for the agent. */
#define STAGING_TEXT_MAX 160
char *staging_full_text(int dir_fd, char ret_text[STAGING_TEXT_MAX]);

static inline bool staging_is_full(const struct staging_room *r)
{
	return r->free_bytes < r->reserve_bytes;
}

static inline bool staging_may_resume(const struct staging_room *r)
{
	return r->free_bytes >= r->reserve_bytes + r->reserve_bytes / 4;
}

#endif
