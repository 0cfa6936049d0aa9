/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls - TLS 1.3, mutual, over a connected non-blocking socket.
 *
 * Both sides present a certificate of the same CA.  No I/O here waits: the
 * functions return -EAGAIN and tls_events() says what to poll for.
 */
#ifndef GODWIT_TLS_H
#define GODWIT_TLS_H

#include "base.h"
#include "uuid.h"
#include <sys/types.h>

struct tls_context; /* keys and CA; shared by connections */
struct tls;

/* The files are read now, so privileges may be dropped after it. */
_must_check_ int tls_context_new(const char *key_path, const char *cert_path, const char *ca_path,
				 struct tls_context **ret);
void tls_context_free(struct tls_context *c);

/* The socket belongs to the caller and must outlive the tls. */
_must_check_ int tls_new(struct tls_context *c, int fd, bool server, struct tls **ret);
void tls_free(struct tls *t); /* sends close_notify if it can be done without waiting */

/* 0 when done; -EAGAIN; -EPROTO not TLS or no common version; -EKEYREJECTED the
 * peer's certificate is not of our CA, expired, or missing; -ECONNRESET ... */
_must_check_ int tls_handshake(struct tls *t);

/* Bytes moved (> 0), 0 at the peer's orderly end (read only), -EAGAIN, -errno.
 * After an error the connection is done: each call returns it again.  What a
 * write did not take, by -EAGAIN or by a short count, may be encrypted already:
 * the next write begins with the same bytes, be it with fewer or more of them,
 * and they may lie elsewhere. */
ssize_t tls_read(struct tls *t, void *buf, size_t len);
ssize_t tls_write(struct tls *t, const void *buf, size_t len);

short tls_events(const struct tls *t); /* POLLIN and/or POLLOUT for the call that said -EAGAIN */
bool tls_pending(const struct tls *t); /* bytes that poll(2) does not know of */

/* After the handshake: "agent", "server" or "console" and its id (null for the
 * console).  -EKEYREJECTED if the common name is not one of ours. */
_must_check_ int tls_peer(const struct tls *t, char ret_role[16], struct uuid *ret_id);

/* And the pin of its key (pki.h): which of the certificates that were made for that name. */
_must_check_ int tls_peer_pin(const struct tls *t, uint8_t ret_pin[16]);

/* A text for the log about the last error of this connection. */
const char *tls_error(const struct tls *t);

#endif
