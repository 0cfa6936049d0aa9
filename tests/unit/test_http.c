/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that can be at the other end of the way to the console. */
#include "console_fixture.h"
#include "http.h"
#include "pki.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct fixture console, other;

/* --- a server that says one thing ------------------------------------------------------- */

struct stand_in {
	pthread_t thread;
	int fd;
	char url[64];
	EVP_PKEY *key;	/* NULL: no TLS */
	X509 *cert;
	const char *answer; /* NULL: silence until the client goes */
};

static void say(struct stand_in *s, SSL *ssl, int fd)
{
	char buf[4096];

	if ((ssl ? SSL_read(ssl, buf, sizeof(buf)) : (int)read(fd, buf, sizeof(buf))) <= 0)
		return;
	if (!s->answer)
		while (read(fd, buf, sizeof(buf)) > 0)
			;
	else if (ssl)
		SSL_write(ssl, s->answer, (int)strlen(s->answer));
	else
		(void)!write(fd, s->answer, strlen(s->answer));
}

static void *stand(void *arg)
{
	struct stand_in *s = arg;
	SSL_CTX *ctx = s->key ? SSL_CTX_new(TLS_server_method()) : NULL;
	int fd = accept(s->fd, NULL, NULL);
	SSL *ssl = NULL;

	if (ctx) {
		SSL_CTX_use_PrivateKey(ctx, s->key);
		SSL_CTX_use_certificate(ctx, s->cert);
		ssl = SSL_new(ctx);
		SSL_set_fd(ssl, fd);
		if (SSL_accept(ssl) == 1)
			say(s, ssl, fd);
		SSL_shutdown(ssl);
	} else if (fd >= 0) {
		say(s, NULL, fd);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return NULL;
}

static int listen_somewhere(unsigned int *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void stand_in_start(struct stand_in *s)
{
	unsigned int port;

	s->fd = listen_somewhere(&port);
	snprintf(s->url, sizeof(s->url), "https://127.0.0.1:%u", port);
	assert_int_equal(pthread_create(&s->thread, NULL, stand, s), 0);
}

static void stand_in_stop(struct stand_in *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	EVP_PKEY_free(s->key);
	X509_free(s->cert);
}

/* A certificate that an intercepting firewall would show. */
static void issue_by_firewall(struct stand_in *s)
{
	X509_NAME *name;

	s->key = EVP_EC_gen("P-256");
	s->cert = X509_new();
	X509_set_version(s->cert, 2);
	name = X509_get_subject_name(s->cert);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"Acme Firewall", -1, -1, 0);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"console", -1, -1, 0);
	X509_set_issuer_name(s->cert, name);
	X509_gmtime_adj(X509_getm_notBefore(s->cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(s->cert), 3600);
	X509_set_pubkey(s->cert, s->key);
	X509_sign(s->cert, s->key, EVP_sha256());
}

/* Signed by the console's CA, for @common_name, beginning at @from_s from now. */
static void issue_by_console(struct stand_in *s, const char *common_name, long from_s)
{
	char path[128], *request, *pem;
	FILE *f;
	EVP_PKEY *ca;
	BIO *bio;

	snprintf(path, sizeof(path), "%s/stand-in-XXXXXX", console.data);
	assert_non_null(mkdtemp(path));
	strcat(path, "/key");
	assert_int_equal(pki_make_key(path), 0);
	assert_int_equal(pki_make_request(path, "x", &request), 0);
	assert_int_equal(pki_sign(console.console.ca_key_path, console.console.ca_path, request, common_name, NULL, 10,
				  &pem),
			 0);
	f = fopen(path, "r");
	s->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	bio = BIO_new_mem_buf(pem, -1);
	s->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	if (from_s) {
		f = fopen(console.console.ca_key_path, "r");
		ca = PEM_read_PrivateKey(f, NULL, NULL, NULL);
		fclose(f);
		X509_gmtime_adj(X509_getm_notBefore(s->cert), from_s);
		X509_sign(s->cert, ca, EVP_sha256());
		EVP_PKEY_free(ca);
	}
	free(request);
	free(pem);
}

/* --- asking -------------------------------------------------------------------------------- */

static int ask(const struct http_options *o, unsigned int timeout_ms, json_t **ret, struct fault *f)
{
	struct http *h;
	int status;

	assert_int_equal(http_new(o, &h), 0);
	status = http_request(h, "GET", "/api/godwit/v1/health", NULL, timeout_ms, ret, f);
	http_free(h);
	return status;
}

static void expect_fault(const struct http_options *o, int err, enum message_code code)
{
	struct fault f = { .code = MSG_COUNT };
	json_t *body = NULL;
	char text[1024];
	/* Only who is to wait for it to be over waits for so long; the handshake before has its time, too. */
	int got = ask(o, err == -ETIMEDOUT ? 5000 : 60000, &body, &f);

	if (got != err || f.code != code)
		print_error("%d %s\n", got, f.code < MSG_COUNT ? fault_format(&f, LANGUAGE_EN, text, sizeof(text)) : "");
	assert_int_equal(got, err);
	assert_int_equal(f.code, code);
	assert_null(body);
}

static void expect_at(struct stand_in *s, int err, enum message_code code)
{
	struct http_options o = { .base_url = s->url, .ca_path = console.console.ca_path };

	stand_in_start(s);
	expect_fault(&o, err, code);
	stand_in_stop(s);
}

/* --- the tests --------------------------------------------------------------------------------- */

static void test_the_console_is_known_by_its_ca(void **state)
{
	struct http_options o = { .base_url = console.url, .ca_path = console.console.ca_path };
	json_t *body;
	struct fault f;

	assert_int_equal(ask(&o, 60000, &body, &f), 200);
	assert_string_equal(json_string_value(json_object_get(body, "name")), "godwit-console");
	json_decref(body);
}

static void test_the_console_is_known_by_the_pin_of_a_token(void **state)
{
	struct http_options o = { .base_url = console.url, .ca_pin = console.console.ca_pin };
	uint8_t wrong[16];
	json_t *body;
	struct fault f;

	assert_int_equal(ask(&o, 60000, &body, &f), 200);
	json_decref(body);
	memcpy(wrong, o.ca_pin, sizeof(wrong));
	wrong[15] ^= 1;
	o.ca_pin = wrong;
	expect_fault(&o, -EKEYREJECTED, MSG_CONSOLE_OTHER);
}

static void test_another_console_is_told_from_ours(void **state)
{
	struct http_options o = { .base_url = other.url, .ca_path = console.console.ca_path };

	expect_fault(&o, -EKEYREJECTED, MSG_CONSOLE_OTHER);
}

static void test_an_intercepted_certificate_names_its_issuer(void **state)
{
	struct stand_in s = { .answer = "" };
	struct http_options o = { .base_url = s.url, .ca_path = console.console.ca_path };
	struct fault f;
	json_t *body;

	issue_by_firewall(&s);
	stand_in_start(&s);
	assert_int_equal(ask(&o, 60000, &body, &f), -EKEYREJECTED);
	assert_int_equal(f.code, MSG_CONSOLE_INTERCEPTED);
	assert_string_equal(f.args[1].name, "issuer");
	assert_non_null(strstr(f.args[1].value, "Acme Firewall"));
	stand_in_stop(&s);
}

static void test_an_intercepted_certificate_is_not_taken_for_a_pin(void **state)
{
	struct stand_in s = { .answer = "" };
	struct http_options o = { .base_url = s.url, .ca_pin = console.console.ca_pin };

	issue_by_firewall(&s);
	stand_in_start(&s);
	expect_fault(&o, -EKEYREJECTED, MSG_CONSOLE_INTERCEPTED);
	stand_in_stop(&s);
}

static void test_a_replication_server_is_not_the_console(void **state)
{
	struct stand_in s = { .answer = "" };

	issue_by_console(&s, "server:11111111-1111-4111-8111-111111111111", 0);
	expect_at(&s, -EKEYREJECTED, MSG_CONSOLE_CERTIFICATE_INVALID);
}

static void test_an_agent_cannot_pass_for_the_console(void **state)
{
	struct stand_in s = { .answer = "" };

	issue_by_console(&s, "agent:11111111-1111-4111-8111-111111111111", 0);
	expect_at(&s, -EKEYREJECTED, MSG_CONSOLE_CERTIFICATE_INVALID);
}

static void test_a_certificate_of_the_future_points_to_the_clocks(void **state)
{
	struct stand_in s = { .answer = "" };

	issue_by_console(&s, "console", 3600);
	expect_at(&s, -EKEYREJECTED, MSG_CONSOLE_CERTIFICATE_TIME);
}

static void test_a_name_that_does_not_resolve_is_named(void **state)
{
	struct http_options o = { .base_url = "https://no-such-host.invalid:8443", .ca_path = console.console.ca_path };
	struct fault f;
	json_t *body;

	assert_int_equal(ask(&o, 60000, &body, &f), -EHOSTUNREACH);
	assert_int_equal(f.code, MSG_CONSOLE_NAME_UNKNOWN);
	assert_string_equal(f.args[0].value, "no-such-host.invalid");
}

static void test_a_closed_port_is_refused(void **state)
{
	struct http_options o = { .ca_path = console.console.ca_path };
	unsigned int port;
	char url[64];

	close(listen_somewhere(&port));
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	o.base_url = url;
	expect_fault(&o, -ECONNREFUSED, MSG_CONSOLE_REFUSED);
}

static void test_a_port_that_does_not_begin_tls_is_told_from_one_that_drops(void **state)
{
	struct stand_in s = { 0 };

	expect_at(&s, -ETIMEDOUT, MSG_CONSOLE_TLS_SILENT);
}

/* The queue of one that never accepts is filled: after that the kernel drops
 * what comes, as a firewall would. */
static void test_a_port_that_drops_is_silent(void **state)
{
	struct http_options o = { .ca_path = console.console.ca_path };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned int port;
	int fd = listen_somewhere(&port), fillers[8];
	char url[64];

	a.sin_port = htons((uint16_t)port);
	assert_int_equal(listen(fd, 1), 0);
	for (size_t i = 0; i < 8; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&a, sizeof(a));
	}
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	o.base_url = url;
	expect_fault(&o, -ETIMEDOUT, MSG_CONSOLE_SILENT);
	for (size_t i = 0; i < 8; i++)
		close(fillers[i]);
	close(fd);
}

static void test_what_is_not_tls_is_named(void **state)
{
	struct stand_in s = { .answer = "SSH-2.0-OpenSSH_9.2\r\n" };

	expect_at(&s, -EPROTO, MSG_CONSOLE_NOT_TLS);
}

static void test_a_console_that_does_not_answer_is_a_timeout(void **state)
{
	struct stand_in s = { 0 };

	issue_by_console(&s, "console", 0);
	expect_at(&s, -ETIMEDOUT, MSG_CONSOLE_TIMED_OUT);
}

static void test_an_answer_that_is_not_json_is_unclear(void **state)
{
	struct stand_in s = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ht>" };

	issue_by_console(&s, "console", 0);
	expect_at(&s, -EBADMSG, MSG_CONSOLE_UNCLEAR);
}

static void test_a_redirect_is_not_followed(void **state)
{
	struct stand_in s = { .answer = "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" };

	issue_by_console(&s, "console", 0);
	expect_at(&s, -EBADMSG, MSG_CONSOLE_UNCLEAR);
}

static void test_a_failure_without_json_still_has_its_status(void **state)
{
	struct stand_in s = { .answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n<ht>" };
	struct http_options o = { .base_url = s.url, .ca_path = console.console.ca_path };
	json_t *body = (json_t *)1;
	struct fault f;

	issue_by_console(&s, "console", 0);
	stand_in_start(&s);
	assert_int_equal(ask(&o, 60000, &body, &f), 502);
	assert_null(body);
	stand_in_stop(&s);
}

static void test_a_connection_that_breaks_is_lost(void **state)
{
	struct stand_in s = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{" };

	issue_by_console(&s, "console", 0);
	expect_at(&s, -ECONNRESET, MSG_CONSOLE_LOST);
}

static void test_a_proxy_that_refuses_is_named(void **state)
{
	struct stand_in s = { .answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" };
	struct http_options o = { .base_url = console.url, .ca_path = console.console.ca_path };
	char proxy[96];

	stand_in_start(&s);
	snprintf(proxy, sizeof(proxy), "http%s", s.url + 5);
	o.proxy = proxy;
	expect_fault(&o, -EHOSTUNREACH, MSG_PROXY_FAILED);
	stand_in_stop(&s);
	expect_fault(&o, -EHOSTUNREACH, MSG_PROXY_FAILED);
}

static void test_a_proxys_password_is_in_no_message(void **state)
{
	static const char *const proxies[] = { "http://user:pa@s/word@127.0.0.1:1", "user:pa@s/word@127.0.0.1:1" };
	struct http_options o = { .base_url = console.url, .ca_path = console.console.ca_path };

	for (size_t i = 0; i < ARRAY_LEN(proxies); i++) {
		struct fault f = { .code = MSG_COUNT };
		json_t *body = NULL;
		char text[1024];

		o.proxy = proxies[i];
		assert_true(ask(&o, 60000, &body, &f) < 0);
		fault_format(&f, LANGUAGE_EN, text, sizeof(text));
		assert_non_null(strstr(text, "127.0.0.1"));
		assert_null(strstr(text, "word"));
		assert_null(strstr(text, "user"));
	}
}

static void test_bad_options_are_refused_at_once(void **state)
{
	struct http *h = NULL;

	assert_int_equal(http_new(&(struct http_options){ .base_url = "http://127.0.0.1" }, &h), -EINVAL);
	assert_int_equal(http_new(&(struct http_options){ .base_url = "nonsense" }, &h), -EINVAL);
	assert_int_equal(http_new(&(struct http_options){ .base_url = console.url, .ca_path = "/nowhere" }, &h), -ENOENT);
	assert_int_equal(http_new(&(struct http_options){ .base_url = console.url, .ca_path = "/etc/hostname" }, &h),
			 -EBADMSG);
	assert_int_equal(http_new(&(struct http_options){ .base_url = console.url, .bearer = "x\r\nHost: y" }, &h),
			 -EINVAL);
	assert_null(h);
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	fixture_start(&console);
	fixture_start(&other);
	return 0;
}

static int teardown(void **state)
{
	fixture_stop(&console);
	fixture_stop(&other);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_console_is_known_by_its_ca),
		cmocka_unit_test(test_the_console_is_known_by_the_pin_of_a_token),
		cmocka_unit_test(test_another_console_is_told_from_ours),
		cmocka_unit_test(test_an_intercepted_certificate_names_its_issuer),
		cmocka_unit_test(test_an_intercepted_certificate_is_not_taken_for_a_pin),
		cmocka_unit_test(test_a_replication_server_is_not_the_console),
		cmocka_unit_test(test_an_agent_cannot_pass_for_the_console),
		cmocka_unit_test(test_a_certificate_of_the_future_points_to_the_clocks),
		cmocka_unit_test(test_a_name_that_does_not_resolve_is_named),
		cmocka_unit_test(test_a_closed_port_is_refused),
		cmocka_unit_test(test_a_port_that_does_not_begin_tls_is_told_from_one_that_drops),
		cmocka_unit_test(test_a_port_that_drops_is_silent),
		cmocka_unit_test(test_what_is_not_tls_is_named),
		cmocka_unit_test(test_a_console_that_does_not_answer_is_a_timeout),
		cmocka_unit_test(test_an_answer_that_is_not_json_is_unclear),
		cmocka_unit_test(test_a_redirect_is_not_followed),
		cmocka_unit_test(test_a_failure_without_json_still_has_its_status),
		cmocka_unit_test(test_a_connection_that_breaks_is_lost),
		cmocka_unit_test(test_a_proxy_that_refuses_is_named),
		cmocka_unit_test(test_a_proxys_password_is_in_no_message),
		cmocka_unit_test(test_bad_options_are_refused_at_once),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
