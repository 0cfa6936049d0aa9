/* SPDX-License-Identifier: Apache-2.0 */
/* chunks - one table's versions of one chunk, newest first: its own entries and
 * the zero blocks of the levels above that cover it, merged. */
#ifndef GODWIT_STORE_CHUNKS_H
#define GODWIT_STORE_CHUNKS_H

#include "run.h"

struct chunk_versions {
	struct run *run;
	uint32_t waiting; /* levels with an entry in @next */
	uint64_t keys[LEVELS], at[LEVELS];
	const uint8_t *bytes[LEVELS]; /* of the entry at @at, if its block has been looked at; else NULL */
	struct entry next[LEVELS];
};

/* Of block @key (of any level) and those above it, versions at or before @version. */
_must_check_ int chunk_versions_begin(struct chunk_versions *c, struct run *r, uint64_t key, uint64_t version);

/* 1: the next in *@ret; 0: no more; -EBADMSG. */
int chunk_versions_next(struct chunk_versions *c, struct entry *ret);

#endif
