// SPDX-License-Identifier: Apache-2.0
/*
 * Capture's order, searched through: every interleaving of two writes to one sector, of
 * the programs that see them (tracker.bpf.c) and of the agent, with the overlap table as
 * it is (tracker/overlap.h).  When all is over, the replica has what the medium has,
 * whichever of the two the medium wrote first.
 *
 * A step is what one thread does at once; between two steps a CPU may be held up for as
 * long as it takes.  What happens within overlap_enter() and overlap_leave() is the
 * matter of test_tracker_overlap.c.  Of the agent it is modelled that it takes a mark,
 * notes the position in the ring, reads the disk, and has what came into the ring after
 * that position replace what it read (agent/merge.c).
 *
 * Each remedy is left out once, and must be missed: so the model can fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "overlap.h"

#define REQUESTS 2
#define SECTOR	 2ULL /* the granule's first, as in an entry */

enum step {
	UNISSUED,
	BEGUN, /* the gate has been looked at, it has not entered */
	FLIES,
	LOST, /* it has ended, and no program was run */
	FOUND,
	LOOKS, /* it has ended; at the gate, before it carries */
	CARRIES,
	RESERVES,
	LEFT_OUT, /* there was no room */
	LEAVES,
	MARKS,
	OVER,
};

struct request {
	uint64_t gate;	 /* of its flight */
	uint64_t looked; /* the gate before it carried */
	uint8_t step;
	bool written; /* to the medium */
	bool told;    /* where it leaves before it carries */
	uint8_t unused[5];
};

#define NONE 0xff

/* Compared and hashed as bytes: no holes. */
struct world {
	struct shared_bucket bucket;
	union shared_gate gate;
	struct request requests[REQUESTS];
	bool marked;
	uint8_t medium;
	uint8_t read, after; /* by the agent; from the ring, later than that */
	uint8_t agent;	     /* 0: idle; 1: has taken the mark; 2: and noted the position */
	/* How often each may still happen; full: because the agent says so, fills: because it is. */
	struct turns {
		uint8_t closings, openings;
	} full, off;
	uint8_t fills, losses, evictions;
	uint8_t unused[4];
};

_Static_assert(sizeof(struct world) == sizeof(struct shared_bucket) + 8 + REQUESTS * 24 + 16, "no holes");

/* What is left out. */
enum remedy { ALL_THERE, BUMP_AT_OPENING, SECOND_LOOK, LEAVING_LAST, BUMP_FOR_LOST };

struct search {
	enum remedy without;
	uint64_t *seen; /* hashes; 0: free */
	size_t states;
	bool wrong;
};

#define SEEN_MAX (1u << 22)

static uint64_t hash(const struct world *w)
{
	const unsigned char *p = (const void *)w;
	uint64_t h = 0x9e3779b97f4a7c15ULL;

	for (size_t i = 0; i < sizeof(*w); i += 8) {
		uint64_t word;

		memcpy(&word, p + i, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	return h | 1;
}

static bool is_new(struct search *s, const struct world *w)
{
	uint64_t h = hash(w);
	size_t at = h >> 1 & (SEEN_MAX - 1);

	while (s->seen[at]) {
		if (s->seen[at] == h)
			return false;
		at = (at + 1) & (SEEN_MAX - 1);
	}
	assert_true(++s->states < SEEN_MAX / 4 * 3);
	s->seen[at] = h;
	return true;
}

static void explore(struct search *s, const struct world *w);

static uint64_t entry_of(unsigned int i, uint64_t salt)
{
	return overlap_owner(i, 0, 0, (uint32_t)salt) | SECTOR;
}

/* --- what a request and its programs do -------------------------------------------------- */

/* flight_begin() */
static void begin(struct world *w, unsigned int i)
{
	union shared_gate gate = w->gate;

	w->requests[i].gate = gate.word;
	w->requests[i].step = gate.closed ? FLIES : BEGUN;
}

static void enter(struct world *w, unsigned int i)
{
	union shared_gate gate = { .word = w->requests[i].gate };

	overlap_enter(&w->bucket, entry_of(i, gate.salt));
	w->requests[i].step = FLIES;
}

/* Told that it overlapped? */
static bool leave(const struct search *s, struct world *w, unsigned int i)
{
	struct request *r = &w->requests[i];
	union shared_gate now = w->gate;

	if (s->without == SECOND_LOOK)
		now.word = r->looked;
	return now.closed || overlap_leave(&w->bucket, entry_of(i, now.salt), overlap_gate_held(r->gate, now));
}

static void look(const struct search *s, struct world *w, unsigned int i)
{
	struct request *r = &w->requests[i];

	r->step = w->gate.closed ? MARKS : CARRIES;
	r->looked = w->gate.word;
	if (s->without == LEAVING_LAST && r->step == CARRIES)
		r->told = leave(s, w, i);
}

static void leave_last(const struct search *s, struct world *w, unsigned int i)
{
	struct request *r = &w->requests[i];
	bool told = s->without == LEAVING_LAST ? r->told : leave(s, w, i);

	r->step = told ? MARKS : OVER;
}

/* @room: in the ring */
static void reserve(struct world *w, unsigned int i, bool room)
{
	if (room) {
		w->after = (uint8_t)(i + 1);
		w->requests[i].step = LEAVES;
	} else {
		overlap_gate_close(&w->gate, SHARED_RING_FULL);
		w->fills--;
		w->requests[i].step = LEFT_OUT;
	}
}

static void explore_flying(struct search *s, const struct world *from, unsigned int i)
{
	struct world w = *from;
	struct request *r = &w.requests[i];

	if (!r->written) {
		r->written = true;
		w.medium = (uint8_t)(i + 1);
		explore(s, &w);
		return;
	}
	r->step = LOOKS;
	explore(s, &w);
	if (from->losses) {
		w = *from;
		w.losses--;
		r->step = LOST;
		explore(s, &w);
	}
}

static void explore_reserving(struct search *s, const struct world *from, unsigned int i)
{
	struct world w = *from;

	reserve(&w, i, true);
	explore(s, &w);
	if (from->fills) {
		w = *from;
		reserve(&w, i, false);
		explore(s, &w);
	}
}

static void explore_request(struct search *s, const struct world *from, unsigned int i)
{
	struct world w = *from;
	struct request *r = &w.requests[i];

	switch (r->step) {
	case UNISSUED:
		begin(&w, i);
		break;
	case BEGUN:
		enter(&w, i);
		break;
	case FLIES:
		explore_flying(s, from, i);
		return;
	case LOST: /* until the audit finds it; what it does next is mark */
		if (s->without != BUMP_FOR_LOST)
			overlap_gate_bump(&w.gate);
		r->step = FOUND;
		break;
	case LOOKS:
		look(s, &w, i);
		break;
	case CARRIES:
		r->step = w.gate.closed ? LEFT_OUT : RESERVES;
		break;
	case RESERVES:
		explore_reserving(s, from, i);
		return;
	case LEFT_OUT:
		w.marked = true;
		r->step = LEAVES;
		break;
	case LEAVES:
		leave_last(s, &w, i);
		break;
	case FOUND:
	case MARKS:
		w.marked = true;
		r->step = OVER;
		break;
	default:
		return;
	}
	explore(s, &w);
}

/* --- what the agent does, and what befalls the table ------------------------------------- */

static void explore_reading(struct search *s, const struct world *from)
{
	struct world w = *from;

	switch (w.agent) {
	case 0:
		if (!w.marked)
			return;
		w.marked = false;
		w.agent = 1;
		break;
	case 1:
		w.after = NONE;
		w.agent = 2;
		break;
	default:
		w.read = w.medium;
		w.agent = 0;
	}
	explore(s, &w);
}

static void explore_turn(struct search *s, const struct world *from, enum shared_reason why)
{
	struct world w = *from;
	struct turns *left = why == SHARED_RING_FULL ? &w.full : &w.off;

	if (w.gate.reason[why]) {
		if (!left->openings)
			return;
		left->openings--;
		overlap_gate_open(&w.gate, why);
		if (s->without == BUMP_AT_OPENING)
			w.gate.salt--;
	} else {
		if (!left->closings)
			return;
		left->closings--;
		overlap_gate_close(&w.gate, why);
	}
	explore(s, &w);
}

static void explore_evictions(struct search *s, const struct world *from)
{
	for (int i = 0; from->evictions && i < SHARED_WAYS; i++) {
		struct world w = *from;

		if (!w.bucket.entry[i])
			continue;
		w.bucket.entry[i] = 0;
		w.evictions--;
		explore(s, &w);
	}
}

/* --- the search ---------------------------------------------------------------------------- */

static bool is_over(const struct world *w)
{
	for (int i = 0; i < REQUESTS; i++)
		if (w->requests[i].step != OVER)
			return false;
	return !w->marked && !w->agent;
}

static void explore(struct search *s, const struct world *w)
{
	if (s->wrong || !is_new(s, w))
		return;
	if (is_over(w) && (w->after == NONE ? w->read : w->after) != w->medium) {
		s->wrong = true;
		return;
	}
	explore_reading(s, w);
	explore_turn(s, w, SHARED_RING_FULL);
	explore_turn(s, w, SHARED_PAYLOAD_OFF);
	explore_evictions(s, w);
	for (unsigned int i = 0; i < REQUESTS; i++)
		explore_request(s, w, i);
}

static bool goes_wrong(enum remedy without, struct world start)
{
	struct search s = { .without = without, .seen = calloc(SEEN_MAX, sizeof(uint64_t)) };

	assert_non_null(s.seen);
	start.after = NONE;
	explore(&s, &start);
	printf("%zu states%s\n", s.states, s.wrong ? ", and wrong" : "");
	free(s.seen);
	return s.wrong;
}

static void a_ring_that_fills_is_held_and_opened_loses_no_order(void **state)
{
	struct world start = { .full = { .closings = 1, .openings = 2 }, .fills = 1 };

	(void)state;
	assert_false(goes_wrong(ALL_THERE, start));
	assert_true(goes_wrong(BUMP_AT_OPENING, start));
	assert_true(goes_wrong(SECOND_LOOK, start));
	assert_true(goes_wrong(LEAVING_LAST, start));
}

static void a_completion_that_nobody_saw_loses_no_order(void **state)
{
	struct world start = { .full = { .closings = 1, .openings = 1 }, .losses = 1, .evictions = 1 };

	(void)state;
	assert_false(goes_wrong(ALL_THERE, start));
	assert_true(goes_wrong(BUMP_FOR_LOST, start));
}

static void payload_switched_off_and_on_loses_no_order(void **state)
{
	struct world start = { .full = { .closings = 1, .openings = 1 }, .off = { .closings = 1, .openings = 1 } };

	(void)state;
	assert_false(goes_wrong(ALL_THERE, start));
	start.gate.reason[SHARED_PAYLOAD_OFF] = 1;
	assert_false(goes_wrong(ALL_THERE, start));
	start = (struct world){ .off = { .closings = 1, .openings = 1 } };
	assert_true(goes_wrong(BUMP_AT_OPENING, start));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ring_that_fills_is_held_and_opened_loses_no_order),
		cmocka_unit_test(a_completion_that_nobody_saw_loses_no_order),
		cmocka_unit_test(payload_switched_off_and_on_loses_no_order),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
