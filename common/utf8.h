/* SPDX-License-Identifier: Apache-2.0 */
/* utf8 - text from strangers: only printable UTF-8 goes on into JSON, logs and terminals. */
#ifndef GODWIT_UTF8_H
#define GODWIT_UTF8_H

#include "base.h"

/* Whether @len bytes are whole UTF-8 characters (RFC 3629) without control
 * characters (C0, DEL, C1). */
bool utf8_is_printable(const char *s, size_t len);

/* How many of @len bytes of UTF-8 fit into @room without cutting a character. */
size_t utf8_fitting(const char *s, size_t len, size_t room);

/* Copy @text into @buf, NUL-terminated, cut between characters to @size - 1
 * bytes; each byte that makes it not printable becomes '?'.  Returns @buf. */
char *utf8_clean(const char *text, char *buf, size_t size);

#endif
