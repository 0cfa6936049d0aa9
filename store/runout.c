/* SPDX-License-Identifier: Apache-2.0 */
#include "runout.h"
#include "bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define WRITE_BYTES (256 * KIB)

struct runout {
	const struct store_sys *sys;
	const char *dir;
	char *tmp_path;
	int fd;
	struct run_layout layout;
	uint64_t written; /* up to here the file is written */
	struct bytes out; /* from there on */
	uint64_t last_key, last_version;
	uint64_t block_key, block_version; /* first of the block being filled */
	struct bytes fences;
	struct bytes points, labels, files, disks;
	bool published;
};

int runout_open(const struct store_sys *sys, const char *dir, const char *tmp, const struct uuid *machine,
		struct runout **ret)
{
	struct runout *o = calloc(1, sizeof(*o));
	int fd = -ENOMEM;

	if (!o)
		return -ENOMEM;
	*o = (struct runout){ .sys = sys, .dir = dir, .fd = -1, .written = RUN_HEADER_BYTES };
	o->layout.machine = *machine;
	o->tmp_path = sys_path(dir, tmp);
	if (o->tmp_path)
		fd = sys_create(sys, o->tmp_path);
	if (fd < 0) {
		o->published = true; /* nothing to delete */
		runout_close(o);
		return fd;
	}
	o->fd = fd;
	*ret = o;
	return 0;
}

void runout_close(struct runout *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		o->sys->close(o->sys, o->fd);
	if (!o->published)
		(void)o->sys->unlink(o->sys, o->tmp_path);
	bytes_done(&o->out);
	bytes_done(&o->fences);
	bytes_done(&o->points);
	bytes_done(&o->labels);
	bytes_done(&o->files);
	bytes_done(&o->disks);
	free(o->tmp_path);
	free(o);
}

static int flush(struct runout *o)
{
	int err = sys_write(o->sys, o->fd, o->out.data, o->out.len, o->written);

	if (err < 0)
		return err;
	o->written += o->out.len;
	o->out.len = 0;
	return 0;
}

/* Fill up the block that @o->out ends in, and note its fence. */
static int end_block(struct runout *o)
{
	size_t rest = o->out.len % RUN_BLOCK_BYTES;
	uint8_t fence[FENCE_BYTES];
	uint8_t *at;
	int err;

	if (o->out.len == 0)
		return 0;
	if (rest != 0) {
		at = bytes_add(&o->out, RUN_BLOCK_BYTES - rest);
		if (!at)
			return -ENOMEM;
		memset(at, 0, RUN_BLOCK_BYTES - rest);
	}
	put_le64(fence, o->block_key);
	put_le64(fence + 8, o->block_version);
	put_le64(fence + 16, run_checksum(o->out.data + o->out.len - RUN_BLOCK_BYTES, RUN_BLOCK_BYTES,
					  o->written + o->out.len - RUN_BLOCK_BYTES));
	err = bytes_append(&o->fences, fence, FENCE_BYTES);
	if (err == 0 && o->out.len >= WRITE_BYTES)
		err = flush(o);
	return err;
}

int runout_entry(struct runout *o, const struct entry *e)
{
	uint8_t *at = bytes_add(&o->out, ENTRY_BYTES);

	if (!at)
		return -ENOMEM;
	assert(o->layout.entry_count == 0 || entry_compare(o->last_key, o->last_version, e->key, e->version) < 0);
	o->last_key = e->key;
	o->last_version = e->version;
	if (o->layout.entry_count++ % RUN_BLOCK_ENTRIES == 0) {
		o->block_key = e->key;
		o->block_version = e->version;
	}
	o->layout.level_mask |= 1u << key_level(e->key);
	entry_put(at, e);
	return o->layout.entry_count % RUN_BLOCK_ENTRIES == 0 ? end_block(o) : 0;
}

int runout_point(struct runout *o, const struct run_point *p)
{
	uint8_t *at = bytes_add(&o->points, RUN_POINT_BYTES);
	uint8_t len = (uint8_t)MIN(p->label_bytes, STORE_LABEL_MAX);
	int err = 0;

	if (!at)
		return -ENOMEM;
	put_le64(at, p->epoch);
	put_le64(at + 8, p->time_us);
	put_le32(at + 16, p->flags);
	put_le32(at + 20, len ? (uint32_t)o->labels.len : UINT32_MAX);
	if (len) {
		err = bytes_append(&o->labels, &len, 1);
		if (err == 0)
			err = bytes_append(&o->labels, p->label, len);
	}
	return err;
}

int runout_file(struct runout *o, const struct run_file *f)
{
	uint8_t *at = bytes_add(&o->files, RUN_FILE_BYTES);

	if (!at)
		return -ENOMEM;
	put_le32(at, f->number);
	put_le32(at + 4, 0);
	put_le64(at + 8, f->size_bytes);
	put_le64(at + 16, f->live_bytes);
	put_le64(at + 24, f->last_epoch);
	return 0;
}

int runout_disk(struct runout *o, const struct run_disk *d)
{
	uint8_t *at = bytes_add(&o->disks, RUN_DISK_BYTES);

	if (!at)
		return -ENOMEM;
	memset(at, 0, RUN_DISK_BYTES);
	put_le64(at, d->epoch);
	put_le16(at + 8, d->disk.disk);
	put_le64(at + 16, d->disk.size_bytes);
	disk_payload_put(at + 24, &d->disk);
	return 0;
}

uint64_t runout_bytes(const struct runout *o)
{
	return o->written + o->out.len;
}

/* The fences, 170 to a block, and the checksums of these blocks. */
static int put_fences(struct runout *o, struct bytes *sums)
{
	size_t at = 0;
	int err = 0;

	while (err == 0 && at < o->fences.len) {
		size_t part = MIN(o->fences.len - at, (size_t)RUN_BLOCK_FENCES * FENCE_BYTES);
		uint8_t *block = bytes_add(&o->out, RUN_BLOCK_BYTES);
		uint8_t *sum = bytes_add(sums, 8);

		if (!block || !sum)
			return -ENOMEM;
		memset(block, 0, RUN_BLOCK_BYTES);
		memcpy(block, o->fences.data + at, part);
		put_le64(sum, run_checksum(block, RUN_BLOCK_BYTES, o->written + o->out.len - RUN_BLOCK_BYTES));
		at += part;
		if (o->out.len >= WRITE_BYTES)
			err = flush(o);
	}
	return err;
}

static int put_tables(struct runout *o, struct bytes *tables)
{
	int err = bytes_append(tables, o->points.data, o->points.len);

	if (err == 0)
		err = bytes_append(tables, o->files.data, o->files.len);
	if (err == 0)
		err = bytes_append(tables, o->disks.data, o->disks.len);
	if (err == 0)
		err = bytes_append(tables, o->labels.data, o->labels.len);
	if (err < 0)
		return err;
	o->layout.tables_at = o->written;
	o->layout.total_bytes = o->written + tables->len;
	o->layout.tables_sum = run_checksum(tables->data, tables->len, o->written);
	return sys_write(o->sys, o->fd, tables->data, tables->len, o->written);
}

/* Points without a label say "behind the last label". */
static void settle_labels(struct runout *o)
{
	size_t i;

	for (i = 0; i < o->points.len; i += RUN_POINT_BYTES) {
		if (get_le32(o->points.data + i + 20) == UINT32_MAX)
			put_le32(o->points.data + i + 20, (uint32_t)o->labels.len);
	}
}

int runout_finish(struct runout *o, uint64_t from, uint64_t to, uint32_t gen, uint64_t to_time_us)
{
	uint8_t header[RUN_HEADER_BYTES];
	struct bytes tables = { 0 };
	int err = o->layout.entry_count % RUN_BLOCK_ENTRIES ? end_block(o) : 0;

	if (err == 0)
		err = flush(o);
	o->layout.from = from;
	o->layout.to = to;
	o->layout.gen = gen;
	o->layout.to_time_us = to_time_us;
	o->layout.fences_at = o->written;
	o->layout.point_count = o->points.len / RUN_POINT_BYTES;
	o->layout.label_bytes = o->labels.len;
	o->layout.file_count = o->files.len / RUN_FILE_BYTES;
	o->layout.disk_count = o->disks.len / RUN_DISK_BYTES;
	settle_labels(o);
	if (err == 0)
		err = put_fences(o, &tables);
	if (err == 0)
		err = flush(o);
	if (err == 0)
		err = put_tables(o, &tables);
	bytes_done(&tables);
	if (err < 0)
		return err;
	run_header_put(header, &o->layout);
	err = sys_write(o->sys, o->fd, header, sizeof(header), 0);
	return err < 0 ? err : o->sys->sync_file(o->sys, o->fd);
}

int runout_publish(struct runout *o)
{
	char name[RUN_NAME_BYTES];
	char *path = sys_path(o->dir, run_name(o->layout.from, o->layout.to, o->layout.gen, name));
	int err;

	if (!path)
		return -ENOMEM;
	err = o->sys->rename(o->sys, o->tmp_path, path);
	free(path);
	if (err < 0)
		return err;
	o->published = true;
	return o->sys->sync_dir(o->sys, o->dir);
}
