/* SPDX-License-Identifier: Apache-2.0 */
#include "epoch.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ZEROES_MAX 16384u
#define NO_SLOT	   UINT32_MAX

struct slot {
	uint64_t key;	/* disk << 48 | block */
	uint8_t valid;	/* bit n: sector n */
	uint32_t next;	/* in the arena's free list */
};

struct arena {
	uint8_t *bytes;
	struct slot *slots;
	uint32_t count, free, first_free;
};

struct epoch {
	struct arena *arena;
	uint32_t *table;	/* open addressing: slot number + 1, 0 empty */
	uint32_t table_mask;
	uint32_t *order;	/* slot numbers, as they came; sorted once sending begins */
	uint32_t count, sent;
	size_t zeroes_sent;
	bool sending;
	struct ranges zeroes;
};

int arena_new(uint64_t bytes, struct arena **ret)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->count = (uint32_t)MIN(MAX(bytes / BLOCK_BYTES, 32), UINT32_MAX / 4);
	a->free = a->count;
	a->slots = calloc(a->count, sizeof(*a->slots));
	a->bytes = mmap(NULL, (size_t)a->count * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!a->slots || a->bytes == MAP_FAILED) {
		a->bytes = a->bytes == MAP_FAILED ? NULL : a->bytes;
		arena_free(a);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < a->count; i++)
		a->slots[i].next = i + 1 < a->count ? i + 1 : NO_SLOT;
	*ret = a;
	return 0;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	if (a->bytes)
		munmap(a->bytes, (size_t)a->count * BLOCK_BYTES);
	free(a->slots);
	free(a);
}

uint64_t arena_blocks(const struct arena *a)
{
	return a->count;
}

uint64_t arena_free_blocks(const struct arena *a)
{
	return a->free;
}

static uint32_t arena_take(struct arena *a)
{
	uint32_t slot = a->first_free;

	assert(a->free && slot != NO_SLOT);
	a->first_free = a->slots[slot].next;
	a->free--;
	return slot;
}

static void arena_give(struct arena *a, uint32_t slot)
{
	a->slots[slot].next = a->first_free;
	a->first_free = slot;
	a->free++;
}

int epoch_new(struct arena *a, struct epoch **ret)
{
	struct epoch *e = calloc(1, sizeof(*e));
	uint32_t size = 64;

	if (!e)
		return -ENOMEM;
	while (size < a->count * 2)
		size *= 2;
	e->arena = a;
	e->table_mask = size - 1;
	e->table = calloc(size, sizeof(*e->table));
	e->order = calloc(a->count, sizeof(*e->order));
	if (!e->table || !e->order || ranges_init(&e->zeroes, ZEROES_MAX) < 0) {
		epoch_free(e);
		return -ENOMEM;
	}
	*ret = e;
	return 0;
}

void epoch_free(struct epoch *e)
{
	if (!e)
		return;
	if (e->order && e->table)
		epoch_clear(e);
	ranges_done(&e->zeroes);
	free(e->table);
	free(e->order);
	free(e);
}

void epoch_clear(struct epoch *e)
{
	while (e->count > e->sent)
		arena_give(e->arena, e->order[--e->count]);
	e->count = e->sent = 0;
	e->zeroes_sent = e->zeroes.count = 0;
	e->sending = false;
	memset(e->table, 0, ((size_t)e->table_mask + 1) * sizeof(*e->table));
}

static uint64_t slot_key(uint16_t disk, uint64_t block)
{
	return (uint64_t)disk << 48 | block;
}

static uint32_t *table_place(const struct epoch *e, uint64_t key)
{
	uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15ULL) >> 32) & e->table_mask;

	while (e->table[i] && e->arena->slots[e->table[i] - 1].key != key)
		i = (i + 1) & e->table_mask;
	return &e->table[i];
}

static struct slot *find_slot(const struct epoch *e, uint16_t disk, uint64_t block)
{
	uint32_t number = *table_place(e, slot_key(disk, block));

	return number ? &e->arena->slots[number - 1] : NULL;
}

static struct slot *make_slot(struct epoch *e, uint16_t disk, uint64_t block)
{
	uint32_t *place = table_place(e, slot_key(disk, block));

	if (!*place) {
		uint32_t number = arena_take(e->arena);

		e->arena->slots[number] = (struct slot){ .key = slot_key(disk, block) };
		e->order[e->count++] = number;
		*place = number + 1;
	}
	return &e->arena->slots[*place - 1];
}

static uint8_t *slot_bytes(const struct arena *a, const struct slot *s)
{
	return a->bytes + (size_t)(s - a->slots) * BLOCK_BYTES;
}

/* The valid bits of sectors from byte @from to byte @to of a block. */
static uint8_t sector_bits(uint32_t from, uint32_t to)
{
	return (uint8_t)((0xffu << (from / SECTOR_BYTES)) & (0xffu >> (BLOCK_SECTORS - to / SECTOR_BYTES)));
}

int epoch_write(struct epoch *e, uint16_t disk, uint64_t offset, uint32_t length, const uint8_t *payload)
{
	uint64_t end = offset + length, blocks = (end + BLOCK_BYTES - 1) / BLOCK_BYTES - offset / BLOCK_BYTES;

	assert(!e->sending && length && offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0);
	if (e->arena->free < blocks)
		return -ENOBUFS;
	while (offset < end) {
		uint32_t from = offset % BLOCK_BYTES, to = (uint32_t)MIN(BLOCK_BYTES, from + (end - offset));
		struct slot *s = make_slot(e, disk, offset / BLOCK_BYTES);

		memcpy(slot_bytes(e->arena, s) + from, payload, to - from);
		s->valid |= sector_bits(from, to);
		payload += to - from;
		offset += to - from;
	}
	return 0;
}

/* Clear the valid bits of every slot in the range. */
static void invalidate(struct epoch *e, uint16_t disk, uint64_t offset, uint64_t end)
{
	uint64_t first = offset / BLOCK_BYTES, last = (end - 1) / BLOCK_BYTES;
	bool by_block = last - first < e->count;
	uint64_t steps = by_block ? last - first + 1 : e->count;

	for (uint64_t i = 0; i < steps; i++) {
		struct slot *s = by_block ? find_slot(e, disk, first + i) : &e->arena->slots[e->order[i]];
		uint64_t block, start;

		if (!s || s->key >> 48 != disk)
			continue;
		block = s->key & ((1ULL << 48) - 1);
		if (block < first || block > last)
			continue;
		start = block * BLOCK_BYTES;
		s->valid &= (uint8_t)~sector_bits((uint32_t)(MAX(offset, start) - start),
						  (uint32_t)(MIN(end, start + BLOCK_BYTES) - start));
	}
}

int epoch_zero(struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	int r;

	assert(!e->sending && length);
	r = ranges_add(&e->zeroes, disk, offset, offset + length);
	if (r < 0)
		return r;
	invalidate(e, disk, offset, offset + length);
	return 0;
}

int epoch_drop(struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	int r;

	assert(!e->sending && length);
	r = ranges_remove(&e->zeroes, disk, offset, offset + length);
	if (r < 0)
		return r;
	invalidate(e, disk, offset, offset + length);
	return 0;
}

bool epoch_touches(const struct epoch *e, uint16_t disk, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	if (ranges_overlap(&e->zeroes, disk, offset, end))
		return true;
	if (!e->count)
		return false;
	for (uint64_t block = offset / BLOCK_BYTES; block <= (end - 1) / BLOCK_BYTES; block++) {
		const struct slot *s = find_slot(e, disk, block);
		uint64_t start = block * BLOCK_BYTES;

		if (s && s->valid & sector_bits((uint32_t)(MAX(offset, start) - start),
						(uint32_t)(MIN(end, start + BLOCK_BYTES) - start)))
			return true;
	}
	return false;
}

static int by_key(const void *a, const void *b, void *context)
{
	const struct arena *arena = context;
	uint64_t x = arena->slots[*(const uint32_t *)a].key, y = arena->slots[*(const uint32_t *)b].key;

	return x < y ? -1 : x > y;
}

/* Append the runs of @s to @piece for as long as they continue it.  false:
 * something of the slot does not; its valid bits that were taken are cleared. */
static bool append_slot(const struct arena *a, struct slot *s, struct epoch_piece *piece, uint8_t *payload)
{
	uint64_t start = (s->key & ((1ULL << 48) - 1)) * BLOCK_BYTES;
	uint16_t disk = (uint16_t)(s->key >> 48);

	for (unsigned int i = 0; i < BLOCK_SECTORS; i++) {
		uint64_t at = start + i * SECTOR_BYTES;

		if (!(s->valid & 1u << i))
			continue;
		if (piece->length && (piece->disk != disk || piece->offset + piece->length != at ||
				      at % CHUNK_BYTES == 0))
			return false;
		if (!piece->length)
			*piece = (struct epoch_piece){ .disk = disk, .offset = at };
		memcpy(payload + piece->length, slot_bytes(a, s) + i * SECTOR_BYTES, SECTOR_BYTES);
		piece->length += SECTOR_BYTES;
		s->valid &= (uint8_t)~(1u << i);
	}
	return true;
}

bool epoch_next(struct epoch *e, struct epoch_piece *ret, uint8_t ret_payload[CHUNK_BYTES])
{
	struct epoch_piece piece = { 0 };

	if (!e->sending) {
		qsort_r(e->order, e->count, sizeof(*e->order), by_key, e->arena);
		e->sending = true;
	}
	if (e->zeroes_sent < e->zeroes.count) {
		const struct range *z = &e->zeroes.list[e->zeroes_sent++];

		*ret = (struct epoch_piece){ z->disk, true, z->start, z->end - z->start };
		return true;
	}
	for (; e->sent < e->count; e->sent++) {
		if (!append_slot(e->arena, &e->arena->slots[e->order[e->sent]], &piece, ret_payload))
			break;
		arena_give(e->arena, e->order[e->sent]);
	}
	if (!piece.length)
		return false;
	*ret = piece;
	return true;
}
