/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"
#include "points.h"

#include <errno.h>

static void add_run(struct store_usage *u, const struct run *r)
{
	struct run_file file;
	size_t i;

	u->run_bytes += r->file_bytes;
	u->file_count += 1 + r->file_count;
	for (i = 0; i < r->file_count; i++) {
		run_file(r, i, &file);
		u->data_bytes += file.size_bytes;
	}
}

static int count_point(void *context, const struct run_point *p)
{
	struct store_usage *u = context;

	if (u->point_count++ == 0)
		u->first_point_us = p->time_us;
	u->last_point_us = p->time_us;
	return 0;
}

int store_usage(const char *dir, const struct store_sys *sys, struct store_usage *ret)
{
	struct tail_journals tail = { 0 };
	struct store_usage u = { 0 };
	struct pins no_pins = { 0 };
	struct folder *f = NULL;
	struct lock gate;
	size_t i;
	int err;

	lock_open_shared(sys, dir, &gate);
	lock_enter(&gate);
	err = journal_look(sys, dir, true, EPOCH_MAX, &f, &tail);
	lock_close(&gate);
	if (err == 0) {
		for (i = 0; i < f->run_count; i++)
			add_run(&u, f->runs[i]);
		for (i = 0; i < tail.count; i++)
			u.data_bytes += tail.list[i].size_bytes;
		u.file_count += tail.count;
		err = points_each(f, &tail, &no_pins, count_point, &u);
	}
	journal_tail_done(&tail);
	folder_close(f);
	if (err == 0)
		*ret = u;
	return err;
}
