/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * overlap - which writes were in flight to the same sectors at the same time (I5).
 *
 * Two such writes may reach the medium in another order than they complete, so
 * the one that completes later must be marked live (the earlier one is, too).
 * The table says "overlapped" or "did not"; a wrong "overlapped" costs a read,
 * a wrong "did not" is silent corruption.
 *
 * A bucket is a cache line of eight entries; a granule of 4 KiB has one bucket
 * (consecutive granules have consecutive buckets).  An entry is
 *
 *	63    50 49  44 43               17 16     9 8            1  0
 *	 flight   disk   granule, high part   salt     sectors        conflict
 *
 * flight: the request's place in the table of flights, its own as long as it is in
 * flight; disk and granule together with the bucket say exactly which granule;
 * sectors: which of the granule's eight; salt: bumped to make every entry void.
 *
 *	enter (issue)	   put the entry in; then look at the others in the
 *			   bucket: whoever shares a sector gets "conflict", and
 *			   so does the new entry
 *	leave (completion) take the entry out; "conflict" was set: overlapped.
 *			   The entry is not there, or the request has no flight:
 *			   overlapped, and whoever shares a sector gets "conflict"
 *
 * O1	Of two writes X, Y that shared a sector in flight, the one that completes
 *	later is told "overlapped".  Let X be issued first; both enter before they
 *	look, with a full barrier between.  If Y sees X, both get "conflict".  If
 *	Y does not, X's entry had been lost: X finds that at its completion,
 *	is told "overlapped", and sets "conflict" on Y if Y is still in flight;
 *	if Y's entry has been lost as well, Y is told so itself.
 * O2	So an entry may be thrown out, or never be made, at any moment: a full
 *	bucket, a request in flight when the programs were attached, an issue
 *	that was not seen.  All of these can only add a false "overlapped".
 * O3	A requeued request is issued again under the same flight and finds its own
 *	entry: no conflict with itself.  One whose end was not seen leaves its entry
 *	until that is found; then all entries are made void and it is marked after that,
 *	as it may have met nobody.
 *
 * Requests too large to be entered piece by piece (OVERLAP_GRANULES_MAX), and
 * discards of several ranges, bump the salt at issue and at completion: all that is
 * in flight then finds its entry void.  What they cover is read again themselves.
 *
 * An entry has eight bits of the salt, and so could be valid again after 256 bumps.
 * Therefore the flight keeps the whole gate (salt, and whether it was closed) that
 * it was entered under, and an entry counts at completion only under the same one.
 *
 * O4	While the gate is closed (the ring was full, T7, or payload is switched off) nobody
 *	enters, and nobody leaves: what completes is marked and not carried, which is all
 *	that "overlapped" asks for.  Opening bumps the salt, in the same step.  Of X, Y that
 *	shared a sector in flight let Y complete later, and be carried, so under an open
 *	gate.  If X completed under a closed one, that was before an opening, which Y was
 *	issued before: Y's gate is another, Y is told.  If X completed under an open one,
 *	O1 holds, with one that did not enter (O2).
 *	A completion looks at the gate before it carries, which decides whether it may,
 *	and again after: if it is closed, or another, it counts as overlapped, as who was
 *	issued and completed in between did not meet it, and may lie before it in the ring.
 *
 * Compiled both into the BPF program and into the test that lets threads run
 * against it.
 */
#ifndef GODWIT_TRACKER_OVERLAP_H
#define GODWIT_TRACKER_OVERLAP_H

#include "tracker_shared.h"

#define OVERLAP_GRANULE_SHIFT 3 /* in sectors */
#define OVERLAP_GRANULE	      (1u << OVERLAP_GRANULE_SHIFT)
#define OVERLAP_GRANULES_MAX  4096 /* 16 MiB */

#define OVERLAP_CONFLICT 1ULL
#define OVERLAP_SECTORS	 (0xffULL << 1)
#define OVERLAP_SALT	 (0xffULL << 9)
#define OVERLAP_PLACE	 (0x1ffffffffULL << 17) /* disk and granule */
#define OVERLAP_FLIGHT	 (0x3fffULL << 50)
#define OVERLAP_OWNER	 (OVERLAP_FLIGHT | OVERLAP_PLACE | OVERLAP_SALT)

_Static_assert(SHARED_FLIGHT_BUCKETS * SHARED_FLIGHT_WAYS <= 1 << 14, "a flight is 14 bits");
_Static_assert(SHARED_DISKS <= 64, "a disk is 6 bits");

#define OVERLAP_TRIES 4

/* Whole and once, while others write: in BPF what READ_ONCE() and WRITE_ONCE() are to the
 * kernel; to the test the same instructions, and no race (C17, 5.1.2.4). */
#ifdef __bpf__
#define overlap_read_once(p)	 (*(const volatile __typeof__(*(p)) *)(p))
#define overlap_write_once(p, v) (*(volatile __typeof__(*(p)) *)(p) = (v))
#else
#define overlap_read_once(p)	 __atomic_load_n(p, __ATOMIC_RELAXED)
#define overlap_write_once(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#endif

/* --- the gate (T7, O4) --- */

static inline union shared_gate overlap_gate(const union shared_gate *gate)
{
	return (union shared_gate){ .word = overlap_read_once(&gate->word) };
}

static inline void overlap_gate_close(union shared_gate *gate, enum shared_reason why)
{
	overlap_write_once(&gate->reason[why], 1);
}

/* Make all entries void. */
static inline void overlap_gate_bump(union shared_gate *gate)
{
	__sync_fetch_and_add(&gate->salt, 1);
}

#ifndef __bpf__
/* It may stay closed for another reason. */
static inline void overlap_gate_open(union shared_gate *gate, enum shared_reason why)
{
	union shared_gate old, opened;

	do {
		opened = old = overlap_gate(gate);
		opened.reason[why] = 0;
		opened.salt++;
	} while (!__sync_bool_compare_and_swap(&gate->word, old.word, opened.word));
}
#endif

/* May who was issued under @then find his entry? */
static inline bool overlap_gate_held(uint64_t then, union shared_gate now)
{
	return then == now.word && !now.closed;
}

/* --- the table --- */

/* The part of an entry that says whose it is. */
static inline uint64_t overlap_owner(uint32_t flight, uint64_t granule, uint32_t disk, uint32_t salt)
{
	uint64_t high = granule / SHARED_BUCKETS & 0x7ffffff;

	return (uint64_t)flight << 50 | (uint64_t)disk << 44 | high << 17 | ((uint64_t)salt << 9 & OVERLAP_SALT);
}

static inline uint32_t overlap_bucket(uint64_t granule, uint32_t disk)
{
	return (uint32_t)(granule + disk * 2617u) & (SHARED_BUCKETS - 1);
}

/* The sectors of [@first, @end) that lie in @granule. */
static inline uint64_t overlap_sectors(uint64_t granule, uint64_t first, uint64_t end)
{
	uint64_t base = granule << OVERLAP_GRANULE_SHIFT;
	uint64_t from = first > base ? first - base : 0;
	uint64_t to = end - base < OVERLAP_GRANULE ? end - base : OVERLAP_GRANULE;

	return ((1ULL << (to & 15)) - (1ULL << (from & 7))) << 1 & OVERLAP_SECTORS;
}

static inline uint64_t overlap_load(uint64_t *p)
{
	return overlap_read_once(p);
}

static inline bool overlap_same_owner(uint64_t a, uint64_t b)
{
	return ((a ^ b) & OVERLAP_OWNER) == 0;
}

static inline bool overlap_void(uint64_t e, uint64_t mine)
{
	return e == 0 || ((e ^ mine) & OVERLAP_SALT) != 0;
}

/* An entry with a sector in common. */
static inline bool overlap_shares(uint64_t e, uint64_t mine)
{
	return e && ((e ^ mine) & (OVERLAP_PLACE | OVERLAP_SALT)) == 0 && (e & mine & OVERLAP_SECTORS) != 0;
}

/* Set "conflict" on an entry as long as it shares a sector with @mine; if it changes too
 * often, throw it out (O2). */
static inline void overlap_accuse(uint64_t *p, uint64_t e, uint64_t mine)
{
	for (int i = 0; i < OVERLAP_TRIES; i++) {
		uint64_t old;

		if ((e & OVERLAP_CONFLICT) || !overlap_shares(e, mine))
			return;
		old = __sync_val_compare_and_swap(p, e, e | OVERLAP_CONFLICT);
		if (old == e)
			return;
		e = old;
	}
	__sync_lock_test_and_set(p, 0);
}

/* Accuse all others that share a sector with @mine; was there one?  After
 * overlap_leave() has taken out what was ours, all that are left are others. */
static inline bool overlap_accuse_all(struct shared_bucket *b, uint64_t mine, bool left)
{
	bool met = false;

	for (int i = 0; i < SHARED_WAYS; i++) {
		uint64_t e = overlap_load(&b->entry[i]);

		if (overlap_shares(e, mine) && (left || !overlap_same_owner(e, mine))) {
			met = true;
			overlap_accuse(&b->entry[i], e, mine);
		}
	}
	return met;
}

/* Put @mine into @b; returns where.  Whoever is thrown out for it tells what they shared (O2). */
static inline uint32_t overlap_place(struct shared_bucket *b, uint64_t mine)
{
	uint32_t victim = mine >> 50 & (SHARED_WAYS - 1);

	for (uint32_t i = 0; i < SHARED_WAYS; i++) { /* issued again (O3) */
		uint64_t e = overlap_load(&b->entry[i]);

		if (e && overlap_same_owner(e, mine) &&
		    __sync_val_compare_and_swap(&b->entry[i], e, e | mine) == e)
			return i;
	}
	for (uint32_t i = 0; i < SHARED_WAYS; i++) {
		uint64_t e = overlap_load(&b->entry[i]);

		if (overlap_void(e, mine) && __sync_val_compare_and_swap(&b->entry[i], e, mine) == e)
			return i;
	}
	__sync_lock_test_and_set(&b->entry[victim], mine);
	return victim;
}

static inline void overlap_enter(struct shared_bucket *b, uint64_t mine)
{
	uint32_t at = overlap_place(b, mine) & (SHARED_WAYS - 1);

	if (!overlap_accuse_all(b, mine, false))
		return;
	for (int i = 0; i < OVERLAP_TRIES; i++) {
		uint64_t e = overlap_load(&b->entry[at]);

		if (!e || !overlap_same_owner(e, mine))
			return;
		if (__sync_val_compare_and_swap(&b->entry[at], e, e | OVERLAP_CONFLICT) == e)
			return;
	}
	__sync_lock_test_and_set(&b->entry[at], 0);
}

/* Take @mine's sectors out of the entry at @p.  Returns those that were in it,
 * with OVERLAP_CONFLICT if that was set. */
static inline uint64_t overlap_withdraw(uint64_t *p, uint64_t mine)
{
	uint64_t e = overlap_load(p);

	for (int i = 0; i < OVERLAP_TRIES; i++) {
		uint64_t rest = e & ~(mine & OVERLAP_SECTORS), old;

		if (!e || !overlap_same_owner(e, mine))
			return 0;
		if (!(rest & OVERLAP_SECTORS))
			rest = 0;
		old = __sync_val_compare_and_swap(p, e, rest);
		if (old == e)
			return e & ((mine & OVERLAP_SECTORS) | OVERLAP_CONFLICT);
		e = old;
	}
	__sync_lock_test_and_set(p, 0);
	return OVERLAP_CONFLICT;
}

/* The sectors of @mine are complete: did they overlap in flight?  @entered: under the
 * gate that @mine has its salt of; else what the table has of this flight is not its own. */
static inline bool overlap_leave(struct shared_bucket *b, uint64_t mine, bool entered)
{
	uint64_t found = 0;

	for (int i = 0; entered && i < SHARED_WAYS; i++)
		found |= overlap_withdraw(&b->entry[i], mine);
	if ((found & OVERLAP_SECTORS) == (mine & OVERLAP_SECTORS))
		return (found & OVERLAP_CONFLICT) != 0;
	overlap_accuse_all(b, mine, true);
	return true;
}

#endif
