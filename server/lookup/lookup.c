/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"
#include "wallclock.h"

#include <errno.h>

/* Epochs grow with the index. */
static int find_epoch(const struct store_points *points, uint64_t epoch, size_t *ret_index)
{
	size_t low = 0, high = store_points_count(points);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (store_points_get(points, middle)->epoch < epoch)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == store_points_count(points) || store_points_get(points, low)->epoch != epoch)
		return -ENOENT;
	*ret_index = low;
	return 0;
}

/* The newest of that name. */
static int find_label(const struct store_points *points, const char *label, size_t *ret_index)
{
	for (size_t i = store_points_count(points); i-- > 0;) {
		const struct store_epoch *e = store_points_get(points, i);

		if (e->label[0] && strcmp(e->label, label) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	return -ENOENT;
}

/* What agents do not believe of a clock at once (agent/timeline.c) is no mere difference. */
#define AHEAD_US (60 * USEC_PER_SEC)

static int find_time(const struct store_points *points, uint64_t time_us, size_t *ret_index)
{
	const struct store_epoch *last = store_points_get(points, store_points_count(points) - 1);
	uint64_t ahead_us = wallclock_now_us() + AHEAD_US;
	size_t index;

	if (time_us > last->time_us || store_points_find(points, time_us, &index))
		return -ERANGE;
	/* Between it and the next the source's clock went ahead, and was perhaps set right
	 * since: then points of that time have later times, and this one is older. */
	if (time_us < ahead_us && index + 1 < store_points_count(points) &&
	    store_points_get(points, index + 1)->time_us > ahead_us)
		return -ETIME;
	*ret_index = index;
	return 0;
}

static int look(const struct store_points *points, const struct uuid *machine, const char *at, size_t *ret_index)
{
	struct uuid id;
	uint64_t epoch, time_us;

	if (store_points_count(points) == 0)
		return -ENODATA;
	if (strcmp(at, "latest") == 0) {
		*ret_index = store_points_count(points) - 1;
		return 0;
	}
	if (uuid_parse(at, &id) == 0)
		return uuid_to_epoch(machine, &id, &epoch) ? -ENOENT : find_epoch(points, epoch, ret_index);
	if (find_label(points, at, ret_index) == 0)
		return 0;
	if (wallclock_parse(at, &time_us))
		return -ENOENT;
	return find_time(points, time_us, ret_index);
}

/* What a damaged file hides may be what is meant; the newest it is, surely. */
int lookup_point(const struct store_points *points, const struct uuid *machine, const char *at, size_t *ret_index)
{
	size_t index;
	int err = look(points, machine, at, &index);

	if (store_points_damaged(points) && (err < 0 || strcmp(at, "latest") == 0))
		return -EBADMSG;
	if (err == 0)
		*ret_index = index;
	return err;
}
