/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run - an immutable sorted table of where versions lie, over epochs from..to.
 *
 *	+--------+-----------------------+-----------+---------------------------+
 *	| header | entries, 4 KiB blocks | fences    | tables                    |
 *	| 4 KiB  | sorted by key, newest | one a     | checks of fences, points, |
 *	|        | first		 | block     | labels, files, disks      |
 *	+--------+-----------------------+-----------+---------------------------+
 *
 * A fence is the first key and version of a block of entries and its checksum.
 * Header and tables are read and checked when the run is opened; blocks of
 * fences and entries are mapped, and checked when they are first looked at, so
 * that opening costs the same however large the run is and a damaged block
 * harms only what it says (S5).
 *
 * The table of a journal that is still open is the same thing in memory.
 */
#ifndef GODWIT_STORE_RUN_H
#define GODWIT_STORE_RUN_H

#include "format.h"
#include "sys.h"

#define RUN_HEADER_BYTES 4096u
#define RUN_BLOCK_BYTES 4096u
#define RUN_BLOCK_ENTRIES (RUN_BLOCK_BYTES / ENTRY_BYTES)
#define FENCE_BYTES 24u
#define RUN_BLOCK_FENCES (RUN_BLOCK_BYTES / FENCE_BYTES) /* 170; 16 bytes stay empty */

/* A data file, as a run tells of it. */
struct run_file {
	uint32_t number;
	uint64_t size_bytes; /* what of it is in use */
	uint64_t live_bytes; /* what of it this run names */
	uint64_t last_epoch; /* the newest record's */
};
#define RUN_FILE_BYTES 32u

/* A kept point. */
struct run_point {
	uint64_t epoch, time_us;
	uint32_t flags;
	const char *label; /* not terminated */
	uint32_t label_bytes;
};
#define RUN_POINT_BYTES 24u

struct run_disk {
	uint64_t epoch;
	struct store_disk disk;
};
#define RUN_DISK_BYTES 80u

struct run {
	const struct store_sys *sys;
	struct uuid machine;
	uint64_t from, to, to_time_us;
	uint32_t gen;
	uint32_t level_mask; /* which levels it has entries of */
	uint64_t entry_count;
	size_t point_count, file_count, disk_count;
	uint64_t file_bytes; /* of the run itself; 0: in memory */

	/* Private. */
	const uint8_t *map;
	const uint8_t *entries, *fences, *fence_sums, *points, *labels, *files, *disks;
	uint64_t block_count;
	uint64_t label_bytes;
	_Atomic(uint64_t) *checked; /* a bit for each block of entries, then of fences; NULL: in memory */
	uint8_t *tables; /* from the checks of fences on */
	uint8_t *owned;
};

/* -EBADMSG: damaged or not a run; -EIO: the disk cannot read header or tables back; -ENOENT ... */
_must_check_ int run_open(const struct store_sys *sys, const char *dir, const char *name, struct run **ret);
/* From sorted entries, encoded, which it takes over (malloc).  No points, files or disks. */
_must_check_ int run_from_entries(uint8_t *entries, uint64_t count, struct run **ret);
void run_close(struct run *r); /* NULL is allowed */

/* Entry number @index, checked. -EBADMSG. */
_must_check_ int run_entry(struct run *r, uint64_t index, struct entry *ret);

/* Its bytes, in a checked block, of which the rest follows them; NULL: damaged. */
const uint8_t *run_entry_bytes(struct run *r, uint64_t index);

/* The first entry that is not before (@key, @version): its index, or entry_count. */
_must_check_ int run_seek(struct run *r, uint64_t key, uint64_t version, uint64_t *ret_index);

void run_point(const struct run *r, size_t index, struct run_point *ret);
void run_file(const struct run *r, size_t index, struct run_file *ret);
void run_disk(const struct run *r, size_t index, struct run_disk *ret);

/* The index of the newest point at or before @epoch; false: none. */
bool run_find_point(const struct run *r, uint64_t epoch, size_t *ret_index);

void point_to_epoch(const struct run_point *p, struct store_epoch *ret);

/* Read everything and check it.  -EBADMSG: *@ret_blocks_damaged of its blocks cannot be used. */
_must_check_ int run_check(struct run *r, uint64_t *ret_blocks_damaged);

/* --- encoding, for runout ---------------------------------------------------------- */

struct run_layout {
	struct uuid machine;
	uint64_t from, to, to_time_us;
	uint32_t gen, level_mask;
	uint64_t entry_count;
	uint64_t fences_at, tables_at, total_bytes;
	uint64_t point_count, label_bytes, file_count, disk_count;
	uint64_t tables_sum;
};
void run_header_put(uint8_t *buf, const struct run_layout *l); /* RUN_HEADER_BYTES */
uint64_t run_checksum(const void *p, size_t len, uint64_t where);

#endif
