/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a store for writing after whatever happened.
 *
 *	1  journals without a commit go (F4, J3): what they might have held
 *	   was never acknowledged.  One that looks damaged rather than
 *	   unfinished is put aside as "bad-<number>.gwd";
 *	2  journals with commits get their run: what follows the last good
 *	   commit in them is out of the account for ever.  If that is more than
 *	   a crash can leave, it had been acknowledged and is damaged: the file
 *	   gets a second name, "bad-...", which outlives the first, and the
 *	   epochs are said to be lost;
 *	3  the next journal gets a new number.
 *
 * After 1 and 2 no tail is left (F2).  A crash in between leaves less of the
 * same to do.
 */
#include "writer.h"
#include "dat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BAD_NAMES 16u

static int link_as(const struct folder *f, uint32_t number, const char *bad)
{
	char name[DATA_NAME_BYTES];
	char *from = sys_path(f->dir, data_name(number, name)), *to = sys_path(f->dir, bad);
	int err = from && to ? f->sys->link(f->sys, from, to) : -ENOMEM;

	free(from);
	free(to);
	return err;
}

/* A file that might have held what was acknowledged, were it not damaged, gets
 * a name under which nobody deletes it.  Numbers are given again, so there may
 * be one of that name.  -EOPNOTSUPP: the file system has no second names. */
static int keep_bad(const struct folder *f, uint32_t number)
{
	char bad[DATA_NAME_BYTES + 4];
	unsigned int i;
	int err = -EEXIST;

	for (i = 0; err == -EEXIST && i < BAD_NAMES; i++) {
		snprintf(bad, sizeof(bad), i ? "bad-%08" PRIx32 "-%u.gwd" : "bad-%08" PRIx32 ".gwd", number, i);
		err = link_as(f, number, bad);
	}
	return err == -EPERM || err == -EMLINK || err == -ENOSYS ? -EOPNOTSUPP : err;
}

static int rename_bad(const struct folder *f, uint32_t number)
{
	char name[DATA_NAME_BYTES], bad[DATA_NAME_BYTES];
	char *from = sys_path(f->dir, data_name(number, name)), *to;
	int err;

	snprintf(bad, sizeof(bad), "bad-%08" PRIx32 ".gwd", number);
	to = sys_path(f->dir, bad);
	err = from && to ? f->sys->rename(f->sys, from, to) : -ENOMEM;
	free(from);
	free(to);
	return err;
}

static int remove_data(const struct folder *f, uint32_t number)
{
	char name[DATA_NAME_BYTES];

	return folder_remove(f, data_name(number, name));
}

/* ... and loses its own. */
static int put_aside(const struct folder *f, uint32_t number)
{
	int err = keep_bad(f, number);

	return err == -EOPNOTSUPP ? rename_bad(f, number) : err < 0 ? err : remove_data(f, number);
}

/* Without its header nothing of a file can be told; an empty one held nothing. */
static int remove_broken(const struct folder *f, uint32_t number)
{
	char name[DATA_NAME_BYTES];
	char *path = sys_path(f->dir, data_name(number, name));
	uint64_t size = 0;
	int fd, err;

	if (!path)
		return -ENOMEM;
	fd = f->sys->open(f->sys, path, O_RDONLY, 0);
	free(path);
	if (fd < 0)
		return fd;
	err = f->sys->size(f->sys, fd, &size);
	f->sys->close(f->sys, fd);
	if (err < 0)
		return err;
	return size > DATA_HEADER_BYTES ? put_aside(f, number) : remove_data(f, number);
}

static bool in_use(const struct tail_journals *t, uint32_t number)
{
	size_t i;

	for (i = 0; i < t->count; i++) {
		if (t->list[i].number == number && journal_epoch_count(&t->list[i]) > 0)
			return true;
	}
	return false;
}

/* The newest epoch that it held, valid or not any more, beyond the one that a
 * crash can have left unsynced; 0: none. */
static int find_lost_epochs(const struct folder *f, uint32_t number, uint64_t after, uint64_t *ret_newest)
{
	uint64_t newest = 0;
	struct journal j;
	int err = journal_read(f->sys, f->dir, number, EPOCH_MAX, false, &j);

	if (err < 0)
		return err;
	err = j.read_error;
	if (err == 0)
		err = journal_lost_epochs(f->sys, f->dir, &j, &newest);
	if (err == 0 && newest == 0 && journal_epoch_count(&j) > 0 && j.last_epoch > after + 1)
		newest = j.last_epoch;
	if (err == 0)
		*ret_newest = newest;
	journal_done(&j);
	return err;
}

static void note_lost(struct store_writer *w, uint64_t after, uint64_t newest)
{
	if (newest <= after)
		return;
	w->lost_first = after + 1;
	w->lost_last = MAX(w->lost_last, newest);
}

static int remove_unused(struct store_writer *w, const struct folder *f, const struct tail_journals *t)
{
	uint64_t last = journal_last_epoch(f, t);
	size_t i;
	int err = 0;

	for (i = 0; i < f->broken_count && err == 0; i++)
		err = remove_broken(f, f->broken[i]);
	for (i = 0; i < f->tail_count && err == 0; i++) {
		uint64_t lost = 0;

		if (in_use(t, f->tail[i]))
			continue;
		err = find_lost_epochs(f, f->tail[i], last, &lost);
		note_lost(w, last, lost);
		if (err == -EBADMSG)
			err = remove_broken(f, f->tail[i]); /* its header was in memory only */
		else if (err == 0)
			err = lost ? put_aside(f, f->tail[i]) : remove_data(f, f->tail[i]);
	}
	if (err == 0 && f->broken_count + f->tail_count > 0)
		err = f->sys->sync_dir(f->sys, f->dir);
	return err;
}

static void take_disks(struct store_writer *w, const struct folder *f, const struct tail_journals *t)
{
	struct run_disk d;
	size_t i, k;

	for (i = 0; i < f->run_count; i++) {
		for (k = 0; k < f->runs[i]->disk_count; k++) {
			run_disk(f->runs[i], k, &d);
			if (d.disk.disk < DISKS_MAX)
				w->disks[d.disk.disk] = d.disk;
		}
	}
	for (i = 0; i < t->count; i++) {
		for (k = 0; k < t->list[i].disks.len / sizeof(d); k++) {
			memcpy(&d, t->list[i].disks.data + k * sizeof(d), sizeof(d));
			w->disks[d.disk.disk] = d.disk;
		}
	}
}

/* What stood behind the end of a journal that gets its run, and how much. */
static int keep_lost(struct store_writer *w, const struct folder *f, const struct tail_journals *t,
		     struct journal *j)
{
	uint64_t newest = 0;
	int err = journal_lost_epochs(w->sys, w->dir, j, &newest);

	if (err < 0 || newest == 0)
		return err;
	note_lost(w, journal_last_epoch(f, t), newest);
	j->keeps_rest = true;
	err = keep_bad(f, j->number);
	return err == -EOPNOTSUPP ? 0 : err; /* for as long as the run names it, it is there all the same */
}

static int recover_tail(struct store_writer *w, const struct folder *f, struct tail_journals *t)
{
	size_t i;
	int err = remove_unused(w, f, t);

	for (i = 0; i < t->count && err == 0; i++) {
		struct journal *j = &t->list[i];

		if (journal_epoch_count(j) == 0)
			continue;
		err = keep_lost(w, f, t, j);
		if (err < 0)
			break;
		err = journal_seal(w->sys, w->dir, &w->machine, WRITER_TMP_NAME, j);
		w->last_epoch = j->last_epoch;
		w->last_time_us = j->last_time_us;
	}
	return err;
}

int writer_recover(struct store_writer *w)
{
	struct tail_journals t;
	struct folder *f;
	int err;

	lock_enter(&w->lock);
	err = folder_open(w->sys, w->dir, &f);
	lock_leave(&w->lock);
	if (err < 0)
		return err;
	err = journal_read_tail(f, EPOCH_MAX, true, &t);
	if (err == 0) {
		w->last_epoch = f->last_epoch;
		w->last_time_us = f->last_time_us;
		w->next_journal = f->next_journal;
		take_disks(w, f, &t);
		err = recover_tail(w, f, &t);
		journal_tail_done(&t);
	}
	folder_close(f);
	return err;
}
