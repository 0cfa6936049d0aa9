/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of frames, as either side receives it.  What is taken must be in
 * the ranges of docs/protocol.md, and putting it again must give the same
 * bytes: there is one way to say each thing.
 */
#include "fuzz.h"
#include "wire.h"
#include "utf8.h"
#include <assert.h>

static uint8_t again[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

static void expect_same(const uint8_t *frame, size_t len, size_t put)
{
	assert(put == len);
	assert(memcmp(again + WIRE_HEADER_BYTES, frame + WIRE_HEADER_BYTES, len - WIRE_HEADER_BYTES) == 0);
	assert(memcmp(again, frame, 8) == 0);
}

static void check_hello(const uint8_t *frame, uint32_t len)
{
	struct wire_hello m;

	if (wire_parse_hello(frame + WIRE_HEADER_BYTES, len, &m) || wire_common_version(&m) == 0)
		return;
	assert(m.disk_count > 0 && m.disk_count <= DISKS_MAX && !uuid_is_null(&m.machine));
	if (len == 32)
		expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_hello(again, &m));
}

static void check_disk(const uint8_t *frame, uint32_t len)
{
	struct wire_disk m;

	if (wire_parse_disk(frame + WIRE_HEADER_BYTES, len, &m))
		return;
	assert(m.disk < DISKS_MAX && m.size_bytes % SECTOR_BYTES == 0);
	assert(utf8_is_printable(m.name, strlen(m.name)));
	expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_disk(again, &m));
}

static void check_data(const uint8_t *frame, uint32_t len)
{
	static uint8_t payload[CHUNK_BYTES];
	struct wire_data m;

	if (wire_parse_data(frame + WIRE_HEADER_BYTES, len, &m))
		return;
	assert(m.disk < DISKS_MAX && m.length_bytes > 0 && m.length_bytes <= CHUNK_BYTES);
	assert(m.offset_bytes / CHUNK_BYTES == (m.offset_bytes + m.length_bytes - 1) / CHUNK_BYTES);
	assert(m.stored == frame + WIRE_DATA_PAYLOAD_AT && m.stored_bytes <= m.length_bytes);
	assert(m.stored + m.stored_bytes == frame + WIRE_HEADER_BYTES + len);
	expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_data(again, &m));
	if (payload_decompress(m.codec, m.stored, m.stored_bytes, payload, m.length_bytes) == 0)
		(void)payload_checksum(payload, m.length_bytes);
}

static void check_commit(const uint8_t *frame, uint32_t len)
{
	struct wire_commit m;

	if (wire_parse_commit(frame + WIRE_HEADER_BYTES, len, &m))
		return;
	assert(m.epoch > 0 && m.epoch <= WIRE_EPOCH_MAX && m.time_us > 0);
	assert(strlen(m.label) <= WIRE_LABEL_MAX && utf8_is_printable(m.label, strlen(m.label)));
	expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_commit(again, &m));
}

#define SIMPLE(kind)                                                                             \
	static void check_##kind(const uint8_t *frame, uint32_t len)                             \
	{                                                                                        \
		struct wire_##kind m;                                                            \
		if (wire_parse_##kind(frame + WIRE_HEADER_BYTES, len, &m) == 0)                  \
			expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_##kind(again, &m)); \
	}
SIMPLE(welcome)
SIMPLE(refuse)
SIMPLE(zero)
SIMPLE(hash)
SIMPLE(differ)
SIMPLE(durable)
SIMPLE(probe_done)

static void check_ping(const uint8_t *frame, uint32_t len)
{
	struct wire_ping m;

	if (wire_parse_ping(frame + WIRE_HEADER_BYTES, len, &m) == 0)
		expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_ping(again, &m, get_le16(frame) == WIRE_PONG));
}

static void check_probe(const uint8_t *frame, uint32_t len)
{
	expect_same(frame, WIRE_HEADER_BYTES + len, wire_put_probe(again, frame + WIRE_HEADER_BYTES, len));
}

static void check_frame(const uint8_t *frame, const struct wire_frame *f)
{
	static void (*const checks[])(const uint8_t *, uint32_t) = {
		[WIRE_HELLO] = check_hello,   [WIRE_DISK] = check_disk,	    [WIRE_WELCOME] = check_welcome,
		[WIRE_REFUSE] = check_refuse, [WIRE_DATA] = check_data,	    [WIRE_ZERO] = check_zero,
		[WIRE_HASH] = check_hash,     [WIRE_DIFFER] = check_differ, [WIRE_COMMIT] = check_commit,
		[WIRE_DURABLE] = check_durable, [WIRE_PING] = check_ping,   [WIRE_PONG] = check_ping,
		[WIRE_PROBE] = check_probe,   [WIRE_PROBE_DONE] = check_probe_done,
	};

	assert(f->length <= WIRE_BODY_MAX && f->type < ARRAY_LEN(checks) && checks[f->type]);
	(void)!wire_check_frame(frame, frame + WIRE_HEADER_BYTES, f->length);
	checks[f->type](frame, f->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_frame f;

	while (size >= WIRE_HEADER_BYTES && wire_parse_frame(data, &f) == 0) {
		if (f.length > size - WIRE_HEADER_BYTES)
			break;
		check_frame(data, &f);
		data += WIRE_HEADER_BYTES + f.length;
		size -= WIRE_HEADER_BYTES + f.length;
	}
	return 0;
}
