/* SPDX-License-Identifier: Apache-2.0 */
#include "outbox.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int outbox_init(struct outbox *o, size_t size)
{
	*o = (struct outbox){ .bytes = malloc(size), .size = size };
	return o->bytes ? 0 : -ENOMEM;
}

void outbox_done(struct outbox *o)
{
	free(o->bytes);
	*o = (struct outbox){ 0 };
}

void outbox_clear(struct outbox *o)
{
	o->head = o->tail = 0;
}

uint8_t *outbox_reserve(struct outbox *o, size_t room)
{
	/* Moving is worth it only when what moves is less than what is gained. */
	if (o->size - o->tail < room && o->head >= o->tail - o->head && o->head >= room) {
		memmove(o->bytes, o->bytes + o->head, o->tail - o->head);
		o->tail -= o->head;
		o->head = 0;
	}
	return o->size - o->tail < room ? NULL : o->bytes + o->tail;
}

void outbox_put(struct outbox *o, size_t used)
{
	assert(used <= o->size - o->tail);
	o->tail += used;
	o->total += used;
}

void outbox_take(struct outbox *o, size_t n)
{
	assert(n <= o->tail - o->head);
	o->head += n;
	if (o->head == o->tail)
		o->head = o->tail = 0;
}
