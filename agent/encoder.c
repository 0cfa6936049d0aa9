/* SPDX-License-Identifier: Apache-2.0 */
#include "encoder.h"
#include <assert.h>

/* A run of zero blocks inside a payload is worth a frame of its own from here
 * on; a shorter one only at the payload's edge or when it is all there is. */
#define ZERO_RUN_BYTES (4 * BLOCK_BYTES)

#define SLOW_LINK (60 * MIB) /* bytes a second */
#define FAST_LINK (200 * MIB)

#define SMALL_BODY 512u /* of every frame without a payload */

void encoder_init(struct encoder *enc, struct outbox *out)
{
	*enc = (struct encoder){ .out = out, .codec = CODEC_RAW, .level = 1 };
}

enum payload_codec encoder_codec_for(enum payload_codec now, uint64_t bytes_per_second, bool busy)
{
	if (bytes_per_second > FAST_LINK)
		return CODEC_RAW;
	if (busy)
		return bytes_per_second < SLOW_LINK ? CODEC_ZSTD : CODEC_LZ4;
	return now;
}

void encoder_reset(struct encoder *enc)
{
	enc->zero_length = 0;
	enc->records = 0;
}

bool encoder_ready(const struct encoder *enc)
{
	return outbox_reserve(enc->out, ENCODER_ROOM) != NULL;
}

/* For a frame with @bytes of body. */
static uint8_t *room(struct encoder *enc, size_t bytes)
{
	uint8_t *at = outbox_reserve(enc->out, WIRE_HEADER_BYTES + bytes);

	assert(at); /* the caller asked encoder_ready() */
	return at;
}

void encoder_flush(struct encoder *enc)
{
	struct wire_zero m = { enc->zero_disk, enc->zero_offset, enc->zero_length };

	if (!enc->zero_length)
		return;
	enc->zero_length = 0;
	enc->zero_bytes += m.length_bytes;
	enc->records++;
	outbox_put(enc->out, wire_put_zero(room(enc, SMALL_BODY), &m));
}

void encoder_zero(struct encoder *enc, uint16_t disk, uint64_t offset, uint64_t length)
{
	if (enc->zero_length && enc->zero_disk == disk && enc->zero_offset + enc->zero_length == offset) {
		enc->zero_length += length;
		return;
	}
	encoder_flush(enc);
	enc->zero_disk = disk;
	enc->zero_offset = offset;
	enc->zero_length = length;
}

static void put_data(struct encoder *enc, uint16_t disk, uint64_t offset, uint32_t length, const uint8_t *payload)
{
	uint8_t *frame;
	struct wire_data m = { .disk = disk, .offset_bytes = offset, .length_bytes = length };

	encoder_flush(enc);
	frame = room(enc, WIRE_DATA_PAYLOAD_AT - WIRE_HEADER_BYTES + length);
	m.checksum = payload_checksum(payload, length); /* W3 */
	m.stored = frame + WIRE_DATA_PAYLOAD_AT;
	m.stored_bytes = payload_compress(enc->codec, enc->level, payload, length, frame + WIRE_DATA_PAYLOAD_AT, &m.codec);
	enc->payload_bytes += length;
	enc->stored_bytes += m.stored_bytes;
	enc->records++;
	outbox_put(enc->out, wire_put_data(frame, &m));
}

/* The next run of zero blocks in the payload from @from on, long enough to be
 * sent as one; @length if there is none. */
static uint32_t find_zero_run(uint64_t offset, const uint8_t *payload, uint32_t from, uint32_t length, uint32_t *ret_end)
{
	uint32_t start = length, at = from;

	while (at < length) {
		uint32_t piece = MIN(length - at, BLOCK_BYTES - (uint32_t)((offset + at) % BLOCK_BYTES));

		if (is_zero(payload + at, piece)) {
			start = MIN(start, at);
		} else if (start < at) {
			if (at - start >= ZERO_RUN_BYTES || start == 0)
				break;
			start = length;
		}
		at += piece;
	}
	*ret_end = at;
	return start;
}

void encoder_data(struct encoder *enc, uint16_t disk, uint64_t offset, uint32_t length, const uint8_t *payload)
{
	uint32_t at = 0;

	assert(length && offset / CHUNK_BYTES == (offset + length - 1) / CHUNK_BYTES);
	while (at < length) {
		uint32_t end, zero = find_zero_run(offset, payload, at, length, &end);

		if (zero > at)
			put_data(enc, disk, offset + at, zero - at, payload + at);
		if (zero < length)
			encoder_zero(enc, disk, offset + zero, end - zero);
		at = zero < length ? end : length;
	}
}

void encoder_hash(struct encoder *enc, const struct wire_hash *m)
{
	encoder_flush(enc);
	outbox_put(enc->out, wire_put_hash(room(enc, SMALL_BODY), m));
}

void encoder_commit(struct encoder *enc, struct wire_commit *m)
{
	encoder_flush(enc);
	m->record_count = enc->records;
	enc->records = 0;
	outbox_put(enc->out, wire_put_commit(room(enc, SMALL_BODY), m));
}

void encoder_disk(struct encoder *enc, const struct wire_disk *m)
{
	encoder_flush(enc);
	outbox_put(enc->out, wire_put_disk(room(enc, SMALL_BODY), m));
}
