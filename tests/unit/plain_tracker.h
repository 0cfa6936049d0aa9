/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_tracker - tracker.h without a kernel, for tests that drive the engine
 * step by step: one disk, in memory, written to by calls.
 */
#ifndef GODWIT_TESTS_PLAIN_TRACKER_H
#define GODWIT_TESTS_PLAIN_TRACKER_H

#include "tracker.h"

#define PLAIN_SECTORS	   320u /* two chunks and a half */
#define PLAIN_REGION_SHIFT 12
#define PLAIN_BYTES	   (PLAIN_SECTORS * SECTOR_BYTES)

struct tracker *plain_tracker_new(uint64_t ring_bytes);
void plain_tracker_free(struct tracker *t);

/* What is on the disk now. */
const uint8_t *plain_tracker_disk(const struct tracker *t);

/* A write that completes, each sector filled with @stamp: carried, where there is room and
 * @carry, else marked. */
void plain_tracker_write(struct tracker *t, uint32_t sector, uint32_t count, uint64_t stamp, bool carry);

/* One that completes as a discard. */
void plain_tracker_discard(struct tracker *t, uint32_t sector, uint32_t count);

/* One whose completion nobody saw: neither carried nor marked, and the disk is suspect. */
void plain_tracker_write_unseen(struct tracker *t, uint32_t sector, uint32_t count, uint64_t stamp);

/* The time of the next record, and what the wall clock is ahead of it. */
void plain_tracker_set_clock(struct tracker *t, uint64_t boot_us, int64_t wall_offset_us);

#endif
