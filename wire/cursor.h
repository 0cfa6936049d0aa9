/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cursor - little-endian fields one after the other, in a body and out of it.
 *
 * Reading past the end gives zeroes and makes the cursor bad for good, so a
 * parser reads all its fields and asks once, at the end.  Writing past the end
 * is our own bug.
 */
#ifndef GODWIT_CURSOR_H
#define GODWIT_CURSOR_H

#include "base.h"
#include <assert.h>

struct cursor {
	const uint8_t *at;
	uint32_t left;
	bool bad;
};

static inline struct cursor cursor_over(const uint8_t *body, uint32_t len)
{
	return (struct cursor){ .at = body, .left = len };
}

static inline const uint8_t *cursor_take(struct cursor *c, uint32_t n)
{
	static const uint8_t zeroes[16];
	const uint8_t *p = c->at;

	assert(n <= sizeof(zeroes));
	if (c->bad || n > c->left) {
		c->bad = true;
		return zeroes;
	}
	c->at += n;
	c->left -= n;
	return p;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
	return *cursor_take(c, 1);
}

static inline uint16_t cursor_u16(struct cursor *c)
{
	return get_le16(cursor_take(c, 2));
}

static inline uint32_t cursor_u32(struct cursor *c)
{
	return get_le32(cursor_take(c, 4));
}

static inline uint64_t cursor_u64(struct cursor *c)
{
	return get_le64(cursor_take(c, 8));
}

/* Bytes that have no meaning yet must be 0, so that they can get one. */
static inline void cursor_reserved(struct cursor *c, uint32_t n)
{
	if (!is_zero(cursor_take(c, n), n))
		c->bad = true;
}

static inline void cursor_require(struct cursor *c, bool holds)
{
	if (!holds)
		c->bad = true;
}

/* All of the body was read and nothing was wrong. */
static inline bool cursor_ended_well(const struct cursor *c)
{
	return !c->bad && c->left == 0;
}

struct put_cursor {
	uint8_t *at, *end;
};

static inline uint8_t *put_room(struct put_cursor *c, size_t n)
{
	uint8_t *p = c->at;

	assert(n <= (size_t)(c->end - c->at));
	c->at += n;
	return p;
}

static inline void put_u8(struct put_cursor *c, uint8_t v)
{
	*put_room(c, 1) = v;
}

static inline void put_u16(struct put_cursor *c, uint16_t v)
{
	put_le16(put_room(c, 2), v);
}

static inline void put_u32(struct put_cursor *c, uint32_t v)
{
	put_le32(put_room(c, 4), v);
}

static inline void put_u64(struct put_cursor *c, uint64_t v)
{
	put_le64(put_room(c, 8), v);
}

static inline void put_bytes(struct put_cursor *c, const void *p, size_t n)
{
	memcpy(put_room(c, n), p, n);
}

static inline void put_zeroes(struct put_cursor *c, size_t n)
{
	memset(put_room(c, n), 0, n);
}

#endif
