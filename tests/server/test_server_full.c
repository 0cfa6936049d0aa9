/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full staging area: a server whose store lies on a small tmpfs.  Nothing
 * acknowledged is lost, it is said, and it goes on by itself.
 */
#include "fixture.h"
#include "store.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_BYTES (256 * MIB)
#define STAGING_OPTIONS "size=160m"
#define EPOCH_CHUNKS 16u

static struct fixture server;
static char dir[] = "/tmp/godwit-test-full-XXXXXX";
static char ballast[128];

static void fill(uint64_t epoch, unsigned int chunk, uint8_t *ret)
{
	unsigned int seed = (unsigned int)(epoch * 1000 + chunk);

	for (size_t i = 0; i < CHUNK_BYTES; i += 4) {
		int r = rand_r(&seed);

		memcpy(ret + i, &r, 4);
	}
}

static uint64_t offset_of(uint64_t epoch, unsigned int chunk)
{
	return (epoch * EPOCH_CHUNKS + chunk) % (DISK_BYTES / CHUNK_BYTES) * CHUNK_BYTES;
}

static int send_epoch(struct peer *p, uint64_t epoch)
{
	uint8_t chunk[CHUNK_BYTES];
	int err = 0;

	for (unsigned int c = 0; c < EPOCH_CHUNKS && !err; c++) {
		fill(epoch, c, chunk);
		err = peer_data(p, 0, offset_of(epoch, c), chunk, sizeof(chunk), CODEC_RAW);
	}
	return err ? err : peer_commit_durable(p, epoch, epoch * USEC_PER_SEC);
}

/* Until the server refuses; the last epoch that was acknowledged. */
static uint64_t send_until_refused(uint64_t *epoch)
{
	struct peer p;
	int err;

	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, epoch), 0);
	while ((err = send_epoch(&p, *epoch + 1)) == 0)
		++*epoch;
	peer_abandon(&p);
	return *epoch;
}

static void check_points(uint64_t last)
{
	uint8_t want[CHUNK_BYTES], got[CHUNK_BYTES];
	struct store_reader *r;
	char store[512];

	fixture_store(&server, 0, store, sizeof(store));
	for (uint64_t e = 1; e <= last; e++) {
		assert_int_equal(store_reader_open(store, &store_sys_default, e, &r), 0);
		for (unsigned int c = 0; c < EPOCH_CHUNKS; c += 5) {
			fill(e, c, want);
			assert_int_equal(store_read(r, 0, offset_of(e, c), CHUNK_BYTES, got), 0);
			assert_memory_equal(got, want, CHUNK_BYTES);
		}
		store_reader_close(r);
	}
}

static int start(void **state)
{
	char store[64];

	assert_non_null(mkdtemp(dir));
	snprintf(store, sizeof(store), "%.40s/store", dir);
	assert_int_equal(mkdir(store, 0700), 0);
	if (mount("godwit-test", store, "tmpfs", 0, STAGING_OPTIONS)) {
		print_message("skipped: a tmpfs cannot be mounted here\n");
		return 0;
	}
	snprintf(ballast, sizeof(ballast), "%s/ballast", store);
	fixture_start(&server, dir);
	return 0;
}

static int stop(void **state)
{
	char store[160];

	if (!server.pid)
		return 0;
	snprintf(store, sizeof(store), "%s/store", dir);
	(void)umount2(store, MNT_DETACH);
	assert_int_equal(fixture_stop(&server), 0);
	return 0;
}

static void make_ballast(uint64_t bytes)
{
	int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
	close(fd);
}

static void test_a_full_staging_area_is_said_and_left_by_itself(void **state)
{
	uint64_t epoch, before;
	struct peer p;

	if (!server.pid)
		skip();
	make_ballast(40 * MIB);
	before = send_until_refused(&epoch);
	assert_true(before > 5);
	assert_true(fixture_wait_log(&server, "one is refused: STAGING_FULL"));
	assert_true(fixture_wait_log(&server, "is full"));
	check_points(before);

	/* It stays so until there is room ... */
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_hello(&p, &server.machines[0], 1), 0);
	assert_int_equal(peer_disk(&p, 0, DISK_BYTES), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_STAGING_FULL), 0);
	peer_abandon(&p);

	/* ... and then goes on where it was. */
	assert_int_equal(unlink(ballast), 0);
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, &epoch), 0);
	assert_int_equal(epoch, before);
	assert_int_equal(send_epoch(&p, epoch + 1), 0);
	peer_close(&p);
	check_points(epoch + 1);
	assert_true(fixture_wait_log(&server, "has room again"));
}

/* All that is free goes at once: the write itself fails, not the check before it. */
static void test_a_write_without_room_loses_nothing_acknowledged(void **state)
{
	uint64_t epoch;
	struct peer p;

	if (!server.pid)
		skip();
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, &epoch), 0);
	assert_int_equal(send_epoch(&p, epoch + 1), 0);
	epoch++;
	make_ballast(1);
	for (uint64_t step = 16 * MIB; step >= 4096; step /= 2) {
		int fd = open(ballast, O_WRONLY | O_APPEND | O_CLOEXEC), err;
		struct stat st;

		assert_int_equal(fstat(fd, &st), 0);
		do
			err = posix_fallocate(fd, st.st_size, (off_t)step);
		while (!err && fstat(fd, &st) == 0);
		close(fd);
	}
	assert_true(send_epoch(&p, epoch + 1) < 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, "STAGING_FULL"));
	assert_int_equal(unlink(ballast), 0);
	check_points(epoch);
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, &epoch), 0);
	assert_int_equal(send_epoch(&p, epoch + 1), 0);
	peer_close(&p);
	check_points(epoch + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_full_staging_area_is_said_and_left_by_itself),
		cmocka_unit_test(test_a_write_without_room_loses_nothing_acknowledged),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
