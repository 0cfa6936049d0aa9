/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * flight - what has been issued and not completed (T6).
 */
#ifndef GODWIT_TRACKER_BPF_FLIGHT_H
#define GODWIT_TRACKER_BPF_FLIGHT_H

#include "maps.h"
#include "mark.h"

static __always_inline uint32_t flight_bucket(uint64_t number)
{
	return (number >> 6) * 0x9e3779b97f4a7c15ULL >> 40 & (SHARED_FLIGHT_BUCKETS - 1);
}

/* Its completion was not seen; nor did it meet who is in flight to its sectors now. */
static __noinline int flight_lost(struct shared_flight *f)
{
	uint32_t disk = f->disk;
	struct shared_counters *n = get_counters(disk);
	struct shared_config *c = get_config();

	if (f->told == f->use || !c)
		return 0;
	overlap_gate_bump(&c->gate);
	mark_range(disk, f->sector, f->sectors);
	if (n)
		__sync_fetch_and_add(&n->unseen, (uint64_t)f->sectors << 9);
	if (n && f->several)
		n->blind++;
	return 0;
}

/* Where @number is, or a place for it; SHARED_FLIGHT_WAYS if there is none. */
static __always_inline uint32_t flight_place(struct shared_flights *b, uint64_t number)
{
	for (uint32_t i = 0; i < SHARED_FLIGHT_WAYS; i++)
		if (b->number[i] == number)
			return i;
	for (uint32_t i = 0; i < SHARED_FLIGHT_WAYS; i++)
		if (!b->number[i] && __sync_val_compare_and_swap(&b->number[i], 0, number) == 0)
			return i;
	return SHARED_FLIGHT_WAYS;
}

#define NO_FLIGHT (~0u)

/* Is it this use of the request that is noted there? */
static __always_inline bool flight_is_of(struct shared_flight *f, struct request *rq)
{
	return f->sectors && f->sector == rq->__sector && f->stamp == rq->start_time_ns;
}

/* A discard may have one for each bio. */
static __always_inline bool several_ranges(struct request *rq, uint32_t op)
{
	return op != OP_WRITE && rq->bio->bi_next;
}

/* The request's flight, or NO_FLIGHT if there is no room for one. */
static __always_inline uint32_t flight_begin(struct shared_config *c, struct request *rq, uint32_t disk,
					     union shared_gate *ret_gate)
{
	uint64_t number = request_number(c, rq);
	uint32_t bucket = flight_bucket(number), at;
	struct shared_flights *b = bpf_map_lookup_elem(&flights, &bucket);
	struct shared_flight *f;
	bool again; /* put back and issued once more; what it met before was under its first gate */

	if (!b)
		return NO_FLIGHT;
	at = flight_place(b, number);
	if (at >= SHARED_FLIGHT_WAYS) {
		__sync_fetch_and_add(&c->flights_left_out, 1);
		return NO_FLIGHT;
	}
	f = &b->flight[at & (SHARED_FLIGHT_WAYS - 1)];
	/* Where the kernel keeps no times (iostats off) the stamp says nothing: at least no more
	 * may be forgotten than is written now. */
	again = flight_is_of(f, rq) && f->sectors <= rq->__data_len >> 9;
	if (f->sectors && !again)
		flight_lost(f);
	*ret_gate = overlap_gate(&c->gate);
	__sync_fetch_and_add(&f->use, 1);
	if (!again)
		f->gate = ret_gate->word;
	f->sector = rq->__sector;
	f->bio = (uint64_t)rq->bio;
	f->disk = disk;
	f->several = several_ranges(rq, rq->cmd_flags & OP_MASK);
	f->stamp = rq->start_time_ns;
	f->sectors = rq->__data_len >> 9;
	__sync_fetch_and_add(&f->use, 1);
	return bucket * SHARED_FLIGHT_WAYS + at;
}

static __always_inline uint32_t flight_find(struct shared_config *c, struct request *rq)
{
	uint64_t number = request_number(c, rq);
	uint32_t bucket = flight_bucket(number);
	struct shared_flights *b = bpf_map_lookup_elem(&flights, &bucket);

	if (!b)
		return NO_FLIGHT;
	for (uint32_t i = 0; i < SHARED_FLIGHT_WAYS; i++)
		if (b->number[i] == number)
			return bucket * SHARED_FLIGHT_WAYS + i;
	return NO_FLIGHT;
}

/* @bytes of the request are complete. */
static __always_inline void flight_end(uint32_t flight, struct request *rq, uint32_t bytes)
{
	uint32_t bucket = flight / SHARED_FLIGHT_WAYS, at = flight & (SHARED_FLIGHT_WAYS - 1);
	struct shared_flights *b = bpf_map_lookup_elem(&flights, &bucket);
	struct shared_flight *f;

	if (flight == NO_FLIGHT || !b)
		return;
	f = &b->flight[at];
	/* A former use of the request, of which the completion was not seen; the issue of this
	 * one was not seen either, or there was none (the flush of an fsync has none).  Or the end of
	 * a write between two flushes, told once more and without bytes, of which the data's
	 * completion was not seen. */
	if (f->sectors && (!bytes || !flight_is_of(f, rq))) {
		flight_lost(f);
		f->sectors = 0;
	}
	if (f->sectors && bytes < rq->__data_len) {
		f->bio = 0;
		f->sector = rq->__sector + (bytes >> 9);
		f->sectors = (rq->__data_len - bytes) >> 9;
		__sync_fetch_and_add(&f->use, 2);
	} else {
		f->sectors = 0;
		*(volatile uint64_t *)&b->number[at] = 0;
	}
}

/* Was this use of the request entered under @gate? */
static __always_inline bool flight_entered(uint32_t flight, struct request *rq, union shared_gate gate)
{
	uint32_t bucket = flight / SHARED_FLIGHT_WAYS;
	struct shared_flights *b = bpf_map_lookup_elem(&flights, &bucket);
	struct shared_flight *f;

	if (flight == NO_FLIGHT || !b)
		return false;
	f = &b->flight[flight & (SHARED_FLIGHT_WAYS - 1)];
	return flight_is_of(f, rq) && overlap_gate_held(f->gate, gate);
}

/* Is it still in flight, or at least nobody told?  A request's bio is let go
 * before the bio's owner is told. */
static __always_inline bool flight_flies(struct shared_flight *f, struct request *rq)
{
	return BPF_CORE_READ(rq, state) != MQ_RQ_IDLE && (BPF_CORE_READ(rq, cmd_flags) & 1) &&
	       BPF_CORE_READ(rq, __sector) == f->sector && BPF_CORE_READ(rq, start_time_ns) == f->stamp &&
	       (!f->bio || (uint64_t)BPF_CORE_READ(rq, bio) == f->bio);
}

/*
 * Nothing is taken out of the table here: the request may be used again at this very
 * moment, and its new flight would be taken out with the old one.
 */
__noinline int audit_bucket(uint32_t bucket)
{
	struct shared_flights *b = bpf_map_lookup_elem(&flights, &bucket);
	struct shared_config *c = get_config();

	if (!b || !c)
		return 0;
	for (uint32_t i = 0; i < SHARED_FLIGHT_WAYS; i++) {
		struct shared_flight *f = &b->flight[i], seen;
		uint64_t number = *(volatile uint64_t *)&b->number[i];

		if (!number)
			continue;
		seen = *f;
		if (!seen.sectors || (seen.use & 1) || seen.told == seen.use ||
		    flight_flies(&seen, (struct request *)(c->number_base + number)))
			continue;
		if (*(volatile uint64_t *)&b->number[i] != number || f->sector != seen.sector ||
		    f->stamp != seen.stamp || f->sectors != seen.sectors || *(volatile uint64_t *)&f->use != seen.use)
			continue; /* it has ended, or changed, meanwhile */
		flight_lost(&seen);
		f->told = seen.use;
	}
	return 0;
}

struct audit {
	uint32_t bucket;
};

static long audit_loop(uint32_t i, struct audit *a)
{
	audit_bucket(a->bucket++ & (SHARED_FLIGHT_BUCKETS - 1));
	return 0;
}

/* From bucket @from on; returns the next one to do. */
SEC("raw_tp")
int BPF_PROG(audit, uint64_t from)
{
	struct audit a = { .bucket = from & (SHARED_FLIGHT_BUCKETS - 1) };

	repeat(AUDIT_LOOPED, AUDIT_UNLOOPED, audit_loop, &a);
	return (int)a.bucket;
}

#endif
