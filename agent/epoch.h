/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoch - the writes of a stretch of the ring, merged: the newest version of
 * every sector, whatever the number of times it was written.
 *
 *	slots	one for each 4 KiB block touched: its bytes, and a bit for each
 *		of its eight sectors that is valid
 *	zeroes	ranges discarded or written with zeroes
 *
 * An epoch takes effect as a whole, so order inside it does not matter as long
 * as the newest wins:
 *
 * E1	A valid sector of a slot that lies in a zero range was written after
 *	the range was zeroed: a zero range clears the valid bits below it.
 *	Hence zeroes are sent first, slots after.
 * E2	epoch_drop() takes sectors out of both: something newer than all that
 *	was merged so far has already gone into the stream (engine.c, "scan").
 *
 * Slots come from an arena that several epochs share: its size is the bound of
 * the agent's memory.  No function here fails half way: -ENOBUFS means that
 * nothing was changed, and the caller closes the epoch or waits.
 */
#ifndef GODWIT_EPOCH_H
#define GODWIT_EPOCH_H

#include "base.h"
#include "ranges.h"

struct arena;
struct epoch;

_must_check_ int arena_new(uint64_t bytes, struct arena **ret); /* at least 32 blocks are made */
void arena_free(struct arena *a);
uint64_t arena_blocks(const struct arena *a);
uint64_t arena_free_blocks(const struct arena *a);

_must_check_ int epoch_new(struct arena *a, struct epoch **ret);
void epoch_free(struct epoch *e); /* its slots go back to the arena */
void epoch_clear(struct epoch *e);

/* Offsets and lengths are multiples of 512 bytes. */
_must_check_ int epoch_write(struct epoch *e, uint16_t disk, uint64_t offset, uint32_t length, const uint8_t *payload);
_must_check_ int epoch_zero(struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length);
_must_check_ int epoch_drop(struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length);

/* Does anything merged lie in the range? */
bool epoch_touches(const struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length);

/*
 * Take the epoch apart in the order in which it is sent: zero ranges, then
 * runs of valid sectors by disk and offset, none crossing a chunk.  Slots go
 * back to the arena as they are taken.  Nothing may be merged after the first
 * call.  false: nothing left.
 */
struct epoch_piece {
	uint16_t disk;
	bool zero;
	uint64_t offset, length; /* data: at most CHUNK_BYTES */
};
bool epoch_next(struct epoch *e, struct epoch_piece *ret, uint8_t ret_payload[CHUNK_BYTES]);

#endif
