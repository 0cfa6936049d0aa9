/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled once for each set of instructions, under the name VARIANT (meson.build). */
#define XXH_INLINE_ALL /* the state lies on the stack, and is compiled for these instructions */
#include <xxhash.h>

#include "xxh3-variant.h"

static uint64_t one(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

static uint64_t two(const void *first, size_t first_len, const void *second, size_t second_len)
{
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, first, first_len);
	XXH3_64bits_update(&state, second, second_len);
	return XXH3_64bits_digest(&state);
}

static void wide(const void *bytes, size_t len, uint64_t seed, uint64_t ret_hash[2])
{
	XXH128_hash_t h = XXH3_128bits_withSeed(bytes, len, seed);

	ret_hash[0] = h.low64;
	ret_hash[1] = h.high64;
}

const struct xxh3_variant VARIANT = { one, two, wide };
