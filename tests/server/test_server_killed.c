/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that is killed at every stage of its work: what was DURABLE is
 * there, and what is there is right.
 *
 * What epoch e writes depends on e alone, so the disk at every epoch is known
 * without remembering anything: chunk c was last written by the newest epoch
 * at or before e that writes it.
 */
#include "dat.h"
#include "fixture.h"
#include "store.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define CHUNKS 24u
#define DISK_BYTES (CHUNKS * (uint64_t)CHUNK_BYTES)
#define EPOCHS_A_RUN 12
#define TIME_OF(epoch) ((epoch) * USEC_PER_SEC)

static struct fixture server;

/* --- the model ----------------------------------------------------------------- */

static bool writes(uint64_t epoch, unsigned int chunk)
{
	return (epoch * 2654435761u + chunk * 40503u) >> 7 & 1;
}

static bool writes_zero(uint64_t epoch, unsigned int chunk)
{
	return (epoch + chunk) % 5 == 0;
}

static void chunk_of_epoch(uint64_t epoch, unsigned int chunk, uint8_t *ret)
{
	memset(ret, 0, CHUNK_BYTES);
	if (writes_zero(epoch, chunk))
		return;
	for (size_t i = 0; i < CHUNK_BYTES; i += 16) {
		memcpy(ret + i, &epoch, 8);
		memcpy(ret + i + 8, &chunk, 4);
	}
}

static void chunk_at(uint64_t epoch, unsigned int chunk, uint8_t *ret)
{
	while (epoch > 0 && !writes(epoch, chunk))
		epoch--;
	if (epoch)
		chunk_of_epoch(epoch, chunk, ret);
	else
		memset(ret, 0, CHUNK_BYTES);
}

static void check_point(const char *dir, uint64_t epoch)
{
	uint8_t want[CHUNK_BYTES], got[CHUNK_BYTES];
	struct store_reader *r;

	assert_int_equal(store_reader_open(dir, &store_sys_default, epoch, &r), 0);
	assert_int_equal(store_reader_point(r)->epoch, epoch);
	assert_int_equal(store_reader_point(r)->time_us, TIME_OF(epoch));
	for (unsigned int c = 0; c < CHUNKS; c++) {
		assert_int_equal(store_read(r, 0, c * (uint64_t)CHUNK_BYTES, CHUNK_BYTES, got), 0);
		chunk_at(epoch, c, want);
		assert_memory_equal(got, want, CHUNK_BYTES);
	}
	store_reader_close(r);
}

/* At least up to @acknowledged; @stride of the points are compared. */
static uint64_t check_store(uint64_t acknowledged, size_t stride)
{
	struct store_points *p;
	uint64_t last = 0;
	char dir[512];

	fixture_store(&server, 0, dir, sizeof(dir));
	if (acknowledged == 0 && access(dir, F_OK))
		return 0;
	if (store_points_open(dir, &store_sys_default, &p)) {
		assert_int_equal(acknowledged, 0); /* killed before the store was begun */
		return 0;
	}
	assert_true(store_points_count(p) >= acknowledged);
	for (size_t i = 0; i < store_points_count(p); i++) {
		last = store_points_get(p, i)->epoch;
		assert_int_equal(last, i + 1);
		if (i % stride == 0 || i + 3 >= store_points_count(p))
			check_point(dir, last);
	}
	store_points_close(p);
	return last;
}

/* --- a run ----------------------------------------------------------------------- */

static int send_epoch(struct peer *p, uint64_t epoch)
{
	uint8_t chunk[CHUNK_BYTES];
	int err = 0;

	for (unsigned int c = 0; c < CHUNKS && !err; c++) {
		if (!writes(epoch, c))
			continue;
		chunk_of_epoch(epoch, c, chunk);
		err = writes_zero(epoch, c) ? peer_zero(p, 0, c * (uint64_t)CHUNK_BYTES, CHUNK_BYTES) :
					      peer_data(p, 0, c * (uint64_t)CHUNK_BYTES, chunk, CHUNK_BYTES,
							(uint8_t)((epoch + c) % 3));
	}
	return err ? err : peer_commit(p, epoch, TIME_OF(epoch), WIRE_COMMIT_POINT, NULL);
}

/* Sends some epochs, two ahead of what is durable; the last acknowledged in
 * *@acknowledged.  0 if nothing broke. */
static int talk(uint64_t *acknowledged, unsigned int epochs)
{
	struct wire_durable d;
	uint64_t durable, epoch;
	struct peer p;
	int err = peer_open(&p, server.tls[0], server.port);

	if (err)
		return err;
	err = peer_greet(&p, &server.machines[0], DISK_BYTES, &durable);
	if (!err) {
		assert_true(durable >= *acknowledged);
		*acknowledged = durable;
	}
	for (epoch = durable; !err && *acknowledged < durable + epochs;) {
		while (!err && epoch < durable + epochs && epoch < *acknowledged + 3)
			err = send_epoch(&p, ++epoch);
		if (!err)
			err = peer_receive_type(&p, WIRE_DURABLE);
		if (!err && wire_parse_durable(p.body, p.header.length, &d) == 0)
			*acknowledged = d.epoch;
	}
	if (err)
		peer_abandon(&p);
	else
		peer_close(&p);
	return err;
}

static void wait_killed(void)
{
	char buf[4096];

	while (read(server.log_fd, buf, sizeof(buf)) > 0)
		;
	fixture_kill(&server);
}

/* --- tests ------------------------------------------------------------------------- */

static void test_killed_at_each_call_in_turn_nothing_durable_is_lost(void **state)
{
	uint64_t acknowledged = 0;
	unsigned int kills = 0, survived = 0;
	char number[24];

#ifdef GODWIT_NO_PRELOAD
	print_message("skipped: a sanitizer must be loaded first\n");
	skip();
#endif
	for (long at = 1; survived < 2; at++) {
		int err;

		snprintf(number, sizeof(number), "%ld", at);
		(void)setenv("GODWIT_KILL_AT", number, 1);
		(void)setenv("LD_PRELOAD", GODWIT_KILLAT, 1);
		if (at == 1)
			fixture_start(&server, NULL);
		else
			fixture_run(&server);
		(void)unsetenv("LD_PRELOAD");
		err = talk(&acknowledged, EPOCHS_A_RUN);
		if (err) {
			wait_killed();
			kills++;
		} else {
			(void)fixture_wait_log(&server, "one is disconnected");
			survived++;
			fixture_kill(&server);
		}
		acknowledged = check_store(acknowledged, 16);
		assert_true(at < 1000);
	}
	print_message("killed %u times, %llu epochs\n", kills, (unsigned long long)acknowledged);
	assert_true(kills >= 20);
	(void)check_store(acknowledged, 1);
	fixture_run(&server);
	assert_int_equal(talk(&acknowledged, EPOCHS_A_RUN), 0);
	(void)check_store(acknowledged, 1);
	assert_int_equal(fixture_stop(&server), 0);
}

/* All processes at once, at any moment. */
static void kill_group_after(unsigned int us)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)poll(NULL, 0, 0);
		(void)usleep(us);
		(void)kill(-server.pid, SIGKILL);
		_exit(0);
	}
}

static void test_killed_at_random_moments_nothing_durable_is_lost(void **state)
{
	unsigned int seed = (unsigned int)(getenv("GODWIT_SEED") ? atoi(getenv("GODWIT_SEED")) : getpid());
	uint64_t acknowledged = 0;

	print_message("GODWIT_SEED=%u\n", seed);
	fixture_start(&server, NULL);
	for (int i = 0; i < 40; i++) {
		if (i)
			fixture_run(&server);
		kill_group_after((unsigned int)rand_r(&seed) % 60000);
		(void)talk(&acknowledged, 100000);
		wait_killed();
		acknowledged = check_store(acknowledged, 64);
	}
	print_message("%llu epochs\n", (unsigned long long)acknowledged);
	(void)check_store(acknowledged, 16);
	assert_int_equal(fixture_stop(&server), 0);
}

/* The commit record of @epoch in the newest journal. */
static void damage_commit(uint64_t epoch)
{
	char dir[512], path[600];
	const uint8_t *payload;
	uint64_t position;
	struct dat_walk w;
	struct record r;
	struct dat d;
	uint8_t byte;
	int fd;

	fixture_store(&server, 0, dir, sizeof(dir));
	assert_int_equal(dat_open(&store_sys_default, dir, 1, &d), 0);
	assert_int_equal(dat_walk_begin(&d, &w), 0);
	do
		assert_int_equal(dat_walk_next(&w, false, &r, &position, &payload), 1);
	while (r.type != RECORD_COMMIT || version_epoch(r.version) != epoch);
	dat_walk_end(&w);
	dat_close(&d);
	snprintf(path, sizeof(path), "%s/dat-00000001.gwd", dir);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)position + 20), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)position + 20), 1);
	close(fd);
}

static void test_epochs_that_a_damaged_file_lost_are_said_to_be_lost(void **state)
{
	uint64_t acknowledged = 0, durable;
	char dir[512], bad[600];
	struct peer p;

	fixture_start(&server, NULL);
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, &durable), 0);
	while (acknowledged < 6) {
		struct wire_durable d;

		assert_int_equal(send_epoch(&p, acknowledged + 1), 0);
		assert_int_equal(peer_receive_type(&p, WIRE_DURABLE), 0);
		assert_int_equal(wire_parse_durable(p.body, p.header.length, &d), 0);
		acknowledged = d.epoch;
	}
	(void)kill(-server.pid, SIGKILL);
	wait_killed();
	peer_abandon(&p);
	damage_commit(3);
	fixture_run(&server);
	assert_int_equal(peer_open(&p, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, &durable), 0);
	assert_int_equal(durable, 2);
	(void)fixture_wait_log(&server, "has lost epochs 3-6, which were acknowledged");
	peer_close(&p);
	fixture_store(&server, 0, dir, sizeof(dir));
	snprintf(bad, sizeof(bad), "%s/bad-00000001.gwd", dir);
	assert_int_equal(access(bad, F_OK), 0);
	assert_int_equal(fixture_stop(&server), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_at_each_call_in_turn_nothing_durable_is_lost),
		cmocka_unit_test(test_killed_at_random_moments_nothing_durable_is_lost),
		cmocka_unit_test(test_epochs_that_a_damaged_file_lost_are_said_to_be_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
