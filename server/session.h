/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session - what one agent says on one connection, and what becomes of it.
 *
 *	bytes from TLS --> session_input() --> struct session_ops (the store)
 *	bytes to TLS   <-- session_output() <-- WELCOME, DIFFER, DURABLE, REFUSE ...
 *
 * No sockets, no clock, no logging: everything a session touches is behind
 * struct session_ops, so that the fuzzer and the unit tests run the very code
 * that the server runs.  docs/protocol.md is normative.
 */
#ifndef GODWIT_SESSION_H
#define GODWIT_SESSION_H

#include "base.h"
#include "store.h"
#include "uuid.h"
#include "wire.h"

/* One epoch has at most so many DATA and ZERO frames ... */
#define SESSION_EPOCH_RECORDS_MAX (4u << 20)

/* ... and of all its frames the store keeps at most so many entries until the
 * commit, which bounds its memory: one of a DATA, one of a DISK,
 * store_zero_entries() of a ZERO. */
#define SESSION_EPOCH_ENTRIES_MAX (16u << 20)

/* Output kept for a peer that does not read; input is not taken above it. */
#define SESSION_OUTPUT_BYTES (256 * KIB)

/* After so many bytes of DATA, and after every commit, the staging area is
 * asked whether there is still room. */
#define SESSION_ROOM_CHECK_BYTES (16 * MIB)

struct session;

/* Why a session is over. */
struct session_end {
	bool refused;		 /* a REFUSE is the last frame of the output */
	struct wire_refuse refuse; /* reason 0 while the session is not over */
	int err;		 /* -errno of what failed, or 0 */
};

/* What a session may do to the world.  0 or -errno, as store.h says. */
struct session_ops {
	/* The greeting is in order: may this machine come in?  On success its
	 * store is open for the calls below; else @refuse is filled. */
	int (*admit)(void *context, const struct wire_hello *hello, struct wire_refuse *refuse);

	uint64_t (*last_epoch)(void *context);
	uint64_t (*last_time_us)(void *context);
	int (*put_disk)(void *context, const struct store_disk *disk);
	int (*put_data)(void *context, const struct wire_data *data);
	int (*put_zero)(void *context, const struct wire_zero *zero);
	int (*commit)(void *context, const struct store_epoch *epoch);
	int (*read)(void *context, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes, void *ret_buf);

	/* After each commit, and now and then: -ENOSPC when what is left of the
	 * staging area is the reserve.  May also put the store in order. */
	int (*room)(void *context);

	/* The speed test: write as if it were data; make it durable and forget it. */
	int (*probe_write)(void *context, const void *payload, uint32_t len);
	int (*probe_end)(void *context);

	uint64_t (*now_us)(void *context); /* monotonic */
};

/* What the listener shows of a session. */
struct session_figures {
	uint64_t durable_epoch, durable_time_us;
	uint64_t point_epoch, point_time_us; /* the newest recovery point of this session; 0: none yet */
	uint64_t received_bytes;	     /* frames taken */
	uint64_t staging_us, receive_us;     /* in all */
};

/* @peer is the machine that the certificate names. */
_must_check_ int session_new(const struct session_ops *ops, void *context, const struct uuid *peer,
			     struct session **ret);
void session_free(struct session *s);

/*
 * Take whole frames from @buf, and set *@ret_consumed.  0: call again, with
 * more input if none was consumed (a COMMIT ends a call, so that its DURABLE
 * does not wait for what came behind it); -EAGAIN: drain the output first;
 * -ECONNABORTED: the session is over (session_get_end()).
 */
_must_check_ int session_input(struct session *s, const uint8_t *buf, size_t len, size_t *ret_consumed);

/* Frames waiting to be sent; session_sent() forgets the first @n bytes. */
const uint8_t *session_output(const struct session *s, size_t *ret_len);
void session_sent(struct session *s, size_t n);

/* The network was waited for this long: part of the next DURABLE. */
void session_waited(struct session *s, uint64_t us);

/* End it from outside: REFUSE with @reason and @text becomes the last output. */
void session_refuse(struct session *s, enum wire_refusal reason, const char *text);

bool session_is_open(const struct session *s); /* past WELCOME, and not over */
const struct session_end *session_get_end(const struct session *s);
const struct session_figures *session_get_figures(const struct session *s);

#endif
