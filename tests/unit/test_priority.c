// SPDX-License-Identifier: Apache-2.0
/* When the agent gives way to the source's threads, and when it takes its part again. */
#include "priority.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>

#define STEP_US 1000u

struct run {
	struct priority p;
	uint64_t now_us, waited_us;
};

/* @us of a loop whose thread is kept waiting for @waits_percent of them.  Returns the level in the end. */
static enum priority_level go_on(struct run *r, bool behind, uint64_t us, unsigned int waits_percent)
{
	for (uint64_t end = r->now_us + us; r->now_us < end;) {
		r->now_us += STEP_US;
		r->waited_us += STEP_US * waits_percent / 100;
		r->p.level = priority_choose(&r->p, behind, r->now_us, r->waited_us);
	}
	return r->p.level;
}

static struct run begun(void)
{
	return (struct run){ .p = { .thread_fd = -1 }, .now_us = 3600000000ULL };
}

static void it_follows_the_source_as_it_was_started(void **state)
{
	struct run r = begun();

	assert_int_equal(go_on(&r, false, 5000000, 0), PRIORITY_AS_STARTED);
	assert_int_equal(go_on(&r, false, 5000000, 99), PRIORITY_AS_STARTED);
}

static void something_to_read_for_a_moment_changes_nothing(void **state)
{
	struct run r = begun();

	for (unsigned int i = 0; i < 100; i++) {
		assert_int_equal(go_on(&r, true, 100000, 0), PRIORITY_AS_STARTED);
		assert_int_equal(go_on(&r, false, STEP_US, 0), PRIORITY_AS_STARTED);
	}
}

static void much_to_read_is_done_in_what_time_others_leave(void **state)
{
	struct run r = begun();

	assert_int_equal(go_on(&r, true, 1000000, 0), PRIORITY_LEFTOVER);
	/* Waiting half of the time is what giving way means. */
	assert_int_equal(go_on(&r, true, 60000000, 50), PRIORITY_LEFTOVER);
	assert_int_equal(go_on(&r, false, STEP_US, 0), PRIORITY_AS_STARTED);
}

static void where_others_leave_nothing_it_takes_a_part_for_a_while(void **state)
{
	struct run r = begun();
	uint64_t low_us = 0;

	assert_int_equal(go_on(&r, true, 1000000, 0), PRIORITY_LEFTOVER);
	assert_int_equal(go_on(&r, true, 1000000, 99), PRIORITY_LOW);
	while (go_on(&r, true, STEP_US, 80) == PRIORITY_LOW)
		low_us += STEP_US;
	assert_in_range(low_us, 8000000, 11000000);
	assert_int_equal(go_on(&r, true, 1000000, 99), PRIORITY_LOW);
	assert_int_equal(go_on(&r, false, STEP_US, 99), PRIORITY_AS_STARTED);
}

/* A loop that came to its turn twice in ten seconds is as starved as one that came there a thousand times. */
static void a_loop_that_hardly_runs_notices_it_at_its_next_turn(void **state)
{
	struct run r = begun();

	assert_int_equal(go_on(&r, true, 1000000, 0), PRIORITY_LEFTOVER);
	r.now_us += 5000000;
	r.waited_us += 4990000;
	assert_int_equal(go_on(&r, true, STEP_US, 0), PRIORITY_LOW);
}

static void the_kernel_does_what_was_chosen(void **state)
{
	struct priority p;
	int nice = getpriority(PRIO_PROCESS, 0);

	priority_begin(&p);
	if (p.thread_fd < 0) {
		print_message("skipped: started with a policy of its own, no CAP_SYS_NICE, or no schedstat\n");
		skip();
	}
	for (uint64_t now_us = 1000000; now_us < 2000000; now_us += STEP_US)
		priority_run(&p, true, now_us);
	assert_int_equal(sched_getscheduler(0), SCHED_IDLE);
	priority_run(&p, false, 2000000);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
	for (uint64_t now_us = 2000000; now_us < 3000000; now_us += STEP_US)
		priority_run(&p, true, now_us);
	assert_int_equal(sched_getscheduler(0), SCHED_IDLE);
	priority_lift(&p); /* a child is started */
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), nice);
	priority_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_follows_the_source_as_it_was_started),
		cmocka_unit_test(something_to_read_for_a_moment_changes_nothing),
		cmocka_unit_test(much_to_read_is_done_in_what_time_others_leave),
		cmocka_unit_test(where_others_leave_nothing_it_takes_a_part_for_a_while),
		cmocka_unit_test(a_loop_that_hardly_runs_notices_it_at_its_next_turn),
		cmocka_unit_test(the_kernel_does_what_was_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
