/* SPDX-License-Identifier: Apache-2.0 */
#include "xxh3.h"
#include "xxh3-variant.h"

static const struct xxh3_variant *variant(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return &xxh3_avx2;
#endif
	return &xxh3_plain;
}

uint64_t xxh3_64(const void *bytes, size_t len)
{
	return variant()->one(bytes, len);
}

uint64_t xxh3_64_of_two(const void *first, size_t first_len, const void *second, size_t second_len)
{
	return variant()->two(first, first_len, second, second_len);
}

void xxh3_128(const void *bytes, size_t len, uint64_t seed, uint64_t ret_hash[2])
{
	variant()->wide(bytes, len, seed, ret_hash);
}
