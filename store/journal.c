/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"
#include "dat.h"
#include "runout.h"

#include <assert.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define LOOKS 20
#define BLOCK_BYTES 4096u

struct scan {
	struct journal *j;
	uint64_t upto;
	uint32_t seq; /* of the next record */
	size_t entries_mark, disks_mark;
};

static int scan_zero(struct journal *j, const struct record *r)
{
	uint64_t offset = r->offset_bytes, length = r->length_bytes;
	struct entry e;

	while (entry_next_zero(r->disk, r->version, &offset, &length, &e)) {
		uint8_t *at = bytes_add(&j->entries, ENTRY_BYTES);

		if (!at)
			return -ENOMEM;
		entry_put(at, &e);
	}
	return 0;
}

static int scan_data(struct journal *j, const struct record *r, uint64_t position)
{
	uint8_t *at = bytes_add(&j->entries, ENTRY_BYTES);
	struct entry e = entry_of_data(r, j->number, position);

	if (!at)
		return -ENOMEM;
	entry_put(at, &e);
	return 0;
}

static int scan_disk(struct journal *j, const struct record *r, const uint8_t *payload)
{
	struct run_disk d = { .epoch = version_epoch(r->version) };

	disk_payload_get(payload, r->disk, r->length_bytes, &d.disk);
	return bytes_append(&j->disks, &d, sizeof(d));
}

/* 1: go on; 0: it is not valid here. */
static int scan_commit(struct scan *s, const struct record *r, uint64_t end, const uint8_t *payload)
{
	struct journal *j = s->j;
	struct store_epoch e = { .epoch = version_epoch(r->version), .time_us = r->offset_bytes, .flags = r->codec };

	if (r->length_bytes != s->seq || e.time_us <= j->last_time_us)
		return 0;
	memcpy(e.label, payload, r->stored_bytes);
	if (bytes_append(&j->epochs, &e, sizeof(e)) < 0)
		return -ENOMEM;
	j->entries_before = s->entries_mark;
	j->disks_before = s->disks_mark;
	j->size_before = j->size_bytes;
	s->entries_mark = j->entries.len;
	s->disks_mark = j->disks.len;
	j->size_bytes = end;
	j->last_epoch = e.epoch;
	j->last_time_us = e.time_us;
	j->followed = false;
	s->seq = 0;
	return 1;
}

/* J1, J2. 1: go on; 0: it ends here. */
static int scan_record(struct scan *s, const struct record *r, uint64_t position, const uint8_t *payload)
{
	int err;

	if (r->version != version_make(s->j->last_epoch + 1, s->seq))
		return 0;
	s->j->followed = s->j->last_epoch >= s->j->first_epoch;
	if (s->j->last_epoch >= s->upto)
		return 0;
	switch (r->type) {
	case RECORD_DATA:
		err = scan_data(s->j, r, position);
		break;
	case RECORD_ZERO:
		err = scan_zero(s->j, r);
		break;
	case RECORD_DISK:
		err = scan_disk(s->j, r, payload);
		break;
	default:
		return scan_commit(s, r, position + record_total_bytes(r->stored_bytes), payload);
	}
	s->seq++;
	return err < 0 ? err : 1;
}

static int scan_all(struct scan *s, struct dat_walk *w)
{
	struct record r;
	uint64_t position;
	const uint8_t *payload;
	int more = 1;

	while (more > 0) {
		more = dat_walk_next(w, false, &r, &position, &payload);
		if (more > 0)
			more = scan_record(s, &r, position, payload);
	}
	s->j->entries.len = s->entries_mark;
	s->j->disks.len = s->disks_mark;
	return more;
}

static int read_open(struct journal *j, const struct dat *d, uint64_t upto)
{
	struct scan s = { .j = j, .upto = upto };
	struct dat_walk w;
	int err = dat_walk_begin(d, &w);

	if (err < 0)
		return err;
	j->first_epoch = d->header.first_epoch;
	j->last_epoch = j->first_epoch - 1;
	if (upto >= j->first_epoch)
		err = scan_all(&s, &w);
	if (err == -EIO) {
		j->read_error = err;
		err = 0;
	}
	dat_walk_end(&w);
	return err;
}

/* After this, reading says what the disk has. */
static int forget_memory(const struct store_sys *sys, const char *dir, uint32_t number)
{
	struct dat d;
	int err = dat_open(sys, dir, number, &d);

	if (err < 0)
		return err;
	err = sys->sync_file(sys, d.fd);
	sys->forget(sys, d.fd);
	dat_close(&d);
	return err;
}

int journal_read(const struct store_sys *sys, const char *dir, uint32_t number, uint64_t upto, bool forget,
		 struct journal *ret)
{
	struct journal j = { .number = number, .size_bytes = DATA_HEADER_BYTES };
	struct dat d;
	int err = forget ? forget_memory(sys, dir, number) : 0;

	if (err == 0)
		err = dat_open(sys, dir, number, &d);
	if (err < 0)
		return err;
	err = read_open(&j, &d, upto);
	dat_close(&d);
	if (err < 0)
		journal_done(&j);
	else
		*ret = j;
	return err;
}

void journal_done(struct journal *j)
{
	bytes_done(&j->entries);
	bytes_done(&j->epochs);
	bytes_done(&j->disks);
}

static int settle_records(const struct dat *d, const struct journal *j)
{
	uint8_t payload[CHUNK_BYTES];
	size_t at;
	struct entry e;
	int err = 0;

	for (at = j->entries_before; at < j->entries.len && err == 0; at += ENTRY_BYTES) {
		err = entry_get(j->entries.data + at, &e);
		if (err == 0 && !(e.flags & ENTRY_ZERO))
			err = dat_read(d, &e, payload);
	}
	return err;
}

static void take_back(struct journal *j)
{
	size_t left = journal_epoch_count(j) - 1;

	j->epochs.len = left * sizeof(struct store_epoch);
	j->entries.len = j->entries_before;
	j->disks.len = j->disks_before;
	j->size_bytes = j->size_before;
	j->last_epoch--;
	j->keeps_rest = true; /* it may have been acknowledged, and rotted since */
	j->last_time_us = left ? journal_epoch(j, left - 1)->time_us : 0;
}

int journal_settle(const struct store_sys *sys, const char *dir, struct journal *j)
{
	struct dat d;
	int err;

	if (journal_epoch_count(j) == 0 || j->followed)
		return 0;
	err = dat_open(sys, dir, j->number, &d);
	if (err < 0)
		return err;
	err = settle_records(&d, j);
	dat_close(&d);
	if (err != -EBADMSG)
		return err;
	take_back(j);
	return 0;
}

int journal_lost_epochs(const struct store_sys *sys, const char *dir, const struct journal *j, uint64_t *ret_newest)
{
	struct dat d;
	int err = dat_open(sys, dir, j->number, &d);

	if (err < 0)
		return err;
	err = dat_find_commit(&d, j->size_bytes, j->last_epoch + 1, ret_newest);
	dat_close(&d);
	return err;
}

/* --- the tail -------------------------------------------------------------------- */

/* The next journal of the tail: 1, or 0 if it is none. */
static int read_next(const struct folder *f, uint32_t number, uint64_t last, uint64_t upto, bool forget,
		     struct tail_journals *t)
{
	struct journal *j = &t->list[t->count];
	int err = journal_read(f->sys, f->dir, number, upto, forget, j);

	if (err < 0)
		return err == -EBADMSG ? 0 : err; /* its header was in memory only */
	err = j->read_error;
	if (err < 0 && !forget && j->first_epoch == last + 1) {
		t->unreadable = number;
		err = 0;
	}
	if (err == 0 && j->first_epoch == last + 1 && journal_epoch_count(j) > 0)
		return 1;
	journal_done(j);
	return err;
}

static int settle_newest(const struct folder *f, bool forget, struct tail_journals *t)
{
	struct journal *j = &t->list[t->count - 1];
	int err = journal_settle(f->sys, f->dir, j);

	if (err != -EIO || forget)
		return err;
	t->unreadable = j->number;
	take_back(j);
	return 0;
}

int journal_read_tail(const struct folder *f, uint64_t upto, bool forget, struct tail_journals *ret)
{
	struct tail_journals t = { .list = calloc(f->tail_count + 1, sizeof(*t.list)) };
	uint64_t last = f->last_epoch;
	size_t i;
	int err = !t.list ? -ENOMEM : forget ? f->tail_error : 0;

	for (i = 0; i < f->tail_count && err == 0 && last < upto; i++) {
		err = read_next(f, f->tail[i], last, upto, forget, &t);
		if (err > 0)
			last = t.list[t.count++].last_epoch;
		err = MIN(err, 0);
	}
	if (err == 0 && t.count > 0)
		err = settle_newest(f, forget, &t);
	if (err < 0)
		journal_tail_done(&t);
	else
		*ret = t;
	return err;
}

void journal_tail_done(struct tail_journals *t)
{
	size_t i;

	for (i = 0; i < t->count; i++)
		journal_done(&t->list[i]);
	free(t->list);
	*t = (struct tail_journals){ 0 };
}

int journal_look(const struct store_sys *sys, const char *dir, bool readable, uint64_t upto,
		 struct folder **ret_folder, struct tail_journals *ret_tail)
{
	struct folder *f;
	int tries, err;

	for (tries = 0; tries < LOOKS; tries++) {
		err = readable ? folder_open_readable(sys, dir, &f) : folder_open(sys, dir, &f);
		if (err < 0)
			return err;
		err = journal_read_tail(f, upto, false, ret_tail);
		if (err == 0) {
			*ret_folder = f;
			return 0;
		}
		folder_close(f);
		if (err != -ENOENT)
			return err;
	}
	return -EBADMSG;
}

uint64_t journal_last_epoch(const struct folder *f, const struct tail_journals *t)
{
	return t->count ? t->list[t->count - 1].last_epoch : f->last_epoch;
}

bool journal_look_is_short(const struct folder *f, const struct tail_journals *t)
{
	return f->damaged[0] && journal_last_epoch(f, t) < f->damaged_to;
}

void journal_tail_distrust(struct tail_journals *t)
{
	size_t i;

	for (i = t->count; i-- > 0;) {
		if (t->list[i].epochs.len > 0) {
			t->list[i].epochs.len -= sizeof(struct store_epoch);
			return;
		}
	}
}

static int compare_entries(const void *a, const void *b)
{
	const uint8_t *x = a, *y = b;

	return entry_compare(entry_key(x), entry_version(x), entry_key(y), entry_version(y));
}

void entries_sort(uint8_t *entries, size_t count)
{
	if (count)
		qsort(entries, count, ENTRY_BYTES, compare_entries);
}

/* --- sealing ---------------------------------------------------------------------- */

static int seal_entries(struct runout *o, const struct journal *j)
{
	struct run_file file = { .number = j->number, .size_bytes = j->size_bytes, .last_epoch = j->last_epoch };
	struct entry e;
	size_t at;
	int err = 0;

	for (at = 0; at < j->entries.len && err == 0; at += ENTRY_BYTES) {
		err = entry_get(j->entries.data + at, &e);
		if (err == 0)
			err = runout_entry(o, &e);
		if (err == 0 && !(e.flags & ENTRY_ZERO))
			file.live_bytes += record_total_bytes(e.stored_bytes);
	}
	if (err == 0 && file.live_bytes > 0)
		err = runout_file(o, &file);
	return err;
}

static int seal_tables(struct runout *o, const struct journal *j)
{
	struct run_disk d;
	size_t i;
	int err = 0;

	for (i = 0; i < journal_epoch_count(j) && err == 0; i++) {
		const struct store_epoch *e = journal_epoch(j, i);
		struct run_point p = { e->epoch, e->time_us, e->flags, e->label, (uint32_t)strlen(e->label) };

		if (e->flags & STORE_EPOCH_POINT)
			err = runout_point(o, &p);
	}
	for (i = 0; i < j->disks.len / sizeof(d) && err == 0; i++) {
		memcpy(&d, j->disks.data + i * sizeof(d), sizeof(d));
		err = runout_disk(o, &d);
	}
	return err;
}

/* Whether it can be done or not, all is well. */
static void cut_off_rest(const struct store_sys *sys, const char *dir, const struct journal *j)
{
	uint64_t end = (j->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES, size;
	char name[DATA_NAME_BYTES];
	char *path = sys_path(dir, data_name(j->number, name));
	int fd = path ? sys->open(sys, path, O_RDWR, 0) : -ENOMEM;

	free(path);
	if (fd < 0)
		return;
	if (sys->size(sys, fd, &size) == 0 && size > end)
		(void)sys->truncate(sys, fd, end);
	sys->close(sys, fd);
}

int journal_seal(const struct store_sys *sys, const char *dir, const struct uuid *machine, const char *tmp,
		 struct journal *j)
{
	struct runout *o;
	int err = runout_open(sys, dir, tmp, machine, &o);

	assert(j->last_epoch >= j->first_epoch);
	if (err < 0)
		return err;
	entries_sort(j->entries.data, j->entries.len / ENTRY_BYTES);
	err = seal_entries(o, j);
	if (err == 0)
		err = seal_tables(o, j);
	if (err == 0)
		err = runout_finish(o, j->first_epoch, j->last_epoch, 0, j->last_time_us);
	if (err == 0)
		err = runout_publish(o);
	runout_close(o);
	if (err == 0 && !j->keeps_rest)
		cut_off_rest(sys, dir, j);
	return err;
}
