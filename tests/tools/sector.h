/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sector - 512 bytes that say which write they come from.
 *
 *	 0  u64 magic
 *	 8  u64 number		of the write, 1 for the first
 *	16  u64 address		what the sector belongs to: its index on the disk, or file and cell
 *	24  u64 start_us	wall clock just before the write was issued
 *	32  u64 fill[59]	xorshift from number and address: nothing compresses or repeats
 *	504 u64 checksum	of everything before it
 *
 * So a wrong sector tells which write is there, and with the ledger's log which
 * one is missing; a torn or misplaced one is never taken for another.
 */
#ifndef GODWIT_TESTS_SECTOR_H
#define GODWIT_TESTS_SECTOR_H

#include <stdint.h>
#include <string.h>
#include <time.h>

#define CELL_BYTES   512u
#define SECTOR_MAGIC 0x31726f7463655367ull /* "gSector1" */

enum sector_kind { SECTOR_ZERO, SECTOR_WRITTEN, SECTOR_DAMAGED };

static inline uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static inline uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The sequence of a seeded generator: tests with the same seed do the same. */
static inline uint64_t random_next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	return mix64(*state);
}

static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
	return random_next(state) % bound;
}

static inline uint64_t sector_checksum(const uint64_t words[64])
{
	uint64_t sum = 0x9e3779b97f4a7c15ull;

	for (int i = 0; i < 63; i++)
		sum = (sum ^ words[i]) * 0x100000001b3ull + (sum >> 47);
	return mix64(sum);
}

static inline void sector_fill(void *buf, uint64_t number, uint64_t address, uint64_t start_us)
{
	uint64_t words[64] = {SECTOR_MAGIC, number, address, start_us};
	uint64_t x = mix64(number * 0x9e3779b97f4a7c15ull ^ address) | 1;

	for (int i = 4; i < 63; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
	words[63] = sector_checksum(words);
	memcpy(buf, words, sizeof(words));
}

/* What is in @buf, which should belong to @address; its write's number. */
static inline enum sector_kind sector_look(const void *buf, uint64_t address, uint64_t *ret_number,
					   uint64_t *ret_start_us)
{
	uint64_t words[64];

	memcpy(words, buf, sizeof(words));
	if (words[0] == 0 && memcmp(words, words + 1, sizeof(words) - sizeof(words[0])) == 0)
		return SECTOR_ZERO;
	if (words[0] != SECTOR_MAGIC || words[2] != address || words[63] != sector_checksum(words))
		return SECTOR_DAMAGED;
	*ret_number = words[1];
	*ret_start_us = words[3];
	return SECTOR_WRITTEN;
}

#endif
