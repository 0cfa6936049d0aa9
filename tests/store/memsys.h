/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memsys - the store's system calls on a folder in memory: a disk whose calls
 * fail and whose power is cut, the same every time for the same seed.
 *
 * Each file has what the kernel has of it and what the disk has of it.  A sync
 * makes them equal; a failed sync leaves the disk as it was and forgets that
 * there was a difference, as Linux does.  A power cut leaves of each page that
 * was not synced the new, the old or a mixture of both, sector by sector, and
 * of each name that was not synced the new or the old.
 *
 * One folder; names have no further folders in them.
 */
#ifndef GODWIT_TEST_MEMSYS_H
#define GODWIT_TEST_MEMSYS_H

#include "sys.h"

struct memsys;

enum memsys_cut { CUT_LOSE, CUT_KEEP, CUT_TEAR };

struct memsys *memsys_new(uint64_t seed);
void memsys_free(struct memsys *m);

struct store_sys *memsys_sys(struct memsys *m);

/* Calls that can fail, made so far. */
uint64_t memsys_calls(const struct memsys *m);
/* Those of them that make a difference to what a power cut leaves. */
uint64_t memsys_changes(const struct memsys *m);

/* Call number @call, counted from 1 as memsys_calls() does, returns -@error
 * and does nothing; UINT64_MAX: none. */
void memsys_fail(struct memsys *m, uint64_t call, int error);
/* ... and what call it was: "pwritev", or NULL: it did not come to that. */
const char *memsys_failed(const struct memsys *m);

/* Just before change number @change the power goes; nothing works any more. */
void memsys_cut(struct memsys *m, uint64_t change);
bool memsys_is_cut(const struct memsys *m);
/* Power is back: what the disk has, @how; nothing is open, nothing locked. */
void memsys_restore(struct memsys *m, enum memsys_cut how, uint64_t seed);

/* A process is gone: its descriptors and locks with it.  The kernel's side stays. */
void memsys_kill(struct memsys *m);

/* Reads and writes may be short. */
void memsys_short(struct memsys *m, bool on);

/* So many bytes fit in all. */
void memsys_capacity(struct memsys *m, uint64_t bytes);

/* Called before each call, with its name; what it calls itself is not announced. */
void memsys_hook(struct memsys *m, void (*hook)(void *context, const char *call), void *context);

/* Files, for tests that damage them. */
size_t memsys_count(const struct memsys *m);
const char *memsys_name(const struct memsys *m, size_t index);
uint8_t *memsys_bytes(struct memsys *m, const char *name, size_t *ret_size); /* NULL: no such file */
void memsys_changed(struct memsys *m, const char *name); /* what was written there is on the disk */
/* From now on the disk cannot read back these bytes of @name; NULL: it can again. */
void memsys_unreadable(struct memsys *m, const char *name, uint64_t at, uint64_t length);
uint64_t memsys_total_bytes(const struct memsys *m);

uint64_t rng_next(uint64_t *state);
static inline uint64_t rng_below(uint64_t *state, uint64_t n)
{
	return rng_next(state) % n;
}

#endif
