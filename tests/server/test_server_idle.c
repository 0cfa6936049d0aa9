/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that go silent once they are in.  Takes a minute, of which it is
 * asleep all but a moment.
 */
#include "fixture.h"
#include "wallclock.h"

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

/* One stops in the middle of a frame and dribbles on, the other stays alive
 * with PING alone. */
static void test_who_completes_no_frame_for_a_minute_is_disconnected(void **state)
{
	uint8_t block[65536] = { 1 }, frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX], ping[64];
	struct wire_data d = { .length_bytes = sizeof(block), .stored_bytes = sizeof(block), .stored = block };
	struct wire_ping p = { 1 };
	uint64_t since = monotonic_now_us(), epoch;
	struct peer stuck, alive;
	size_t at = 1000;

	d.checksum = payload_checksum(block, sizeof(block));
	(void)wire_put_data(frame, &d);
	fixture_start(&server, NULL);
	assert_int_equal(peer_open(&stuck, server.tls[0], server.port), 0);
	assert_int_equal(peer_greet(&stuck, &server.machines[0], DISK_BYTES, &epoch), 0);
	assert_int_equal(peer_open(&alive, server.tls[1], server.port), 0);
	assert_int_equal(peer_greet(&alive, &server.machines[1], DISK_BYTES, NULL), 0);
	assert_int_equal(peer_send(&stuck, frame, at), 0);
	for (;;) {
		struct pollfd f = { .fd = stuck.fd, .events = POLLIN };

		if (poll(&f, 1, 5000) == 1)
			break;
		(void)peer_send(&stuck, frame + at++, 1);
		assert_int_equal(peer_send(&alive, ping, wire_put_ping(ping, &p, false)), 0);
		assert_int_equal(peer_receive_type(&alive, WIRE_PONG), 0);
		assert_true(monotonic_now_us() - since < 80 * USEC_PER_SEC);
	}
	assert_int_equal(peer_receive(&stuck), -EPIPE);
	assert_true(monotonic_now_us() - since > 55 * USEC_PER_SEC);
	peer_abandon(&stuck);
	assert_true(fixture_wait_log(&server, "nothing was heard from the agent for a minute"));
	assert_int_equal(peer_commit_durable(&alive, 1, 1000), 0);
	peer_close(&alive);
	assert_int_equal(fixture_stop(&server), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_completes_no_frame_for_a_minute_is_disconnected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
