/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format - the store's bytes: names, records, index entries.
 *
 * docs/store-format.md is normative; the names here are its names.  Pure
 * functions: no files, no allocation.
 */
#ifndef GODWIT_STORE_FORMAT_H
#define GODWIT_STORE_FORMAT_H

#include "store.h"

/* --- versions: the order in which records take effect ---------------------- */

#define VERSION_SEQ_BITS 24
#define VERSION_SEQ_MAX ((1u << VERSION_SEQ_BITS) - 1)
#define EPOCH_MAX ((1ULL << 40) - 1)

static inline uint64_t version_make(uint64_t epoch, uint32_t seq)
{
	return epoch << VERSION_SEQ_BITS | seq;
}

static inline uint64_t version_epoch(uint64_t version)
{
	return version >> VERSION_SEQ_BITS;
}

static inline uint64_t version_last(uint64_t epoch) /* above every record of the epoch */
{
	return epoch << VERSION_SEQ_BITS | VERSION_SEQ_MAX;
}

/* --- keys: what part of which disk ------------------------------------------ */

/*
 * A block of level L is 16^L chunks, aligned.  Level 0 holds data and zeroes
 * within a chunk; the levels above only zeroes, so that a whole disk of them
 * is a few dozen entries.
 */
#define LEVELS 8u
#define LEVEL_SHIFT 4u
#define KEY_INDEX_BITS 52
#define KEY_INDEX_MASK ((1ULL << KEY_INDEX_BITS) - 1)

static inline uint64_t key_make(unsigned int level, uint16_t disk, uint64_t index)
{
	return (uint64_t)level << 60 | (uint64_t)disk << KEY_INDEX_BITS | index;
}

static inline unsigned int key_level(uint64_t key)
{
	return (unsigned int)(key >> 60);
}

static inline uint16_t key_disk(uint64_t key)
{
	return (uint16_t)(key >> KEY_INDEX_BITS & 0xff);
}

static inline uint64_t key_index(uint64_t key)
{
	return key & KEY_INDEX_MASK;
}

/* The block of @level that holds the block @key, whose level is not above it. */
static inline uint64_t key_above(uint64_t key, unsigned int level)
{
	return key_make(level, key_disk(key), key_index(key) >> (LEVEL_SHIFT * (level - key_level(key))));
}

/* --- sectors of a chunk ------------------------------------------------------- */

typedef unsigned __int128 sector_mask;
_Static_assert(CHUNK_SECTORS == 128, "a mask has a bit for each sector of a chunk");

static inline sector_mask mask_of(unsigned int first, unsigned int count)
{
	return count == CHUNK_SECTORS ? ~(sector_mask)0 : (((sector_mask)1 << count) - 1) << first;
}

/* The first run of bits in @mask: count, and where in *@ret_first; 0: none. */
unsigned int mask_first_run(sector_mask mask, unsigned int *ret_first);

/* --- data files ---------------------------------------------------------------- */

#define DATA_HEADER_BYTES 64u
#define DATA_COLLECTED 0x80000000u /* in a file's number: made by collection, not by the writer */
#define POSITION_SHIFT 3	   /* records begin at multiples of 8 */
#define DATA_FILE_MAX ((1ULL << 32) << POSITION_SHIFT)

struct data_header {
	uint32_t number;
	struct uuid machine;
	uint64_t first_epoch; /* of a journal: what its first commit will be */
	uint64_t salt;	      /* of this file's record checksums */
};
void data_header_put(uint8_t *buf, const struct data_header *h);
_must_check_ int data_header_get(const uint8_t *buf, struct data_header *ret); /* -EBADMSG */

#define RECORD_BYTES 48u
enum record_type { RECORD_DATA = 1, RECORD_ZERO = 2, RECORD_DISK = 3, RECORD_COMMIT = 4 };

struct record {
	uint8_t type, codec; /* codec: of COMMIT, the epoch's flags */
	uint16_t disk;
	uint32_t stored_bytes; /* that follow the header, without padding */
	uint64_t version;
	uint64_t offset_bytes; /* COMMIT: time_us */
	uint64_t length_bytes; /* COMMIT: records in the epoch; DISK: size of the disk */
	uint64_t checksum;     /* XXH3-64 of the uncompressed payload */
};

static inline uint64_t record_total_bytes(uint32_t stored_bytes) /* header, payload, padding */
{
	return RECORD_BYTES + (((uint64_t)stored_bytes + 7) & ~7ULL);
}

/* @position is where in the file the record stands. */
void record_put(uint8_t *buf, const struct record *r, uint64_t salt, uint64_t position);
_must_check_ int record_get(const uint8_t *buf, uint64_t salt, uint64_t position, struct record *ret); /* -EBADMSG */

#define DISK_PAYLOAD_BYTES 56u
void disk_payload_put(uint8_t *buf, const struct store_disk *d);
void disk_payload_get(const uint8_t *buf, uint16_t disk, uint64_t size_bytes, struct store_disk *ret);

/* --- index entries -------------------------------------------------------------- */

#define ENTRY_BYTES 32u
#define ENTRY_ZERO 1u

struct entry {
	uint64_t key, version;
	uint32_t file, position; /* in units of 8 bytes; of zeroes: 0 */
	uint32_t stored_bytes;
	uint8_t first, count; /* sectors of the chunk; of a level above 0: 0, 128 */
	uint8_t flags, codec;
};

void entry_put(uint8_t *buf, const struct entry *e);
/* -EBADMSG: a field is out of its range. */
_must_check_ int entry_get(const uint8_t *buf, struct entry *ret);

static inline uint64_t entry_key(const uint8_t *buf)
{
	return get_le64(buf);
}

static inline uint64_t entry_version(const uint8_t *buf)
{
	return get_le64(buf + 8);
}

static inline sector_mask entry_mask(const struct entry *e)
{
	return mask_of(e->first, e->count);
}

/* Ascending by key, then newest first. */
static inline int entry_compare(uint64_t key_a, uint64_t version_a, uint64_t key_b, uint64_t version_b)
{
	if (key_a != key_b)
		return key_a < key_b ? -1 : 1;
	return version_a == version_b ? 0 : version_a > version_b ? -1 : 1;
}

/* The entry of a data record of @file at @position. */
struct entry entry_of_data(const struct record *r, uint32_t file, uint64_t position);

/*
 * The entries of a zero record, one a call: begin with *@offset and *@length
 * as the record says; 1 and *@ret, or 0 when nothing is left.
 */
int entry_next_zero(uint16_t disk, uint64_t version, uint64_t *offset, uint64_t *length, struct entry *ret);

/* --- names -------------------------------------------------------------------------- */

#define DATA_NAME_BYTES 17 /* dat-xxxxxxxx.gwd */
#define RUN_NAME_BYTES 51  /* run-<16>-<16>-xxxxxxxx.gwr */
char *data_name(uint32_t number, char *ret);
bool data_name_parse(const char *name, uint32_t *ret_number);
char *run_name(uint64_t from, uint64_t to, uint32_t gen, char *ret);
bool run_name_parse(const char *name, uint64_t *ret_from, uint64_t *ret_to, uint32_t *ret_gen);

/* A byte range that a record may have. */
bool range_valid(uint64_t offset_bytes, uint64_t length_bytes);

/* Printable UTF-8 in one line: what a label may be. */
bool label_valid(const char *label);

#endif
