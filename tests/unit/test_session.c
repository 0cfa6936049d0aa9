/* SPDX-License-Identifier: Apache-2.0 */
/* One session over a store in memory that fails when it is told to, on a clock that stands still. */
#include "session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define DISK_BYTES (16 * MIB)

static const struct uuid machine = { { 7, 7, 7 } };

/* --- the world ---------------------------------------------------------------------- */

static struct {
	unsigned int calls, fail_at; /* the fail_at-th call fails ... */
	int error;		     /* ... so */
	uint64_t now_us, call_us;    /* each call to the store takes so long */
	uint64_t epochs, records;
	bool no_room;
} world;

static int world_call(void)
{
	world.now_us += world.call_us;
	return ++world.calls == world.fail_at ? world.error : 0;
}

static int op_admit(void *context, const struct wire_hello *hello, struct wire_refuse *refuse)
{
	int err = world_call();

	refuse->reason = WIRE_REFUSED_UNKNOWN;
	snprintf(refuse->text, sizeof(refuse->text), "not you");
	return err;
}

static uint64_t op_last_epoch(void *context)
{
	return world.epochs;
}

static uint64_t op_last_time_us(void *context)
{
	return world.epochs * 1000;
}

static int op_put_disk(void *context, const struct store_disk *disk)
{
	return world_call();
}

static int op_put_data(void *context, const struct wire_data *data)
{
	world.records++;
	return world_call();
}

static int op_put_zero(void *context, const struct wire_zero *zero)
{
	world.records++;
	return world_call();
}

static int op_commit(void *context, const struct store_epoch *epoch)
{
	int err = world_call();

	if (!err)
		world.epochs = epoch->epoch;
	return err;
}

static int op_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *ret_buf)
{
	memset(ret_buf, 0, length);
	return world_call();
}

static int op_room(void *context)
{
	return world.no_room ? -ENOSPC : 0;
}

static int op_probe_write(void *context, const void *payload, uint32_t len)
{
	return world_call();
}

static int op_probe_end(void *context)
{
	return world_call();
}

static uint64_t op_now_us(void *context)
{
	return world.now_us;
}

static const struct session_ops ops = {
	op_admit,  op_last_epoch, op_last_time_us, op_put_disk,	   op_put_data,	 op_put_zero,
	op_commit, op_read,	  op_room,	   op_probe_write, op_probe_end, op_now_us,
};

/* --- a conversation ------------------------------------------------------------------- */

static struct session *session;
static uint8_t talk[1 << 20];
static size_t talk_len, answer_at;
static uint64_t records;

static int begin(void **state)
{
	memset(&world, 0, sizeof(world));
	talk_len = answer_at = 0;
	records = 0;
	return session_new(&ops, NULL, &machine, &session);
}

static int end(void **state)
{
	session_free(session);
	return 0;
}

static void say_hello(uint16_t disks)
{
	struct wire_hello h = { WIRE_VERSION_MIN, WIRE_VERSION_MAX, machine, disks, 1 };

	talk_len += wire_put_hello(talk + talk_len, &h);
}

static void say_disk(uint16_t index, uint64_t size_bytes, uint8_t id)
{
	struct wire_disk d = { .disk = index, .sector_bytes = 512, .size_bytes = size_bytes, .id = { { id } },
			       .name = "/dev/x" };

	talk_len += wire_put_disk(talk + talk_len, &d);
}

static void say_data(uint64_t offset, uint8_t byte)
{
	uint8_t block[4096];
	struct wire_data d = { .offset_bytes = offset, .length_bytes = sizeof(block), .stored_bytes = sizeof(block),
			       .stored = block };

	memset(block, byte, sizeof(block));
	d.checksum = payload_checksum(block, sizeof(block));
	talk_len += wire_put_data(talk + talk_len, &d);
	records++;
}

static void say_zero(uint64_t offset, uint64_t length)
{
	struct wire_zero z = { 0, offset, length };

	talk_len += wire_put_zero(talk + talk_len, &z);
	records++;
}

static void say_hash(uint64_t offset)
{
	static const uint8_t zeroes[CHUNK_BYTES];
	struct wire_hash h = { .offset_bytes = offset, .length_bytes = CHUNK_BYTES, .seed = 3 };

	payload_hash(zeroes, sizeof(zeroes), h.seed, h.hash);
	talk_len += wire_put_hash(talk + talk_len, &h);
}

static void say_commit(uint64_t epoch)
{
	struct wire_commit c = { .epoch = epoch, .time_us = epoch * 1000, .flags = WIRE_COMMIT_POINT,
				 .record_count = records };

	talk_len += wire_put_commit(talk + talk_len, &c);
	records = 0;
}

static void say_probe(uint32_t len)
{
	static const uint8_t payload[CHUNK_BYTES];

	talk_len += wire_put_probe(talk + talk_len, payload, len);
}

static int give(void)
{
	size_t taken;
	int err;

	do {
		err = session_input(session, talk, talk_len, &taken);
		memmove(talk, talk + taken, talk_len - taken);
		talk_len -= taken;
	} while (!err && taken);
	return err;
}

static void greet(void)
{
	say_hello(1);
	say_disk(0, DISK_BYTES, 1);
}

/* The next answer must be of @type; its body. */
static const uint8_t *answer(enum wire_type type, struct wire_frame *ret)
{
	size_t len;
	const uint8_t *out = session_output(session, &len);

	assert_true(len >= WIRE_HEADER_BYTES);
	assert_int_equal(wire_parse_frame(out, ret), 0);
	assert_string_equal(wire_type_name(ret->type), wire_type_name(type));
	session_sent(session, WIRE_HEADER_BYTES + ret->length);
	return out + WIRE_HEADER_BYTES;
}

static void answer_is(enum wire_type type)
{
	struct wire_frame f;

	(void)answer(type, &f);
}

static void refusal_is(enum wire_refusal reason)
{
	struct wire_refuse r;
	struct wire_frame f;
	const uint8_t *body = answer(WIRE_REFUSE, &f);
	size_t len;

	assert_int_equal(wire_parse_refuse(body, f.length, &r), 0);
	assert_int_equal(r.reason, reason);
	assert_int_equal(session_get_end(session)->refuse.reason, reason);
	(void)session_output(session, &len);
	assert_int_equal(len, 0);
	assert_false(session_is_open(session));
	assert_int_equal(give(), -ECONNABORTED);
}

/* --- tests -------------------------------------------------------------------------------- */

static void test_an_epoch_is_durable_with_its_times(void **state)
{
	struct wire_durable d;
	struct wire_frame f;
	const uint8_t *body;

	greet();
	assert_int_equal(give(), 0);
	answer_is(WIRE_WELCOME);
	world.call_us = 10;
	session_waited(session, 500000); /* the agent had nothing to say */
	say_data(0, 1);
	assert_int_equal(give(), 0);
	session_waited(session, 300);
	say_data(4096, 2);
	say_zero(65536, 1 * MIB);
	say_commit(1);
	assert_int_equal(give(), 0);
	body = answer(WIRE_DURABLE, &f);
	assert_int_equal(wire_parse_durable(body, f.length, &d), 0);
	assert_int_equal(d.epoch, 1);
	assert_int_equal(d.receive_us, 300);
	assert_int_equal(d.staging_us, 40);
	assert_int_equal(world.records, 3);
	assert_int_equal(session_get_figures(session)->point_epoch, 1);
}

static void test_frames_may_come_byte_by_byte(void **state)
{
	uint8_t all[32768];
	size_t n, len;

	greet();
	say_data(0, 1);
	say_commit(1);
	n = talk_len;
	memcpy(all, talk, n);
	talk_len = 0;
	for (size_t i = 0; i < n; i++) {
		talk[talk_len++] = all[i];
		assert_int_equal(give(), 0);
	}
	assert_int_equal(talk_len, 0);
	answer_is(WIRE_WELCOME);
	answer_is(WIRE_DURABLE);
	(void)session_output(session, &len);
	assert_int_equal(len, 0);
}

/* Whatever fails in the store, at whatever call: one REFUSE, the right one,
 * and nothing after it. */
static void test_each_failure_of_the_store_ends_the_session_with_its_reason(void **state)
{
	static const struct {
		int error;
		enum wire_refusal reason;
	} failures[] = { { -EIO, WIRE_REFUSED_STORE },
			 { -ENOSPC, WIRE_REFUSED_STAGING_FULL },
			 { -ESTALE, WIRE_REFUSED_STORE } };
	unsigned int refused = 0;

	for (unsigned int k = 0; k < ARRAY_LEN(failures); k++) {
		for (unsigned int at = 2;; at++) { /* 1: admission, below */
			(void)end(NULL);
			(void)begin(NULL);
			world.fail_at = at;
			world.error = failures[k].error;
			greet();
			say_data(0, 1);
			say_zero(0, 65536);
			say_hash(65536);
			say_commit(1);
			say_probe(512);
			say_probe(0);
			if (give() == 0 && world.calls < at)
				break;
			if (!session_get_end(session)->refused) /* a chunk that cannot be read back: below */
				continue;
			for (struct wire_frame f; session_get_end(session)->refused;) {
				size_t len;
				const uint8_t *out = session_output(session, &len);

				assert_int_equal(wire_parse_frame(out, &f), 0);
				if (f.type == WIRE_REFUSE)
					break;
				session_sent(session, WIRE_HEADER_BYTES + f.length);
			}
			refusal_is(failures[k].reason);
			assert_int_equal(world.calls, at); /* nothing was asked after the failure */
			refused++;
		}
	}
	assert_int_equal(refused, 3 * 7 - 1);
}

static void test_who_is_not_admitted_is_told_why(void **state)
{
	world.fail_at = 1;
	world.error = -EACCES;
	greet();
	assert_int_equal(give(), -ECONNABORTED);
	refusal_is(WIRE_REFUSED_UNKNOWN);
}

static void test_damage_read_back_is_a_difference_not_a_failure(void **state)
{
	struct wire_differ d;
	struct wire_frame f;
	const uint8_t *body;

	greet();
	assert_int_equal(give(), 0);
	answer_is(WIRE_WELCOME);
	say_hash(0);
	assert_int_equal(give(), 0);
	body = answer(WIRE_DIFFER, &f);
	assert_int_equal(wire_parse_differ(body, f.length, &d), 0);
	assert_int_equal(d.differs, 0);
	for (int i = 0; i < 2; i++) {
		world.fail_at = world.calls + 1;
		world.error = i ? -EIO : -EBADMSG; /* what was stored has changed; a bad sector */
		say_hash(0);
		assert_int_equal(give(), 0);
		body = answer(WIRE_DIFFER, &f);
		assert_int_equal(wire_parse_differ(body, f.length, &d), 0);
		assert_int_equal(d.differs, 1);
	}
	world.fail_at = world.calls + 1;
	world.error = -ENOMEM; /* says nothing of the disk */
	say_hash(0);
	assert_int_equal(give(), -ECONNABORTED);
	refusal_is(WIRE_REFUSED_STORE);
}

/* 40 bytes of a frame make hundreds of entries in the store: those are counted, and DISK, too. */
static void test_an_epoch_of_too_many_pieces_is_refused(void **state)
{
	uint64_t entries = store_zero_entries(SECTOR_BYTES, WIRE_DISK_BYTES_MAX - SECTOR_BYTES), kept = 3, more = 0;

	assert_in_range(entries, 512, 1000);
	greet();
	say_disk(0, WIRE_DISK_BYTES_MAX, 1);
	assert_int_equal(give(), 0);
	answer_is(WIRE_WELCOME);
	for (; kept + entries <= SESSION_EPOCH_ENTRIES_MAX; kept += entries) {
		say_zero(SECTOR_BYTES, WIRE_DISK_BYTES_MAX - SECTOR_BYTES);
		assert_int_equal(give(), 0);
	}
	do
		say_disk(0, WIRE_DISK_BYTES_MAX, 1);
	while (give() == 0 && ++more < entries);
	assert_true(more < entries);
	refusal_is(WIRE_REFUSED_MALFORMED);
}

static void test_what_an_epoch_may_have_begins_anew_with_the_next(void **state)
{
	uint64_t entries = store_zero_entries(SECTOR_BYTES, WIRE_DISK_BYTES_MAX - SECTOR_BYTES);

	greet();
	say_disk(0, WIRE_DISK_BYTES_MAX, 1);
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		for (uint64_t kept = 3; kept + entries <= SESSION_EPOCH_ENTRIES_MAX; kept += entries) {
			say_zero(SECTOR_BYTES, WIRE_DISK_BYTES_MAX - SECTOR_BYTES);
			assert_int_equal(give(), 0);
		}
		say_commit(epoch);
		assert_int_equal(give(), 0);
	}
}

static void test_a_full_staging_area_is_refused_after_what_was_durable(void **state)
{
	greet();
	say_data(0, 1);
	say_commit(1);
	say_data(0, 2);
	world.no_room = true;
	assert_int_equal(give(), -ECONNABORTED);
	answer_is(WIRE_WELCOME);
	answer_is(WIRE_DURABLE);
	refusal_is(WIRE_REFUSED_STAGING_FULL);
	assert_int_equal(world.records, 1);
}

static void test_a_peer_that_does_not_read_is_not_listened_to(void **state)
{
	unsigned int asked = 0, answered = 0;
	size_t len, most = 0;
	int err = 0;

	greet();
	assert_int_equal(give(), 0);
	answer_is(WIRE_WELCOME);
	while (err == 0) {
		say_hash(0);
		asked++;
		err = give();
		(void)session_output(session, &len);
		most = MAX(most, len);
		assert_true(asked < 100000);
	}
	assert_int_equal(err, -EAGAIN);
	assert_true(most < SESSION_OUTPUT_BYTES);
	say_hash(0);
	asked++;
	assert_int_equal(give(), -EAGAIN);
	assert_true(talk_len > 0); /* it waits */
	while (err == -EAGAIN || (session_output(session, &len), len > 0)) {
		answer_is(WIRE_DIFFER);
		answered++;
		err = give();
	}
	assert_int_equal(answered, asked);
}

static void test_a_disk_may_grow_or_come_and_not_shrink_or_change(void **state)
{
	greet();
	say_disk(0, 2 * DISK_BYTES, 1);
	say_zero(DISK_BYTES, DISK_BYTES);
	say_disk(5, DISK_BYTES, 9);
	say_commit(1);
	assert_int_equal(give(), 0);
	answer_is(WIRE_WELCOME);
	answer_is(WIRE_DURABLE);
	say_disk(0, DISK_BYTES, 1);
	assert_int_equal(give(), -ECONNABORTED);
	refusal_is(WIRE_REFUSED_MALFORMED);

	(void)end(NULL);
	(void)begin(NULL);
	greet();
	say_disk(0, DISK_BYTES, 2);
	assert_int_equal(give(), -ECONNABORTED);
	answer_is(WIRE_WELCOME);
	refusal_is(WIRE_REFUSED_MALFORMED);

	(void)end(NULL);
	(void)begin(NULL);
	say_hello(2);
	say_disk(3, DISK_BYTES, 1);
	say_disk(3, DISK_BYTES, 1);
	assert_int_equal(give(), -ECONNABORTED);
	refusal_is(WIRE_REFUSED_MALFORMED);
}

static void test_data_before_the_greeting_is_refused(void **state)
{
	say_data(0, 1);
	assert_int_equal(give(), -ECONNABORTED);
	refusal_is(WIRE_REFUSED_MALFORMED);
	assert_int_equal(world.calls, 0);
}

static void test_it_can_be_ended_from_outside_at_any_time(void **state)
{
	session_refuse(session, WIRE_REFUSED_SHUTDOWN, "the server is stopping");
	refusal_is(WIRE_REFUSED_SHUTDOWN);

	(void)end(NULL);
	(void)begin(NULL);
	greet();
	say_data(0, 1);
	assert_int_equal(give(), 0);
	session_refuse(session, WIRE_REFUSED_BUSY, "a newer connection");
	session_refuse(session, WIRE_REFUSED_SHUTDOWN, "too late");
	answer_is(WIRE_WELCOME);
	refusal_is(WIRE_REFUSED_BUSY);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_an_epoch_is_durable_with_its_times),
		CASE(test_frames_may_come_byte_by_byte),
		CASE(test_each_failure_of_the_store_ends_the_session_with_its_reason),
		CASE(test_who_is_not_admitted_is_told_why),
		CASE(test_damage_read_back_is_a_difference_not_a_failure),
		CASE(test_an_epoch_of_too_many_pieces_is_refused),
		CASE(test_what_an_epoch_may_have_begins_anew_with_the_next),
		CASE(test_a_full_staging_area_is_refused_after_what_was_durable),
		CASE(test_a_peer_that_does_not_read_is_not_listened_to),
		CASE(test_a_disk_may_grow_or_come_and_not_shrink_or_change),
		CASE(test_data_before_the_greeting_is_refused),
		CASE(test_it_can_be_ended_from_outside_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
