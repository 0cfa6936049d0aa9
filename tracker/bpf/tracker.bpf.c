// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs in the kernel: what tracker.h promises, seen from inside.
 *
 *	issue			enters the overlap table (overlap.h)
 *	first			at every completion: payload into the ring, the
 *				rest marked live; out of the overlap table
 *	second, third		the same, where completions nest
 *	mark, mark_second, mark_third
 *				at every completion: marked live; for kernels that
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
 * sees that nothing is left to do.  On most machines all complete at one level: the
 * spare programs are attached when the kernel's counter says otherwise (spare.c).
 * Marking programs hang there all three from the start, as nothing audits them.
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
#include "carry.h"
#include "flight.h"
#include "maps.h"
#include "mark.h"
#include "prove.h"
#include "span.h"

char LICENSE[] SEC("license") = "GPL";

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
	disk = find_disk(c, rq);
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

/* One sector, written all over its range. */
static __always_inline bool is_write_same(uint32_t op)
{
	return bpf_core_enum_value_exists(enum req_opf, REQ_OP_WRITE_SAME) &&
	       op == bpf_core_enum_value(enum req_opf, REQ_OP_WRITE_SAME);
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
	union shared_gate gate = overlap_gate(&c->gate); /* once: what follows must agree on it (O4) */
	bool carries = payload_class && !gate.closed, large;
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
	if (payload_class && !gate.reason[SHARED_PAYLOAD_OFF] && gate.closed && !error)
		n->lost_full += bytes;
	large = carries && span_is_large(rq, op, bytes);
	if (large)
		overlap_gate_bump(&c->gate);
	if (op == OP_DISCARD || op == OP_SECURE_ERASE || op == OP_WRITE_ZEROES) {
		complete_ranges(rq, disk, op, bytes, carries && !error, large, time, payload_class);
	} else {
		if (op != OP_WRITE && !is_write_same(op)) /* the sector of a zone append, say, is not known yet */
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
	return c ? find_disk(c, rq) : 0;
}

/* Has an earlier program handled it?  @ret_token: to be left by whoever does; 0: nobody asks for it. */
static __always_inline bool is_handled(struct shared_config *c, struct request *rq, uint32_t bytes, int nth,
				       uint64_t *ret_token)
{
	struct shared_cpu *cpu;

	if (nth == 1 && !c->spares)
		return false;
	*ret_token = token_of(c, rq, bytes);
	if (nth == 1)
		return false;
	cpu = this_cpu();
	if (!cpu || find_token(cpu, *ret_token, nth == 3))
		return true;
	cpu->spare_runs++;
	return false;
}

/* Last, so that few nested runs come between it and who looks for it. */
static __always_inline void leave_token(uint64_t token, int nth)
{
	struct shared_cpu *cpu = token && nth < 3 ? this_cpu() : NULL;

	if (cpu)
		cpu->token[cpu->next++ & (SHARED_TOKENS - 1)] = token;
}

static __always_inline int complete_nth(struct request *rq, int error, uint32_t bytes, int nth)
{
	struct shared_config *c = get_config();
	uint32_t disk = ours(c, rq), flight;
	uint64_t token = 0;

	if (!disk || !c || is_handled(c, rq, bytes, nth, &token))
		return 0;
	flight = flight_find(c, rq);
	complete(c, rq, error, bytes, disk - 1, flight, true);
	flight_end(flight, rq, bytes);
	leave_token(token, nth);
	return 0;
}

static __always_inline int mark_nth(struct request *rq, int error, uint32_t bytes, int nth)
{
	struct shared_config *c = get_config();
	uint32_t disk = ours(c, rq);
	uint64_t token = 0;

	if (!disk || !c || is_handled(c, rq, bytes, nth, &token))
		return 0;
	complete(c, rq, error, bytes, disk - 1, NO_FLIGHT, false);
	leave_token(token, nth);
	return 0;
}

#define COMPLETION(name, function, nth)                                          \
	SEC("tp_btf/block_rq_complete")                                          \
	int BPF_PROG(name, struct request *rq, int error, unsigned int bytes)    \
	{                                                                        \
		return function(rq, error, bytes, nth);                          \
	}

COMPLETION(first, complete_nth, 1)
COMPLETION(second, complete_nth, 2)
COMPLETION(third, complete_nth, 3)
COMPLETION(mark, mark_nth, 1)
COMPLETION(mark_second, mark_nth, 2)
COMPLETION(mark_third, mark_nth, 3)
