/* SPDX-License-Identifier: Apache-2.0 */
/* world - a store on a folder in memory, its model, and the processes around it. */
#ifndef GODWIT_TEST_WORLD_H
#define GODWIT_TEST_WORLD_H

#include "memsys.h"
#include "model.h"

#define WORLD_DIR "/store"

struct world {
	struct memsys *mem;
	struct model *model;
	struct store_sys *sys;
	struct store_policy policy;
	uint64_t rng;
	struct store_writer *writer;
	struct store_reader *reader; /* stays open while the store changes */
	uint64_t upkeeps, merged, expired, rewritten;
};

uint64_t from_environment(const char *name, uint64_t otherwise);

/* Everything small, so that a few epochs make many files; all from @seed. */
void world_init(struct world *w, uint64_t seed);
void world_done(struct world *w);

/* 0 or what the store said; the model knows. */
int world_open_writer(struct world *w);
void world_close_writer(struct world *w);
int world_upkeep(struct world *w);
int world_epoch(struct world *w, unsigned int puts_max); /* some puts and a commit */
int world_change_reader(struct world *w); /* opens one at a random point, or checks and closes it */
void world_drop_reader(struct world *w);

/* Other processes get a turn, seldom, before every call; nothing fails then. */
void world_be_busy(struct world *w);

#endif
