/* SPDX-License-Identifier: Apache-2.0 */
/* What the store promises in store.h, one promise a test; on a folder in memory. */
#include "format.h"
#include "memsys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define DIR "/store"
#define T0 (1700000000ULL * 1000000)
#define HOUR (3600ULL * 1000000)

static const struct uuid machine = { { 1, 2, 3 } };

struct bench {
	struct memsys *mem;
	struct store_sys *sys;
	struct store_writer *w;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->mem = memsys_new(1);
	b->sys = memsys_sys(b->mem);
	b->sys->limits.merge_fan_in = 4;
	assert_int_equal(store_writer_open(DIR, &machine, b->sys, &b->w), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	store_writer_close(b->w);
	memsys_free(b->mem);
	free(b);
	return 0;
}

static void put_disk(struct bench *b, uint64_t size)
{
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = size, .name = "/dev/vda" };

	assert_int_equal(store_put_disk(b->w, &d), 0);
}

/* Compresses badly, and differs with @what. */
static void pattern(uint8_t *buf, uint32_t length, uint64_t what)
{
	uint32_t i;

	for (i = 0; i < length; i += 8)
		put_le64(buf + i, rng_next(&what));
}

static int put(struct bench *b, uint64_t offset, uint32_t length, uint64_t what)
{
	uint8_t buf[CHUNK_BYTES];

	pattern(buf, length, what);
	return store_put_data(b->w, 0, offset, length, CODEC_RAW, buf, length, payload_checksum(buf, length));
}

static int commit_at(struct bench *b, uint64_t time_us)
{
	const struct store_epoch e = { .epoch = store_writer_last_epoch(b->w) + 1, .time_us = time_us,
				       .flags = STORE_EPOCH_POINT };

	return store_commit(b->w, &e);
}

static void commit(struct bench *b)
{
	assert_int_equal(commit_at(b, MAX(store_writer_last_time_us(b->w), T0) + 1000000), 0);
}

static void reopen(struct bench *b)
{
	store_writer_close(b->w);
	b->w = NULL;
	assert_int_equal(store_writer_open(DIR, &machine, b->sys, &b->w), 0);
}

static struct store_upkeep_result upkeep(struct bench *b)
{
	const struct store_upkeep_options o = { .now_us = UINT64_MAX };
	struct store_upkeep_result r;

	assert_int_equal(store_upkeep(DIR, b->sys, &o, &r), 0);
	return r;
}

static void keep_only_the_newest(struct bench *b)
{
	assert_int_equal(store_policy_set(DIR, b->sys, &(struct store_policy){ 0, 0, 0 }), 0);
}

static size_t count_points(struct bench *b)
{
	struct store_points *p;
	size_t n;

	assert_int_equal(store_points_open(DIR, b->sys, &p), 0);
	n = store_points_count(p);
	store_points_close(p);
	return n;
}

static void expect(struct store_reader *r, uint64_t offset, uint32_t length, uint64_t what)
{
	uint8_t want[CHUNK_BYTES] = { 0 }, got[CHUNK_BYTES];

	if (what)
		pattern(want, length, what);
	assert_int_equal(store_read(r, 0, offset, length, got), 0);
	assert_memory_equal(got, want, length);
}

static void expect_at(struct bench *b, uint64_t epoch, uint64_t offset, uint32_t length, uint64_t what)
{
	struct store_reader *r;

	assert_int_equal(store_reader_open(DIR, b->sys, epoch, &r), 0);
	expect(r, offset, length, what);
	store_reader_close(r);
}

/* --- who may open ------------------------------------------------------------------------ */

static void a_second_writer_is_refused(void **state)
{
	struct bench *b = *state;
	struct store_writer *second;

	assert_int_equal(store_writer_open(DIR, &machine, b->sys, &second), -EBUSY);
}

static void the_store_of_another_machine_is_refused(void **state)
{
	struct bench *b = *state;
	const struct uuid other = { { 9 } };
	struct store_writer *w;

	store_writer_close(b->w);
	b->w = NULL;
	assert_int_equal(store_writer_open(DIR, &other, b->sys, &w), -EBADMSG);
}

static void where_there_is_no_store_nothing_is_found(void **state)
{
	struct bench *b = *state;
	struct memsys *empty = memsys_new(2);
	struct store_upkeep_options o = { .now_us = T0 };
	struct store_upkeep_result result;
	struct store_reader *r;
	struct store_points *p;

	assert_int_equal(store_reader_open(DIR, memsys_sys(empty), 0, &r), -ENOENT);
	assert_int_equal(store_points_open(DIR, memsys_sys(empty), &p), -ENOENT);
	assert_int_equal(store_upkeep(DIR, memsys_sys(empty), &o, &result), -ENOENT);
	assert_int_equal(memsys_count(empty), 0);
	memsys_free(empty);
	/* A store without a point is not the same, but shows as little. */
	assert_int_equal(store_reader_open(DIR, b->sys, 0, &r), -ENOENT);
	assert_int_equal(count_points(b), 0);
}

/* --- what may be put ------------------------------------------------------------------------ */

static void puts_that_do_not_fit_the_disk_are_refused_and_harm_nothing(void **state)
{
	struct bench *b = *state;
	uint8_t buf[CHUNK_BYTES] = { 0 };

	assert_int_equal(put(b, 0, 4096, 1), -EINVAL); /* no disk yet */
	put_disk(b, 1 * MIB);
	assert_int_equal(put(b, 1 * MIB, 512, 1), -EINVAL);
	assert_int_equal(put(b, 1 * MIB - 512, 1024, 1), -EINVAL);
	assert_int_equal(put(b, 100, 512, 1), -EINVAL);
	assert_int_equal(put(b, CHUNK_BYTES - 512, 1024, 1), -EINVAL); /* crosses a chunk */
	assert_int_equal(store_put_zero(b->w, 0, 0, 0), -EINVAL);
	assert_int_equal(store_put_zero(b->w, 0, 512, UINT64_MAX - 511), -EINVAL);
	assert_int_equal(store_put_zero(b->w, 64, 0, 512), -EINVAL);
	assert_int_equal(store_put_data(b->w, 0, 0, 4096, CODEC_RAW, buf, 512, 0), -EINVAL);
	assert_int_equal(store_put_data(b->w, 0, 0, 4096, CODEC_LZ4, buf, 4097, 0), -EINVAL);
	assert_int_equal(store_put_data(b->w, 0, 0, 4096, 77, buf, 512, 0), -EINVAL);
	assert_int_equal(put(b, 0, 4096, 1), 0);
	commit(b);
	expect_at(b, 1, 0, 4096, 1);
}

static void disks_grow_and_go_but_do_not_shrink_or_become_others(void **state)
{
	struct bench *b = *state;
	struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = 512 * KIB };

	put_disk(b, 1 * MIB);
	assert_int_equal(store_put_disk(b->w, &d), -EINVAL);
	d.size_bytes = 2 * MIB;
	d.id = (struct uuid){ { 9 } };
	assert_int_equal(store_put_disk(b->w, &d), -EINVAL);
	put_disk(b, 2 * MIB);
	assert_int_equal(put(b, 2 * MIB - 512, 512, 7), 0);
	commit(b);
	d.size_bytes = 0;
	assert_int_equal(store_put_disk(b->w, &d), 0);
	assert_int_equal(put(b, 0, 512, 7), -EINVAL);
	commit(b);
	put_disk(b, 3 * MIB);
	commit(b);
	expect_at(b, 1, 2 * MIB - 512, 512, 7);
	expect_at(b, 3, 2 * MIB - 512, 512, 0); /* what comes in its place has nothing of it */
}

static void epochs_follow_each_other_in_number_and_time(void **state)
{
	struct bench *b = *state;
	struct store_epoch e = { .epoch = 2, .time_us = T0, .flags = STORE_EPOCH_POINT };

	assert_int_equal(store_commit(b->w, &e), -EINVAL);
	e.epoch = 1;
	e.flags = 4;
	assert_int_equal(store_commit(b->w, &e), -EINVAL);
	e.flags = STORE_EPOCH_POINT | STORE_EPOCH_LABELLED;
	strcpy(e.label, "two\nlines");
	assert_int_equal(store_commit(b->w, &e), -EINVAL);
	strcpy(e.label, "one line");
	assert_int_equal(store_commit(b->w, &e), 0);
	e.epoch = 2;
	assert_int_equal(store_commit(b->w, &e), -EINVAL); /* the same time */
	e.time_us++;
	assert_int_equal(store_commit(b->w, &e), 0);
	reopen(b);
	assert_int_equal(store_writer_last_epoch(b->w), 2);
	assert_int_equal(store_writer_last_time_us(b->w), T0 + 1);
}

static void what_was_not_committed_is_gone(void **state)
{
	struct bench *b = *state;

	put_disk(b, 1 * MIB);
	assert_int_equal(put(b, 0, 4096, 1), 0);
	commit(b);
	assert_int_equal(put(b, 0, 4096, 2), 0);
	reopen(b);
	assert_int_equal(store_writer_last_epoch(b->w), 1);
	expect_at(b, 0, 0, 4096, 1);
}

static uint64_t bytes_in_data_files(struct bench *b)
{
	uint64_t total = 0;
	size_t i, size;

	for (i = 0; i < memsys_count(b->mem); i++) {
		const char *name = memsys_name(b->mem, i);

		if (name && strncmp(name, "dat-", 4) == 0 && memsys_bytes(b->mem, name, &size))
			total += size;
	}
	return total;
}

static void put_much(struct bench *b)
{
	uint64_t at;

	for (at = 0; at < 8 * MIB; at += CHUNK_BYTES)
		assert_int_equal(put(b, at, CHUNK_BYTES, at + 1), 0);
}

static void expect_nothing_but_what_is_accounted_for(struct bench *b)
{
	struct store_usage u;
	uint64_t real = bytes_in_data_files(b);

	assert_int_equal(store_usage(DIR, b->sys, &u), 0);
	assert_true(real >= u.data_bytes && real < u.data_bytes + 4096);
}

static void what_was_not_committed_gives_its_room_back(void **state)
{
	struct bench *b = *state;

	put_disk(b, 8 * MIB);
	put_much(b);
	commit(b);
	assert_int_equal(put(b, 0, 4096, 5), 0);
	commit(b);
	put_much(b);
	assert_true(bytes_in_data_files(b) > 15 * MIB);
	store_writer_close(b->w);
	b->w = NULL;
	expect_nothing_but_what_is_accounted_for(b);
	expect_at(b, 0, 0, 4096, 5);
	expect_at(b, 1, 8 * MIB - CHUNK_BYTES, CHUNK_BYTES, 8 * MIB - CHUNK_BYTES + 1);
}

static void what_a_killed_writer_had_not_committed_gives_its_room_back(void **state)
{
	struct bench *b = *state;

	put_disk(b, 8 * MIB);
	assert_int_equal(put(b, 0, 4096, 5), 0);
	commit(b);
	put_much(b);
	memsys_cut(b->mem, memsys_changes(b->mem) + 1);
	store_writer_close(b->w);
	memsys_kill(b->mem);
	memsys_cut(b->mem, UINT64_MAX);
	assert_int_equal(store_writer_open(DIR, &machine, b->sys, &b->w), 0);
	expect_nothing_but_what_is_accounted_for(b);
	expect_at(b, 0, 0, 4096, 5);
}

/* --- a full disk ----------------------------------------------------------------------------- */

static void a_full_staging_disk_refuses_before_it_is_full_and_heals_when_there_is_room(void **state)
{
	struct bench *b = *state;
	int err = 0, i;

	b->sys->limits.reserve_bytes = 1 * MIB;
	b->sys->limits.reserve_permille = 10;
	memsys_capacity(b->mem, 8 * MIB);
	put_disk(b, 64 * MIB);
	commit(b);
	for (i = 0; i < 200 && err == 0; i++) {
		err = put(b, (uint64_t)(i % 50) * CHUNK_BYTES, CHUNK_BYTES, (uint64_t)i + 1);
		if (err == 0 && i % 10 == 9)
			err = commit_at(b, T0 + (uint64_t)(i + 2) * 1000000);
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(put(b, 0, 512, 1), -ESTALE);
	assert_true(memsys_total_bytes(b->mem) < 8 * MIB - 512 * KIB);

	/* The reserve lets it be opened, and upkeep work. */
	reopen(b);
	keep_only_the_newest(b);
	i = (int)store_writer_last_epoch(b->w);
	assert_true(i > 3);
	memsys_capacity(b->mem, 32 * MIB);
	assert_int_equal(put(b, 0, 4096, 99), 0);
	commit(b);
	expect_at(b, 0, 0, 4096, 99);
}

static void space_comes_back_when_points_expire_though_the_disk_was_full(void **state)
{
	struct bench *b = *state;
	uint64_t round, full, chunk;

	b->sys->limits.data_file_bytes = 1 * MIB;
	put_disk(b, 4 * MIB);
	for (round = 0; round < 10; round++) {
		for (chunk = 0; chunk < 64; chunk++)
			assert_int_equal(put(b, chunk * CHUNK_BYTES, CHUNK_BYTES, round * 100 + chunk + 1), 0);
		commit(b);
	}
	full = memsys_total_bytes(b->mem);
	assert_true(full > 40 * MIB);
	memsys_capacity(b->mem, full + 600 * KIB); /* hardly anything left */
	keep_only_the_newest(b);
	reopen(b);
	while (upkeep(b).more)
		;
	assert_true(memsys_total_bytes(b->mem) < 6 * MIB);
	assert_int_equal(count_points(b), 1);
	for (chunk = 0; chunk < 64; chunk++)
		expect_at(b, 0, chunk * CHUNK_BYTES, CHUNK_BYTES, 900 + chunk + 1);
}

static void space_comes_back_a_little_at_a_time_when_hardly_any_is_left(void **state)
{
	struct bench *b = *state;
	uint64_t chunk;

	b->sys->limits.data_file_bytes = 1 * MIB;
	put_disk(b, 32 * MIB);
	for (chunk = 0; chunk < 512; chunk++) {
		assert_int_equal(put(b, chunk * CHUNK_BYTES, CHUNK_BYTES, chunk + 1), 0);
		commit(b);
	}
	for (chunk = 0; chunk < 512; chunk++) { /* an eighth of each file stays */
		if (chunk % 8)
			assert_int_equal(store_put_zero(b->w, 0, chunk * CHUNK_BYTES, CHUNK_BYTES), 0);
	}
	commit(b);
	reopen(b);
	keep_only_the_newest(b);
	memsys_capacity(b->mem, memsys_total_bytes(b->mem) + 600 * KIB); /* 4 MiB are to be moved */
	while (upkeep(b).more)
		;
	assert_true(memsys_total_bytes(b->mem) < 5 * MIB);
	for (chunk = 0; chunk < 512; chunk++)
		expect_at(b, 0, chunk * CHUNK_BYTES, CHUNK_BYTES, chunk % 8 ? 0 : chunk + 1);
}

/* --- zeroes ---------------------------------------------------------------------------------- */

static void a_whole_disk_of_zeroes_is_a_few_entries_whatever_its_size(void **state)
{
	struct bench *b = *state;
	const uint64_t size = 200ULL * 1024 * GIB - 512;
	struct store_reader *r;
	struct store_usage u;
	uint64_t length, at, extents = 0;
	bool zero;

	put_disk(b, size);
	assert_int_equal(put(b, 77 * GIB, 4096, 1), 0);
	commit(b);
	assert_int_equal(store_put_zero(b->w, 0, 0, size), 0);
	assert_int_equal(put(b, 99 * GIB + 8192, 4096, 2), 0);
	commit(b);
	reopen(b);
	assert_int_equal(store_usage(DIR, b->sys, &u), 0);
	assert_true(u.run_bytes < 64 * KIB);
	expect_at(b, 1, 77 * GIB, 4096, 1);
	expect_at(b, 2, 77 * GIB, 4096, 0);
	assert_int_equal(store_reader_open(DIR, b->sys, 2, &r), 0);
	for (at = 0; at < size; at += length) {
		assert_int_equal(store_extent(r, 0, at, size - at, &zero, &length), 0);
		assert_true(zero == (at != 99 * GIB + 8192));
		extents++;
	}
	assert_int_equal(extents, 3);
	store_reader_close(r);
}

static void zeroes_that_hide_nothing_are_forgotten(void **state)
{
	struct bench *b = *state;
	struct store_usage before, after;
	uint64_t i;

	put_disk(b, 16 * GIB);
	for (i = 0; i < 2000; i++)
		assert_int_equal(store_put_zero(b->w, 0, i * MIB * 8, MIB), 0);
	commit(b);
	for (i = 0; i < 5; i++) {
		assert_int_equal(put(b, i * 4096, 4096, i + 1), 0);
		commit(b);
		reopen(b);
	}
	assert_int_equal(store_usage(DIR, b->sys, &before), 0);
	upkeep(b);
	assert_int_equal(store_usage(DIR, b->sys, &after), 0);
	assert_true(before.run_bytes > 2000 * ENTRY_BYTES && after.run_bytes < 500 * ENTRY_BYTES);
	for (i = 0; i < 5; i++)
		expect_at(b, 0, i * 4096, 4096, i + 1);
	expect_at(b, 0, 8 * MIB, 4096, 0);
}

static void data_under_a_discarded_range_gives_its_space_back(void **state)
{
	struct bench *b = *state;
	uint64_t chunk;

	keep_only_the_newest(b);
	put_disk(b, 1 * GIB);
	for (chunk = 0; chunk < 64; chunk++)
		assert_int_equal(put(b, chunk * CHUNK_BYTES, CHUNK_BYTES, chunk + 1), 0);
	commit(b);
	reopen(b);
	assert_int_equal(store_put_zero(b->w, 0, 0, 1 * GIB), 0);
	commit(b);
	reopen(b);
	while (upkeep(b).more)
		;
	assert_true(memsys_total_bytes(b->mem) < 128 * KIB);
	expect_at(b, 0, 0, CHUNK_BYTES, 0);
}

/* --- points ------------------------------------------------------------------------------------ */

static void points_are_found_by_time_and_a_time_before_the_first_is_none(void **state)
{
	struct bench *b = *state;
	struct store_points *p;
	struct store_reader *r;
	size_t i;

	put_disk(b, 1 * MIB);
	assert_int_equal(commit_at(b, T0), 0);
	assert_int_equal(commit_at(b, T0 + 500000), 0);
	assert_int_equal(store_points_open(DIR, b->sys, &p), 0);
	assert_int_equal(store_points_find(p, T0 - 1, &i), -ENOENT);
	assert_int_equal(store_points_find(p, T0, &i), 0);
	assert_int_equal(i, 0);
	assert_int_equal(store_points_find(p, T0 + 499999, &i), 0);
	assert_int_equal(i, 0);
	assert_int_equal(store_points_find(p, UINT64_MAX, &i), 0);
	assert_int_equal(i, 1);
	store_points_close(p);
	assert_int_equal(store_reader_open(DIR, b->sys, 3, &r), -ENOENT);
}

static void retention_keeps_the_last_of_each_hour_and_of_each_day(void **state)
{
	struct bench *b = *state;
	const uint64_t day = T0 / (24 * HOUR) * (24 * HOUR);
	uint64_t i, last = day + 10 * 24 * HOUR - 1; /* ten days, three points an hour */
	struct store_points *p;

	assert_int_equal(store_policy_set(DIR, b->sys, &(struct store_policy){ 7200, 86400, 5 * 86400 }), 0);
	put_disk(b, 1 * MIB);
	for (i = 0; i < 10 * 24 * 3; i++)
		assert_int_equal(commit_at(b, day + i * (HOUR / 3)), 0);
	assert_int_equal(commit_at(b, last), 0);
	reopen(b);
	while (upkeep(b).more)
		;
	assert_int_equal(store_points_open(DIR, b->sys, &p), 0);
	/* 4 days older than a day, 22 hours older than two, 7 of the last two hours. */
	assert_int_equal(store_points_count(p), 4 + 22 + 7);
	assert_int_equal(store_points_get(p, 0)->time_us, day + 6 * 24 * HOUR - HOUR / 3);
	assert_int_equal(store_points_get(p, 4)->time_us, day + 9 * 24 * HOUR + HOUR - HOUR / 3);
	store_points_close(p);
}

static void a_clock_that_jumps_ahead_deletes_nothing(void **state)
{
	struct bench *b = *state;
	uint64_t i;

	put_disk(b, 1 * MIB);
	for (i = 0; i < 10; i++)
		commit(b);
	reopen(b);
	upkeep(b); /* its now is the end of time */
	assert_int_equal(count_points(b), 10);
}

static void a_named_point_stays_and_goes_when_the_name_goes(void **state)
{
	struct bench *b = *state;
	uint64_t i;

	put_disk(b, 1 * MIB);
	for (i = 1; i <= 6; i++) {
		assert_int_equal(put(b, 0, 4096, i), 0);
		commit(b);
	}
	reopen(b);
	keep_only_the_newest(b);
	assert_int_equal(store_point_label(DIR, b->sys, 7, "no such point"), -ENOENT);
	assert_int_equal(store_point_label(DIR, b->sys, 3, "\x1b[2J"), -EINVAL);
	assert_int_equal(store_point_label(DIR, b->sys, 3, "before the upgrade"), 0);
	upkeep(b);
	assert_int_equal(count_points(b), 2);
	expect_at(b, 3, 0, 4096, 3);
	assert_int_equal(store_point_label(DIR, b->sys, 3, NULL), 0);
	upkeep(b);
	assert_int_equal(count_points(b), 1);
	expect_at(b, 0, 0, 4096, 6);
}

static void a_point_stays_for_as_long_as_somebody_reads_it(void **state)
{
	struct bench *b = *state;
	struct store_reader *r;
	uint64_t i;

	put_disk(b, 1 * MIB);
	for (i = 1; i <= 6; i++) {
		assert_int_equal(put(b, 0, CHUNK_BYTES, i), 0);
		commit(b);
	}
	reopen(b);
	keep_only_the_newest(b);
	assert_int_equal(store_reader_open(DIR, b->sys, 2, &r), 0);
	while (upkeep(b).more)
		;
	assert_int_equal(count_points(b), 2);
	expect(r, 0, CHUNK_BYTES, 2); /* from where its record was moved to */
	store_reader_close(r);
	while (upkeep(b).more)
		;
	assert_int_equal(count_points(b), 1);
	expect_at(b, 6, 0, CHUNK_BYTES, 6);
}

/* --- a reader while files go ------------------------------------------------------------------- */

static void twelve_points(struct bench *b)
{
	uint64_t i;

	put_disk(b, 1 * MIB);
	for (i = 1; i <= 12; i++) {
		assert_int_equal(put(b, 0, CHUNK_BYTES, i), 0);
		commit(b);
	}
	reopen(b);
	keep_only_the_newest(b);
}

static int no_locks(const struct store_sys *sys, int fd, uint64_t byte, enum sys_lock kind)
{
	return -ENOLCK;
}

static bool is_there(struct bench *b, const char *name)
{
	return memsys_bytes(b->mem, name, &(size_t){ 0 }) != NULL;
}

static void a_reader_whose_lock_did_not_take_fails_rather_than_lie_when_its_point_goes(void **state)
{
	struct bench *b = *state;
	struct store_sys sys = *b->sys;
	struct store_reader *r;
	uint8_t got[4096];

	twelve_points(b);
	sys.lock = no_locks;
	assert_int_equal(store_reader_open(DIR, &sys, 2, &r), 0);
	while (upkeep(b).more)
		;
	assert_int_equal(count_points(b), 1);
	assert_false(is_there(b, "dat-00000001.gwd"));
	assert_int_equal(store_read(r, 0, 0, sizeof(got), got), -ESTALE);
	store_reader_close(r);
}

static void a_reader_finds_its_records_although_their_files_number_was_given_again(void **state)
{
	struct bench *b = *state;
	struct store_reader *r;

	twelve_points(b);
	store_writer_close(b->w);
	b->w = NULL;
	assert_int_equal(store_reader_open(DIR, b->sys, 2, &r), 0);
	while (upkeep(b).more)
		;
	assert_false(is_there(b, "dat-00000001.gwd"));
	assert_int_equal(store_writer_open(DIR, &machine, b->sys, &b->w), 0);
	assert_int_equal(put(b, 0, CHUNK_BYTES, 7), 0);
	commit(b);
	assert_true(is_there(b, "dat-00000001.gwd")); /* another one */
	expect(r, 0, CHUNK_BYTES, 2);
	store_reader_close(r);
}

struct closing {
	struct bench *b;
	unsigned int calls_left;
};

static void close_after_some_calls(void *context, const char *call)
{
	struct closing *c = context;

	if (c->calls_left-- == 0) {
		store_writer_close(c->b->w);
		c->b->w = NULL;
	}
}

static void whoever_looks_while_an_unused_journal_goes_finds_the_points(void **state)
{
	struct bench *b = *state;
	struct closing c = { .b = b };
	unsigned int at;
	struct store_reader *r;

	put_disk(b, 1 * MIB);
	assert_int_equal(put(b, 0, 4096, 1), 0);
	commit(b);
	reopen(b);
	for (at = 0; !b->w || at == 0; at++) {
		if (!b->w)
			assert_int_equal(store_writer_open(DIR, &machine, b->sys, &b->w), 0);
		assert_int_equal(put(b, 0, 4096, 2), 0); /* a journal, and nothing committed */
		c.calls_left = at;
		memsys_hook(b->mem, close_after_some_calls, &c);
		assert_int_equal(store_reader_open(DIR, b->sys, 0, &r), 0);
		memsys_hook(b->mem, NULL, NULL);
		expect(r, 0, 4096, 1);
		store_reader_close(r);
		assert_int_equal(count_points(b), 1);
	}
	assert_true(at > 5);
}

/* --- upkeep -------------------------------------------------------------------------------------- */

static bool stop_at_once(void *context, uint64_t bytes_done)
{
	return true;
}

static void upkeep_stops_when_asked_and_leaves_nothing_behind(void **state)
{
	struct bench *b = *state;
	const struct store_upkeep_options o = { .now_us = T0, .stop = stop_at_once };
	struct store_upkeep_result result;
	uint64_t before, i;

	b->sys->limits.data_file_bytes = 512 * KIB;
	keep_only_the_newest(b);
	put_disk(b, 16 * MIB);
	for (i = 0; i < 256; i++) {
		assert_int_equal(put(b, i * CHUNK_BYTES, CHUNK_BYTES, i + 1), 0);
		commit(b);
	}
	for (i = 0; i < 256; i++)
		assert_int_equal(i % 3 ? put(b, i * CHUNK_BYTES, CHUNK_BYTES, i + 1001) : 0, 0);
	commit(b);
	reopen(b);
	assert_int_equal(store_upkeep(DIR, b->sys, &o, &result), 0);
	before = memsys_total_bytes(b->mem);
	for (i = 0; i < 5; i++) { /* now for the large part, which is never let through */
		assert_int_equal(store_upkeep(DIR, b->sys, &o, &result), 0);
		assert_true(result.more);
		assert_true(memsys_total_bytes(b->mem) <= before);
	}
	while (upkeep(b).more)
		;
	assert_true(memsys_total_bytes(b->mem) < before - 4 * MIB);
	for (i = 0; i < 256; i++)
		expect_at(b, 0, i * CHUNK_BYTES, CHUNK_BYTES, i % 3 ? i + 1001 : i + 1);
}

static bool is_enough(void *context)
{
	++*(unsigned int *)context;
	return true;
}

static void upkeep_that_has_enough_leaves_the_rest_but_loses_no_job(void **state)
{
	struct bench *b = *state;
	unsigned int jobs = 0, rounds = 0;
	const struct store_upkeep_options o = { .now_us = UINT64_MAX, .enough = is_enough, .context = &jobs };
	struct store_upkeep_result result;

	b->sys->limits.data_file_epochs = 4;
	b->sys->limits.merge_fan_in = 4;
	b->sys->limits.tier_entries = 16;
	keep_only_the_newest(b);
	put_disk(b, 1 * MIB);
	for (uint64_t i = 1; i <= 200; i++) {
		assert_int_equal(put(b, i % 16 * CHUNK_BYTES, CHUNK_BYTES, i), 0);
		commit(b);
	}
	reopen(b);
	do {
		assert_int_equal(store_upkeep(DIR, b->sys, &o, &result), 0);
		assert_true(++rounds < 1000);
		assert_true(jobs <= rounds); /* one each at most: this is where it is asked */
	} while (result.more);
	assert_true(jobs > 0 && rounds > 1);
	assert_int_equal(count_points(b), 1);
	assert_false(upkeep(b).more);
	expect_at(b, 0, 8 * CHUNK_BYTES, CHUNK_BYTES, 200);
}

static void a_point_that_somebody_comes_back_for_does_not_expire(void **state)
{
	struct bench *b = *state;
	const uint64_t held[] = { 3, 7, 1000 }; /* the last is none */
	const struct store_upkeep_options o = { .now_us = UINT64_MAX, .held = held, .held_count = ARRAY_LEN(held) };
	struct store_upkeep_result r;

	keep_only_the_newest(b);
	put_disk(b, 1 * MIB);
	for (uint64_t i = 1; i <= 12; i++) {
		assert_int_equal(put(b, 0, CHUNK_BYTES, i), 0);
		commit(b);
	}
	reopen(b);
	do
		assert_int_equal(store_upkeep(DIR, b->sys, &o, &r), 0);
	while (r.more);
	assert_int_equal(count_points(b), 3);
	expect_at(b, 3, 0, CHUNK_BYTES, 3);
	expect_at(b, 7, 0, CHUNK_BYTES, 7);
	while (upkeep(b).more)
		;
	assert_int_equal(count_points(b), 1);
}

static void upkeep_of_a_store_at_rest_changes_nothing(void **state)
{
	struct bench *b = *state;
	struct store_upkeep_result r;
	uint64_t i, changes;

	put_disk(b, 1 * MIB);
	for (i = 0; i < 9; i++) {
		assert_int_equal(put(b, 0, 4096, i + 1), 0);
		commit(b);
		reopen(b);
	}
	while (upkeep(b).more)
		;
	changes = memsys_changes(b->mem);
	r = upkeep(b);
	assert_false(r.more);
	assert_int_equal(r.bytes_rewritten + r.bytes_freed + r.points_expired + r.runs_merged, 0);
	assert_true(memsys_changes(b->mem) <= changes + 1); /* the lock file is opened */
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_second_writer_is_refused),
		T(the_store_of_another_machine_is_refused),
		T(where_there_is_no_store_nothing_is_found),
		T(puts_that_do_not_fit_the_disk_are_refused_and_harm_nothing),
		T(disks_grow_and_go_but_do_not_shrink_or_become_others),
		T(epochs_follow_each_other_in_number_and_time),
		T(what_was_not_committed_is_gone),
		T(what_was_not_committed_gives_its_room_back),
		T(what_a_killed_writer_had_not_committed_gives_its_room_back),
		T(a_full_staging_disk_refuses_before_it_is_full_and_heals_when_there_is_room),
		T(space_comes_back_when_points_expire_though_the_disk_was_full),
		T(space_comes_back_a_little_at_a_time_when_hardly_any_is_left),
		T(a_whole_disk_of_zeroes_is_a_few_entries_whatever_its_size),
		T(zeroes_that_hide_nothing_are_forgotten),
		T(data_under_a_discarded_range_gives_its_space_back),
		T(points_are_found_by_time_and_a_time_before_the_first_is_none),
		T(retention_keeps_the_last_of_each_hour_and_of_each_day),
		T(a_clock_that_jumps_ahead_deletes_nothing),
		T(a_named_point_stays_and_goes_when_the_name_goes),
		T(a_point_stays_for_as_long_as_somebody_reads_it),
		T(a_reader_whose_lock_did_not_take_fails_rather_than_lie_when_its_point_goes),
		T(a_reader_finds_its_records_although_their_files_number_was_given_again),
		T(whoever_looks_while_an_unused_journal_goes_finds_the_points),
		T(upkeep_stops_when_asked_and_leaves_nothing_behind),
		T(upkeep_that_has_enough_leaves_the_rest_but_loses_no_job),
		T(a_point_that_somebody_comes_back_for_does_not_expire),
		T(upkeep_of_a_store_at_rest_changes_nothing),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
