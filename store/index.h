/* SPDX-License-Identifier: Apache-2.0 */
/* index - the writer's table of what it has put into the open journal: looked
 * up by block, newest first. */
#ifndef GODWIT_STORE_INDEX_H
#define GODWIT_STORE_INDEX_H

#include "format.h"

struct index_slot {
	struct entry entry;
	uint32_t older; /* slot + 1 of the one before of the same bucket; 0: none */
};

struct index {
	struct index_slot *slots;
	size_t count, room;
	uint32_t *buckets; /* slot + 1 */
	size_t bucket_count; /* a power of two */
	uint32_t level_mask;
};

_must_check_ int index_init(struct index *x);
void index_done(struct index *x);
void index_clear(struct index *x);
_must_check_ int index_add(struct index *x, const struct entry *e);

/* Every entry of chunk @chunk and of the blocks above it, newest first, until
 * @each returns non-zero, which is returned. */
int index_versions(const struct index *x, uint16_t disk, uint64_t chunk,
		   int (*each)(void *context, const struct entry *e), void *context);

#endif
