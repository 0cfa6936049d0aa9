/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * carry - what was written into the ring: from a request's bios to pages, to records; what
 * does not fit is marked.
 */
#ifndef GODWIT_TRACKER_BPF_CARRY_H
#define GODWIT_TRACKER_BPF_CARRY_H

#include "maps.h"
#include "mark.h"

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
			overlap_gate_close(&c->gate, SHARED_RING_FULL);                         \
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
		overlap_gate_close(&c->gate, SHARED_RING_FULL);
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

#endif
