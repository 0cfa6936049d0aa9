/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * span - a request's granules into the overlap table and out of it (overlap.h).
 */
#ifndef GODWIT_TRACKER_BPF_SPAN_H
#define GODWIT_TRACKER_BPF_SPAN_H

#include "maps.h"
#include "flight.h"
#include "mark.h"

struct span {
	uint64_t granule, first, end; /* sectors */
	uint32_t flight, disk, salt;
	uint32_t entered; /* truth; asked at completion */
};

static __always_inline struct shared_bucket *span_bucket(struct span *f)
{
	uint32_t bucket = overlap_bucket(f->granule, f->disk);

	return bpf_map_lookup_elem(&overlap, &bucket);
}

static __always_inline uint64_t span_entry(struct span *f)
{
	return overlap_owner(f->flight & (SHARED_FLIGHT_BUCKETS * SHARED_FLIGHT_WAYS - 1), f->granule, f->disk, f->salt) |
	       overlap_sectors(f->granule, f->first, f->end);
}

__noinline int span_enter(struct span *f)
{
	struct shared_bucket *b;

	if (!f)
		return 1;
	b = span_bucket(f);
	if (b)
		overlap_enter(b, span_entry(f));
	f->granule++;
	return f->granule << OVERLAP_GRANULE_SHIFT >= f->end;
}

__noinline int span_leave(struct span *f)
{
	struct shared_bucket *b;

	if (!f)
		return 1;
	b = span_bucket(f);
	if (!b || overlap_leave(b, span_entry(f), f->entered)) {
		uint64_t base = f->granule << OVERLAP_GRANULE_SHIFT;
		uint64_t from = base > f->first ? base : f->first;
		uint64_t to = base + OVERLAP_GRANULE < f->end ? base + OVERLAP_GRANULE : f->end;
		struct shared_counters *n = get_counters(f->disk);

		mark_range(f->disk, from, to - from);
		if (n)
			n->lost_overlap += (to - from) << 9;
	}
	f->granule++;
	return f->granule << OVERLAP_GRANULE_SHIFT >= f->end;
}

static long enter_loop(uint32_t i, struct span *f)
{
	return verdict(span_enter(f));
}

static long leave_loop(uint32_t i, struct span *f)
{
	return verdict(span_leave(f));
}

/* Too many granules to enter one by one, or a discard of several ranges. */
static __always_inline bool span_is_large(struct request *rq, uint32_t op, uint32_t bytes)
{
	uint32_t limit = (HAVE_LOOP ? OVERLAP_GRANULES_MAX : PIECES_UNLOOPED) - 1;

	return bytes > limit << 12 || several_ranges(rq, op);
}

static __always_inline struct span span_of(union shared_gate gate, uint32_t flight, uint32_t disk,
					   uint64_t sector, uint32_t bytes)
{
	return (struct span){
		.flight = flight,
		.granule = sector >> OVERLAP_GRANULE_SHIFT,
		.first = sector,
		.end = sector + (bytes >> 9),
		.disk = disk,
		.salt = gate.salt,
	};
}

#endif
