/* SPDX-License-Identifier: Apache-2.0 */
/* uuid - 16-byte identities and their lower-case text (RFC 9562). */
#ifndef GODWIT_UUID_H
#define GODWIT_UUID_H

#include "base.h"

#define UUID_TEXT_LEN 36

struct uuid {
	uint8_t bytes[16];
};

/* A random (version 4) identity. Dies only if the kernel has no randomness. */
struct uuid uuid_random(void);

/* @ret_text has room for UUID_TEXT_LEN + 1. Returns @ret_text. */
char *uuid_format(const struct uuid *u, char *ret_text);

/* -EINVAL unless @text is exactly 8-4-4-4-12 hex digits. */
_must_check_ int uuid_parse(const char *text, struct uuid *ret);

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool uuid_is_null(const struct uuid *u)
{
	return is_zero(u, sizeof(*u));
}

/*
 * The identity of the recovery point that ends @epoch of @machine: version 8
 * (RFC 9562, section 5.8); the last 62 bits are the epoch number, the first
 * 60 come from @machine.  Reversible, so that looking up a point by id needs
 * no catalogue.
 */
struct uuid uuid_from_epoch(const struct uuid *machine, uint64_t epoch);

/* -EINVAL unless @point was made by uuid_from_epoch() for @machine. */
_must_check_ int uuid_to_epoch(const struct uuid *machine, const struct uuid *point, uint64_t *ret_epoch);

#endif
