/* SPDX-License-Identifier: Apache-2.0 */
#include "plane.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define GROUP_WORDS 64u /* words under one bit of the summary */
#define GROUP_BITS  (GROUP_WORDS * 64u)

static uint64_t word_count(uint64_t bits)
{
	return (bits + 63) / 64;
}

static uint64_t group_count(uint64_t bits)
{
	return (bits + GROUP_BITS - 1) / GROUP_BITS;
}

/* Bits @from to @to (exclusive, <= 64) of a word. */
static uint64_t mask_between(unsigned int from, unsigned int to)
{
	uint64_t upper = to == 64 ? ~0ULL : (1ULL << to) - 1;

	return upper & (~0ULL << from);
}

int plane_init(struct plane *p, uint64_t *words, uint64_t bits)
{
	uint64_t groups = group_count(bits), count = 0;
	uint64_t *summary = calloc(word_count(groups) + 1, sizeof(*summary));

	if (!summary)
		return -ENOMEM;
	if (bits % 64)
		words[bits / 64] &= mask_between(0, bits % 64);
	for (uint64_t i = 0; i < word_count(bits); i++) {
		if (!words[i])
			continue;
		count += (uint64_t)__builtin_popcountll(words[i]);
		summary[i / GROUP_WORDS / 64] |= 1ULL << (i / GROUP_WORDS % 64);
	}
	*p = (struct plane){ .words = words, .bits = bits, .count = count, .summary = summary };
	return 0;
}

void plane_done(struct plane *p)
{
	free(p->summary);
	*p = (struct plane){ 0 };
}

void plane_set(struct plane *p, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	assert(end >= first && end <= p->bits);
	while (first < end) {
		uint64_t word = first / 64;
		unsigned int from = first % 64, to = (unsigned int)MIN(64, from + (end - first));
		uint64_t mask = mask_between(from, to);

		p->count += (uint64_t)__builtin_popcountll(mask & ~p->words[word]);
		p->words[word] |= mask;
		p->summary[word / GROUP_WORDS / 64] |= 1ULL << (word / GROUP_WORDS % 64);
		first += to - from;
	}
}

void plane_clear(struct plane *p, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	assert(end >= first && end <= p->bits);
	while (first < end && p->count) {
		uint64_t word = first / 64;
		unsigned int from = first % 64, to = (unsigned int)MIN(64, from + (end - first));
		uint64_t mask = mask_between(from, to);

		p->count -= (uint64_t)__builtin_popcountll(mask & p->words[word]);
		p->words[word] &= ~mask;
		first += to - from;
	}
}

void plane_clear_all(struct plane *p)
{
	uint64_t words = word_count(p->bits);

	for (uint64_t s = 0; s <= word_count(group_count(p->bits)); s++) {
		while (p->summary[s]) {
			uint64_t group = s * 64 + (uint64_t)__builtin_ctzll(p->summary[s]);
			uint64_t from = group * GROUP_WORDS, to = MIN(from + GROUP_WORDS, words);

			memset(&p->words[from], 0, (to - from) * sizeof(uint64_t));
			p->summary[s] &= p->summary[s] - 1;
		}
	}
	p->count = 0;
}

bool plane_test(const struct plane *p, uint64_t bit)
{
	assert(bit < p->bits);
	return p->words[bit / 64] >> (bit % 64) & 1;
}

bool plane_any(const struct plane *p, uint64_t first, uint64_t count)
{
	uint64_t bit = first;

	return p->count && plane_next(p, &bit, 1) && bit < first + count;
}

/* First set bit at or after @bit, or p->bits. */
static uint64_t find_set(const struct plane *p, uint64_t bit)
{
	uint64_t words = word_count(p->bits), word = bit / 64;
	uint64_t value;

	if (bit >= p->bits)
		return p->bits;
	value = p->words[word] & mask_between(bit % 64, 64);
	while (!value) {
		if (++word >= words)
			return p->bits;
		/* At a group's beginning, leap over the groups that are empty. */
		while (word % GROUP_WORDS == 0 && !(p->summary[word / GROUP_WORDS / 64] >> (word / GROUP_WORDS % 64) & 1)) {
			word += GROUP_WORDS;
			if (word >= words)
				return p->bits;
		}
		value = p->words[word];
	}
	return word * 64 + (uint64_t)__builtin_ctzll(value);
}

uint64_t plane_next(const struct plane *p, uint64_t *bit, uint64_t max)
{
	uint64_t first, end;

	if (!p->count || !max)
		return 0;
	first = find_set(p, *bit);
	if (first == p->bits)
		return 0;
	for (end = first + 1; end < p->bits && end - first < max; ) {
		if (end % 64 == 0 && p->words[end / 64] == ~0ULL && end + 64 <= p->bits)
			end += 64;
		else if (plane_test(p, end))
			end++;
		else
			break;
	}
	*bit = first;
	return MIN(end - first, max);
}
