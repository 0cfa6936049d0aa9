/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"
#include "search.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <xxhash.h>

static const char run_magic[8] = "GODWITRN";
#define RUN_VERSION 1u

uint64_t run_checksum(const void *p, size_t len, uint64_t where)
{
	return XXH3_64bits_withSeed(p, len, where);
}

void run_header_put(uint8_t *buf, const struct run_layout *l)
{
	memset(buf, 0, RUN_HEADER_BYTES);
	memcpy(buf, run_magic, 8);
	put_le32(buf + 8, RUN_VERSION);
	put_le32(buf + 12, l->gen);
	memcpy(buf + 16, l->machine.bytes, 16);
	put_le64(buf + 32, l->from);
	put_le64(buf + 40, l->to);
	put_le64(buf + 48, l->to_time_us);
	put_le64(buf + 56, l->entry_count);
	put_le64(buf + 64, l->level_mask);
	put_le64(buf + 72, l->fences_at);
	put_le64(buf + 80, l->tables_at);
	put_le64(buf + 88, l->total_bytes);
	put_le64(buf + 96, l->point_count);
	put_le64(buf + 104, l->label_bytes);
	put_le64(buf + 112, l->file_count);
	put_le64(buf + 120, l->disk_count);
	put_le64(buf + 128, l->tables_sum);
	put_le64(buf + RUN_HEADER_BYTES - 8, run_checksum(buf, RUN_HEADER_BYTES - 8, 0));
}

/* --- opening --------------------------------------------------------------------- */

static int header_get(const uint8_t *buf, struct run_layout *ret)
{
	if (memcmp(buf, run_magic, 8) != 0 || get_le32(buf + 8) != RUN_VERSION ||
	    get_le64(buf + RUN_HEADER_BYTES - 8) != run_checksum(buf, RUN_HEADER_BYTES - 8, 0))
		return -EBADMSG;
	*ret = (struct run_layout){
		.gen = get_le32(buf + 12),
		.from = get_le64(buf + 32),
		.to = get_le64(buf + 40),
		.to_time_us = get_le64(buf + 48),
		.entry_count = get_le64(buf + 56),
		.level_mask = (uint32_t)get_le64(buf + 64),
		.fences_at = get_le64(buf + 72),
		.tables_at = get_le64(buf + 80),
		.total_bytes = get_le64(buf + 88),
		.point_count = get_le64(buf + 96),
		.label_bytes = get_le64(buf + 104),
		.file_count = get_le64(buf + 112),
		.disk_count = get_le64(buf + 120),
		.tables_sum = get_le64(buf + 128),
	};
	memcpy(ret->machine.bytes, buf + 16, 16);
	return 0;
}

static uint64_t blocks_of(uint64_t count, uint64_t each)
{
	return count / each + (count % each != 0);
}

/* Every length against the file's before any sum of them. */
static bool layout_valid(const struct run_layout *l, uint64_t file_bytes)
{
	const uint64_t max = file_bytes / 8;
	uint64_t blocks = blocks_of(l->entry_count, RUN_BLOCK_ENTRIES);
	uint64_t fence_blocks = blocks_of(blocks, RUN_BLOCK_FENCES);

	if (l->from == 0 || l->from > l->to || l->to > EPOCH_MAX || l->total_bytes != file_bytes)
		return false;
	if (l->entry_count > max || l->point_count > max || l->label_bytes > file_bytes || l->file_count > max ||
	    l->disk_count > max || file_bytes > INT64_MAX / 2)
		return false;
	return l->fences_at == RUN_HEADER_BYTES + blocks * RUN_BLOCK_BYTES &&
	       l->tables_at == l->fences_at + fence_blocks * RUN_BLOCK_BYTES &&
	       l->total_bytes == l->tables_at + fence_blocks * 8 + l->point_count * RUN_POINT_BYTES +
					 l->file_count * RUN_FILE_BYTES + l->disk_count * RUN_DISK_BYTES +
					 l->label_bytes;
}

static bool points_valid(const struct run *r)
{
	struct run_point p;
	uint64_t last = 0;
	size_t i;

	for (i = 0; i < r->point_count; i++) {
		const uint8_t *at = r->points + i * RUN_POINT_BYTES;
		uint32_t label_at = get_le32(at + 20);

		if (label_at > r->label_bytes)
			return false;
		if (label_at < r->label_bytes &&
		    (r->labels[label_at] > STORE_LABEL_MAX || r->labels[label_at] >= r->label_bytes - label_at))
			return false;
		run_point(r, i, &p);
		if (p.epoch < r->from || p.epoch > r->to || p.epoch <= last)
			return false;
		last = p.epoch;
	}
	return true;
}

static int run_adopt(struct run *r, const struct run_layout *l)
{
	uint64_t blocks = blocks_of(l->entry_count, RUN_BLOCK_ENTRIES);
	uint64_t fence_blocks = blocks_of(blocks, RUN_BLOCK_FENCES);

	r->machine = l->machine;
	r->from = l->from;
	r->to = l->to;
	r->to_time_us = l->to_time_us;
	r->gen = l->gen;
	r->level_mask = l->level_mask;
	r->entry_count = l->entry_count;
	r->block_count = blocks;
	r->point_count = l->point_count;
	r->file_count = l->file_count;
	r->disk_count = l->disk_count;
	r->label_bytes = l->label_bytes;
	r->entries = r->map + RUN_HEADER_BYTES;
	r->fences = r->map + l->fences_at;
	r->fence_sums = r->tables;
	r->points = r->fence_sums + fence_blocks * 8;
	r->files = r->points + l->point_count * RUN_POINT_BYTES;
	r->disks = r->files + l->file_count * RUN_FILE_BYTES;
	r->labels = r->disks + l->disk_count * RUN_DISK_BYTES;
	r->checked = calloc((blocks + fence_blocks) / 64 + 1, sizeof(*r->checked));
	if (!r->checked)
		return -ENOMEM;
	if (run_checksum(r->tables, l->total_bytes - l->tables_at, l->tables_at) != l->tables_sum)
		return -EBADMSG;
	return points_valid(r) ? 0 : -EBADMSG;
}

static int read_header(struct run *r, int fd, const char *name, struct run_layout *ret)
{
	uint8_t header[RUN_HEADER_BYTES];
	uint64_t from, to;
	uint32_t gen;
	int err = r->sys->size(r->sys, fd, &r->file_bytes);

	if (err == 0)
		err = sys_read(r->sys, fd, header, sizeof(header), 0);
	if (err == 0)
		err = header_get(header, ret);
	if (err < 0)
		return err == -ENODATA ? -EBADMSG : err;
	if (!run_name_parse(name, &from, &to, &gen) || from != ret->from || to != ret->to || gen != ret->gen ||
	    !layout_valid(ret, r->file_bytes))
		return -EBADMSG;
	return 0;
}

/* Header and tables, which every look at the folder needs, are read rather than
 * mapped: what the disk cannot read back is an error, not a signal. */
static int open_mapped(struct run *r, int fd, const char *name)
{
	struct run_layout l;
	const void *map;
	uint64_t length;
	int err = read_header(r, fd, name, &l);

	if (err < 0)
		return err;
	length = l.total_bytes - l.tables_at;
	r->tables = malloc(length + 1);
	if (!r->tables)
		return -ENOMEM;
	err = sys_read(r->sys, fd, r->tables, length, l.tables_at);
	if (err == 0)
		err = r->sys->map(r->sys, fd, r->file_bytes, &map);
	if (err < 0)
		return err == -ENODATA ? -EBADMSG : err;
	r->map = map;
	return run_adopt(r, &l);
}

int run_open(const struct store_sys *sys, const char *dir, const char *name, struct run **ret)
{
	char *path = sys_path(dir, name);
	struct run *r = calloc(1, sizeof(*r));
	int fd, err = -ENOMEM;

	if (!path || !r)
		goto out;
	r->sys = sys;
	fd = err = sys->open(sys, path, O_RDONLY, 0);
	if (fd < 0)
		goto out;
	err = open_mapped(r, fd, name);
	sys->close(sys, fd);
out:
	free(path);
	if (err < 0) {
		run_close(r);
		return err;
	}
	*ret = r;
	return 0;
}

int run_from_entries(uint8_t *entries, uint64_t count, struct run **ret)
{
	struct run *r = calloc(1, sizeof(*r));
	uint64_t i;

	if (!r)
		return -ENOMEM;
	r->entries = r->owned = entries;
	r->entry_count = count;
	for (i = 0; i < count; i++)
		r->level_mask |= 1u << key_level(entry_key(entries + i * ENTRY_BYTES));
	*ret = r;
	return 0;
}

void run_close(struct run *r)
{
	if (!r)
		return;
	if (r->map)
		r->sys->unmap(r->sys, r->map, r->file_bytes);
	free(r->checked);
	free(r->tables);
	free(r->owned);
	free(r);
}

/* --- entries ---------------------------------------------------------------------- */

/* Blocks are checked once.  Two threads may both do it; the answer is the same. */
static bool block_checked(struct run *r, uint64_t bit, const uint8_t *block, uint64_t sum)
{
	_Atomic(uint64_t) *word = &r->checked[bit / 64];
	uint64_t mask = 1ULL << (bit % 64);

	if (atomic_load_explicit(word, memory_order_relaxed) & mask)
		return true;
	if (r->sys->populate(r->sys, block, RUN_BLOCK_BYTES) < 0)
		return false;
	if (run_checksum(block, RUN_BLOCK_BYTES, (uint64_t)(block - r->map)) != sum)
		return false;
	atomic_fetch_or_explicit(word, mask, memory_order_relaxed);
	return true;
}

/* The fence of @block, or NULL: damaged. */
static const uint8_t *fence_of(struct run *r, uint64_t block)
{
	uint64_t fence_block = block / RUN_BLOCK_FENCES;
	const uint8_t *at = r->fences + fence_block * RUN_BLOCK_BYTES;

	if (!block_checked(r, r->block_count + fence_block, at, get_le64(r->fence_sums + fence_block * 8)))
		return NULL;
	return at + block % RUN_BLOCK_FENCES * FENCE_BYTES;
}

/* The entries of @block, or NULL: damaged. */
static const uint8_t *block_of(struct run *r, uint64_t block)
{
	const uint8_t *at = r->entries + block * RUN_BLOCK_BYTES;
	const uint8_t *fence;

	if (!r->checked)
		return at;
	fence = fence_of(r, block);
	if (!fence || !block_checked(r, block, at, get_le64(fence + 16)))
		return NULL;
	return at;
}

const uint8_t *run_entry_bytes(struct run *r, uint64_t index)
{
	const uint8_t *block;

	assert(index < r->entry_count);
	block = block_of(r, index / RUN_BLOCK_ENTRIES);
	return block ? block + index % RUN_BLOCK_ENTRIES * ENTRY_BYTES : NULL;
}

int run_entry(struct run *r, uint64_t index, struct entry *ret)
{
	const uint8_t *at = run_entry_bytes(r, index);

	return at ? entry_get(at, ret) : -EBADMSG;
}

static uint64_t seek_in(const uint8_t *entries, uint64_t count, uint64_t key, uint64_t version)
{
	uint64_t low = 0, high = count;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		const uint8_t *e = entries + mid * ENTRY_BYTES;

		if (entry_compare(entry_key(e), entry_version(e), key, version) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The number of blocks whose first entry is before (key, version). */
static int seek_fences(struct run *r, uint64_t key, uint64_t version, uint64_t *ret)
{
	uint64_t low = 0, high = r->block_count;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		const uint8_t *f = fence_of(r, mid);

		if (!f)
			return -EBADMSG;
		if (entry_compare(get_le64(f), get_le64(f + 8), key, version) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret = low;
	return 0;
}

int run_seek(struct run *r, uint64_t key, uint64_t version, uint64_t *ret_index)
{
	uint64_t block, first;
	const uint8_t *entries;
	int err;

	if (!r->checked) {
		*ret_index = seek_in(r->entries, r->entry_count, key, version);
		return 0;
	}
	err = seek_fences(r, key, version, &block);
	if (err < 0)
		return err;
	if (block == 0) {
		*ret_index = 0;
		return 0;
	}
	entries = block_of(r, block - 1);
	if (!entries)
		return -EBADMSG;
	first = (block - 1) * RUN_BLOCK_ENTRIES;
	*ret_index = first + seek_in(entries, MIN(RUN_BLOCK_ENTRIES, r->entry_count - first), key, version);
	return 0;
}

int run_check(struct run *r, uint64_t *ret_blocks_damaged)
{
	uint64_t i, damaged = 0;
	struct entry e, last = { 0 };
	int err;

	for (i = 0; i < r->entry_count; i++) {
		err = run_entry(r, i, &e);
		if (err == 0 && i > 0 && entry_compare(last.key, last.version, e.key, e.version) >= 0)
			err = -EBADMSG;
		if (err < 0) {
			damaged++;
			i += RUN_BLOCK_ENTRIES - 1 - i % RUN_BLOCK_ENTRIES;
		} else {
			last = e;
		}
	}
	*ret_blocks_damaged = damaged;
	return damaged ? -EBADMSG : 0;
}

/* --- tables ------------------------------------------------------------------------- */

void run_point(const struct run *r, size_t index, struct run_point *ret)
{
	const uint8_t *at = r->points + index * RUN_POINT_BYTES;
	uint32_t label_at = get_le32(at + 20);

	assert(index < r->point_count);
	*ret = (struct run_point){ get_le64(at), get_le64(at + 8), get_le32(at + 16), "", 0 };
	if (label_at < r->label_bytes) {
		ret->label = (const char *)r->labels + label_at + 1;
		ret->label_bytes = r->labels[label_at];
	}
}

void run_file(const struct run *r, size_t index, struct run_file *ret)
{
	const uint8_t *at = r->files + index * RUN_FILE_BYTES;

	assert(index < r->file_count);
	*ret = (struct run_file){
		.number = get_le32(at),
		.size_bytes = get_le64(at + 8),
		.live_bytes = get_le64(at + 16),
		.last_epoch = get_le64(at + 24),
	};
}

void run_disk(const struct run *r, size_t index, struct run_disk *ret)
{
	const uint8_t *at = r->disks + index * RUN_DISK_BYTES;

	assert(index < r->disk_count);
	ret->epoch = get_le64(at);
	disk_payload_get(at + 24, get_le16(at + 8), get_le64(at + 16), &ret->disk);
}

static uint64_t epoch_of_point(const void *table, size_t index)
{
	return get_le64((const uint8_t *)table + index * RUN_POINT_BYTES);
}

bool run_find_point(const struct run *r, uint64_t epoch, size_t *ret_index)
{
	size_t behind = search_upto(r->points, r->point_count, epoch_of_point, epoch);

	if (behind == 0)
		return false;
	*ret_index = behind - 1;
	return true;
}

void point_to_epoch(const struct run_point *p, struct store_epoch *ret)
{
	*ret = (struct store_epoch){ .epoch = p->epoch, .time_us = p->time_us, .flags = p->flags };
	memcpy(ret->label, p->label, MIN(p->label_bytes, STORE_LABEL_MAX));
}
