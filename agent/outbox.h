/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox - whole frames waiting for the socket, in the order sent.
 *
 * The engine writes frames into outbox_reserve()d room; the session takes bytes
 * from the other end.  Large enough that TLS gets large writes, small enough
 * that what stands in it is no lag worth speaking of.
 */
#ifndef GODWIT_OUTBOX_H
#define GODWIT_OUTBOX_H

#include "base.h"

struct outbox {
	uint8_t *bytes;
	size_t size, head, tail;   /* what waits is [head, tail) */
	uint64_t total;		   /* bytes ever put in */
};

_must_check_ int outbox_init(struct outbox *o, size_t size);
void outbox_done(struct outbox *o);
void outbox_clear(struct outbox *o);

/* @room bytes in one piece, or NULL: not now. */
uint8_t *outbox_reserve(struct outbox *o, size_t room);
void outbox_put(struct outbox *o, size_t used);

static inline size_t outbox_waiting(const struct outbox *o)
{
	return o->tail - o->head;
}

static inline const uint8_t *outbox_first(const struct outbox *o)
{
	return o->bytes + o->head;
}

void outbox_take(struct outbox *o, size_t n);

#endif
