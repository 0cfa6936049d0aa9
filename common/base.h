/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base - the few words that every file uses: must-check, array length,
 * bounds-checked arithmetic helpers, little-endian access without casts.
 */
#ifndef GODWIT_BASE_H
#define GODWIT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define _must_check_ __attribute__((warn_unused_result))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define KIB 1024ULL
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)

/* The unit of addresses on a disk.  Linux counts in 512 bytes whatever the
 * device's logical block is. */
#define SECTOR_BYTES 512u

/* The unit in which data travels, is checksummed, compressed and indexed: a
 * record never crosses a multiple of it. */
#define CHUNK_BYTES 65536u
#define CHUNK_SECTORS (CHUNK_BYTES / SECTOR_BYTES)

/* The unit in which writes of one epoch are merged in memory. */
#define BLOCK_BYTES 4096u
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)

/* One machine has at most this many disks in one order of completion. */
#define DISKS_MAX 64u

static inline uint16_t get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void put_le16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "godwit's formats are little-endian and so are the machines it runs on");

static inline bool is_zero(const void *p, size_t n)
{
	const unsigned char *b = p;

	return n == 0 || (b[0] == 0 && memcmp(b, b + 1, n - 1) == 0);
}

#endif
