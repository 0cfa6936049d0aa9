/* SPDX-License-Identifier: Apache-2.0 */
#include "uuid.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define EPOCH_BITS 62

/* The text's digits lie in groups of this many bytes. */
static const unsigned int group_ends[] = { 4, 6, 8, 10 };

static bool dash_follows(unsigned int byte)
{
	for (size_t i = 0; i < ARRAY_LEN(group_ends); i++)
		if (byte + 1 == group_ends[i])
			return true;
	return false;
}

static void set_version(struct uuid *u, unsigned int version)
{
	u->bytes[6] = (uint8_t)(version << 4 | (u->bytes[6] & 0x0f));
	u->bytes[8] = (uint8_t)(0x80 | (u->bytes[8] & 0x3f));
}

struct uuid uuid_random(void)
{
	struct uuid u;
	ssize_t n;

	do
		n = getrandom(u.bytes, sizeof(u.bytes), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(u.bytes)) /* up to 256 bytes come whole or not at all */
		abort();
	set_version(&u, 4);
	return u;
}

char *uuid_format(const struct uuid *u, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";
	char *p = ret_text;

	for (unsigned int i = 0; i < sizeof(u->bytes); i++) {
		*p++ = digits[u->bytes[i] >> 4];
		*p++ = digits[u->bytes[i] & 15];
		if (dash_follows(i))
			*p++ = '-';
	}
	*p = '\0';
	return ret_text;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uuid_parse(const char *text, struct uuid *ret)
{
	struct uuid u;
	const char *p = text;

	for (unsigned int i = 0; i < sizeof(u.bytes); i++) {
		int high = hex_digit(p[0]);
		int low = high < 0 ? -1 : hex_digit(p[1]);

		if (low < 0)
			return -EINVAL;
		u.bytes[i] = (uint8_t)(high << 4 | low);
		p += 2;
		if (dash_follows(i) && *p++ != '-')
			return -EINVAL;
	}
	if (*p != '\0')
		return -EINVAL;
	*ret = u;
	return 0;
}

struct uuid uuid_from_epoch(const struct uuid *machine, uint64_t epoch)
{
	struct uuid u = *machine;

	assert(epoch >> EPOCH_BITS == 0);
	for (unsigned int i = 0; i < 8; i++)
		u.bytes[15 - i] = (uint8_t)(epoch >> 8 * i);
	set_version(&u, 8);
	return u;
}

int uuid_to_epoch(const struct uuid *machine, const struct uuid *point, uint64_t *ret_epoch)
{
	uint64_t epoch = point->bytes[8] & 0x3f;
	struct uuid made;

	for (unsigned int i = 9; i < 16; i++)
		epoch = epoch << 8 | point->bytes[i];
	made = uuid_from_epoch(machine, epoch);
	if (!uuid_equal(&made, point))
		return -EINVAL;
	*ret_epoch = epoch;
	return 0;
}
