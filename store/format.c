/* SPDX-License-Identifier: Apache-2.0 */
#include "format.h"
#include "utf8.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

static const char data_magic[8] = "GODWITDT";
#define DATA_VERSION 1u

unsigned int mask_first_run(sector_mask mask, unsigned int *ret_first)
{
	uint64_t low = (uint64_t)mask;
	unsigned int first, count;
	sector_mask rest;

	if (mask == 0)
		return 0;
	first = low ? (unsigned int)__builtin_ctzll(low) : 64 + (unsigned int)__builtin_ctzll((uint64_t)(mask >> 64));
	rest = ~(mask >> first);
	low = (uint64_t)rest;
	if (low)
		count = (unsigned int)__builtin_ctzll(low);
	else if (rest)
		count = 64 + (unsigned int)__builtin_ctzll((uint64_t)(rest >> 64));
	else
		count = CHUNK_SECTORS;
	*ret_first = first;
	return count;
}

/* --- data files ---------------------------------------------------------------- */

void data_header_put(uint8_t *buf, const struct data_header *h)
{
	memset(buf, 0, DATA_HEADER_BYTES);
	memcpy(buf, data_magic, 8);
	put_le32(buf + 8, DATA_VERSION);
	put_le32(buf + 12, h->number);
	memcpy(buf + 16, h->machine.bytes, 16);
	put_le64(buf + 32, h->first_epoch);
	put_le64(buf + 40, h->salt);
	put_le64(buf + 56, XXH3_64bits(buf, 56));
}

int data_header_get(const uint8_t *buf, struct data_header *ret)
{
	if (memcmp(buf, data_magic, 8) != 0 || get_le32(buf + 8) != DATA_VERSION ||
	    get_le64(buf + 56) != XXH3_64bits(buf, 56))
		return -EBADMSG;
	ret->number = get_le32(buf + 12);
	memcpy(ret->machine.bytes, buf + 16, 16);
	ret->first_epoch = get_le64(buf + 32);
	ret->salt = get_le64(buf + 40);
	return 0;
}

/* The salt and the place go in, so that a record that stands where it was not
 * written, or is left over from another file, is never taken for one. */
static uint64_t record_sum(const uint8_t *buf, uint64_t salt, uint64_t position)
{
	return XXH3_64bits_withSeed(buf, RECORD_BYTES - 8, salt + position);
}

void record_put(uint8_t *buf, const struct record *r, uint64_t salt, uint64_t position)
{
	buf[0] = r->type;
	buf[1] = r->codec;
	put_le16(buf + 2, r->disk);
	put_le32(buf + 4, r->stored_bytes);
	put_le64(buf + 8, r->version);
	put_le64(buf + 16, r->offset_bytes);
	put_le64(buf + 24, r->length_bytes);
	put_le64(buf + 32, r->checksum);
	put_le64(buf + 40, record_sum(buf, salt, position));
}

bool range_valid(uint64_t offset_bytes, uint64_t length_bytes)
{
	return offset_bytes % SECTOR_BYTES == 0 && length_bytes % SECTOR_BYTES == 0 && length_bytes > 0 &&
	       offset_bytes <= INT64_MAX && length_bytes <= INT64_MAX - offset_bytes;
}

static bool data_valid(const struct record *r)
{
	return range_valid(r->offset_bytes, r->length_bytes) && r->length_bytes <= CHUNK_BYTES &&
	       r->offset_bytes / CHUNK_BYTES == (r->offset_bytes + r->length_bytes - 1) / CHUNK_BYTES &&
	       r->stored_bytes > 0 && r->stored_bytes <= r->length_bytes && r->disk < DISKS_MAX &&
	       r->codec <= CODEC_ZSTD && (r->codec != CODEC_RAW || r->stored_bytes == r->length_bytes);
}

static bool record_valid(const struct record *r)
{
	switch (r->type) {
	case RECORD_DATA:
		return data_valid(r);
	case RECORD_ZERO:
		return range_valid(r->offset_bytes, r->length_bytes) && r->disk < DISKS_MAX && r->stored_bytes == 0;
	case RECORD_DISK:
		return r->disk < DISKS_MAX && r->stored_bytes == DISK_PAYLOAD_BYTES && r->length_bytes <= INT64_MAX;
	case RECORD_COMMIT:
		return r->stored_bytes <= STORE_LABEL_MAX;
	default:
		return false;
	}
}

int record_get(const uint8_t *buf, uint64_t salt, uint64_t position, struct record *ret)
{
	struct record r;

	if (get_le64(buf + 40) != record_sum(buf, salt, position))
		return -EBADMSG;
	r.type = buf[0];
	r.codec = buf[1];
	r.disk = get_le16(buf + 2);
	r.stored_bytes = get_le32(buf + 4);
	r.version = get_le64(buf + 8);
	r.offset_bytes = get_le64(buf + 16);
	r.length_bytes = get_le64(buf + 24);
	r.checksum = get_le64(buf + 32);
	if (!record_valid(&r))
		return -EBADMSG;
	*ret = r;
	return 0;
}

void disk_payload_put(uint8_t *buf, const struct store_disk *d)
{
	memset(buf, 0, DISK_PAYLOAD_BYTES);
	put_le16(buf, d->sector_bytes);
	memcpy(buf + 8, d->id.bytes, 16);
	memcpy(buf + 24, d->name, strnlen(d->name, 32));
}

void disk_payload_get(const uint8_t *buf, uint16_t disk, uint64_t size_bytes, struct store_disk *ret)
{
	*ret = (struct store_disk){ .disk = disk, .sector_bytes = get_le16(buf), .size_bytes = size_bytes };
	memcpy(ret->id.bytes, buf + 8, 16);
	memcpy(ret->name, buf + 24, 32);
}

/* --- index entries -------------------------------------------------------------- */

void entry_put(uint8_t *buf, const struct entry *e)
{
	put_le64(buf, e->key);
	put_le64(buf + 8, e->version);
	put_le32(buf + 16, e->file);
	put_le32(buf + 20, e->position);
	put_le32(buf + 24, e->stored_bytes);
	buf[28] = e->first;
	buf[29] = e->count;
	buf[30] = e->flags;
	buf[31] = e->codec;
}

int entry_get(const uint8_t *buf, struct entry *ret)
{
	struct entry e = {
		.key = get_le64(buf),
		.version = get_le64(buf + 8),
		.file = get_le32(buf + 16),
		.position = get_le32(buf + 20),
		.stored_bytes = get_le32(buf + 24),
		.first = buf[28],
		.count = buf[29],
		.flags = buf[30],
		.codec = buf[31],
	};
	bool zero = e.flags & ENTRY_ZERO;

	if (key_level(e.key) >= LEVELS || key_disk(e.key) >= DISKS_MAX || e.count == 0 ||
	    (unsigned int)e.first + e.count > CHUNK_SECTORS || (e.flags & ~ENTRY_ZERO) || e.codec > CODEC_ZSTD)
		return -EBADMSG;
	if (key_level(e.key) > 0 && (!zero || e.count != CHUNK_SECTORS))
		return -EBADMSG;
	if (!zero && (e.stored_bytes == 0 || e.stored_bytes > (uint32_t)e.count * SECTOR_BYTES ||
		      (e.codec == CODEC_RAW && e.stored_bytes != (uint32_t)e.count * SECTOR_BYTES)))
		return -EBADMSG;
	*ret = e;
	return 0;
}

struct entry entry_of_data(const struct record *r, uint32_t file, uint64_t position)
{
	assert(r->type == RECORD_DATA && position % (1u << POSITION_SHIFT) == 0 && position < DATA_FILE_MAX);
	return (struct entry){
		.key = key_make(0, r->disk, r->offset_bytes / CHUNK_BYTES),
		.version = r->version,
		.file = file,
		.position = (uint32_t)(position >> POSITION_SHIFT),
		.stored_bytes = r->stored_bytes,
		.first = (uint8_t)(r->offset_bytes % CHUNK_BYTES / SECTOR_BYTES),
		.count = (uint8_t)(r->length_bytes / SECTOR_BYTES),
		.codec = r->codec,
	};
}

int entry_next_zero(uint16_t disk, uint64_t version, uint64_t *offset, uint64_t *length, struct entry *ret)
{
	uint64_t chunk = *offset / CHUNK_BYTES;
	uint32_t in_chunk = (uint32_t)(*offset % CHUNK_BYTES);
	unsigned int level = 0;
	uint64_t bytes;

	if (*length == 0)
		return 0;
	if (in_chunk != 0 || *length < CHUNK_BYTES) {
		bytes = MIN(*length, (uint64_t)CHUNK_BYTES - in_chunk);
	} else {
		while (level + 1 < LEVELS && (chunk & ((1ULL << (LEVEL_SHIFT * (level + 1))) - 1)) == 0 &&
		       *length >> (LEVEL_SHIFT * (level + 1)) >= CHUNK_BYTES)
			level++;
		bytes = (uint64_t)CHUNK_BYTES << (LEVEL_SHIFT * level);
	}
	*ret = (struct entry){
		.key = key_make(level, disk, chunk >> (LEVEL_SHIFT * level)),
		.version = version,
		.first = (uint8_t)(in_chunk / SECTOR_BYTES),
		.count = (uint8_t)(level ? CHUNK_SECTORS : bytes / SECTOR_BYTES),
		.flags = ENTRY_ZERO,
	};
	*offset += bytes;
	*length -= bytes;
	return 1;
}

uint64_t store_zero_entries(uint64_t offset_bytes, uint64_t length_bytes)
{
	uint64_t count = 0;
	struct entry e;

	while (entry_next_zero(0, 0, &offset_bytes, &length_bytes, &e))
		count++;
	return count;
}

/* --- names -------------------------------------------------------------------------- */

char *data_name(uint32_t number, char *ret)
{
	snprintf(ret, DATA_NAME_BYTES, "dat-%08" PRIx32 ".gwd", number);
	return ret;
}

bool data_name_parse(const char *name, uint32_t *ret_number)
{
	char again[DATA_NAME_BYTES];
	uint32_t n;

	if (sscanf(name, "dat-%8" SCNx32 ".gwd", &n) != 1 || strcmp(data_name(n, again), name) != 0)
		return false;
	*ret_number = n;
	return true;
}

char *run_name(uint64_t from, uint64_t to, uint32_t gen, char *ret)
{
	snprintf(ret, RUN_NAME_BYTES, "run-%016" PRIx64 "-%016" PRIx64 "-%08" PRIx32 ".gwr", from, to, gen);
	return ret;
}

bool run_name_parse(const char *name, uint64_t *ret_from, uint64_t *ret_to, uint32_t *ret_gen)
{
	char again[RUN_NAME_BYTES];
	uint64_t from, to;
	uint32_t gen;

	if (sscanf(name, "run-%16" SCNx64 "-%16" SCNx64 "-%8" SCNx32 ".gwr", &from, &to, &gen) != 3 ||
	    strcmp(run_name(from, to, gen, again), name) != 0 || from == 0 || from > to || to > EPOCH_MAX)
		return false;
	*ret_from = from;
	*ret_to = to;
	*ret_gen = gen;
	return true;
}

bool label_valid(const char *label)
{
	size_t len = strnlen(label, STORE_LABEL_MAX + 1);

	return len <= STORE_LABEL_MAX && utf8_is_printable(label, len);
}
