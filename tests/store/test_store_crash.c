/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S1 and S4 by force.  The same work is done again and again, each time with
 * the next system call failing, or with the power cut before the next change
 * to the disk, and what was not synced kept, lost or torn.  After each:
 *
 *	what was acknowledged is there, byte for byte at each point;
 *	what is there is valid;
 *	and the store can be worked with, and cut again.
 *
 * GODWIT_SEED chooses the work, GODWIT_ROUNDS how many kinds of work.
 */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define EPOCHS 18

/* Everything that a store does; stops at the first thing that fails. */
static int work(struct world *w, unsigned int epochs)
{
	unsigned int i;
	int err = w->writer ? 0 : world_open_writer(w);

	if (err == 0)
		err = store_policy_set(WORLD_DIR, w->sys, &w->policy);
	for (i = 0; i < epochs && err == 0; i++) {
		err = world_epoch(w, 12);
		if (err == 0 && i % 3 == 1)
			err = model_label(w->model, WORLD_DIR, w->sys);
		if (err == 0 && i % 3 == 2)
			err = world_upkeep(w);
		if (err == 0 && i % 5 == 4) {
			world_close_writer(w);
			err = world_open_writer(w);
		}
	}
	return err;
}

static void check_and_go_on(struct world *w)
{
	assert_int_equal(world_open_writer(w), 0);
	model_check(w->model, WORLD_DIR, w->sys, 5);
	model_check_writer(w->model, w->writer);
	assert_int_equal(work(w, 3), 0);
	world_close_writer(w);
	assert_int_equal(world_upkeep(w), 0);
	model_check(w->model, WORLD_DIR, w->sys, 5);
}

/* --- power cuts ------------------------------------------------------------------------ */

static void power_goes(struct world *w, enum memsys_cut how, uint64_t seed)
{
	world_drop_reader(w);
	store_writer_close(w->writer);
	w->writer = NULL;
	memsys_restore(w->mem, how, seed);
}

/* false: the work was over before. */
static bool cut_at(uint64_t seed, uint64_t change, enum memsys_cut how)
{
	struct world w;
	bool cut;

	world_init(&w, seed);
	if (seed & 1)
		world_be_busy(&w);
	memsys_cut(w.mem, change);
	(void)work(&w, EPOCHS);
	cut = memsys_is_cut(w.mem);
	power_goes(&w, how, seed ^ change);

	/* And once more while it is put right. */
	memsys_cut(w.mem, memsys_changes(w.mem) + 1 + rng_below(&w.rng, 12));
	if (world_open_writer(&w) == 0)
		(void)world_epoch(&w, 3);
	power_goes(&w, how, seed ^ change);
	check_and_go_on(&w);
	world_done(&w);
	return cut;
}

static uint64_t cut_everywhere(enum memsys_cut how)
{
	uint64_t seed = from_environment("GODWIT_SEED", 1), rounds = from_environment("GODWIT_ROUNDS", 2), i, n = 0;

	for (i = 0; i < rounds; i++) {
		uint64_t change = 1;

		while (cut_at(seed + i, change, how))
			change++;
		n += change;
	}
	return n;
}

static void what_was_acknowledged_survives_a_power_cut_that_loses_all_unsynced_writes(void **state)
{
	print_message("%" PRIu64 " cuts\n", cut_everywhere(CUT_LOSE));
}

static void what_was_acknowledged_survives_a_power_cut_that_keeps_all_unsynced_writes(void **state)
{
	print_message("%" PRIu64 " cuts\n", cut_everywhere(CUT_KEEP));
}

static void what_was_acknowledged_survives_a_power_cut_that_tears_unsynced_writes(void **state)
{
	print_message("%" PRIu64 " cuts\n", cut_everywhere(CUT_TEAR));
}

/* --- kill -9 ----------------------------------------------------------------------------- */

/* The power goes when work has gone on for a while, or while things are put right. */
static bool killed_at(uint64_t seed, uint64_t change, bool later, uint64_t salt)
{
	struct world w;
	bool cut;

	world_init(&w, seed);
	memsys_cut(w.mem, change);
	(void)work(&w, EPOCHS);
	cut = memsys_is_cut(w.mem);
	world_drop_reader(&w);
	store_writer_close(w.writer);
	w.writer = NULL;
	memsys_kill(w.mem);
	memsys_cut(w.mem, UINT64_MAX);
	if (later) {
		check_and_go_on(&w);
	} else {
		w.rng += salt;
		memsys_cut(w.mem, memsys_changes(w.mem) + 1 + rng_below(&w.rng, 12));
		if (rng_below(&w.rng, 2))
			(void)world_upkeep(&w);
		if (world_open_writer(&w) == 0)
			(void)world_epoch(&w, 3);
	}
	power_goes(&w, CUT_TEAR, seed ^ change ^ salt << 32); /* what was not synced before the kill ... */
	check_and_go_on(&w);			 /* ... must not have been relied on */
	world_done(&w);
	return cut;
}

static void kill_everywhere(bool later, uint64_t salts)
{
	uint64_t seed = from_environment("GODWIT_SEED", 1), change = 1, salt;
	bool cut = true;

	for (; cut; change++) {
		for (salt = 0; salt < salts && cut; salt++)
			cut = killed_at(seed, change, later, salt);
	}
	print_message("%" PRIu64 " kills\n", (change - 1) * salts);
}

static void what_was_acknowledged_survives_kill_and_a_power_cut_later(void **state)
{
	kill_everywhere(true, 1);
}

static void what_was_acknowledged_survives_kill_and_a_power_cut_at_the_next_start(void **state)
{
	kill_everywhere(false, 4);
}

/* --- failing calls ------------------------------------------------------------------------- */

static void a_poisoned_writer_says_so(struct world *w)
{
	struct store_epoch e = { .epoch = model_last_epoch(w->model) + 1, .time_us = UINT64_MAX };
	struct store_disk d = { .disk = 5, .sector_bytes = 512, .size_bytes = 1 << 20 };

	assert_int_equal(store_put_disk(w->writer, &d), -ESTALE);
	assert_int_equal(store_commit(w->writer, &e), -ESTALE);
}

static bool writer_failed(const char *call)
{
	return call && (strcmp(call, "pwritev") == 0 || strcmp(call, "sync_file") == 0);
}

/* One epoch, in which the call fails or not. */
static void epoch_with_failure(struct world *w)
{
	int err = world_epoch(w, 12);

	if (err == 0)
		return;
	if (writer_failed(memsys_failed(w->mem)))
		a_poisoned_writer_says_so(w);
	world_close_writer(w);
	assert_int_equal(world_open_writer(w), 0); /* only one call fails */
	assert_int_equal(world_epoch(w, 12), 0);
}

static bool fail_at(uint64_t seed, uint64_t call, int error)
{
	struct world w;
	unsigned int i;
	bool failed;

	world_init(&w, seed);
	memsys_fail(w.mem, call, error);
	while (world_open_writer(&w) < 0)
		assert_non_null(memsys_failed(w.mem));
	if (store_policy_set(WORLD_DIR, w.sys, &w.policy) < 0)
		assert_int_equal(store_policy_set(WORLD_DIR, w.sys, &w.policy), 0);
	for (i = 0; i < EPOCHS; i++) {
		epoch_with_failure(&w);
		if (i % 3 == 1)
			(void)model_label(w.model, WORLD_DIR, w.sys);
		if (i % 3 == 2)
			(void)world_upkeep(&w);
		if (i % 5 == 4) {
			world_close_writer(&w);
			while (world_open_writer(&w) < 0)
				assert_non_null(memsys_failed(w.mem));
		}
	}
	failed = memsys_failed(w.mem);
	memsys_fail(w.mem, UINT64_MAX, 0);
	world_close_writer(&w);
	model_check(w.model, WORLD_DIR, w.sys, 5);
	power_goes(&w, CUT_LOSE, seed);
	check_and_go_on(&w);
	world_done(&w);
	return failed;
}

static void fail_everywhere(int error)
{
	uint64_t seed = from_environment("GODWIT_SEED", 1), call = 1;

	while (fail_at(seed, call, error))
		call++;
	print_message("%" PRIu64 " calls\n", call);
}

static void nothing_acknowledged_is_lost_whichever_call_fails(void **state)
{
	fail_everywhere(EIO);
}

static void nothing_acknowledged_is_lost_whichever_call_finds_no_space(void **state)
{
	fail_everywhere(ENOSPC);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_acknowledged_survives_a_power_cut_that_loses_all_unsynced_writes),
		cmocka_unit_test(what_was_acknowledged_survives_a_power_cut_that_keeps_all_unsynced_writes),
		cmocka_unit_test(what_was_acknowledged_survives_a_power_cut_that_tears_unsynced_writes),
		cmocka_unit_test(what_was_acknowledged_survives_kill_and_a_power_cut_later),
		cmocka_unit_test(what_was_acknowledged_survives_kill_and_a_power_cut_at_the_next_start),
		cmocka_unit_test(nothing_acknowledged_is_lost_whichever_call_fails),
		cmocka_unit_test(nothing_acknowledged_is_lost_whichever_call_finds_no_space),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
