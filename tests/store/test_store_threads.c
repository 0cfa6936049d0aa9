/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One reader, many threads, on real files, while upkeep moves what it reads
 * from under it.  Meant for the thread sanitizer, too.
 */
#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define CHUNKS 64u
#define THREADS 4u
#define SHOWN 20u /* the epoch that the reader shows */

struct shared {
	struct store_reader *reader;
	atomic_bool stop;
	atomic_uint wrong, failed, reads;
};

static const struct uuid machine = { { 4, 2 } };
static char dir[64];

static void put_all(struct store_writer *w, uint64_t epoch)
{
	const struct store_epoch e = { .epoch = epoch, .time_us = epoch * 1000000, .flags = STORE_EPOCH_POINT };
	uint8_t buf[CHUNK_BYTES];
	uint64_t chunk;

	for (chunk = epoch % 3; chunk < CHUNKS; chunk += 1 + epoch % 2) {
		memset(buf, (int)(epoch + chunk), sizeof(buf));
		assert_int_equal(store_put_data(w, 0, chunk * CHUNK_BYTES, CHUNK_BYTES, CODEC_RAW, buf, CHUNK_BYTES,
						payload_checksum(buf, CHUNK_BYTES)), 0);
	}
	assert_int_equal(store_commit(w, &e), 0);
}

/* The newest epoch up to @SHOWN that wrote @chunk, as put_all() does. */
static uint8_t expected(uint64_t chunk)
{
	uint64_t epoch;

	for (epoch = SHOWN; epoch > 0; epoch--) {
		if (chunk >= epoch % 3 && (chunk - epoch % 3) % (1 + epoch % 2) == 0)
			return (uint8_t)(epoch + chunk);
	}
	return 0;
}

static void *read_on(void *context)
{
	struct shared *s = context;
	uint8_t buf[CHUNK_BYTES];
	uint64_t i, chunk = (uintptr_t)&buf >> 12;

	while (!s->stop) {
		chunk = (chunk * 5 + 1) % CHUNKS;
		if (store_read(s->reader, 0, chunk * CHUNK_BYTES, CHUNK_BYTES, buf) < 0)
			s->failed++;
		for (i = 0; i < CHUNK_BYTES; i++) {
			if (buf[i] != expected(chunk)) {
				s->wrong++;
				break;
			}
		}
		s->reads++;
	}
	return NULL;
}

static void upkeep(const struct store_sys *sys)
{
	struct store_upkeep_options o = { .now_us = UINT64_MAX };
	struct store_upkeep_result r;

	do
		assert_int_equal(store_upkeep(dir, sys, &o, &r), 0);
	while (r.more);
}

static void threads_share_a_reader_while_upkeep_moves_its_records(void **state)
{
	const struct store_disk d = { .disk = 0, .sector_bytes = 512, .size_bytes = CHUNKS * CHUNK_BYTES };
	struct store_sys sys = store_sys_default;
	struct shared s = { 0 };
	struct store_writer *w;
	pthread_t threads[THREADS];
	uint64_t epoch;
	size_t i;

	sys.limits.data_file_bytes = 2 * MIB;
	sys.limits.merge_fan_in = 3;
	assert_int_equal(store_writer_open(dir, &machine, &sys, &w), 0);
	assert_int_equal(store_policy_set(dir, &sys, &(struct store_policy){ 0, 0, 0 }), 0);
	assert_int_equal(store_put_disk(w, &d), 0);
	for (epoch = 1; epoch <= SHOWN; epoch++)
		put_all(w, epoch);
	assert_int_equal(store_reader_open(dir, &sys, SHOWN, &s.reader), 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &s), 0);
	for (; epoch <= SHOWN + 40; epoch++) {
		put_all(w, epoch);
		if (epoch % 5 == 0)
			upkeep(&sys);
	}
	s.stop = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	store_reader_close(s.reader);
	store_writer_close(w);
	assert_int_equal(s.failed, 0);
	assert_int_equal(s.wrong, 0);
	assert_true(s.reads > 0);
}

static int make_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test-store-threads-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[512];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	if (d)
		closedir(d);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_share_a_reader_while_upkeep_moves_its_records),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
