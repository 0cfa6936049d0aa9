/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"
#include "log.h"
#include "outbox.h"
#include "wallclock.h"
#include "wire.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_FIRST_US  (1 * USEC_PER_SEC)
#define BACKOFF_LAST_US	  (30 * USEC_PER_SEC)
#define CONNECT_US	  (10 * USEC_PER_SEC) /* each of connecting (to each address), handshake, greeting */
#define PING_US		  (3 * USEC_PER_SEC)  /* when nothing was sent for so long */
/* A dead network is noticed by the kernel: what it sent is not acknowledged.  A
 * server that is alive and silent may be writing for long. */
#define UNACKED_MS	  15000
#define SILENCE_US	  (60 * USEC_PER_SEC)
#define WRITE_MAX	  (256 * KIB)
#define INBOX_BYTES	  (64 * KIB)
#define THROTTLE_STEP_US  20000u
#define PEER_TEXT	  300

struct session {
	struct session_options o;
	enum session_state state;
	bool enabled;
	char address[256], peer[PEER_TEXT];
	uint16_t port;
	bool key_expected;
	uint8_t expected_key[16], peer_key[16]; /* pins */
	int fd;
	struct addrinfo *addresses, *next; /* of the server; not yet tried */
	struct tls *tls;
	uint64_t entered_us, retry_at_us, backoff_us;
	uint64_t heard_us, spoke_us, moved_us; /* moved: the socket took something after it had not */
	bool wants_write, blocked, starved;
	uint64_t accounted_us; /* up to when blocked and starved are accounted */
	uint64_t throttle, tokens, tokens_at_us;
	uint8_t inbox[INBOX_BYTES];
	size_t inbox_used;
	struct session_figures figures;
};

/* --- states ------------------------------------------------------------------ */

static const struct {
	const char *name;
	unsigned int next; /* a bit for each state that may follow */
} states[] = {
	[SESSION_IDLE] = { "idle", 1u << SESSION_WAITING },
	[SESSION_WAITING] = { "waiting", 1u << SESSION_CONNECTING | 1u << SESSION_IDLE },
	[SESSION_CONNECTING] = { "connecting", 1u << SESSION_HANDSHAKE | 1u << SESSION_WAITING | 1u << SESSION_IDLE },
	[SESSION_HANDSHAKE] = { "handshake", 1u << SESSION_GREETING | 1u << SESSION_WAITING | 1u << SESSION_IDLE },
	[SESSION_GREETING] = { "greeting", 1u << SESSION_STREAMING | 1u << SESSION_WAITING | 1u << SESSION_IDLE },
	[SESSION_STREAMING] = { "streaming", 1u << SESSION_WAITING | 1u << SESSION_IDLE },
};

static void move(struct session *s, enum session_state to)
{
	assert(states[s->state].next & 1u << to);
	log_debug("session: %s -> %s", states[s->state].name, states[to].name);
	s->state = to;
	s->entered_us = monotonic_now_us();
}

static void forget_addresses(struct session *s)
{
	if (s->addresses)
		freeaddrinfo(s->addresses);
	s->addresses = s->next = NULL;
}

static void hang_up(struct session *s)
{
	forget_addresses(s);
	if (s->state == SESSION_STREAMING)
		engine_disconnected(s->o.engine);
	tls_free(s->tls);
	s->tls = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->inbox_used = 0;
	s->wants_write = s->blocked = s->starved = false;
}

/* Wait, and try again. */
static void retreat(struct session *s)
{
	uint64_t chance = s->backoff_us / 4, random = 0;

	hang_up(s);
	random = (uint64_t)rand() % (2 * chance + 1);
	s->retry_at_us = monotonic_now_us() + s->backoff_us - chance + random;
	s->backoff_us = MIN(s->backoff_us * 2, BACKOFF_LAST_US);
	if (s->state != SESSION_WAITING)
		move(s, SESSION_WAITING);
}

static void fail(struct session *s, enum message_code code, const char *reason)
{
	struct fault f;

	(void)fault_set(&f, 0, code, "server", s->peer, "reason", reason, NULL);
	retreat(s);
	s->o.fault(s->o.context, &f);
}

static void fail_errno(struct session *s, int err)
{
	const char *error = s->tls ? tls_error(s->tls) : NULL;

	if (err == -EKEYREJECTED)
		fail(s, MSG_REPLICATION_CERTIFICATE, error && *error ? error : "the certificate was not accepted");
	else if (s->state == SESSION_HANDSHAKE)
		fail(s, MSG_REPLICATION_TLS_FAILED, error && *error ? error : strerror(-err));
	else if (s->state == SESSION_CONNECTING && err == -ECONNREFUSED)
		fail(s, MSG_REPLICATION_REFUSED, strerror(-err));
	else if (s->state == SESSION_CONNECTING)
		fail(s, MSG_REPLICATION_NO_ANSWER, strerror(-err));
	else
		fail(s, MSG_REPLICATION_LOST, strerror(-err));
}

/* --- connecting ---------------------------------------------------------------- */

int session_new(const struct session_options *o, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->o = *o;
	s->fd = -1;
	s->backoff_us = BACKOFF_FIRST_US;
	srand((unsigned int)monotonic_now_us());
	*ret = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	hang_up(s);
	free(s);
}

static void decide_idle(struct session *s)
{
	bool may = s->enabled && s->address[0];

	if (!may && s->state != SESSION_IDLE) {
		hang_up(s);
		move(s, SESSION_IDLE);
	} else if (may && s->state == SESSION_IDLE) {
		s->backoff_us = BACKOFF_FIRST_US;
		s->retry_at_us = 0;
		move(s, SESSION_WAITING);
	}
}

void session_set_server(struct session *s, const char *address, uint16_t port)
{
	if (strcmp(address, s->address) == 0 && port == s->port)
		return;
	if (s->state != SESSION_IDLE) {
		hang_up(s);
		move(s, SESSION_IDLE);
	}
	snprintf(s->address, sizeof(s->address), "%s", address);
	s->port = port;
	snprintf(s->peer, sizeof(s->peer), "%s:%u", address, port);
	decide_idle(s);
}

void session_set_enabled(struct session *s, bool enabled)
{
	s->enabled = enabled;
	decide_idle(s);
}

void session_set_throttle(struct session *s, uint64_t bytes_per_second)
{
	s->throttle = bytes_per_second;
	s->tokens = 0;
	s->tokens_at_us = monotonic_now_us();
}

static void name_peer(struct session *s, const struct sockaddr *sa)
{
	char text[INET6_ADDRSTRLEN] = "?";

	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, text, sizeof(text));
	snprintf(s->peer, sizeof(s->peer), sa->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, s->port);
}

static int try_address(struct session *s, const struct addrinfo *a)
{
	int one = 1, unacked = UNACKED_MS;

	name_peer(s, a->ai_addr);
	s->entered_us = monotonic_now_us();
	s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof(unacked));
	return connect(s->fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS ? -errno : 0;
}

/* Begin to connect to the next of the server's addresses, each of which is given its
 * time: one whose way is filtered must not hide the others.  false: there is none
 * that would have it. */
static bool dial_next(struct session *s, int *ret_err)
{
	while (s->next) {
		const struct addrinfo *a = s->next;
		int err;

		s->next = a->ai_next;
		if (s->fd >= 0)
			close(s->fd);
		err = try_address(s, a);
		if (!err)
			return true;
		*ret_err = err;
	}
	return false;
}

/*
 * Begin to connect.  A name is resolved here, and everything in the agent's loop
 * waits for it: ticks, the console's wishes, signals, disks that come and go.
 * Capture does not, the ring and the maps take what is written meanwhile.  A name
 * server that does not answer holds it up for as long as resolv.conf lets it,
 * every time; an address instead of a name is never waited for.
 */
static void dial(struct session *s)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	char port[8];
	int r;

	snprintf(port, sizeof(port), "%u", s->port);
	move(s, SESSION_CONNECTING);
	r = getaddrinfo(s->address, port, &hints, &s->addresses);
	if (r) {
		s->addresses = NULL;
		fail(s, MSG_REPLICATION_NAME_UNKNOWN, gai_strerror(r));
		return;
	}
	s->next = s->addresses;
	if (!dial_next(s, &r))
		fail_errno(s, r);
}

static void finish_connect(struct session *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };
	int err = 0;
	socklen_t length = sizeof(err);

	if (poll(&p, 1, 0) != 1)
		return;
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &length) < 0)
		err = errno;
	err = -err;
	if (err && dial_next(s, &err))
		return;
	if (!err)
		err = tls_new(s->o.tls, s->fd, false, &s->tls);
	if (err) {
		fail_errno(s, err);
		return;
	}
	forget_addresses(s);
	move(s, SESSION_HANDSHAKE);
}

static bool is_other_server(const struct session *s)
{
	return s->key_expected && memcmp(s->peer_key, s->expected_key, sizeof(s->peer_key)) != 0;
}

static void leave_other_server(struct session *s)
{
	fail(s, MSG_REPLICATION_OTHER_SERVER, "its key is another one");
}

void session_expect_key(struct session *s, const uint8_t *key)
{
	s->key_expected = key != NULL;
	if (key)
		memcpy(s->expected_key, key, sizeof(s->expected_key));
	if ((s->state == SESSION_GREETING || s->state == SESSION_STREAMING) && is_other_server(s))
		leave_other_server(s);
}

static void shake_hands(struct session *s)
{
	int r = tls_handshake(s->tls);
	char role[16];
	struct uuid id;

	if (r == -EAGAIN)
		return;
	if (!r)
		r = tls_peer(s->tls, role, &id);
	if (!r && strcmp(role, "server") != 0)
		r = -EKEYREJECTED;
	if (!r)
		r = tls_peer_pin(s->tls, s->peer_key);
	if (r) {
		fail_errno(s, r);
		return;
	}
	if (is_other_server(s)) {
		leave_other_server(s);
		return;
	}
	engine_greet(s->o.engine, &s->o.machine, s->o.boot_time_us);
	s->heard_us = s->spoke_us = monotonic_now_us();
	move(s, SESSION_GREETING);
}

/* --- frames ---------------------------------------------------------------------- */

static int on_welcome(struct session *s, const uint8_t *body, uint32_t length)
{
	struct wire_welcome m;
	int r = s->state == SESSION_GREETING ? wire_parse_welcome(body, length, &m) : -EPROTO;

	if (!r && m.durable_epoch > ENGINE_EPOCH_MAX)
		r = -EPROTO;
	if (r < 0)
		return r;
	move(s, SESSION_STREAMING);
	s->figures.connections++;
	log_info("connected to %s, protocol version %u, durable up to epoch %llu", s->peer, m.version,
		 (unsigned long long)m.durable_epoch);
	engine_connected(s->o.engine, &m);
	s->o.welcome(s->o.context);
	return 0;
}

static int on_refuse(struct session *s, const uint8_t *body, uint32_t length)
{
	struct wire_refuse m;
	int r = wire_parse_refuse(body, length, &m);

	if (r < 0)
		return r;
	/* The other session of this machine is one of ours that is just ending. */
	if (m.reason == WIRE_REFUSED_BUSY)
		s->backoff_us = BACKOFF_FIRST_US;
	fail(s, m.reason == WIRE_REFUSED_STAGING_FULL ? MSG_REPLICATION_STAGING_FULL : MSG_REPLICATION_TURNED_AWAY,
	     m.text[0] ? m.text : wire_refusal_name(m.reason));
	return -ECONNABORTED;
}

static int on_frame(struct session *s, uint16_t type, const uint8_t *body, uint32_t length)
{
	switch (type) {
	case WIRE_WELCOME:
		return on_welcome(s, body, length);
	case WIRE_REFUSE:
		return on_refuse(s, body, length);
	case WIRE_PONG:
		return s->state == SESSION_STREAMING ? 0 : -EPROTO;
	case WIRE_DURABLE:
		s->backoff_us = BACKOFF_FIRST_US;
		/* fall through */
	case WIRE_DIFFER:
		return s->state == SESSION_STREAMING ? engine_frame(s->o.engine, type, body, length) : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* Whole frames in the inbox.  -ECONNABORTED: the connection is gone already. */
static int digest(struct session *s)
{
	size_t at = 0;
	int r = 0;

	while (!r && s->inbox_used - at >= WIRE_HEADER_BYTES) {
		struct wire_frame f;

		r = wire_parse_frame(s->inbox + at, &f);
		if (!r && WIRE_HEADER_BYTES + f.length > sizeof(s->inbox) / 2)
			r = -EPROTO;
		if (r || s->inbox_used - at < WIRE_HEADER_BYTES + f.length)
			break;
		r = wire_check_frame(s->inbox + at, s->inbox + at + WIRE_HEADER_BYTES, f.length);
		if (!r)
			r = on_frame(s, f.type, s->inbox + at + WIRE_HEADER_BYTES, f.length);
		at += WIRE_HEADER_BYTES + f.length;
	}
	if (r == -ECONNABORTED)
		return r;
	memmove(s->inbox, s->inbox + at, s->inbox_used - at);
	s->inbox_used -= at;
	return r;
}

/* false: the connection is gone. */
static bool receive(struct session *s)
{
	for (;;) {
		ssize_t n = tls_read(s->tls, s->inbox + s->inbox_used, sizeof(s->inbox) - s->inbox_used);
		int r;

		if (n == -EAGAIN)
			return true;
		if (n <= 0) {
			if (n == 0)
				fail(s, MSG_REPLICATION_LOST, "the server closed it");
			else
				fail_errno(s, (int)n);
			return false;
		}
		s->heard_us = monotonic_now_us();
		s->inbox_used += (size_t)n;
		r = digest(s);
		if (r == -EPROTO || r == -EBADMSG)
			fail(s, MSG_REPLICATION_LOST, "the server sent something that breaks the protocol");
		else if (r < 0 && r != -ECONNABORTED)
			fail_errno(s, r);
		if (r < 0)
			return false;
	}
}

/* --- sending ----------------------------------------------------------------------- */

static void refill(struct session *s, uint64_t now)
{
	uint64_t most = MAX(s->throttle / 20, 16 * KIB);

	s->tokens = MIN(s->tokens + s->throttle * (now - s->tokens_at_us) / USEC_PER_SEC, most);
	s->tokens_at_us = now;
}

static void account(struct session *s, uint64_t now)
{
	if (s->blocked)
		s->figures.blocked_us += now - s->accounted_us;
	if (s->starved)
		s->figures.throttled_us += now - s->accounted_us;
	s->accounted_us = now;
}

/* false: the connection is gone. */
static bool transmit(struct session *s, uint64_t now)
{
	struct outbox *o = engine_outbox(s->o.engine);

	s->wants_write = s->starved = false;
	while (outbox_waiting(o)) {
		size_t n = MIN(outbox_waiting(o), WRITE_MAX);
		ssize_t sent;

		if (s->throttle && s->state == SESSION_STREAMING) {
			refill(s, now);
			n = MIN(n, s->tokens);
			s->starved = n == 0;
			if (s->starved)
				return true;
		}
		sent = tls_write(s->tls, outbox_first(o), n);
		if (sent == -EAGAIN) {
			s->wants_write = s->blocked = true;
			return true;
		}
		if (sent < 0) {
			fail_errno(s, (int)sent);
			return false;
		}
		s->moved_us = s->blocked || s->throttle ? now : s->moved_us;
		s->blocked = false;
		s->tokens -= s->throttle ? MIN(s->tokens, (uint64_t)sent) : 0;
		s->spoke_us = now;
		s->figures.sent_bytes += (uint64_t)sent;
		outbox_take(o, (size_t)sent);
	}
	s->blocked = false;
	return true;
}

static void ping(struct session *s, uint64_t now)
{
	struct outbox *o = engine_outbox(s->o.engine);
	struct wire_ping m = { now };
	uint8_t *frame = outbox_waiting(o) ? NULL : outbox_reserve(o, WIRE_HEADER_BYTES + 64);

	if (frame)
		outbox_put(o, wire_put_ping(frame, &m, false));
	s->spoke_us = now;
}

/* --- the loop's side ------------------------------------------------------------------ */

int session_fd(const struct session *s)
{
	return s->fd;
}

short session_events(const struct session *s)
{
	switch (s->state) {
	case SESSION_CONNECTING:
		return POLLOUT;
	case SESSION_HANDSHAKE:
		return tls_events(s->tls);
	case SESSION_GREETING:
	case SESSION_STREAMING:
		return (short)(POLLIN | (s->wants_write ? POLLOUT : 0));
	default:
		return 0;
	}
}

static uint64_t deadline(const struct session *s, uint64_t now)
{
	switch (s->state) {
	case SESSION_IDLE:
		return UINT64_MAX;
	case SESSION_WAITING:
		return s->retry_at_us;
	case SESSION_STREAMING:
		if (s->starved)
			return now + THROTTLE_STEP_US;
		return MIN(s->spoke_us + PING_US, MAX(s->heard_us, s->moved_us) + SILENCE_US);
	default:
		return s->entered_us + CONNECT_US;
	}
}

static void run_stream(struct session *s, uint64_t now)
{
	if (!receive(s))
		return;
	if (s->state == SESSION_STREAMING)
		(void)engine_run(s->o.engine);
	while (transmit(s, now)) {
		/* What the engine held back for want of room. */
		if (s->state != SESSION_STREAMING || s->wants_write || s->starved)
			break;
		(void)engine_run(s->o.engine);
		if (!outbox_waiting(engine_outbox(s->o.engine)))
			break;
	}
	if (s->state == SESSION_STREAMING && now >= s->spoke_us + PING_US)
		ping(s, now);
	if (s->state == SESSION_STREAMING && now >= MAX(s->heard_us, s->moved_us) + SILENCE_US)
		fail(s, MSG_REPLICATION_LOST, "nothing was heard for a minute");
}

uint64_t session_run(struct session *s, uint64_t now)
{
	int err = 0;

	account(s, now);
	if (s->state == SESSION_WAITING && now >= s->retry_at_us)
		dial(s);
	if (s->state == SESSION_CONNECTING && s->fd >= 0)
		finish_connect(s);
	if (s->state == SESSION_HANDSHAKE)
		shake_hands(s);
	if (s->state == SESSION_GREETING || s->state == SESSION_STREAMING)
		run_stream(s, now);
	if ((s->state == SESSION_CONNECTING || s->state == SESSION_HANDSHAKE || s->state == SESSION_GREETING) &&
	    now >= s->entered_us + CONNECT_US && !(s->state == SESSION_CONNECTING && dial_next(s, &err)))
		fail(s, s->state == SESSION_CONNECTING ? MSG_REPLICATION_NO_ANSWER : MSG_REPLICATION_TLS_FAILED,
		     "no answer within 10 seconds");
	return deadline(s, now);
}

void session_figures(const struct session *s, struct session_figures *ret)
{
	*ret = s->figures;
	ret->state = s->state;
	ret->peer = s->peer;
	ret->since_us = s->entered_us;
}
