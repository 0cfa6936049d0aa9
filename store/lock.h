/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock - who may do what in a store's folder, as locks on bytes of the file
 * "lock".  They go away with the process that held them.
 *
 *	gate	 shared: listing the folder and opening what it names;
 *		 exclusive: replacing and deleting runs, changing pins
 *	writer	 exclusive: the one writer
 *	upkeep	 exclusive: the one upkeep
 *	epoch E	 shared: a reader shows point E, which upkeep must keep
 */
#ifndef GODWIT_STORE_LOCK_H
#define GODWIT_STORE_LOCK_H

#include "sys.h"

enum lock_byte { LOCK_GATE = 0, LOCK_WRITER = 1, LOCK_UPKEEP = 2 };

struct lock {
	const struct store_sys *sys;
	int fd; /* -1: the folder has no lock file, or it cannot be opened: nothing is locked */
};

#define LOCK_NONE ((struct lock){ NULL, -1 })

/* For locks that only share. */
void lock_open_shared(const struct store_sys *sys, const char *dir, struct lock *ret);
/* For any lock.  -errno. */
_must_check_ int lock_open(const struct store_sys *sys, const char *dir, struct lock *ret);
void lock_close(struct lock *l); /* gives up everything held */

/* -EBUSY: held by another. */
_must_check_ int lock_take(struct lock *l, enum lock_byte what);

/* The gate.  To enter shared does not fail: after two seconds of waiting it
 * goes on without, which costs a look at the folder that is tried again. */
void lock_enter(struct lock *l);
_must_check_ int lock_shut(struct lock *l); /* exclusive; -EBUSY after ten seconds */
void lock_leave(struct lock *l);

void lock_hold_point(struct lock *l, uint64_t epoch);

/* Is the point in use by an open reader? */
bool lock_point_held(struct lock *l, uint64_t epoch);
/* Is any point? */
bool lock_any_point_held(struct lock *l);

#endif
