// SPDX-License-Identifier: Apache-2.0
/* The engine, step by step: reads end, answers come and time goes on when the test says so. */
#include "engine-private.h"
#include "plain_tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#define SECOND	 1000000ULL
#define HOUR	 (3600 * (int64_t)SECOND)
#define EPOCH_US 500000u
#define HASHES	 64u
#define COMMITS	 64u

static struct world {
	struct tracker *tracker;
	struct engine_memory memory;
	struct engine *engine;
	uint64_t now_us;
	struct {
		bool busy;
		uint64_t offset;
		uint32_t length;
		uint8_t *buffer;
	} reads[ENGINE_READS_MAX];
	/* what the server was sent and did not answer */
	struct wire_hash hashes[HASHES];
	unsigned int hash_count;
	struct wire_commit commits[COMMITS]; /* the last ones */
	unsigned int commit_count;
	uint64_t durable;
	struct wire_commit point;	     /* the newest that is durable */
	unsigned int point_count, labelled;
} w;

static int on_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot)
{
	assert_false(w.reads[slot].busy);
	if (w.engine->disks[disk].missing)
		return -ENODEV;
	w.reads[slot].busy = true;
	w.reads[slot].offset = offset;
	w.reads[slot].length = length;
	w.reads[slot].buffer = buffer;
	memcpy(buffer, plain_tracker_disk(w.tracker) + offset, length);
	return 0;
}

static uint64_t on_now(void *context)
{
	return w.now_us;
}

static uint64_t on_boot(void *context)
{
	return w.now_us;
}

static void on_event(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text)
{
}

static void on_durable(void *context, const struct wire_commit *commit, const struct wire_durable *answer)
{
	if (!(commit->flags & WIRE_COMMIT_POINT))
		return;
	assert_true(commit->time_us > w.point.time_us);
	w.point = *commit;
	w.point_count++;
	w.labelled += commit->flags & WIRE_COMMIT_LABELLED ? 1 : 0;
}

static uint64_t on_size(void *context, uint16_t disk)
{
	return PLAIN_BYTES;
}

static const struct engine_ops ops = { .read = on_read, .size = on_size, .boot_us = on_boot, .now_us = on_now,
				       .event = on_event, .durable = on_durable };

static void welcome(uint64_t durable)
{
	const struct uuid machine = { { 1 } };
	const struct wire_welcome m = { .version = 1, .durable_epoch = durable };

	engine_greet(w.engine, &machine, 1);
	outbox_take(engine_outbox(w.engine), outbox_waiting(engine_outbox(w.engine)));
	engine_connected(w.engine, &m);
	w.durable = durable;
	w.hash_count = w.commit_count = 0;
}

static int begin_engine(uint64_t durable)
{
	struct engine_options o = { .memory = &w.memory, .ops = &ops, .read_bytes = CHUNK_BYTES, .reads = 4,
				    .epoch_us = EPOCH_US, .idle_us = EPOCH_US, .hash_seed = 7 };
	struct engine_disk_options d = { .sector_bytes = 512, .id = { { 1 } }, .name = "/dev/a" };

	o.tracker = w.tracker;
	if (engine_new(&o, &w.engine) || engine_add_disk(w.engine, &d))
		return -1;
	welcome(durable);
	return 0;
}

static int begin(void **state)
{
	w = (struct world){ .tracker = plain_tracker_new(MIB), .now_us = 3600 * SECOND };
	return begin_engine(1); /* a store that has something: it is compared */
}

static int end(void **state)
{
	engine_free(w.engine);
	plain_tracker_free(w.tracker);
	return 0;
}

/* --- what the engine says ---------------------------------------------------- */

static void take_frame(uint16_t type, const uint8_t *body, uint32_t length)
{
	if (type == WIRE_HASH) {
		assert_true(w.hash_count < HASHES);
		assert_int_equal(wire_parse_hash(body, length, &w.hashes[w.hash_count++]), 0);
	} else if (type == WIRE_COMMIT) {
		assert_true(w.commit_count < COMMITS);
		assert_int_equal(wire_parse_commit(body, length, &w.commits[w.commit_count++]), 0);
	}
}

static uint64_t run(void)
{
	struct outbox *o = engine_outbox(w.engine);
	uint64_t deadline = engine_run(w.engine);

	while (outbox_waiting(o)) {
		struct wire_frame f;

		assert_int_equal(wire_parse_frame(outbox_first(o), &f), 0);
		take_frame(f.type, outbox_first(o) + WIRE_HEADER_BYTES, f.length);
		outbox_take(o, WIRE_HEADER_BYTES + f.length);
	}
	return deadline;
}

/* --- what the world does ------------------------------------------------------ */

static unsigned int count_reads(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ENGINE_READS_MAX; i++)
		n += w.reads[i].busy;
	return n;
}

static void end_reads_with(int error)
{
	for (unsigned int i = 0; i < ENGINE_READS_MAX; i++) {
		if (!w.reads[i].busy)
			continue;
		w.reads[i].busy = false;
		engine_read_done(w.engine, i, error);
	}
}

/* They have seen the disk as it was when they began. */
static void end_reads(void)
{
	end_reads_with(0);
}

static void fail_reads(void)
{
	end_reads_with(-EIO);
}

static void answer_hashes(bool differs)
{
	for (unsigned int i = 0; i < w.hash_count; i++) {
		const struct wire_hash *h = &w.hashes[i];
		struct wire_differ m = { h->disk, differs, h->offset_bytes, h->length_bytes };
		uint8_t frame[WIRE_HEADER_BYTES + 64];
		size_t n = wire_put_differ(frame, &m);

		assert_int_equal(engine_frame(w.engine, WIRE_DIFFER, frame + WIRE_HEADER_BYTES, (uint32_t)n - WIRE_HEADER_BYTES), 0);
	}
	w.hash_count = 0;
}

static void answer_commits(void)
{
	struct wire_durable m = { .epoch = w.durable };
	uint8_t frame[WIRE_HEADER_BYTES + 64];
	size_t n;

	if (!w.commit_count)
		return;
	m.epoch = w.durable = w.commits[w.commit_count - 1].epoch;
	w.commit_count = 0;
	n = wire_put_durable(frame, &m);
	assert_int_equal(engine_frame(w.engine, WIRE_DURABLE, frame + WIRE_HEADER_BYTES, (uint32_t)n - WIRE_HEADER_BYTES), 0);
}

static struct engine_disk_figures figures(void)
{
	struct engine_disk_figures f;

	assert_int_equal(engine_disk_figures(w.engine, 0, &f), 0);
	return f;
}

/* For so long all goes well. */
static void go_on(uint64_t seconds)
{
	for (uint64_t until = w.now_us + seconds * SECOND; w.now_us < until; w.now_us += 10000) {
		run();
		end_reads();
		run();
		answer_hashes(false);
		answer_commits();
	}
}

/* --- a rescan ------------------------------------------------------------------ */

static void a_write_nobody_saw_after_a_chunk_was_asked_about_keeps_it_in_doubt_whatever_the_answer(void **state)
{
	run();
	end_reads();
	run();
	end_reads();
	run();
	assert_int_equal(w.hash_count, 3);
	plain_tracker_write_unseen(w.tracker, 8, 8, 1);
	w.now_us += 2 * EPOCH_US;
	run(); /* it looks, and finds the disk suspect */
	assert_int_equal(tracker_suspect(w.tracker, 0, &(const char *){ NULL }), 0);
	answer_hashes(false); /* as of before */
	assert_int_equal(figures().hash_bytes, PLAIN_BYTES);
	w.now_us += EPOCH_US;
	run();
	assert_int_not_equal(count_reads(), 0);
	end_reads();
	run();
	end_reads();
	run();
	assert_int_equal(w.hash_count, 3);
	answer_hashes(false);
	assert_int_equal(figures().hash_bytes, 0);
}

static void a_write_nobody_saw_while_a_chunk_is_read_has_it_read_once_more(void **state)
{
	run();
	assert_int_not_equal(count_reads(), 0);
	plain_tracker_write_unseen(w.tracker, 8, 8, 1);
	w.now_us += 2 * EPOCH_US;
	run();
	end_reads(); /* with what was there before */
	run();
	for (unsigned int i = 0; i < w.hash_count; i++)
		assert_int_not_equal(w.hashes[i].offset_bytes, 0);
	assert_int_not_equal(figures().pending_bytes, 0);
}

/* --- a verify -------------------------------------------------------------------- */

static struct engine_verify verify_figures(void)
{
	struct engine_verify v;

	engine_verify_status(w.engine, &v);
	return v;
}

static void a_verify_of_a_disk_that_goes_missing_ends_and_says_what_was_not_compared(void **state)
{
	go_on(5);
	assert_int_equal(engine_verify(w.engine), 0);
	run();
	end_reads();
	run();
	assert_int_equal(w.hash_count, 2);
	answer_hashes(true); /* a doubt of each, to be looked at again; the third is being read */
	engine_disk_missing(w.engine, 0, true);
	go_on(5);
	assert_false(verify_figures().running);
	assert_int_equal(verify_figures().unsettled_bytes, 2 * CHUNK_BYTES);
	assert_int_equal(verify_figures().checked_bytes, PLAIN_BYTES);
	assert_int_equal(verify_figures().differing_bytes, 0);

	assert_int_equal(engine_verify(w.engine), 0); /* it is away from the beginning */
	go_on(5);
	assert_false(verify_figures().running);
	assert_int_equal(verify_figures().unsettled_bytes, PLAIN_BYTES);

	engine_disk_missing(w.engine, 0, false);
	assert_int_equal(engine_verify(w.engine), 0);
	go_on(5);
	assert_false(verify_figures().running);
	assert_int_equal(verify_figures().unsettled_bytes, 0);
	assert_int_equal(verify_figures().checked_bytes, PLAIN_BYTES);
}

/* --- when it wants to be called again ------------------------------------------------ */

/* How often in a second in which no read ends. */
static unsigned int calls_in_a_second(void)
{
	uint64_t until = w.now_us + SECOND, next;
	unsigned int calls = 0;

	while (w.now_us < until) {
		next = run();
		answer_commits();
		w.now_us = MAX(MIN(next, until), w.now_us + 1);
		calls++;
	}
	return calls;
}

static void what_was_discarded_waits_for_a_pass_without_a_busy_loop(void **state)
{
	plain_tracker_discard(w.tracker, 0, 8);
	go_on(5);
	assert_int_equal(figures().leisure_bytes, 0);
	plain_tracker_discard(w.tracker, 0, 8);
	plain_tracker_write(w.tracker, 200, 8, 1, false);
	run();
	w.now_us += SECOND;
	run();
	assert_int_not_equal(count_reads(), 0);
	assert_int_not_equal(figures().leisure_bytes, 0);
	assert_in_range(calls_in_a_second(), 1, 300);
	go_on(5);
	assert_int_equal(figures().leisure_bytes, 0);
}

static void a_read_at_leisure_that_takes_long_is_waited_for_without_a_busy_loop(void **state)
{
	go_on(5);
	plain_tracker_discard(w.tracker, 0, 8);
	run();
	w.now_us += 10000;
	run();
	assert_int_equal(count_reads(), 1);
	assert_in_range(calls_in_a_second(), 1, 300);
}

static void a_bad_sector_that_takes_long_to_fail_again_is_waited_for_without_a_busy_loop(void **state)
{
	go_on(5);
	plain_tracker_write(w.tracker, 200, 8, 1, false);
	for (unsigned int i = 0; i < 300 && !w.engine->disks[0].bad_count; i++) {
		run();
		fail_reads();
		w.now_us += 10000;
	}
	assert_int_equal(w.engine->disks[0].bad_count, 1);
	for (unsigned int i = 0; i < 1000 && !count_reads(); i++, w.now_us += 10000)
		run();
	assert_int_equal(count_reads(), 1); /* it is tried again */
	w.now_us += SECOND;
	assert_in_range(calls_in_a_second(), 1, 300);
	go_on(5);
	assert_int_equal(w.engine->disks[0].bad_count, 0);
}

/* --- labels -------------------------------------------------------------------------- */

/* Asked for, and sent with an epoch that is not durable. */
static void send_label(const char *label)
{
	assert_int_equal(engine_mark(w.engine, label), 0);
	for (unsigned int i = 0; i < 100 && w.engine->label_wanted; i++, w.now_us += 10000)
		run();
	assert_false(w.engine->label_wanted);
}

static void a_label_that_was_sent_is_wanted_again_after_a_lost_connection(void **state)
{
	go_on(5);
	send_label("a");
	engine_disconnected(w.engine);
	welcome(w.durable);
	go_on(2);
	assert_int_equal(w.labelled, 1);
}

static void a_label_that_was_given_up_is_not(void **state)
{
	go_on(5);
	send_label("a");
	engine_unmark(w.engine);
	engine_disconnected(w.engine);
	welcome(w.durable);
	assert_int_equal(engine_mark(w.engine, "b"), 0); /* and is in nobody's way */
	engine_unmark(w.engine);
	go_on(2);
	assert_int_equal(w.labelled, 0);
}

/* --- times of points ------------------------------------------------------------- */

static void set_clock(int64_t offset_us)
{
	plain_tracker_set_clock(w.tracker, w.now_us, offset_us);
}

static void assert_point_is_of(int64_t offset_us)
{
	assert_in_range(w.point.time_us - (uint64_t)offset_us, w.now_us - SECOND, w.now_us);
}

static struct engine_figures engine_says(void)
{
	struct engine_figures f;

	engine_figures(w.engine, &f);
	return f;
}

static void a_clock_that_is_ahead_for_less_than_a_minute_leaves_no_trace(void **state)
{
	go_on(5);
	assert_point_is_of(0);
	set_clock(HOUR);
	w.point_count = 0;
	go_on(50);
	assert_in_range(w.point_count, 90, 110);
	assert_point_is_of(0);
	set_clock(0);
	go_on(5);
	assert_point_is_of(0);
	assert_int_equal(engine_says().ahead_until_us, 0);
}

static void a_clock_that_was_set_ahead_is_followed_after_a_minute(void **state)
{
	go_on(5);
	set_clock(HOUR);
	go_on(59);
	assert_point_is_of(0);
	go_on(3);
	assert_point_is_of(HOUR);
	set_clock(HOUR + 30 * (int64_t)SECOND); /* a small step: at once */
	go_on(1);
	assert_point_is_of(HOUR + 30 * (int64_t)SECOND);
}

static void after_a_clock_that_was_ahead_for_long_it_is_said_how_long_times_are_and_lag_is_right(void **state)
{
	uint64_t last;

	go_on(5);
	set_clock(HOUR);
	go_on(70);
	last = w.point.time_us;
	set_clock(0);
	go_on(10);
	assert_in_range(w.point.time_us, last, last + SECOND);
	assert_in_range(engine_says().ahead_until_us, last, last + SECOND);
	assert_in_range(engine_says().lag_us, 1, SECOND);
	w.now_us += 30 * SECOND; /* and now nothing becomes durable */
	run();
	assert_in_range(engine_says().lag_us, 30 * SECOND, 31 * SECOND);
	/* Nor does another agent believe that the newest point is of now. */
	engine_free(w.engine);
	memset(w.reads, 0, sizeof(w.reads));
	assert_int_equal(begin_engine(w.durable), 0);
	w.now_us += 20 * SECOND;
	assert_int_equal(engine_says().lag_us, 20 * SECOND);
	go_on(3);
	assert_in_range(engine_says().lag_us, 1, SECOND);
	assert_in_range(w.point.time_us, last, last + SECOND);
}

static void a_label_asked_for_while_times_are_ahead_goes_to_the_next_point(void **state)
{
	go_on(5);
	set_clock(HOUR);
	go_on(70);
	set_clock(0);
	assert_int_equal(engine_mark(w.engine, "now"), 0);
	go_on(1);
	assert_string_equal(w.point.label, "");
	assert_int_equal(engine_mark(w.engine, "again"), 0);
}

static void what_is_caught_up_with_is_cut_into_epochs_while_times_are_ahead(void **state)
{
	go_on(5);
	set_clock(HOUR);
	go_on(70);
	set_clock(0);
	go_on(1);
	w.point_count = 0;
	for (unsigned int i = 0; i < 10; i++) { /* ten seconds in which the agent was held up */
		set_clock(0);
		plain_tracker_write(w.tracker, 0, 8, i + 1, true);
		w.now_us += SECOND;
	}
	for (unsigned int i = 0; i < 10; i++) {
		run();
		answer_commits();
	}
	assert_in_range(w.point_count, 9, 12);
}

static void reboot(int64_t wall_offset_us)
{
	engine_free(w.engine);
	memset(w.reads, 0, sizeof(w.reads));
	plain_tracker_free(w.tracker);
	w.tracker = plain_tracker_new(MIB);
	engine_memory_reset(&w.memory);
	set_clock(wall_offset_us);
	assert_int_equal(begin_engine(w.durable), 0);
}

static void after_a_boot_with_a_clock_far_ahead_there_is_no_point_until_it_is_set_right(void **state)
{
	go_on(5);
	w.point_count = 0;
	reboot(9 * HOUR);
	go_on(40);
	plain_tracker_write(w.tracker, 0, 8, 1, true);
	go_on(10);
	assert_int_equal(w.point_count, 0);
	set_clock(20 * (int64_t)SECOND);
	go_on(2);
	assert_point_is_of(20 * (int64_t)SECOND);
}

static void after_a_boot_that_took_long_the_clock_is_believed_after_a_minute(void **state)
{
	go_on(5);
	w.point_count = 0;
	reboot(HOUR);
	go_on(59);
	assert_int_equal(w.point_count, 0);
	go_on(3);
	assert_point_is_of(HOUR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_write_nobody_saw_after_a_chunk_was_asked_about_keeps_it_in_doubt_whatever_the_answer, begin, end),
		cmocka_unit_test_setup_teardown(a_write_nobody_saw_while_a_chunk_is_read_has_it_read_once_more, begin, end),
		cmocka_unit_test_setup_teardown(a_verify_of_a_disk_that_goes_missing_ends_and_says_what_was_not_compared,
						begin, end),
		cmocka_unit_test_setup_teardown(what_was_discarded_waits_for_a_pass_without_a_busy_loop, begin, end),
		cmocka_unit_test_setup_teardown(a_read_at_leisure_that_takes_long_is_waited_for_without_a_busy_loop, begin, end),
		cmocka_unit_test_setup_teardown(a_bad_sector_that_takes_long_to_fail_again_is_waited_for_without_a_busy_loop,
						begin, end),
		cmocka_unit_test_setup_teardown(a_label_that_was_sent_is_wanted_again_after_a_lost_connection, begin, end),
		cmocka_unit_test_setup_teardown(a_label_that_was_given_up_is_not, begin, end),
		cmocka_unit_test_setup_teardown(a_clock_that_is_ahead_for_less_than_a_minute_leaves_no_trace, begin, end),
		cmocka_unit_test_setup_teardown(a_clock_that_was_set_ahead_is_followed_after_a_minute, begin, end),
		cmocka_unit_test_setup_teardown(
			after_a_clock_that_was_ahead_for_long_it_is_said_how_long_times_are_and_lag_is_right, begin, end),
		cmocka_unit_test_setup_teardown(a_label_asked_for_while_times_are_ahead_goes_to_the_next_point, begin, end),
		cmocka_unit_test_setup_teardown(what_is_caught_up_with_is_cut_into_epochs_while_times_are_ahead, begin, end),
		cmocka_unit_test_setup_teardown(after_a_boot_with_a_clock_far_ahead_there_is_no_point_until_it_is_set_right,
						begin, end),
		cmocka_unit_test_setup_teardown(after_a_boot_that_took_long_the_clock_is_believed_after_a_minute, begin, end),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
