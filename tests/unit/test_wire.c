/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of tests/vectors/ were made from docs/protocol.md by another
 * program than the one tested here; both directions are compared with them.
 * Every limit is then violated, one field at a time.
 */
#include "wire.h"
#include "vectors.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define FRAME_MAX (WIRE_HEADER_BYTES + WIRE_BODY_MAX)

static const struct uuid machine = { { 0x0b, 0x6a, 0xd6, 0xd8, 0x3b, 0x4e, 0x4f, 0x1f, 0x9a, 0x67, 0xd1, 0xc6, 0xb7,
				       0xa8, 0xc2, 0xe5 } };
static const struct uuid disk_id = { { 0x5f, 0x0c, 0x6b, 0x1e, 0x9d, 0x0a, 0x4c, 0x7e, 0x8b, 0x21, 0xf3, 0xa4, 0x95,
				       0x5d, 0x77, 0x16 } };

/* A vector's frame; its body begins at WIRE_HEADER_BYTES.  Returns the length of the body. */
static uint32_t load(const char *name, enum wire_type type, uint8_t *frame)
{
	size_t len = vector_load(name, frame, FRAME_MAX);
	struct wire_frame f;

	assert_true(len >= WIRE_HEADER_BYTES);
	assert_int_equal(wire_parse_frame(frame, &f), 0);
	assert_int_equal(f.type, type);
	assert_int_equal(f.length, len - WIRE_HEADER_BYTES);
	assert_int_equal(wire_check_frame(frame, frame + WIRE_HEADER_BYTES, f.length), 0);
	return f.length;
}

/* Load a vector into `frame`, parse it into a message that began as garbage, put
 * the message again and compare with the vector. */
#define ROUND_TRIP(type_, kind, name)                                                        \
	static uint8_t frame[FRAME_MAX], again[FRAME_MAX];                                   \
	uint32_t len = load(name, type_, frame);                                             \
	struct wire_##kind m;                                                                \
	memset(&m, 0xa5, sizeof(m));                                                         \
	memset(again, 0xa5, sizeof(again));                                                  \
	assert_int_equal(wire_parse_##kind(frame + WIRE_HEADER_BYTES, len, &m), 0);          \
	assert_int_equal(wire_put_##kind(again, &m), WIRE_HEADER_BYTES + len);               \
	assert_memory_equal(again, frame, WIRE_HEADER_BYTES + len)

static void test_hello(void **state)
{
	ROUND_TRIP(WIRE_HELLO, hello, "hello");
	assert_int_equal(m.version_min, 1);
	assert_int_equal(m.version_max, 1);
	assert_int_equal(m.disk_count, 2);
	assert_int_equal(m.boot_time_us, 1795340467000000);
	assert_true(uuid_equal(&m.machine, &machine));
	assert_int_equal(wire_common_version(&m), 1);
}

static void test_hello_of_a_later_version(void **state)
{
	static uint8_t frame[FRAME_MAX];
	uint32_t len = load("hello-later", WIRE_HELLO, frame);
	uint8_t *body = frame + WIRE_HEADER_BYTES;
	struct wire_hello m;

	assert_int_equal(wire_parse_hello(body, len, &m), 0);
	assert_int_equal(wire_common_version(&m), 1);
	assert_int_equal(m.disk_count, 1);
	/* Without a common version nothing but the versions means anything. */
	put_le16(body, 2);
	memset(body + 4, 0xff, len - 4);
	assert_int_equal(wire_parse_hello(body, len, &m), 0);
	assert_int_equal(m.version_min, 2);
	assert_int_equal(m.version_max, 3);
	assert_int_equal(m.disk_count, 0);
	assert_true(uuid_is_null(&m.machine));
	assert_int_equal(wire_common_version(&m), 0);
}

static void test_disk(void **state)
{
	ROUND_TRIP(WIRE_DISK, disk, "disk");
	assert_int_equal(m.disk, 0);
	assert_int_equal(m.sector_bytes, 512);
	assert_int_equal(m.size_bytes, 4 * GIB);
	assert_true(uuid_equal(&m.id, &disk_id));
	assert_string_equal(m.name, "/dev/sda");
}

static void test_disk_with_4_kib_sectors(void **state)
{
	ROUND_TRIP(WIRE_DISK, disk, "disk-4k");
	assert_int_equal(m.disk, DISKS_MAX - 1);
	assert_int_equal(m.sector_bytes, 4096);
	assert_int_equal(m.size_bytes, 1024 * GIB);
	assert_string_equal(m.name, "/dev/disk-with-a-very-long-name1");
}

static void test_welcome(void **state)
{
	ROUND_TRIP(WIRE_WELCOME, welcome, "welcome");
	assert_int_equal(m.version, 1);
	assert_int_equal(m.durable_epoch, 41);
}

static void test_refuse(void **state)
{
	ROUND_TRIP(WIRE_REFUSE, refuse, "refuse");
	assert_int_equal(m.reason, WIRE_REFUSED_STAGING_FULL);
	assert_string_equal(m.text, "no room");
	assert_string_equal(wire_refusal_name(m.reason), "STAGING_FULL");
}

static void test_refuse_in_other_scripts(void **state)
{
	ROUND_TRIP(WIRE_REFUSE, refuse, "refuse-utf8");
	assert_string_equal(m.text, "受け付けません");
}

static void test_refuse_with_a_reason_of_a_later_version(void **state)
{
	ROUND_TRIP(WIRE_REFUSE, refuse, "refuse-empty");
	assert_int_equal(m.reason, 99);
	assert_string_equal(m.text, "");
	assert_string_equal(wire_refusal_name(m.reason), "unknown");
}

static void test_data_raw(void **state)
{
	uint8_t expected[SECTOR_BYTES];
	ROUND_TRIP(WIRE_DATA, data, "data-raw");

	for (unsigned int i = 0; i < sizeof(expected); i++)
		expected[i] = (uint8_t)(7 * i + 3);
	assert_int_equal(m.disk, 1);
	assert_int_equal(m.codec, CODEC_RAW);
	assert_int_equal(m.offset_bytes, 5 * CHUNK_BYTES + 1024);
	assert_int_equal(m.length_bytes, SECTOR_BYTES);
	assert_int_equal(m.stored_bytes, SECTOR_BYTES);
	assert_memory_equal(m.stored, expected, SECTOR_BYTES);
	assert_int_equal(m.checksum, payload_checksum(expected, SECTOR_BYTES));
}

static void check_whole_chunk(const struct wire_data *m)
{
	static uint8_t payload[CHUNK_BYTES];

	assert_int_equal(m->length_bytes, CHUNK_BYTES);
	assert_int_equal(payload_decompress(m->codec, m->stored, m->stored_bytes, payload, CHUNK_BYTES), 0);
	assert_int_equal(m->checksum, payload_checksum(payload, CHUNK_BYTES));
	for (unsigned int i = 0; i < CHUNK_BYTES; i += 8)
		assert_memory_equal(payload + i, "godwit, ", 8);
}

static void test_data_lz4(void **state)
{
	ROUND_TRIP(WIRE_DATA, data, "data-lz4");
	assert_int_equal(m.codec, CODEC_LZ4);
	assert_int_equal(m.offset_bytes, 3 * CHUNK_BYTES);
	check_whole_chunk(&m);
}

static void test_data_zstd(void **state)
{
	ROUND_TRIP(WIRE_DATA, data, "data-zstd");
	assert_int_equal(m.codec, CODEC_ZSTD);
	assert_int_equal(m.offset_bytes, 4 * CHUNK_BYTES);
	check_whole_chunk(&m);
}

static void test_data_made_in_place(void **state)
{
	static uint8_t frame[FRAME_MAX], copied[FRAME_MAX], payload[CHUNK_BYTES];
	struct wire_data m = { .length_bytes = CHUNK_BYTES, .stored_bytes = CHUNK_BYTES };
	size_t len;

	for (unsigned int i = 0; i < CHUNK_BYTES; i++)
		payload[i] = (uint8_t)(i * 31 >> 3);
	m.checksum = payload_checksum(payload, CHUNK_BYTES);
	m.stored = payload;
	len = wire_put_data(copied, &m);
	memcpy(frame + WIRE_DATA_PAYLOAD_AT, payload, CHUNK_BYTES);
	m.stored = frame + WIRE_DATA_PAYLOAD_AT;
	assert_int_equal(wire_put_data(frame, &m), len);
	assert_memory_equal(frame, copied, len);
}

static void test_zero(void **state)
{
	ROUND_TRIP(WIRE_ZERO, zero, "zero");
	assert_int_equal(m.disk, 1);
	assert_int_equal(m.offset_bytes, 512);
	assert_int_equal(m.length_bytes, 3 * GIB);
}

static void test_hash(void **state)
{
	ROUND_TRIP(WIRE_HASH, hash, "hash");
	assert_int_equal(m.disk, 0);
	assert_int_equal(m.offset_bytes, 2 * CHUNK_BYTES);
	assert_int_equal(m.length_bytes, CHUNK_BYTES);
	assert_true(m.hash[0] == 0x1122334455667788 && m.hash[1] == 0x99aabbccddeeff00);
	assert_true(m.seed == 0x0123456789abcdef);
}

static void test_differ(void **state)
{
	ROUND_TRIP(WIRE_DIFFER, differ, "differ");
	assert_int_equal(m.disk, 0);
	assert_int_equal(m.differs, 1);
	assert_int_equal(m.offset_bytes, 2 * CHUNK_BYTES);
	assert_int_equal(m.length_bytes, CHUNK_BYTES);
}

static void test_differ_of_a_short_last_chunk(void **state)
{
	ROUND_TRIP(WIRE_DIFFER, differ, "same");
	assert_int_equal(m.differs, 0);
	assert_int_equal(m.length_bytes, 4096);
}

static void test_commit(void **state)
{
	ROUND_TRIP(WIRE_COMMIT, commit, "commit");
	assert_int_equal(m.epoch, 42);
	assert_int_equal(m.time_us, 1795340467123456);
	assert_int_equal(m.record_count, 1234);
	assert_int_equal(m.flags, WIRE_COMMIT_POINT);
	assert_string_equal(m.label, "");
}

static void test_commit_that_is_no_point(void **state)
{
	ROUND_TRIP(WIRE_COMMIT, commit, "commit-plain");
	assert_int_equal(m.epoch, 1);
	assert_int_equal(m.flags, 0);
}

static void test_commit_with_a_label(void **state)
{
	ROUND_TRIP(WIRE_COMMIT, commit, "commit-label");
	assert_true(m.epoch == WIRE_EPOCH_MAX);
	assert_int_equal(m.flags, WIRE_COMMIT_POINT | WIRE_COMMIT_LABELLED);
	assert_string_equal(m.label, "before the upgrade, 移行前");
}

static void test_durable(void **state)
{
	ROUND_TRIP(WIRE_DURABLE, durable, "durable");
	assert_int_equal(m.epoch, 42);
	assert_int_equal(m.staging_us, 1800);
	assert_int_equal(m.receive_us, 250000);
}

static void test_ping_and_pong(void **state)
{
	static uint8_t frame[FRAME_MAX], again[FRAME_MAX];
	struct wire_ping m;
	uint32_t len = load("ping", WIRE_PING, frame);

	assert_int_equal(wire_parse_ping(frame + WIRE_HEADER_BYTES, len, &m), 0);
	assert_true(m.cookie == 0x0102030405060708);
	assert_int_equal(wire_put_ping(again, &m, false), WIRE_HEADER_BYTES + len);
	assert_memory_equal(frame, again, WIRE_HEADER_BYTES + len);
	len = load("pong", WIRE_PONG, frame);
	assert_int_equal(wire_put_ping(again, &m, true), WIRE_HEADER_BYTES + len);
	assert_memory_equal(frame, again, WIRE_HEADER_BYTES + len);
}

static void test_probe(void **state)
{
	static uint8_t frame[FRAME_MAX], again[FRAME_MAX];
	uint32_t len = load("probe", WIRE_PROBE, frame);

	assert_int_equal(len, 48);
	assert_int_equal(wire_put_probe(again, frame + WIRE_HEADER_BYTES, len), WIRE_HEADER_BYTES + len);
	assert_memory_equal(frame, again, WIRE_HEADER_BYTES + len);
	len = load("probe-end", WIRE_PROBE, frame);
	assert_int_equal(len, 0);
	assert_int_equal(wire_put_probe(again, NULL, 0), WIRE_HEADER_BYTES);
	assert_memory_equal(frame, again, WIRE_HEADER_BYTES);
}

static void test_probe_done(void **state)
{
	ROUND_TRIP(WIRE_PROBE_DONE, probe_done, "probe-done");
	assert_int_equal(m.bytes, 48);
	assert_int_equal(m.receive_us, 1000);
	assert_int_equal(m.staging_us, 2000);
}

/* --- what must be refused --------------------------------------------------- */

/* Call the parser that belongs to the frame's type. */
static int parse_any(uint16_t type, const uint8_t *body, uint32_t len)
{
	union {
		struct wire_hello hello;
		struct wire_disk disk;
		struct wire_welcome welcome;
		struct wire_refuse refuse;
		struct wire_data data;
		struct wire_zero zero;
		struct wire_hash hash;
		struct wire_differ differ;
		struct wire_commit commit;
		struct wire_durable durable;
		struct wire_ping ping;
		struct wire_probe_done probe_done;
	} m, untouched;
	int err;

	memset(&untouched, 0xa5, sizeof(m));
	memcpy(&m, &untouched, sizeof(m));
	switch (type) {
#define CASE(TYPE, kind)                                      \
	case WIRE_##TYPE:                                     \
		err = wire_parse_##kind(body, len, &m.kind); \
		break
		CASE(HELLO, hello);
		CASE(DISK, disk);
		CASE(WELCOME, welcome);
		CASE(REFUSE, refuse);
		CASE(DATA, data);
		CASE(ZERO, zero);
		CASE(HASH, hash);
		CASE(DIFFER, differ);
		CASE(COMMIT, commit);
		CASE(DURABLE, durable);
		CASE(PING, ping);
		CASE(PONG, ping);
		CASE(PROBE_DONE, probe_done);
#undef CASE
	default:
		fail_msg("no parser for type %u", type);
		return 0;
	}
	if (err)
		assert_memory_equal(&m, &untouched, sizeof(m));
	return err;
}

/* One field of a good body set to a value that must be refused. */
static const struct violation {
	const char *vector, *what;
	unsigned int offset, width;
	uint64_t value;
} violations[] = {
	{ "hello", "no lowest version", 0, 2, 0 },
	{ "hello", "highest version below the lowest", 2, 2, 0 },
	{ "hello", "no disks", 4, 2, 0 },
	{ "hello", "too many disks", 4, 2, DISKS_MAX + 1 },
	{ "hello", "reserved bytes in use", 6, 2, 1 },
	{ "hello", "null machine", 16, 16, 0 },
	{ "disk", "disk index too high", 0, 2, DISKS_MAX },
	{ "disk", "sectors of 0 bytes", 2, 2, 0 },
	{ "disk", "sectors of 1 KiB", 2, 2, 1024 },
	{ "disk", "reserved bytes in use", 4, 4, 1ULL << 31 },
	{ "disk", "empty disk", 8, 8, 0 },
	{ "disk", "size not in whole sectors", 8, 8, 511 },
	{ "disk", "size beyond the limit", 8, 8, WIRE_DISK_BYTES_MAX + 512 },
	{ "disk-4k", "size not in whole sectors", 8, 8, 4096 + 256 },
	{ "disk", "null id", 16, 16, 0 },
	{ "disk", "no name", 32, 16, 0 },
	{ "disk", "bytes after the name's end", 63, 1, 'x' },
	{ "disk", "control character in the name", 33, 1, 27 },
	{ "disk", "name is not UTF-8", 33, 1, 0xff },
	{ "welcome", "version 0", 0, 2, 0 },
	{ "welcome", "version of a later time", 0, 2, WIRE_VERSION_MAX + 1 },
	{ "welcome", "reserved bytes in use", 2, 1, 1 },
	{ "welcome", "reserved bytes in use", 7, 1, 1 },
	{ "welcome", "epoch beyond the limit", 8, 8, WIRE_EPOCH_MAX + 1 },
	{ "refuse", "no reason", 0, 2, 0 },
	{ "refuse", "text longer than the body", 2, 2, 8 },
	{ "refuse", "text shorter than the body", 2, 2, 6 },
	{ "refuse", "text of 65535 bytes", 2, 2, 65535 },
	{ "refuse", "NUL in the text", 5, 1, 0 },
	{ "refuse", "line feed in the text", 5, 1, '\n' },
	{ "refuse-utf8", "half a character", 4, 1, 'x' },
	{ "data-raw", "disk index too high", 0, 2, DISKS_MAX },
	{ "data-raw", "codec for which the payload is too long", 2, 1, CODEC_LZ4 },
	{ "data-lz4", "raw, but shorter than its length", 2, 1, CODEC_RAW },
	{ "data-lz4", "unknown codec", 2, 1, CODEC_ZSTD + 1 },
	{ "data-raw", "reserved byte in use", 3, 1, 1 },
	{ "data-raw", "no length", 4, 4, 0 },
	{ "data-raw", "length not in whole sectors", 4, 4, 513 },
	{ "data-lz4", "longer than a chunk", 4, 4, CHUNK_BYTES + 512 },
	{ "data-lz4", "length near 2^32", 4, 4, 0xfffffe00 },
	{ "data-raw", "offset not in whole sectors", 8, 8, 1 },
	{ "data-lz4", "crossing a chunk", 8, 8, 512 },
	{ "data-raw", "offset beyond the limit", 8, 8, WIRE_DISK_BYTES_MAX },
	{ "data-raw", "offset near 2^64", 8, 8, -512ULL },
	{ "zero", "disk index too high", 0, 2, 65535 },
	{ "zero", "reserved bytes in use", 2, 1, 1 },
	{ "zero", "reserved bytes in use", 7, 1, 1 },
	{ "zero", "offset not in whole sectors", 8, 8, 100 },
	{ "zero", "offset near 2^64", 8, 8, -512ULL },
	{ "zero", "no length", 16, 8, 0 },
	{ "zero", "length not in whole sectors", 16, 8, 1000 },
	{ "zero", "ends beyond the limit", 16, 8, WIRE_DISK_BYTES_MAX },
	{ "zero", "sum of offset and length overflows", 16, 8, -512ULL },
	{ "hash", "disk index too high", 0, 2, DISKS_MAX },
	{ "hash", "reserved bytes in use", 2, 2, 256 },
	{ "hash", "no length", 4, 4, 0 },
	{ "hash", "longer than a chunk", 4, 4, CHUNK_BYTES + 512 },
	{ "hash", "length not in whole sectors", 4, 4, 8 },
	{ "hash", "does not begin with a chunk", 8, 8, CHUNK_BYTES + 512 },
	{ "hash", "offset near 2^64", 8, 8, -(uint64_t)CHUNK_BYTES },
	{ "differ", "disk index too high", 0, 2, DISKS_MAX },
	{ "differ", "neither the same nor different", 2, 1, 2 },
	{ "differ", "reserved byte in use", 3, 1, 0x80 },
	{ "differ", "no length", 4, 4, 0 },
	{ "differ", "longer than a chunk", 4, 4, CHUNK_BYTES + 512 },
	{ "differ", "does not begin with a chunk", 8, 8, 512 },
	{ "commit", "epoch 0", 0, 8, 0 },
	{ "commit", "epoch beyond the limit", 0, 8, WIRE_EPOCH_MAX + 1 },
	{ "commit", "time 0", 8, 8, 0 },
	{ "commit", "time beyond the limit", 8, 8, WIRE_TIME_MAX_US + 1 },
	{ "commit", "unknown flag", 24, 4, 4 | WIRE_COMMIT_POINT },
	{ "commit", "labelled without a label", 24, 4, WIRE_COMMIT_POINT | WIRE_COMMIT_LABELLED },
	{ "commit-label", "label without the flag", 24, 4, WIRE_COMMIT_POINT },
	{ "commit-label", "labelled, but no point", 24, 4, WIRE_COMMIT_LABELLED },
	{ "commit-label", "label longer than the body", 28, 2, 30 },
	{ "commit-label", "label shorter than the body", 28, 2, 28 },
	{ "commit-label", "reserved bytes in use", 30, 2, 1 },
	{ "commit-label", "control character in the label", 33, 1, 7 },
	{ "durable", "epoch 0", 0, 8, 0 },
	{ "durable", "epoch beyond the limit", 0, 8, WIRE_EPOCH_MAX + 1 },
};

static void test_each_field_out_of_range_is_refused(void **state)
{
	static uint8_t frame[FRAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(violations); i++) {
		const struct violation *v = &violations[i];
		uint8_t wide[16] = { 0 };
		size_t len = vector_load(v->vector, frame, FRAME_MAX) - WIRE_HEADER_BYTES;

		put_le64(wide, v->value);
		assert_true(v->offset + v->width <= len);
		assert_int_equal(parse_any(get_le16(frame), frame + WIRE_HEADER_BYTES, (uint32_t)len), 0);
		memcpy(frame + WIRE_HEADER_BYTES + v->offset, wide, v->width);
		if (parse_any(get_le16(frame), frame + WIRE_HEADER_BYTES, (uint32_t)len) != -EPROTO)
			fail_msg("%s: accepted: %s", v->vector, v->what);
	}
}

static const char *const all_vectors[] = {
	"hello",	"disk",	  "disk-4k",  "welcome", "refuse", "refuse-utf8", "refuse-empty",
	"data-raw",	"data-lz4", "data-zstd", "zero",   "hash",   "differ",	    "same",
	"commit",	"commit-plain", "commit-label", "durable", "ping", "pong", "probe-done",
};

/* Each body in memory of exactly its own size, so that the address sanitizer
 * sees a read past its end. */
static void test_bodies_too_short_or_too_long_are_refused(void **state)
{
	static uint8_t frame[FRAME_MAX];

	for (size_t i = 0; i < ARRAY_LEN(all_vectors); i++) {
		uint32_t len = (uint32_t)(vector_load(all_vectors[i], frame, FRAME_MAX) - WIRE_HEADER_BYTES);
		uint16_t type = get_le16(frame);

		for (uint32_t n = 0; n <= len + 1; n++) {
			uint8_t *body;
			int err;

			if (n == len || (n > len && type == WIRE_HELLO)) /* may be longer */
				continue;
			if (type == WIRE_DATA && frame[WIRE_HEADER_BYTES + 2] != CODEC_RAW && n > 24)
				continue; /* any length is possible; decompressing tells */
			body = malloc(n + !n);
			memset(body, 0, n + !n);
			memcpy(body, frame + WIRE_HEADER_BYTES, MIN(n, len));
			err = parse_any(type, body, n);
			free(body);
			if (err != -EPROTO)
				fail_msg("%s: accepted with %u bytes instead of %u", all_vectors[i], n, len);
		}
	}
}

static void test_headers_out_of_range_are_refused(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t least, most;
	} limits[] = {
		{ WIRE_HELLO, 32, 256 },   { WIRE_DISK, 64, 64 },    { WIRE_WELCOME, 16, 16 },
		{ WIRE_REFUSE, 4, 1028 },  { WIRE_DATA, 25, 65560 }, { WIRE_ZERO, 24, 24 },
		{ WIRE_HASH, 40, 40 },	   { WIRE_DIFFER, 16, 16 },  { WIRE_COMMIT, 32, 159 },
		{ WIRE_DURABLE, 24, 24 },  { WIRE_PING, 8, 8 },	     { WIRE_PONG, 8, 8 },
		{ WIRE_PROBE, 0, 65536 },  { WIRE_PROBE_DONE, 24, 24 },
	};
	uint8_t header[WIRE_HEADER_BYTES] = { 0 };
	struct wire_frame f;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		put_le16(header, limits[i].type);
		put_le32(header + 4, limits[i].least);
		assert_int_equal(wire_parse_frame(header, &f), 0);
		put_le32(header + 4, limits[i].most);
		assert_int_equal(wire_parse_frame(header, &f), 0);
		assert_true(f.length <= WIRE_BODY_MAX);
		put_le32(header + 4, limits[i].most + 1);
		assert_int_equal(wire_parse_frame(header, &f), -EPROTO);
		put_le32(header + 4, UINT32_MAX);
		assert_int_equal(wire_parse_frame(header, &f), -EPROTO);
		put_le32(header + 4, limits[i].least - 1); /* of 0: UINT32_MAX */
		assert_int_equal(wire_parse_frame(header, &f), -EPROTO);
		put_le32(header + 4, limits[i].least);
		put_le16(header + 2, 1);
		assert_int_equal(wire_parse_frame(header, &f), -EPROTO);
		put_le16(header + 2, 0);
	}
	for (unsigned int type = 0; type <= UINT16_MAX; type += type < 20 ? 1 : 997) {
		put_le16(header, (uint16_t)type);
		put_le32(header + 4, 8);
		if (type == 0 || type > WIRE_PROBE_DONE)
			assert_int_equal(wire_parse_frame(header, &f), -EPROTO);
	}
}

static void test_every_flipped_bit_is_noticed(void **state)
{
	static uint8_t frame[FRAME_MAX];
	uint32_t len = load("commit-label", WIRE_COMMIT, frame);

	for (uint32_t bit = 0; bit < 8 * (WIRE_HEADER_BYTES + len); bit++) {
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(wire_check_frame(frame, frame + WIRE_HEADER_BYTES, len), -EBADMSG);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(wire_check_frame(frame, frame + WIRE_HEADER_BYTES, len), 0);
}

static void test_texts_are_made_printable_when_sent(void **state)
{
	static uint8_t frame[FRAME_MAX];
	struct wire_refuse refuse = { .reason = WIRE_REFUSED_STORE, .text = "a\nb\xff\x1b[31m" }, seen_refuse;
	struct wire_disk disk = { .sector_bytes = 512, .size_bytes = MIB, .id = disk_id }, seen_disk;
	struct wire_commit commit = { .epoch = 1, .time_us = 1, .flags = 3, .label = "x\ty" }, seen_commit;
	size_t len;

	len = wire_put_refuse(frame, &refuse) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_refuse(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen_refuse), 0);
	assert_string_equal(seen_refuse.text, "a?b??[31m");
	len = wire_put_disk(frame, &disk) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_disk(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen_disk), 0);
	assert_string_equal(seen_disk.name, "?");
	len = wire_put_commit(frame, &commit) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_commit(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen_commit), 0);
	assert_string_equal(seen_commit.label, "x?y");
	commit.label[0] = '\0';
	len = wire_put_commit(frame, &commit) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_commit(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen_commit), 0);
	assert_string_equal(seen_commit.label, "?");
}

static void test_longest_texts_fit(void **state)
{
	static uint8_t frame[FRAME_MAX];
	struct wire_refuse refuse = { .reason = WIRE_REFUSED_STORE }, seen;
	struct wire_commit commit = { .epoch = 1, .time_us = 1, .flags = 3 }, seen_commit;
	size_t len;

	memset(refuse.text, 't', WIRE_TEXT_MAX);
	len = wire_put_refuse(frame, &refuse) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_refuse(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen), 0);
	assert_string_equal(seen.text, refuse.text);
	memset(commit.label, 'l', WIRE_LABEL_MAX);
	len = wire_put_commit(frame, &commit) - WIRE_HEADER_BYTES;
	assert_int_equal(wire_parse_commit(frame + WIRE_HEADER_BYTES, (uint32_t)len, &seen_commit), 0);
	assert_string_equal(seen_commit.label, commit.label);
}

static void test_every_type_and_refusal_has_a_name(void **state)
{
	for (uint16_t type = WIRE_HELLO; type <= WIRE_PROBE_DONE; type++)
		assert_string_not_equal(wire_type_name(type), "unknown");
	for (uint16_t reason = WIRE_REFUSED_VERSION; reason <= WIRE_REFUSED_SHUTDOWN; reason++)
		assert_string_not_equal(wire_refusal_name(reason), "unknown");
	assert_string_equal(wire_type_name(0), "unknown");
	assert_string_equal(wire_type_name(WIRE_PROBE_DONE + 1), "unknown");
	assert_string_equal(wire_refusal_name(0), "unknown");
	assert_string_equal(wire_type_name(WIRE_COMMIT), "COMMIT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_hello_of_a_later_version),
		cmocka_unit_test(test_disk),
		cmocka_unit_test(test_disk_with_4_kib_sectors),
		cmocka_unit_test(test_welcome),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_refuse_in_other_scripts),
		cmocka_unit_test(test_refuse_with_a_reason_of_a_later_version),
		cmocka_unit_test(test_data_raw),
		cmocka_unit_test(test_data_lz4),
		cmocka_unit_test(test_data_zstd),
		cmocka_unit_test(test_data_made_in_place),
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_differ),
		cmocka_unit_test(test_differ_of_a_short_last_chunk),
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_commit_that_is_no_point),
		cmocka_unit_test(test_commit_with_a_label),
		cmocka_unit_test(test_durable),
		cmocka_unit_test(test_ping_and_pong),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_probe_done),
		cmocka_unit_test(test_each_field_out_of_range_is_refused),
		cmocka_unit_test(test_bodies_too_short_or_too_long_are_refused),
		cmocka_unit_test(test_headers_out_of_range_are_refused),
		cmocka_unit_test(test_every_flipped_bit_is_noticed),
		cmocka_unit_test(test_texts_are_made_printable_when_sent),
		cmocka_unit_test(test_longest_texts_fit),
		cmocka_unit_test(test_every_type_and_refusal_has_a_name),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
