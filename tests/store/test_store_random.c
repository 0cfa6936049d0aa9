/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random work against the model, with upkeep, readers and names coming in
 * between any two system calls of the writer.  GODWIT_SEED chooses the seed;
 * GODWIT_ROUNDS how many different ones are tried.
 */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void work(struct world *w)
{
	int epochs = 60 + (int)rng_below(&w->rng, 100), i;

	for (i = 0; i < epochs; i++) {
		if (rng_below(&w->rng, 8) == 0) {
			assert_int_equal(model_put(w->model, w->writer), 0);
			model_check_writer(w->model, w->writer);
		}
		assert_int_equal(world_epoch(w, 30), 0);
		if (rng_below(&w->rng, 10) == 0)
			assert_int_equal(model_label(w->model, WORLD_DIR, w->sys), 0);
		if (rng_below(&w->rng, 15) == 0)
			model_check(w->model, WORLD_DIR, w->sys, 3);
		if (rng_below(&w->rng, 6) == 0)
			assert_int_equal(world_upkeep(w), 0); /* now readers come in between its calls */
		if (rng_below(&w->rng, 12) == 0) {
			if (rng_below(&w->rng, 2))
				assert_int_equal(model_put(w->model, w->writer), 0);
			world_close_writer(w);
			assert_int_equal(world_open_writer(w), 0);
		}
	}
}

static void one_seed(uint64_t seed)
{
	struct world w;
	struct store_usage usage;
	uint64_t bytes, damaged;
	int i;

	world_init(&w, seed);
	assert_int_equal(world_open_writer(&w), 0);
	assert_int_equal(store_policy_set(WORLD_DIR, w.sys, &w.policy), 0);
	world_be_busy(&w);
	work(&w);
	memsys_hook(w.mem, NULL, NULL);
	world_close_writer(&w);
	if (w.reader)
		assert_int_equal(world_change_reader(&w), 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(world_upkeep(&w), 0);
	model_check(w.model, WORLD_DIR, w.sys, 0);
	assert_int_equal(store_scrub(WORLD_DIR, w.sys, &(struct store_scrub_options){ 0 }, &bytes, &damaged), 0);
	assert_int_equal(damaged, 0);
	assert_int_equal(store_usage(WORLD_DIR, w.sys, &usage), 0);
	print_message("seed %" PRIu64 ": %" PRIu64 " epochs, %" PRIu64 " points left, %" PRIu64 " upkeeps, %" PRIu64
		      " runs merged, %" PRIu64 " points expired, %" PRIu64 " bytes rewritten, %" PRIu64 " kept\n",
		      seed, model_last_epoch(w.model), usage.point_count, w.upkeeps, w.merged, w.expired, w.rewritten,
		      usage.data_bytes);
	world_done(&w);
}

static void the_store_agrees_with_the_model_whatever_comes_in_between(void **state)
{
	uint64_t seed = from_environment("GODWIT_SEED", 1), rounds = from_environment("GODWIT_ROUNDS", 8), i;

	for (i = 0; i < rounds; i++)
		one_seed(seed + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_store_agrees_with_the_model_whatever_comes_in_between),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
