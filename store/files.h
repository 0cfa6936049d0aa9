/* SPDX-License-Identifier: Apache-2.0 */
/* files - a store's data files, opened when they are first read and kept open
 * while they are in use.  May be used by several threads. */
#ifndef GODWIT_STORE_FILES_H
#define GODWIT_STORE_FILES_H

#include "dat.h"

struct files;

_must_check_ int files_new(const struct store_sys *sys, const char *dir, struct files **ret);
void files_free(struct files *f); /* NULL is allowed */

/* A number may stand for another file now: all are opened anew.  Nobody reads. */
void files_forget(struct files *f);

/* As dat_read(); -ENOENT: the file is not there (any more). */
_must_check_ int files_read(struct files *f, const struct entry *e, void *out);
/* As dat_fetch(). */
int files_fetch(struct files *f, const struct entry *e, void *stored, void *payload, uint64_t *ret_checksum);

#endif
