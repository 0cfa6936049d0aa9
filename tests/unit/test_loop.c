/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"
#include "wallclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

static struct loop *loop;
static char order[64];

static int begin(void **state)
{
	order[0] = 0;
	return loop_new(&loop);
}

static int end(void **state)
{
	loop_free(loop);
	return 0;
}

static void note(void *context)
{
	strcat(order, context);
}

static void test_timers_fire_in_the_order_of_their_times(void **state)
{
	char names[][2] = { "a", "b", "c" };
	struct loop_timer a = { .fire = note, .context = names[0] }, b = { .fire = note, .context = names[1] },
			  c = { .fire = note, .context = names[2] };
	uint64_t now = monotonic_now_us();

	loop_set_timer(loop, &a, now + 3000);
	loop_set_timer(loop, &b, now + 1000);
	loop_set_timer(loop, &c, now + 2000);
	loop_set_timer(loop, &a, now + 500); /* moved */
	loop_clear_timer(loop, &c);
	while (strlen(order) < 2)
		assert_int_equal(loop_turn(loop), 0);
	assert_string_equal(order, "ab");
	assert_int_equal(a.at_us, 0);
}

struct end_of_pipe {
	int fd, other;
	unsigned int called;
};

static void take_both(void *context, uint32_t events)
{
	struct end_of_pipe *p = context;

	p->called++;
	loop_unwatch(loop, p->fd);
	loop_unwatch(loop, p->other); /* which is ready in the same turn */
}

static void test_what_is_unwatched_in_a_callback_is_not_called_any_more(void **state)
{
	struct end_of_pipe p[2];
	int fds[2][2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
	}
	for (int i = 0; i < 2; i++) {
		p[i] = (struct end_of_pipe){ fds[i][0], fds[!i][0], 0 };
		assert_int_equal(loop_watch(loop, fds[i][0], EPOLLIN, take_both, &p[i]), 0);
	}
	assert_int_equal(loop_turn(loop), 0);
	assert_int_equal(p[0].called + p[1].called, 1);
	for (int i = 0; i < 2; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timers_fire_in_the_order_of_their_times, begin, end),
		cmocka_unit_test_setup_teardown(test_what_is_unwatched_in_a_callback_is_not_called_any_more, begin,
						end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
