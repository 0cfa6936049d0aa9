/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edits - configuration files with one thing in them called otherwise, all else byte for
 * byte as it was.  Each returns a new text, or NULL when there was nothing to change
 * (done again, there never is) or no memory.
 */
#ifndef GODWIT_EDITS_H
#define GODWIT_EDITS_H

#include "base.h"

/* The first field of fstab's lines. */
char *edits_fstab(const char *text, const char *device, const char *with);

/* "root=/dev/sda1" as a word: @name is "root=". */
char *edits_argument(const char *text, const char *name, const char *device, const char *with);

/* A hardware address, in whatever case, that is not part of a longer one. */
char *edits_mac(const char *text, const char *mac, const char *with);

/* The next device behind @name after *@at, which is moved on; false: there is none. */
bool edits_next_argument(const char *text, const char *name, const char **at, char *ret, size_t size);

/* The same of fstab's first fields. */
bool edits_next_fstab(const char **at, char *ret, size_t size);

#endif
