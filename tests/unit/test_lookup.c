// SPDX-License-Identifier: Apache-2.0
/* Which point is meant, of a list that is not in any store. */
#include "lookup.h"
#include "wallclock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND USEC_PER_SEC
#define HOUR   (3600 * SECOND)

static struct store_epoch points[8];
static size_t count;

size_t store_points_count(const struct store_points *p)
{
	return count;
}

const struct store_epoch *store_points_get(const struct store_points *p, size_t index)
{
	assert_true(index < count);
	return &points[index];
}

const char *store_points_damaged(const struct store_points *p)
{
	return NULL;
}

int store_points_find(const struct store_points *p, uint64_t time_us, size_t *ret_index)
{
	size_t i = count;

	while (i > 0 && points[i - 1].time_us > time_us)
		i--;
	if (!i)
		return -ENOENT;
	*ret_index = i - 1;
	return 0;
}

static void add(uint64_t time_us)
{
	points[count] = (struct store_epoch){ .epoch = count + 1, .time_us = time_us };
	count++;
}

static int lookup(uint64_t time_us, size_t *ret_index)
{
	char text[WALLCLOCK_TEXT_LEN + 1];
	struct uuid machine = { { 1 } };

	return lookup_point(NULL, &machine, wallclock_format(time_us, text), ret_index);
}

static int begin(void **state)
{
	count = 0;
	return 0;
}

static void a_time_between_two_points_means_the_one_before(void **state)
{
	uint64_t now = wallclock_now_us();
	size_t index;

	add(now - 3 * HOUR);
	add(now - HOUR); /* the machine was away in between */
	add(now - SECOND);
	assert_int_equal(lookup(now - 2 * HOUR, &index), 0);
	assert_int_equal(index, 0);
	assert_int_equal(lookup(now - HOUR, &index), 0);
	assert_int_equal(index, 1);
	assert_int_equal(lookup(now, &index), -ERANGE);
}

static void a_time_that_only_points_ahead_of_the_clock_follow_is_not_answered(void **state)
{
	uint64_t now = wallclock_now_us();
	struct uuid machine = { { 1 } };
	size_t index;

	add(now - 2 * HOUR);
	add(now - HOUR);
	add(now + 9 * HOUR); /* here the clock was ahead, and was set back */
	add(now + 9 * HOUR + 1);
	assert_int_equal(lookup(now - SECOND, &index), -ETIME);
	assert_int_equal(lookup(now - HOUR + SECOND, &index), -ETIME);
	assert_int_equal(lookup(now - HOUR - SECOND, &index), 0);
	assert_int_equal(index, 0);
	assert_int_equal(lookup(now + 9 * HOUR, &index), 0); /* as the list of points has it */
	assert_int_equal(index, 2);
	assert_int_equal(lookup_point(NULL, &machine, "latest", &index), 0);
	assert_int_equal(index, 3);
}

static void a_clock_that_is_a_little_ahead_is_no_matter(void **state)
{
	uint64_t now = wallclock_now_us();
	size_t index;

	for (unsigned int i = 0; i < 8; i++)
		add(now + 20 * SECOND + i * SECOND / 2);
	points[0].time_us = now - 10 * SECOND;
	assert_int_equal(lookup(now, &index), 0);
	assert_int_equal(index, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_time_between_two_points_means_the_one_before, begin),
		cmocka_unit_test_setup(a_time_that_only_points_ahead_of_the_clock_follow_is_not_answered, begin),
		cmocka_unit_test_setup(a_clock_that_is_a_little_ahead_is_no_matter, begin),
	};

	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
