/* SPDX-License-Identifier: Apache-2.0 */
/* bytes - a growing array of bytes, for tables whose length is not known before. */
#ifndef GODWIT_STORE_BYTES_H
#define GODWIT_STORE_BYTES_H

#include "base.h"
#include <errno.h>
#include <stdlib.h>

struct bytes {
	uint8_t *data;
	size_t len, room;
};

/* @len more bytes, not initialised, valid until the next call; NULL without memory. */
static inline uint8_t *bytes_add(struct bytes *b, size_t len)
{
	if (len > b->room - b->len) {
		size_t room = MAX(MAX(b->room * 2, b->len + len), (size_t)256);
		uint8_t *data = realloc(b->data, room);

		if (!data)
			return NULL;
		b->data = data;
		b->room = room;
	}
	b->len += len;
	return b->data + b->len - len;
}

_must_check_ static inline int bytes_append(struct bytes *b, const void *data, size_t len)
{
	uint8_t *at;

	if (len == 0)
		return 0;
	at = bytes_add(b, len);
	if (!at)
		return -ENOMEM;
	memcpy(at, data, len);
	return 0;
}

static inline void bytes_done(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){ 0 };
}

#endif
