/* SPDX-License-Identifier: Apache-2.0 */
#include "points.h"
#include "lock.h"
#include "search.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct store_points {
	struct bytes list; /* struct store_epoch */
	char damaged[RUN_NAME_BYTES]; /* "": nothing is missing */
};

/* --- going through them ------------------------------------------------------------ */

static void apply_pin(const struct pins *pins, struct run_point *p)
{
	const struct pin *pin = pins_find(pins, p->epoch);

	if (!pin)
		return;
	p->label = pin->label;
	p->label_bytes = (uint32_t)strlen(pin->label);
	p->flags = p->label_bytes ? p->flags | STORE_EPOCH_LABELLED : p->flags & ~STORE_EPOCH_LABELLED;
}

static struct run_point point_of(const struct store_epoch *e)
{
	return (struct run_point){ e->epoch, e->time_us, e->flags, e->label, (uint32_t)strlen(e->label) };
}

static int each_in_run(const struct run *r, const struct pins *pins,
		       int (*each)(void *context, const struct run_point *p), void *context)
{
	struct run_point p;
	size_t i;
	int err = 0;

	for (i = 0; i < r->point_count && err == 0; i++) {
		run_point(r, i, &p);
		apply_pin(pins, &p);
		err = each(context, &p);
	}
	return err;
}

static int each_in_journal(const struct journal *j, const struct pins *pins,
			   int (*each)(void *context, const struct run_point *p), void *context)
{
	size_t i;
	int err = 0;

	for (i = 0; i < journal_epoch_count(j) && err == 0; i++) {
		struct run_point p = point_of(journal_epoch(j, i));

		if (!(p.flags & STORE_EPOCH_POINT))
			continue;
		apply_pin(pins, &p);
		err = each(context, &p);
	}
	return err;
}

int points_each(const struct folder *f, const struct tail_journals *tail, const struct pins *pins,
		int (*each)(void *context, const struct run_point *p), void *context)
{
	size_t i;
	int err = 0;

	for (i = 0; i < f->run_count && err == 0; i++)
		err = each_in_run(f->runs[i], pins, each, context);
	for (i = 0; tail && i < tail->count && err == 0; i++)
		err = each_in_journal(&tail->list[i], pins, each, context);
	return err;
}

/* --- one of them --------------------------------------------------------------------- */

static bool newest_in_journal(const struct journal *j, uint64_t upto, struct run_point *ret)
{
	size_t i;

	for (i = journal_epoch_count(j); i-- > 0;) {
		const struct store_epoch *e = journal_epoch(j, i);

		if (e->epoch <= upto && (e->flags & STORE_EPOCH_POINT)) {
			*ret = point_of(e);
			return true;
		}
	}
	return false;
}

/* The newest point at or before epoch @upto. */
static bool newest(const struct folder *f, const struct tail_journals *tail, uint64_t upto, struct run_point *ret)
{
	size_t i, at;

	for (i = tail ? tail->count : 0; i-- > 0;) {
		if (newest_in_journal(&tail->list[i], upto, ret))
			return true;
	}
	for (i = f->run_count; i-- > 0;) {
		if (run_find_point(f->runs[i], upto, &at)) {
			run_point(f->runs[i], at, ret);
			return true;
		}
	}
	return false;
}

int points_lookup(const struct folder *f, const struct tail_journals *tail, const struct pins *pins, uint64_t epoch,
		  struct store_epoch *ret)
{
	struct run_point p;

	if (!newest(f, tail, epoch ? epoch : EPOCH_MAX, &p) || (epoch != 0 && p.epoch != epoch))
		return -ENOENT;
	apply_pin(pins, &p);
	point_to_epoch(&p, ret);
	return 0;
}

/* --- the list for callers ---------------------------------------------------------------- */

static int add_point(void *context, const struct run_point *p)
{
	struct store_points *points = context;
	struct store_epoch e;

	point_to_epoch(p, &e);
	return bytes_append(&points->list, &e, sizeof(e));
}

static void name_damage(const struct folder *f, const struct tail_journals *tail, char ret[RUN_NAME_BYTES])
{
	if (journal_look_is_short(f, tail))
		memcpy(ret, f->damaged, RUN_NAME_BYTES);
	else if (tail->unreadable)
		data_name(tail->unreadable, ret);
	else if (f->tail_error)
		data_name(f->broken[0], ret);
}

static int load_points(const struct store_sys *sys, const char *dir, struct store_points *points)
{
	struct tail_journals tail = { 0 };
	struct pins pins = { 0 };
	struct folder *f = NULL;
	struct lock gate;
	int err;

	lock_open_shared(sys, dir, &gate);
	lock_enter(&gate);
	err = journal_look(sys, dir, true, EPOCH_MAX, &f, &tail);
	if (err == 0)
		err = pins_load_if_whole(sys, dir, &pins);
	lock_close(&gate);
	if (err == 0)
		name_damage(f, &tail, points->damaged);
	if (err == 0)
		err = points_each(f, &tail, &pins, add_point, points);
	pins_done(&pins);
	journal_tail_done(&tail);
	folder_close(f);
	return err;
}

int store_points_open(const char *dir, const struct store_sys *sys, struct store_points **ret)
{
	struct store_points *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	err = load_points(sys, dir, p);
	if (err < 0)
		store_points_close(p);
	else
		*ret = p;
	return err;
}

void store_points_close(struct store_points *p)
{
	if (!p)
		return;
	bytes_done(&p->list);
	free(p);
}

const char *store_points_damaged(const struct store_points *p)
{
	return p->damaged[0] ? p->damaged : NULL;
}

size_t store_points_count(const struct store_points *p)
{
	return p->list.len / sizeof(struct store_epoch);
}

const struct store_epoch *store_points_get(const struct store_points *p, size_t index)
{
	assert(index < store_points_count(p));
	return (const struct store_epoch *)(const void *)p->list.data + index;
}

static uint64_t time_at(const void *table, size_t index)
{
	return store_points_get(table, index)->time_us;
}

int store_points_find(const struct store_points *p, uint64_t time_us, size_t *ret_index)
{
	size_t behind = search_upto(p, store_points_count(p), time_at, time_us);

	if (behind == 0)
		return -ENOENT;
	*ret_index = behind - 1;
	return 0;
}

static int find_text(const char *dir, const struct store_sys *sys, char ret[STORE_FILE_NAME_BYTES])
{
	struct store_policy policy;
	struct pins pins = { 0 };
	const char *name = pins_load(sys, dir, &pins) == -EBADMSG	  ? "pins" :
			   store_policy_get(dir, sys, &policy) == -EBADMSG ? "policy" :
									     NULL;

	pins_done(&pins);
	if (!name)
		return -ENOENT;
	strcpy(ret, name);
	return 0;
}

int store_damaged_file(const char *dir, const struct store_sys *sys, char ret_name[STORE_FILE_NAME_BYTES])
{
	struct tail_journals tail = { 0 };
	char name[RUN_NAME_BYTES] = "";
	struct folder *f = NULL;
	struct uuid machine;
	int err = folder_identity(sys, dir, &machine);

	if (err == -EBADMSG || err == -EIO) {
		strcpy(ret_name, "identity");
		return 0;
	}
	if (err < 0 || journal_look(sys, dir, true, EPOCH_MAX, &f, &tail) < 0)
		return -ENOENT;
	name_damage(f, &tail, name);
	if (!name[0])
		memcpy(name, f->damaged, sizeof(name)); /* whose journals stand in for it */
	journal_tail_done(&tail);
	folder_close(f);
	if (!name[0])
		return find_text(dir, sys, ret_name);
	strcpy(ret_name, name);
	return 0;
}

/* --- naming ------------------------------------------------------------------------------- */

static int label_locked(const struct store_sys *sys, const char *dir, uint64_t epoch, const char *label)
{
	struct tail_journals tail = { 0 };
	struct pins pins = { 0 };
	struct folder *f = NULL;
	struct store_epoch e;
	int err = journal_look(sys, dir, false, EPOCH_MAX, &f, &tail);

	if (err == 0)
		err = pins_load(sys, dir, &pins);
	if (err == 0)
		err = points_lookup(f, &tail, &pins, epoch, &e);
	if (err == 0)
		err = pins_set(&pins, epoch, label);
	if (err == 0)
		err = pins_save(sys, dir, &pins);
	pins_done(&pins);
	journal_tail_done(&tail);
	folder_close(f);
	return err;
}

int store_point_label(const char *dir, const struct store_sys *sys, uint64_t epoch, const char *label)
{
	struct lock gate;
	int err;

	if (epoch == 0 || (label && !label_valid(label)))
		return -EINVAL;
	err = lock_open(sys, dir, &gate);
	if (err < 0)
		return err;
	err = lock_shut(&gate);
	if (err == 0)
		err = label_locked(sys, dir, epoch, label ? label : "");
	lock_close(&gate);
	return err;
}
