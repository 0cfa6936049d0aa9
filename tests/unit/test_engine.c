// SPDX-License-Identifier: Apache-2.0
/* The engine, step by step: reads end, answers come and time goes on when the test says so. */
#include "engine-private.h"
#include "plain_tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

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
} w;

static int on_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot)
{
	assert_false(w.reads[slot].busy);
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

static uint64_t on_wall(void *context)
{
	return w.now_us;
}

static void on_event(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text)
{
}

static void on_durable(void *context, const struct wire_commit *commit, const struct wire_durable *answer)
{
}

static const struct engine_ops ops = { on_read, on_wall, on_now, on_event, on_durable };

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

static int begin(void **state)
{
	struct engine_options o = { .memory = &w.memory, .ops = &ops, .read_bytes = CHUNK_BYTES, .reads = 4,
				    .epoch_us = EPOCH_US, .idle_us = EPOCH_US, .hash_seed = 7 };
	struct engine_disk_options d = { .sector_bytes = 512, .id = { { 1 } }, .name = "/dev/a" };

	w = (struct world){ .tracker = plain_tracker_new(MIB), .now_us = 3600000000ULL };
	o.tracker = w.tracker;
	if (engine_new(&o, &w.engine) || engine_add_disk(w.engine, &d))
		return -1;
	welcome(1); /* a store that has something: it is compared */
	return 0;
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

/* They have seen the disk as it was when they began. */
static void end_reads(void)
{
	for (unsigned int i = 0; i < ENGINE_READS_MAX; i++) {
		if (!w.reads[i].busy)
			continue;
		w.reads[i].busy = false;
		engine_read_done(w.engine, i, 0);
	}
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

/* Until all is compared and nothing is on its way. */
static void settle(void)
{
	struct engine_figures f;

	for (int i = 0; i < 1000; i++) {
		run();
		end_reads();
		run();
		answer_hashes(false);
		answer_commits();
		w.now_us += 10000;
		engine_figures(w.engine, &f);
		if (f.clean && f.synced && !w.commit_count && f.newest_point_epoch)
			return;
	}
	fail();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_write_nobody_saw_after_a_chunk_was_asked_about_keeps_it_in_doubt_whatever_the_answer, begin, end),
		cmocka_unit_test_setup_teardown(a_write_nobody_saw_while_a_chunk_is_read_has_it_read_once_more, begin, end),
	};

	(void)settle;
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
