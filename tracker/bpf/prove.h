/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * prove - the self-test: is a page's content where it is computed to be?
 */
#ifndef GODWIT_TRACKER_BPF_PROVE_H
#define GODWIT_TRACKER_BPF_PROVE_H

#include "maps.h"
#include "carry.h"

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

#endif
