/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies to structs.  Each function reads its fields in the order of
 * docs/protocol.md, states what must hold of them, and gives the struct out
 * only if the whole body was in order.
 */
#include "cursor.h"
#include "frame.h"
#include "utf8.h"
#include <errno.h>

static struct uuid take_uuid(struct cursor *c)
{
	struct uuid u;

	memcpy(u.bytes, cursor_take(c, sizeof(u.bytes)), sizeof(u.bytes));
	cursor_require(c, !uuid_is_null(&u));
	return u;
}

static uint16_t take_disk_index(struct cursor *c)
{
	uint16_t disk = cursor_u16(c);

	cursor_require(c, disk < DISKS_MAX);
	return disk;
}

/* The last field of a body: @len bytes of text, as announced in it. */
static void take_text(struct cursor *c, uint32_t len, char *ret_text, size_t size)
{
	if (c->bad || len != c->left || len >= size || !utf8_is_printable((const char *)c->at, len)) {
		c->bad = true;
		return;
	}
	memcpy(ret_text, c->at, len);
	ret_text[len] = '\0';
	c->at += len;
	c->left = 0;
}

/* A name fills its field with zeroes. */
static void take_name(struct cursor *c, char ret_name[WIRE_NAME_MAX + 1])
{
	size_t len;

	if (c->bad || c->left != WIRE_NAME_MAX) {
		c->bad = true;
		return;
	}
	len = strnlen((const char *)c->at, WIRE_NAME_MAX);
	cursor_require(c, len > 0 && is_zero(c->at + len, WIRE_NAME_MAX - len));
	c->left = (uint32_t)len;
	take_text(c, (uint32_t)len, ret_name, WIRE_NAME_MAX + 1);
}

int wire_parse_hello(const uint8_t *body, uint32_t len, struct wire_hello *ret)
{
	struct cursor c = cursor_over(body, MIN(len, HELLO_BYTES));
	struct wire_hello m = { .version_min = cursor_u16(&c), .version_max = cursor_u16(&c) };

	cursor_require(&c, len >= HELLO_BYTES && len <= HELLO_BYTES_MAX);
	cursor_require(&c, m.version_min > 0 && m.version_min <= m.version_max);
	if (!c.bad && wire_common_version(&m) == 0) {
		*ret = m;
		return 0;
	}
	m.disk_count = cursor_u16(&c);
	cursor_reserved(&c, 2);
	m.boot_time_us = cursor_u64(&c);
	m.machine = take_uuid(&c);
	cursor_require(&c, m.disk_count > 0 && m.disk_count <= DISKS_MAX);
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_disk(const uint8_t *body, uint32_t len, struct wire_disk *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_disk m = { .disk = take_disk_index(&c) };

	m.sector_bytes = cursor_u16(&c);
	cursor_reserved(&c, 4);
	m.size_bytes = cursor_u64(&c);
	m.id = take_uuid(&c);
	take_name(&c, m.name);
	cursor_require(&c, sector_is_valid(m.sector_bytes));
	cursor_require(&c, m.size_bytes > 0 && m.size_bytes <= WIRE_DISK_BYTES_MAX);
	cursor_require(&c, m.size_bytes % SECTOR_BYTES == 0);
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_welcome(const uint8_t *body, uint32_t len, struct wire_welcome *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_welcome m = { .version = cursor_u16(&c) };

	cursor_reserved(&c, 6);
	m.durable_epoch = cursor_u64(&c);
	cursor_require(&c, m.version >= WIRE_VERSION_MIN && m.version <= WIRE_VERSION_MAX);
	cursor_require(&c, m.durable_epoch <= WIRE_EPOCH_MAX);
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_refuse(const uint8_t *body, uint32_t len, struct wire_refuse *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_refuse m = { .reason = cursor_u16(&c) };

	take_text(&c, cursor_u16(&c), m.text, sizeof(m.text));
	cursor_require(&c, m.reason != 0);
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_data(const uint8_t *body, uint32_t len, struct wire_data *ret)
{
	struct cursor c = cursor_over(body, MIN(len, DATA_BYTES));
	struct wire_data m = { .disk = take_disk_index(&c) };

	m.codec = cursor_u8(&c);
	cursor_reserved(&c, 1);
	m.length_bytes = cursor_u32(&c);
	m.offset_bytes = cursor_u64(&c);
	m.checksum = cursor_u64(&c);
	cursor_require(&c, range_is_valid(m.offset_bytes, m.length_bytes));
	cursor_require(&c, is_within_chunk(m.offset_bytes, m.length_bytes));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	m.stored = body + DATA_BYTES;
	m.stored_bytes = len - DATA_BYTES;
	/* What did not get smaller is sent as it is. */
	if (m.codec == CODEC_RAW ? m.stored_bytes != m.length_bytes : m.stored_bytes >= m.length_bytes)
		return -EPROTO;
	if (m.stored_bytes == 0 || m.codec > CODEC_ZSTD)
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_zero(const uint8_t *body, uint32_t len, struct wire_zero *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_zero m = { .disk = take_disk_index(&c) };

	cursor_reserved(&c, 6);
	m.offset_bytes = cursor_u64(&c);
	m.length_bytes = cursor_u64(&c);
	cursor_require(&c, range_is_valid(m.offset_bytes, m.length_bytes));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_hash(const uint8_t *body, uint32_t len, struct wire_hash *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_hash m = { .disk = take_disk_index(&c) };

	cursor_reserved(&c, 2);
	m.length_bytes = cursor_u32(&c);
	m.offset_bytes = cursor_u64(&c);
	m.hash[0] = cursor_u64(&c);
	m.hash[1] = cursor_u64(&c);
	m.seed = cursor_u64(&c);
	cursor_require(&c, range_is_valid(m.offset_bytes, m.length_bytes));
	cursor_require(&c, is_from_chunk(m.offset_bytes, m.length_bytes));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_differ(const uint8_t *body, uint32_t len, struct wire_differ *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_differ m = { .disk = take_disk_index(&c) };

	m.differs = cursor_u8(&c);
	cursor_reserved(&c, 1);
	m.length_bytes = cursor_u32(&c);
	m.offset_bytes = cursor_u64(&c);
	cursor_require(&c, m.differs <= 1);
	cursor_require(&c, range_is_valid(m.offset_bytes, m.length_bytes));
	cursor_require(&c, is_from_chunk(m.offset_bytes, m.length_bytes));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_commit(const uint8_t *body, uint32_t len, struct wire_commit *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_commit m = { .epoch = cursor_u64(&c) };
	uint16_t label_bytes;

	m.time_us = cursor_u64(&c);
	m.record_count = cursor_u64(&c);
	m.flags = cursor_u32(&c);
	label_bytes = cursor_u16(&c);
	cursor_reserved(&c, 2);
	take_text(&c, label_bytes, m.label, sizeof(m.label));
	cursor_require(&c, epoch_is_valid(m.epoch));
	cursor_require(&c, m.time_us > 0 && m.time_us <= WIRE_TIME_MAX_US);
	cursor_require(&c, flags_are_valid(m.flags, label_bytes));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_durable(const uint8_t *body, uint32_t len, struct wire_durable *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_durable m = { .epoch = cursor_u64(&c) };

	m.staging_us = cursor_u64(&c);
	m.receive_us = cursor_u64(&c);
	cursor_require(&c, epoch_is_valid(m.epoch));
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_ping(const uint8_t *body, uint32_t len, struct wire_ping *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_ping m = { .cookie = cursor_u64(&c) };

	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}

int wire_parse_probe_done(const uint8_t *body, uint32_t len, struct wire_probe_done *ret)
{
	struct cursor c = cursor_over(body, len);
	struct wire_probe_done m = { .bytes = cursor_u64(&c) };

	m.receive_us = cursor_u64(&c);
	m.staging_us = cursor_u64(&c);
	if (!cursor_ended_well(&c))
		return -EPROTO;
	*ret = m;
	return 0;
}
