/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"
#include <assert.h>

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* The length of the sequence that @first opens, and the least value it may
 * carry (a smaller one would be an overlong form); 0: it opens none. */
static size_t sequence_length(unsigned char first, uint32_t *ret_bits, uint32_t *ret_least)
{
	static const struct {
		uint8_t mask, mark, length;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 1, 0 }, { 0xe0, 0xc0, 2, 0x80 }, { 0xf0, 0xe0, 3, 0x800 }, { 0xf8, 0xf0, 4, 0x10000 } };

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if ((first & forms[i].mask) != forms[i].mark)
			continue;
		*ret_bits = (uint8_t)(first & ~forms[i].mask);
		*ret_least = forms[i].least;
		return forms[i].length;
	}
	return 0;
}

/* Bytes of the printable character at @s, or 0. */
static size_t printable_length(const char *s, size_t len)
{
	uint32_t c, least;
	size_t n = sequence_length((unsigned char)*s, &c, &least);

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (!is_continuation(s[i]))
			return 0;
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	}
	if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	if (c < 0x20 || (c >= 0x7f && c <= 0x9f))
		return 0;
	return n;
}

bool utf8_is_printable(const char *s, size_t len)
{
	while (len > 0) {
		size_t n = printable_length(s, len);

		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

size_t utf8_fitting(const char *s, size_t len, size_t room)
{
	if (len <= room)
		return len;
	while (room > 0 && is_continuation(s[room]))
		room--;
	return room;
}

char *utf8_clean(const char *text, char *buf, size_t size)
{
	size_t len = strlen(text), at = 0;

	assert(size > 0);
	while (len > 0) {
		size_t n = printable_length(text, len);
		const char *from = n ? text : "?";
		size_t take = n ? n : 1;

		if (take > size - 1 - at)
			break;
		memcpy(buf + at, from, take);
		at += take;
		text += take;
		len -= take;
	}
	buf[at] = '\0';
	return buf;
}
