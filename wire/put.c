/* SPDX-License-Identifier: Apache-2.0 */
/* Structs to whole frames; the fields in the order of docs/protocol.md. */
#include "cursor.h"
#include "frame.h"
#include "utf8.h"

static struct put_cursor body_of(uint8_t *buf)
{
	return (struct put_cursor){ buf + WIRE_HEADER_BYTES, buf + WIRE_HEADER_BYTES + WIRE_BODY_MAX };
}

/* The header goes before the body, when its length is known. */
static size_t finish(uint8_t *buf, const struct put_cursor *c, enum wire_type type)
{
	uint32_t length = (uint32_t)(c->at - buf) - WIRE_HEADER_BYTES;

	assert(frame_length_fits((uint16_t)type, length));
	put_le16(buf, (uint16_t)type);
	put_le16(buf + 2, 0);
	put_le32(buf + 4, length);
	put_le64(buf + 8, frame_checksum(buf, buf + WIRE_HEADER_BYTES, length));
	return WIRE_HEADER_BYTES + length;
}

static void put_uuid(struct put_cursor *c, const struct uuid *u)
{
	assert(!uuid_is_null(u));
	put_bytes(c, u->bytes, sizeof(u->bytes));
}

size_t wire_put_hello(uint8_t *buf, const struct wire_hello *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->version_min > 0 && m->version_min <= m->version_max);
	assert(m->disk_count > 0 && m->disk_count <= DISKS_MAX);
	put_u16(&c, m->version_min);
	put_u16(&c, m->version_max);
	put_u16(&c, m->disk_count);
	put_zeroes(&c, 2);
	put_u64(&c, m->boot_time_us);
	put_uuid(&c, &m->machine);
	return finish(buf, &c, WIRE_HELLO);
}

size_t wire_put_disk(uint8_t *buf, const struct wire_disk *m)
{
	struct put_cursor c = body_of(buf);
	char name[WIRE_NAME_MAX + 1] = { 0 };

	assert(m->disk < DISKS_MAX && sector_is_valid(m->sector_bytes));
	assert(m->size_bytes > 0 && m->size_bytes <= WIRE_DISK_BYTES_MAX && m->size_bytes % SECTOR_BYTES == 0);
	utf8_clean(m->name[0] ? m->name : "?", name, sizeof(name));
	put_u16(&c, m->disk);
	put_u16(&c, m->sector_bytes);
	put_zeroes(&c, 4);
	put_u64(&c, m->size_bytes);
	put_uuid(&c, &m->id);
	put_bytes(&c, name, strlen(name));
	put_zeroes(&c, WIRE_NAME_MAX - strlen(name));
	return finish(buf, &c, WIRE_DISK);
}

size_t wire_put_welcome(uint8_t *buf, const struct wire_welcome *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->version >= WIRE_VERSION_MIN && m->version <= WIRE_VERSION_MAX);
	assert(m->durable_epoch <= WIRE_EPOCH_MAX);
	put_u16(&c, m->version);
	put_zeroes(&c, 6);
	put_u64(&c, m->durable_epoch);
	return finish(buf, &c, WIRE_WELCOME);
}

size_t wire_put_refuse(uint8_t *buf, const struct wire_refuse *m)
{
	struct put_cursor c = body_of(buf);
	char text[sizeof(m->text)];

	assert(m->reason > 0);
	utf8_clean(m->text, text, sizeof(text));
	put_u16(&c, m->reason);
	put_u16(&c, (uint16_t)strlen(text));
	put_bytes(&c, text, strlen(text));
	return finish(buf, &c, WIRE_REFUSE);
}

size_t wire_put_data(uint8_t *buf, const struct wire_data *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->disk < DISKS_MAX && m->codec <= CODEC_ZSTD && m->stored_bytes > 0);
	assert(range_is_valid(m->offset_bytes, m->length_bytes) && is_within_chunk(m->offset_bytes, m->length_bytes));
	assert(m->codec == CODEC_RAW ? m->stored_bytes == m->length_bytes : m->stored_bytes < m->length_bytes);
	put_u16(&c, m->disk);
	put_u8(&c, m->codec);
	put_zeroes(&c, 1);
	put_u32(&c, m->length_bytes);
	put_u64(&c, m->offset_bytes);
	put_u64(&c, m->checksum);
	if (m->stored == c.at)
		put_room(&c, m->stored_bytes);
	else
		put_bytes(&c, m->stored, m->stored_bytes);
	return finish(buf, &c, WIRE_DATA);
}

size_t wire_put_zero(uint8_t *buf, const struct wire_zero *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->disk < DISKS_MAX && range_is_valid(m->offset_bytes, m->length_bytes));
	put_u16(&c, m->disk);
	put_zeroes(&c, 6);
	put_u64(&c, m->offset_bytes);
	put_u64(&c, m->length_bytes);
	return finish(buf, &c, WIRE_ZERO);
}

size_t wire_put_hash(uint8_t *buf, const struct wire_hash *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->disk < DISKS_MAX);
	assert(range_is_valid(m->offset_bytes, m->length_bytes) && is_from_chunk(m->offset_bytes, m->length_bytes));
	put_u16(&c, m->disk);
	put_zeroes(&c, 2);
	put_u32(&c, m->length_bytes);
	put_u64(&c, m->offset_bytes);
	put_u64(&c, m->hash[0]);
	put_u64(&c, m->hash[1]);
	put_u64(&c, m->seed);
	return finish(buf, &c, WIRE_HASH);
}

size_t wire_put_differ(uint8_t *buf, const struct wire_differ *m)
{
	struct put_cursor c = body_of(buf);

	assert(m->disk < DISKS_MAX && m->differs <= 1);
	assert(range_is_valid(m->offset_bytes, m->length_bytes) && is_from_chunk(m->offset_bytes, m->length_bytes));
	put_u16(&c, m->disk);
	put_u8(&c, m->differs);
	put_zeroes(&c, 1);
	put_u32(&c, m->length_bytes);
	put_u64(&c, m->offset_bytes);
	return finish(buf, &c, WIRE_DIFFER);
}

size_t wire_put_commit(uint8_t *buf, const struct wire_commit *m)
{
	struct put_cursor c = body_of(buf);
	char label[sizeof(m->label)];

	utf8_clean(m->label[0] || !(m->flags & WIRE_COMMIT_LABELLED) ? m->label : "?", label, sizeof(label));
	assert(epoch_is_valid(m->epoch) && m->time_us > 0 && m->time_us <= WIRE_TIME_MAX_US);
	assert(flags_are_valid(m->flags, strlen(label)));
	put_u64(&c, m->epoch);
	put_u64(&c, m->time_us);
	put_u64(&c, m->record_count);
	put_u32(&c, m->flags);
	put_u16(&c, (uint16_t)strlen(label));
	put_zeroes(&c, 2);
	put_bytes(&c, label, strlen(label));
	return finish(buf, &c, WIRE_COMMIT);
}

size_t wire_put_durable(uint8_t *buf, const struct wire_durable *m)
{
	struct put_cursor c = body_of(buf);

	assert(epoch_is_valid(m->epoch));
	put_u64(&c, m->epoch);
	put_u64(&c, m->staging_us);
	put_u64(&c, m->receive_us);
	return finish(buf, &c, WIRE_DURABLE);
}

size_t wire_put_ping(uint8_t *buf, const struct wire_ping *m, bool pong)
{
	struct put_cursor c = body_of(buf);

	put_u64(&c, m->cookie);
	return finish(buf, &c, pong ? WIRE_PONG : WIRE_PING);
}

size_t wire_put_probe(uint8_t *buf, const uint8_t *payload, uint32_t len)
{
	struct put_cursor c = body_of(buf);

	assert(len <= CHUNK_BYTES);
	if (len > 0)
		put_bytes(&c, payload, len);
	return finish(buf, &c, WIRE_PROBE);
}

size_t wire_put_probe_done(uint8_t *buf, const struct wire_probe_done *m)
{
	struct put_cursor c = body_of(buf);

	put_u64(&c, m->bytes);
	put_u64(&c, m->receive_us);
	put_u64(&c, m->staging_us);
	return finish(buf, &c, WIRE_PROBE_DONE);
}
