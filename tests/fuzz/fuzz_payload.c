/* SPDX-License-Identifier: Apache-2.0 */
/* A compressed payload: one byte of codec, four of its length when decompressed,
 * and what was stored.  Both buffers are of exactly their size. */
#include "fuzz.h"
#include "payload.h"
#include <assert.h>
#include <stdlib.h>

static void round_trip(uint8_t codec, const uint8_t *in, uint32_t len)
{
	uint8_t *stored = malloc(len + 1), *out = malloc(len + 1), used;
	uint32_t n;

	if (!stored || !out)
		abort();
	n = payload_compress(codec, 1, in, len, stored, &used);
	assert(n <= len && (used == codec || used == CODEC_RAW));
	assert(payload_decompress(used, stored, n, out, len) == 0 && memcmp(in, out, len) == 0);
	free(stored);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *stored, *out, codec;
	uint32_t len;

	if (size < 5)
		return 0;
	codec = data[0];
	len = get_le32(data + 1);
	size -= 5;
	stored = malloc(size + 1);
	out = malloc(MIN(len, CHUNK_BYTES) + 1);
	if (!stored || !out)
		abort();
	memcpy(stored, data + 5, size);
	if (payload_decompress(codec, stored, (uint32_t)size, out, len) == 0) {
		assert(len <= CHUNK_BYTES);
		round_trip(codec, out, len);
	}
	if (size <= CHUNK_BYTES && codec <= CODEC_ZSTD)
		round_trip(codec, stored, (uint32_t)size);
	free(stored);
	free(out);
	return 0;
}
