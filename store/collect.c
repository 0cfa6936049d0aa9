/* SPDX-License-Identifier: Apache-2.0 */
#include "collect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define ZSTD_LEVEL 1

int collector_init(struct collector *c, const struct store_sys *sys, const char *dir, const struct uuid *machine,
		   uint32_t next_number)
{
	*c = (struct collector){ .sys = sys, .dir = dir, .machine = *machine, .fd = -1, .next_number = next_number };
	c->buffer = malloc(sys->limits.buffer_bytes + record_total_bytes(CHUNK_BYTES));
	return c->buffer ? files_new(sys, dir, &c->files) : -ENOMEM;
}

void collector_done(struct collector *c)
{
	if (c->fd >= 0)
		c->sys->close(c->sys, c->fd);
	c->fd = -1;
	files_free(c->files);
	free(c->buffer);
	bytes_done(&c->made);
}

static char *path_of(const struct collector *c, uint32_t number)
{
	char name[DATA_NAME_BYTES];

	return sys_path(c->dir, data_name(number, name));
}

static int begin_file(struct collector *c)
{
	struct run_file file = { .number = c->next_number };
	struct uuid random = uuid_random();
	uint8_t header[DATA_HEADER_BYTES];
	char *path = path_of(c, c->next_number);
	int fd;

	if (!path)
		return -ENOMEM;
	fd = c->sys->open(c->sys, path, O_RDWR | O_CREAT | O_EXCL, 0600);
	free(path);
	if (fd < 0)
		return fd;
	c->fd = fd;
	c->header = (struct data_header){
		.number = c->next_number++, .machine = c->machine, .salt = get_le64(random.bytes) };
	c->flushed = DATA_HEADER_BYTES;
	c->buffered = 0;
	c->last_epoch = 0;
	data_header_put(header, &c->header);
	if (bytes_append(&c->made, &file, sizeof(file)) < 0)
		return -ENOMEM;
	return sys_write(c->sys, fd, header, sizeof(header), 0);
}

static int flush(struct collector *c)
{
	int err = sys_write(c->sys, c->fd, c->buffer, c->buffered, c->flushed);

	if (err < 0)
		return err;
	c->sys->start_writeback(c->sys, c->fd, c->flushed, c->buffered);
	c->flushed += c->buffered;
	c->buffered = 0;
	return 0;
}

static int end_file(struct collector *c)
{
	struct run_file *file = (void *)(c->made.data + c->made.len - sizeof(*file));
	int err = c->buffered ? flush(c) : 0;

	if (err == 0)
		err = c->sys->sync_file(c->sys, c->fd);
	c->sys->close(c->sys, c->fd);
	c->fd = -1;
	file->size_bytes = c->flushed;
	file->last_epoch = c->last_epoch;
	return err;
}

/* Into the buffer, at the place that @e will tell of. */
static void put(struct collector *c, struct entry *e, const struct record *r, const void *stored)
{
	uint64_t position = c->flushed + c->buffered, total = record_total_bytes(r->stored_bytes);
	size_t used = RECORD_BYTES + r->stored_bytes;
	uint8_t *at = c->buffer + c->buffered;

	record_put(at, r, c->header.salt, position);
	memcpy(at + RECORD_BYTES, stored, r->stored_bytes);
	memset(at + used, 0, total - used);
	c->buffered += total;
	c->bytes += total;
	c->last_epoch = MAX(c->last_epoch, version_epoch(e->version));
	e->file = c->header.number;
	e->position = (uint32_t)(position >> POSITION_SHIFT);
	e->codec = r->codec;
	e->stored_bytes = r->stored_bytes;
}

int collector_move(struct collector *c, struct entry *e)
{
	uint8_t stored[CHUNK_BYTES], payload[CHUNK_BYTES], packed[CHUNK_BYTES];
	struct record r = {
		.type = RECORD_DATA,
		.codec = e->codec,
		.disk = key_disk(e->key),
		.stored_bytes = e->stored_bytes,
		.version = e->version,
		.offset_bytes = key_index(e->key) * CHUNK_BYTES + (uint64_t)e->first * SECTOR_BYTES,
		.length_bytes = (uint64_t)e->count * SECTOR_BYTES,
	};
	int damaged = files_fetch(c->files, e, stored, payload, &r.checksum);
	int err = damaged < 0 ? damaged : 0;
	bool packs = damaged == 0 && r.codec == CODEC_RAW; /* C1, C2 */

	if (packs)
		r.stored_bytes = payload_compress(CODEC_ZSTD, ZSTD_LEVEL, payload, r.stored_bytes, packed, &r.codec);
	if (err == 0 && c->fd < 0)
		err = begin_file(c);
	if (err < 0)
		return err;
	put(c, e, &r, packs ? packed : stored);
	if (c->buffered >= c->sys->limits.buffer_bytes)
		err = flush(c);
	if (err == 0 && c->flushed >= c->sys->limits.data_file_bytes)
		err = end_file(c);
	return err;
}

int collector_finish(struct collector *c)
{
	int err = c->fd >= 0 ? end_file(c) : 0;

	if (err == 0 && c->made.len > 0)
		err = c->sys->sync_dir(c->sys, c->dir);
	return err;
}

void collector_undo(struct collector *c)
{
	const struct run_file *made = (const void *)c->made.data;
	size_t i;

	for (i = 0; i < c->made.len / sizeof(*made); i++) {
		char *path = path_of(c, made[i].number);

		if (path)
			(void)c->sys->unlink(c->sys, path);
		free(path);
	}
}
