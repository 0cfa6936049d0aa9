/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite.h"
#include "chunks.h"
#include "search.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct input {
	struct run *run;
	uint64_t at;		/* next entry */
	uint64_t key;		/* its key; UINT64_MAX: none left */
	uint64_t above;		/* first entry of the levels above 0 */
	uint8_t *needed;	/* W3: a bit for each of these: something older lies under it */
};

/* A zero of a level above that was passed on the way down: input and entry. */
struct passed {
	size_t input;
	uint64_t at;
};

struct work {
	const struct rewrite_job *job;
	struct rewrite *result;
	struct input *inputs;
	uint64_t *groups; /* epochs of the kept points, ascending */
	size_t group_count;
	bool bottom; /* W3 */

	/* Of the block at hand. */
	size_t group;
	sector_mask covered;
	struct bytes passed;  /* struct passed */
	struct bytes pending; /* struct entry: zeroes that are dropped unless something older follows */
};

/* --- groups ---------------------------------------------------------------------------- */

static int load_groups(struct work *w)
{
	const struct retain *r = w->job->retain;
	size_t i = retain_place(r, w->inputs[0].run->from);
	size_t end = retain_place(r, w->inputs[w->job->run_count - 1].run->to + 1);

	w->groups = calloc(end - i + 1, sizeof(*w->groups));
	if (!w->groups)
		return -ENOMEM;
	for (; i < end; i++) {
		if (r->list[i].kept)
			w->groups[w->group_count++] = r->list[i].epoch;
	}
	return 0;
}

static uint64_t epoch_at(const void *table, size_t index)
{
	return ((const uint64_t *)table)[index];
}

/* The group of an epoch: the index of the first kept point at or after it. */
static size_t group_of(const struct work *w, uint64_t epoch)
{
	return search_below(w->groups, w->group_count, epoch_at, epoch);
}

static void enter_group(struct work *w, uint64_t epoch)
{
	bool same = w->group != SIZE_MAX && (w->group == 0 || epoch > w->groups[w->group - 1]);
	size_t group = same ? w->group : group_of(w, epoch);

	if (group != w->group)
		w->covered = 0;
	w->group = group;
}

/* --- output ------------------------------------------------------------------------------ */

static int compare_files(const void *a, const void *b)
{
	const struct run_file *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static int account(struct work *w, const struct entry *e)
{
	struct run_file *files = (void *)w->result->files.data, want = { .number = e->file }, *f;
	size_t count = w->result->files.len / sizeof(*files);

	f = count ? bsearch(&want, files, count, sizeof(*files), compare_files) : NULL;
	if (!f)
		return -EBADMSG; /* an entry of a file that its run does not know */
	f->live_bytes += record_total_bytes(e->stored_bytes);
	return 0;
}

static int write_entry(struct work *w, const struct entry *e)
{
	const struct rewrite_job *job = w->job;
	struct entry moved = *e;
	int err;

	if (e->flags & ENTRY_ZERO)
		return runout_entry(w->result->out, e);
	if (job->collect_count &&
	    bsearch(&e->file, job->collect, job->collect_count, sizeof(uint32_t), compare_u32)) {
		err = collector_move(&w->result->collector, &moved);
		if (err == 0)
			err = pace_step(job->pace, 2 * record_total_bytes(moved.stored_bytes));
	} else {
		err = account(w, e);
	}
	return err < 0 ? err : runout_entry(w->result->out, &moved);
}

/* Something stays under the zeroes passed: they stay, too (W3). */
static int keep_passed(struct work *w)
{
	const struct passed *p = (const void *)w->passed.data;
	const struct entry *zeroes = (const void *)w->pending.data;
	size_t i;
	int err = 0;

	for (i = 0; i < w->passed.len / sizeof(*p); i++) {
		struct input *in = &w->inputs[p[i].input];
		uint64_t bit = p[i].at - in->above;

		in->needed[bit / 8] |= (uint8_t)(1u << (bit % 8));
	}
	for (i = 0; i < w->pending.len / sizeof(*zeroes) && err == 0; i++)
		err = write_entry(w, &zeroes[i]);
	w->passed.len = w->pending.len = 0;
	return err;
}

/* --- one entry --------------------------------------------------------------------------- */

static int take_own(struct work *w, size_t input, uint64_t at, const struct entry *e)
{
	const struct input *in = &w->inputs[input];
	uint64_t bit = at - in->above;
	int err;

	if (!w->bottom)
		return write_entry(w, e);
	if (key_level(e->key) > 0)
		return in->needed[bit / 8] & 1u << (bit % 8) ? write_entry(w, e) : 0;
	if (e->flags & ENTRY_ZERO)
		return bytes_append(&w->pending, e, sizeof(*e));
	err = keep_passed(w);
	return err < 0 ? err : write_entry(w, e);
}

/* An entry of block @key itself, or a zero of a block above it. */
static int take(struct work *w, uint64_t key, size_t input, uint64_t at, const struct entry *e)
{
	sector_mask mask = entry_mask(e);
	struct passed passed = { input, at };
	int err = 0;

	enter_group(w, version_epoch(e->version));
	if (e->key == key && (mask & ~w->covered)) /* W1 */
		err = take_own(w, input, at, e);
	else if (e->key != key && w->bottom && key_level(key) == 0)
		err = bytes_append(&w->passed, &passed, sizeof(passed));
	w->covered |= mask; /* W2 */
	return err;
}

/* --- one block ---------------------------------------------------------------------------- */

static int next_key(struct input *in)
{
	struct entry e;
	int err;

	if (in->at >= in->run->entry_count) {
		in->key = UINT64_MAX;
		return 0;
	}
	err = run_entry(in->run, in->at, &e);
	if (err < 0)
		return err;
	if (in->key != 0 && e.key <= in->key)
		return -EBADMSG; /* not in order */
	in->key = e.key;
	return 0;
}

static int block_of_input(struct work *w, size_t input, uint64_t key)
{
	struct input *in = &w->inputs[input];
	struct chunk_versions c;
	struct entry e;
	uint64_t last = UINT64_MAX;
	int more;

	if (in->key == key && !(in->run->level_mask & 1u << key_level(key)))
		return -EBADMSG;
	more = chunk_versions_begin(&c, in->run, key, UINT64_MAX);
	if (more < 0)
		return more;
	if (in->key == key && c.at[key_level(key)] != in->at)
		return -EBADMSG; /* not in order */
	while ((more = chunk_versions_next(&c, &e)) > 0) {
		if (e.version >= last)
			return -EBADMSG;
		last = e.version;
		more = take(w, key, input, c.at[key_level(e.key)] - 1, &e);
		if (more < 0)
			return more;
	}
	if (more < 0 || in->key != key)
		return more;
	more = pace_step(w->job->pace, (c.at[key_level(key)] - in->at) * ENTRY_BYTES);
	in->at = c.at[key_level(key)];
	return more < 0 ? more : next_key(in);
}

static int block(struct work *w, uint64_t key)
{
	size_t i;
	int err = 0;

	w->group = SIZE_MAX;
	w->covered = 0;
	w->passed.len = w->pending.len = 0;
	for (i = w->job->run_count; i-- > 0 && err == 0;) {
		if (w->inputs[i].key == key || w->inputs[i].run->level_mask >> 1)
			err = block_of_input(w, i, key);
	}
	return err;
}

static int all_blocks(struct work *w)
{
	int err = 0;

	while (err == 0) {
		uint64_t key = UINT64_MAX;
		size_t i;

		for (i = 0; i < w->job->run_count; i++)
			key = MIN(key, w->inputs[i].key);
		if (key == UINT64_MAX)
			break;
		err = block(w, key);
	}
	return err;
}

/* --- tables ------------------------------------------------------------------------------- */

static int open_inputs(struct work *w)
{
	size_t i;
	int err = 0;

	for (i = 0; i < w->job->run_count && err == 0; i++) {
		struct input *in = &w->inputs[i];

		in->run = w->job->runs[i];
		err = run_seek(in->run, key_make(1, 0, 0), UINT64_MAX, &in->above);
		if (err == 0) {
			in->needed = calloc((in->run->entry_count - in->above) / 8 + 1, 1);
			err = in->needed ? next_key(in) : -ENOMEM;
		}
	}
	return err;
}

/* The files of all inputs, nothing alive in them yet. */
static int load_files(struct work *w)
{
	struct bytes *files = &w->result->files;
	struct run_file f;
	size_t i, k;
	int err = 0;

	for (i = 0; i < w->job->run_count; i++) {
		for (k = 0; k < w->inputs[i].run->file_count && err == 0; k++) {
			run_file(w->inputs[i].run, k, &f);
			f.live_bytes = 0;
			err = bytes_append(files, &f, sizeof(f));
		}
	}
	if (err == 0 && files->len)
		qsort(files->data, files->len / sizeof(f), sizeof(f), compare_files);
	return err;
}

/* Those with something alive, and those that were made. */
static int write_files(struct work *w)
{
	struct bytes *files = &w->result->files;
	const struct bytes *made = &w->result->collector.made;
	struct run_file *f = (void *)files->data;
	size_t i, kept = 0;
	int err = 0;

	for (i = 0; i < files->len / sizeof(*f); i++) {
		if (f[i].live_bytes > 0)
			f[kept++] = f[i];
	}
	files->len = kept * sizeof(*f);
	for (i = 0; i < made->len / sizeof(*f) && err == 0; i++) {
		struct run_file new = ((const struct run_file *)(const void *)made->data)[i];

		new.live_bytes = new.size_bytes - DATA_HEADER_BYTES;
		err = bytes_append(files, &new, sizeof(new));
	}
	f = (void *)files->data;
	for (i = 0; i < files->len / sizeof(*f) && err == 0; i++)
		err = runout_file(w->result->out, &f[i]);
	return err;
}

static int write_points(struct work *w, const struct run *r)
{
	struct run_point p;
	struct run_disk d;
	size_t i;
	int err = 0;

	for (i = 0; i < r->point_count && err == 0; i++) {
		run_point(r, i, &p);
		if (retain_keeps(w->job->retain, p.epoch))
			err = runout_point(w->result->out, &p);
	}
	for (i = 0; i < r->disk_count && err == 0; i++) {
		run_disk(r, i, &d);
		err = runout_disk(w->result->out, &d);
	}
	return err;
}

static int finish(struct work *w)
{
	const struct rewrite_job *job = w->job;
	const struct run *first = job->runs[0], *last = job->runs[job->run_count - 1];
	size_t i;
	int err = collector_finish(&w->result->collector);

	if (err == 0)
		err = write_files(w);
	for (i = 0; i < job->run_count && err == 0; i++)
		err = write_points(w, job->runs[i]);
	if (err == 0)
		err = runout_finish(w->result->out, first->from, last->to, job->run_count == 1 ? first->gen + 1 : 0,
				    last->to_time_us);
	return err;
}

static int run_work(struct work *w)
{
	const struct rewrite_job *job = w->job;
	int err;

	w->inputs = calloc(job->run_count, sizeof(*w->inputs));
	if (!w->inputs)
		return -ENOMEM;
	err = open_inputs(w);
	if (err == 0)
		err = load_groups(w);
	if (err == 0)
		err = load_files(w);
	if (err == 0)
		err = all_blocks(w);
	return err < 0 ? err : finish(w);
}

int rewrite_runs(const struct rewrite_job *job, struct rewrite *ret)
{
	struct rewrite r = { 0 };
	struct work w = { .job = job, .result = &r };
	size_t i;
	int err;

	assert(job->run_count > 0);
	if (job->run_count == 1 && job->runs[0]->gen == UINT32_MAX)
		return -EOVERFLOW;
	w.bottom = job->runs[0]->from == 1;
	err = collector_init(&r.collector, job->sys, job->dir, job->machine, job->next_collected);
	if (err == 0)
		err = runout_open(job->sys, job->dir, job->tmp, job->machine, &r.out);
	if (err == 0)
		err = run_work(&w);
	for (i = 0; w.inputs && i < job->run_count; i++)
		free(w.inputs[i].needed);
	free(w.inputs);
	free(w.groups);
	bytes_done(&w.passed);
	bytes_done(&w.pending);
	if (err < 0)
		rewrite_done(&r, false);
	else
		*ret = r;
	return err;
}

void rewrite_done(struct rewrite *r, bool published)
{
	runout_close(r->out);
	if (!published)
		collector_undo(&r->collector);
	collector_done(&r->collector);
	bytes_done(&r->files);
}
