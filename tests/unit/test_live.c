/* SPDX-License-Identifier: Apache-2.0 */
#include "live.h"
#include "wallclock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define SOON (monotonic_now_us() + 20 * USEC_PER_SEC)
#define AGENT "11111111-1111-4111-8111-111111111111"

static json_t *command(const char *id)
{
	return json_pack("{s:s, s:s}", "id", id, "verb", "x");
}

static struct live *with_agent(void)
{
	struct live *l = live_new();

	live_seen(l, LIVE_AGENT, AGENT);
	return l;
}

static size_t poll_count(struct live *l, bool fresh)
{
	struct live_poll p;
	json_t *list;
	size_t n;

	live_poll_begin(l, AGENT, fresh, &p);
	list = live_poll_commands(l, AGENT, &p);
	n = json_array_size(list);
	json_decref(list);
	return n;
}

static void test_a_peer_is_connected_when_it_was_heard(void **state)
{
	struct live *l = live_new();
	struct live_view v;

	assert_false(live_connected(l, AGENT));
	live_load(l, LIVE_AGENT, AGENT, false, 77, NULL);
	assert_false(live_connected(l, AGENT));
	live_seen(l, LIVE_AGENT, AGENT);
	assert_true(live_connected(l, AGENT));
	v = live_view(l, AGENT);
	assert_true(v.seen_us > 77);
	live_view_done(&v);
	live_forget(l, AGENT);
	assert_false(live_connected(l, AGENT));
	live_free(l);
}

static void test_once_a_peer_has_told_its_status_its_polls_are_no_sign_of_life(void **state)
{
	struct live *l = with_agent();
	struct live_view v;
	uint64_t seen_us;

	live_set_status(l, AGENT, json_object(), NULL);
	v = live_view(l, AGENT);
	seen_us = v.seen_us;
	assert_true(v.connected);
	live_view_done(&v);
	while (wallclock_now_us() <= seen_us)
		;
	live_seen(l, LIVE_AGENT, AGENT);
	v = live_view(l, AGENT);
	assert_true(v.seen_us == seen_us);
	live_view_done(&v);
	live_set_status(l, AGENT, json_object(), NULL);
	v = live_view(l, AGENT);
	assert_true(v.seen_us > seen_us);
	live_view_done(&v);
	live_free(l);
}

static void test_a_peer_known_from_before_is_there_again_with_its_status(void **state)
{
	struct live *l = live_new();

	live_load(l, LIVE_AGENT, AGENT, false, 77, json_object());
	live_seen(l, LIVE_AGENT, AGENT);
	assert_false(live_connected(l, AGENT));
	live_set_status(l, AGENT, json_object(), NULL);
	assert_true(live_connected(l, AGENT));
	live_free(l);
}

static void test_a_status_stays_while_it_is_looked_at(void **state)
{
	struct live *l = with_agent();
	struct live_view v;

	live_set_status(l, AGENT, json_pack("{s:i}", "n", 1), NULL);
	v = live_view(l, AGENT);
	live_set_status(l, AGENT, json_pack("{s:i}", "n", 2), NULL);
	assert_int_equal(json_integer_value(json_object_get(v.status, "n")), 1);
	live_view_done(&v);
	v = live_view(l, AGENT);
	assert_int_equal(json_integer_value(json_object_get(v.status, "n")), 2);
	live_view_done(&v);
	live_free(l);
}

static void test_coming_and_going_is_news_once(void **state)
{
	struct live *l = with_agent();
	struct live_news *news;

	assert_int_equal(live_take_news(l, false, &news), 1);
	assert_true(news[0].connected && news[0].changed);
	live_news_free(news, 1);
	assert_int_equal(live_take_news(l, false, &news), 0);
	live_news_free(news, 0);
	live_set_status(l, AGENT, json_object(), NULL);
	assert_int_equal(live_take_news(l, false, &news), 0);
	live_news_free(news, 0);
	assert_int_equal(live_take_news(l, true, &news), 1);
	assert_false(news[0].changed);
	live_news_free(news, 1);
	assert_int_equal(live_take_news(l, true, &news), 0);
	live_news_free(news, 0);
	live_free(l);
}

static void test_a_command_is_handed_out_once_until_the_peer_begins_anew(void **state)
{
	struct live *l = with_agent();
	json_t *c = NULL;
	bool kept = false;

	live_command(l, AGENT, command("c1"), true);
	assert_int_equal(poll_count(l, false), 1);
	assert_int_equal(poll_count(l, false), 0);
	assert_int_equal(poll_count(l, true), 1);
	assert_false(live_wait_answered(l, AGENT, "c1", monotonic_now_us()));
	assert_int_equal(live_reply(l, AGENT, "c1", json_object(), NULL, &kept, &c), 0);
	assert_true(kept);
	json_decref(c);
	assert_false(live_wait_answered(l, AGENT, "c1", monotonic_now_us()));
	live_withdraw(l, AGENT, "c1"); /* it is written down */
	assert_true(live_wait_answered(l, AGENT, "c1", monotonic_now_us()));
	assert_int_equal(live_reply(l, AGENT, "c1", json_object(), NULL, &kept, &c), -ENOENT);
	assert_int_equal(poll_count(l, true), 0);
	live_free(l);
}

static void test_an_ended_poll_gets_no_commands(void **state)
{
	struct live *l = with_agent();
	struct live_poll first, second;
	json_t *list;

	live_poll_begin(l, AGENT, true, &first);
	live_poll_begin(l, AGENT, false, &second);
	live_command(l, AGENT, command("c1"), true);
	list = live_poll_commands(l, AGENT, &first);
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	assert_false(live_poll_wait(l, AGENT, &first, SOON));
	list = live_poll_commands(l, AGENT, &second);
	assert_int_equal(json_array_size(list), 1);
	json_decref(list);
	live_free(l);
}

static void *answer_all(void *arg)
{
	struct live *l = arg;
	struct live_poll p;

	live_poll_begin(l, AGENT, true, &p);
	for (int answered = 0; answered < 40;) {
		json_t *list = live_poll_commands(l, AGENT, &p), *c, *was = NULL;
		struct fault f;
		bool kept;
		size_t i;

		fault_set(&f, 0, MSG_NOT_ROOT, NULL);
		json_array_foreach(list, i, c) {
			const char *id = json_string_value(json_object_get(c, "id"));

			assert_int_equal(live_reply(l, AGENT, id, json_pack("{s:s}", "id", id),
						    id[0] == 'f' ? &f : NULL, &kept, &was),
					 0);
			json_decref(was);
			answered++;
		}
		json_decref(list);
		live_poll_wait(l, AGENT, &p, SOON);
	}
	return NULL;
}

struct asker {
	struct live *l;
	unsigned int number;
};

static void *ask(void *arg)
{
	struct asker *a = arg;

	for (int i = 0; i < 10; i++) {
		json_t *result = NULL;
		struct fault f;
		char id[32];
		int err;

		snprintf(id, sizeof(id), "%c%u-%d", i % 2 ? 'f' : 'c', a->number, i);
		err = live_call(a->l, AGENT, command(id), SOON, &result, &f);
		if (i % 2) {
			assert_int_equal(err, -EREMOTEIO);
			assert_int_equal(f.code, MSG_NOT_ROOT);
		} else {
			assert_int_equal(err, 0);
			assert_string_equal(json_string_value(json_object_get(result, "id")), id);
		}
		json_decref(result);
	}
	return NULL;
}

static void test_every_caller_gets_his_own_answer(void **state)
{
	struct live *l = with_agent();
	struct asker askers[4];
	pthread_t threads[5];

	assert_int_equal(pthread_create(&threads[4], NULL, answer_all, l), 0);
	for (unsigned int i = 0; i < 4; i++) {
		askers[i] = (struct asker){ l, i };
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
	}
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	live_free(l);
}

static void test_a_call_that_nobody_answers_times_out_and_is_not_handed_out_later(void **state)
{
	struct live *l = with_agent();
	json_t *result = NULL, *c = NULL;
	struct fault f;
	bool kept;

	assert_int_equal(live_call(l, AGENT, command("c1"), monotonic_now_us() + 1000, &result, &f), -ETIMEDOUT);
	assert_int_equal(poll_count(l, true), 0);
	assert_int_equal(live_reply(l, AGENT, "c1", json_object(), NULL, &kept, &c), -ENOENT);
	live_free(l);
}

static void *wait_for_the_end(void *arg)
{
	struct live *l = arg;
	struct live_poll p;
	json_t *result = NULL;
	struct fault f;

	live_poll_begin(l, AGENT, true, &p);
	live_poll_wait(l, AGENT, &p, SOON);
	live_wait(l, LIVE_EVENTS, live_ticket(l, LIVE_EVENTS), SOON);
	assert_int_equal(live_call(l, AGENT, command("c1"), SOON, &result, &f), -ESHUTDOWN);
	return NULL;
}

static void test_nobody_waits_any_more_when_the_console_stops(void **state)
{
	struct live *l = with_agent();
	uint64_t began = monotonic_now_us();
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_for_the_end, l), 0);
	live_stop(l);
	pthread_join(thread, NULL);
	assert_true(monotonic_now_us() - began < 10 * USEC_PER_SEC);
	live_free(l);
}

static void test_events_have_room_for_a_burst_and_no_more(void **state)
{
	struct live *l = with_agent();

	assert_true(live_take_events(l, AGENT, LIVE_EVENTS_BURST + 50));
	assert_false(live_take_events(l, AGENT, 1));
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_peer_is_connected_when_it_was_heard),
		cmocka_unit_test(test_once_a_peer_has_told_its_status_its_polls_are_no_sign_of_life),
		cmocka_unit_test(test_a_peer_known_from_before_is_there_again_with_its_status),
		cmocka_unit_test(test_a_status_stays_while_it_is_looked_at),
		cmocka_unit_test(test_coming_and_going_is_news_once),
		cmocka_unit_test(test_a_command_is_handed_out_once_until_the_peer_begins_anew),
		cmocka_unit_test(test_an_ended_poll_gets_no_commands),
		cmocka_unit_test(test_every_caller_gets_his_own_answer),
		cmocka_unit_test(test_a_call_that_nobody_answers_times_out_and_is_not_handed_out_later),
		cmocka_unit_test(test_nobody_waits_any_more_when_the_console_stops),
		cmocka_unit_test(test_events_have_room_for_a_burst_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
