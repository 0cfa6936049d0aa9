/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room - is there room for a machine's disks to become its own (keep.h)?
 *
 * Known before it begins: of each disk `qemu-img measure` says what all that it has would take
 * in a file, and what its file has already counts against that.  Looked at while it goes on:
 * others take room, too.  Where the launches' file system is the store's, what the store keeps
 * back (sys.h, store_limits) is not room: without it replication stops, of all machines.
 */
#ifndef GODWIT_ROOM_H
#define GODWIT_ROOM_H

#include "base.h"
#include "loop.h"

struct room_needs;

/* Measure disk0.qcow2 ... in @folder, which is this process's working folder; then done(), once, not from inside.
 * -EIO and the like: it is not known. */
_must_check_ int room_measure(struct loop *loop, const char *folder, unsigned int disks,
			      void (*done)(void *context, int err, uint64_t needed_bytes), void *context,
			      struct room_needs **ret);
void room_measure_free(struct room_needs *n); /* also before done(), which is not called then */

/* 0, or -ENOSPC with the figures in @why: are @needed_bytes there, or, of 0, is what is kept back left alone?
 * @has_reserve: the store is on the same file system. */
_must_check_ int room_check(const char *folder, bool has_reserve, uint64_t needed_bytes, char *why, size_t size);

#endif
