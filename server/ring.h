/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring - bytes from one thread to another, whole frames always in one piece.
 *
 *	     tail       head
 *	.....#############.........      the same pages twice, one after the other,
 *	              ^ room ^           so that what crosses the end goes on behind it
 *
 * One thread puts, one takes; neither locks.
 */
#ifndef GODWIT_RING_H
#define GODWIT_RING_H

#include "base.h"
#include <stdatomic.h>

struct ring {
	uint8_t *base;
	size_t size; /* a power of two, whole pages */
	_Atomic size_t head, tail; /* grow for ever */
};

_must_check_ int ring_init(struct ring *r, size_t size);
void ring_done(struct ring *r);

/* The putter: where to, and how much; then how much it was. */
static inline uint8_t *ring_room(struct ring *r, size_t *ret_len)
{
	size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	*ret_len = r->size - (head - atomic_load_explicit(&r->tail, memory_order_acquire));
	return r->base + (head & (r->size - 1));
}

static inline void ring_put(struct ring *r, size_t n)
{
	atomic_fetch_add_explicit(&r->head, n, memory_order_release);
}

/* The taker: what is there; then how much of it was taken. */
static inline const uint8_t *ring_look(struct ring *r, size_t *ret_len)
{
	size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	*ret_len = atomic_load_explicit(&r->head, memory_order_acquire) - tail;
	return r->base + (tail & (r->size - 1));
}

static inline void ring_take(struct ring *r, size_t n)
{
	atomic_fetch_add_explicit(&r->tail, n, memory_order_release);
}

#endif
