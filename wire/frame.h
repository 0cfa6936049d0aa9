/* SPDX-License-Identifier: Apache-2.0 */
/* frame - what all messages have in common; within wire/ only. */
#ifndef GODWIT_FRAME_H
#define GODWIT_FRAME_H

#include "wire.h"

/* The fixed part of each body, as in docs/protocol.md. */
#define HELLO_BYTES 32u
#define DISK_BYTES 64u
#define WELCOME_BYTES 16u
#define REFUSE_BYTES 4u
#define DATA_BYTES (WIRE_DATA_PAYLOAD_AT - WIRE_HEADER_BYTES)
#define ZERO_BYTES 24u
#define HASH_BYTES 40u
#define DIFFER_BYTES 16u
#define COMMIT_BYTES 32u
#define DURABLE_BYTES 24u
#define PING_BYTES 8u
#define PROBE_DONE_BYTES 24u

/* A later HELLO may be longer; what follows the part known here is ignored. */
#define HELLO_BYTES_MAX 256u

_Static_assert(DATA_BYTES + CHUNK_BYTES <= WIRE_BODY_MAX, "a whole chunk fits into a frame");
_Static_assert(COMMIT_BYTES + WIRE_LABEL_MAX <= WIRE_BODY_MAX && REFUSE_BYTES + WIRE_TEXT_MAX <= WIRE_BODY_MAX,
	       "the longest texts fit into a frame");

uint64_t frame_checksum(const uint8_t *header, const uint8_t *body, uint32_t length);
bool frame_length_fits(uint16_t type, uint32_t length);

/* A range of a disk: whole sectors, not empty, no overflow. */
static inline bool range_is_valid(uint64_t offset_bytes, uint64_t length_bytes)
{
	return offset_bytes < WIRE_DISK_BYTES_MAX && length_bytes <= WIRE_DISK_BYTES_MAX - offset_bytes &&
	       length_bytes > 0 && offset_bytes % SECTOR_BYTES == 0 && length_bytes % SECTOR_BYTES == 0;
}

static inline bool is_within_chunk(uint64_t offset_bytes, uint64_t length_bytes)
{
	return length_bytes <= CHUNK_BYTES - offset_bytes % CHUNK_BYTES;
}

/* Of a hashed range: it begins with a chunk and is in it. */
static inline bool is_from_chunk(uint64_t offset_bytes, uint64_t length_bytes)
{
	return offset_bytes % CHUNK_BYTES == 0 && length_bytes <= CHUNK_BYTES;
}

static inline bool epoch_is_valid(uint64_t epoch)
{
	return epoch > 0 && epoch <= WIRE_EPOCH_MAX;
}

static inline bool sector_is_valid(uint16_t sector_bytes)
{
	return sector_bytes == 512 || sector_bytes == 4096;
}

/* A label belongs to a point, and a labelled point has one. */
static inline bool flags_are_valid(uint32_t flags, size_t label_bytes)
{
	if (flags & ~(WIRE_COMMIT_POINT | WIRE_COMMIT_LABELLED))
		return false;
	if (!(flags & WIRE_COMMIT_LABELLED))
		return label_bytes == 0;
	return (flags & WIRE_COMMIT_POINT) && label_bytes > 0;
}

#endif
