// SPDX-License-Identifier: Apache-2.0
/*
 * ledger lag - from a write's acknowledgement to the first point that has it
 * being durable.
 *
 * @epochs has a line "POINT_TIME_US SEEN_US" for each point, in order
 * (pointwatch writes it).  A write belongs to the first point whose time is
 * not before its acknowledgement.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger.h"

struct point {
	uint64_t time_us, seen_us;
};

static struct point *read_points(const char *path, size_t *ret_count)
{
	FILE *f = fopen(path, "r");
	struct point *points = NULL, p;
	size_t count = 0, room = 0;

	if (!f)
		err(2, "%s", path);
	while (fscanf(f, "%" SCNu64 " %" SCNu64, &p.time_us, &p.seen_us) == 2) {
		if (count == room) {
			room = room ? room * 2 : 1024;
			points = reallocarray(points, room, sizeof(*points));
			if (!points)
				err(2, "memory");
		}
		points[count++] = p;
	}
	fclose(f);
	*ret_count = count;
	return points;
}

/* The first point at or after @us, or @count. */
static size_t point_after(const struct point *points, size_t count, uint64_t us)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (points[middle].time_us < us)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int ledger_lag(const struct ledger_options *o, const char *epochs)
{
	const struct ledger_log *log = ledger_map(o->log, false);
	size_t points_count, n = 0;
	struct point *points = read_points(epochs, &points_count);
	uint64_t *lags = calloc(log->next, sizeof(*lags));

	if (!lags)
		err(2, "memory");
	for (uint64_t i = 1; i < log->next && i < LEDGER_ENTRIES_MAX; i++) {
		const struct ledger_entry *e = &log->entries[i];
		size_t p = point_after(points, points_count, e->ack_us);

		/* What was written before the watch began, or after it ended, is not counted. */
		if (e->ack_us == 0 || p == 0 || p == points_count)
			continue;
		lags[n++] = points[p].seen_us - e->ack_us;
	}
	if (n == 0)
		errx(1, "no write is in any of the points");
	qsort(lags, n, sizeof(*lags), by_value);
	printf("{\"writes\": %zu, \"p50_ms\": %.1f, \"p90_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f}\n",
	       n, (double)lags[n / 2] / 1e3, (double)lags[n * 9 / 10] / 1e3, (double)lags[n * 99 / 100] / 1e3,
	       (double)lags[n - 1] / 1e3);
	free(points);
	free(lags);
	return 0;
}
