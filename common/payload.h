/* SPDX-License-Identifier: Apache-2.0 */
/*
 * payload - checksums and compression of what was on the disk, the same on
 * the wire and in the store (their documents name the values).
 */
#ifndef GODWIT_PAYLOAD_H
#define GODWIT_PAYLOAD_H

#include "base.h"

enum payload_codec { CODEC_RAW = 0, CODEC_LZ4 = 1, CODEC_ZSTD = 2 };

/* XXH3-64, seed 0, of the uncompressed payload. */
uint64_t payload_checksum(const void *payload, size_t len);

/* XXH3-128 with a session's secret seed, low half first: for comparing what
 * two sides have. */
void payload_hash(const void *payload, size_t len, uint64_t seed, uint64_t ret_hash[2]);

/*
 * Compress @len bytes (at most CHUNK_BYTES) into @out, which has room for
 * @len.  Returns the stored length and sets *@ret_codec; CODEC_RAW with a
 * plain copy when @codec does not make it smaller.  @level is zstd's.
 */
uint32_t payload_compress(enum payload_codec codec, int level, const void *in, uint32_t len, void *out,
			  uint8_t *ret_codec);

/* Exactly @len bytes into @out, or -EBADMSG. */
_must_check_ int payload_decompress(uint8_t codec, const void *stored, uint32_t stored_bytes, void *out, uint32_t len);

#endif
