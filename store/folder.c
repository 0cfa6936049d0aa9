/* SPDX-License-Identifier: Apache-2.0 */
#include "folder.h"
#include "dat.h"
#include "search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define IDENTITY_NAME "identity"
#define TRIES 20

struct run_id {
	uint64_t from, to;
	uint32_t gen;
};

struct listing {
	struct bytes runs;  /* struct run_id */
	struct bytes files; /* uint32_t */
};

/* --- identity ------------------------------------------------------------------- */

int folder_identity(const struct store_sys *sys, const char *dir, struct uuid *ret_machine)
{
	static const char head[] = "godwit store 1\nmachine ";
	char *text;
	size_t len;
	int err = sys_slurp(sys, dir, IDENTITY_NAME, 4096, &text, &len);

	if (err < 0)
		return err == -EFBIG ? -EBADMSG : err;
	err = -EBADMSG;
	if (len == sizeof(head) - 1 + UUID_TEXT_LEN + 1 && memcmp(text, head, sizeof(head) - 1) == 0 &&
	    text[len - 1] == '\n') {
		text[len - 1] = '\0';
		err = uuid_parse(text + sizeof(head) - 1, ret_machine) < 0 ? -EBADMSG : 0;
	}
	free(text);
	return err;
}

int folder_create(const struct store_sys *sys, const char *dir, const struct uuid *machine)
{
	char text[128], id[UUID_TEXT_LEN + 1];
	int n = snprintf(text, sizeof(text), "godwit store 1\nmachine %s\n", uuid_format(machine, id));
	char *parent = sys_path(dir, "..");
	int err = parent ? sys->mkdir(sys, dir) : -ENOMEM;

	if (err == 0)
		err = sys->sync_dir(sys, parent);
	if (err == 0)
		err = sys_replace(sys, dir, IDENTITY_NAME, text, (size_t)n);
	free(parent);
	return err;
}

/* --- listing ---------------------------------------------------------------------- */

static int list_each(void *context, const char *name)
{
	struct listing *l = context;
	struct run_id id = { 0 };
	uint32_t number;

	if (data_name_parse(name, &number))
		return bytes_append(&l->files, &number, sizeof(number));
	if (run_name_parse(name, &id.from, &id.to, &id.gen))
		return bytes_append(&l->runs, &id, sizeof(id));
	return 0;
}

static void listing_done(struct listing *l)
{
	bytes_done(&l->runs);
	bytes_done(&l->files);
}

/* First epoch ascending; of the same, what counts first (F1). */
static int compare_runs(const void *a, const void *b)
{
	const struct run_id *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	if (x->to != y->to)
		return x->to > y->to ? -1 : 1;
	return x->gen == y->gen ? 0 : x->gen > y->gen ? -1 : 1;
}

static int add_superseded(struct folder *f, const struct run_id *id, size_t room)
{
	if (!f->superseded) {
		f->superseded = calloc(room, sizeof(*f->superseded));
		if (!f->superseded)
			return -ENOMEM;
	}
	run_name(id->from, id->to, id->gen, f->superseded[f->superseded_count++]);
	return 0;
}

static int add_run(struct folder *f, const struct run_id *id)
{
	char name[RUN_NAME_BYTES];
	struct run *r;
	int err = run_open(f->sys, f->dir, run_name(id->from, id->to, id->gen, name), &r);

	if (err < 0)
		return err;
	if (!uuid_equal(&r->machine, &f->machine)) {
		run_close(r);
		return -EBADMSG;
	}
	f->runs[f->run_count++] = r;
	f->last_epoch = r->to;
	f->last_time_us = r->to_time_us;
	return 0;
}

/* What is left of @f may be looked at without run @id; where it was replaced by
 * this one, and is not deleted yet, a run within it still says the same. */
static int leave_out(struct folder *f, const struct run_id *id, bool readable, int err)
{
	if (!readable || (err != -EBADMSG && err != -EIO))
		return err;
	if (!f->damaged[0])
		run_name(id->from, id->to, id->gen, f->damaged);
	f->damaged_to = MAX(f->damaged_to, id->to);
	return 0;
}

static int choose_run(struct folder *f, const struct run_id *id, size_t count, bool readable)
{
	int err;

	if (id->from == f->last_epoch + 1) {
		err = add_run(f, id);
		return err < 0 ? leave_out(f, id, readable, err) : 0;
	}
	if (id->from <= f->last_epoch && id->to <= f->last_epoch)
		return add_superseded(f, id, count);
	f->damaged_to = MAX(f->damaged_to, id->to);
	return f->damaged[0] ? 0 : -EAGAIN;
}

/* F1.  -EAGAIN: a hole. */
static int choose_runs(struct folder *f, const struct listing *l, bool readable)
{
	const struct run_id *ids = (const void *)l->runs.data;
	size_t i, count = l->runs.len / sizeof(*ids);
	int err = 0;

	f->runs = calloc(count + 1, sizeof(*f->runs));
	if (!f->runs)
		return -ENOMEM;
	for (i = 0; i < count && err == 0; i++)
		err = choose_run(f, &ids[i], count, readable);
	if (f->last_epoch >= f->damaged_to)
		f->damaged[0] = '\0'; /* nothing is missing */
	return err;
}

/* --- data files -------------------------------------------------------------------- */

static int named_files(const struct folder *f, struct bytes *ret)
{
	struct run_file file;
	size_t i, k;
	int err;

	for (i = 0; i < f->run_count; i++) {
		for (k = 0; k < f->runs[i]->file_count; k++) {
			run_file(f->runs[i], k, &file);
			err = bytes_append(ret, &file.number, sizeof(file.number));
			if (err < 0)
				return err;
		}
	}
	if (ret->len)
		qsort(ret->data, ret->len / sizeof(uint32_t), sizeof(uint32_t), compare_u32);
	return 0;
}

/* F2, F3, F4. */
static int sort_unnamed(struct folder *f, uint32_t number)
{
	struct dat d;
	int err;

	if (number & DATA_COLLECTED) {
		f->dead[f->dead_count++] = number;
		return 0;
	}
	err = dat_open(f->sys, f->dir, number, &d);
	if (err == -EBADMSG || err == -EIO) {
		f->broken[f->broken_count++] = number;
		f->tail_error = err == -EIO ? err : f->tail_error;
		return 0;
	}
	if (err < 0)
		return err;
	dat_close(&d);
	if (!uuid_equal(&d.header.machine, &f->machine))
		return -EBADMSG;
	if (d.header.first_epoch > f->last_epoch)
		f->tail[f->tail_count++] = number;
	else
		f->dead[f->dead_count++] = number;
	return 0;
}

static int sort_files(struct folder *f, const struct listing *l, const struct bytes *named)
{
	const uint32_t *numbers = (const void *)l->files.data;
	size_t i, count = l->files.len / sizeof(*numbers);
	size_t named_count = named->len / sizeof(uint32_t);
	int err = 0;

	f->tail = calloc(count + 1, sizeof(uint32_t));
	f->broken = calloc(count + 1, sizeof(uint32_t));
	f->dead = calloc(count + 1, sizeof(uint32_t));
	if (!f->tail || !f->broken || !f->dead)
		return -ENOMEM;
	for (i = 0; i < count && err == 0; i++) {
		if (numbers[i] & DATA_COLLECTED)
			f->next_collected = MAX(f->next_collected, numbers[i] + 1);
		else
			f->next_journal = MAX(f->next_journal, numbers[i] + 1);
		if (!named_count || !bsearch(&numbers[i], named->data, named_count, sizeof(uint32_t), compare_u32))
			err = sort_unnamed(f, numbers[i]);
	}
	return err;
}

static int list(const struct folder *f, struct listing *ret)
{
	struct listing l = { 0 };
	int err = f->sys->list(f->sys, f->dir, list_each, &l);

	if (err < 0) {
		listing_done(&l);
		return err;
	}
	if (l.runs.len)
		qsort(l.runs.data, l.runs.len / sizeof(struct run_id), sizeof(struct run_id), compare_runs);
	if (l.files.len)
		qsort(l.files.data, l.files.len / sizeof(uint32_t), sizeof(uint32_t), compare_u32);
	*ret = l;
	return 0;
}

static uint64_t sum_of(const struct listing *l)
{
	return run_checksum(l->files.data, l->files.len, run_checksum(l->runs.data, l->runs.len, 0));
}

int folder_has_changed(const struct folder *f, bool *ret)
{
	struct listing l;
	int err = list(f, &l);

	if (err < 0)
		return err;
	*ret = sum_of(&l) != f->listing_sum;
	listing_done(&l);
	return 0;
}

static int load(struct folder *f, bool readable)
{
	struct listing l = { 0 };
	struct bytes named = { 0 };
	int err = list(f, &l);

	if (err < 0)
		return err;
	f->listing_sum = sum_of(&l);
	err = choose_runs(f, &l, readable);
	if (err == 0)
		err = named_files(f, &named);
	if (err == 0)
		err = sort_files(f, &l, &named);
	listing_done(&l);
	bytes_done(&named);
	return err;
}

static void unload(struct folder *f)
{
	size_t i;

	for (i = 0; i < f->run_count; i++)
		run_close(f->runs[i]);
	free(f->runs);
	free(f->tail);
	free(f->broken);
	free(f->dead);
	free(f->superseded);
	*f = (struct folder){ .sys = f->sys, .dir = f->dir, .machine = f->machine, .next_journal = 1,
			      .next_collected = DATA_COLLECTED | 1 };
}

static int open_as(const struct store_sys *sys, const char *dir, bool readable, struct folder **ret)
{
	struct folder *f = calloc(1, sizeof(*f));
	int tries, err;

	if (!f)
		return -ENOMEM;
	f->sys = sys;
	f->dir = strdup(dir);
	err = f->dir ? folder_identity(sys, dir, &f->machine) : -ENOMEM;
	if (err < 0) {
		folder_close(f);
		return err;
	}
	for (tries = 0; tries < TRIES; tries++) {
		unload(f);
		err = load(f, readable);
		if (err != -EAGAIN && err != -ENOENT)
			break;
	}
	if (err < 0) {
		folder_close(f);
		return err == -EAGAIN || err == -ENOENT ? -EBADMSG : err;
	}
	*ret = f;
	return 0;
}

int folder_open(const struct store_sys *sys, const char *dir, struct folder **ret)
{
	return open_as(sys, dir, false, ret);
}

int folder_open_readable(const struct store_sys *sys, const char *dir, struct folder **ret)
{
	return open_as(sys, dir, true, ret);
}

void folder_close(struct folder *f)
{
	if (!f)
		return;
	unload(f);
	free(f->dir);
	free(f);
}

int folder_remove(const struct folder *f, const char *name)
{
	char *path = sys_path(f->dir, name);
	int err = path ? f->sys->unlink(f->sys, path) : -ENOMEM;

	free(path);
	return err == -ENOENT ? 0 : err;
}
