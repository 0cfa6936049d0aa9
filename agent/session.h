/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session - the connection to the replication server.
 *
 *	 .-> waiting --> connecting --> handshake --> greeting --> streaming
 *	 |	^	    |		   |		 |	       |
 *	 |	'-----------+--------------+-------------+-------------'
 *	idle (no server, or paused)
 *
 * It empties the engine's outbox into TLS, no faster than the throttle allows,
 * and gives the server's frames to the engine.  It notices a dead peer, and
 * tries again with growing pauses, from 1 s to 30 s and a little by chance, so
 * that a thousand machines do not come back in the same moment.
 */
#ifndef GODWIT_AGENT_SESSION_H
#define GODWIT_AGENT_SESSION_H

#include "base.h"
#include "engine.h"
#include "message.h"
#include "tls.h"

enum session_state {
	SESSION_IDLE,
	SESSION_WAITING,
	SESSION_CONNECTING,
	SESSION_HANDSHAKE,
	SESSION_GREETING,
	SESSION_STREAMING,
};

struct session;

struct session_options {
	struct engine *engine;
	struct tls_context *tls;
	struct uuid machine;
	uint64_t boot_time_us;
	void (*fault)(void *context, const struct fault *fault); /* why there is no connection */
	void (*welcome)(void *context);
	void *context;
};

_must_check_ int session_new(const struct session_options *o, struct session **ret);
void session_free(struct session *s);

/* Where to go; "" for nowhere.  A change of address breaks the connection. */
void session_set_server(struct session *s, const char *address, uint16_t port);
/* The pin (pki.h) that its key has; NULL: of the console's CA will do.  Who is connected and has another is left. */
void session_expect_key(struct session *s, const uint8_t *key);
void session_set_enabled(struct session *s, bool enabled);
void session_set_throttle(struct session *s, uint64_t bytes_per_second); /* 0: none */

int session_fd(const struct session *s); /* -1: none */
short session_events(const struct session *s);

/* Call when the descriptor is ready, and when the deadline is over.  Returns
 * the next deadline (monotonic). */
uint64_t session_run(struct session *s, uint64_t now_us);

struct session_figures {
	enum session_state state;
	const char *peer;		 /* "10.0.0.5:1500" */
	uint64_t since_us;		 /* in this state, monotonic */
	uint64_t sent_bytes;		 /* into TLS */
	uint64_t blocked_us;		 /* waited for the socket, in all */
	uint64_t throttled_us;		 /* waited for the throttle, in all */
	uint64_t connections;
};
void session_figures(const struct session *s, struct session_figures *ret);

#endif
