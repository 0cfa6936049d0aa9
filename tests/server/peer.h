/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer - the smallest agent: says on port 1500 exactly what a test tells it
 * to, right or wrong.  Functions that wait do so for at most PEER_WAIT_MS.
 */
#ifndef GODWIT_TEST_PEER_H
#define GODWIT_TEST_PEER_H

#include "base.h"
#include "tls.h"
#include "uuid.h"
#include "wire.h"

#define PEER_WAIT_MS 30000

struct peer {
	int fd;
	struct tls *tls;
	uint64_t records; /* of the epoch */
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX]; /* received */
	struct wire_frame header;
	const uint8_t *body;
};

/* A plain connection.  -errno. */
int peer_connect(uint16_t port);

/* Connect and shake hands; 0 or -errno.  With TLS 1.3 a refused certificate
 * shows in the first receive. */
int peer_open(struct peer *p, struct tls_context *tls, uint16_t port);
void peer_close(struct peer *p);	/* orderly */
void peer_abandon(struct peer *p);	/* the socket only */

int peer_send(struct peer *p, const void *bytes, size_t len);

/* The next frame into p->header and p->body.  -EPIPE: the server has closed. */
int peer_receive(struct peer *p);
int peer_receive_type(struct peer *p, enum wire_type type); /* -EPROTO: another frame */

/* The next frame must be REFUSE with @reason, and then the end: 0 or -errno. */
int peer_expect_refusal(struct peer *p, enum wire_refusal reason);

int peer_hello(struct peer *p, const struct uuid *machine, uint16_t disks);
int peer_disk(struct peer *p, uint16_t index, uint64_t size_bytes); /* its id follows from the index */
int peer_data(struct peer *p, uint16_t disk, uint64_t offset, const void *payload, uint32_t len, uint8_t codec);
int peer_zero(struct peer *p, uint16_t disk, uint64_t offset, uint64_t len);
int peer_hash(struct peer *p, uint16_t disk, uint64_t offset, const void *payload, uint32_t len);
int peer_commit(struct peer *p, uint64_t epoch, uint64_t time_us, uint32_t flags, const char *label);

/* HELLO, one disk of @size_bytes, and the WELCOME: its epoch in *@ret_epoch. */
int peer_greet(struct peer *p, const struct uuid *machine, uint64_t size_bytes, uint64_t *ret_epoch);

/* COMMIT as a point, and wait for its DURABLE. */
int peer_commit_durable(struct peer *p, uint64_t epoch, uint64_t time_us);

struct uuid peer_disk_id(uint16_t index);

#endif
