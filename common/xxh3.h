/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xxh3 - XXH3 for payloads, with the widest registers that the processor has.
 *
 * The library as distributions build it uses what every x86-64 has (SSE2), a
 * quarter as fast as AVX2; each payload is hashed twice by whoever sends it and
 * twice by whoever takes it.  The results are the same everywhere.
 */
#ifndef GODWIT_XXH3_H
#define GODWIT_XXH3_H

#include "base.h"

uint64_t xxh3_64(const void *bytes, size_t len);
/* As if the two stood one behind the other. */
uint64_t xxh3_64_of_two(const void *first, size_t first_len, const void *second, size_t second_len);
/* XXH3-128, low half first. */
void xxh3_128(const void *bytes, size_t len, uint64_t seed, uint64_t ret_hash[2]);

#endif
