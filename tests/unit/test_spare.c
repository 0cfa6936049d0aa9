// SPDX-License-Identifier: Apache-2.0
/* spare - when the spare completion programs are attached. */
#include "tracker-private.h"
#include "wallclock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define BEGIN 5000000

static void test_what_was_missed_before_the_first_look_is_no_reason(void **state)
{
	struct nesting n = { 0 };

	(void)state;
	assert_false(spare_is_wanted(&n, 1000000, BEGIN));
	assert_false(spare_is_wanted(&n, 1000000, BEGIN + USEC_PER_SEC));
}

static void test_a_miss_now_and_then_is_cheaper_marked(void **state)
{
	struct nesting n = { 0 };
	uint64_t misses = 7;

	(void)state;
	for (uint64_t now = BEGIN; now < BEGIN + 3600 * USEC_PER_SEC; now += 500 * USEC_PER_MSEC)
		assert_false(spare_is_wanted(&n, misses += 2, now));
}

static void test_many_misses_within_a_second_ask_for_the_spare_programs(void **state)
{
	struct nesting n = { 0 };

	(void)state;
	assert_false(spare_is_wanted(&n, 100, BEGIN));
	assert_false(spare_is_wanted(&n, 104, BEGIN + 100 * USEC_PER_MSEC));
	assert_true(spare_is_wanted(&n, 109, BEGIN + 200 * USEC_PER_MSEC));
}

static void test_misses_of_a_long_time_without_a_look_are_no_rate(void **state)
{
	struct nesting n = { 0 };

	(void)state;
	assert_false(spare_is_wanted(&n, 0, BEGIN));
	assert_false(spare_is_wanted(&n, 1000, BEGIN + 600 * USEC_PER_SEC));
	assert_true(spare_is_wanted(&n, 1100, BEGIN + 601 * USEC_PER_SEC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_missed_before_the_first_look_is_no_reason),
		cmocka_unit_test(test_a_miss_now_and_then_is_cheaper_marked),
		cmocka_unit_test(test_many_misses_within_a_second_ask_for_the_spare_programs),
		cmocka_unit_test(test_misses_of_a_long_time_without_a_look_are_no_rate),
	};

	return cmocka_run_group_tests_name("spare", tests, NULL, NULL);
}
