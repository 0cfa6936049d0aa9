/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger - what was written to a disk, and when its writer was told so.
 *
 * The log is a file of fixed entries, mapped into memory, so that a killed
 * writer leaves it whole: entry n belongs to write number n.  ack_us stays 0
 * for a write that was never acknowledged.
 *
 * Check at time T (a recovery point's time): for every sector
 *
 *	L1	what is there was started before T, give or take the slack
 *	L2	no write that was started after what is there was acknowledged
 *		also was acknowledged before T: that one is then missing
 *	L3	with twins: what is on the second disk is on the first as well,
 *		or something newer in its place
 */
#ifndef GODWIT_TESTS_LEDGER_H
#define GODWIT_TESTS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_MAGIC	   0x3130726567646547ull
#define LEDGER_ENTRIES_MAX (8u << 20)

enum ledger_op { LEDGER_WRITE = 1, LEDGER_DISCARD = 2 };

struct ledger_entry {
	uint64_t start_us, ack_us;
	uint64_t first_sector;
	uint32_t sectors;
	uint8_t op, disk; /* disk: 0, or 1 for the twin */
	uint8_t pad[2];
};

struct ledger_log {
	uint64_t magic;
	uint64_t area_sectors; /* everything beyond is not the ledger's */
	uint64_t seed;
	uint64_t next; /* number of the next write; entry 0 is not used */
	struct ledger_entry entries[];
};

struct ledger_options {
	const char *log, *device, *twin;
	uint64_t at_us, slack_us, seed, area_bytes, rate;
	unsigned int threads, seconds, unit_bytes, max_units, discard_percent;
	bool random, buffered, nosync;
};

struct ledger_log *ledger_map(const char *path, bool create);
int ledger_open_disk(const char *path, bool write, bool buffered, uint64_t *ret_bytes);

int ledger_write(const struct ledger_options *o);
int ledger_check(const struct ledger_options *o);
int ledger_tail(const char *path);
int ledger_lag(const struct ledger_options *o, const char *epochs);

#endif
