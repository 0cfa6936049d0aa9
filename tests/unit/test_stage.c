// SPDX-License-Identifier: Apache-2.0
/* What a person is told of where a machine stands: "continuous" above all. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define SECOND 1000000ULL

/* An agent that has just begun: nothing is known, and it may. */
static const struct stage_input nothing = { .now_us = 1, .epoch_us = 500000 };

/* A replica in order, with a point of a second ago. */
static const struct stage_input well = {
	.now_us = 1, .connected = true, .synced = true, .clean = true, .had_point = true, .lag_us = SECOND, .epoch_us = 500000,
};

static struct stage_tracker at(enum stage stage)
{
	return (struct stage_tracker){ .stage = stage };
}

/* All steps that there is reason for, as "a b c"; "" is none. */
static const char *steps(struct stage_tracker *t, const struct stage_input *in)
{
	static char text[400];
	size_t used = 0;

	text[0] = '\0';
	for (int n = 0; stage_step(t, in); n++) {
		assert_true(n < 10); /* it must come to rest */
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "", stage_name(t->stage));
	}
	return text;
}

static void every_stage_has_a_name_and_a_title_of_its_own(void **state)
{
	for (int a = STAGE_INITIATING; a <= STAGE_STALLED; a++) {
		assert_true(strlen(stage_name(a)) > 3 && strlen(stage_title(a)) > 3);
		for (int b = STAGE_INITIATING; b < a; b++) {
			assert_string_not_equal(stage_name(a), stage_name(b));
			assert_string_not_equal(stage_title(a), stage_title(b));
		}
	}
	assert_string_equal(stage_name(STAGE_CONTINUOUS), "continuous");
}

/* --- the way of an initial sync ------------------------------------------------ */

static void an_initial_sync_goes_from_stage_to_stage_as_its_conditions_come_true(void **state)
{
	struct stage_tracker t = { 0 };
	struct stage_input in = nothing;

	assert_string_equal(steps(&t, &in), "");
	assert_int_equal(t.stage, STAGE_INITIATING);
	in.connected = true;
	assert_string_equal(steps(&t, &in), "initial_sync");
	in.synced = true;
	assert_string_equal(steps(&t, &in), "flushing_backlog");
	in.clean = true;
	assert_string_equal(steps(&t, &in), "creating_first_snapshot");
	in.point_sent = true; /* sent is not durable */
	assert_string_equal(steps(&t, &in), "");
	in.had_point = true;
	assert_string_equal(steps(&t, &in), "continuous");
	assert_string_equal(steps(&t, &in), "");
}

static void stages_that_last_no_time_are_passed_one_by_one(void **state)
{
	struct stage_tracker t = { 0 };
	struct stage_input in = nothing;

	assert_string_equal(steps(&t, &in), "");
	in = well;
	assert_string_equal(steps(&t, &in), "initial_sync flushing_backlog creating_first_snapshot continuous");
	t = at(STAGE_INITIAL_SYNC);
	assert_string_equal(steps(&t, &in), "flushing_backlog creating_first_snapshot continuous");
	t = at(STAGE_FLUSHING_BACKLOG);
	assert_string_equal(steps(&t, &in), "creating_first_snapshot continuous");
}

static void each_step_is_one_call(void **state)
{
	struct stage_tracker t = at(STAGE_INITIAL_SYNC);

	for (int s = STAGE_FLUSHING_BACKLOG; s <= STAGE_CONTINUOUS; s++) {
		assert_true(stage_step(&t, &well));
		assert_int_equal(t.stage, s);
	}
	assert_false(stage_step(&t, &well));
}

static void an_agent_that_is_started_again_does_not_tell_of_an_initial_sync(void **state)
{
	struct stage_tracker t = { 0 };
	struct stage_input in = well;

	in.connected = in.clean = false;
	assert_string_equal(steps(&t, &in), "");
	in.connected = true;
	assert_string_equal(steps(&t, &in), "continuous");
}

static void while_the_first_backlog_grows_again_it_is_being_flushed_again(void **state)
{
	struct stage_tracker t = at(STAGE_CREATING_FIRST_SNAPSHOT);
	struct stage_input in = well;

	in.had_point = in.clean = false;
	assert_string_equal(steps(&t, &in), "flushing_backlog");
}

/* --- continuous ------------------------------------------------------------------ */

/* Whatever is true of the rest. */
static bool may_be_continuous(const struct stage_tracker *before, const struct stage_input *in)
{
	if (in->wish != STAGE_WISH_STARTED || !in->had_point || (in->durable_age_us > 60 * SECOND && in->backlog_bytes))
		return false;
	if (!in->connected) /* it stays what it was */
		return before->stage == STAGE_CONTINUOUS && in->lag_us <= 10 * SECOND;
	return in->synced && !in->rescanning && !in->missing && in->lag_us <= 10 * SECOND;
}

static struct stage_input any_input(void)
{
	static const uint64_t ages[] = { 0, SECOND, 10 * SECOND, 10 * SECOND + 1, 60 * SECOND, 60 * SECOND + 1, 3600 * SECOND };
	int r = rand();

	return (struct stage_input){
		.now_us = 7200 * SECOND, .missing = (r & 6144) == 0,
		.wish = r % 8 < 6 ? STAGE_WISH_STARTED : r % 8 == 6 ? STAGE_WISH_PAUSED : STAGE_WISH_STOPPED,
		.connected = r & 8, .synced = r & 16, .clean = r & 32, .rescanning = (r & 192) == 0, .point_sent = r & 256,
		.had_point = r & 512, .lag_us = ages[rand() % 7], .durable_age_us = ages[rand() % 7],
		.backlog_bytes = r & 1024 ? 1 : 0, .epoch_us = 500000,
	};
}

static void continuous_is_never_said_without_a_durable_point_of_this_replica(void **state)
{
	const char *given = getenv("GODWIT_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : (unsigned int)time(NULL), said = 0;
	struct stage_tracker t = { 0 };

	print_message("GODWIT_SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < 200000; i++) {
		struct stage_input in = any_input();
		struct stage_tracker before = t;
		bool may = may_be_continuous(&before, &in);

		t.moved_us = SECOND; /* for long nothing has left */

		for (int n = 0; stage_step(&t, &in); n++) {
			assert_true(n < 10);
			assert_true(t.stage != STAGE_CONTINUOUS || may);
		}
		assert_int_equal(t.stage == STAGE_CONTINUOUS, may);
		said += t.stage == STAGE_CONTINUOUS;
	}
	assert_true(said > 1000);
}

static void a_point_that_was_sent_is_not_durable(void **state)
{
	struct stage_tracker t = at(STAGE_CREATING_FIRST_SNAPSHOT);
	struct stage_input in = well;

	in.had_point = false;
	in.point_sent = true;
	assert_string_equal(steps(&t, &in), "");
}

static void a_store_that_was_lost_begins_a_new_initial_sync(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.had_point = in.synced = in.clean = false;
	assert_string_equal(steps(&t, &in), "initial_sync");
	in.synced = true;
	assert_string_equal(steps(&t, &in), "flushing_backlog");
	/* The old point's successor, of this replica. */
	in.had_point = in.clean = true;
	assert_string_equal(steps(&t, &in), "creating_first_snapshot continuous");
}

/* had_point is of the life before; the disk is being sent anew. */
static void an_old_point_does_not_make_a_new_initial_sync_continuous(void **state)
{
	struct stage_tracker t = { 0 };
	struct stage_input in = well;

	in.synced = false;
	assert_string_equal(steps(&t, &in), "initial_sync");
}

/* --- lagging, stalled --------------------------------------------------------------- */

static void lagging_begins_after_ten_seconds_or_four_epochs_whichever_is_longer(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.lag_us = 10 * SECOND;
	assert_string_equal(steps(&t, &in), "");
	in.lag_us++;
	assert_string_equal(steps(&t, &in), "lagging");
	in.lag_us = SECOND;
	assert_string_equal(steps(&t, &in), "continuous");
	in.epoch_us = 60 * SECOND;
	in.lag_us = 240 * SECOND;
	assert_string_equal(steps(&t, &in), "");
	in.lag_us++;
	assert_string_equal(steps(&t, &in), "lagging");
}

static void a_first_point_that_is_old_already_is_lagging_and_never_continuous(void **state)
{
	struct stage_tracker t = at(STAGE_CREATING_FIRST_SNAPSHOT);
	struct stage_input in = well;

	in.lag_us = 3600 * SECOND;
	assert_string_equal(steps(&t, &in), "lagging");
}

static void stalled_is_a_minute_without_an_answer_while_there_is_something_to_send(void **state)
{
	const enum stage from[] = { STAGE_INITIAL_SYNC, STAGE_FLUSHING_BACKLOG, STAGE_CREATING_FIRST_SNAPSHOT,
				    STAGE_CONTINUOUS, STAGE_LAGGING, STAGE_RESCAN };

	for (size_t i = 0; i < ARRAY_LEN(from); i++) {
		struct stage_tracker t = at(from[i]);
		struct stage_input in = well;

		in.now_us = t.moved_us = 1000 * SECOND;
		t.drained = in.drained_bytes = 7;
		in.now_us += 60 * SECOND + 1;
		in.durable_age_us = 60 * SECOND + 1;
		in.rescanning = from[i] == STAGE_RESCAN;
		in.backlog_bytes = 1;
		assert_string_equal(steps(&t, &in), "stalled");
		in.durable_age_us = 60 * SECOND;
		(void)steps(&t, &in);
		assert_int_not_equal(t.stage, STAGE_STALLED);
		in.durable_age_us = 3600 * SECOND;
		in.backlog_bytes = 0;
		(void)steps(&t, &in);
		assert_int_not_equal(t.stage, STAGE_STALLED);
	}
}

/* --- rescan, pause, stop, disconnection ----------------------------------------------- */

static void what_leaves_slowly_is_not_stalled(void **state)
{
	struct stage_tracker t = at(STAGE_INITIAL_SYNC);
	struct stage_input in = well;

	in.synced = false;
	in.backlog_bytes = 1000;
	for (unsigned int second = 1; second <= 300; second++) {
		in.now_us = in.durable_age_us = second * SECOND;
		in.drained_bytes = second / 50;
		assert_string_equal(steps(&t, &in), "");
	}
	in.now_us = in.durable_age_us = 361 * SECOND;
	assert_string_equal(steps(&t, &in), "stalled");
	in.drained_bytes++;
	assert_string_equal(steps(&t, &in), "initial_sync");
}

static void a_server_that_is_away_for_a_minute_is_stalled_and_not_lagging(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.backlog_bytes = 10 * MIB;
	for (unsigned int second = 1; second <= 76; second++) {
		in.now_us = in.durable_age_us = in.lag_us = second * SECOND;
		in.connected = second < 2;
		(void)steps(&t, &in);
		assert_int_equal(t.stage, second <= 10 ? STAGE_CONTINUOUS : second <= 61 ? STAGE_LAGGING : STAGE_STALLED);
	}
	/* Nothing waits to be sent: it lags, and no more can be said. */
	in.backlog_bytes = 0;
	t = at(STAGE_LAGGING);
	assert_string_equal(steps(&t, &in), "");
}

static void one_who_is_never_let_in_is_stalled_after_a_minute_and_goes_on_when_he_is(void **state)
{
	struct stage_tracker t = { 0 };
	struct stage_input in = nothing;

	in.backlog_bytes = GIB;
	for (unsigned int second = 1000; second <= 1060; second++) { /* of the machine's life: the agent begins now */
		in.now_us = in.durable_age_us = second * SECOND;
		assert_string_equal(steps(&t, &in), "");
	}
	in.now_us = in.durable_age_us = 1061 * SECOND;
	assert_string_equal(steps(&t, &in), "stalled");
	in.connected = true;
	in.durable_age_us = 0;
	assert_string_equal(steps(&t, &in), "initial_sync");
}

static void what_was_paused_for_long_has_its_minute_after_that(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.backlog_bytes = GIB;
	in.connected = false;
	in.wish = STAGE_WISH_PAUSED;
	in.now_us = in.durable_age_us = 3600 * SECOND;
	assert_string_equal(steps(&t, &in), "paused");
	in.wish = STAGE_WISH_STARTED;
	in.now_us += 60 * SECOND;
	assert_string_equal(steps(&t, &in), "initiating");
	in.now_us += 1 * SECOND;
	assert_string_equal(steps(&t, &in), "stalled");
}

static void with_a_disk_missing_nothing_is_called_continuous(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.missing = true;
	assert_string_equal(steps(&t, &in), "stalled");
	in.missing = false;
	assert_string_equal(steps(&t, &in), "continuous");
	t = at(STAGE_CREATING_FIRST_SNAPSHOT);
	in.missing = true;
	assert_string_equal(steps(&t, &in), "stalled");
}

static void a_rescan_is_told_of_and_ends_where_it_began(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.rescanning = true;
	in.clean = false;
	assert_string_equal(steps(&t, &in), "rescan");
	in.rescanning = false;
	assert_string_equal(steps(&t, &in), "continuous");
}

static void a_rescan_before_the_first_point_is_no_initial_sync_but_no_protection_either(void **state)
{
	struct stage_tracker t = at(STAGE_FLUSHING_BACKLOG);
	struct stage_input in = well;

	in.had_point = in.clean = false;
	in.rescanning = true;
	assert_string_equal(steps(&t, &in), "rescan");
	in.rescanning = false;
	assert_string_equal(steps(&t, &in), "flushing_backlog");
	/* Not synced counts for more: all of it must travel. */
	in.rescanning = true;
	in.synced = false;
	assert_string_equal(steps(&t, &in), "initial_sync");
}

static void paused_and_stopped_count_for_more_than_everything_else(void **state)
{
	struct stage_input in = well;

	for (int connected = 0; connected < 2; connected++) {
		for (int s = STAGE_INITIATING; s <= STAGE_STALLED; s++) {
			struct stage_tracker t = at(s);

			in.connected = connected;
			in.rescanning = true;
			in.durable_age_us = 3600 * SECOND;
			in.backlog_bytes = 1;
			in.wish = STAGE_WISH_PAUSED;
			(void)steps(&t, &in);
			assert_int_equal(t.stage, STAGE_PAUSED);
			in.wish = STAGE_WISH_STOPPED;
			(void)steps(&t, &in);
			assert_int_equal(t.stage, STAGE_STOPPED);
		}
	}
}

static void what_was_paused_is_not_paused_any_more_as_soon_as_it_is_resumed(void **state)
{
	const enum stage_wish wishes[] = { STAGE_WISH_PAUSED, STAGE_WISH_STOPPED };

	for (size_t i = 0; i < 2; i++) {
		struct stage_tracker t = { 0 };
		struct stage_input in = nothing;

		(void)steps(&t, &in);
		in = well;
		(void)steps(&t, &in);
		assert_int_equal(t.stage, STAGE_CONTINUOUS);
		in.wish = wishes[i];
		in.connected = false;
		(void)steps(&t, &in);
		in.wish = STAGE_WISH_STARTED;
		assert_string_equal(steps(&t, &in), "initiating");
		in.connected = true;
		assert_string_equal(steps(&t, &in), "continuous");
	}
}

static void resumed_before_its_first_point_it_goes_on_where_it_was(void **state)
{
	struct stage_tracker t = at(STAGE_FLUSHING_BACKLOG);
	struct stage_input in = well;

	in.had_point = in.clean = false;
	in.wish = STAGE_WISH_PAUSED;
	assert_string_equal(steps(&t, &in), "paused");
	in.wish = STAGE_WISH_STARTED;
	assert_string_equal(steps(&t, &in), "flushing_backlog");
	in.had_point = in.clean = true;
	assert_string_equal(steps(&t, &in), "creating_first_snapshot continuous");
}

static void a_link_that_is_cut_for_a_moment_changes_nothing_and_then_it_lags(void **state)
{
	struct stage_tracker t = at(STAGE_CONTINUOUS);
	struct stage_input in = well;

	in.connected = false;
	assert_string_equal(steps(&t, &in), "");
	in.lag_us = 10 * SECOND + 1;
	assert_string_equal(steps(&t, &in), "lagging");
	/* No point is younger because the clock was set back. */
	in.lag_us = 0;
	assert_string_equal(steps(&t, &in), "");
}

static void a_link_that_is_cut_before_the_first_point_is_tried_anew(void **state)
{
	for (int s = STAGE_INITIAL_SYNC; s <= STAGE_CREATING_FIRST_SNAPSHOT; s++) {
		struct stage_tracker t = at(s);

		assert_string_equal(steps(&t, &nothing), "initiating");
	}
}

/* --- the forecast ------------------------------------------------------------------------ */

/* One second after another: so much written, so much drained. */
struct course {
	struct stage_tracker t;
	struct stage_input in;
	struct stage_forecast f;
};

static struct course course_begin(uint64_t backlog)
{
	struct course c = { .in = well };

	c.in.backlog_bytes = backlog;
	c.f = stage_sample(&c.t, &c.in);
	return c;
}

static void course_go(struct course *c, unsigned int seconds, uint64_t written, uint64_t drained, unsigned int ratio_percent)
{
	while (seconds--) {
		drained = MIN(drained, c->in.backlog_bytes + written);
		c->in.now_us += SECOND;
		c->in.backlog_bytes += written - drained;
		c->in.drained_bytes += drained;
		c->in.payload_bytes += drained;
		c->in.stored_bytes += drained * ratio_percent / 100;
		c->f = stage_sample(&c->t, &c->in);
	}
}

static void nothing_is_foretold_from_one_look(void **state)
{
	struct course c = course_begin(100 * MIB);

	assert_int_equal(c.f.converges, -1);
	assert_true(c.f.eta_seconds < 0);
	assert_int_equal(c.f.needed_mbit, 0);
	assert_false(c.f.throttle_too_low);
}

static void a_small_backlog_is_none(void **state)
{
	struct course c = course_begin(16 * MIB - 1);

	course_go(&c, 2, 0, 0, 100);
	assert_int_equal(c.f.converges, 1);
	assert_true(c.f.eta_seconds == 0);
	c.in.backlog_bytes++;
	course_go(&c, 1, 0, 0, 100);
	assert_int_equal(c.f.converges, -1);
	c.in.backlog_bytes--;
	c.in.connected = false; /* who knows */
	course_go(&c, 1, 0, 0, 100);
	assert_int_equal(c.f.converges, -1);
	assert_true(c.f.eta_seconds < 0);
}

static void a_backlog_that_shrinks_has_an_end_that_can_be_told(void **state)
{
	struct course c = course_begin(1000 * MIB);

	course_go(&c, 30, 10 * MIB, 20 * MIB, 100);
	assert_int_equal(c.f.converges, 1);
	assert_float_equal(c.f.eta_seconds, 70, 0.5);
	assert_float_equal(c.f.write_rate, 10.0 * MIB, 1000);
	assert_float_equal(c.f.drain_rate, 20.0 * MIB, 1000);
	/* 10 MiB/s are 83.9 Mbit/s; a tenth more, rounded up. */
	assert_int_equal(c.f.needed_mbit, 93);
}

static void what_compresses_to_half_needs_half_the_link(void **state)
{
	struct course c = course_begin(1000 * MIB);

	course_go(&c, 30, 10 * MIB, 20 * MIB, 50);
	assert_int_equal(c.f.needed_mbit, 47);
}

static void a_backlog_that_grows_on_a_busy_link_does_not_converge(void **state)
{
	struct course c = course_begin(100 * MIB);

	c.in.blocked_percent = 30;
	c.in.throttled_percent = 60; /* there was one a moment ago */
	course_go(&c, 19, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.f.converges, -1); /* not long enough to say so */
	course_go(&c, 2, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.f.converges, 0);
	assert_true(c.f.eta_seconds < 0);
	assert_false(c.f.throttle_too_low); /* there is none */
	assert_int_equal(c.f.needed_mbit, 185);
}

static void a_backlog_that_grows_for_a_moment_is_no_verdict(void **state)
{
	struct course c = course_begin(100 * MIB);

	c.in.blocked_percent = 10; /* the link has room: the disk is slow, say */
	course_go(&c, 40, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.f.converges, -1);
	c.in.blocked_percent = 90;
	course_go(&c, 40, 10 * MIB, 20 * MIB, 100); /* and now it shrinks */
	assert_int_equal(c.f.converges, 1);
}

/* A hundredth in twenty seconds is no way to get there. */
static void a_backlog_that_shrinks_a_little_does_not_converge(void **state)
{
	struct course c = course_begin(10000 * MIB);

	c.in.blocked_percent = 90;
	course_go(&c, 30, 10 * MIB, 14 * MIB, 100);
	assert_int_equal(c.f.converges, 0);
	course_go(&c, 30, 10 * MIB, 25 * MIB, 100);
	assert_int_equal(c.f.converges, 1);
}

static void a_throttle_below_what_is_written_is_named_as_the_cause(void **state)
{
	struct course c = course_begin(100 * MIB);

	c.in.throttle_mbit = 80;
	c.in.throttled_percent = 95;
	course_go(&c, 30, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.f.converges, 0);
	assert_true(c.f.throttle_too_low);
	assert_true(c.f.needed_mbit > c.in.throttle_mbit);
	/* The link is slower than the throttle: that is not the cause. */
	c.in.throttled_percent = 5;
	c.in.blocked_percent = 90;
	course_go(&c, 30, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.f.converges, 0);
	assert_false(c.f.throttle_too_low);
}

static void the_forecast_looks_at_the_last_seconds_only_however_long_it_ran(void **state)
{
	struct course c = course_begin(100 * MIB);

	c.in.blocked_percent = 90;
	course_go(&c, 3 * STAGE_WINDOW, 20 * MIB, 10 * MIB, 100);
	assert_int_equal(c.t.count, STAGE_WINDOW);
	assert_int_equal(c.f.converges, 0);
	course_go(&c, 21, 0, 100 * MIB, 100);
	assert_int_equal(c.f.converges, 1);
	assert_true(c.f.write_rate < 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_stage_has_a_name_and_a_title_of_its_own),
		cmocka_unit_test(an_initial_sync_goes_from_stage_to_stage_as_its_conditions_come_true),
		cmocka_unit_test(stages_that_last_no_time_are_passed_one_by_one),
		cmocka_unit_test(each_step_is_one_call),
		cmocka_unit_test(an_agent_that_is_started_again_does_not_tell_of_an_initial_sync),
		cmocka_unit_test(while_the_first_backlog_grows_again_it_is_being_flushed_again),
		cmocka_unit_test(continuous_is_never_said_without_a_durable_point_of_this_replica),
		cmocka_unit_test(a_point_that_was_sent_is_not_durable),
		cmocka_unit_test(a_store_that_was_lost_begins_a_new_initial_sync),
		cmocka_unit_test(an_old_point_does_not_make_a_new_initial_sync_continuous),
		cmocka_unit_test(lagging_begins_after_ten_seconds_or_four_epochs_whichever_is_longer),
		cmocka_unit_test(a_first_point_that_is_old_already_is_lagging_and_never_continuous),
		cmocka_unit_test(stalled_is_a_minute_without_an_answer_while_there_is_something_to_send),
		cmocka_unit_test(what_leaves_slowly_is_not_stalled),
		cmocka_unit_test(a_server_that_is_away_for_a_minute_is_stalled_and_not_lagging),
		cmocka_unit_test(one_who_is_never_let_in_is_stalled_after_a_minute_and_goes_on_when_he_is),
		cmocka_unit_test(what_was_paused_for_long_has_its_minute_after_that),
		cmocka_unit_test(with_a_disk_missing_nothing_is_called_continuous),
		cmocka_unit_test(a_rescan_is_told_of_and_ends_where_it_began),
		cmocka_unit_test(a_rescan_before_the_first_point_is_no_initial_sync_but_no_protection_either),
		cmocka_unit_test(paused_and_stopped_count_for_more_than_everything_else),
		cmocka_unit_test(what_was_paused_is_not_paused_any_more_as_soon_as_it_is_resumed),
		cmocka_unit_test(resumed_before_its_first_point_it_goes_on_where_it_was),
		cmocka_unit_test(a_link_that_is_cut_for_a_moment_changes_nothing_and_then_it_lags),
		cmocka_unit_test(a_link_that_is_cut_before_the_first_point_is_tried_anew),
		cmocka_unit_test(nothing_is_foretold_from_one_look),
		cmocka_unit_test(a_small_backlog_is_none),
		cmocka_unit_test(a_backlog_that_shrinks_has_an_end_that_can_be_told),
		cmocka_unit_test(what_compresses_to_half_needs_half_the_link),
		cmocka_unit_test(a_backlog_that_grows_on_a_busy_link_does_not_converge),
		cmocka_unit_test(a_backlog_that_grows_for_a_moment_is_no_verdict),
		cmocka_unit_test(a_backlog_that_shrinks_a_little_does_not_converge),
		cmocka_unit_test(a_throttle_below_what_is_written_is_named_as_the_cause),
		cmocka_unit_test(the_forecast_looks_at_the_last_seconds_only_however_long_it_ran),
	};

	return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
