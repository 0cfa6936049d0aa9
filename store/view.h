/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view - the versions of chunks, newest first, from every table that has some.
 *
 *	newest		tables, disjoint in epochs		oldest
 *	[ tail in memory ] [ run ] [ run ] [      run      ] [ base run ]
 *
 * Reading takes from each version the sectors that no newer one had, until
 * none is wanted any more; what no version has reads as zeroes.
 *
 * When a data file is gone, or another has its number, collection has put its
 * records elsewhere: the folder is looked at again and the read tried again.
 * May be used by several threads.
 */
#ifndef GODWIT_STORE_VIEW_H
#define GODWIT_STORE_VIEW_H

#include "files.h"
#include "folder.h"
#include "journal.h"

struct view;

/* What the runs say, to the last epoch. */
_must_check_ int view_open(const struct store_sys *sys, const char *dir, struct view **ret);
/* What runs and journals say, to the last epoch. */
_must_check_ int view_open_all(const struct store_sys *sys, const char *dir, struct view **ret);
/* Runs and journals up to epoch @upto.  Takes @f over when it succeeds. */
/* @upto is a point; -ESTALE of what follows: it has gone meanwhile, and a file with it. */
_must_check_ int view_open_at(struct folder *f, const struct tail_journals *tail, uint64_t upto, struct view **ret);
void view_close(struct view *v); /* NULL is allowed */

/*
 * Fill the sectors @want of chunk @chunk with their versions at or before
 * epoch @upto; @buf is where the chunk's first sector would be, and only the
 * wanted ones are touched.  What nobody has is left alone: *@ret_unfilled.
 */
_must_check_ int view_fill(struct view *v, uint16_t disk, uint64_t chunk, sector_mask want, uint8_t *buf,
			   sector_mask *ret_unfilled);

/* Which sectors of @want hold data, not zeroes. */
_must_check_ int view_data_mask(struct view *v, uint16_t disk, uint64_t chunk, sector_mask want,
				sector_mask *ret_data);

/* The first chunk at or after @chunk that may hold data; UINT64_MAX: none. */
_must_check_ int view_next_chunk(struct view *v, uint16_t disk, uint64_t chunk, uint64_t *ret_chunk);

/* Put the sectors @new of record payload @payload, which begins at sector
 * @first of the chunk, into @buf. */
void sectors_copy(uint8_t *buf, sector_mask new, const uint8_t *payload, unsigned int first);
void sectors_zero(uint8_t *buf, sector_mask mask);

/* --- for whoever needs every version: scrub ------------------------------------ */

/* Call @each with every version of chunk @chunk at or before @upto, newest
 * first, those of the levels above included, until it returns non-zero. */
_must_check_ int view_versions(struct view *v, uint16_t disk, uint64_t chunk,
			       int (*each)(void *context, const struct entry *e), void *context);

#endif
