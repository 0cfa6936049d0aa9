// SPDX-License-Identifier: Apache-2.0
/*
 * The overlap table (tracker/overlap.h), compiled here as it is in the BPF
 * program: O1 against what really was in flight, in one thread with a model,
 * and in several against their own records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <cmocka.h>
#include "overlap.h"

static uint64_t seed_state;

static uint64_t seed(void)
{
	const char *s = getenv("GODWIT_SEED");
	uint64_t v = s ? strtoull(s, NULL, 0) : (uint64_t)(uintptr_t)&v ^ (uint64_t)random() << 20;

	printf("GODWIT_SEED=%llu\n", (unsigned long long)v);
	return v | 1;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* --- one granule's mask -------------------------------------------------------- */

static void the_sectors_of_a_granule_are_those_of_the_range(void **state)
{
	(void)state;
	for (uint64_t first = 0; first < 24; first++)
		for (uint64_t end = first + 1; end <= 32; end++)
			for (uint64_t g = first / 8; g * 8 < end; g++) {
				uint64_t expect = 0;

				for (uint64_t s = 0; s < 8; s++)
					if (g * 8 + s >= first && g * 8 + s < end)
						expect |= 2ULL << s;
				assert_int_equal(overlap_sectors(g, first, end), expect);
			}
}

static void entries_of_different_granules_never_share(void **state)
{
	uint64_t a = overlap_owner(1, 5, 0, 0) | OVERLAP_SECTORS;

	(void)state;
	for (uint64_t turn = 1; turn < 1000; turn++) { /* the same bucket */
		uint64_t granule = 5 + turn * SHARED_BUCKETS;

		assert_int_equal(overlap_bucket(granule, 0), overlap_bucket(5, 0));
		assert_false(overlap_shares(overlap_owner(2, granule, 0, 0) | OVERLAP_SECTORS, a));
	}
	assert_false(overlap_shares(overlap_owner(2, 5, 1, 0) | OVERLAP_SECTORS, a));
	assert_false(overlap_shares(overlap_owner(2, 5, 0, 1) | OVERLAP_SECTORS, a));
	assert_true(overlap_shares(overlap_owner(2, 5, 0, 0) | OVERLAP_SECTORS, a));
}

/* --- against a model ------------------------------------------------------------ */

#define FLIGHTS 64

struct flight {
	bool flies, entered, sinned; /* sinned: was in flight together with one that shared a sector */
	bool told_later;	     /* the one it overlapped with is over: so it must be told */
	uint64_t granule, sectors;
	uint64_t gate;
	bool lost;    /* it is over, and nobody saw it end */
	uint64_t met; /* a bit for each flight that it overlapped with and that is not over */
};

struct model {
	struct shared_bucket bucket; /* one for all granules: crowded */
	struct flight flights[FLIGHTS];
	union shared_gate gate;
	unsigned int flying, told, overlaps, quiet_told;
	bool crowded; /* more than fit have been in flight, or the salt was bumped */
};

static uint64_t entry_of(const struct model *m, uint32_t at)
{
	return overlap_owner(at, m->flights[at].granule * SHARED_BUCKETS, 0, m->gate.salt) | m->flights[at].sectors;
}

/* Those in flight that share a sector with flight @at. */
static uint64_t model_overlapping(const struct model *m, uint32_t at)
{
	const struct flight *f = &m->flights[at];
	uint64_t met = 0;

	for (uint32_t i = 0; i < FLIGHTS; i++) {
		const struct flight *other = &m->flights[i];

		if (i != at && other->flies && other->granule == f->granule && (other->sectors & f->sectors))
			met |= 1ULL << i;
	}
	return met;
}

static void model_issue(struct model *m, uint32_t at, uint64_t granule, uint64_t sectors, bool seen)
{
	struct flight *f = &m->flights[at];
	union shared_gate gate = m->gate;

	*f = (struct flight){ .flies = true, .entered = seen, .granule = granule, .sectors = sectors, .gate = gate.word };
	for (uint64_t met = model_overlapping(m, at); met; met &= met - 1)
		f->sinned = m->flights[__builtin_ctzll(met)].sinned = true;
	if (seen && !gate.closed)
		overlap_enter(&m->bucket, entry_of(m, at));
	m->flying++;
	if (m->flying > SHARED_WAYS)
		m->crowded = true;
}

static void model_over(struct model *m, uint32_t at)
{
	m->flights[at].flies = false;
	m->flying--;
	for (uint32_t i = 0; i < FLIGHTS; i++)
		m->flights[i].met &= ~(1ULL << at);
}

static void model_tell_later(struct model *m, uint64_t met)
{
	for (uint32_t i = 0; i < FLIGHTS; i++)
		if (met >> i & 1)
			m->flights[i].told_later = true;
}

/* It ends, and no program sees it. */
static void model_lose(struct model *m, uint32_t at)
{
	m->flights[at].met = model_overlapping(m, at);
	m->flights[at].lost = true;
	m->crowded = true;
	model_over(m, at);
}

/* That is noticed, and it is marked: from now on whoever it overlapped with completes later. */
static void model_find(struct model *m, uint32_t at)
{
	overlap_gate_bump(&m->gate);
	model_tell_later(m, m->flights[at].met);
	m->flights[at].lost = false;
}

static void model_complete(struct model *m, uint32_t at)
{
	struct flight *f = &m->flights[at];
	/* Marked, under a closed gate, is all that being told leads to. */
	bool told = m->gate.closed ||
		    overlap_leave(&m->bucket, entry_of(m, at), f->entered && overlap_gate_held(f->gate, m->gate));

	/* O1: told, if anybody it shared a sector with has completed before it. */
	assert_true(told || !f->told_later);
	if (!m->crowded && f->entered)
		assert_int_equal(told, f->sinned);
	model_tell_later(m, model_overlapping(m, at));
	m->overlaps += f->sinned;
	m->told += told;
	model_over(m, at);
}

struct faults {
	bool unseen, lost; /* issues, completions */
	unsigned int bump_1_in, turn_1_in, switch_1_in; /* 0: never; the ring full, or room; payload off, or on */
};

static void model_turn(struct model *m, enum shared_reason why)
{
	if (m->gate.reason[why])
		overlap_gate_open(&m->gate, why);
	else
		overlap_gate_close(&m->gate, why);
	m->crowded = true;
}

static void run_model(uint64_t *state, unsigned int most, struct faults faults)
{
	struct model m = { 0 };

	for (int step = 0; step < 400000; step++) {
		uint32_t at = next_random(state) % most;

		if (m.flights[at].flies) {
			if (faults.lost && next_random(state) % 16 == 0)
				model_lose(&m, at);
			else
				model_complete(&m, at);
		} else if (m.flights[at].lost) {
			model_find(&m, at);
		} else {
			uint64_t from = next_random(state) % 8, count = 1 + next_random(state) % (8 - from);
			bool seen = !faults.unseen || next_random(state) % 16;

			if (!seen)
				m.crowded = true;
			model_issue(&m, at, next_random(state) % 6, ((1ULL << count) - 1) << from << 1, seen);
		}
		if (faults.bump_1_in && next_random(state) % faults.bump_1_in == 0) {
			overlap_gate_bump(&m.gate);
			m.crowded = true;
		}
		if (faults.turn_1_in && next_random(state) % faults.turn_1_in == 0)
			model_turn(&m, SHARED_RING_FULL);
		if (faults.switch_1_in && next_random(state) % faults.switch_1_in == 0)
			model_turn(&m, SHARED_PAYLOAD_OFF);
	}
	assert_true(m.told > 0);
}

static void with_room_for_all_exactly_those_that_overlapped_are_told(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ 0 });
}

static void in_a_crowded_bucket_whoever_completes_later_is_told(void **state)
{
	(void)state;
	run_model(&seed_state, 12, (struct faults){ 0 });
	run_model(&seed_state, FLIGHTS, (struct faults){ 0 });
}

static void issues_that_were_not_seen_hide_no_overlap(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .unseen = true });
	run_model(&seed_state, 20, (struct faults){ .unseen = true });
}

static void voiding_all_entries_hides_no_overlap(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .bump_1_in = 1000 });
	run_model(&seed_state, 20, (struct faults){ .unseen = true, .bump_1_in = 1000 });
}

static void completions_that_were_not_seen_hide_no_overlap(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .lost = true });
	run_model(&seed_state, FLIGHTS, (struct faults){ .lost = true });
	run_model(&seed_state, 20, (struct faults){ .unseen = true, .lost = true, .bump_1_in = 50, .turn_1_in = 20 });
}

/* So often that entries are still in flight when eight bits of the salt are as they were. */
static void an_entry_is_not_valid_again_when_the_salt_comes_round(void **state)
{
	struct model m = { .crowded = true };

	(void)state;
	model_issue(&m, 2, 1, OVERLAP_SECTORS, true);
	model_issue(&m, 0, 0, OVERLAP_SECTORS, true);
	model_complete(&m, 2); /* leaves room, so that the entry of 0 stays, void */
	overlap_gate_bump(&m.gate);
	model_issue(&m, 1, 0, OVERLAP_SECTORS, true);
	model_complete(&m, 1);
	for (int i = 0; i < 255; i++)
		overlap_gate_bump(&m.gate);
	model_complete(&m, 0);
	run_model(&seed_state, 20, (struct faults){ .bump_1_in = 1 });
}

static void a_gate_that_opens_and_closes_hides_no_overlap(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .turn_1_in = 1000 });
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .turn_1_in = 5 });
	run_model(&seed_state, 20, (struct faults){ .unseen = true, .bump_1_in = 50, .turn_1_in = 20 });
}

static void switching_payload_off_and_on_hides_no_overlap(void **state)
{
	(void)state;
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .switch_1_in = 1000 });
	run_model(&seed_state, SHARED_WAYS, (struct faults){ .switch_1_in = 5 });
	run_model(&seed_state, 20, (struct faults){ .unseen = true, .lost = true, .turn_1_in = 20, .switch_1_in = 20 });
}

static void a_request_issued_again_does_not_overlap_with_itself(void **state)
{
	struct shared_bucket b = { 0 };
	uint64_t mine = overlap_owner(3, 0, 0, 0) | OVERLAP_SECTORS;

	(void)state;
	overlap_enter(&b, mine);
	overlap_enter(&b, mine);
	assert_false(overlap_leave(&b, mine, true));
	for (int i = 0; i < SHARED_WAYS; i++)
		assert_int_equal(b.entry[i], 0);
}

static void a_request_completes_in_parts(void **state)
{
	struct shared_bucket b = { 0 };
	uint64_t owner = overlap_owner(3, 0, 0, 0), low = 0x0fULL << 1, high = 0xf0ULL << 1;

	(void)state;
	overlap_enter(&b, owner | OVERLAP_SECTORS);
	assert_false(overlap_leave(&b, owner | low, true));
	overlap_enter(&b, overlap_owner(4, 0, 0, 0) | low); /* where the first is done */
	assert_false(overlap_leave(&b, owner | high, true));
	assert_false(overlap_leave(&b, overlap_owner(4, 0, 0, 0) | low, true));
}

/* --- against threads --------------------------------------------------------------- */

#define THREADS	 4
#define OPS	 4000
#define GRANULES 3

static struct shared_bucket shared_buckets[GRANULES];
static union shared_gate shared_gate;
static uint64_t clock_ticks;

struct op {
	uint64_t granule, sectors;
	uint64_t entered, leaves, left; /* by the clock: after enter, before leave, after it */
	bool told;
};

struct thread {
	pthread_t id;
	uint32_t number;
	bool turns; /* the gate, now and then */
	uint64_t state;
	struct op ops[OPS];
};

static uint64_t tick(void)
{
	return __atomic_add_fetch(&clock_ticks, 1, __ATOMIC_SEQ_CST);
}

struct entered {
	uint32_t flight;
	union shared_gate gate;
};

/* As the programs do it: tracker.bpf.c, issue and complete. */
static void enter(struct op *o, struct entered *e)
{
	e->gate = overlap_gate(&shared_gate);
	if (!e->gate.closed)
		overlap_enter(&shared_buckets[o->granule],
			      overlap_owner(e->flight, o->granule, 0, e->gate.salt) | o->sectors);
}

static bool leave(const struct op *o, const struct entered *e)
{
	union shared_gate gate;

	if (overlap_gate(&shared_gate).closed)
		return true;
	gate = overlap_gate(&shared_gate);
	return gate.closed || overlap_leave(&shared_buckets[o->granule],
					    overlap_owner(e->flight, o->granule, 0, gate.salt) | o->sectors,
					    overlap_gate_held(e->gate.word, gate));
}

/* Each keeps three in flight, so that buckets overflow. */
static void *write_all(void *arg)
{
	struct thread *t = arg;
	struct entered entered[3];

	for (uint32_t i = 0; i < OPS + 3; i++) {
		uint32_t place = i % 3;

		if (i >= 3) {
			struct op *o = &t->ops[i - 3];

			o->leaves = tick();
			o->told = leave(o, &entered[place]);
			o->left = tick();
		}
		if (i < OPS) {
			struct op *o = &t->ops[i];
			uint64_t from = next_random(&t->state) % 8, count = 1 + next_random(&t->state) % (8 - from);

			o->granule = next_random(&t->state) % GRANULES;
			o->sectors = ((1ULL << count) - 1) << from << 1;
			entered[place].flight = t->number * 3 + place;
			enter(o, &entered[place]);
			o->entered = tick();
		}
		if (t->turns && i % 8 == 0) {
			uint64_t what = next_random(&t->state);
			enum shared_reason why = what & 1 ? SHARED_RING_FULL : SHARED_PAYLOAD_OFF;

			if ((what & 6) == 0)
				overlap_gate_close(&shared_gate, why);
			else
				overlap_gate_open(&shared_gate, why);
		}
	}
	return NULL;
}

static void judge(const struct op *a, const struct op *b)
{
	if (a->granule != b->granule || !(a->sectors & b->sectors))
		return;
	if (a->entered > b->leaves || b->entered > a->leaves)
		return; /* perhaps not at the same time */
	if (a->left < b->leaves)
		assert_true(b->told);
	else if (b->left < a->leaves)
		assert_true(a->told);
	else
		assert_true(a->told || b->told);
}

static void run_threads(bool turns)
{
	struct thread *threads = calloc(THREADS, sizeof(*threads));

	for (int round = 0; round < 10; round++) {
		memset(shared_buckets, 0, sizeof(shared_buckets));
		shared_gate = (union shared_gate){ 0 };
		threads[0].turns = turns;
		for (uint32_t i = 0; i < THREADS; i++) {
			threads[i].number = i;
			threads[i].state = next_random(&seed_state);
			assert_int_equal(pthread_create(&threads[i].id, NULL, write_all, &threads[i]), 0);
		}
		for (uint32_t i = 0; i < THREADS; i++)
			pthread_join(threads[i].id, NULL);
		for (uint32_t i = 0; i < THREADS; i++)
			for (uint32_t j = i + 1; j < THREADS; j++)
				for (uint32_t a = 0, b = 0; a < OPS; a++) {
					while (b < OPS && threads[j].ops[b].left < threads[i].ops[a].entered)
						b++;
					for (uint32_t k = b > 4 ? b - 4 : 0;
					     k < OPS && threads[j].ops[k].entered < threads[i].ops[a].left; k++)
						judge(&threads[i].ops[a], &threads[j].ops[k]);
				}
	}
	free(threads);
}

static void threads_that_overlap_are_told(void **state)
{
	(void)state;
	run_threads(false);
}

static void threads_that_overlap_are_told_whatever_the_gate_does(void **state)
{
	(void)state;
	run_threads(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sectors_of_a_granule_are_those_of_the_range),
		cmocka_unit_test(entries_of_different_granules_never_share),
		cmocka_unit_test(with_room_for_all_exactly_those_that_overlapped_are_told),
		cmocka_unit_test(in_a_crowded_bucket_whoever_completes_later_is_told),
		cmocka_unit_test(issues_that_were_not_seen_hide_no_overlap),
		cmocka_unit_test(voiding_all_entries_hides_no_overlap),
		cmocka_unit_test(completions_that_were_not_seen_hide_no_overlap),
		cmocka_unit_test(an_entry_is_not_valid_again_when_the_salt_comes_round),
		cmocka_unit_test(a_gate_that_opens_and_closes_hides_no_overlap),
		cmocka_unit_test(switching_payload_off_and_on_hides_no_overlap),
		cmocka_unit_test(a_request_issued_again_does_not_overlap_with_itself),
		cmocka_unit_test(a_request_completes_in_parts),
		cmocka_unit_test(threads_that_overlap_are_told),
		cmocka_unit_test(threads_that_overlap_are_told_whatever_the_gate_does),
	};

	seed_state = seed();
	return cmocka_run_group_tests_name("overlap", tests, NULL, NULL);
}
