/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"
#include "chunks.h"
#include "lock.h"
#include "points.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define RELOADS 5

struct view {
	const struct store_sys *sys;
	char *dir;
	bool with_tail;
	uint64_t upto;
	struct files *files;

	pthread_rwlock_t lock; /* over what follows: shared to read, exclusive to load again */
	unsigned int loads;
	struct folder *folder;
	struct run *tail; /* NULL: none */
};

/* --- loading --------------------------------------------------------------------- */

static int table_of_tail(const struct tail_journals *t, struct run **ret)
{
	struct bytes all = { 0 };
	size_t i;
	int err = 0;

	for (i = 0; i < t->count && err == 0; i++)
		err = bytes_append(&all, t->list[i].entries.data, t->list[i].entries.len);
	if (err == 0 && all.len > 0) {
		entries_sort(all.data, all.len / ENTRY_BYTES);
		err = run_from_entries(all.data, all.len / ENTRY_BYTES, ret);
		if (err == 0)
			return 0;
	}
	bytes_done(&all);
	return err;
}

/* Takes @f over when it succeeds. */
static int adopt(struct view *v, struct folder *f, const struct tail_journals *t)
{
	struct run *tail = NULL;
	int err = table_of_tail(t, &tail);

	if (err < 0)
		return err;
	folder_close(v->folder);
	run_close(v->tail);
	v->folder = f;
	v->tail = tail;
	v->loads++;
	files_forget(v->files);
	return 0;
}

/* Has it all that the view is to show?  A reader whose lock did not take may
 * find its point thinned away: then what is left may be wrong for it (S5). */
static int check_reach(const struct view *v, const struct folder *f, const struct tail_journals *t)
{
	const struct pins no_pins = { 0 };
	struct store_epoch e;

	if (v->upto == EPOCH_MAX)
		return f->damaged[0] ? -EBADMSG : 0;
	if (points_lookup(f, t, &no_pins, v->upto, &e) == 0)
		return 0;
	return journal_last_epoch(f, t) < v->upto ? -EBADMSG : -ESTALE;
}

static int load(struct view *v)
{
	struct tail_journals t = { 0 };
	struct folder *f = NULL;
	struct lock gate;
	int err;

	lock_open_shared(v->sys, v->dir, &gate);
	lock_enter(&gate);
	err = journal_look(v->sys, v->dir, true, v->with_tail ? v->upto : 0, &f, &t);
	lock_close(&gate);
	if (err == 0)
		err = check_reach(v, f, &t);
	if (err == 0)
		err = adopt(v, f, &t);
	if (err < 0)
		folder_close(f);
	journal_tail_done(&t);
	return err;
}

static int view_new(const struct store_sys *sys, const char *dir, bool tail, uint64_t upto, struct view **ret)
{
	struct view *v = calloc(1, sizeof(*v));
	pthread_rwlockattr_t attr;
	int err;

	if (!v)
		return -ENOMEM;
	v->sys = sys;
	v->with_tail = tail;
	v->upto = upto;
	pthread_rwlockattr_init(&attr);
	/* Who has to load again must not wait for ever for readers who need not. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&v->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	v->dir = strdup(dir);
	err = v->dir ? files_new(sys, dir, &v->files) : -ENOMEM;
	if (err < 0)
		view_close(v);
	else
		*ret = v;
	return err;
}

static int view_load(const struct store_sys *sys, const char *dir, bool tail, struct view **ret)
{
	struct view *v;
	int err = view_new(sys, dir, tail, EPOCH_MAX, &v);

	if (err < 0)
		return err;
	err = load(v);
	if (err < 0)
		view_close(v);
	else
		*ret = v;
	return err;
}

int view_open(const struct store_sys *sys, const char *dir, struct view **ret)
{
	return view_load(sys, dir, false, ret);
}

int view_open_all(const struct store_sys *sys, const char *dir, struct view **ret)
{
	return view_load(sys, dir, true, ret);
}

int view_open_at(struct folder *f, const struct tail_journals *t, uint64_t upto, struct view **ret)
{
	struct view *v;
	int err = view_new(f->sys, f->dir, true, upto, &v);

	if (err < 0)
		return err;
	err = adopt(v, f, t);
	if (err < 0)
		view_close(v);
	else
		*ret = v;
	return err;
}

void view_close(struct view *v)
{
	if (!v)
		return;
	folder_close(v->folder);
	run_close(v->tail);
	files_free(v->files);
	pthread_rwlock_destroy(&v->lock);
	free(v->dir);
	free(v);
}

/* Somebody may have done it since this reader saw @loads. */
static int load_again(struct view *v, unsigned int loads)
{
	int err = 0;

	pthread_rwlock_wrlock(&v->lock);
	if (v->loads == loads)
		err = load(v);
	pthread_rwlock_unlock(&v->lock);
	return err;
}

/* --- versions of a chunk ------------------------------------------------------------ */

/* Tables newest first: 0 is the tail. */
static struct run *table(struct view *v, size_t index)
{
	if (index == 0)
		return v->tail;
	return index <= v->folder->run_count ? v->folder->runs[v->folder->run_count - index] : NULL;
}

static int table_versions(struct view *v, struct run *r, uint64_t key,
			  int (*each)(void *context, const struct entry *e), void *context)
{
	struct chunk_versions c;
	struct entry e;
	int more = chunk_versions_begin(&c, r, key, version_last(v->upto));

	if (more < 0)
		return more;
	while ((more = chunk_versions_next(&c, &e)) > 0) {
		more = each(context, &e);
		if (more != 0)
			return more;
	}
	return more;
}

/* What @each returned, or 0. */
static int all_versions(struct view *v, uint64_t key, int (*each)(void *context, const struct entry *e), void *context)
{
	size_t i, count = v->folder->run_count + 1;
	int err = 0;

	for (i = 0; i < count && err == 0; i++) {
		struct run *r = table(v, i);

		if (r && r->from <= v->upto)
			err = table_versions(v, r, key, each, context);
	}
	return err;
}

int view_versions(struct view *v, uint16_t disk, uint64_t chunk, int (*each)(void *context, const struct entry *e),
		  void *context)
{
	int err;

	pthread_rwlock_rdlock(&v->lock);
	err = all_versions(v, key_make(0, disk, chunk), each, context);
	pthread_rwlock_unlock(&v->lock);
	return err < 0 ? err : 0;
}

/* --- reading ------------------------------------------------------------------------- */

void sectors_copy(uint8_t *buf, sector_mask new, const uint8_t *payload, unsigned int first)
{
	unsigned int at, count;

	while ((count = mask_first_run(new, &at)) > 0) {
		assert(at >= first);
		memcpy(buf + (size_t)at * SECTOR_BYTES, payload + (size_t)(at - first) * SECTOR_BYTES,
		       (size_t)count * SECTOR_BYTES);
		new &= ~mask_of(at, count);
	}
}

void sectors_zero(uint8_t *buf, sector_mask mask)
{
	unsigned int at, count;

	while ((count = mask_first_run(mask, &at)) > 0) {
		memset(buf + (size_t)at * SECTOR_BYTES, 0, (size_t)count * SECTOR_BYTES);
		mask &= ~mask_of(at, count);
	}
}

struct fill {
	struct view *v;
	sector_mask want;
	uint8_t *buf;
};

static int fill_each(void *context, const struct entry *e)
{
	struct fill *f = context;
	sector_mask mask = entry_mask(e), new = mask & f->want;
	uint8_t payload[CHUNK_BYTES];
	int err;

	if (new == 0)
		return 0;
	if (e->flags & ENTRY_ZERO) {
		sectors_zero(f->buf, new);
	} else if (new == mask) {
		err = files_read(f->v->files, e, f->buf + (size_t)e->first * SECTOR_BYTES);
		if (err < 0)
			return err;
	} else {
		err = files_read(f->v->files, e, payload);
		if (err < 0)
			return err;
		sectors_copy(f->buf, new, payload, e->first);
	}
	f->want &= ~new;
	return f->want == 0;
}

/*
 * May @err be because files were replaced under the view?  One that is gone, or
 * one of another content: numbers are given again when the highest has gone.
 * With the lock.
 */
static bool may_be_replaced(const struct view *v, int err)
{
	bool changed;

	return err == -ENOENT || (err == -EBADMSG && folder_has_changed(v->folder, &changed) == 0 && changed);
}

int view_fill(struct view *v, uint16_t disk, uint64_t chunk, sector_mask want, uint8_t *buf, sector_mask *ret_unfilled)
{
	unsigned int loads, tries;
	struct fill f = { v, want, buf };
	bool again = want != 0;
	int err = 0;

	for (tries = 0; again && tries < RELOADS; tries++) {
		f.want = want;
		pthread_rwlock_rdlock(&v->lock);
		loads = v->loads;
		err = all_versions(v, key_make(0, disk, chunk), fill_each, &f);
		again = err < 0 && may_be_replaced(v, err);
		pthread_rwlock_unlock(&v->lock);
		if (again && (err = load_again(v, loads)) < 0)
			break;
	}
	if (err < 0 || again)
		return err == -ENOENT || err == 0 ? -EBADMSG : err;
	*ret_unfilled = f.want;
	return 0;
}

struct look {
	sector_mask want, data;
};

static int look_each(void *context, const struct entry *e)
{
	struct look *l = context;
	sector_mask new = entry_mask(e) & l->want;

	if (!(e->flags & ENTRY_ZERO))
		l->data |= new;
	l->want &= ~new;
	return l->want == 0;
}

int view_data_mask(struct view *v, uint16_t disk, uint64_t chunk, sector_mask want, sector_mask *ret_data)
{
	struct look l = { want, 0 };
	int err = view_versions(v, disk, chunk, look_each, &l);

	if (err < 0)
		return err;
	*ret_data = l.data;
	return 0;
}

static int table_next(struct run *r, uint64_t key, uint64_t *best)
{
	struct entry e;
	uint64_t at;
	int err = run_seek(r, key, UINT64_MAX, &at);

	if (err == 0 && at < r->entry_count) {
		err = run_entry(r, at, &e);
		if (err == 0 && key_level(e.key) == 0 && key_disk(e.key) == key_disk(key))
			*best = MIN(*best, key_index(e.key));
	}
	return err;
}

int view_next_chunk(struct view *v, uint16_t disk, uint64_t chunk, uint64_t *ret_chunk)
{
	uint64_t best = UINT64_MAX;
	size_t i;
	int err = 0;

	pthread_rwlock_rdlock(&v->lock);
	for (i = 0; i <= v->folder->run_count && err == 0; i++) {
		struct run *r = table(v, i);

		if (r && r->from <= v->upto)
			err = table_next(r, key_make(0, disk, chunk), &best);
	}
	pthread_rwlock_unlock(&v->lock);
	if (err == 0)
		*ret_chunk = best;
	return err;
}
