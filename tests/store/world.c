/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void small_limits(struct store_sys *sys, uint64_t *rng)
{
	sys->limits.data_file_bytes = 20000 + rng_below(rng, 400000);
	sys->limits.data_file_epochs = 1 + rng_below(rng, 30);
	sys->limits.buffer_bytes = 1 + rng_below(rng, 100000);
	sys->limits.reserve_bytes = 0;
	sys->limits.reserve_permille = 0;
	sys->limits.merge_fan_in = 2 + (uint32_t)rng_below(rng, 4);
	sys->limits.tier_entries = 16 + rng_below(rng, 200);
	sys->limits.small_file_bytes = rng_below(rng, 30000);
}

void world_init(struct world *w, uint64_t seed)
{
	static const struct store_policy policies[] = {
		{ 0, 0, 0 }, { 3600, 20000, 200000 }, { 86400, 172800, 604800 }, { 20, 40000, 0 } };

	*w = (struct world){ .mem = memsys_new(seed), .rng = seed };
	w->sys = memsys_sys(w->mem);
	w->policy = policies[rng_below(&w->rng, 4)];
	small_limits(w->sys, &w->rng);
	if (seed % 3 == 0) { /* a world in which much is collected */
		w->policy = policies[0];
		w->sys->limits.data_file_bytes = 40000;
		w->sys->limits.merge_fan_in = 2;
	}
	w->model = model_new(seed, &w->policy);
	memsys_short(w->mem, rng_below(&w->rng, 2));
}

void world_done(struct world *w)
{
	world_drop_reader(w);
	store_writer_close(w->writer);
	model_free(w->model);
	memsys_free(w->mem);
}

int world_open_writer(struct world *w)
{
	int err = store_writer_open(WORLD_DIR, model_machine(w->model), w->sys, &w->writer);

	if (err == 0) {
		model_opened(w->model, w->writer);
		assert_false(store_writer_lost(w->writer, &(uint64_t){ 0 }, &(uint64_t){ 0 }));
	}
	return err;
}

void world_close_writer(struct world *w)
{
	store_writer_close(w->writer);
	w->writer = NULL;
	model_dropped(w->model);
}

int world_upkeep(struct world *w)
{
	struct store_upkeep_options o = { .now_us = UINT64_MAX };
	struct store_upkeep_result r;
	int err = store_upkeep(WORLD_DIR, w->sys, &o, &r);

	if (err < 0)
		return err;
	w->upkeeps++;
	w->merged += r.runs_merged;
	w->expired += r.points_expired;
	w->rewritten += r.bytes_rewritten;
	return 0;
}

int world_epoch(struct world *w, unsigned int puts_max)
{
	uint64_t n = rng_below(&w->rng, puts_max + 1);
	int err = 0;

	while (err == 0 && n-- > 0)
		err = model_put(w->model, w->writer);
	return err < 0 ? err : model_commit(w->model, w->writer);
}

void world_drop_reader(struct world *w)
{
	store_reader_close(w->reader);
	w->reader = NULL;
}

int world_change_reader(struct world *w)
{
	struct store_points *p;
	int err;

	if (w->reader) {
		(void)model_check_reader(w->model, w->reader, false, w->mem);
		world_drop_reader(w);
		return 0;
	}
	err = store_points_open(WORLD_DIR, w->sys, &p);
	if (err < 0)
		return err;
	if (store_points_count(p) > 0) {
		size_t i = rng_below(&w->rng, store_points_count(p));

		err = store_reader_open(WORLD_DIR, w->sys, store_points_get(p, i)->epoch, &w->reader);
	}
	store_points_close(p);
	return err;
}

static void take_turn(void *context, const char *call)
{
	struct world *w = context;
	/* The moments that matter are those before something becomes durable. */
	bool sync = strncmp(call, "sync", 4) == 0 || strcmp(call, "rename") == 0;
	int err = 0;

	if (memsys_is_cut(w->mem))
		return;
	switch (rng_below(&w->rng, sync ? 6 : 60)) {
	case 0:
		err = world_upkeep(w);
		break;
	case 1:
		err = world_change_reader(w);
		break;
	default:
		break;
	}
	/* A point may go between the list and the opening; the store may not be there yet; one upkeep is enough. */
	assert_true(err == 0 || err == -ENOENT || err == -EBUSY || memsys_is_cut(w->mem));
}

void world_be_busy(struct world *w)
{
	memsys_hook(w->mem, take_turn, w);
}
