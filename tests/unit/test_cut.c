// SPDX-License-Identifier: Apache-2.0
/* How often a cut that is due looks whether it would be clean. */
#include "engine-private.h"
#include "plain_tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define EPOCH_US      500000u
#define LOOK_AGAIN_US 5000u

static uint64_t clock_us, disk_bytes;
static unsigned int looks; /* each begins with the time */
static struct tracker *held_up_on; /* as soon as the time is taken, and written to meanwhile */

static uint64_t on_now(void *context)
{
	return clock_us;
}

static uint64_t on_boot(void *context)
{
	struct tracker *t = held_up_on;
	uint64_t now = clock_us;

	looks++;
	held_up_on = NULL;
	if (t) {
		clock_us += 60000000;
		plain_tracker_write(t, 0, 8, 1, true);
	}
	return now;
}

static uint64_t on_size(void *context, uint16_t disk)
{
	return disk_bytes;
}

static bool away;

static bool on_still_gone(void *context)
{
	return away;
}

static const struct engine_ops ops = { .now_us = on_now, .boot_us = on_boot, .size = on_size, .still_gone = on_still_gone };

/* Connected, something written, and its epoch just over. */
static int begin(void **state)
{
	static struct engine_memory memory;
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -1;
	e->memory = &memory;
	clock_us = 3600000000ULL;
	looks = 0;
	disk_bytes = PLAIN_BYTES;
	e->o = (struct engine_options){ .ops = &ops, .epoch_us = EPOCH_US, .idle_us = EPOCH_US };
	e->tracker = plain_tracker_new(65536);
	e->connected = e->caught_up = e->touched = true;
	e->disk_limit = 1;
	e->disks[0].present = true;
	e->disks[0].track.size_bytes = PLAIN_BYTES;
	e->cut_at_us = clock_us - EPOCH_US;
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

static void something_dirty_is_looked_at_again_after_a_while_however_often_there_is_something_to_do(void **state)
{
	struct engine *e = *state;

	plain_tracker_write(e->tracker, 0, 8, 1, false);
	for (unsigned int us = 0; us < 10 * LOOK_AGAIN_US; us += 50, clock_us += 50)
		cut_run(e);
	assert_int_equal(looks, 10);
	assert_false(e->aim.set);
}

static void the_first_point_does_not_wait_for_it(void **state)
{
	struct engine *e = *state;

	plain_tracker_write(e->tracker, 0, 8, 1, false);
	cut_run(e);
	cut_soon(e);
	cut_run(e);
	assert_int_equal(looks, 2);
}

static void what_is_known_to_be_pending_is_not_looked_at(void **state)
{
	struct engine *e = *state;

	e->disks[0].planes[PLANE_PENDING].count = 1;
	cut_run(e);
	assert_int_equal(looks, 0);
	clock_us += EPOCH_US;
	e->touched = false;
	cut_run(e); /* but an epoch is over at last */
	assert_int_equal(looks, 1);
}

static void of_a_missing_disk_with_nothing_left_to_send_points_go_on_while_it_is_certainly_away(void **state)
{
	struct engine *e = *state;

	plain_tracker_write(e->tracker, 0, 8, 1, true);
	engine_disk_missing(e, 0, true);
	away = false;
	cut_run(e);
	assert_false(e->aim.set);
	away = true;
	clock_us += LOOK_AGAIN_US;
	cut_run(e);
	assert_true(e->aim.set && e->aim.clean);
}

static void of_a_missing_disk_with_something_left_to_send_there_is_no_point_and_the_others_go_on(void **state)
{
	struct engine *e = *state;

	plain_tracker_write(e->tracker, 0, 8, 1, true);
	engine_disk_missing(e, 0, true);
	away = true;
	e->disks[0].planes[PLANE_HASH].count = 1;
	clock_us += EPOCH_US;
	cut_run(e);
	assert_true(e->aim.set && !e->aim.clean);
}

static void of_a_missing_disk_with_a_lost_write_there_is_no_point(void **state)
{
	struct engine *e = *state;

	engine_disk_missing(e, 0, true);
	away = true;
	plain_tracker_write(e->tracker, 0, 8, 1, false);
	cut_run(e);
	assert_false(e->aim.set);
}

static void a_cut_that_is_held_up_between_time_and_position_is_of_the_time_after_it(void **state)
{
	struct engine *e = *state;

	held_up_on = e->tracker;
	cut_run(e);
	assert_true(e->aim.set);
	assert_int_equal(e->aim.position, tracker_position(e->tracker));
	assert_int_equal(e->aim.boot_us, clock_us);
}

static void a_disk_that_has_grown_makes_no_point_until_it_is_known(void **state)
{
	struct engine *e = *state;

	plain_tracker_write(e->tracker, 0, 8, 1, true);
	disk_bytes = PLAIN_BYTES + SECTOR_BYTES;
	assert_false(cut_look_clean(e));
	cut_run(e);
	assert_false(e->aim.set);
	e->disks[0].track.size_bytes = disk_bytes;
	clock_us += LOOK_AGAIN_US;
	cut_run(e);
	assert_true(e->aim.set && e->aim.clean);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			something_dirty_is_looked_at_again_after_a_while_however_often_there_is_something_to_do, begin, end),
		cmocka_unit_test_setup_teardown(the_first_point_does_not_wait_for_it, begin, end),
		cmocka_unit_test_setup_teardown(what_is_known_to_be_pending_is_not_looked_at, begin, end),
		cmocka_unit_test_setup_teardown(a_disk_that_has_grown_makes_no_point_until_it_is_known, begin, end),
		cmocka_unit_test_setup_teardown(
			of_a_missing_disk_with_nothing_left_to_send_points_go_on_while_it_is_certainly_away, begin, end),
		cmocka_unit_test_setup_teardown(
			of_a_missing_disk_with_something_left_to_send_there_is_no_point_and_the_others_go_on, begin, end),
		cmocka_unit_test_setup_teardown(of_a_missing_disk_with_a_lost_write_there_is_no_point, begin, end),
		cmocka_unit_test_setup_teardown(a_cut_that_is_held_up_between_time_and_position_is_of_the_time_after_it, begin,
						end),
	};

	return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
