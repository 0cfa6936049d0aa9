// SPDX-License-Identifier: Apache-2.0
/* When a ring that was full is opened again. */
#include "engine-private.h"
#include "plain_tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define RING 65536u

static uint64_t clock_us;

static uint64_t on_now(void *context)
{
	return clock_us;
}

static const struct engine_ops ops = { .now_us = on_now };

static int begin(void **state)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -1;
	e->o.ops = &ops;
	e->tracker = plain_tracker_new(RING);
	clock_us = 3600000000ULL;
	*state = e;
	return 0;
}

static int end(void **state)
{
	struct engine *e = *state;

	plain_tracker_free(e->tracker);
	free(e);
	return 0;
}

static uint64_t used(const struct engine *e)
{
	return tracker_position(e->tracker) - tracker_consumed(e->tracker);
}

static void fill(struct engine *e)
{
	while (!tracker_is_full(e->tracker))
		plain_tracker_write(e->tracker, 0, 8, 1, true);
}

static void drain(struct engine *e)
{
	tracker_consume(e->tracker, tracker_position(e->tracker));
}

/* Filled @carried_us after it was opened, and drained: how long it stays closed. */
static uint64_t closed_for(struct engine *e, uint64_t carried_us)
{
	uint64_t from;

	clock_us += carried_us;
	fill(e);
	drain(e);
	for (from = clock_us; overload_run(e), tracker_is_full(e->tracker); clock_us = overload_deadline(e))
		assert_in_range(overload_deadline(e), clock_us + 1, clock_us + 10000000);
	return clock_us - from;
}

static void what_is_written_after_a_full_ring_is_marked_even_when_there_is_room_again(void **state)
{
	struct engine *e = *state;
	uint64_t region = 10;

	fill(e);
	drain(e);
	overload_run(e);
	plain_tracker_write(e->tracker, 80, 8, 2, true);
	assert_int_equal(used(e), 0);
	assert_int_equal(tracker_live_next(e->tracker, 0, &region, 1), 1);
	assert_int_equal(region, 10);
	clock_us = overload_deadline(e);
	overload_run(e);
	plain_tracker_write(e->tracker, 88, 8, 3, true);
	assert_true(used(e) > 0);
}

static void a_burst_after_a_calm_closes_it_for_a_moment_only(void **state)
{
	assert_int_equal(closed_for(*state, 0), 20000);
	assert_int_equal(closed_for(*state, 60000000), 20000);
}

static void a_load_that_fills_it_again_and_again_is_carried_for_a_small_part_of_the_time(void **state)
{
	struct engine *e = *state;

	closed_for(e, 0);
	assert_int_equal(closed_for(e, 25000), 32 * 25000);
	assert_int_equal(closed_for(e, 25000), 32 * 25000);
	assert_int_equal(closed_for(e, 100), 20000);
	assert_int_equal(closed_for(e, 500000), 2000000);
}

static void records_that_are_skipped_close_it_as_if_they_had_stayed_in_it(void **state)
{
	struct engine *e = *state;

	overload_run(e);
	e->figures.skipped_bytes += RING / 2;
	overload_run(e);
	assert_false(tracker_is_full(e->tracker));
	e->figures.skipped_bytes++;
	overload_run(e);
	assert_true(tracker_is_full(e->tracker));
	assert_int_equal(overload_deadline(e), clock_us + 20000);
	clock_us += 20000;
	overload_run(e);
	assert_false(tracker_is_full(e->tracker));
	overload_run(e);
	assert_false(tracker_is_full(e->tracker));
	clock_us += 25000;
	e->figures.skipped_bytes += RING;
	overload_run(e);
	assert_true(tracker_is_full(e->tracker));
	assert_int_equal(overload_deadline(e), clock_us + 32 * 25000);
}

static void records_skipped_while_the_scan_keeps_pace_do_not_close_it(void **state)
{
	struct engine *e = *state;

	for (int i = 0; i < 100; i++) {
		e->figures.skipped_bytes += RING / 2;
		e->figures.scanned_bytes += RING / 4;
		overload_run(e);
		assert_false(tracker_is_full(e->tracker));
	}
	/* What was read before makes up for nothing. */
	e->figures.scanned_bytes += 100 * RING;
	overload_run(e);
	e->figures.skipped_bytes += RING / 2 + 1;
	overload_run(e);
	assert_true(tracker_is_full(e->tracker));
}

static void records_skipped_slowly_do_not_close_it(void **state)
{
	struct engine *e = *state;

	for (int i = 0; i < 100; i++) {
		clock_us += 100000;
		e->figures.skipped_bytes += RING / 20;
		overload_run(e);
		assert_false(tracker_is_full(e->tracker));
	}
}

static void it_is_not_opened_while_it_is_more_than_half_full_and_nobody_waits_for_a_time(void **state)
{
	struct engine *e = *state;

	fill(e);
	overload_run(e);
	clock_us = overload_deadline(e);
	overload_run(e);
	assert_true(tracker_is_full(e->tracker));
	assert_int_equal(overload_deadline(e), UINT64_MAX);
	drain(e);
	overload_run(e);
	assert_false(tracker_is_full(e->tracker));
	assert_int_equal(overload_deadline(e), UINT64_MAX);
}

static void while_it_is_closed_the_disk_is_read_one_by_one_with_pauses(void **state)
{
	struct engine *e = *state;

	e->read_count = 2;
	e->reads[1].state = READ_READY;
	assert_true(overload_may_read(e));
	fill(e);
	overload_run(e);
	assert_false(overload_may_read(e));
	e->reads[1].state = READ_FREE;
	assert_true(overload_may_read(e));
	overload_read_ended(e, clock_us - 2000);
	assert_false(overload_may_read(e));
	assert_int_equal(overload_deadline(e), clock_us + 3 * 2000);
	clock_us += 3 * 2000;
	assert_true(overload_may_read(e));
	overload_read_ended(e, clock_us - 1000000);
	drain(e);
	clock_us += 20000;
	overload_run(e);
	assert_true(overload_may_read(e));
	assert_int_equal(overload_deadline(e), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_is_written_after_a_full_ring_is_marked_even_when_there_is_room_again, begin, end),
		cmocka_unit_test_setup_teardown(a_burst_after_a_calm_closes_it_for_a_moment_only, begin, end),
		cmocka_unit_test_setup_teardown(
			a_load_that_fills_it_again_and_again_is_carried_for_a_small_part_of_the_time, begin, end),
		cmocka_unit_test_setup_teardown(while_it_is_closed_the_disk_is_read_one_by_one_with_pauses, begin, end),
		cmocka_unit_test_setup_teardown(records_that_are_skipped_close_it_as_if_they_had_stayed_in_it, begin, end),
		cmocka_unit_test_setup_teardown(records_skipped_slowly_do_not_close_it, begin, end),
		cmocka_unit_test_setup_teardown(records_skipped_while_the_scan_keeps_pace_do_not_close_it, begin, end),
		cmocka_unit_test_setup_teardown(
			it_is_not_opened_while_it_is_more_than_half_full_and_nobody_waits_for_a_time, begin, end),
	};

	return cmocka_run_group_tests_name("overload", tests, NULL, NULL);
}
