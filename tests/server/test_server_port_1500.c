/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What strangers and broken agents do on port 1500, against the real program.
 * Beside every one of them a session of machine "two" goes on: after each
 * test an epoch of it must become durable.
 */
#include "fixture.h"
#include "store.h"
#include "wallclock.h"
#include "xxh3.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_BYTES (64 * MIB)

static struct fixture server;
static struct peer bystander;
static uint64_t bystander_epoch, source_time_us;

static uint64_t next_time(void)
{
	uint64_t now = wallclock_now_us();

	source_time_us = MAX(now, source_time_us + 1);
	return source_time_us;
}

static void check_bystander(void)
{
	uint8_t block[4096];

	memset(block, (int)bystander_epoch + 1, sizeof(block));
	assert_int_equal(peer_data(&bystander, 0, 4096 * bystander_epoch, block, sizeof(block), CODEC_RAW), 0);
	bystander_epoch++;
	assert_int_equal(peer_commit_durable(&bystander, bystander_epoch, next_time()), 0);
}

static int start_all(void **state)
{
	fixture_start(&server, NULL);
	assert_int_equal(peer_open(&bystander, server.tls[1], server.port), 0);
	assert_int_equal(peer_greet(&bystander, &server.machines[1], DISK_BYTES, &bystander_epoch), 0);
	check_bystander();
	return 0;
}

static int stop_all(void **state)
{
	peer_close(&bystander);
	assert_int_equal(fixture_stop(&server), 0);
	return 0;
}

static int after_each(void **state)
{
	check_bystander();
	return 0;
}

static void open_one(struct peer *p)
{
	assert_int_equal(peer_open(p, server.tls[0], server.port), 0);
}

/* Up to WELCOME; the epoch that comes next. */
static uint64_t greet_one(struct peer *p)
{
	uint64_t epoch;

	open_one(p);
	assert_int_equal(peer_greet(p, &server.machines[0], DISK_BYTES, &epoch), 0);
	return epoch + 1;
}

/* The server closes by itself: any bytes, then the end. */
static void expect_closed(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&p, 1, PEER_WAIT_MS), 1);
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	close(fd);
}

/* --- before TLS ------------------------------------------------------------------ */

static void test_random_bytes_are_turned_away(void **state)
{
	unsigned int seed = (unsigned int)(getenv("GODWIT_SEED") ? atoi(getenv("GODWIT_SEED")) : getpid());
	uint8_t junk[4096];

	print_message("GODWIT_SEED=%u\n", seed);
	for (int i = 0; i < 8; i++) {
		int fd = peer_connect(server.port);

		assert_true(fd >= 0);
		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rand_r(&seed);
		(void)send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
		(void)shutdown(fd, SHUT_WR);
		expect_closed(fd);
	}
	assert_true(fixture_wait_log(&server, "turned away"));
}

static void test_http_is_turned_away(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: godwit\r\n\r\n";
	int fd = peer_connect(server.port);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	expect_closed(fd);
	assert_true(fixture_wait_log(&server, "turned away"));
}

/* Ten seconds at most, then the connection is gone. */
static void test_who_says_nothing_is_turned_away_in_time(void **state)
{
	uint64_t since = monotonic_now_us();
	int fd = peer_connect(server.port);

	assert_true(fd >= 0);
	expect_closed(fd);
	assert_true(monotonic_now_us() - since < 14 * USEC_PER_SEC);
	assert_true(fixture_wait_log(&server, "the greeting took too long"));
}

static void test_a_flood_of_connections_is_bounded_and_passes(void **state)
{
	enum { FLOOD = 400 };
	int fds[FLOOD];
	struct peer p;

	for (int i = 0; i < FLOOD; i++)
		fds[i] = peer_connect(server.port);
	check_bystander();
	for (int i = 0; i < FLOOD; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	/* Those that were let greet are gone now; an agent gets in again. */
	for (int tries = 0; peer_open(&p, server.tls[0], server.port); tries++)
		assert_true(tries < 1000);
	assert_int_equal(peer_greet(&p, &server.machines[0], DISK_BYTES, NULL), 0);
	peer_close(&p);
	assert_true(fixture_wait_log(&server, "one is disconnected"));
}

/* --- certificates ------------------------------------------------------------------ */

/* In TLS 1.3 the client learns of it when it reads. */
static void expect_certificate_refused(struct tls_context *c)
{
	struct peer p;
	int err = peer_open(&p, c, server.port);

	if (!err) {
		err = peer_hello(&p, &server.machines[0], 1);
		if (!err)
			err = peer_receive(&p);
		peer_abandon(&p);
	}
	assert_true(err < 0);
	tls_context_free(c);
	assert_true(fixture_wait_log(&server, "turned away"));
}

static char *agent_name(unsigned int machine, char buf[80])
{
	char id[UUID_TEXT_LEN + 1];

	snprintf(buf, 80, "agent:%s", uuid_format(&server.machines[machine], id));
	return buf;
}

static void test_a_certificate_of_another_ca_is_refused(void **state)
{
	char name[80];

	expect_certificate_refused(fixture_certificate(&server, agent_name(0, name), SIGNED_BY_STRANGER, 10));
}

static void test_an_expired_certificate_is_refused(void **state)
{
	char name[80];

	expect_certificate_refused(fixture_certificate(&server, agent_name(0, name), SIGNED, 0));
}

static void test_a_certificate_that_is_not_an_agents_is_refused(void **state)
{
	expect_certificate_refused(
		fixture_certificate(&server, "server:6f2d6c1e-4c1c-4b7a-9df0-0c2c3e1f7a55", SIGNED, 10));
}

static void test_a_tls_client_without_a_certificate_is_refused(void **state)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "openssl s_client -quiet -connect 127.0.0.1:%u </dev/null >/dev/null 2>&1", server.port);
	if (system("command -v openssl >/dev/null"))
		skip();
	(void)!system(command);
	assert_true(fixture_wait_log(&server, "the peer has no certificate"));
}

static void test_another_machines_id_is_refused(void **state)
{
	struct peer p;

	open_one(&p);
	assert_int_equal(peer_hello(&p, &server.machines[1], 1), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_IDENTITY), 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, "IDENTITY"));
}

static void test_a_machine_that_is_not_listed_is_refused(void **state)
{
	struct uuid id = uuid_random();
	char name[80] = "agent:", *text = name + 6;
	struct tls_context *c;
	struct peer p;

	uuid_format(&id, text);
	c = fixture_certificate(&server, name, SIGNED, 10);
	assert_int_equal(peer_open(&p, c, server.port), 0);
	assert_int_equal(peer_hello(&p, &id, 1), 0);
	assert_int_equal(peer_disk(&p, 0, DISK_BYTES), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_UNKNOWN), 0);
	peer_abandon(&p);
	tls_context_free(c);
	assert_true(fixture_wait_log(&server, "UNKNOWN"));
}

/* --- protocol ------------------------------------------------------------------------ */

/* A HELLO with versions that this server does not speak: from the bytes of a
 * good one, as another version's wire_put_hello() would not be ours. */
static void send_hello_of_version(struct peer *p, uint16_t min, uint16_t max)
{
	struct wire_hello h = { .version_min = min, .version_max = max, .machine = server.machines[0],
				.disk_count = 1, .boot_time_us = 1 };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	assert_int_equal(peer_send(p, frame, wire_put_hello(frame, &h)), 0);
}

static void test_a_newer_protocol_is_refused_with_the_versions(void **state)
{
	struct peer p;

	open_one(&p);
	send_hello_of_version(&p, WIRE_VERSION_MAX + 1, WIRE_VERSION_MAX + 3);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_VERSION), 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, "a newer server"));
}

static void test_a_protocol_older_than_all_is_refused(void **state)
{
	struct wire_hello h = { .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MIN,
				.machine = server.machines[0], .disk_count = 1, .boot_time_us = 1 };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX], *body = frame + WIRE_HEADER_BYTES;
	size_t len = wire_put_hello(frame, &h);
	struct peer p;

	put_le16(body, WIRE_VERSION_MIN - 1);
	put_le16(body + 2, WIRE_VERSION_MIN - 1);
	put_le64(frame + 8, xxh3_64_of_two(frame, 8, body, len - WIRE_HEADER_BYTES));
	open_one(&p);
	assert_int_equal(peer_send(&p, frame, len), 0);
	/* 0, as long as the lowest is 1: no HELLO may say that. */
	assert_int_equal(peer_expect_refusal(&p, WIRE_VERSION_MIN > 1 ? WIRE_REFUSED_VERSION : WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, WIRE_VERSION_MIN > 1 ? "a newer agent" : "MALFORMED"));
}

static void test_a_peer_that_also_speaks_our_version_is_welcome(void **state)
{
	struct peer p;

	open_one(&p);
	send_hello_of_version(&p, WIRE_VERSION_MIN, WIRE_VERSION_MAX + 5);
	assert_int_equal(peer_disk(&p, 0, DISK_BYTES), 0);
	assert_int_equal(peer_receive_type(&p, WIRE_WELCOME), 0);
	peer_close(&p);
}

static void test_absurd_lengths_are_refused(void **state)
{
	static const uint32_t lengths[] = { UINT32_MAX, INT32_MAX, WIRE_BODY_MAX + 1 };

	for (unsigned int i = 0; i < ARRAY_LEN(lengths); i++) {
		uint8_t header[WIRE_HEADER_BYTES] = { WIRE_DATA };
		struct peer p;

		(void)greet_one(&p);
		put_le32(header + 4, lengths[i]);
		assert_int_equal(peer_send(&p, header, sizeof(header)), 0);
		assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
		peer_abandon(&p);
	}
	assert_true(fixture_wait_log(&server, "MALFORMED"));
}

static void test_random_frames_inside_tls_are_refused(void **state)
{
	unsigned int seed = 1500;

	for (int i = 0; i < 16; i++) {
		uint8_t junk[256];
		struct peer p;

		for (size_t k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)rand_r(&seed);
		(void)greet_one(&p);
		assert_int_equal(peer_send(&p, junk, sizeof(junk)), 0);
		assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
		peer_abandon(&p);
	}
}

static void test_a_corrupt_payload_is_refused_and_can_be_sent_again(void **state)
{
	uint8_t block[8192], frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];
	struct wire_data d = { .offset_bytes = 65536, .length_bytes = sizeof(block), .stored_bytes = sizeof(block),
			       .stored = block };
	struct peer p;
	uint64_t epoch;
	size_t len;

	memset(block, 0x5a, sizeof(block));
	epoch = greet_one(&p);
	d.checksum = payload_checksum(block, sizeof(block)) ^ 1; /* as if it had changed in the agent's memory */
	len = wire_put_data(frame, &d);
	assert_int_equal(peer_send(&p, frame, len), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_CHECKSUM), 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, "does not match its checksum"));

	assert_int_equal(greet_one(&p), epoch); /* nothing of it was kept */
	assert_int_equal(peer_data(&p, 0, 65536, block, sizeof(block), CODEC_LZ4), 0);
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
}

static void test_a_frame_changed_on_its_way_is_refused(void **state)
{
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];
	struct wire_zero z = { 0, 0, 65536 };
	struct peer p;
	size_t len;

	(void)greet_one(&p);
	len = wire_put_zero(frame, &z);
	frame[len - 1] ^= 0x10;
	assert_int_equal(peer_send(&p, frame, len), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_CHECKSUM), 0);
	peer_abandon(&p);
	assert_true(fixture_wait_log(&server, "was changed on its way"));
}

static void test_data_past_the_end_or_of_an_unknown_disk_is_refused(void **state)
{
	uint8_t block[4096] = { 1 };
	struct peer p;

	(void)greet_one(&p);
	assert_int_equal(peer_data(&p, 0, DISK_BYTES, block, sizeof(block), CODEC_RAW), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);

	(void)greet_one(&p);
	assert_int_equal(peer_data(&p, 7, 0, block, sizeof(block), CODEC_RAW), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);
}

static void test_commits_out_of_order_are_refused(void **state)
{
	struct peer p;
	uint64_t epoch = greet_one(&p);

	assert_int_equal(peer_commit(&p, epoch + 1, next_time(), WIRE_COMMIT_POINT, NULL), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);

	epoch = greet_one(&p);
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	assert_int_equal(peer_commit(&p, epoch + 1, source_time_us - 1, WIRE_COMMIT_POINT, NULL), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);

	epoch = greet_one(&p);
	p.records = 5; /* but none was sent */
	assert_int_equal(peer_commit(&p, epoch, next_time(), 0, NULL), 0);
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_MALFORMED), 0);
	peer_abandon(&p);
}

/* Stops after each byte count of a whole conversation; what was not committed
 * is not there the next time. */
static void test_a_peer_that_stops_anywhere_leaves_nothing_behind(void **state)
{
	uint8_t block[512], talk[8192], *at = talk;
	struct wire_hello h = { WIRE_VERSION_MIN, WIRE_VERSION_MAX, server.machines[0], 1, 1 };
	struct wire_disk disk = { .sector_bytes = 512, .size_bytes = DISK_BYTES, .id = peer_disk_id(0),
				  .name = "/dev/test0" };
	struct wire_data d = { .length_bytes = sizeof(block), .stored_bytes = sizeof(block), .stored = block };
	struct wire_zero z = { 0, 65536, 65536 };
	size_t ends[4], n = 0;
	uint64_t epoch;
	struct peer p;

	memset(block, 0xee, sizeof(block));
	d.checksum = payload_checksum(block, sizeof(block));
	ends[n++] = (size_t)((at += wire_put_hello(at, &h)) - talk);
	ends[n++] = (size_t)((at += wire_put_disk(at, &disk)) - talk);
	ends[n++] = (size_t)((at += wire_put_data(at, &d)) - talk);
	ends[n++] = (size_t)((at += wire_put_zero(at, &z)) - talk);

	epoch = greet_one(&p);
	peer_close(&p);
	for (size_t i = 0; i < n; i++) {
		const size_t cuts[] = { ends[i] - 1, ends[i], i ? ends[i - 1] + WIRE_HEADER_BYTES : 7 };

		for (unsigned int k = 0; k < ARRAY_LEN(cuts); k++) {
			open_one(&p);
			assert_int_equal(peer_send(&p, talk, cuts[k]), 0);
			if (k % 2)
				peer_close(&p);
			else
				peer_abandon(&p);
		}
	}
	assert_int_equal(greet_one(&p), epoch);
	memset(block, 0, sizeof(block));
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
}

static void test_the_newest_connection_of_a_machine_wins(void **state)
{
	uint8_t block[4096] = { 7 };
	struct peer ghost, p;
	uint64_t epoch = greet_one(&ghost);

	assert_int_equal(peer_data(&ghost, 0, 0, block, sizeof(block), CODEC_RAW), 0);
	assert_int_equal(greet_one(&p), epoch); /* although the first has not gone */
	assert_int_equal(peer_expect_refusal(&ghost, WIRE_REFUSED_BUSY), 0);
	peer_abandon(&ghost);
	assert_int_equal(peer_data(&p, 0, 0, block, sizeof(block), CODEC_RAW), 0);
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
}

static void expect_unknown(struct peer *p)
{
	assert_int_equal(peer_hello(p, &server.machines[0], 1), 0);
	assert_int_equal(peer_disk(p, 0, DISK_BYTES), 0);
	assert_int_equal(peer_expect_refusal(p, WIRE_REFUSED_UNKNOWN), 0);
	peer_abandon(p);
}

static void test_a_key_that_was_replaced_is_refused_and_takes_nobodys_place(void **state)
{
	uint8_t block[4096] = { 9 };
	struct tls_context *older;
	struct peer p, thief;
	uint64_t epoch = greet_one(&thief);

	older = fixture_enrol_anew(&server, 0);
	assert_int_equal(peer_expect_refusal(&thief, WIRE_REFUSED_UNKNOWN), 0); /* it was inside */
	peer_abandon(&thief);
	assert_int_equal(greet_one(&p), epoch);
	assert_int_equal(peer_open(&thief, older, server.port), 0);
	expect_unknown(&thief);
	assert_true(fixture_wait_log(&server, "its key is not the one that this machine was enrolled with last"));
	assert_int_equal(peer_data(&p, 0, 0, block, sizeof(block), CODEC_RAW), 0);
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
	tls_context_free(older);
}

static void test_a_paused_machine_is_sent_away_and_comes_back(void **state)
{
	struct peer p;

	(void)greet_one(&p);
	fixture_set_states(&server, "paused", "started");
	assert_int_equal(peer_expect_refusal(&p, WIRE_REFUSED_UNKNOWN), 0);
	peer_abandon(&p);
	open_one(&p);
	expect_unknown(&p);
	fixture_set_states(&server, "started", "started");
	for (int tries = 0;; tries++) { /* the signal is on its way */
		open_one(&p);
		if (peer_greet(&p, &server.machines[0], DISK_BYTES, NULL) == 0)
			break;
		peer_abandon(&p);
		assert_true(tries < 1000);
	}
	peer_close(&p);
}

/* --- what it is for ---------------------------------------------------------------------- */

static void test_hashes_are_compared_with_what_was_sent_before(void **state)
{
	uint8_t chunk[CHUNK_BYTES];
	struct wire_differ d;
	struct peer p;
	uint64_t epoch = greet_one(&p);

	memset(chunk, 0x11, sizeof(chunk));
	assert_int_equal(peer_data(&p, 0, 4 * CHUNK_BYTES, chunk, sizeof(chunk), CODEC_ZSTD), 0);
	assert_int_equal(peer_hash(&p, 0, 4 * CHUNK_BYTES, chunk, sizeof(chunk)), 0);
	assert_int_equal(peer_hash(&p, 0, 5 * CHUNK_BYTES, chunk, sizeof(chunk)), 0);
	memset(chunk, 0, sizeof(chunk));
	assert_int_equal(peer_hash(&p, 0, 6 * CHUNK_BYTES, chunk, sizeof(chunk)), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(peer_receive_type(&p, WIRE_DIFFER), 0);
		assert_int_equal(wire_parse_differ(p.body, p.header.length, &d), 0);
		assert_int_equal(d.offset_bytes, (4 + i) * CHUNK_BYTES);
		assert_int_equal(d.differs, i == 1);
	}
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
}

static void test_a_ping_is_answered(void **state)
{
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];
	struct wire_ping ping = { 0xc0ffee };
	struct peer p;

	(void)greet_one(&p);
	assert_int_equal(peer_send(&p, frame, wire_put_ping(frame, &ping, false)), 0);
	ping.cookie = 0;
	assert_int_equal(peer_receive_type(&p, WIRE_PONG), 0);
	assert_int_equal(wire_parse_ping(p.body, p.header.length, &ping), 0);
	assert_int_equal(ping.cookie, 0xc0ffee);
	peer_close(&p);
}

static void test_a_speed_test_counts_bytes_and_keeps_none(void **state)
{
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX], payload[CHUNK_BYTES] = { 1 };
	struct wire_probe_done d;
	struct peer p;
	uint64_t epoch = greet_one(&p);

	for (int i = 0; i < 64; i++)
		assert_int_equal(peer_send(&p, frame, wire_put_probe(frame, payload, sizeof(payload))), 0);
	assert_int_equal(peer_send(&p, frame, wire_put_probe(frame, NULL, 0)), 0);
	assert_int_equal(peer_receive_type(&p, WIRE_PROBE_DONE), 0);
	assert_int_equal(wire_parse_probe_done(p.body, p.header.length, &d), 0);
	assert_int_equal(d.bytes, 64 * sizeof(payload));
	assert_int_equal(peer_commit_durable(&p, epoch, next_time()), 0);
	peer_close(&p);
}

static void test_what_was_durable_reads_back_at_each_point(void **state)
{
	enum { EPOCHS = 20 };
	uint8_t chunk[CHUNK_BYTES], got[CHUNK_BYTES];
	struct store_reader *r;
	char dir[512];
	struct peer p;
	uint64_t first = greet_one(&p);

	for (unsigned int i = 0; i < EPOCHS; i++) {
		memset(chunk, 0x40 + (int)i, sizeof(chunk));
		assert_int_equal(peer_data(&p, 0, 10 * CHUNK_BYTES, chunk, sizeof(chunk), i % 3), 0);
		assert_int_equal(peer_zero(&p, 0, 11 * CHUNK_BYTES, 3 * CHUNK_BYTES), 0);
		assert_int_equal(peer_commit_durable(&p, first + i, next_time()), 0);
	}
	fixture_store(&server, 0, dir, sizeof(dir));
	for (unsigned int i = 0; i < EPOCHS; i++) {
		assert_int_equal(store_reader_open(dir, &store_sys_default, first + i, &r), 0);
		assert_int_equal(store_read(r, 0, 10 * CHUNK_BYTES, sizeof(got), got), 0);
		memset(chunk, 0x40 + (int)i, sizeof(chunk));
		assert_memory_equal(got, chunk, sizeof(got));
		store_reader_close(r);
	}
	peer_close(&p);
}

/* Overlapping writes and zeroes of any length in one epoch: the later one counts. */
static void test_records_of_an_epoch_take_effect_in_the_order_sent(void **state)
{
	enum { EPOCHS = 25, RECORDS = 60, DISK = 4 * 1024 * 1024 };
	unsigned int seed = (unsigned int)(getenv("GODWIT_SEED") ? atoi(getenv("GODWIT_SEED")) : getpid());
	uint8_t *model = calloc(EPOCHS + 1, DISK), *now = model, got[CHUNK_BYTES];
	struct store_reader *r;
	struct peer p;
	char dir[512];
	uint64_t first;

	print_message("GODWIT_SEED=%u\n", seed);
	assert_non_null(model);
	first = greet_one(&p);
	assert_int_equal(peer_zero(&p, 0, 0, DISK), 0);
	for (int e = 0; e < EPOCHS; e++, now += DISK) {
		if (e)
			memcpy(now, now - DISK, DISK);
		for (int i = 0; i < RECORDS; i++) {
			uint32_t sector = (uint32_t)rand_r(&seed) % (DISK / 512), room = 128 - sector % 128;
			uint32_t n = 1 + (uint32_t)rand_r(&seed) % room, at = sector * 512;

			if (i % 3 == 0) {
				n = 1 + (uint32_t)rand_r(&seed) % MIN(1000, DISK / 512 - sector);
				memset(now + at, 0, n * 512);
				assert_int_equal(peer_zero(&p, 0, at, n * 512), 0);
			} else {
				memset(now + at, 1 + rand_r(&seed) % 255, n * 512);
				assert_int_equal(peer_data(&p, 0, at, now + at, n * 512, (uint8_t)(i % 3)), 0);
			}
		}
		assert_int_equal(peer_commit_durable(&p, first + (uint64_t)e, next_time()), 0);
	}
	peer_close(&p);
	fixture_store(&server, 0, dir, sizeof(dir));
	for (int e = 0; e < EPOCHS; e++) {
		assert_int_equal(store_reader_open(dir, &store_sys_default, first + (uint64_t)e, &r), 0);
		for (uint32_t at = 0; at < DISK; at += CHUNK_BYTES) {
			assert_int_equal(store_read(r, 0, at, sizeof(got), got), 0);
			assert_memory_equal(got, model + (size_t)e * DISK + at, sizeof(got));
		}
		store_reader_close(r);
	}
	free(model);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, NULL, after_each)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_hashes_are_compared_with_what_was_sent_before),
		CASE(test_a_ping_is_answered),
		CASE(test_a_speed_test_counts_bytes_and_keeps_none),
		CASE(test_what_was_durable_reads_back_at_each_point),
		CASE(test_records_of_an_epoch_take_effect_in_the_order_sent),
		CASE(test_random_bytes_are_turned_away),
		CASE(test_http_is_turned_away),
		CASE(test_who_says_nothing_is_turned_away_in_time),
		CASE(test_a_flood_of_connections_is_bounded_and_passes),
		CASE(test_a_certificate_of_another_ca_is_refused),
		CASE(test_an_expired_certificate_is_refused),
		CASE(test_a_certificate_that_is_not_an_agents_is_refused),
		CASE(test_a_tls_client_without_a_certificate_is_refused),
		CASE(test_another_machines_id_is_refused),
		CASE(test_a_machine_that_is_not_listed_is_refused),
		CASE(test_a_newer_protocol_is_refused_with_the_versions),
		CASE(test_a_protocol_older_than_all_is_refused),
		CASE(test_a_peer_that_also_speaks_our_version_is_welcome),
		CASE(test_absurd_lengths_are_refused),
		CASE(test_random_frames_inside_tls_are_refused),
		CASE(test_a_corrupt_payload_is_refused_and_can_be_sent_again),
		CASE(test_a_frame_changed_on_its_way_is_refused),
		CASE(test_data_past_the_end_or_of_an_unknown_disk_is_refused),
		CASE(test_commits_out_of_order_are_refused),
		CASE(test_a_peer_that_stops_anywhere_leaves_nothing_behind),
		CASE(test_the_newest_connection_of_a_machine_wins),
		CASE(test_a_key_that_was_replaced_is_refused_and_takes_nobodys_place),
		CASE(test_a_paused_machine_is_sent_away_and_comes_back),
	};

	return cmocka_run_group_tests(tests, start_all, stop_all);
}
