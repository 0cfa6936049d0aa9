/* SPDX-License-Identifier: Apache-2.0 */
/* search - places in tables that ascend. */
#ifndef GODWIT_STORE_SEARCH_H
#define GODWIT_STORE_SEARCH_H

#include "base.h"

/* How many of @count elements are before @key, by what @at says of each. */
static inline size_t search_below(const void *table, size_t count, uint64_t (*at)(const void *table, size_t index),
				  uint64_t key)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (at(table, mid) < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ... are before @key or equal to it. */
static inline size_t search_upto(const void *table, size_t count, uint64_t (*at)(const void *table, size_t index),
				 uint64_t key)
{
	return key == UINT64_MAX ? count : search_below(table, count, at, key + 1);
}

/* For qsort() and bsearch(). */
static inline int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

#endif
