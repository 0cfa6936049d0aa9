/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S5: files are damaged in every way a disk can think of, and nothing is ever
 * read that was not there.  Points may be refused, or be gone from the end;
 * what is refused, scrub names.
 */
#include "format.h"
#include "run.h"
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

struct found {
	unsigned int count;
	struct store_damage last;
};

static void remember(void *context, const struct store_damage *d)
{
	struct found *f = context;

	f->count++;
	f->last = *d;
}

/* Runs, a tail, names, a moved record: one of everything. */
static void build(struct world *w, uint64_t seed)
{
	int i;

	world_init(w, seed);
	assert_int_equal(world_open_writer(w), 0);
	assert_int_equal(store_policy_set(WORLD_DIR, w->sys, &w->policy), 0);
	for (i = 0; i < 30; i++) {
		assert_int_equal(world_epoch(w, 20), 0);
		assert_int_equal(model_label(w->model, WORLD_DIR, w->sys), 0);
		if (i % 8 == 7)
			assert_int_equal(world_upkeep(w), 0);
	}
	w->sys->limits.data_file_epochs = 100; /* the rest stays in a journal */
	w->sys->limits.data_file_bytes = 100 * MIB;
	for (i = 0; i < 5; i++)
		assert_int_equal(world_epoch(w, 20), 0);
	model_check(w->model, WORLD_DIR, w->sys, 0);
}

/* How much was refused; fails if anything shown is wrong. */
static unsigned int look_at_all(struct world *w)
{
	struct store_points *p;
	struct store_reader *r;
	unsigned int refused = 0;
	size_t i;
	int err = store_points_open(WORLD_DIR, w->sys, &p);

	if (err < 0) {
		assert_int_equal(err, -EBADMSG);
		return 1;
	}
	for (i = 0; i < store_points_count(p); i++) {
		err = store_reader_open(WORLD_DIR, w->sys, store_points_get(p, i)->epoch, &r);
		if (err < 0) {
			assert_int_equal(err, -EBADMSG);
			refused++;
			continue;
		}
		refused += model_check_reader(w->model, r, true, NULL);
		store_reader_close(r);
	}
	store_points_close(p);
	return refused;
}

/* What scrub finds; if it cannot even begin, that counts. */
static unsigned int scrub(struct world *w, struct found *f)
{
	uint64_t bytes, damaged;
	int err;

	*f = (struct found){ 0 };
	err = store_scrub(WORLD_DIR, w->sys, &(struct store_scrub_options){ .report = remember, .context = f }, &bytes,
			  &damaged);
	if (err < 0) {
		assert_int_equal(err, -EBADMSG);
		return 1;
	}
	assert_int_equal(damaged, f->count);
	return f->count;
}

static uint8_t *random_byte(struct world *w, const char **ret_name)
{
	uint8_t *bytes = NULL;
	size_t size = 0;

	do {
		*ret_name = memsys_name(w->mem, rng_below(&w->rng, memsys_count(w->mem)));
		if (*ret_name)
			bytes = memsys_bytes(w->mem, *ret_name, &size);
	} while (!*ret_name || size == 0);
	return bytes + rng_below(&w->rng, size);
}

static void a_flipped_bit_is_refused_or_makes_no_difference(void **state)
{
	uint64_t seed = from_environment("GODWIT_SEED", 1), rounds = from_environment("GODWIT_ROUNDS", 400), i;
	unsigned int refusals = 0, found = 0;
	struct world w;
	struct found f;

	build(&w, seed);
	for (i = 0; i < rounds; i++) {
		const char *name;
		uint8_t *at = random_byte(&w, &name), bit = (uint8_t)(1u << rng_below(&w.rng, 8));
		unsigned int refused;

		*at ^= bit;
		memsys_changed(w.mem, name);
		refused = look_at_all(&w);
		if (refused && scrub(&w, &f) == 0)
			fail_msg("seed %" PRIu64 ": %s damaged, %u reads refused, and scrub finds nothing", seed, name,
				 refused);
		refusals += refused > 0;
		found += scrub(&w, &f) > 0;
		*at ^= bit;
		memsys_changed(w.mem, name);
	}
	assert_int_equal(look_at_all(&w), 0);
	assert_true(found >= refusals && refusals > 0);
	print_message("%" PRIu64 " bits: %u showed, %u found by scrub\n", rounds, refusals, found);
	world_done(&w);
}

/* A stretch of zeroes, of another file, or of noise. */
static void overwrite(struct world *w, uint8_t *at, size_t length)
{
	const char *other;
	uint8_t *from = random_byte(w, &other);
	size_t size, i;
	uint64_t how = rng_below(&w->rng, 3);
	uint8_t *begin = memsys_bytes(w->mem, other, &size);

	for (i = 0; i < length; i++) {
		if (how == 2)
			at[i] = (uint8_t)rng_next(&w->rng);
		else
			at[i] = how == 1 && from + i < begin + size ? from[i] : 0;
	}
}

static void an_overwritten_stretch_is_refused_or_makes_no_difference(void **state)
{
	uint64_t seed = from_environment("GODWIT_SEED", 2), rounds = from_environment("GODWIT_ROUNDS", 200), i;
	struct world w;
	struct found f;

	build(&w, seed);
	for (i = 0; i < rounds; i++) {
		const char *name;
		uint8_t *at = random_byte(&w, &name), saved[8192];
		size_t size, length;
		uint8_t *begin = memsys_bytes(w.mem, name, &size);

		length = 1 + rng_below(&w.rng, sizeof(saved));
		length = MIN(length, (size_t)(begin + size - at));
		memcpy(saved, at, length);
		overwrite(&w, at, length);
		memsys_changed(w.mem, name);
		if (look_at_all(&w))
			assert_true(scrub(&w, &f) > 0);
		memcpy(at, saved, length);
		memsys_changed(w.mem, name);
	}
	assert_int_equal(look_at_all(&w), 0);
	world_done(&w);
}

static void a_writer_and_upkeep_on_damaged_files_lose_no_more_than_the_damage(void **state)
{
	uint64_t seed = from_environment("GODWIT_SEED", 3), rounds = from_environment("GODWIT_ROUNDS", 150), i;

	for (i = 0; i < rounds; i++) {
		struct store_upkeep_options o = { .now_us = UINT64_MAX };
		struct store_upkeep_result result;
		struct store_writer *writer;
		const char *name;
		struct world w;
		int n, err;

		build(&w, seed + i % 5);
		w.rng = seed + i;
		world_close_writer(&w);
		*random_byte(&w, &name) ^= (uint8_t)(1u << rng_below(&w.rng, 8));
		memsys_changed(w.mem, name);
		err = store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer);
		assert_true(err == 0 || err == -EBADMSG);
		if (err == 0)
			store_writer_close(writer);
		for (n = 0; n < 4; n++) {
			err = store_upkeep(WORLD_DIR, w.sys, &o, &result);
			assert_true(err == 0 || err == -EBADMSG);
		}
		(void)look_at_all(&w); /* never wrong bytes, also after records were moved */
		world_done(&w);
	}
}

/* --- what scrub says ----------------------------------------------------------------------- */

static void put(struct world *w, struct store_writer *writer, uint64_t offset, uint8_t what)
{
	uint8_t buf[4096];

	memset(buf, what, sizeof(buf));
	assert_int_equal(store_put_data(writer, 0, offset, sizeof(buf), CODEC_RAW, buf, sizeof(buf),
					payload_checksum(buf, sizeof(buf))), 0);
}

static void commit(struct store_writer *writer)
{
	uint64_t epoch = store_writer_last_epoch(writer) + 1;
	const struct store_epoch e = { .epoch = epoch, .time_us = epoch * 1000000, .flags = STORE_EPOCH_POINT };

	assert_int_equal(store_commit(writer, &e), 0);
}

static void six_more(struct world *w, struct store_writer *writer, uint8_t first)
{
	uint8_t i;

	for (i = first; i < first + 6; i++) {
		put(w, writer, i == 5 ? 131072 : 65536, i); /* 1 2 3 4 . 6 */
		commit(writer);
	}
}

static void put_disk(struct store_writer *writer)
{
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = 1 * MIB };

	assert_int_equal(store_put_disk(writer, &d), 0);
}

static struct store_writer *six_epochs(struct world *w)
{
	struct store_writer *writer;

	world_init(w, 4);
	w->sys->limits = store_sys_default.limits;
	w->sys->limits.reserve_bytes = 0;
	w->sys->limits.reserve_permille = 0;
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w->model), w->sys, &writer), 0);
	put_disk(writer);
	six_more(w, writer, 1);
	return writer;
}

/* Where the payload begins that consists of bytes @what. */
static size_t find_payload(struct world *w, const char *name, uint8_t what)
{
	size_t size, i, run = 0;
	const uint8_t *bytes = memsys_bytes(w->mem, name, &size);

	assert_non_null(bytes);
	for (i = 0; i < size && run < 4096; i++)
		run = bytes[i] == what ? run + 1 : 0;
	assert_int_equal(run, 4096);
	return i - run;
}

static void flip(struct world *w, const char *name, size_t at)
{
	size_t size;
	uint8_t *bytes = memsys_bytes(w->mem, name, &size);

	assert_true(bytes && at < size);
	bytes[at] ^= 0x10;
	memsys_changed(w->mem, name);
}

/* Damage the payload that consists of bytes @what. */
static void damage_payload(struct world *w, const char *name, uint8_t what)
{
	flip(w, name, find_payload(w, name, what) + 3900);
}

static void expect(struct world *w, uint64_t epoch, uint64_t offset, uint8_t what)
{
	uint8_t want[4096], got[4096];
	struct store_reader *r;

	memset(want, what, sizeof(want));
	assert_int_equal(store_reader_open(WORLD_DIR, w->sys, epoch, &r), 0);
	assert_int_equal(store_read(r, 0, offset, sizeof(got), got), 0);
	assert_memory_equal(got, want, sizeof(got));
	store_reader_close(r);
}

static void expect_no_reader(struct world *w, uint64_t epoch, int error)
{
	struct store_reader *r;

	assert_int_equal(store_reader_open(WORLD_DIR, w->sys, epoch, &r), error);
}

/* So many points are listed, and @file (NULL: none) is said to hide others. */
static void expect_points(struct world *w, size_t count, const char *file)
{
	struct store_points *p;

	assert_int_equal(store_points_open(WORLD_DIR, w->sys, &p), 0);
	assert_int_equal(store_points_count(p), count);
	if (file)
		assert_string_equal(store_points_damaged(p), file);
	else
		assert_null(store_points_damaged(p));
	store_points_close(p);
}

/* The writer is killed: nothing that it does takes effect. */
static void kill_writer(struct world *w, struct store_writer *writer)
{
	memsys_cut(w->mem, memsys_changes(w->mem) + 1);
	store_writer_close(writer);
	memsys_kill(w->mem);
	memsys_cut(w->mem, UINT64_MAX);
}

static void scrub_names_the_range_and_exactly_the_points_that_show_it(void **state)
{
	struct world w;
	struct found f;
	struct store_writer *writer = six_epochs(&w);

	damage_payload(&w, "dat-00000001.gwd", 4);
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.disk, 0);
	assert_int_equal(f.last.offset_bytes, 65536);
	assert_int_equal(f.last.length_bytes, 4096);
	assert_int_equal(f.last.first_epoch, 4);
	assert_int_equal(f.last.last_epoch, 5);
	assert_string_equal(f.last.file, "dat-00000001.gwd");
	store_writer_close(writer); /* now it has a run */
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.first_epoch, 4);
	assert_int_equal(f.last.last_epoch, 5);
	world_done(&w);
}

static void damage_that_no_point_shows_is_none(void **state)
{
	struct world w;
	struct found f;
	struct store_upkeep_result result;
	struct store_upkeep_options o = { .now_us = UINT64_MAX };

	store_writer_close(six_epochs(&w));
	damage_payload(&w, "dat-00000001.gwd", 4);
	assert_int_equal(store_policy_set(WORLD_DIR, w.sys, &(struct store_policy){ 0, 0, 0 }), 0);
	w.sys->limits.small_file_bytes = 0;
	assert_int_equal(store_upkeep(WORLD_DIR, w.sys, &o, &result), 0);
	assert_int_equal(scrub(&w, &f), 0);
	world_done(&w);
}

static void damage_stays_damage_when_its_record_is_moved(void **state)
{
	struct world w;
	struct found f;
	struct store_upkeep_result result;
	struct store_upkeep_options o = { .now_us = UINT64_MAX };
	struct store_writer *writer;
	struct store_reader *r;
	uint8_t buf[4096], i;

	writer = six_epochs(&w);
	for (i = 7; i < 17; i++) {
		put(&w, writer, 65536, i);
		commit(writer);
	}
	store_writer_close(writer);
	assert_int_equal(store_policy_set(WORLD_DIR, w.sys, &(struct store_policy){ 0, 0, 0 }), 0);
	damage_payload(&w, "dat-00000001.gwd", 16);
	do
		assert_int_equal(store_upkeep(WORLD_DIR, w.sys, &o, &result), 0);
	while (result.more);
	assert_null(memsys_bytes(w.mem, "dat-00000001.gwd", &(size_t){ 0 }));
	assert_int_equal(store_reader_open(WORLD_DIR, w.sys, 0, &r), 0);
	assert_int_equal(store_read(r, 0, 65536, 4096, buf), -EBADMSG);
	assert_int_equal(store_read(r, 0, 131072, 4096, buf), 0);
	assert_int_equal(store_read(r, 0, 0, 4096, buf), 0);
	store_reader_close(r);
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.offset_bytes, 65536);
	world_done(&w);
}

static void expect_lost(const struct store_writer *writer, uint64_t first, uint64_t last)
{
	uint64_t is_first, is_last;

	assert_true(store_writer_lost(writer, &is_first, &is_last));
	assert_int_equal(is_first, first);
	assert_int_equal(is_last, last);
}

static void epochs_lost_from_a_journal_are_named(void **state)
{
	struct world w;
	struct found f;
	struct store_writer *writer = six_epochs(&w);
	size_t size;
	uint8_t *bytes = memsys_bytes(w.mem, "dat-00000001.gwd", &size);

	assert_non_null(bytes);
	bytes[DATA_HEADER_BYTES + 20] ^= 1; /* the very first record's header */
	memsys_changed(w.mem, "dat-00000001.gwd");
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.first_epoch, 1);
	assert_int_equal(f.last.last_epoch, 6);
	kill_writer(&w, writer);
	/* The next one puts the file aside, it deletes nothing. */
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &w.writer), 0);
	assert_int_equal(store_writer_last_epoch(w.writer), 0);
	assert_non_null(memsys_bytes(w.mem, "bad-00000001.gwd", &size));
	expect_lost(w.writer, 1, 6);
	world_done(&w);
}

static void epochs_lost_from_the_middle_of_a_journal_are_kept_aside_and_named(void **state)
{
	struct world w;
	struct store_writer *writer = six_epochs(&w);
	size_t size;

	flip(&w, "dat-00000001.gwd", find_payload(&w, "dat-00000001.gwd", 4) - RECORD_BYTES);
	kill_writer(&w, writer);
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	assert_int_equal(store_writer_last_epoch(writer), 3);
	expect_lost(writer, 4, 6);
	expect(&w, 3, 65536, 3);
	assert_non_null(memsys_bytes(w.mem, "bad-00000001.gwd", &size));
	(void)find_payload(&w, "bad-00000001.gwd", 6); /* all of it */

	/* And once more, under the same number: the first one stays. */
	six_more(&w, writer, 7);
	flip(&w, "dat-00000002.gwd", find_payload(&w, "dat-00000002.gwd", 8) - RECORD_BYTES);
	assert_int_equal(w.sys->link(w.sys, WORLD_DIR "/bad-00000001.gwd", WORLD_DIR "/bad-00000002.gwd"), 0);
	kill_writer(&w, writer);
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	expect_lost(writer, 5, 9);
	(void)find_payload(&w, "bad-00000002.gwd", 6);
	(void)find_payload(&w, "bad-00000002-1.gwd", 12);
	store_writer_close(writer);
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	assert_false(store_writer_lost(writer, &(uint64_t){ 0 }, &(uint64_t){ 0 }));
	store_writer_close(writer);
	world_done(&w);
}

/* --- one thing broken does not take the rest along -------------------------------------------- */

#define RUN_1_6 "run-0000000000000001-0000000000000006-00000000.gwr"
#define RUN_7_12 "run-0000000000000007-000000000000000c-00000000.gwr"

/* Two runs, 1-6 and 7-12, with a journal each. */
static void two_runs(struct world *w)
{
	struct store_writer *writer;

	store_writer_close(six_epochs(w));
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w->model), w->sys, &writer), 0);
	six_more(w, writer, 7);
	store_writer_close(writer);
	expect_points(w, 12, NULL);
}

static void flip_last(struct world *w, const char *name)
{
	size_t size;

	assert_non_null(memsys_bytes(w->mem, name, &size));
	flip(w, name, size - 1);
}

static void nobody_changes_a_damaged_store(struct world *w, int error, const char *file)
{
	char name[STORE_FILE_NAME_BYTES];
	struct store_upkeep_options o = { .now_us = UINT64_MAX };
	struct store_upkeep_result result;
	struct store_writer *writer;

	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w->model), w->sys, &writer), error);
	assert_int_equal(store_upkeep(WORLD_DIR, w->sys, &o, &result), error);
	assert_int_equal(store_point_label(WORLD_DIR, w->sys, 2, "a name"), error);
	assert_int_equal(store_damaged_file(WORLD_DIR, w->sys, name), 0);
	assert_string_equal(name, file);
	assert_non_null(memsys_bytes(w->mem, RUN_7_12, &(size_t){ 0 }));
	assert_non_null(memsys_bytes(w->mem, "dat-00000002.gwd", &(size_t){ 0 }));
}

static void points_before_a_damaged_run_are_read_and_those_behind_it_are_not_hidden_silently(void **state)
{
	struct world w;
	struct found f;

	two_runs(&w);
	flip_last(&w, RUN_7_12);
	flip(&w, "dat-00000002.gwd", 20); /* nor is its journal there to help */
	expect_points(&w, 6, RUN_7_12);
	expect(&w, 4, 65536, 4);
	expect(&w, 6, 131072, 5);
	expect_no_reader(&w, 9, -EBADMSG);
	expect_no_reader(&w, 13, -EBADMSG);
	expect_no_reader(&w, 0, -EBADMSG); /* which one is the newest? */
	assert_int_equal(scrub(&w, &f), 1);
	nobody_changes_a_damaged_store(&w, -EBADMSG, RUN_7_12);
	world_done(&w);
}

static void behind_a_damaged_run_a_journal_that_is_there_still_is_read(void **state)
{
	struct world w;
	struct found f;

	two_runs(&w);
	flip(&w, RUN_7_12, 40); /* the header */
	expect_points(&w, 12, NULL);
	expect(&w, 4, 65536, 4);
	expect(&w, 9, 65536, 9);
	expect(&w, 9, 131072, 5);
	expect(&w, 0, 65536, 12);
	assert_int_equal(scrub(&w, &f), 1);
	nobody_changes_a_damaged_store(&w, -EBADMSG, RUN_7_12);
	world_done(&w);
}

static void the_oldest_run_damaged_hides_all_that_needs_it(void **state)
{
	struct world w;

	two_runs(&w);
	flip_last(&w, RUN_1_6);
	flip(&w, "dat-00000001.gwd", 20);
	expect_points(&w, 0, RUN_1_6);
	expect_no_reader(&w, 9, -EBADMSG);
	nobody_changes_a_damaged_store(&w, -EBADMSG, RUN_1_6);
	world_done(&w);
}

static void a_run_whose_tables_the_disk_cannot_read_hides_no_more_than_a_damaged_one(void **state)
{
	struct world w;
	size_t size;

	two_runs(&w);
	flip(&w, "dat-00000002.gwd", 20);
	assert_non_null(memsys_bytes(w.mem, RUN_7_12, &size));
	memsys_unreadable(w.mem, RUN_7_12, size - 8, 8);
	expect_points(&w, 6, RUN_7_12);
	expect(&w, 4, 65536, 4);
	expect_no_reader(&w, 9, -EBADMSG);
	nobody_changes_a_damaged_store(&w, -EIO, RUN_7_12);
	world_done(&w);
}

static void a_tail_that_the_disk_cannot_read_ends_there_for_readers_and_is_not_touched_by_the_writer(void **state)
{
	struct world w;
	struct found f;
	struct store_writer *writer;

	store_writer_close(six_epochs(&w));
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	six_more(&w, writer, 7);
	memsys_unreadable(w.mem, "dat-00000002.gwd", find_payload(&w, "dat-00000002.gwd", 10) - RECORD_BYTES, 8);
	expect_points(&w, 9, "dat-00000002.gwd");
	expect(&w, 4, 65536, 4);
	expect(&w, 9, 65536, 9);
	expect(&w, 9, 131072, 5);
	expect_no_reader(&w, 11, -EIO);
	expect_no_reader(&w, 0, -EIO);
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.first_epoch, 10);
	assert_int_equal(f.last.last_epoch, 12);
	assert_int_equal(world_upkeep(&w), 0);
	kill_writer(&w, writer);
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), -EIO);
	memsys_unreadable(w.mem, "dat-00000002.gwd", 0, 8); /* not even the header */
	expect_points(&w, 6, "dat-00000002.gwd");
	expect(&w, 4, 65536, 4);
	expect_no_reader(&w, 7, -EIO);
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), -EIO);
	memsys_unreadable(w.mem, NULL, 0, 0); /* a cable was loose */
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	assert_int_equal(store_writer_last_epoch(writer), 12);
	store_writer_close(writer);
	world_done(&w);
}

/* On real files, for only there a page of a map can be missing. */
static void a_page_of_a_run_that_cannot_be_read_back_is_an_error_and_not_a_signal(void **state)
{
	char dir[] = "/tmp/godwit-store-XXXXXX", run[128], command[64];
	const struct uuid machine = { { 7 } };
	struct store_sys sys = store_sys_default;
	struct store_writer *writer;
	struct store_reader *r;
	struct world w = { .sys = &sys };
	uint8_t buf[4096];

	if (madvise(NULL, 0, MADV_POPULATE_READ) < 0) {
		print_message("the kernel cannot tell (before Linux 5.14)\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	sys.limits.reserve_bytes = sys.limits.reserve_permille = 0;
	assert_int_equal(store_writer_open(dir, &machine, &sys, &writer), 0);
	put_disk(writer);
	six_more(&w, writer, 1);
	store_writer_close(writer);
	assert_int_equal(store_reader_open(dir, &sys, 4, &r), 0);
	snprintf(run, sizeof(run), "%s/" RUN_1_6, dir);
	assert_int_equal(truncate(run, RUN_HEADER_BYTES), 0); /* pages behind the end are as if unreadable */
	assert_int_equal(store_read(r, 0, 65536, sizeof(buf), buf), -EBADMSG);
	store_reader_close(r);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* --- a disk that does not give back what it has ------------------------------------------------ */

static ssize_t (*real_preadv)(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset);
static uint64_t bad_first, bad_last;

static ssize_t bad_sector(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	uint64_t end = offset;

	for (int i = 0; i < count; i++)
		end += iov[i].iov_len;
	return offset <= bad_last && end > bad_first ? -EIO : real_preadv(sys, fd, iov, count, offset);
}

static void a_bad_sector_in_a_journal_is_damage(void **state)
{
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = 1 * MIB };
	static uint8_t chunk[CHUNK_BYTES];
	struct store_writer *writer;
	struct world w;
	struct found f;

	world_init(&w, 6);
	w.sys->limits = store_sys_default.limits;
	w.sys->limits.reserve_bytes = 0;
	w.sys->limits.reserve_permille = 0;
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	assert_int_equal(store_put_disk(writer, &d), 0);
	for (uint64_t i = 0; i < 8; i++) {
		memset(chunk, (int)i + 1, sizeof(chunk));
		assert_int_equal(store_put_data(writer, 0, i * CHUNK_BYTES, CHUNK_BYTES, CODEC_RAW, chunk, CHUNK_BYTES,
						payload_checksum(chunk, CHUNK_BYTES)), 0);
	}
	commit(writer);
	put(&w, writer, 0, 9); /* behind it: the first epoch is known to have been synced */
	commit(writer);
	real_preadv = w.sys->preadv;
	w.sys->preadv = bad_sector;
	bad_first = bad_last = DATA_HEADER_BYTES + 6 * CHUNK_BYTES + CHUNK_BYTES / 2; /* in the seventh payload */
	assert_int_equal(scrub(&w, &f), 1);
	assert_int_equal(f.last.offset_bytes, 6 * CHUNK_BYTES);
	w.sys->preadv = real_preadv;
	store_writer_close(writer);
	world_done(&w);
}

static bool stop_at_once(void *context, uint64_t bytes_done)
{
	*(uint64_t *)context = bytes_done;
	return true;
}

static void a_scrub_stops_when_it_is_asked_to(void **state)
{
	uint64_t at = 0, bytes = 7, damaged = 7;
	const struct store_scrub_options o = { .stop = stop_at_once, .context = &at };
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = 64 * MIB };
	static uint8_t chunk[CHUNK_BYTES];
	struct store_writer *writer;
	struct world w;

	world_init(&w, 7);
	w.sys->limits = store_sys_default.limits;
	w.sys->limits.reserve_bytes = 0;
	w.sys->limits.reserve_permille = 0;
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &writer), 0);
	assert_int_equal(store_put_disk(writer, &d), 0);
	for (uint64_t i = 0; i < 64; i++)
		assert_int_equal(store_put_data(writer, 0, i * CHUNK_BYTES, CHUNK_BYTES, CODEC_RAW, chunk, CHUNK_BYTES,
						payload_checksum(chunk, CHUNK_BYTES)), 0);
	commit(writer);
	store_writer_close(writer);
	assert_int_equal(store_scrub(WORLD_DIR, w.sys, &o, &bytes, &damaged), -ECANCELED);
	assert_true(at >= MIB && at < 2 * MIB);
	assert_int_equal(bytes, 7);
	world_done(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flipped_bit_is_refused_or_makes_no_difference),
		cmocka_unit_test(an_overwritten_stretch_is_refused_or_makes_no_difference),
		cmocka_unit_test(a_writer_and_upkeep_on_damaged_files_lose_no_more_than_the_damage),
		cmocka_unit_test(a_bad_sector_in_a_journal_is_damage),
		cmocka_unit_test(a_scrub_stops_when_it_is_asked_to),
		cmocka_unit_test(scrub_names_the_range_and_exactly_the_points_that_show_it),
		cmocka_unit_test(damage_that_no_point_shows_is_none),
		cmocka_unit_test(damage_stays_damage_when_its_record_is_moved),
		cmocka_unit_test(epochs_lost_from_a_journal_are_named),
		cmocka_unit_test(epochs_lost_from_the_middle_of_a_journal_are_kept_aside_and_named),
		cmocka_unit_test(points_before_a_damaged_run_are_read_and_those_behind_it_are_not_hidden_silently),
		cmocka_unit_test(behind_a_damaged_run_a_journal_that_is_there_still_is_read),
		cmocka_unit_test(the_oldest_run_damaged_hides_all_that_needs_it),
		cmocka_unit_test(a_run_whose_tables_the_disk_cannot_read_hides_no_more_than_a_damaged_one),
		cmocka_unit_test(a_page_of_a_run_that_cannot_be_read_back_is_an_error_and_not_a_signal),
		cmocka_unit_test(a_tail_that_the_disk_cannot_read_ends_there_for_readers_and_is_not_touched_by_the_writer),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
