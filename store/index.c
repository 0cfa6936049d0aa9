/* SPDX-License-Identifier: Apache-2.0 */
#include "index.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_BUCKETS 4096u

int index_init(struct index *x)
{
	*x = (struct index){ .bucket_count = FIRST_BUCKETS };
	x->buckets = calloc(x->bucket_count, sizeof(*x->buckets));
	return x->buckets ? 0 : -ENOMEM;
}

void index_done(struct index *x)
{
	free(x->slots);
	free(x->buckets);
	*x = (struct index){ 0 };
}

void index_clear(struct index *x)
{
	x->count = 0;
	x->level_mask = 0;
	memset(x->buckets, 0, x->bucket_count * sizeof(*x->buckets));
}

static uint32_t *bucket_of(const struct index *x, uint64_t key)
{
	uint64_t hash = key * 0x9e3779b97f4a7c15ULL;

	return &x->buckets[hash >> 32 & (x->bucket_count - 1)];
}

static void link_slot(struct index *x, size_t slot)
{
	uint32_t *bucket = bucket_of(x, x->slots[slot].entry.key);

	x->slots[slot].older = *bucket;
	*bucket = (uint32_t)slot + 1;
}

/* In the order of writing, so that each bucket stays newest first. */
static int grow(struct index *x)
{
	size_t i, room = MAX(x->room * 2, (size_t)FIRST_BUCKETS);
	struct index_slot *slots = reallocarray(x->slots, room, sizeof(*slots));
	uint32_t *buckets;

	if (!slots)
		return -ENOMEM;
	x->slots = slots;
	buckets = calloc(room, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(x->buckets);
	x->buckets = buckets;
	x->bucket_count = x->room = room;
	for (i = 0; i < x->count; i++)
		link_slot(x, i);
	return 0;
}

int index_add(struct index *x, const struct entry *e)
{
	if (x->count == UINT32_MAX - 1)
		return -EFBIG;
	if (x->count == x->room && grow(x) < 0)
		return -ENOMEM;
	x->slots[x->count].entry = *e;
	x->level_mask |= 1u << key_level(e->key);
	link_slot(x, x->count++);
	return 0;
}

static uint32_t next_of(const struct index *x, uint32_t at, uint64_t key)
{
	while (at != 0 && x->slots[at - 1].entry.key != key)
		at = x->slots[at - 1].older;
	return at;
}

int index_versions(const struct index *x, uint16_t disk, uint64_t chunk,
		   int (*each)(void *context, const struct entry *e), void *context)
{
	uint64_t keys[LEVELS];
	uint32_t at[LEVELS] = { 0 }, best;
	unsigned int level, from;
	int err = 0;

	for (level = 0; level < LEVELS; level++) {
		keys[level] = key_above(key_make(0, disk, chunk), level);
		if (x->level_mask & 1u << level)
			at[level] = next_of(x, *bucket_of(x, keys[level]), keys[level]);
	}
	while (err == 0) {
		for (best = 0, from = 0, level = 0; level < LEVELS; level++) {
			if (at[level] > best) {
				best = at[level];
				from = level;
			}
		}
		if (best == 0)
			break;
		err = each(context, &x->slots[best - 1].entry);
		at[from] = next_of(x, x->slots[best - 1].older, keys[from]);
	}
	return err;
}
