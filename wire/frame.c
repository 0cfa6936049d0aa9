/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"
#include "xxh3.h"
#include <errno.h>

/* In the order of enum wire_type. */
static const struct {
	const char *name;
	uint32_t least_bytes, most_bytes;
} types[] = {
	[WIRE_HELLO] = { "HELLO", HELLO_BYTES, HELLO_BYTES_MAX },
	[WIRE_DISK] = { "DISK", DISK_BYTES, DISK_BYTES },
	[WIRE_WELCOME] = { "WELCOME", WELCOME_BYTES, WELCOME_BYTES },
	[WIRE_REFUSE] = { "REFUSE", REFUSE_BYTES, REFUSE_BYTES + WIRE_TEXT_MAX },
	[WIRE_DATA] = { "DATA", DATA_BYTES + 1, DATA_BYTES + CHUNK_BYTES },
	[WIRE_ZERO] = { "ZERO", ZERO_BYTES, ZERO_BYTES },
	[WIRE_HASH] = { "HASH", HASH_BYTES, HASH_BYTES },
	[WIRE_DIFFER] = { "DIFFER", DIFFER_BYTES, DIFFER_BYTES },
	[WIRE_COMMIT] = { "COMMIT", COMMIT_BYTES, COMMIT_BYTES + WIRE_LABEL_MAX },
	[WIRE_DURABLE] = { "DURABLE", DURABLE_BYTES, DURABLE_BYTES },
	[WIRE_PING] = { "PING", PING_BYTES, PING_BYTES },
	[WIRE_PONG] = { "PONG", PING_BYTES, PING_BYTES },
	[WIRE_PROBE] = { "PROBE", 0, CHUNK_BYTES },
	[WIRE_PROBE_DONE] = { "PROBE_DONE", PROBE_DONE_BYTES, PROBE_DONE_BYTES },
};

static const char *const refusals[] = {
	[WIRE_REFUSED_VERSION] = "VERSION",
	[WIRE_REFUSED_IDENTITY] = "IDENTITY",
	[WIRE_REFUSED_UNKNOWN] = "UNKNOWN",
	[WIRE_REFUSED_BUSY] = "BUSY",
	[WIRE_REFUSED_MALFORMED] = "MALFORMED",
	[WIRE_REFUSED_CHECKSUM] = "CHECKSUM",
	[WIRE_REFUSED_STAGING_FULL] = "STAGING_FULL",
	[WIRE_REFUSED_STORE] = "STORE",
	[WIRE_REFUSED_SHUTDOWN] = "SHUTDOWN",
};

static bool type_is_known(uint16_t type)
{
	return type < ARRAY_LEN(types) && types[type].name;
}

bool frame_length_fits(uint16_t type, uint32_t length)
{
	return type_is_known(type) && length >= types[type].least_bytes && length <= types[type].most_bytes;
}

uint64_t frame_checksum(const uint8_t *header, const uint8_t *body, uint32_t length)
{
	return xxh3_64_of_two(header, 8, body, length);
}

int wire_parse_frame(const uint8_t *buf, struct wire_frame *ret)
{
	struct wire_frame f = {
		.type = get_le16(buf),
		.flags = get_le16(buf + 2),
		.length = get_le32(buf + 4),
		.checksum = get_le64(buf + 8),
	};

	if (f.flags != 0 || !frame_length_fits(f.type, f.length))
		return -EPROTO;
	*ret = f;
	return 0;
}

int wire_check_frame(const uint8_t *header, const uint8_t *body, uint32_t length)
{
	return get_le64(header + 8) == frame_checksum(header, body, length) ? 0 : -EBADMSG;
}

uint16_t wire_common_version(const struct wire_hello *m)
{
	uint16_t highest = MIN(m->version_max, WIRE_VERSION_MAX);

	return highest >= MAX(m->version_min, WIRE_VERSION_MIN) ? highest : 0;
}

const char *wire_type_name(uint16_t type)
{
	return type_is_known(type) ? types[type].name : "unknown";
}

const char *wire_refusal_name(uint16_t reason)
{
	return reason < ARRAY_LEN(refusals) && refusals[reason] ? refusals[reason] : "unknown";
}
