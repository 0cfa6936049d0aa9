/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder - what the files in a store's folder mean together.
 *
 * There is no list of valid files: the names are the truth, by these rules.
 *
 * F1	Runs tile the epochs: the first begins at 1, each next one where the
 *	one before ended.  Of several that begin at the same epoch the one that
 *	goes furthest counts, then the one with the highest generation; those
 *	within it are superseded.
 * F2	A journal that no run names holds epochs after all runs (the tail), if
 *	its first epoch is after them; otherwise it is dead.
 * F3	A collected data file that no run names is dead.
 * F4	A journal without a valid header never held a commit.
 *
 * A listing is not atomic: a hole, or a named file that is gone, means that
 * something was replaced meanwhile, and it is tried again.
 *
 * One run that cannot be read makes all that follows it unreadable, but nothing
 * before it.  Who only reads may look at what is left: the runs before it, and
 * the journals that follow these, be they named by the lost run or not, for
 * they have all of their epochs (S2).  Nothing may be written or deleted by
 * such a look.
 */
#ifndef GODWIT_STORE_FOLDER_H
#define GODWIT_STORE_FOLDER_H

#include "bytes.h"
#include "run.h"

struct folder {
	const struct store_sys *sys;
	char *dir;
	struct uuid machine;

	struct run **runs; /* live, oldest first */
	size_t run_count;
	uint64_t last_epoch, last_time_us; /* of the runs; 0: none */

	uint32_t *tail; /* journals after the runs, in order of number */
	size_t tail_count;
	uint32_t *broken; /* F4 */
	size_t broken_count;
	uint32_t *dead; /* F2, F3 */
	size_t dead_count;
	char (*superseded)[RUN_NAME_BYTES];
	size_t superseded_count;

	char damaged[RUN_NAME_BYTES]; /* the look ends before this run; "": it is whole */
	uint64_t damaged_to;	      /* the last epoch of it and of all that follow */
	uint64_t listing_sum; /* of all names that were listed */
	int tail_error; /* of a journal whose header the disk cannot read back, which is among the broken ones */

	uint32_t next_journal, next_collected; /* numbers not in use */
};

/* -ENOENT: no store there.  -EBADMSG: damaged; -EIO: a run cannot be read back. */
_must_check_ int folder_open(const struct store_sys *sys, const char *dir, struct folder **ret);
/* For reading only: what can be read although a run is damaged; @damaged then names it. */
_must_check_ int folder_open_readable(const struct store_sys *sys, const char *dir, struct folder **ret);
void folder_close(struct folder *f); /* NULL is allowed */

/* Does the folder list other files than when @f was opened? */
_must_check_ int folder_has_changed(const struct folder *f, bool *ret);

/* The identity file. */
_must_check_ int folder_identity(const struct store_sys *sys, const char *dir, struct uuid *ret_machine);
_must_check_ int folder_create(const struct store_sys *sys, const char *dir, const struct uuid *machine);

int folder_remove(const struct folder *f, const char *name);

#endif
