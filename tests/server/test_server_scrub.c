/* SPDX-License-Identifier: Apache-2.0 */
/* The weekly scrub of a real godwit-server: it stops when it is in somebody's way, and says so when
 * it cannot be done. */
#include "fileio.h"
#include "fixture.h"
#include "store.h"
#include "wallclock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define STORE_BYTES (320 * MIB) /* read back in 20 s, at STORES_SCRUB_BYTES_PER_SECOND */
#define SOON_US (6 * USEC_PER_SEC)

static struct fixture server;

static void fill_store(uint64_t bytes)
{
	static uint8_t chunk[CHUNK_BYTES] = { 1, 2, 3 };
	const struct store_disk d = { .sector_bytes = 512, .size_bytes = STORE_BYTES, .id = peer_disk_id(0) };
	const struct store_epoch e = { .epoch = 1, .time_us = 1000, .flags = STORE_EPOCH_POINT };
	struct store_writer *w;
	char dir[512];

	assert_int_equal(store_writer_open(fixture_store(&server, 0, dir, sizeof(dir)), &server.machines[0],
					   &store_sys_default, &w), 0);
	assert_int_equal(store_put_disk(w, &d), 0);
	for (uint64_t at = 0; at < bytes; at += sizeof(chunk))
		assert_int_equal(store_put_data(w, 0, at, sizeof(chunk), CODEC_RAW, chunk, sizeof(chunk),
						payload_checksum(chunk, sizeof(chunk))), 0);
	assert_int_equal(store_commit(w, &e), 0);
	store_writer_close(w);
}

/* It was scrubbed when files were not dated yet. */
static void be_due(void)
{
	const struct timespec long_ago[2] = { { 0 } };
	char path[512], id[UUID_TEXT_LEN + 1];

	snprintf(path, sizeof(path), "%s/scrubbed", server.dir);
	assert_int_equal(fileio_mkdirs(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/scrubbed/%s", server.dir, uuid_format(&server.machines[0], id));
	assert_int_equal(fileio_replace(path, "", 0, 0600), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

/* A server with a store of @bytes that is due; what @spoil does is done before it sees it. */
static void start(uint64_t bytes, void (*spoil)(void))
{
	fixture_start(&server, NULL);
	fixture_kill(&server);
	fill_store(bytes);
	if (spoil)
		spoil();
	be_due();
	fixture_run(&server);
}

static void test_a_removed_machine_does_not_wait_for_its_scrub(void **state)
{
	uint64_t since;
	char dir[512];

	start(STORE_BYTES, NULL);
	assert_true(fixture_wait_log(&server, "is read back, as every week"));
	since = monotonic_now_us();
	fixture_set_states(&server, "removed", "started");
	assert_true(fixture_wait_log(&server, "has been deleted"));
	assert_true(monotonic_now_us() - since < SOON_US);
	assert_int_equal(access(fixture_store(&server, 0, dir, sizeof(dir)), F_OK), -1);
	assert_int_equal(fixture_stop(&server), 0);
}

static void test_a_server_that_stops_leaves_no_scrub_behind(void **state)
{
	pid_t group;
	uint64_t since;

	start(STORE_BYTES, NULL);
	group = server.pid;
	assert_true(fixture_wait_log(&server, "is read back, as every week"));
	since = monotonic_now_us();
	assert_int_equal(fixture_stop(&server), 0);
	assert_true(monotonic_now_us() - since < SOON_US);
	assert_int_equal(kill(-group, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* The header of its only run. */
static void flip_a_bit(void)
{
	char dir[512], path[1024] = "";
	uint8_t byte;
	struct dirent *e;
	DIR *d = opendir(fixture_store(&server, 0, dir, sizeof(dir)));
	int fd;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (strncmp(e->d_name, "run-", 4) == 0)
			snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
	closedir(d);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, 20), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 20), 1);
	close(fd);
}

static void test_a_scrub_that_cannot_be_done_is_said(void **state)
{
	start(MIB, flip_a_bit);
	assert_true(fixture_wait_log(&server, "could not be read back: its files are damaged"));
	assert_int_equal(fixture_stop(&server), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_removed_machine_does_not_wait_for_its_scrub),
		cmocka_unit_test(test_a_server_that_stops_leaves_no_scrub_behind),
		cmocka_unit_test(test_a_scrub_that_cannot_be_done_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
