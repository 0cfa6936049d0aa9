/* SPDX-License-Identifier: Apache-2.0 */
#include "ranges.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int ranges_init(struct ranges *r, size_t max)
{
	struct range *list = calloc(max, sizeof(*list));

	if (!list)
		return -ENOMEM;
	*r = (struct ranges){ .list = list, .max = max };
	return 0;
}

void ranges_done(struct ranges *r)
{
	free(r->list);
	*r = (struct ranges){ 0 };
}

/* Index of the first range that ends at or after @at on @disk. */
static size_t first_ending_from(const struct ranges *r, uint16_t disk, uint64_t at)
{
	size_t low = 0, high = r->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct range *x = &r->list[mid];

		if (x->disk < disk || (x->disk == disk && x->end < at))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Put @n new ranges in the place of those from @first to @last (exclusive). */
static int splice(struct ranges *r, size_t first, size_t last, const struct range *add, size_t n)
{
	if (r->count - (last - first) + n > r->max)
		return -ENOBUFS;
	memmove(&r->list[first + n], &r->list[last], (r->count - last) * sizeof(*r->list));
	memcpy(&r->list[first], add, n * sizeof(*add));
	r->count = r->count - (last - first) + n;
	return 0;
}

int ranges_add(struct ranges *r, uint16_t disk, uint64_t start, uint64_t end)
{
	struct range whole = { .disk = disk, .start = start, .end = end };
	size_t first, last;

	assert(start < end);
	first = last = first_ending_from(r, disk, start);
	while (last < r->count && r->list[last].disk == disk && r->list[last].start <= end) {
		whole.start = MIN(whole.start, r->list[last].start);
		whole.end = MAX(whole.end, r->list[last].end);
		last++;
	}
	return splice(r, first, last, &whole, 1);
}

int ranges_remove(struct ranges *r, uint16_t disk, uint64_t start, uint64_t end)
{
	struct range rest[2];
	size_t first, last, n = 0;

	assert(start < end);
	if (!r->count)
		return 0;
	first = first_ending_from(r, disk, start + 1);
	for (last = first; last < r->count && r->list[last].disk == disk && r->list[last].start < end; last++) {
		const struct range *x = &r->list[last];

		if (x->start < start)
			rest[n++] = (struct range){ disk, x->start, start };
		if (x->end > end)
			rest[n++] = (struct range){ disk, end, x->end };
	}
	return first == last ? 0 : splice(r, first, last, rest, n);
}

bool ranges_overlap(const struct ranges *r, uint16_t disk, uint64_t start, uint64_t end)
{
	size_t i = r->count ? first_ending_from(r, disk, start + 1) : 0;

	return i < r->count && r->list[i].disk == disk && r->list[i].start < end;
}
