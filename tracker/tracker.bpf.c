// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs in the kernel: what tracker.h promises, seen from inside.
 *
 *	issue			enters the overlap table (overlap.h)
 *	first, second, third	at every completion: payload into the ring, the
 *				rest marked live; out of the overlap table
 *	mark			at every completion: marked live; for kernels that
 *				cannot run the others (before 5.12)
 *	audit			run by the agent before a point: has a completion
 *				gone unseen?
 *	prove_issue, prove_completion	the self-test, attached while it runs
 *
 * Completion is the tracepoint block_rq_complete.  It fires before the bios are
 * advanced and before anybody is told, once for each part of a request that
 * completes in parts; so what a function here does is done before the issuer
 * goes on (T1).
 *
 * Since 6.1 or so the kernel skips a program that is already running on the
 * CPU: a completion in an interrupt that hit the program would go unseen, with
 * nothing but a counter to tell.  There are three levels at which a CPU completes
 * requests (a task, a soft interrupt, a hard one), and tracepoints run with
 * preemption off, so of three programs one at least is free.  They do the same;
 * each leaves a token of the completion that it handled, by which the next one
 * sees that nothing is left to do.
 *
 * A kernel may have other reasons not to run a program (one of those this was
 * tested on runs none while a certain process is the current one).  So what has been
 * issued and not completed is kept in a table, and whoever is in it although he
 * is not in flight any more is marked: by audit, or when his request is used again.
 *
 * Functions that are not static are verified by the kernel once, by themselves, and
 * not again at every call, which keeps the loops small; hence their checks for NULL.
 *
 * Nothing here keeps state between two instructions in a place that a nested run
 * could change under it.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "tracker_shared.h"
#include "overlap.h"

char LICENSE[] SEC("license") = "GPL";

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
 * Call @step(n, @context) until it returns 1, at most @times times.  This file is
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

static __always_inline uint32_t request_device(struct request *rq)
{
	struct request___disk *old = (void *)rq;
	struct gendisk *disk;

	if (bpf_core_field_exists(old->rq_disk))
		disk = old->rq_disk;
	else
		disk = rq->q->disk;
	if (!disk)
		return 0;
	return (uint32_t)disk->major << 20 | (uint32_t)disk->first_minor;
}

/* Index of the disk plus one; 0: not ours. */
static __always_inline uint32_t find_disk(struct shared_config *c, uint32_t device)
{
	uint32_t slot = shared_slot_of(device);

	if (!device)
		return 0;
	for (int i = 0; i < SHARED_PROBES; i++)
		if (c->slots[slot + i].device == device)
			return c->slots[slot + i].disk_plus_1;
	return 0;
}

/* A number of the request's own.  The verifier lets a pointer become a number
 * only as its distance from another. */
static __always_inline uint64_t request_number(struct shared_config *c, struct request *rq)
{
	return (uint64_t)((const char *)rq - (const char *)c);
}

/* --- the live map ------------------------------------------------------------- */

#define MARK_BYTES 16 /* longer runs of regions are rounded out to words of eight */

/* Set regions @lo to @hi, both within page @page. */
static __noinline int mark_page(void *map, uint64_t page, uint64_t lo, uint64_t hi)
{
	uint32_t key = page + 1;
	union shared_live_page *p = bpf_map_lookup_elem(map, &key);

	if (!p)
		return 0;
	if (hi - lo < MARK_BYTES) {
		for (uint64_t k = 0; k < MARK_BYTES && lo + k <= hi; k++)
			p->region[(lo + k) & (SHARED_PAGE_REGIONS - 1)] = 1;
	} else {
		uint64_t from = lo / 8, to = hi / 8;

		for (uint64_t k = 0; k < SHARED_PAGE_REGIONS / 8 && from + k <= to; k++)
			p->word[(from + k) & (SHARED_PAGE_REGIONS / 8 - 1)] = 0x0101010101010101ULL;
	}
	return 1;
}

/* Mark sectors live (I3).  Whatever is in doubt is marked. */
__noinline int mark_range(uint32_t disk, uint64_t sector, uint64_t sectors)
{
	struct shared_counters *n = bpf_map_lookup_elem(&counters, &disk);
	void *map = bpf_map_lookup_elem(&live, &disk);
	uint64_t first, last, first_page, last_page;
	union shared_live_page *h;
	uint32_t zero = 0;

	if (!map || !sectors)
		return 0;
	h = bpf_map_lookup_elem(map, &zero);
	if (!h)
		return 0;
	first = sector >> (h->header.sector_shift & 31);
	last = (sector + sectors - 1) >> (h->header.sector_shift & 31);
	if (last >= h->header.regions) {
		h->header.beyond++;
		if (first >= h->header.regions)
			return 0;
		last = h->header.regions - 1;
	}
	first_page = first >> SHARED_PAGE_SHIFT;
	last_page = last >> SHARED_PAGE_SHIFT;
	first &= SHARED_PAGE_REGIONS - 1;
	last &= SHARED_PAGE_REGIONS - 1;
	if (first_page == last_page) {
		mark_page(map, first_page, first, last);
	} else {
		mark_page(map, first_page, first, SHARED_PAGE_REGIONS - 1);
		mark_page(map, last_page, 0, last);
		for (uint64_t k = 1; k < SHARED_PAGES_MAX && first_page + k < last_page; k++) {
			h->header.all[(first_page + k) & (SHARED_PAGES_MAX - 1)] = 1;
			h->header.touched[(first_page + k) & (SHARED_PAGES_MAX - 1)] = 1;
		}
	}
	h->header.touched[first_page & (SHARED_PAGES_MAX - 1)] = 1;
	h->header.touched[last_page & (SHARED_PAGES_MAX - 1)] = 1;
	if (n)
		n->marks++;
	return 1;
}

/* --- pages ---------------------------------------------------------------------- */

/* log2 of sizeof(struct page), or 0 where the arithmetic below does not fit. */
static __always_inline uint32_t page_struct_shift(void)
{
	switch (bpf_core_type_size(struct page)) {
	case 32:
		return 5;
	case 64:
		return 6;
	case 128:
		return 7;
	default:
		return 0;
	}
}

/* Where the kernel has the content of a page mapped. */
static __always_inline uint64_t page_address(uint64_t page, uint64_t vmemmap_base, uint64_t direct_base)
{
	return direct_base + ((page - vmemmap_base) >> page_struct_shift() << PAGE_SHIFT);
}

static __always_inline uint64_t page_of(uint64_t address, struct shared_config *c)
{
	return c->vmemmap_base + ((address - c->direct_base) >> PAGE_SHIFT << page_struct_shift());
}

/* Is this page of the page cache being written and being changed as well?  Then the
 * disk may have its older content. */
static __always_inline bool page_changes(uint64_t page)
{
	uint64_t word[2]; /* flags, compound_head */
	uint64_t changing = 1ULL << bpf_core_enum_value(enum pageflags, PG_dirty) |
			    1ULL << bpf_core_enum_value(enum pageflags, PG_locked);
	uint64_t writeback = 1ULL << bpf_core_enum_value(enum pageflags, PG_writeback);

	if (bpf_probe_read_kernel(word, sizeof(word), (void *)page))
		return false;
	if ((word[1] & 1) && bpf_probe_read_kernel(word, sizeof(word), (void *)(word[1] - 1)))
		return false;
	return (word[0] & changing) && (word[0] & writeback);
}

#define CARRY_PAGES (SHARED_CARRY_MAX / PAGE_BYTES + 1)

/* Any page of @bytes at @address?  Asked when they have been copied: a change before
 * the copy has left the page locked or dirty by then. */
__noinline int pages_change(uint64_t address, uint32_t bytes)
{
	struct shared_config *c = get_config();
	uint64_t end = address + bytes;

	if (!c)
		return 0;
	address &= ~(PAGE_BYTES - 1ULL);
	for (int i = 0; i < CARRY_PAGES && address < end; i++) {
		if (page_changes(page_of(address, c)))
			return 1;
		address += PAGE_BYTES;
	}
	return 0;
}

/* --- the ring ------------------------------------------------------------------ */

static __always_inline uint64_t submit_flags(struct shared_config *c, uint64_t bytes)
{
	uint64_t used = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	uint32_t shift = c->wake_shift & 31;

	if (used >= bytes && used >> shift != (used - bytes) >> shift)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

#define META_DISK(m)  ((uint32_t)(m) & 0xffff)
#define META_FLAGS(m) ((uint8_t)((m) >> 16))

static __always_inline void fill_record(struct shared_record *r, uint64_t time, uint64_t sector, uint32_t sectors,
					uint32_t meta, uint8_t op)
{
	r->time_ns = time;
	r->sector = sector;
	r->sectors = sectors;
	r->disk = META_DISK(meta);
	r->op = op;
	r->flags = META_FLAGS(meta);
}

enum { CARRIED, LOST_FULL, LOST_UNREADABLE };

/* @room's bound must be seen by the verifier of 6.1, which loses it where the
 * compiler compares one copy of 32 bits and uses another. */
#define CARRY(room)                                                                             \
	do {                                                                                    \
		struct shared_record *r = bpf_ringbuf_reserve(&ring, sizeof(*r) + (room), 0);    \
		uint64_t copied = bytes;                                                        \
                                                                                                \
		if (!r) {                                                                       \
			overlap_gate_close(&c->gate);                                           \
			return LOST_FULL;                                                       \
		}                                                                               \
		fill_record(r, time, sector, bytes >> 9, meta, SHARED_WRITE);                    \
		asm volatile("" : "+r"(copied));                                                \
		if (copied > (room))                                                            \
			copied = (room);                                                        \
		if (bpf_probe_read_kernel(r + 1, copied, (void *)address)) {                     \
			bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);                               \
			return LOST_UNREADABLE;                                                 \
		}                                                                               \
		if (pages_change(address, bytes))                                                \
			r->flags |= SHARED_REREAD;                                              \
		bpf_ringbuf_submit(r, submit_flags(c, sizeof(*r) + 8 + (room)));                 \
		return CARRIED;                                                                 \
	} while (0)

/* One piece of payload, at most SHARED_CARRY_MAX, physically contiguous, into
 * the room of its size class. */
__noinline int carry(uint64_t time, uint64_t sector, uint64_t address, uint32_t bytes, uint32_t meta)
{
	struct shared_config *c = get_config();

	if (!c)
		return LOST_UNREADABLE;
	if (c->gate.closed)
		return LOST_FULL;
	if (bytes <= 512)
		CARRY(512);
	if (bytes <= 4096)
		CARRY(4096);
	if (bytes <= 16384)
		CARRY(16384);
	CARRY(65536);
}

/* A range that reads as zeroes. */
__noinline int carry_zero(uint64_t time, uint64_t sector, uint32_t sectors, uint32_t meta)
{
	struct shared_config *c = get_config();
	struct shared_record *r;

	if (!c)
		return LOST_UNREADABLE;
	if (c->gate.closed)
		return LOST_FULL;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		overlap_gate_close(&c->gate);
		return LOST_FULL;
	}
	fill_record(r, time, sector, sectors, meta, SHARED_ZERO);
	bpf_ringbuf_submit(r, submit_flags(c, sizeof(*r) + 8));
	return CARRIED;
}

/* What carry() and carry_zero() could not. */
static __noinline int lose(uint32_t disk, uint64_t sector, uint32_t sectors, int how)
{
	struct shared_counters *n = get_counters(disk);

	mark_range(disk, sector, sectors);
	if (!n)
		return 0;
	if (how == LOST_FULL)
		n->lost_full += (uint64_t)sectors << 9;
	else
		n->lost_unreadable += (uint64_t)sectors << 9;
	return 0;
}

static __always_inline void lose_other(uint32_t disk, uint64_t sector, uint64_t sectors)
{
	struct shared_counters *n = get_counters(disk);

	mark_range(disk, sector, sectors);
	if (n)
		n->lost_other += sectors << 9;
}

/* --- from bios to payload ------------------------------------------------------- */

struct vec { /* struct bio_vec */
	uint64_t page;
	uint32_t len, offset;
};

static __always_inline bool vec_fits(void)
{
	struct bio_vec *v = 0;

	return bpf_core_type_size(struct bio_vec) == sizeof(struct vec) &&
	       bpf_core_field_offset(v->bv_page) == 0 && bpf_core_field_offset(v->bv_len) == 8 &&
	       bpf_core_field_offset(v->bv_offset) == 12 && page_struct_shift() != 0;
}

/* Bytes of the bio_vec at its index that are done with. */
static __always_inline uint32_t done_of(struct bvec_iter *iter)
{
	struct bvec_iter___offset *renamed = (void *)iter;

	if (bpf_core_field_exists(renamed->bi_offset))
		return BPF_CORE_READ(renamed, bi_offset);
	return BPF_CORE_READ(iter, bi_bvec_done);
}

struct walk {
	uint64_t time, sector;
	uint64_t bio, vecs;	/* kernel addresses */
	uint64_t vmemmap_base, direct_base;
	uint32_t index;		/* of the bio_vec */
	uint32_t done;		/* bytes of it */
	uint32_t bio_left;	/* bytes of the bio */
	uint32_t left;		/* bytes of the completion */
	uint32_t disk;
	uint32_t unused;	/* no holes: it is handed to a global function */
};

static __always_inline void walk_bio(struct walk *w, uint64_t address)
{
	struct bio *bio = (void *)address;

	w->bio = address;
	w->vecs = (uint64_t)BPF_CORE_READ(bio, bi_io_vec);
	w->index = BPF_CORE_READ(bio, bi_iter.bi_idx);
	w->done = done_of(&bio->bi_iter);
	w->bio_left = BPF_CORE_READ(bio, bi_iter.bi_size);
}

/* How much of @bytes goes into one record. */
static __always_inline uint32_t class_bytes(uint32_t bytes)
{
	if (bytes >= SHARED_CARRY_MAX)
		return SHARED_CARRY_MAX;
	if (bytes >= 16384)
		return 16384;
	if (bytes > 4096)
		return 4096;
	return bytes;
}

/* Carry one piece; 1: the end. */
__noinline int walk_step(struct walk *w)
{
	uint32_t bytes, meta;
	struct vec v;
	int how;

	if (!w)
		return 1;
	if (!w->bio_left) {
		struct bio *bio = (void *)w->bio;
		uint64_t next = (uint64_t)BPF_CORE_READ(bio, bi_next);

		if (!next)
			return 1;
		walk_bio(w, next);
	}
	if (bpf_probe_read_kernel(&v, sizeof(v), (void *)(w->vecs + (uint64_t)w->index * sizeof(v))))
		return 1;
	if (v.len <= w->done) { /* an empty one */
		w->index++;
		w->done = 0;
		return v.len || !w->bio_left;
	}
	bytes = v.len - w->done;
	if (bytes > w->bio_left)
		bytes = w->bio_left;
	if (bytes > w->left)
		bytes = w->left;
	bytes = class_bytes(bytes);
	if (!bytes || (bytes & SECTOR_MASK))
		return 1; /* a sector in two pieces: rare, not worth putting together */
	meta = w->disk;
	if (bytes == w->left)
		meta |= SHARED_END << 16;
	how = carry(w->time, w->sector,
		    page_address(v.page, w->vmemmap_base, w->direct_base) + v.offset + w->done, bytes, meta);
	if (how != CARRIED)
		lose(w->disk, w->sector, bytes >> 9, how);
	w->sector += bytes >> 9;
	w->left -= bytes;
	w->bio_left -= bytes;
	w->done += bytes;
	if (w->done >= v.len) {
		w->index++;
		w->done = 0;
	}
	return w->left == 0;
}

static long walk_loop(uint32_t i, struct walk *w)
{
	return verdict(walk_step(w));
}

static __always_inline void carry_write(struct shared_config *c, struct request *rq, uint32_t disk,
					uint64_t sector, uint32_t bytes, uint64_t time)
{
	struct walk w = {
		.time = time,
		.sector = sector,
		.vmemmap_base = c->vmemmap_base,
		.direct_base = c->direct_base,
		.left = bytes,
		.disk = disk,
	};

	walk_bio(&w, (uint64_t)rq->bio);
	if (!walk_step(&w)) {
		repeat(LOOP_MAX, PIECES_UNLOOPED, walk_loop, &w);
	}
	if (w.left)
		lose_other(disk, w.sector, (w.left + SECTOR_MASK) >> 9);
}

/* --- what has been issued and not completed ----------------------------------------- */

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
	if (!*(volatile uint32_t *)&c->payload) /* it does not enter either (O4) */
		ret_gate->closed = 1;
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

/* --- overlap in flight ------------------------------------------------------------ */

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

/* --- issue -------------------------------------------------------------------------- */

SEC("tp_btf/block_rq_issue")
int BPF_PROG(issue, struct request *rq)
{
	uint32_t op = rq->cmd_flags & OP_MASK, disk, bytes, flight;
	union shared_gate gate = {};
	struct shared_config *c;
	struct span f;

	if (!(op & 1) || op >= OP_DRIVER)
		return 0;
	c = get_config();
	if (!c)
		return 0;
	disk = find_disk(c, request_device(rq));
	bytes = rq->__data_len;
	if (!disk || !bytes || !rq->bio)
		return 0;
	if (!c->number_base) {
		uint64_t address;

		if (bpf_probe_read_kernel(&address, sizeof(address), ctx))
			return 0;
		c->number_base = address - request_number(c, rq);
	}
	flight = flight_begin(c, rq, disk - 1, &gate);
	if (flight == NO_FLIGHT || gate.closed)
		return 0;
	if (span_is_large(rq, op, bytes)) {
		overlap_gate_bump(&c->gate);
		return 0;
	}
	f = span_of(gate, flight, disk - 1, rq->__sector, bytes);
	if (!span_enter(&f)) {
		repeat(OVERLAP_GRANULES_MAX, PIECES_UNLOOPED, enter_loop, &f);
	}
	return 0;
}

/* --- completion --------------------------------------------------------------------- */

/* Not before its record is in the ring: until then a write to the same sectors must be met. */
static __always_inline void leave_overlap(struct shared_config *c, struct request *rq, uint32_t flight, uint32_t disk,
					  uint64_t sector, uint32_t bytes)
{
	union shared_gate gate = overlap_gate(&c->gate);
	struct span f = span_of(gate, flight, disk, sector, bytes);

	if (gate.closed) { /* meanwhile: others did not enter (O4) */
		struct shared_counters *n = get_counters(disk);

		mark_range(disk, sector, bytes >> 9);
		if (n)
			n->lost_overlap += bytes >> 9 << 9;
		return;
	}
	f.entered = flight_entered(flight, rq, gate);
	if (!span_leave(&f)) {
		repeat(OVERLAP_GRANULES_MAX, PIECES_UNLOOPED, leave_loop, &f);
	}
}

struct ranges {
	uint64_t time, bio;
	uint32_t left, meta;
	uint32_t payload, mark; /* truths */
};

/* One bio of a discard or of its kin: each is a range of its own. */
static __always_inline int range_one(struct ranges *s)
{
	struct bio *bio = (void *)s->bio;
	uint64_t sector = BPF_CORE_READ(bio, bi_iter.bi_sector);
	uint32_t bytes = BPF_CORE_READ(bio, bi_iter.bi_size), meta = s->meta;
	int how = CARRIED;

	if (bytes >= s->left) {
		bytes = s->left;
		meta |= SHARED_END << 16;
	}
	if (s->payload) {
		struct shared_counters *n = get_counters(META_DISK(meta));

		how = carry_zero(s->time, sector, bytes >> 9, meta);
		if (how != CARRIED)
			lose(META_DISK(meta), sector, bytes >> 9, how);
		else if (n)
			n->discarded += bytes;
	}
	if (s->mark)
		mark_range(META_DISK(meta), sector, bytes >> 9);
	s->left -= bytes;
	s->bio = (uint64_t)BPF_CORE_READ(bio, bi_next);
	return !s->left || !s->bio;
}

__noinline int range_step(struct ranges *s)
{
	return s ? range_one(s) : 1;
}

static __noinline int range_step_plain(struct ranges *s) /* before 5.12 */
{
	return range_one(s);
}

static long range_loop(uint32_t i, struct ranges *s)
{
	return verdict(range_step(s));
}

static __always_inline void each_range(struct ranges *s, bool payload_class)
{
	if (!payload_class) {
		for (int i = 0; i < RANGES_MAX; i++)
			if (range_step_plain(s))
				break;
	} else if (!range_step(s)) {
		repeat(LOOP_MAX, RANGES_MAX, range_loop, s);
	}
}

static __always_inline void complete_ranges(struct request *rq, uint32_t disk, uint32_t op, uint32_t bytes,
					    bool payload, bool large, uint64_t time, bool payload_class)
{
	struct shared_counters *n = get_counters(disk);
	bool may_return_anything = op != OP_WRITE_ZEROES;
	struct ranges s = {
		.time = time,
		.bio = (uint64_t)rq->bio,
		.left = bytes,
		.meta = disk | (may_return_anything ? SHARED_REREAD << 16 : 0),
		.payload = payload,
		/* Not told apart from what overlapped it: a discard is read again anyway. */
		.mark = !payload || (large && !may_return_anything),
	};

	each_range(&s, payload_class);
	if (s.left && n) /* more ranges than could be walked */
		n->blind++;
}

/*
 * Everything that a completion can be.  @payload_class: compiled for kernels with
 * atomics; else every write is marked.
 *
 * What was told "overlapped" is marked after it, and what overlapped it, is in the ring:
 * so a large one makes the others' entries void first, and is marked last.
 */
static __always_inline void complete(struct shared_config *c, struct request *rq, int error, uint32_t bytes,
				     uint32_t disk, uint32_t flight, bool payload_class)
{
	uint32_t op = rq->cmd_flags & OP_MASK;
	struct shared_counters *n = get_counters(disk);
	uint64_t sector = rq->__sector;
	bool payload = payload_class && c->payload, carries, large;
	uint64_t time = bpf_ktime_get_boot_ns();

	if (!n)
		return;
	if (op >= OP_DRIVER) {
		n->passthrough++;
		return;
	}
	if (!bytes || !rq->bio)
		return;
	n->requests++;
	__sync_fetch_and_add(&n->bytes, bytes >> 9 << 9); /* kept exact: books.c */
	carries = payload && !overlap_gate(&c->gate).closed; /* asked once: what follows must agree on it (O4) */
	if (payload && !carries && !error)
		n->lost_full += bytes;
	large = carries && span_is_large(rq, op, bytes);
	if (large)
		overlap_gate_bump(&c->gate);
	if (op == OP_DISCARD || op == OP_SECURE_ERASE || op == OP_WRITE_ZEROES) {
		complete_ranges(rq, disk, op, bytes, carries && !error, large, time, payload_class);
	} else {
		if (op != OP_WRITE) /* the sector of a zone append, say, is not known yet */
			n->blind++;
		if (payload_class && carries && op == OP_WRITE && !error && vec_fits() &&
		    !(bpf_core_field_exists(rq->crypt_ctx) && rq->crypt_ctx)) {
			carry_write(c, rq, disk, sector, bytes, time);
			if (large)
				mark_range(disk, sector, bytes >> 9);
		} else {
			mark_range(disk, sector, (bytes + SECTOR_MASK) >> 9);
			if (carries || error)
				n->lost_other += bytes;
		}
	}
	if (carries && !large)
		leave_overlap(c, rq, flight, disk, sector, bytes);
}

/* --- each completion once ------------------------------------------------------------- */

/* Tells a completion from all others of the last moments. */
static __always_inline uint64_t token_of(struct shared_config *c, struct request *rq, uint32_t bytes)
{
	uint64_t t = request_number(c, rq) * 0x9e3779b97f4a7c15ULL;

	t ^= (rq->__sector + 1) * 0xc2b2ae3d27d4eb4fULL;
	t ^= (uint64_t)bytes << 40;
	t ^= rq->start_time_ns * 0x165667b19e3779f9ULL;
	t ^= rq->io_start_time_ns * 0x27d4eb2f165667c5ULL;
	return t | 1;
}

static __always_inline struct shared_cpu *this_cpu(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline void leave_token(struct shared_cpu *cpu, uint64_t token)
{
	uint32_t at = cpu->next++ & (SHARED_TOKENS - 1);

	cpu->token[at] = token;
}

/* Was it there?  The last of the three takes it away. */
static __always_inline bool find_token(struct shared_cpu *cpu, uint64_t token, bool take)
{
	uint32_t from = cpu->next;

	for (uint32_t i = 1; i <= SHARED_TOKENS; i++) {
		uint32_t at = (from - i) & (SHARED_TOKENS - 1);

		if (cpu->token[at] == token) {
			if (take)
				cpu->token[at] = 0;
			return true;
		}
	}
	return false;
}

/* The disk that a completion is about, plus one; 0: nothing to do. */
static __always_inline uint32_t ours(struct shared_config *c, struct request *rq)
{
	if (!(rq->cmd_flags & 1))
		return 0;
	return c ? find_disk(c, request_device(rq)) : 0;
}

static __always_inline int complete_nth(struct request *rq, int error, uint32_t bytes, int nth)
{
	struct shared_config *c = get_config();
	uint32_t disk = ours(c, rq), flight;
	struct shared_cpu *cpu;
	uint64_t token;

	if (!disk || !c)
		return 0;
	cpu = this_cpu();
	if (!cpu)
		return 0;
	token = token_of(c, rq, bytes);
	if (nth > 1) {
		if (find_token(cpu, token, nth == 3))
			return 0;
		cpu->spare_runs++;
	}
	flight = flight_find(c, rq);
	complete(c, rq, error, bytes, disk - 1, flight, true);
	flight_end(flight, rq, bytes);
	if (nth < 3)
		leave_token(cpu, token);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(first, struct request *rq, int error, unsigned int bytes)
{
	return complete_nth(rq, error, bytes, 1);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(second, struct request *rq, int error, unsigned int bytes)
{
	return complete_nth(rq, error, bytes, 2);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(third, struct request *rq, int error, unsigned int bytes)
{
	return complete_nth(rq, error, bytes, 3);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(mark, struct request *rq, int error, unsigned int bytes)
{
	struct shared_config *c = get_config();
	uint32_t disk = ours(c, rq);

	if (disk && c)
		complete(c, rq, error, bytes, disk - 1, NO_FLIGHT, false);
	return 0;
}

/* --- the self-test ---------------------------------------------------------------------- */

static __always_inline struct shared_proof *our_read(struct request *rq)
{
	uint32_t zero = 0;
	struct shared_proof *p;

	if ((rq->cmd_flags & OP_MASK) != OP_READ || !rq->bio)
		return 0;
	p = bpf_map_lookup_elem(&proof, &zero);
	if (!p || !p->device || request_device(rq) != p->device)
		return 0;
	if (rq->__sector != p->sector || rq->__data_len != p->bytes)
		return 0;
	return p;
}

static __always_inline bool first_vec(struct request *rq, struct vec *v)
{
	struct bio *bio = rq->bio;
	uint64_t vecs = (uint64_t)bio->bi_io_vec;
	uint64_t index = bio->bi_iter.bi_idx;

	if (bpf_probe_read_kernel(v, sizeof(*v), (void *)(vecs + index * sizeof(*v))))
		return false;
	v->offset += done_of(&bio->bi_iter);
	return vec_fits() && v->len >= SHARED_PROOF_BYTES;
}

struct search {
	struct shared_proof *p;
	uint64_t base, offset;
};

/* Is the direct map at this candidate?  The read does no harm where nothing is mapped. */
static long search_step(uint32_t i, struct search *s)
{
	uint32_t zero = 0;
	struct shared_proof *p = bpf_map_lookup_elem(&proof, &zero);
	uint64_t base = s->base - ((uint64_t)i << 30);
	uint64_t word[SHARED_PROOF_WORDS];

	if (!p || bpf_probe_read_kernel(word, sizeof(word), (void *)(base + s->offset)))
		return 0;
	for (int k = 0; k < SHARED_PROOF_WORDS; k++)
		if (word[k] != p->magic[k])
			return 0;
	p->direct_base = base;
	p->found = 1;
	return 1;
}

/* The page's number is known, and its struct page is seen here: that gives the
 * base of the page array.  The direct map starts at a multiple of 1 GiB at or
 * below any object that the kernel allocated, our task for one. */
static __always_inline void search(struct shared_proof *p, struct vec *v)
{
	struct search s = {};
	uint64_t pfn = p->pfn - (v->offset >> PAGE_SHIFT);

	p->vmemmap_base = v->page - (pfn << page_struct_shift());
	s.base = bpf_get_current_task() >> 30 << 30;
	s.offset = (pfn << PAGE_SHIFT) + v->offset;
	repeat(p->tries, 256, search_step, &s);
}

SEC("tp_btf/block_rq_issue")
int prove_issue(unsigned long long *ctx)
{
	struct request *rq = (void *)(issue_has_queue ? ctx[1] : ctx[0]);
	struct shared_proof *p = our_read(rq);
	struct vec v;

	if (!p)
		return 0;
	p->issues++;
	p->page_struct_bytes = bpf_core_type_size(struct page);
	if (!first_vec(rq, &v))
		return 0;
	p->pieces++;
	if (p->pfn)
		search(p, &v);
	if (p->direct_base &&
	    !bpf_probe_read_kernel(p->at_issue, sizeof(p->at_issue),
				   (void *)(page_address(v.page, p->vmemmap_base, p->direct_base) + v.offset)))
		p->at_issue_ok = 1;
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(prove_completion, struct request *rq, int error, unsigned int bytes)
{
	struct shared_proof *p = our_read(rq);
	struct vec v;

	if (!p || error || bytes < SHARED_PROOF_BYTES)
		return 0;
	p->completions++;
	if (!first_vec(rq, &v))
		return 0;
	if (p->direct_base &&
	    !bpf_probe_read_kernel(p->at_completion, sizeof(p->at_completion),
				   (void *)(page_address(v.page, p->vmemmap_base, p->direct_base) + v.offset)))
		p->at_completion_ok = 1;
	return 0;
}
