/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S5: files are damaged in every way a disk can think of, and nothing is ever
 * read that was not there.  Points may be refused, or be gone from the end;
 * what is refused, scrub names.
 */
#include "format.h"
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

static struct store_writer *six_epochs(struct world *w)
{
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = 1 * MIB };
	struct store_writer *writer;
	uint8_t i;

	world_init(w, 4);
	w->sys->limits = store_sys_default.limits;
	w->sys->limits.reserve_bytes = 0;
	w->sys->limits.reserve_permille = 0;
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w->model), w->sys, &writer), 0);
	assert_int_equal(store_put_disk(writer, &d), 0);
	for (i = 1; i <= 6; i++) {
		put(w, writer, i == 5 ? 131072 : 65536, i); /* 1 2 3 4 . 6 */
		commit(writer);
	}
	return writer;
}

/* Damage the payload that consists of bytes @what. */
static void damage_payload(struct world *w, const char *name, uint8_t what)
{
	size_t size, i, run = 0;
	uint8_t *bytes = memsys_bytes(w->mem, name, &size);

	assert_non_null(bytes);
	for (i = 0; i < size && run < 4000; i++)
		run = bytes[i] == what ? run + 1 : 0;
	assert_int_equal(run, 4000);
	bytes[i - 100] ^= 0x10;
	memsys_changed(w->mem, name);
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
	memsys_cut(w.mem, memsys_changes(w.mem) + 1); /* the writer is killed: nothing that it does takes effect */
	store_writer_close(writer);
	memsys_kill(w.mem);
	memsys_cut(w.mem, UINT64_MAX);
	/* The next one puts the file aside, it deletes nothing. */
	assert_int_equal(store_writer_open(WORLD_DIR, model_machine(w.model), w.sys, &w.writer), 0);
	assert_int_equal(store_writer_last_epoch(w.writer), 0);
	assert_non_null(memsys_bytes(w.mem, "bad-00000001.gwd", &size));
	world_done(&w);
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
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
