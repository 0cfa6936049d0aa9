/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder - payloads as DATA and ZERO frames in the outbox.
 *
 * Zero blocks are found and travel as ranges; a range is held back for as long
 * as what follows continues it, and goes out before anything else does, so
 * that frames stay in order (W1).  Compression as set; what does not become
 * smaller goes as it is.
 */
#ifndef GODWIT_ENCODER_H
#define GODWIT_ENCODER_H

#include "base.h"
#include "outbox.h"
#include "payload.h"
#include "wire.h"

/* What one call may put at most: a chunk whose blocks alternate between zero
 * and data, and a range held back. */
#define ENCODER_ROOM (CHUNK_BYTES + 24 * (WIRE_HEADER_BYTES + 48u))

struct encoder {
	struct outbox *out;
	enum payload_codec codec;
	int level;		 /* zstd's */
	uint64_t records;	 /* DATA and ZERO frames since the last COMMIT */
	uint64_t payload_bytes, stored_bytes, zero_bytes; /* accounts, ever growing */
	uint16_t zero_disk;	 /* the range held back */
	uint64_t zero_offset, zero_length;
};

/*
 * Which codec suits a link over which so much goes; @busy: it takes no more.
 * Compress where the link is the bottleneck, and the harder the slower it is.  What takes
 * FAST_LINK is no bottleneck to one thread that compresses: that would be the next one itself.
 */
enum payload_codec encoder_codec_for(enum payload_codec now, uint64_t bytes_per_second, bool busy);

void encoder_init(struct encoder *enc, struct outbox *out);

/* The connection was lost: nothing is held back any more. */
void encoder_reset(struct encoder *enc);

/* Is there room for one call of any of these? */
bool encoder_ready(const struct encoder *enc);

/* Not crossing a chunk. */
void encoder_data(struct encoder *enc, uint16_t disk, uint64_t offset, uint32_t length, const uint8_t *payload);
void encoder_zero(struct encoder *enc, uint16_t disk, uint64_t offset, uint64_t length);
void encoder_hash(struct encoder *enc, const struct wire_hash *m);
void encoder_commit(struct encoder *enc, struct wire_commit *m); /* fills in record_count */
void encoder_disk(struct encoder *enc, const struct wire_disk *m);

/* Send what is held back. */
void encoder_flush(struct encoder *enc);

#endif
