/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewrite - runs that follow each other into one run: merging, thinning and
 * collecting are all this.
 *
 * Kept points divide the epochs into groups, each from behind one kept point
 * up to and with the next one.  Only the newest version of a sector in its
 * group is seen at any kept point (S3), so for each block, going from its
 * newest version to its oldest:
 *
 * W1	an entry is dropped if newer ones of its own group cover all of it;
 * W2	a zero block counts as a cover for everything below it;
 * W3	in the run that begins at epoch 1, a zero under which nothing older is
 *	left is dropped, because what nobody has written reads as zeroes.
 *
 * An entry stands for its whole record even if some of its sectors are dead;
 * the newer entries that cover these stay, so they are never seen.
 *
 * What follows the last kept point of the run forms a group of its own, whose
 * newest version the points of later runs need.  So a run is thinned by its
 * own points alone, and the order in which runs are merged does not matter.
 *
 * Memory: tables of the points and files; entries stream.
 */
#ifndef GODWIT_STORE_REWRITE_H
#define GODWIT_STORE_REWRITE_H

#include "collect.h"
#include "pace.h"
#include "retain.h"
#include "runout.h"

struct rewrite_job {
	const struct store_sys *sys;
	const char *dir;
	const struct uuid *machine;
	struct run *const *runs; /* oldest first, following each other */
	size_t run_count;
	const struct retain *retain;
	const uint32_t *collect; /* data files whose records are to be moved, ascending */
	size_t collect_count;
	uint32_t next_collected;
	struct pace *pace;
	const char *tmp;
};

struct rewrite {
	struct runout *out;	  /* finished, not published */
	struct collector collector;
	struct bytes files; /* struct run_file: what the new run names */
};

/* Make the new run under its temporary name.  Nothing that was there is changed. */
_must_check_ int rewrite_runs(const struct rewrite_job *job, struct rewrite *ret);
/* @published: keep what was made, otherwise delete it. */
void rewrite_done(struct rewrite *r, bool published);

#endif
