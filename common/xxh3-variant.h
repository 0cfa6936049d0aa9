/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GODWIT_XXH3_VARIANT_H
#define GODWIT_XXH3_VARIANT_H

#include "base.h"

struct xxh3_variant {
	uint64_t (*one)(const void *bytes, size_t len);
	uint64_t (*two)(const void *first, size_t first_len, const void *second, size_t second_len);
	void (*wide)(const void *bytes, size_t len, uint64_t seed, uint64_t ret_hash[2]);
};

extern const struct xxh3_variant xxh3_plain;
#ifdef __x86_64__
extern const struct xxh3_variant xxh3_avx2;
#endif

#endif
