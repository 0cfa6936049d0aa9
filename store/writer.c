/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer appends records to a journal.
 *
 *	        put            commit          put       commit
 *	 none --------> open --------> open --------> ... ------> finished
 *	  ^  header written    synced, name durable   synced         |
 *	  '----------------------------------------------------------'
 *		next put, close: the run is written (sealed)
 *
 * S1	store_commit() writes everything before the commit record, syncs the
 *	file and, once a file, the folder, and only then returns 0.  The next
 *	epoch's first record is put after that (J3).
 * S4	Any failure but of an argument poisons: what the file holds after a
 *	failed write or sync is not known until it has been read back by
 *	writer_recover().
 *
 * Sealing happens at the beginning of the next epoch, so that it never stands
 * between a commit and its acknowledgement.
 */
#include "writer.h"
#include "dat.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define HINT_BYTES (8 * MIB)
#define COMMIT_ROOM 4096u /* always left in a file for the commit */

static int poison(struct store_writer *w, int err)
{
	if (err < 0)
		w->poisoned = true;
	return err;
}

/* --- opening and closing ---------------------------------------------------------- */

static int open_folder(struct store_writer *w)
{
	struct uuid machine;
	int err = w->sys->mkdir(w->sys, w->dir);

	if (err == 0)
		err = lock_open(w->sys, w->dir, &w->lock);
	if (err == 0)
		err = lock_take(&w->lock, LOCK_WRITER);
	if (err < 0)
		return err;
	err = folder_identity(w->sys, w->dir, &machine);
	if (err == -ENOENT)
		return folder_create(w->sys, w->dir, &w->machine);
	if (err == 0 && !uuid_equal(&machine, &w->machine))
		err = -EBADMSG;
	return err;
}

int store_writer_open(const char *dir, const struct uuid *machine, const struct store_sys *sys,
		      struct store_writer **ret)
{
	struct store_writer *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->sys = sys;
	w->machine = *machine;
	w->lock = LOCK_NONE;
	w->fd = -1;
	w->dir = strdup(dir);
	w->buffer = malloc(sys->limits.buffer_bytes + record_total_bytes(CHUNK_BYTES));
	err = w->dir && w->buffer ? index_init(&w->index) : -ENOMEM;
	if (err == 0)
		err = open_folder(w);
	if (err == 0)
		err = writer_recover(w);
	if (err < 0) {
		w->poisoned = true;
		store_writer_close(w);
		return err;
	}
	*ret = w;
	return 0;
}

/* Nothing was committed into it. */
static void drop_journal(struct store_writer *w)
{
	char name[DATA_NAME_BYTES];
	char *path = sys_path(w->dir, data_name(w->header.number, name));

	if (path)
		(void)w->sys->unlink(w->sys, path);
	free(path);
}

static int seal(struct store_writer *w);

void store_writer_close(struct store_writer *w)
{
	if (!w)
		return;
	if (!w->poisoned && w->fd >= 0) {
		if (w->epochs.len > 0)
			(void)seal(w); /* if it fails, the next writer does it */
		else
			drop_journal(w);
	}
	if (w->fd >= 0)
		w->sys->close(w->sys, w->fd);
	view_close(w->view);
	lock_close(&w->lock);
	index_done(&w->index);
	bytes_done(&w->epochs);
	bytes_done(&w->disk_events);
	free(w->buffer);
	free(w->dir);
	free(w);
}

uint64_t store_writer_last_epoch(const struct store_writer *w)
{
	return w->last_epoch;
}

uint64_t store_writer_last_time_us(const struct store_writer *w)
{
	return w->last_time_us;
}

bool store_writer_lost(const struct store_writer *w, uint64_t *ret_first, uint64_t *ret_last)
{
	if (w->lost_last == 0)
		return false;
	*ret_first = w->lost_first;
	*ret_last = w->lost_last;
	return true;
}

/* --- sealing ------------------------------------------------------------------------ */

static int collect_entries(const struct store_writer *w, struct bytes *ret)
{
	size_t i;
	uint8_t *at = w->committed_entries ? bytes_add(ret, w->committed_entries * ENTRY_BYTES) : NULL;

	if (w->committed_entries && !at)
		return -ENOMEM;
	for (i = 0; i < w->committed_entries; i++)
		entry_put(at + i * ENTRY_BYTES, &w->index.slots[i].entry);
	return 0;
}

/* Write the journal's run and forget the journal.  Uncommitted records at its
 * end are dropped. */
static int seal(struct store_writer *w)
{
	struct journal j = {
		.number = w->header.number,
		.first_epoch = w->header.first_epoch,
		.last_epoch = w->last_epoch,
		.last_time_us = w->last_time_us,
		.size_bytes = w->committed_bytes,
		.epochs = w->epochs,
		.disks = { w->disk_events.data, w->committed_disk_events, w->committed_disk_events },
	};
	int err = collect_entries(w, &j.entries);

	if (err == 0)
		err = journal_seal(w->sys, w->dir, &w->machine, WRITER_TMP_NAME, &j);
	bytes_done(&j.entries);
	if (err < 0)
		return err;
	w->sys->close(w->sys, w->fd);
	w->fd = -1;
	index_clear(&w->index);
	w->epochs.len = w->disk_events.len = 0;
	w->committed_entries = w->committed_disk_events = 0;
	view_close(w->view);
	w->view = NULL;
	return 0;
}

/* --- the journal --------------------------------------------------------------------- */

/* Is there room for @bytes more, and the reserve? */
static int check_space(const struct store_writer *w, uint64_t bytes)
{
	uint64_t free_bytes, total_bytes;
	int err = w->sys->space(w->sys, w->dir, &free_bytes, &total_bytes);

	if (err < 0)
		return err;
	if (free_bytes < store_limits_reserve_bytes(&w->sys->limits, total_bytes) + bytes)
		return -ENOSPC;
	return 0;
}

static int create_journal(struct store_writer *w)
{
	char name[DATA_NAME_BYTES];
	uint8_t header[DATA_HEADER_BYTES];
	struct uuid random = uuid_random();
	char *path;
	int fd, err = check_space(w, 0);

	if (err < 0)
		return err;
	w->header = (struct data_header){
		.number = w->next_journal++,
		.machine = w->machine,
		.first_epoch = w->last_epoch + 1,
		.salt = get_le64(random.bytes) ^ get_le64(random.bytes + 8),
	};
	path = sys_path(w->dir, data_name(w->header.number, name));
	if (!path)
		return -ENOMEM;
	fd = w->sys->open(w->sys, path, O_RDWR | O_CREAT | O_EXCL, 0600);
	free(path);
	if (fd < 0)
		return fd;
	w->fd = fd;
	w->named = w->finished = false;
	w->flushed = w->hinted = w->committed_bytes = DATA_HEADER_BYTES;
	w->buffered = 0;
	w->seq = 0;
	data_header_put(header, &w->header);
	return sys_write(w->sys, fd, header, sizeof(header), 0);
}

/* Ready for a record: not poisoned, and there is a journal for it. */
static int ready(struct store_writer *w)
{
	int err = 0;

	if (w->poisoned)
		return -ESTALE;
	if (w->fd >= 0 && w->finished)
		err = seal(w);
	if (err == 0 && w->fd < 0)
		err = create_journal(w);
	return poison(w, err);
}

static int flush(struct store_writer *w)
{
	int err = check_space(w, w->buffered);

	if (err == 0)
		err = sys_write(w->sys, w->fd, w->buffer, w->buffered, w->flushed);
	if (err < 0)
		return err;
	w->flushed += w->buffered;
	w->buffered = 0;
	if (w->flushed - w->hinted >= HINT_BYTES) {
		w->sys->start_writeback(w->sys, w->fd, w->hinted, w->flushed - w->hinted);
		w->hinted = w->flushed;
	}
	return 0;
}

static uint64_t position(const struct store_writer *w)
{
	return w->flushed + w->buffered;
}

/* Append a record; its version is set here. */
static int append(struct store_writer *w, struct record *r, const void *stored)
{
	uint64_t total = record_total_bytes(r->stored_bytes), used = RECORD_BYTES + r->stored_bytes;
	uint8_t *at = w->buffer + w->buffered;

	r->version = version_make(w->last_epoch + 1, w->seq);
	record_put(at, r, w->header.salt, position(w));
	if (r->stored_bytes)
		memcpy(at + RECORD_BYTES, stored, r->stored_bytes);
	memset(at + used, 0, total - used);
	w->buffered += total;
	return w->buffered >= w->sys->limits.buffer_bytes ? flush(w) : 0;
}

/* -EFBIG: the epoch is full and must be committed first. */
static int check_room(const struct store_writer *w, uint32_t stored_bytes)
{
	if (w->seq == VERSION_SEQ_MAX || w->last_epoch >= EPOCH_MAX)
		return -EFBIG;
	if (w->fd >= 0 && position(w) + record_total_bytes(stored_bytes) > DATA_FILE_MAX - COMMIT_ROOM)
		return -EFBIG;
	return 0;
}

/* --- records ---------------------------------------------------------------------------- */

static int check_range(const struct store_writer *w, uint16_t disk, uint64_t offset, uint64_t length)
{
	if (disk >= DISKS_MAX || !range_valid(offset, length) || offset + length > w->disks[disk].size_bytes)
		return -EINVAL;
	return 0;
}

int store_put_data(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes, uint8_t codec,
		   const void *stored, uint32_t stored_bytes, uint64_t checksum)
{
	struct record r = {
		.type = RECORD_DATA,
		.codec = codec,
		.disk = disk,
		.stored_bytes = stored_bytes,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
		.checksum = checksum,
	};
	struct entry e;
	uint64_t at;
	int err = check_range(w, disk, offset_bytes, length_bytes);

	if (err < 0 || offset_bytes % CHUNK_BYTES + length_bytes > CHUNK_BYTES || stored_bytes == 0 ||
	    stored_bytes > length_bytes || codec > CODEC_ZSTD || (codec == CODEC_RAW && stored_bytes != length_bytes))
		return -EINVAL;
	err = ready(w);
	if (err == 0)
		err = check_room(w, stored_bytes);
	if (err < 0)
		return err;
	at = position(w);
	err = append(w, &r, stored);
	if (err == 0) {
		e = entry_of_data(&r, w->header.number, at);
		err = index_add(&w->index, &e);
	}
	w->seq++;
	return poison(w, err);
}

static int put_zero(struct store_writer *w, uint16_t disk, uint64_t offset, uint64_t length)
{
	struct record r = { .type = RECORD_ZERO, .disk = disk, .offset_bytes = offset, .length_bytes = length };
	struct entry e;
	int err = append(w, &r, NULL);

	while (err == 0 && entry_next_zero(disk, r.version, &offset, &length, &e))
		err = index_add(&w->index, &e);
	w->seq++;
	return poison(w, err);
}

int store_put_zero(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint64_t length_bytes)
{
	int err = check_range(w, disk, offset_bytes, length_bytes);

	if (err == 0)
		err = ready(w);
	if (err == 0)
		err = check_room(w, 0);
	return err < 0 ? err : put_zero(w, disk, offset_bytes, length_bytes);
}

static bool disk_same(const struct store_disk *a, const struct store_disk *b)
{
	return a->size_bytes == b->size_bytes && a->sector_bytes == b->sector_bytes && uuid_equal(&a->id, &b->id) &&
	       strncmp(a->name, b->name, sizeof(a->name) - 1) == 0;
}

static int put_disk(struct store_writer *w, const struct store_disk *disk)
{
	uint8_t payload[DISK_PAYLOAD_BYTES];
	struct record r = {
		.type = RECORD_DISK,
		.disk = disk->disk,
		.stored_bytes = sizeof(payload),
		.length_bytes = disk->size_bytes,
	};
	struct run_disk event = { .epoch = w->last_epoch + 1, .disk = *disk };
	int err;

	event.disk.name[sizeof(event.disk.name) - 1] = '\0';
	disk_payload_put(payload, &event.disk);
	r.checksum = payload_checksum(payload, sizeof(payload));
	err = append(w, &r, payload);
	if (err == 0)
		err = bytes_append(&w->disk_events, &event, sizeof(event));
	w->seq++;
	return poison(w, err);
}

int store_put_disk(struct store_writer *w, const struct store_disk *disk)
{
	struct store_disk *now;
	int err;

	if (disk->disk >= DISKS_MAX || disk->size_bytes % SECTOR_BYTES != 0 || disk->size_bytes > INT64_MAX)
		return -EINVAL;
	now = &w->disks[disk->disk];
	if (disk->size_bytes != 0 && now->size_bytes != 0 &&
	    (disk->size_bytes < now->size_bytes || !uuid_equal(&disk->id, &now->id)))
		return -EINVAL;
	if (disk_same(now, disk))
		return w->poisoned ? -ESTALE : 0;
	err = ready(w);
	if (err == 0)
		err = check_room(w, DISK_PAYLOAD_BYTES);
	/* A removed disk leaves nothing behind for one that might come in its place. */
	if (err == 0 && disk->size_bytes == 0 && now->size_bytes != 0)
		err = put_zero(w, disk->disk, 0, now->size_bytes);
	if (err == 0)
		err = put_disk(w, disk);
	if (err == 0)
		*now = *disk;
	return err;
}

/* --- commit ------------------------------------------------------------------------------- */

static int put_commit(struct store_writer *w, const struct store_epoch *epoch)
{
	size_t len = strlen(epoch->label);
	struct record r = {
		.type = RECORD_COMMIT,
		.codec = (uint8_t)epoch->flags,
		.stored_bytes = (uint32_t)len,
		.offset_bytes = epoch->time_us,
		.length_bytes = w->seq,
		.checksum = payload_checksum(epoch->label, len),
	};
	int err = append(w, &r, epoch->label);

	if (err == 0 && w->buffered > 0)
		err = flush(w);
	if (err == 0)
		err = w->sys->sync_file(w->sys, w->fd);
	if (err == 0 && !w->named) {
		err = w->sys->sync_dir(w->sys, w->dir);
		w->named = true;
	}
	if (err == 0)
		err = bytes_append(&w->epochs, epoch, sizeof(*epoch));
	return err;
}

int store_commit(struct store_writer *w, const struct store_epoch *epoch)
{
	const struct store_limits *limits = &w->sys->limits;
	int err;

	if (epoch->epoch != w->last_epoch + 1 || epoch->time_us <= w->last_time_us || epoch->epoch > EPOCH_MAX ||
	    (epoch->flags & ~(STORE_EPOCH_POINT | STORE_EPOCH_LABELLED)) || !label_valid(epoch->label))
		return -EINVAL;
	err = ready(w);
	if (err == 0)
		err = poison(w, put_commit(w, epoch));
	if (err < 0)
		return err;
	w->last_epoch = epoch->epoch;
	w->last_time_us = epoch->time_us;
	w->seq = 0;
	w->committed_entries = w->index.count;
	w->committed_disk_events = w->disk_events.len;
	w->committed_bytes = w->flushed;
	w->finished = w->flushed >= limits->data_file_bytes ||
		      w->epochs.len / sizeof(*epoch) >= limits->data_file_epochs;
	return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct writer_fill {
	struct store_writer *w;
	sector_mask want;
	uint8_t *buf;
};

/* The payload of a record of the open journal. */
static int read_own(struct store_writer *w, const struct entry *e, uint8_t *out)
{
	struct dat d = { w->sys, w->fd, w->header };
	uint64_t at = (uint64_t)e->position << POSITION_SHIFT;
	struct record r;
	int err;

	if (at < w->flushed)
		return dat_read(&d, e, out);
	err = record_get(w->buffer + (at - w->flushed), w->header.salt, at, &r);
	if (err == 0)
		err = dat_unpack(&r, w->buffer + (at - w->flushed) + RECORD_BYTES, out);
	return err;
}

static int fill_own(void *context, const struct entry *e)
{
	struct writer_fill *f = context;
	sector_mask new = entry_mask(e) & f->want;
	uint8_t payload[CHUNK_BYTES];
	int err;

	if (new == 0)
		return 0;
	if (e->flags & ENTRY_ZERO) {
		sectors_zero(f->buf, new);
	} else {
		err = read_own(f->w, e, payload);
		if (err < 0)
			return err;
		sectors_copy(f->buf, new, payload, e->first);
	}
	f->want &= ~new;
	return f->want == 0;
}

static int read_sectors(struct store_writer *w, uint16_t disk, uint64_t offset, uint32_t length, uint8_t *buf)
{
	unsigned int first = (unsigned int)(offset % CHUNK_BYTES / SECTOR_BYTES);
	uint8_t *base = (uint8_t *)((uintptr_t)buf - (uintptr_t)first * SECTOR_BYTES);
	struct writer_fill f = { w, mask_of(first, length / SECTOR_BYTES), base };
	sector_mask rest;
	int err = index_versions(&w->index, disk, offset / CHUNK_BYTES, fill_own, &f);

	if (err >= 0)
		err = view_fill(w->view, disk, offset / CHUNK_BYTES, f.want, base, &rest);
	if (err == 0)
		sectors_zero(base, rest);
	return err;
}

int store_writer_read(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes,
		      void *ret_buf)
{
	uint8_t *buf = ret_buf;
	int err = check_range(w, disk, offset_bytes, length_bytes);

	if (err == 0 && w->poisoned)
		err = -ESTALE;
	if (err == 0 && !w->view)
		err = view_open(w->sys, w->dir, &w->view);
	while (err == 0 && length_bytes > 0) {
		uint32_t part = (uint32_t)MIN((uint64_t)length_bytes, CHUNK_BYTES - offset_bytes % CHUNK_BYTES);

		err = read_sectors(w, disk, offset_bytes, part, buf);
		buf += part;
		offset_bytes += part;
		length_bytes -= part;
	}
	return err;
}
