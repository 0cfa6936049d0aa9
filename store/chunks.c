/* SPDX-License-Identifier: Apache-2.0 */
#include "chunks.h"

#include <errno.h>

/* Look at the entry at @at[level]; it waits if it is still of this block. */
static int look(struct chunk_versions *c, unsigned int level)
{
	int err;

	c->waiting &= ~(1u << level);
	if (c->at[level] >= c->run->entry_count)
		return 0;
	if (!c->bytes[level])
		c->bytes[level] = run_entry_bytes(c->run, c->at[level]);
	if (!c->bytes[level])
		return -EBADMSG;
	if (entry_key(c->bytes[level]) != c->keys[level])
		return 0;
	err = entry_get(c->bytes[level], &c->next[level]);
	if (err == 0)
		c->waiting |= 1u << level;
	return err;
}

int chunk_versions_begin(struct chunk_versions *c, struct run *r, uint64_t key, uint64_t version)
{
	unsigned int level;
	int err = 0;

	c->run = r;
	c->waiting = 0;
	for (level = key_level(key); level < LEVELS && err == 0; level++) {
		if (!(r->level_mask & 1u << level))
			continue;
		c->keys[level] = key_above(key, level);
		c->bytes[level] = NULL;
		err = run_seek(r, c->keys[level], version, &c->at[level]);
		if (err == 0)
			err = look(c, level);
	}
	return err;
}

int chunk_versions_next(struct chunk_versions *c, struct entry *ret)
{
	unsigned int level, best = LEVELS;
	int err;

	for (level = 0; level < LEVELS; level++) {
		if ((c->waiting & 1u << level) &&
		    (best == LEVELS || c->next[level].version > c->next[best].version))
			best = level;
	}
	if (best == LEVELS)
		return 0;
	*ret = c->next[best];
	c->at[best]++;
	c->bytes[best] = c->at[best] % RUN_BLOCK_ENTRIES ? c->bytes[best] + ENTRY_BYTES : NULL;
	err = look(c, best);
	return err < 0 ? err : 1;
}
