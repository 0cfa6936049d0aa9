// SPDX-License-Identifier: Apache-2.0
/* Which of a server's addresses the agent connects to. */
#include "../../agent/session.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DEADLINE_US (10 * USEC_PER_SEC)

static struct addrinfo list[3];
static struct sockaddr_in addresses[3];
static unsigned int freed;
static struct session *session;
static struct fault told;
static bool shaken; /* the handshake is over, with a server whose key is all sevens */

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *l);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	*ret = list;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *l)
{
	assert_ptr_equal(l, list);
	freed++;
}

/* --- TLS: gets no further than the handshake, if so far ---------------------------------- */

int tls_new(struct tls_context *c, int fd, bool server, struct tls **ret)
{
	static char it;

	*ret = (struct tls *)&it;
	return 0;
}

void tls_free(struct tls *t)
{
}

int tls_handshake(struct tls *t)
{
	return shaken ? 0 : -EAGAIN;
}

int tls_peer(const struct tls *t, char ret_role[16], struct uuid *ret_id)
{
	strcpy(ret_role, "server");
	return shaken ? 0 : -EKEYREJECTED;
}

int tls_peer_pin(const struct tls *t, uint8_t ret_pin[16])
{
	memset(ret_pin, 7, 16);
	return 0;
}

const char *tls_error(const struct tls *t)
{
	return "";
}

short tls_events(const struct tls *t)
{
	return POLLIN;
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	return -EAGAIN;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	return -EAGAIN;
}

/* --- servers ------------------------------------------------------------------------ */

static int listen_at(struct sockaddr_in *at)
{
	socklen_t length = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &length), 0);
	return fd;
}

/* Nobody listens there. */
static void refuse_at(struct sockaddr_in *at)
{
	close(listen_at(at));
}

/* Nobody answers there: with a queue that is full the kernel drops what comes. */
static int be_silent_at(struct sockaddr_in *at, int ret_crowd[4])
{
	int fd = listen_at(at);

	for (unsigned int i = 0; i < 4; i++) {
		ret_crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(ret_crowd[i], (const struct sockaddr *)at, sizeof(*at));
	}
	return fd;
}

static void on_fault(void *context, const struct fault *f)
{
	told = *f;
}

static void have_addresses(unsigned int n)
{
	memset(list, 0, sizeof(list));
	for (unsigned int i = 0; i < n; i++)
		list[i] = (struct addrinfo){ .ai_family = AF_INET, .ai_socktype = SOCK_STREAM,
					     .ai_addr = (struct sockaddr *)&addresses[i],
					     .ai_addrlen = sizeof(addresses[i]), .ai_next = i + 1 < n ? &list[i + 1] : NULL };
	session_set_server(session, "server.example", 1500);
	session_set_enabled(session, true);
}

static void run_until(enum session_state state)
{
	uint64_t deadline = monotonic_now_us() + DEADLINE_US;

	while (session->state != state) {
		struct pollfd p = { .fd = session_fd(session), .events = session_events(session) };

		assert_true(monotonic_now_us() < deadline);
		session_run(session, monotonic_now_us());
		if (session->state != state)
			poll(&p, 1, 100);
	}
}

static void assert_connected_to(const struct sockaddr_in *at)
{
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);

	assert_int_equal(getpeername(session_fd(session), (struct sockaddr *)&peer, &length), 0);
	assert_int_equal(peer.sin_port, at->sin_port);
}

static int begin(void **state)
{
	struct session_options o = { .fault = on_fault };

	freed = 0;
	shaken = false;
	told = (struct fault){ 0 };
	log_quiet_stderr();
	return session_new(&o, &session);
}

static int end(void **state)
{
	session_free(session);
	return 0;
}

static void a_server_that_refuses_at_its_first_addresses_is_reached_at_its_last(void **state)
{
	int fd;

	refuse_at(&addresses[0]);
	refuse_at(&addresses[1]);
	fd = listen_at(&addresses[2]);
	have_addresses(3);
	run_until(SESSION_HANDSHAKE);
	assert_connected_to(&addresses[2]);
	assert_int_equal(freed, 1);
	close(fd);
}

static void an_address_that_does_not_answer_is_given_its_time_and_then_the_next_is_tried(void **state)
{
	int crowd[4], silent = be_silent_at(&addresses[0], crowd), fd = listen_at(&addresses[1]);

	have_addresses(2);
	session_run(session, monotonic_now_us());
	session_run(session, monotonic_now_us() + CONNECT_US / 2);
	assert_int_equal(session->state, SESSION_CONNECTING);
	session_run(session, monotonic_now_us() + CONNECT_US);
	run_until(SESSION_HANDSHAKE);
	assert_connected_to(&addresses[1]);
	for (unsigned int i = 0; i < 4; i++)
		close(crowd[i]);
	close(silent);
	close(fd);
}

static void a_server_with_another_key_than_the_console_named_gets_nothing(void **state)
{
	static const uint8_t named[16] = { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8 };
	int fd = listen_at(&addresses[0]);

	session_expect_key(session, named);
	have_addresses(1);
	run_until(SESSION_HANDSHAKE);
	shaken = true;
	run_until(SESSION_WAITING);
	assert_int_equal(told.code, MSG_REPLICATION_OTHER_SERVER);
	assert_int_equal(session_fd(session), -1);
	close(fd);
}

static void a_server_that_refuses_everywhere_is_said_to_once(void **state)
{
	refuse_at(&addresses[0]);
	refuse_at(&addresses[1]);
	have_addresses(2);
	for (uint64_t deadline = monotonic_now_us() + DEADLINE_US; !told.code && monotonic_now_us() < deadline;)
		session_run(session, monotonic_now_us());
	assert_int_equal(session->state, SESSION_WAITING);
	assert_int_equal(told.code, MSG_REPLICATION_REFUSED);
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_server_that_refuses_at_its_first_addresses_is_reached_at_its_last, begin, end),
		cmocka_unit_test_setup_teardown(
			an_address_that_does_not_answer_is_given_its_time_and_then_the_next_is_tried, begin, end),
		cmocka_unit_test_setup_teardown(a_server_with_another_key_than_the_console_named_gets_nothing, begin, end),
		cmocka_unit_test_setup_teardown(a_server_that_refuses_everywhere_is_said_to_once, begin, end),
	};

	return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
