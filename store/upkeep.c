/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upkeep: what keeps a store small and quick.
 *
 *	merge	neighbouring runs of about one size become one, so that a read
 *		asks few of them; and so do a run without a kept point and the
 *		one after it, so that what is overwritten can go;
 *	thin	a run many of whose points have expired is written again
 *		without them;
 *	collect	records that are still needed move out of data files that
 *		are mostly unneeded, or very small; a run is written again
 *		with their new places.
 *
 * All three are rewrite.h, and all end the same way:
 *
 *	new data files synced, their names synced
 *	new run synced under a temporary name
 *	gate shut -- no reader has come to need a point that goes
 *	new run renamed, names synced
 *	old runs deleted
 *	gate opened
 *	data files that the new run does not name deleted
 *
 * A crash before the rename leaves files that nothing names, after it files
 * that are superseded; both go at the next round (F1-F3).
 */
#include "lock.h"
#include "rewrite.h"
#include "search.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define UPKEEP_TMP_NAME "tmp-upkeep.gwr"
#define FAN_IN_MAX 64u
#define SMALL_FILES_MIN 16u
#define MOVE_BYTES_MIN (512 * MIB) /* one job moves at most this, or four times what the index weighs */
#define FEW_POINTS 4u
#define ENTRIES_MAX (64u * 1024 * 1024) /* no run is merged into one above this */

struct upkeep {
	const struct store_sys *sys;
	const char *dir;
	const struct store_upkeep_options *options;
	struct store_policy policy;
	struct lock lock; /* holds the upkeep byte */
	struct pace pace;
	struct store_upkeep_result result;

	struct bytes left_alone; /* uint64_t: first epochs of runs */
	int first_error;

	struct folder *folder;
	struct pins pins;
	struct retain retain;
	uint64_t newest_us;
};

struct job {
	size_t first, count; /* of the folder's runs */
	struct bytes collect; /* uint32_t, ascending */
};

/* --- what there is ---------------------------------------------------------------------- */

static void forget(struct upkeep *u)
{
	folder_close(u->folder);
	u->folder = NULL;
	pins_done(&u->pins);
	retain_done(&u->retain);
}

/* A point that a reader shows, or that the caller holds, is kept for as long. */
static void keep_held(struct upkeep *u)
{
	size_t i;

	for (i = 0; i < u->options->held_count; i++) {
		size_t at = retain_place(&u->retain, u->options->held[i]);

		if (at < u->retain.count && u->retain.list[at].epoch == u->options->held[i])
			retain_keep(&u->retain, at);
	}
	if (!lock_any_point_held(&u->lock))
		return;
	for (i = 0; i < u->retain.count; i++) {
		if (!u->retain.list[i].kept && lock_point_held(&u->lock, u->retain.list[i].epoch))
			retain_keep(&u->retain, i);
	}
}

static int look(struct upkeep *u)
{
	struct tail_journals tail = { 0 };
	int err;

	forget(u);
	lock_enter(&u->lock);
	err = journal_look(u->sys, u->dir, false, EPOCH_MAX, &u->folder, &tail);
	lock_leave(&u->lock);
	if (err == 0)
		journal_tail_distrust(&tail);
	if (err == 0)
		err = pins_load(u->sys, u->dir, &u->pins);
	if (err == 0)
		err = retain_load(u->folder, &tail, &u->pins, &u->retain);
	journal_tail_done(&tail);
	if (err < 0)
		return err;
	retain_apply(&u->retain, &u->policy, u->options->now_us);
	keep_held(u);
	u->newest_us = u->retain.count ? u->retain.list[u->retain.count - 1].time_us : 0;
	return 0;
}

/* --- deleting ------------------------------------------------------------------------------ */

static uint64_t size_of(const struct upkeep *u, const char *name)
{
	char *path = sys_path(u->dir, name);
	uint64_t size = 0;
	int fd = path ? u->sys->open(u->sys, path, 0, 0) : -ENOMEM;

	if (fd >= 0) {
		if (u->sys->size(u->sys, fd, &size) < 0)
			size = 0;
		u->sys->close(u->sys, fd);
	}
	free(path);
	return size;
}

static int remove_file(struct upkeep *u, const char *name)
{
	uint64_t size = size_of(u, name);
	int err = folder_remove(u->folder, name);

	if (err == 0)
		u->result.bytes_freed += size;
	return err;
}

static int remove_data(struct upkeep *u, uint32_t number)
{
	char name[DATA_NAME_BYTES];

	return remove_file(u, data_name(number, name));
}

/* What a crash left.  What makes it superfluous must be durable before it goes. */
static int clean(struct upkeep *u)
{
	const struct folder *f = u->folder;
	size_t i;
	int err;

	if (f->superseded_count + f->dead_count == 0)
		return 0;
	err = u->sys->sync_dir(u->sys, u->dir);
	for (i = 0; i < f->superseded_count && err == 0; i++)
		err = remove_file(u, f->superseded[i]);
	for (i = 0; i < f->dead_count && err == 0; i++)
		err = remove_data(u, f->dead[i]);
	return err;
}

/* --- choosing what to do --------------------------------------------------------------------- */

static bool is_left_alone(const struct upkeep *u, const struct run *r)
{
	const uint64_t *from = (const void *)u->left_alone.data;
	size_t i;

	for (i = 0; i < u->left_alone.len / sizeof(*from); i++) {
		if (from[i] == r->from)
			return true;
	}
	return false;
}

static unsigned int tier_of(const struct upkeep *u, const struct run *r)
{
	uint64_t size = u->sys->limits.tier_entries;
	unsigned int tier = 0;

	if (is_left_alone(u, r))
		return UINT_MAX;
	while (r->entry_count >= size && tier < 20) {
		size *= u->sys->limits.merge_fan_in;
		tier++;
	}
	return tier;
}

/* A stretch of at least fan-in neighbours of tier @tier or below. */
static bool choose_merge(const struct upkeep *u, unsigned int tier, struct job *ret)
{
	const struct folder *f = u->folder;
	size_t first = 0, i;
	uint64_t entries = 0;

	for (i = 0; i <= f->run_count; i++) {
		bool fits = i < f->run_count && tier_of(u, f->runs[i]) <= tier && i - first < FAN_IN_MAX &&
			    (i == first || entries + f->runs[i]->entry_count <= ENTRIES_MAX);

		if (fits) {
			entries += f->runs[i]->entry_count;
			continue;
		}
		if (i - first >= u->sys->limits.merge_fan_in) {
			ret->first = first;
			ret->count = i - first;
			return true;
		}
		first = i < f->run_count && tier_of(u, f->runs[i]) <= tier ? i : i + 1;
		entries = first == i ? f->runs[i]->entry_count : 0;
	}
	return false;
}

static size_t kept_in(const struct upkeep *u, const struct run *r)
{
	size_t i = retain_place(&u->retain, r->from), end = retain_place(&u->retain, r->to + 1), kept = 0;

	for (; i < end; i++)
		kept += u->retain.list[i].kept;
	return kept;
}

static uint64_t live_bytes(const struct run *r)
{
	struct run_file f;
	uint64_t live = 0;
	size_t i;

	for (i = 0; i < r->file_count; i++) {
		run_file(r, i, &f);
		live += f.live_bytes;
	}
	return live;
}

/* How much of a disk the run's zero blocks cover, counted up to @enough. */
static uint64_t zero_bytes(struct run *r, uint64_t enough)
{
	uint64_t at, bytes = 0;
	struct entry e;

	if (r->level_mask >> 1 == 0 || run_seek(r, key_make(1, 0, 0), UINT64_MAX, &at) < 0)
		return 0;
	for (; at < r->entry_count && bytes < enough && run_entry(r, at, &e) == 0; at++)
		bytes += (uint64_t)CHUNK_BYTES << (LEVEL_SHIFT * key_level(e.key));
	return bytes;
}

/*
 * Where no point is left in a run, what the next one has over it can go, but
 * that shows only when the two are one.  Worth it if as much could go as
 * sixteen times the index that is written for it.
 */
static bool worth_absorbing(const struct upkeep *u, struct run *old, struct run *new)
{
	uint64_t most = live_bytes(old), gain = MIN(most, live_bytes(new) + zero_bytes(new, most));

	if (is_left_alone(u, old) || is_left_alone(u, new) || kept_in(u, old) > 0 ||
	    old->entry_count + new->entry_count > ENTRIES_MAX)
		return false;
	if (new->to >= u->retain.window_epoch && kept_in(u, new) > FEW_POINTS)
		return false;
	return gain / 16 >= old->file_bytes + new->file_bytes;
}

static bool choose_absorb(const struct upkeep *u, struct job *ret)
{
	const struct folder *f = u->folder;
	size_t i;

	for (i = 0; i + 1 < f->run_count; i++) {
		if (worth_absorbing(u, f->runs[i], f->runs[i + 1])) {
			*ret = (struct job){ .first = i, .count = 2 };
			return true;
		}
	}
	return false;
}

/* Enough of the run's points have expired, or the oldest long enough ago. */
static bool wants_thinning(const struct upkeep *u, const struct run *r)
{
	uint64_t slack_us = u->policy.every_s * 1000000ULL / 16;
	uint64_t oldest_us = u->newest_us - MIN(u->newest_us, u->policy.every_s * 1000000ULL + slack_us);
	size_t i = retain_place(&u->retain, r->from), end = retain_place(&u->retain, r->to + 1);
	size_t all = end - i, expired = 0;
	bool old = false;

	for (; i < end; i++) {
		if (u->retain.list[i].kept)
			continue;
		expired++;
		old = old || u->retain.list[i].time_us < oldest_us;
	}
	return expired > 0 && (old || expired * 8 >= all);
}

static bool mostly_dead(const struct upkeep *u, const struct run_file *f)
{
	bool in_window = f->last_epoch >= u->retain.window_epoch;

	return f->live_bytes * (in_window ? 4 : 2) < f->size_bytes;
}

static bool small(const struct upkeep *u, const struct run_file *f)
{
	return f->last_epoch < u->retain.window_epoch && f->size_bytes < u->sys->limits.small_file_bytes;
}

/* How much one job may move: when the disk is nearly full, a little at a time. */
static int room_to_move(const struct upkeep *u, const struct run *r, uint64_t *ret)
{
	uint64_t free_bytes, total_bytes;
	int err = u->sys->space(u->sys, u->dir, &free_bytes, &total_bytes);

	if (err == 0)
		*ret = MIN(MAX(MOVE_BYTES_MIN, 4 * r->file_bytes),
			   free_bytes > r->file_bytes ? (free_bytes - r->file_bytes) / 2 : 0);
	return err;
}

/* Which of the run's data files to collect now. */
static int choose_files(const struct upkeep *u, const struct run *r, struct bytes *ret)
{
	struct run_file f;
	uint64_t room;
	size_t i, small_count = 0;
	int err = room_to_move(u, r, &room);

	for (i = 0; i < r->file_count && err == 0; i++) {
		run_file(r, i, &f);
		small_count += small(u, &f);
	}
	for (i = 0; i < r->file_count && err == 0; i++) {
		run_file(r, i, &f);
		if (!mostly_dead(u, &f) && !(small_count >= SMALL_FILES_MIN && small(u, &f)))
			continue;
		if (f.live_bytes > room)
			continue;
		room -= f.live_bytes;
		err = bytes_append(ret, &f.number, sizeof(f.number));
	}
	if (err == 0 && ret->len)
		qsort(ret->data, ret->len / sizeof(uint32_t), sizeof(uint32_t), compare_u32);
	return err;
}

/* 1: something is to be done; 0: nothing at or after run @from. */
static int choose_job(const struct upkeep *u, size_t from, struct job *ret)
{
	const struct folder *f = u->folder;
	unsigned int tier;
	size_t i;
	int err;

	*ret = (struct job){ 0 };
	for (tier = 0; from == 0 && tier <= 20; tier++) {
		if (choose_merge(u, tier, ret))
			return 1;
	}
	if (from == 0 && choose_absorb(u, ret))
		return 1;
	for (i = from; i < f->run_count; i++) {
		*ret = (struct job){ .first = i, .count = 1 };
		if (is_left_alone(u, f->runs[i]))
			continue;
		err = choose_files(u, f->runs[i], &ret->collect);
		if (err < 0)
			return err;
		if (ret->collect.len > 0 || wants_thinning(u, f->runs[i]))
			return 1;
	}
	return 0;
}

/* --- doing it ------------------------------------------------------------------------------------ */

/* With the gate shut: is every point that goes unneeded still? */
static int check_points(struct upkeep *u, const struct job *job)
{
	struct run *const *runs = u->folder->runs + job->first;
	size_t i = retain_place(&u->retain, runs[0]->from);
	size_t end = retain_place(&u->retain, runs[job->count - 1]->to + 1);
	bool held = lock_any_point_held(&u->lock);
	struct pins pins = { 0 };
	int err = pins_load(u->sys, u->dir, &pins);

	for (; i < end && err == 0; i++) {
		const struct retain_point *p = &u->retain.list[i];
		const struct pin *pin;

		if (p->kept)
			continue;
		pin = pins_find(&pins, p->epoch);
		if ((pin && pin->label[0]) || (held && lock_point_held(&u->lock, p->epoch)))
			err = -EAGAIN;
	}
	pins_done(&pins);
	return err;
}

static int publish(struct upkeep *u, const struct job *job, struct rewrite *r, bool *ret_published)
{
	struct run *const *runs = u->folder->runs + job->first;
	char name[RUN_NAME_BYTES];
	size_t i;
	int err = lock_shut(&u->lock);

	if (err < 0)
		return err == -EBUSY ? -EAGAIN : err;
	err = check_points(u, job);
	if (err == 0) {
		*ret_published = true; /* also when it fails: the rename may have been done */
		err = runout_publish(r->out);
	}
	for (i = 0; i < job->count && err == 0; i++)
		err = remove_file(u, run_name(runs[i]->from, runs[i]->to, runs[i]->gen, name));
	lock_leave(&u->lock);
	return err;
}

static uint64_t number_at(const void *table, size_t index)
{
	return ((const struct run_file *)table)[index].number;
}

/* The table is in order of number. */
static bool names(const struct bytes *files, uint32_t number)
{
	size_t count = files->len / sizeof(struct run_file);
	size_t at = search_below(files->data, count, number_at, number);

	return at < count && number_at(files->data, at) == number;
}

/* Data files of the old runs that the new one does without. */
static int remove_unnamed(struct upkeep *u, const struct job *job, const struct rewrite *r)
{
	struct run_file f;
	size_t i, k;
	int err = 0;

	for (i = job->first; i < job->first + job->count; i++) {
		for (k = 0; k < u->folder->runs[i]->file_count && err == 0; k++) {
			run_file(u->folder->runs[i], k, &f);
			if (!names(&r->files, f.number))
				err = remove_data(u, f.number);
		}
	}
	return err;
}

static size_t count_expired(const struct upkeep *u, const struct job *job)
{
	struct run *const *runs = u->folder->runs + job->first;
	size_t i = retain_place(&u->retain, runs[0]->from);
	size_t end = retain_place(&u->retain, runs[job->count - 1]->to + 1);
	size_t expired = 0;

	for (; i < end; i++)
		expired += !u->retain.list[i].kept;
	return expired;
}

static int do_job(struct upkeep *u, const struct job *job)
{
	const struct rewrite_job rj = {
		.sys = u->sys,
		.dir = u->dir,
		.machine = &u->folder->machine,
		.runs = u->folder->runs + job->first,
		.run_count = job->count,
		.retain = &u->retain,
		.collect = (const void *)job->collect.data,
		.collect_count = job->collect.len / sizeof(uint32_t),
		.next_collected = u->folder->next_collected,
		.pace = &u->pace,
		.tmp = UPKEEP_TMP_NAME,
	};
	struct rewrite r;
	bool published = false;
	int err = rewrite_runs(&rj, &r);

	if (err < 0)
		return err == -ENOENT ? -EBADMSG : err;
	err = publish(u, job, &r, &published);
	if (err == 0) {
		u->result.points_expired += count_expired(u, job);
		u->result.runs_merged += job->count > 1 ? job->count : 0;
		u->result.bytes_rewritten += runout_bytes(r.out) + r.collector.bytes;
		err = remove_unnamed(u, job, &r);
	}
	rewrite_done(&r, published);
	return err;
}

/* The first run that begins after epoch @epoch. */
static size_t run_behind(const struct upkeep *u, uint64_t epoch)
{
	size_t i = 0;

	while (i < u->folder->run_count && u->folder->runs[i]->from <= epoch)
		i++;
	return i;
}

/*
 * A job that fails for what is in the files, or for want of room, does not keep
 * others from being done: its runs are left alone for the rest of the round.
 */
static int settle_job(struct upkeep *u, const struct job *job, int err)
{
	size_t i;

	if (err == -EAGAIN)
		u->result.more = true;
	if (err != -EAGAIN && err != -EBADMSG && err != -EIO && err != -ENOSPC)
		return err;
	if (err != -EAGAIN && u->first_error == 0)
		u->first_error = err;
	for (i = 0; i < job->count; i++) {
		uint64_t from = u->folder->runs[job->first + i]->from;
		int failed = bytes_append(&u->left_alone, &from, sizeof(from));

		if (failed < 0)
			return failed;
	}
	return 0;
}

/* What fails is told when all else is done, so that a round is not cut short then. */
static bool is_enough(struct upkeep *u)
{
	const struct store_upkeep_options *o = u->options;

	if (u->first_error || !o->enough || !o->enough(o->context))
		return false;
	u->result.more = true;
	return true;
}

/* Merge until nothing is left to merge; then look at each run once.  After
 * each job the folder is looked at anew. */
static int all_jobs(struct upkeep *u)
{
	uint64_t behind = 0; /* runs up to this epoch have been looked at */
	struct job job;
	int err;

	for (;;) {
		err = choose_job(u, run_behind(u, behind), &job);
		if (err > 0) {
			if (job.count == 1)
				behind = u->folder->runs[job.first]->to;
			err = settle_job(u, &job, do_job(u, &job));
			err = err < 0 ? err : 1;
		}
		bytes_done(&job.collect);
		if (err <= 0)
			return err;
		err = look(u);
		if (err < 0 || is_enough(u))
			return err;
	}
}

static int round_of(struct upkeep *u)
{
	struct job job;
	int err = store_policy_get(u->dir, u->sys, &u->policy);

	if (err == 0)
		err = look(u);
	if (err == 0)
		err = clean(u);
	if (err == 0)
		err = all_jobs(u);
	if (err == -ECANCELED) {
		u->result.more = true;
		return 0;
	}
	if (err == 0 && !u->result.more) {
		err = choose_job(u, 0, &job);
		u->result.more = err > 0;
		bytes_done(&job.collect);
		err = MIN(err, 0);
	}
	return err;
}

int store_upkeep(const char *dir, const struct store_sys *sys, const struct store_upkeep_options *options,
		 struct store_upkeep_result *ret)
{
	struct upkeep u = {
		.sys = sys,
		.dir = dir,
		.options = options,
		.pace = {
			.sys = sys,
			.bytes_per_second = options->io_bytes_per_second,
			.stop = options->stop,
			.context = options->context,
			.begun_us = sys->now_us(sys),
		},
	};
	struct uuid machine;
	int err = folder_identity(sys, dir, &machine); /* before a lock file is made anywhere */

	if (err < 0)
		return err;
	err = lock_open(sys, dir, &u.lock);
	if (err < 0)
		return err;
	err = lock_take(&u.lock, LOCK_UPKEEP);
	if (err == 0)
		err = round_of(&u);
	if (err == 0)
		err = u.first_error;
	forget(&u);
	bytes_done(&u.left_alone);
	lock_close(&u.lock);
	if (err == 0)
		*ret = u.result;
	return err;
}
