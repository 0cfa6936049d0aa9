/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * maps - what all the programs have in common: the maps, what they look up in them, which
 * disk a request is of.
 */
#ifndef GODWIT_TRACKER_BPF_MAPS_H
#define GODWIT_TRACKER_BPF_MAPS_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "tracker_shared.h"
#include "overlap.h"

#define OP_MASK		0xff
#define OP_READ		0
#define OP_WRITE	1
#define OP_DISCARD	3
#define OP_SECURE_ERASE 5
#define OP_WRITE_ZEROES 9
#define OP_DRIVER	32 /* and above: passthrough, SCSI until 5.15 and driver-private */

#define PAGE_BYTES  4096
#define PAGE_SHIFT  12
#define SECTOR_MASK 511

#define LOOP_MAX	(1u << 20)
#define PIECES_UNLOOPED 512 /* where there is no bpf_loop() */
#define RANGES_MAX	256 /* of a discard */
#define AUDIT_LOOPED	SHARED_FLIGHT_BUCKETS
#define AUDIT_UNLOOPED	64 /* buckets a run */

/*
 * Call @step(n, @context) until it returns 1, at most @times times.  The programs are
 * compiled twice: with bpf_loop(), and for kernels that do not know it (before
 * 5.17), and whose verifier does not take a program that so much as names a
 * callback, with a loop of at most @few steps.
 */
#ifdef WITHOUT_LOOP
#define HAVE_LOOP 0
#define repeat(times, few, step, context)        \
	for (int n_ = 0; n_ < (few); n_++)       \
		if (step(n_, context))           \
			break
#else
#define HAVE_LOOP 1
#define repeat(times, few, step, context) bpf_loop(times, step, context, 0)
#endif

/* What a callback may return, out of what a global function did: the verifier
 * does not know that it is 0 or 1, and the compiler does. */
static __always_inline long verdict(int stop)
{
	asm volatile("" : "+r"(stop));
	return stop != 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct shared_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHARED_DISKS);
	__type(key, uint32_t);
	__type(value, struct shared_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct shared_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARED_BUCKETS);
	__type(key, uint32_t);
	__type(value, struct shared_bucket);
} overlap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARED_FLIGHT_BUCKETS);
	__type(key, uint32_t);
	__type(value, struct shared_flights);
} flights SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} ring SEC(".maps");

struct live_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(key_size, sizeof(uint32_t));
	__uint(value_size, sizeof(union shared_live_page));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SHARED_DISKS);
	__type(key, uint32_t);
	__array(values, struct live_map);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, uint32_t);
	__type(value, struct shared_proof);
} proof SEC(".maps");

/* Until 5.10 the tracepoint of issue had the queue before the request. */
const volatile bool issue_has_queue = false;

static __always_inline struct shared_config *get_config(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

static __always_inline struct shared_counters *get_counters(uint32_t disk)
{
	return bpf_map_lookup_elem(&counters, &disk);
}

/* --- which disk -------------------------------------------------------------- */

static __always_inline struct gendisk *request_disk(struct request *rq)
{
	struct request___disk *old = (void *)rq;

	/* Not rq_disk where there is a choice: of a command through /dev/sgN that is sg's own. */
	if (bpf_core_field_exists(rq->q->disk))
		return rq->q->disk;
	return old->rq_disk;
}

static __always_inline uint32_t device_of(struct gendisk *disk)
{
	return (uint32_t)disk->major << 20 | (uint32_t)disk->first_minor;
}

static __always_inline uint32_t request_device(struct request *rq)
{
	struct gendisk *disk = request_disk(rq);

	return disk ? device_of(disk) : 0;
}

/* Is it the disk that had the number when it was added?  Before 5.15 there is but the number. */
static __always_inline bool is_same_disk(const struct shared_slot *s, struct gendisk *disk)
{
	return !bpf_core_field_exists(disk->diskseq) || !s->sequence || s->sequence == disk->diskseq;
}

/* Index of the disk plus one; 0: not ours. */
static __always_inline uint32_t find_disk(struct shared_config *c, struct request *rq)
{
	struct gendisk *disk = request_disk(rq);
	uint32_t device = disk ? device_of(disk) : 0, slot = shared_slot_of(device);

	if (!disk || !device)
		return 0;
	for (int i = 0; i < SHARED_PROBES; i++)
		if (c->slots[slot + i].device == device && is_same_disk(&c->slots[slot + i], disk))
			return c->slots[slot + i].disk_plus_1;
	return 0;
}

/* A number of the request's own.  The verifier lets a pointer become a number
 * only as its distance from another. */
static __always_inline uint64_t request_number(struct shared_config *c, struct request *rq)
{
	return (uint64_t)((const char *)rq - (const char *)c);
}

#endif
