/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader holds a lock that says which point it shows, so that retention
 * keeps the point for as long (lock.h); its files may be replaced meanwhile
 * (view.h).
 */
#include "lock.h"
#include "points.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>

struct store_reader {
	struct store_epoch point;
	struct store_disk disks[DISKS_MAX]; /* by index; size 0: not there */
	struct lock lock;
	struct view *view;
};

/* --- opening ---------------------------------------------------------------------------- */

static void take_disk(struct store_reader *r, const struct run_disk *d)
{
	if (d->epoch <= r->point.epoch && d->disk.disk < DISKS_MAX)
		r->disks[d->disk.disk] = d->disk;
}

static void find_disks(struct store_reader *r, const struct folder *f, const struct tail_journals *tail)
{
	struct run_disk d;
	size_t i, k;

	for (i = 0; i < f->run_count; i++) {
		for (k = 0; k < f->runs[i]->disk_count; k++) {
			run_disk(f->runs[i], k, &d);
			take_disk(r, &d);
		}
	}
	for (i = 0; i < tail->count; i++) {
		for (k = 0; k < tail->list[i].disks.len / sizeof(d); k++) {
			memcpy(&d, tail->list[i].disks.data + k * sizeof(d), sizeof(d));
			take_disk(r, &d);
		}
	}
}

/* Where something cannot be read it is not known which point is the newest, nor
 * which there are behind it. */
static int lookup(struct store_reader *r, struct folder *f, const struct tail_journals *tail, const struct pins *pins,
		  uint64_t epoch)
{
	int err = points_lookup(f, tail, pins, epoch, &r->point);

	bool behind = epoch == 0 || (err == -ENOENT && epoch > journal_last_epoch(f, tail));

	if (behind && journal_look_is_short(f, tail))
		return -EBADMSG;
	return behind && (tail->unreadable || f->tail_error) ? -EIO : err;
}

static int show_point(struct store_reader *r, struct folder *f, const struct tail_journals *tail, uint64_t epoch)
{
	struct pins pins;
	int err = pins_load_if_whole(f->sys, f->dir, &pins);

	if (err < 0)
		return err;
	err = lookup(r, f, tail, &pins, epoch);
	pins_done(&pins);
	if (err < 0)
		return err;
	find_disks(r, f, tail);
	lock_hold_point(&r->lock, r->point.epoch);
	return view_open_at(f, tail, r->point.epoch, &r->view);
}

static int find_point(struct store_reader *r, const struct store_sys *sys, const char *dir, uint64_t epoch)
{
	struct tail_journals tail = { 0 };
	struct folder *f;
	int err = journal_look(sys, dir, true, epoch ? epoch : EPOCH_MAX, &f, &tail);

	if (err < 0)
		return err;
	err = show_point(r, f, &tail, epoch);
	if (err < 0)
		folder_close(f);
	journal_tail_done(&tail);
	return err;
}

int store_reader_open(const char *dir, const struct store_sys *sys, uint64_t epoch, struct store_reader **ret)
{
	struct store_reader *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	lock_open_shared(sys, dir, &r->lock);
	lock_enter(&r->lock);
	err = find_point(r, sys, dir, epoch);
	lock_leave(&r->lock);
	if (err < 0)
		store_reader_close(r);
	else
		*ret = r;
	return err;
}

void store_reader_close(struct store_reader *r)
{
	if (!r)
		return;
	view_close(r->view);
	lock_close(&r->lock);
	free(r);
}

const struct store_epoch *store_reader_point(const struct store_reader *r)
{
	return &r->point;
}

size_t store_reader_disks(const struct store_reader *r, struct store_disk *ret_disks, size_t max)
{
	size_t i, count = 0;

	for (i = 0; i < DISKS_MAX; i++) {
		if (r->disks[i].size_bytes == 0)
			continue;
		if (count < max)
			ret_disks[count] = r->disks[i];
		count++;
	}
	return count;
}

/* --- reading ------------------------------------------------------------------------------- */

static int check_range(const struct store_reader *r, uint16_t disk, uint64_t offset, uint64_t length)
{
	if (disk >= DISKS_MAX || r->disks[disk].size_bytes == 0)
		return -ENOENT;
	if (offset > r->disks[disk].size_bytes || length > r->disks[disk].size_bytes - offset)
		return -EINVAL;
	return 0;
}

/* Whole sectors of one chunk to where they are wanted. */
static int read_sectors(struct store_reader *r, uint16_t disk, uint64_t offset, uint32_t length, uint8_t *buf)
{
	unsigned int first = (unsigned int)(offset % CHUNK_BYTES / SECTOR_BYTES);
	uint8_t *base = (uint8_t *)((uintptr_t)buf - (uintptr_t)first * SECTOR_BYTES); /* of the chunk; may lie before @buf */
	sector_mask rest;
	int err = view_fill(r->view, disk, offset / CHUNK_BYTES, mask_of(first, length / SECTOR_BYTES), base, &rest);

	if (err == 0)
		sectors_zero(base, rest);
	return err;
}

/* Bytes that begin or end within a sector. */
static int read_bytes(struct store_reader *r, uint16_t disk, uint64_t offset, uint32_t length, uint8_t *buf)
{
	uint64_t begin = offset / SECTOR_BYTES * SECTOR_BYTES;
	uint64_t end = (offset + length + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
	uint8_t sectors[CHUNK_BYTES];
	int err = read_sectors(r, disk, begin, (uint32_t)(end - begin), sectors);

	if (err == 0)
		memcpy(buf, sectors + (offset - begin), length);
	return err;
}

int store_read(struct store_reader *r, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes, void *ret_buf)
{
	uint8_t *buf = ret_buf;
	int err = check_range(r, disk, offset_bytes, length_bytes);

	while (err == 0 && length_bytes > 0) {
		uint32_t part = (uint32_t)MIN((uint64_t)length_bytes, CHUNK_BYTES - offset_bytes % CHUNK_BYTES);

		if (offset_bytes % SECTOR_BYTES == 0 && part % SECTOR_BYTES == 0)
			err = read_sectors(r, disk, offset_bytes, part, buf);
		else
			err = read_bytes(r, disk, offset_bytes, part, buf);
		buf += part;
		offset_bytes += part;
		length_bytes -= part;
	}
	return err;
}

/* --- extents ---------------------------------------------------------------------------------- */

/* How much of the chunk from @offset on is alike, and what it is. */
static int extent_in_chunk(struct store_reader *r, uint16_t disk, uint64_t offset, bool *ret_zero, uint64_t *ret_length)
{
	unsigned int first = (unsigned int)(offset % CHUNK_BYTES / SECTOR_BYTES), at, count;
	sector_mask want = mask_of(first, CHUNK_SECTORS - first), data;
	int err = view_data_mask(r->view, disk, offset / CHUNK_BYTES, want, &data);

	if (err < 0)
		return err;
	*ret_zero = !(data >> first & 1);
	count = mask_first_run(*ret_zero ? ~data & want : data, &at);
	*ret_length = (uint64_t)count * SECTOR_BYTES - offset % SECTOR_BYTES;
	return 0;
}

/* Chunks at least until here are zeroes as a whole, from @offset on (a chunk's border). */
static int skip_zero_chunks(struct store_reader *r, uint16_t disk, uint64_t *offset)
{
	uint64_t next;
	int err = view_next_chunk(r->view, disk, *offset / CHUNK_BYTES, &next);

	if (err == 0)
		*offset = next > INT64_MAX / CHUNK_BYTES ? INT64_MAX : next * CHUNK_BYTES;
	return err;
}

int store_extent(struct store_reader *r, uint16_t disk, uint64_t offset_bytes, uint64_t length_bytes, bool *ret_zero,
		 uint64_t *ret_length)
{
	uint64_t at = offset_bytes, end = offset_bytes + length_bytes, part;
	bool zero = false, is_zero_part;
	int err = check_range(r, disk, offset_bytes, length_bytes);

	if (err == 0 && length_bytes == 0)
		err = -EINVAL;
	while (err == 0 && at < end) {
		if (at % CHUNK_BYTES == 0 && (at == offset_bytes || zero)) {
			uint64_t from = at;

			err = skip_zero_chunks(r, disk, &at);
			if (err < 0 || at > from) {
				zero = true;
				continue;
			}
		}
		err = extent_in_chunk(r, disk, at, &is_zero_part, &part);
		if (err < 0 || (at > offset_bytes && is_zero_part != zero))
			break;
		zero = is_zero_part;
		at += part;
	}
	if (err < 0)
		return err;
	*ret_zero = zero;
	*ret_length = MIN(at, end) - offset_bytes;
	return 0;
}
