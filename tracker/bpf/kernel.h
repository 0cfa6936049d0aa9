/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kernel - the few kernel types that the BPF programs look into.
 *
 * Only names and types of members matter here: offsets and sizes are those of
 * the running kernel, put in by libbpf from its BTF (CO-RE).  A type with a
 * name after three underscores is the same type as another kernel has it.
 */
#ifndef GODWIT_TRACKER_KERNEL_H
#define GODWIT_TRACKER_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
typedef __s64 int64_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_F_MMAPABLE = 1U << 10,
	BPF_F_INNER_MAP = 1U << 12,
	BPF_RB_NO_WAKEUP = 1U << 0,
	BPF_RB_FORCE_WAKEUP = 1U << 1,
	BPF_RB_AVAIL_DATA = 0,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
	uint64_t diskseq; /* since 5.15 */
};

struct request_queue {
	struct gendisk *disk; /* since 5.15 */
};

struct page {
	unsigned long compound_head;
};

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

struct bvec_iter {
	uint64_t bi_sector;
	unsigned int bi_size;
	unsigned int bi_idx;
	unsigned int bi_bvec_done;
};

struct bvec_iter___offset { /* since 7.x: the same under another name */
	unsigned int bi_offset;
};

struct bio {
	struct bio *bi_next;
	struct bvec_iter bi_iter;
	struct bio_vec *bi_io_vec;
};

struct bio_crypt_ctx;

enum mq_rq_state { MQ_RQ_IDLE = 0 };

enum req_opf { REQ_OP_WRITE_SAME = 7 }; /* until 5.17 */

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	uint64_t __sector;
	struct bio *bio;
	uint64_t start_time_ns, io_start_time_ns;
	enum mq_rq_state state;
	struct bio_crypt_ctx *crypt_ctx; /* with CONFIG_BLK_INLINE_ENCRYPTION */
};

struct request___disk { /* until 5.16 */
	struct gendisk *rq_disk;
};

struct bpf_raw_tracepoint_args;

#pragma clang attribute pop

enum pageflags { PG_locked = 0, PG_dirty = 4, PG_writeback = 15 };

#endif
