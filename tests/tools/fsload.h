/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsload - a file system under mixed load, with a log that tells afterwards
 * what must be in it at any moment.
 *
 * Each thread has a folder and a set of file slots, and does one operation
 * after the other on slots chosen at random.  Every operation is logged before
 * it begins and after it has returned.  FSYNC is fsync() of the file, if it
 * exists, and of the folder.
 *
 * Check at time T (a recovery point's time), with the image mounted: a slot
 * whose last operation begun before T is an FSYNC acknowledged before T is
 * exactly what its log says: name, size, every cell.  All others are skipped:
 * a file system may lose what nobody waited for.
 */
#ifndef GODWIT_TESTS_FSLOAD_H
#define GODWIT_TESTS_FSLOAD_H

#include <stdbool.h>
#include <stdint.h>

#define FSLOAD_MAGIC   0x3130646f6c736667ull
#define FSLOAD_OPS_MAX (2u << 20)
#define FILE_CELLS_MAX 1024u /* of 512 bytes: a file has at most 512 KiB */

enum fs_op {
	OP_CREATE = 1,
	OP_WRITE,    /* cells first..first+count */
	OP_TRUNCATE, /* to first cells */
	OP_PUNCH,
	OP_ALLOCATE, /* extends with zeroes */
	OP_RENAME,   /* to generation first */
	OP_DELETE,
	OP_FSYNC,
	OP_FAILED, /* no space half-way: nothing is known until the next DELETE */
};

struct fs_entry {
	uint64_t start_us, ack_us;
	uint32_t slot; /* thread * files + file */
	uint16_t first, count;
	uint8_t op, pad[7];
};

struct fs_log {
	uint64_t magic;
	uint32_t threads, files;
	uint64_t next; /* entry 0 is not used: its number marks nothing */
	struct fs_entry entries[];
};

struct fs_options {
	const char *dir, *log;
	unsigned int threads, files, seconds, direct_percent, fsync_percent;
	uint64_t seed, rate, at_us, slack_us;
};

struct fs_log *fs_log_map(const char *path, bool create);
void fs_file_name(char *buf, unsigned long size, const struct fs_log *log, uint32_t slot,
		  unsigned int generation);

/* The address of a cell in its sector (sector.h). */
static inline uint64_t fs_cell_address(uint32_t slot, uint32_t cell)
{
	return ((uint64_t)slot << 32) | cell;
}

int fsload_run(const struct fs_options *o);
int fsload_check(const struct fs_options *o);

#endif
