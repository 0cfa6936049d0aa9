/* SPDX-License-Identifier: Apache-2.0 */
#include "retain.h"
#include "search.h"

#define HOUR_US (3600 * 1000000ULL)
#define DAY_US (24 * HOUR_US)

struct loading {
	struct bytes list;
};

static int load_each(void *context, const struct run_point *p)
{
	struct loading *l = context;
	struct retain_point r = { p->epoch, p->time_us, p->flags & STORE_EPOCH_LABELLED, false };

	return bytes_append(&l->list, &r, sizeof(r));
}

int retain_load(const struct folder *f, const struct tail_journals *tail, const struct pins *pins, struct retain *ret)
{
	struct loading l = { 0 };
	int err = points_each(f, tail, pins, load_each, &l);

	if (err < 0) {
		bytes_done(&l.list);
		return err;
	}
	*ret = (struct retain){ .list = (void *)l.list.data, .count = l.list.len / sizeof(struct retain_point) };
	return 0;
}

void retain_done(struct retain *r)
{
	free(r->list);
	*r = (struct retain){ 0 };
}

static bool keep_by_age(const struct retain *r, size_t i, const struct store_policy *p, uint64_t from_us)
{
	uint64_t time = r->list[i].time_us, next = r->list[i + 1].time_us;
	uint64_t age = from_us > time ? from_us - time : 0;

	return age < p->every_s * 1000000ULL ||
	       (age < p->hourly_s * 1000000ULL && time / HOUR_US != next / HOUR_US) ||
	       (age < p->daily_s * 1000000ULL && time / DAY_US != next / DAY_US);
}

void retain_apply(struct retain *r, const struct store_policy *policy, uint64_t now_us)
{
	uint64_t from_us; /* R3 */
	size_t i;

	r->kept_count = 0;
	r->window_epoch = UINT64_MAX;
	if (r->count == 0)
		return;
	from_us = MIN(now_us, r->list[r->count - 1].time_us);
	for (i = r->count; i-- > 0;) {
		struct retain_point *p = &r->list[i];

		p->kept = i == r->count - 1 || p->named || keep_by_age(r, i, policy, from_us);
		r->kept_count += p->kept;
		if (p->time_us >= from_us || from_us - p->time_us < policy->every_s * 1000000ULL)
			r->window_epoch = p->epoch;
	}
}

void retain_keep(struct retain *r, size_t index)
{
	r->kept_count += !r->list[index].kept;
	r->list[index].kept = true;
}

static uint64_t epoch_at(const void *table, size_t index)
{
	return ((const struct retain_point *)table)[index].epoch;
}

size_t retain_place(const struct retain *r, uint64_t epoch)
{
	return search_below(r->list, r->count, epoch_at, epoch);
}

bool retain_keeps(const struct retain *r, uint64_t epoch)
{
	size_t at = retain_place(r, epoch);

	return at < r->count && r->list[at].epoch == epoch && r->list[at].kept;
}
