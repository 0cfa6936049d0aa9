/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub: every block of every run and every record of every data file, read
 * back and checked.  Data files are read from end to end; where one cannot be
 * walked any further, the rest of it is read as its run tells, or its journal
 * as far as that could be walked without the payloads.
 *
 * Only what some point shows is damage; a record that nothing needs any more
 * is none.
 */
#include "lock.h"
#include "pace.h"
#include "retain.h"
#include "view.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct scrub {
	const struct store_sys *sys;
	const char *dir;
	struct pace pace;
	void (*report)(void *context, const struct store_damage *damage);
	void *context;
	uint64_t bytes, damaged;

	struct folder *folder;
	struct tail_journals tail;
	struct retain points;
	struct view *view;
};

/* --- which points show it ---------------------------------------------------------------- */

struct versions {
	uint64_t version; /* the damaged one */
	bool found;
	struct bytes newer; /* struct entry, newest first */
};

static int newer_each(void *context, const struct entry *e)
{
	struct versions *v = context;

	v->found = v->found || e->version == v->version;
	if (e->version <= v->version)
		return 1;
	return bytes_append(&v->newer, e, sizeof(*e));
}

/* The first epoch in which nothing of @mask is seen any more. */
static uint64_t covered_at(const struct versions *v, sector_mask mask)
{
	const struct entry *e = (const void *)v->newer.data;
	size_t i;

	for (i = v->newer.len / sizeof(*e); i-- > 0;) {
		mask &= ~entry_mask(&e[i]);
		if (mask == 0)
			return version_epoch(e[i].version);
	}
	return UINT64_MAX;
}

static void report(struct scrub *s, const struct store_damage *d)
{
	s->damaged++;
	if (s->report)
		s->report(s->context, d);
}

/* The points from epoch @from on and before @end. */
static bool points_between(const struct scrub *s, uint64_t from, uint64_t end, struct store_damage *d)
{
	size_t first = retain_place(&s->points, from), behind = retain_place(&s->points, end);

	if (first >= behind)
		return false;
	d->first_epoch = s->points.list[first].epoch;
	d->last_epoch = s->points.list[behind - 1].epoch;
	return true;
}

static int damaged_record(struct scrub *s, const struct entry *e)
{
	struct store_damage d = {
		.disk = key_disk(e->key),
		.offset_bytes = key_index(e->key) * CHUNK_BYTES + (uint64_t)e->first * SECTOR_BYTES,
		.length_bytes = (uint32_t)e->count * SECTOR_BYTES,
	};
	struct versions v = { .version = e->version };
	int err = view_versions(s->view, d.disk, key_index(e->key), newer_each, &v);

	data_name(e->file, d.file);
	if (err == 0 && v.found &&
	    points_between(s, version_epoch(e->version), covered_at(&v, entry_mask(e)), &d))
		report(s, &d);
	bytes_done(&v.newer);
	return err;
}

/* --- data files --------------------------------------------------------------------------- */

/* What tells of a data file's records: its run, or of a journal itself. */
struct index_of {
	struct run *run;
	const struct journal *journal;
};

static uint64_t index_count(const struct index_of *x)
{
	return x->run ? x->run->entry_count : x->journal->entries.len / ENTRY_BYTES;
}

/* Entry @i, if it tells of a record in file @number. */
static bool index_names(const struct index_of *x, uint64_t i, uint32_t number, struct entry *ret)
{
	int err = x->run ? run_entry(x->run, i, ret) : entry_get(x->journal->entries.data + i * ENTRY_BYTES, ret);

	return err == 0 && !(ret->flags & ENTRY_ZERO) && ret->file == number;
}

/* The records of the file from @position on, one by one. */
static int read_by_index(struct scrub *s, const struct dat *dat, const struct index_of *x, uint64_t position)
{
	uint8_t payload[CHUNK_BYTES];
	struct entry e;
	uint64_t i, count = index_count(x);
	int err = 0;

	for (i = 0; i < count && err == 0; i++) {
		if (!index_names(x, i, dat->header.number, &e) || (uint64_t)e.position << POSITION_SHIFT < position)
			continue;
		err = dat_read(dat, &e, payload);
		if (err == -EBADMSG || err == -EIO)
			err = damaged_record(s, &e);
		s->bytes += record_total_bytes(e.stored_bytes);
		if (err == 0)
			err = pace_step(&s->pace, record_total_bytes(e.stored_bytes));
	}
	return err;
}

static int walk(struct scrub *s, const struct dat *dat, uint64_t size, struct dat_walk *w)
{
	uint8_t payload[CHUNK_BYTES];
	const uint8_t *stored;
	uint64_t position, total;
	struct record r;
	struct entry e;
	int err = 0, more;

	while (err == 0 && w->position < size && (more = dat_walk_next(w, true, &r, &position, &stored)) != 0) {
		if (more < 0)
			return more;
		total = record_total_bytes(r.stored_bytes);
		if (r.type == RECORD_DATA && dat_unpack(&r, stored, payload) < 0) {
			e = entry_of_data(&r, dat->header.number, position);
			err = damaged_record(s, &e);
		}
		s->bytes += total;
		if (err == 0)
			err = pace_step(&s->pace, total);
	}
	return err;
}

static int damaged_file(struct scrub *s, const struct index_of *x, uint32_t number)
{
	struct entry e;
	uint64_t i, count = index_count(x);
	int err = 0;

	for (i = 0; i < count && err == 0; i++) {
		if (index_names(x, i, number, &e))
			err = damaged_record(s, &e);
		if (err == 0)
			err = pace_step(&s->pace, ENTRY_BYTES);
	}
	return err;
}

static int one_file(struct scrub *s, const struct index_of *x, uint32_t number, uint64_t size)
{
	struct dat_walk w;
	struct dat d;
	int err = dat_open(s->sys, s->dir, number, &d);

	if (err == -EBADMSG)
		return damaged_file(s, x, number);
	if (err < 0)
		return err == -ENOENT ? 0 : err; /* collected meanwhile */
	if (x->run)
		s->sys->forget(s->sys, d.fd);
	err = dat_walk_begin(&d, &w);
	if (err == 0)
		err = walk(s, &d, size, &w);
	if ((err == 0 || err == -EIO) && w.position < size)
		err = read_by_index(s, &d, x, w.position);
	dat_walk_end(&w);
	dat_close(&d);
	return err;
}

static void lost_epochs(struct scrub *s, uint32_t number, uint64_t first, uint64_t last)
{
	struct store_damage d = { .first_epoch = first, .last_epoch = last };

	data_name(number, d.file);
	report(s, &d);
}

/* A journal of the tail: what is valid of it, and whether there was more. */
static int one_journal(struct scrub *s, uint32_t number)
{
	struct journal j;
	uint64_t lost = 0;
	int err = journal_read(s->sys, s->dir, number, EPOCH_MAX, false, &j);

	if (err == 0) {
		err = journal_lost_epochs(s->sys, s->dir, &j, &lost);
		if (err == 0 && lost > 0)
			lost_epochs(s, number, j.last_epoch + 1, lost);
		if (err == 0)
			err = one_file(s, &(struct index_of){ .journal = &j }, number, j.size_bytes);
		journal_done(&j);
	}
	return err == -ENOENT ? 0 : err; /* it has got its run meanwhile */
}

/* One without a header; empty, it is only unfinished. */
static int headless(struct scrub *s, uint32_t number)
{
	uint64_t last = s->tail.count ? s->tail.list[s->tail.count - 1].last_epoch : s->folder->last_epoch;
	char name[DATA_NAME_BYTES];
	char *path = sys_path(s->dir, data_name(number, name));
	uint64_t size = 0;
	int fd, err = 0;

	if (!path)
		return -ENOMEM;
	fd = s->sys->open(s->sys, path, O_RDONLY, 0);
	free(path);
	if (fd >= 0) {
		err = s->sys->size(s->sys, fd, &size);
		s->sys->close(s->sys, fd);
	}
	if (size > DATA_HEADER_BYTES)
		lost_epochs(s, number, last + 1, last + 1);
	return err;
}

/* The text files: every point may be named or kept wrongly. */
static int one_text(struct scrub *s, const char *name, int err)
{
	struct store_damage d = { 0 };

	if (err != -EBADMSG)
		return err;
	strncpy(d.file, name, sizeof(d.file) - 1);
	(void)points_between(s, 0, UINT64_MAX, &d);
	report(s, &d);
	return 0;
}

static int texts(struct scrub *s)
{
	struct store_policy policy;
	struct pins pins = { 0 };
	int err = one_text(s, "pins", pins_load(s->sys, s->dir, &pins));

	pins_done(&pins);
	return err < 0 ? err : one_text(s, "policy", store_policy_get(s->dir, s->sys, &policy));
}

/* --- runs ------------------------------------------------------------------------------------ */

static void damaged_run(struct scrub *s, struct run *r, uint64_t blocks)
{
	struct store_damage d = { .length_bytes = (uint32_t)MIN(blocks * RUN_BLOCK_BYTES, UINT32_MAX) };

	run_name(r->from, r->to, r->gen, d.file);
	if (points_between(s, r->from, UINT64_MAX, &d))
		report(s, &d);
}

static int one_run(struct scrub *s, struct run *r)
{
	uint64_t blocks;
	struct run_file f;
	size_t i;
	int err = 0;

	if (run_check(r, &blocks) < 0)
		damaged_run(s, r, blocks);
	s->bytes += r->file_bytes;
	err = pace_step(&s->pace, r->file_bytes);
	for (i = 0; i < r->file_count && err == 0; i++) {
		run_file(r, i, &f);
		err = one_file(s, &(struct index_of){ .run = r }, f.number, f.size_bytes);
	}
	return err;
}

static int scrub_look(struct scrub *s)
{
	struct lock gate;
	struct pins no_pins = { 0 };
	int err;

	lock_open_shared(s->sys, s->dir, &gate);
	lock_enter(&gate);
	err = folder_open(s->sys, s->dir, &s->folder);
	if (err == 0)
		err = journal_read_tail(s->folder, EPOCH_MAX, false, &s->tail);
	lock_close(&gate);
	if (err == 0)
		err = retain_load(s->folder, &s->tail, &no_pins, &s->points);
	if (err == 0)
		err = view_open_all(s->sys, s->dir, &s->view);
	return err;
}

int store_scrub(const char *dir, const struct store_sys *sys, const struct store_scrub_options *options,
		uint64_t *ret_bytes, uint64_t *ret_damaged)
{
	struct scrub s = {
		.sys = sys,
		.dir = dir,
		.pace = {
			.sys = sys,
			.bytes_per_second = options->io_bytes_per_second,
			.stop = options->stop,
			.context = options->context,
			.begun_us = sys->now_us(sys),
		},
		.report = options->report,
		.context = options->context,
	};
	size_t i;
	int err = scrub_look(&s);

	for (i = 0; err == 0 && i < s.folder->run_count; i++)
		err = one_run(&s, s.folder->runs[i]);
	for (i = 0; err == 0 && i < s.folder->tail_count; i++)
		err = one_journal(&s, s.folder->tail[i]);
	for (i = 0; err == 0 && i < s.folder->broken_count; i++)
		err = headless(&s, s.folder->broken[i]);
	if (err == 0)
		err = texts(&s);
	view_close(s.view);
	retain_done(&s.points);
	journal_tail_done(&s.tail);
	folder_close(s.folder);
	if (err < 0)
		return err;
	*ret_bytes = s.bytes;
	*ret_damaged = s.damaged;
	return 0;
}
