/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile agent sends after the handshake, against the server's own
 * session; the store is a model that asserts what the session owes it.
 *
 *	0	switches, below
 *	1	bytes given to the session at a time, in units of 16
 *	2	frames, one after the other
 *
 * No fuzzer finds checksums by chance, so they can be put right on the way.
 */
#include "fuzz.h"
#include "session.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define GREETED 1u	   /* a good HELLO and two DISKs go first */
#define FRAMES_SUMMED 2u   /* the checksum of each frame is put right */
#define PAYLOADS_SUMMED 4u /* and that of each raw payload */
#define STORE_FILLS_UP 8u  /* the third commit finds no room */
#define NEVER_READS 16u	   /* the output is not taken */

#define INPUT_MAX (256 * KIB)

static const struct uuid machine = { { 1, 2, 3, 4 } };

struct model {
	unsigned int switches, commits;
	bool admitted, over;
	uint64_t disk_bytes[DISKS_MAX];
	uint64_t last_epoch, last_time_us, records, now_us;
};

static int model_admit(void *context, const struct wire_hello *hello, struct wire_refuse *refuse)
{
	struct model *m = context;

	assert(!m->admitted && uuid_equal(&hello->machine, &machine));
	m->admitted = true;
	return 0;
}

static uint64_t model_last_epoch(void *context)
{
	return ((struct model *)context)->last_epoch;
}

static uint64_t model_last_time_us(void *context)
{
	return ((struct model *)context)->last_time_us;
}

static int model_put_disk(void *context, const struct store_disk *d)
{
	struct model *m = context;

	assert(m->admitted && !m->over && d->disk < DISKS_MAX && d->size_bytes >= m->disk_bytes[d->disk]);
	m->disk_bytes[d->disk] = d->size_bytes;
	return 0;
}

static void check_range(const struct model *m, uint16_t disk, uint64_t offset, uint64_t length)
{
	assert(m->admitted && !m->over && disk < DISKS_MAX && length > 0);
	assert(offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0);
	assert(offset <= m->disk_bytes[disk] && length <= m->disk_bytes[disk] - offset);
}

static int model_put_data(void *context, const struct wire_data *d)
{
	static uint8_t payload[CHUNK_BYTES];
	struct model *m = context;

	check_range(m, d->disk, d->offset_bytes, d->length_bytes);
	assert(d->offset_bytes % CHUNK_BYTES + d->length_bytes <= CHUNK_BYTES);
	assert(payload_decompress(d->codec, d->stored, d->stored_bytes, payload, d->length_bytes) == 0);
	assert(payload_checksum(payload, d->length_bytes) == d->checksum); /* W3 */
	m->records++;
	return 0;
}

static int model_put_zero(void *context, const struct wire_zero *z)
{
	struct model *m = context;

	check_range(m, z->disk, z->offset_bytes, z->length_bytes);
	m->records++;
	return 0;
}

static int model_commit(void *context, const struct store_epoch *e)
{
	struct model *m = context;

	assert(m->admitted && !m->over && e->epoch == m->last_epoch + 1 && e->time_us > m->last_time_us);
	if (++m->commits == 3 && m->switches & STORE_FILLS_UP)
		return -ENOSPC;
	m->last_epoch = e->epoch;
	m->last_time_us = e->time_us;
	m->records = 0;
	return 0;
}

static int model_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *ret_buf)
{
	check_range(context, disk, offset, length);
	assert(length <= CHUNK_BYTES);
	memset(ret_buf, 0, length);
	return 0;
}

static int model_room(void *context)
{
	return 0;
}

static int model_probe_write(void *context, const void *payload, uint32_t len)
{
	assert(len > 0 && len <= CHUNK_BYTES);
	return 0;
}

static int model_probe_end(void *context)
{
	return 0;
}

static uint64_t model_now_us(void *context)
{
	return ((struct model *)context)->now_us++;
}

static const struct session_ops ops = {
	model_admit, model_last_epoch, model_last_time_us, model_put_disk, model_put_data, model_put_zero,
	model_commit, model_read, model_room, model_probe_write, model_probe_end, model_now_us,
};

static void put_right(uint8_t *frame, uint32_t length, unsigned int switches)
{
	uint8_t *body = frame + WIRE_HEADER_BYTES;
	XXH3_state_t state;

	if (switches & PAYLOADS_SUMMED && get_le16(frame) == WIRE_DATA && body[2] == CODEC_RAW && length > 24)
		put_le64(body + 16, payload_checksum(body + 24, length - 24));
	if (!(switches & FRAMES_SUMMED))
		return;
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, frame, 8);
	XXH3_64bits_update(&state, body, length);
	put_le64(frame + 8, XXH3_64bits_digest(&state));
}

static void put_all_right(uint8_t *at, size_t len, unsigned int switches)
{
	struct wire_frame f;

	while (len >= WIRE_HEADER_BYTES && wire_parse_frame(at, &f) == 0 && f.length <= len - WIRE_HEADER_BYTES) {
		put_right(at, f.length, switches);
		at += WIRE_HEADER_BYTES + f.length;
		len -= WIRE_HEADER_BYTES + f.length;
	}
}

static size_t greet(uint8_t *buf)
{
	struct wire_hello hello = { .version_min = 1, .version_max = 1, .machine = machine, .disk_count = 2 };
	struct wire_disk disk = { .sector_bytes = 512, .size_bytes = MIB + 512, .id = { { 9 } }, .name = "a" };
	size_t len = wire_put_hello(buf, &hello);

	len += wire_put_disk(buf + len, &disk);
	disk = (struct wire_disk){ .disk = 1, .sector_bytes = 4096, .size_bytes = 8 * GIB, .id = { { 8 } }, .name = "b" };
	return len + wire_put_disk(buf + len, &disk);
}

/* What was said, as far as it is not a whole frame yet. */
struct answers {
	uint8_t bytes[WIRE_HEADER_BYTES + WIRE_BODY_MAX + SESSION_OUTPUT_BYTES];
	size_t len;
	bool refused;
};

/* The answers are whole frames of the server's, and a REFUSE is the last. */
static void check_answers(struct answers *a)
{
	struct wire_refuse refuse;
	struct wire_frame f;
	size_t at = 0;

	while (a->len - at >= WIRE_HEADER_BYTES) {
		const uint8_t *frame = a->bytes + at;

		assert(!a->refused && wire_parse_frame(frame, &f) == 0);
		if (f.length > a->len - at - WIRE_HEADER_BYTES)
			break;
		assert(wire_check_frame(frame, frame + WIRE_HEADER_BYTES, f.length) == 0);
		if (f.type == WIRE_REFUSE) {
			assert(wire_parse_refuse(frame + WIRE_HEADER_BYTES, f.length, &refuse) == 0);
			a->refused = true;
		}
		at += WIRE_HEADER_BYTES + f.length;
	}
	assert(!a->refused || at == a->len);
	a->len -= at;
	memmove(a->bytes, a->bytes + at, a->len);
}

static void drain(struct session *s, struct answers *a, size_t most)
{
	size_t len;
	const uint8_t *out = session_output(s, &len);

	len = MIN(len, most);
	memcpy(a->bytes + a->len, out, len);
	a->len += len;
	session_sent(s, len);
	check_answers(a);
}

static void converse(struct session *s, struct model *m, const uint8_t *in, size_t len, size_t step)
{
	static struct answers a;
	size_t taken = 0, given = 0;
	int err = 0;

	a.len = 0;
	a.refused = false;
	while (err == 0 || err == -EAGAIN) {
		if (err == 0 && given == len && taken == 0)
			break;
		if (err == -EAGAIN && m->switches & NEVER_READS)
			break;
		given = MIN(len, given + step);
		err = session_input(s, in, given, &taken);
		assert(taken <= given);
		in += taken;
		len -= taken;
		given -= taken;
		if (!(m->switches & NEVER_READS))
			drain(s, &a, step / 2);
	}
	m->over = err == -ECONNABORTED;
	if (m->over) {
		assert(session_get_end(s)->refused && !session_is_open(s));
		assert(session_input(s, in, len, &taken) == -ECONNABORTED && taken == 0);
	}
	session_refuse(s, WIRE_REFUSED_SHUTDOWN, "the server is stopping");
	m->over = true;
	drain(s, &a, SIZE_MAX);
	assert(a.refused && a.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model m = { .now_us = 1 };
	struct session *s;
	size_t greeting = 0;
	uint8_t *in;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	m.switches = data[0];
	in = malloc(3 * (WIRE_HEADER_BYTES + WIRE_BODY_MAX) + size);
	if (!in || session_new(&ops, &m, &machine, &s))
		abort();
	if (m.switches & GREETED)
		greeting = greet(in);
	memcpy(in + greeting, data + 2, size - 2);
	put_all_right(in + greeting, size - 2, m.switches);
	converse(s, &m, in, greeting + size - 2, 16 * (1 + (size_t)data[1]));
	session_free(s);
	free(in);
	return 0;
}
