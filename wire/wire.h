/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire - the messages between agent and replication server, as bytes.
 *
 * No sockets, no logging, no allocation.  docs/protocol.md is normative; this
 * file and it name the same things in the same order.  Every frame is
 *
 *	 0  u16 type		enum wire_type
 *	 2  u16 flags		0 unless the message says otherwise
 *	 4  u32 length		of the body in bytes, at most WIRE_BODY_MAX
 *	 8  u64 checksum	XXH3-64 of bytes 0-7 and the body
 *	16  body
 *
 * all little-endian.  The agent speaks first:
 *
 *	agent				server
 *	HELLO, DISK ... 	-->
 *				<--	WELCOME | REFUSE
 *	{ DATA | ZERO | HASH }
 *	COMMIT			-->
 *				<--	DIFFER (one for each HASH, in order)
 *				<--	DURABLE (epoch)
 *	PING			-->
 *				<--	PONG
 *
 * W1	Frames take effect in the order sent; the DATA, ZERO of an epoch become
 *	visible together, at its COMMIT, and are durable when DURABLE names it
 *	or a later epoch.
 * W2	A HASH is compared with the disk as it is after every frame before it,
 *	committed or not.
 * W3	The checksum of a DATA record is of its uncompressed payload, computed
 *	by the agent when the payload leaves capture or scan; the server
 *	verifies it before it stores the record, and every reader of the store
 *	verifies it again.
 * W4	After an error the receiver sends REFUSE, if it is the server, and
 *	closes; nothing after the last DURABLE epoch is kept.
 */
#ifndef GODWIT_WIRE_H
#define GODWIT_WIRE_H

#include "base.h"
#include "payload.h"
#include "uuid.h"

#define WIRE_PORT 1500
#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1

#define WIRE_HEADER_BYTES 16u
#define WIRE_BODY_MAX (CHUNK_BYTES + 64u) /* a whole chunk that did not compress, and its header */
#define WIRE_LABEL_MAX 127u
#define WIRE_NAME_MAX 32u
#define WIRE_TEXT_MAX 1024u
#define WIRE_EPOCH_MAX ((1ULL << 62) - 1)      /* uuid_from_epoch() has room for it */
#define WIRE_TIME_MAX_US 253402300799999999ULL /* the end of the year 9999 */
/* 8 PiB: no sum of an offset and a length overflows, and what a receiver keeps of one ZERO,
 * by blocks of growing size (store/format.h), stays below a thousand entries. */
#define WIRE_DISK_BYTES_MAX (1ULL << 53)

/* Where the payload of a DATA frame begins, from the frame's first byte. */
#define WIRE_DATA_PAYLOAD_AT (WIRE_HEADER_BYTES + 24u)

enum wire_type {
	WIRE_HELLO = 1,	  /* agent: who I am */
	WIRE_DISK = 2,	  /* agent: one disk; after HELLO, and again when it grows */
	WIRE_WELCOME = 3, /* server: go on from here */
	WIRE_REFUSE = 4,  /* server: why not, then close */
	WIRE_DATA = 5,
	WIRE_ZERO = 6,
	WIRE_HASH = 7,
	WIRE_DIFFER = 8,
	WIRE_COMMIT = 9,
	WIRE_DURABLE = 10,
	WIRE_PING = 11,
	WIRE_PONG = 12,
	WIRE_PROBE = 13,     /* agent: payload to be thrown away or written and thrown away: speedtest */
	WIRE_PROBE_DONE = 14, /* server: bytes seen and staging write time */
};

enum wire_refusal {
	WIRE_REFUSED_VERSION = 1,      /* no common version */
	WIRE_REFUSED_IDENTITY = 2,     /* the certificate is not of this machine */
	WIRE_REFUSED_UNKNOWN = 3,      /* machine not known to this server, or stopped */
	WIRE_REFUSED_BUSY = 4,	       /* another session of this machine is open */
	WIRE_REFUSED_MALFORMED = 5,    /* a frame broke docs/protocol.md */
	WIRE_REFUSED_CHECKSUM = 6,     /* a payload did not match its checksum */
	WIRE_REFUSED_STAGING_FULL = 7, /* no room; try again later */
	WIRE_REFUSED_STORE = 8,	       /* the store failed; the text says how */
	WIRE_REFUSED_SHUTDOWN = 9,     /* the server is stopping */
};

struct wire_frame {
	uint16_t type, flags;
	uint32_t length;
	uint64_t checksum;
};

/* With a version range that this side does not know the other fields are 0:
 * look at the versions first. */
struct wire_hello {
	uint16_t version_min, version_max;
	struct uuid machine;
	uint16_t disk_count;	/* so many DISK frames follow at once; 1 to DISKS_MAX */
	uint64_t boot_time_us;	/* of the source, for the log */
};

struct wire_disk {
	uint16_t disk;		/* index within the machine, < DISKS_MAX, for ever */
	uint16_t sector_bytes;	/* logical block: 512 or 4096 */
	uint64_t size_bytes;	/* multiple of 512 (not always of sector_bytes), > 0 */
	struct uuid id;
	char name[WIRE_NAME_MAX + 1]; /* "/dev/sda" at this moment, for people */
};

struct wire_welcome {
	uint16_t version;
	uint64_t durable_epoch;	/* 0: the store is empty */
};

struct wire_refuse {
	uint16_t reason;	/* enum wire_refusal, or one of a later version; never 0 */
	char text[WIRE_TEXT_MAX + 1];
};

/* offset and length: multiples of SECTOR_BYTES, length > 0, not crossing a
 * multiple of CHUNK_BYTES, not past the disk's end. */
struct wire_data {
	uint16_t disk;
	uint8_t codec;		/* enum payload_codec */
	uint64_t offset_bytes;
	uint32_t length_bytes;	/* uncompressed, <= CHUNK_BYTES */
	uint32_t stored_bytes;	/* as it stands in the frame; CODEC_RAW: length_bytes, else fewer */
	uint64_t checksum;	/* W3: XXH3-64, seed 0, of the uncompressed payload */
	const uint8_t *stored;	/* parse: into the caller's buffer; put: anywhere, or already
				 * at WIRE_DATA_PAYLOAD_AT of the frame */
};

/* As above, but may span any number of chunks. */
struct wire_zero {
	uint16_t disk;
	uint64_t offset_bytes, length_bytes;
};

struct wire_hash {
	uint16_t disk;
	uint64_t offset_bytes;
	uint32_t length_bytes;	/* a whole chunk, or up to the disk's end */
	uint64_t hash[2];	/* XXH3-128 with the session's secret seed, low half first */
	uint64_t seed;
};

struct wire_differ {
	uint16_t disk;
	uint8_t differs;	/* 0 or 1 */
	uint64_t offset_bytes;
	uint32_t length_bytes;
};

#define WIRE_COMMIT_POINT 1u   /* flags: the disk was exactly this at time_us */
#define WIRE_COMMIT_LABELLED 2u /* flags: a person asked for this point: label says why; never alone */
struct wire_commit {
	uint64_t epoch;		/* the one before, plus one */
	uint64_t time_us;	/* source's clock; grows with the epoch; > 0 */
	uint32_t flags;
	uint64_t record_count;	/* DATA and ZERO frames in this epoch */
	char label[WIRE_LABEL_MAX + 1];
};

struct wire_durable {
	uint64_t epoch;
	uint64_t staging_us;	/* time the server spent writing and syncing it */
	uint64_t receive_us;	/* time it waited for the network */
};

struct wire_ping {
	uint64_t cookie;
};

struct wire_probe_done {
	uint64_t bytes, receive_us, staging_us;
};

/* --- bytes to structs: all bounds first ---------------------------------- */

/* @buf has WIRE_HEADER_BYTES.  -EPROTO: unknown type, unknown flags or a length
 * outside of the type's own limits. */
_must_check_ int wire_parse_frame(const uint8_t *buf, struct wire_frame *ret);

/* -EBADMSG: the header or the body was changed on its way. */
_must_check_ int wire_check_frame(const uint8_t *header, const uint8_t *body, uint32_t length);

/* One per message.  @body has exactly @len bytes, as the frame says.  -EPROTO:
 * a field is out of its range; @ret is then untouched. */
_must_check_ int wire_parse_hello(const uint8_t *body, uint32_t len, struct wire_hello *ret);
_must_check_ int wire_parse_disk(const uint8_t *body, uint32_t len, struct wire_disk *ret);
_must_check_ int wire_parse_welcome(const uint8_t *body, uint32_t len, struct wire_welcome *ret);
_must_check_ int wire_parse_refuse(const uint8_t *body, uint32_t len, struct wire_refuse *ret);
_must_check_ int wire_parse_data(const uint8_t *body, uint32_t len, struct wire_data *ret);
_must_check_ int wire_parse_zero(const uint8_t *body, uint32_t len, struct wire_zero *ret);
_must_check_ int wire_parse_hash(const uint8_t *body, uint32_t len, struct wire_hash *ret);
_must_check_ int wire_parse_differ(const uint8_t *body, uint32_t len, struct wire_differ *ret);
_must_check_ int wire_parse_commit(const uint8_t *body, uint32_t len, struct wire_commit *ret);
_must_check_ int wire_parse_durable(const uint8_t *body, uint32_t len, struct wire_durable *ret);
_must_check_ int wire_parse_ping(const uint8_t *body, uint32_t len, struct wire_ping *ret);
_must_check_ int wire_parse_probe_done(const uint8_t *body, uint32_t len, struct wire_probe_done *ret);

/* --- structs to bytes: a whole frame into @buf --------------------------- */

/* Each returns the frame's length in bytes; @buf has room for the header and the
 * longest body of the type (never more than WIRE_BODY_MAX).  Asserts that the
 * fields are in range: what we send is our own doing.  Texts come from
 * elsewhere: in them what is not printable becomes '?', and a name or a label
 * that is empty becomes "?". */
size_t wire_put_hello(uint8_t *buf, const struct wire_hello *m);
size_t wire_put_disk(uint8_t *buf, const struct wire_disk *m);
size_t wire_put_welcome(uint8_t *buf, const struct wire_welcome *m);
size_t wire_put_refuse(uint8_t *buf, const struct wire_refuse *m);
size_t wire_put_data(uint8_t *buf, const struct wire_data *m);
size_t wire_put_zero(uint8_t *buf, const struct wire_zero *m);
size_t wire_put_hash(uint8_t *buf, const struct wire_hash *m);
size_t wire_put_differ(uint8_t *buf, const struct wire_differ *m);
size_t wire_put_commit(uint8_t *buf, const struct wire_commit *m);
size_t wire_put_durable(uint8_t *buf, const struct wire_durable *m);
size_t wire_put_ping(uint8_t *buf, const struct wire_ping *m, bool pong);
size_t wire_put_probe(uint8_t *buf, const uint8_t *payload, uint32_t len); /* 0 bytes: asks for PROBE_DONE */
size_t wire_put_probe_done(uint8_t *buf, const struct wire_probe_done *m);

/* The version that both sides speak, or 0. */
uint16_t wire_common_version(const struct wire_hello *m);

const char *wire_type_name(uint16_t type); /* "COMMIT"; "unknown" */
const char *wire_refusal_name(uint16_t reason); /* "STAGING_FULL" */

#endif
