// SPDX-License-Identifier: Apache-2.0
/* The reading end of the ring, over memory that this test fills as the kernel does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>
#include "tracker-private.h"

#define RING_BYTES 4096
#define BUSY	   (1u << 31)
#define DISCARD	   (1u << 30)

struct fake {
	struct tracker t;
	uint64_t consumer, producer;
	uint8_t data[2 * RING_BYTES];
};

static int setup(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	f->t.ring = (struct ring){ .fd = -1,
				   .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
				   .bytes = RING_BYTES,
				   .consumer = &f->consumer,
				   .producer = &f->producer,
				   .data = f->data };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fake *f = *state;

	close(f->t.ring.epoll_fd);
	free(f);
	return 0;
}

static void put(struct fake *f, uint64_t position, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = (position + i) % RING_BYTES;

		f->data[at] = f->data[at + RING_BYTES] = ((const uint8_t *)p)[i];
	}
}

static void set_header(struct fake *f, uint64_t position, uint32_t header)
{
	put(f, position, &header, sizeof(header));
}

/* Room for a record of @sectors, in class @room_bytes; returns its position. */
static uint64_t produce(struct fake *f, uint64_t sector, uint32_t sectors, uint32_t room_bytes, uint32_t bits)
{
	struct shared_record r = { .time_ns = 5000 + sector, .sector = sector, .sectors = sectors, .disk = 3,
				   .op = room_bytes ? SHARED_WRITE : SHARED_ZERO, .flags = SHARED_END };
	uint64_t position = f->producer;

	set_header(f, position, ((uint32_t)sizeof(r) + room_bytes) | bits);
	put(f, position + 8, &r, sizeof(r));
	for (uint32_t i = 0; i < room_bytes; i++)
		put(f, position + 8 + sizeof(r) + i, &(uint8_t){ (uint8_t)(sector + i) }, 1);
	f->producer += 8 + sizeof(r) + room_bytes;
	return position;
}

static void an_empty_ring_says_how_far_there_is_nothing(void **state)
{
	struct fake *f = *state;
	struct tracker_record r;

	assert_int_equal(tracker_peek(&f->t, 0, &r), 0);
	assert_int_equal(r.next, 0);
}

static void records_come_whole_and_in_order_also_over_the_end_of_the_ring(void **state)
{
	struct fake *f = *state;
	struct tracker_record r;

	for (uint64_t i = 0; i < 100; i++) {
		uint64_t position = produce(f, i, 1, 512, 0);

		assert_int_equal(tracker_position(&f->t), f->producer);
		assert_int_equal(tracker_peek(&f->t, tracker_consumed(&f->t), &r), 1);
		assert_int_equal(r.position, position);
		assert_int_equal(r.next, f->producer);
		assert_int_equal(r.disk, 3);
		assert_int_equal(r.op, TRACKER_WRITE);
		assert_int_equal(r.offset_bytes, i * 512);
		assert_int_equal(r.length_bytes, 512);
		assert_int_equal(r.time_us, (5000 + i) / 1000);
		assert_true(r.request_end);
		assert_false(r.reread);
		for (uint32_t k = 0; k < 512; k++)
			assert_int_equal(((const uint8_t *)r.payload)[k], (uint8_t)(i + k));
		tracker_consume(&f->t, r.next);
		assert_int_equal(tracker_consumed(&f->t), r.next);
	}
}

static void a_record_being_filled_holds_back_those_behind_it(void **state)
{
	struct fake *f = *state;
	struct tracker_record r;
	uint64_t position = produce(f, 7, 1, 512, BUSY);

	produce(f, 8, 1, 512, 0);
	assert_int_equal(tracker_peek(&f->t, 0, &r), 0);
	assert_int_equal(r.next, position);
	set_header(f, position, sizeof(struct shared_record) + 512);
	assert_int_equal(tracker_peek(&f->t, 0, &r), 1);
	assert_int_equal(r.offset_bytes, 7 * 512);
}

static void room_given_up_is_skipped_and_behind_the_last_there_is_nothing(void **state)
{
	struct fake *f = *state;
	struct tracker_record r;

	produce(f, 1, 1, 512, DISCARD);
	produce(f, 2, 1, 512, DISCARD);
	assert_int_equal(tracker_peek(&f->t, 0, &r), 0);
	assert_int_equal(r.next, f->producer);
	produce(f, 3, 1, 512, 0);
	assert_int_equal(tracker_peek(&f->t, 0, &r), 1);
	assert_int_equal(r.offset_bytes, 3 * 512);
	assert_int_equal(r.next, f->producer);
}

static void reading_ahead_gives_nothing_back(void **state)
{
	struct fake *f = *state;
	struct tracker_record a, b;

	produce(f, 1, 1, 512, 0);
	produce(f, 2, 100000, 0, 0);
	assert_int_equal(tracker_peek(&f->t, 0, &a), 1);
	assert_int_equal(tracker_peek(&f->t, a.next, &b), 1);
	assert_int_equal(b.op, TRACKER_ZERO);
	assert_null(b.payload);
	assert_int_equal(b.length_bytes, 100000 * 512);
	assert_int_equal(tracker_consumed(&f->t), 0);
	assert_int_equal(tracker_peek(&f->t, 0, &b), 1);
	assert_int_equal(b.position, a.position);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_ring_says_how_far_there_is_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(records_come_whole_and_in_order_also_over_the_end_of_the_ring, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_record_being_filled_holds_back_those_behind_it, setup, teardown),
		cmocka_unit_test_setup_teardown(room_given_up_is_skipped_and_behind_the_last_there_is_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(reading_ahead_gives_nothing_back, setup, teardown),
	};

	return cmocka_run_group_tests_name("tracker ring", tests, NULL, NULL);
}
