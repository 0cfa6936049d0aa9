/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep - the disks of a running machine become its own: what the point has of them is
 * copied into their files, and flushed.
 *
 *	keep_begin() -> streaming (each disk) -> flushing (each disk) -> done(NULL)
 *			    '---------------------------'-- failed --> done(why)
 *
 * K1	done(NULL) is said when each disk was streamed in this attempt and flushed after
 *	that: only then may the store be let go of.
 * K2	What is under way of an attempt that has failed runs on.  The next one begins when
 *	it has ended, so that none of its ends is taken for one of the next.
 *
 * Flushing is `blockdev-reopen` of the disk as it is, which flushes it first: of qemu's
 * commands the one that says so when that fails (what `qemu-io disk0 flush` would say goes
 * to qemu's standard error).
 */
#ifndef GODWIT_KEEP_H
#define GODWIT_KEEP_H

#include "qmp.h"

struct keep {
	void (*done)(void *context, const char *error); /* once for each keep_begin() */
	void *context;
	struct qmp *qmp;
	unsigned int disks;
	bool wanted;		/* done() is owed */
	bool again;		/* K2 */
	unsigned int streaming; /* disks of which the end is awaited ... */
	unsigned int flushing;	/* ... likewise */
};

/* Of disk0 ... that many.  Nothing while one is wanted already. */
void keep_begin(struct keep *k, struct qmp *qmp, unsigned int disks);
void keep_event(struct keep *k, const char *name, const json_t *data); /* qemu's, whatever they are */
void keep_end(struct keep *k, const char *why); /* the machine is gone */
void keep_cancel(struct keep *k, const char *why); /* the machine runs on; nothing unless disks are being streamed */

#endif
