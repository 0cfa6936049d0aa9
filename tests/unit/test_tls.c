/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of each connection live in this process, over a socket pair, and
 * are moved on in turns; poll(2) has a deadline, so that a hang is a failure.
 */
#include "tls.h"
#include "fileio.h"
#include "pki.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DEADLINE_MS 10000
#define AGENT_ID "0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5"

static char dir[] = "/tmp/godwit-test-tls-XXXXXX";

static char *in_dir(char buf[128], const char *name, const char *suffix)
{
	snprintf(buf, 128, "%s/%s%s", dir, name, suffix);
	return buf;
}

/* @name.key and @name.crt, signed by @ca; @days 0 has expired already. */
static void make_identity(const char *name, const char *ca, const char *common_name, unsigned int days)
{
	char key[128], cert[128], ca_key[128], ca_cert[128], *request, *pem;

	assert_int_equal(pki_make_key(in_dir(key, name, ".key")), 0);
	assert_int_equal(pki_make_request(key, common_name, &request), 0);
	assert_int_equal(pki_sign(in_dir(ca_key, ca, ".key"), in_dir(ca_cert, ca, ".crt"), request, common_name, NULL,
				  days, &pem),
			 0);
	assert_int_equal(fileio_replace(in_dir(cert, name, ".crt"), pem, strlen(pem), 0600), 0);
	free(request);
	free(pem);
}

static void make_authority(const char *name)
{
	char key[128], cert[128];

	assert_int_equal(pki_make_key(in_dir(key, name, ".key")), 0);
	assert_int_equal(pki_make_ca(key, in_dir(cert, name, ".crt")), 0);
}

static int make_identities(void **state)
{
	assert_non_null(mkdtemp(dir));
	make_authority("ca");
	make_authority("other-ca");
	make_identity("server", "ca", "server:" AGENT_ID, 10);
	make_identity("agent", "ca", "agent:" AGENT_ID, 10);
	make_identity("console", "ca", "console", 10);
	make_identity("nameless", "ca", "somebody", 10);
	make_identity("bad-id", "ca", "agent:0b6ad6d8", 10);
	make_identity("expired", "ca", "agent:" AGENT_ID, 0);
	make_identity("foreign", "other-ca", "agent:" AGENT_ID, 10);
	return 0;
}

static int remove_identities(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return system(command);
}

static struct tls_context *context(const char *name, const char *ca)
{
	char key[128], cert[128], ca_cert[128];
	struct tls_context *c = NULL;

	assert_int_equal(tls_context_new(in_dir(key, name, ".key"), in_dir(cert, name, ".crt"),
					 in_dir(ca_cert, ca, ".crt"), &c),
			 0);
	return c;
}

struct end {
	struct tls_context *context;
	struct tls *tls;
	int fd, result;
};

static struct end server, agent;

static void open_ends(const char *server_name, const char *agent_name, const char *agent_ca)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	server = (struct end){ context(server_name, "ca"), NULL, fds[0], -EAGAIN };
	agent = (struct end){ context(agent_name, agent_ca), NULL, fds[1], -EAGAIN };
	assert_int_equal(tls_new(server.context, server.fd, true, &server.tls), 0);
	assert_int_equal(tls_new(agent.context, agent.fd, false, &agent.tls), 0);
}

static void close_end(struct end *e)
{
	tls_free(e->tls);
	tls_context_free(e->context);
	if (e->fd >= 0)
		close(e->fd);
	*e = (struct end){ .fd = -1 };
}

static void close_ends(void)
{
	close_end(&server);
	close_end(&agent);
}

static void wait_for(const struct end *e)
{
	struct pollfd p = { .fd = e->fd, .events = tls_events(e->tls) };

	assert_true(p.events != 0);
	if (poll(&p, 1, DEADLINE_MS) != 1)
		fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

/* Until both ends have an answer other than "again". */
static void shake_hands(void)
{
	while (server.result == -EAGAIN || agent.result == -EAGAIN) {
		if (agent.result == -EAGAIN)
			agent.result = tls_handshake(agent.tls);
		if (server.result == -EAGAIN)
			server.result = tls_handshake(server.tls);
		if (agent.result != -EAGAIN && agent.result != 0 && server.result == -EAGAIN) {
			shutdown(agent.fd, SHUT_RDWR);
		} else if (server.result != -EAGAIN && server.result != 0 && agent.result == -EAGAIN) {
			shutdown(server.fd, SHUT_WR);
		}
	}
}

/* The answer to a read that waits until there is one. */
static ssize_t read_waiting(struct end *e, void *buf, size_t len)
{
	ssize_t n;

	while ((n = tls_read(e->tls, buf, len)) == -EAGAIN)
		wait_for(e);
	return n;
}

static void open_connected(void)
{
	open_ends("server", "agent", "ca");
	shake_hands();
	assert_int_equal(server.result, 0);
	assert_int_equal(agent.result, 0);
}

static void test_both_ends_know_each_other(void **state)
{
	char role[16], text[UUID_TEXT_LEN + 1];
	struct uuid id;

	open_connected();
	assert_int_equal(tls_peer(server.tls, role, &id), 0);
	assert_string_equal(role, "agent");
	assert_string_equal(uuid_format(&id, text), AGENT_ID);
	assert_int_equal(tls_peer(agent.tls, role, &id), 0);
	assert_string_equal(role, "server");
	assert_string_equal(tls_error(agent.tls), "no error");
	close_ends();
}

static void test_the_console_has_no_id(void **state)
{
	char role[16];
	struct uuid id;

	open_ends("console", "agent", "ca");
	shake_hands();
	assert_int_equal(tls_peer(agent.tls, role, &id), 0);
	assert_string_equal(role, "console");
	assert_true(uuid_is_null(&id));
	close_ends();
}

static void check_name_refused(const char *name)
{
	char role[16] = "untouched";
	struct uuid id;

	open_ends("server", name, "ca");
	shake_hands();
	assert_int_equal(server.result, 0);
	assert_int_equal(tls_peer(server.tls, role, &id), -EKEYREJECTED);
	assert_string_equal(role, "untouched");
	close_ends();
}

static void test_names_that_are_not_ours_are_refused(void **state)
{
	check_name_refused("nameless");
	check_name_refused("bad-id");
}

static void test_there_is_no_peer_before_the_handshake(void **state)
{
	char role[16];
	struct uuid id;

	open_ends("server", "agent", "ca");
	assert_int_equal(tls_peer(server.tls, role, &id), -EKEYREJECTED);
	close_ends();
}

/* The agent may have finished before the server looked: then its first read tells. */
static void check_agent_is_told(const char *expected)
{
	char byte;
	ssize_t n = agent.result ? agent.result : read_waiting(&agent, &byte, 1);

	assert_int_equal(n, -EKEYREJECTED);
	assert_non_null(strstr(tls_error(agent.tls), "refuses our certificate"));
	assert_non_null(strstr(tls_error(agent.tls), expected));
	assert_int_equal(tls_write(agent.tls, "x", 1), -EKEYREJECTED);
	assert_int_equal(tls_read(agent.tls, &byte, 1), -EKEYREJECTED);
}

static void test_an_expired_certificate_is_refused_and_both_are_told(void **state)
{
	open_ends("server", "expired", "ca");
	shake_hands();
	assert_int_equal(server.result, -EKEYREJECTED);
	assert_string_equal(tls_error(server.tls), "the peer's certificate is refused: certificate has expired");
	assert_int_equal(tls_handshake(server.tls), -EKEYREJECTED);
	check_agent_is_told("expired");
	close_ends();
}

static void test_a_certificate_of_another_authority_is_refused(void **state)
{
	open_ends("server", "foreign", "ca");
	shake_hands();
	assert_int_equal(server.result, -EKEYREJECTED);
	check_agent_is_told("unknown ca");
	close_ends();
}

static void test_a_server_of_another_authority_is_refused(void **state)
{
	open_ends("server", "agent", "other-ca");
	shake_hands();
	assert_int_equal(agent.result, -EKEYREJECTED);
	assert_non_null(strstr(tls_error(agent.tls), "the peer's certificate is refused"));
	assert_int_not_equal(server.result, 0);
	close_ends();
}

static void test_bytes_that_are_not_tls_are_refused(void **state)
{
	static const char *const openings[] = { "GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
						"\x16\x03\x01\xff\xff\x01\xff\xff\xff\x03\x03", "\x80\x2e\x01" };

	for (size_t i = 0; i < ARRAY_LEN(openings); i++) {
		open_ends("server", "agent", "ca");
		assert_true(write(agent.fd, openings[i], strlen(openings[i])) > 0);
		shutdown(agent.fd, SHUT_WR);
		while (server.result == -EAGAIN)
			server.result = tls_handshake(server.tls);
		if (server.result != -EPROTO && server.result != -ECONNRESET)
			fail_msg("opening %zu: %d", i, server.result);
		assert_string_not_equal(tls_error(server.tls), "no error");
		close_ends();
	}
}

static void test_a_peer_that_vanishes_in_the_handshake_is_a_reset(void **state)
{
	open_ends("server", "agent", "ca");
	assert_int_equal(tls_handshake(agent.tls), -EAGAIN);
	assert_int_equal(tls_handshake(server.tls), -EAGAIN);
	close_end(&agent);
	while (server.result == -EAGAIN)
		server.result = tls_handshake(server.tls);
	assert_int_equal(server.result, -ECONNRESET);
	close_ends();
}

static void test_an_orderly_end_is_told_from_a_cut(void **state)
{
	char byte;

	open_connected();
	close_end(&agent);
	assert_int_equal(read_waiting(&server, &byte, 1), 0);
	close_ends();

	open_connected();
	close(agent.fd); /* as if the process had been killed: no close_notify */
	agent.fd = -1;
	assert_int_equal(read_waiting(&server, &byte, 1), -ECONNRESET);
	close_ends();
}

static void test_writing_to_a_closed_connection_does_not_kill(void **state)
{
	static char block[1 << 20];
	ssize_t n;

	open_connected();
	close(agent.fd);
	agent.fd = -1;
	do
		n = tls_write(server.tls, block, sizeof(block));
	while (n > 0);
	assert_true(n == -EPIPE || n == -ECONNRESET);
	close_ends();
}

/* Every byte arrives once and in order, whatever the sizes of the calls. */
static void test_a_stream_arrives_as_it_was_sent(void **state)
{
	static uint8_t sent[4 << 20], got[sizeof(sent)];
	size_t at = 0, end = 0;
	const char *env = getenv("GODWIT_SEED");
	unsigned int seed = env ? (unsigned int)strtoul(env, NULL, 0) : (unsigned int)getpid();

	print_message("GODWIT_SEED=%u\n", seed);
	srandom(seed);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)random();
	open_connected();
	while (at < sizeof(sent)) {
		/* What was refused once is offered again, in other pieces. */
		size_t offered = 1 + (size_t)random() % (1 << random() % 19), wanted = 1 + (size_t)random() % 100000;
		ssize_t n = -EAGAIN;

		offered = MIN(offered, sizeof(sent) - end);
		if (offered > 0)
			n = tls_write(agent.tls, sent + end, offered);
		assert_true(n > 0 || n == -EAGAIN);
		end += n > 0 ? (size_t)n : 0;
		n = tls_read(server.tls, got + at, MIN(wanted, sizeof(got) - at));
		assert_true(n > 0 || n == -EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		if (n == -EAGAIN)
			assert_false(tls_pending(server.tls)); /* or the caller would spin */
	}
	assert_memory_equal(sent, got, sizeof(sent));
	close_ends();
}

static void test_what_poll_does_not_know_of_is_pending(void **state)
{
	char block[40000], byte;
	struct pollfd p;

	memset(block, 'b', sizeof(block));
	open_connected();
	assert_int_equal(tls_write(agent.tls, block, sizeof(block)), sizeof(block));
	assert_int_equal(read_waiting(&server, &byte, 1), 1);
	p = (struct pollfd){ .fd = server.fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0); /* all taken from the socket */
	assert_true(tls_pending(server.tls));
	for (size_t left = sizeof(block) - 1; left > 0;) {
		ssize_t n;

		assert_true(tls_pending(server.tls));
		n = tls_read(server.tls, block, sizeof(block));
		assert_true(n > 0);
		left -= (size_t)n;
	}
	assert_int_equal(tls_read(server.tls, &byte, 1), -EAGAIN);
	assert_false(tls_pending(server.tls));
	assert_int_equal(tls_events(server.tls), POLLIN);
	close_ends();
}

static void test_a_full_socket_asks_for_pollout(void **state)
{
	static char block[1 << 20];
	ssize_t n;

	open_connected();
	do
		n = tls_write(agent.tls, block, sizeof(block));
	while (n > 0);
	assert_int_equal(n, -EAGAIN);
	assert_int_equal(tls_events(agent.tls), POLLOUT);
	close_ends();
}

static void test_one_changed_byte_ends_the_connection(void **state)
{
	uint8_t wire[4096];
	char buf[512];
	ssize_t n;

	open_connected();
	assert_int_equal(tls_write(agent.tls, "hello, server", 13), 13);
	n = read(server.fd, wire, sizeof(wire));
	assert_true(n > 13);
	wire[n - 1] ^= 1;
	assert_int_equal(write(agent.fd, wire, (size_t)n), n);
	assert_int_equal(read_waiting(&server, buf, sizeof(buf)), -EPROTO);
	close_ends();
}

static void test_missing_and_wrong_files_are_told_apart(void **state)
{
	char key[128], cert[128], ca[128], other[128];
	struct tls_context *c = NULL;

	in_dir(key, "agent", ".key");
	in_dir(cert, "agent", ".crt");
	in_dir(ca, "ca", ".crt");
	assert_int_equal(tls_context_new(in_dir(other, "none", ".key"), cert, ca, &c), -ENOENT);
	assert_int_equal(tls_context_new(key, in_dir(other, "none", ".crt"), ca, &c), -ENOENT);
	assert_int_equal(tls_context_new(key, cert, in_dir(other, "none", ".crt"), &c), -ENOENT);
	assert_int_equal(tls_context_new(in_dir(other, "server", ".key"), cert, ca, &c), -EKEYREJECTED);
	assert_int_equal(tls_context_new(cert, cert, ca, &c), -EKEYREJECTED);
	assert_int_equal(tls_context_new(key, key, ca, &c), -EKEYREJECTED);
	assert_int_equal(tls_context_new(key, cert, key, &c), -EKEYREJECTED);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ends_know_each_other),
		cmocka_unit_test(test_the_console_has_no_id),
		cmocka_unit_test(test_names_that_are_not_ours_are_refused),
		cmocka_unit_test(test_there_is_no_peer_before_the_handshake),
		cmocka_unit_test(test_an_expired_certificate_is_refused_and_both_are_told),
		cmocka_unit_test(test_a_certificate_of_another_authority_is_refused),
		cmocka_unit_test(test_a_server_of_another_authority_is_refused),
		cmocka_unit_test(test_bytes_that_are_not_tls_are_refused),
		cmocka_unit_test(test_a_peer_that_vanishes_in_the_handshake_is_a_reset),
		cmocka_unit_test(test_an_orderly_end_is_told_from_a_cut),
		cmocka_unit_test(test_writing_to_a_closed_connection_does_not_kill),
		cmocka_unit_test(test_a_stream_arrives_as_it_was_sent),
		cmocka_unit_test(test_what_poll_does_not_know_of_is_pending),
		cmocka_unit_test(test_a_full_socket_asks_for_pollout),
		cmocka_unit_test(test_one_changed_byte_ends_the_connection),
		cmocka_unit_test(test_missing_and_wrong_files_are_told_apart),
	};

	return cmocka_run_group_tests_name("tls", tests, make_identities, remove_identities);
}
