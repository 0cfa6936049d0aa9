/* SPDX-License-Identifier: Apache-2.0 */
#include "fileio.h"
#include "pki.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-pki-XXXXXX";

static const char *in(const char *name)
{
	static char paths[8][128];
	static unsigned int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static X509 *parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static X509 *parse_file(const char *path)
{
	char *text;
	size_t len;
	X509 *cert;

	assert_int_equal(fileio_slurp(path, 65536, &text, &len), 0);
	cert = parse(text);
	free(text);
	return cert;
}

static X509 *sign(const char *common_name, const char *const *alt_names, unsigned int days)
{
	char *request, *pem;
	X509 *cert;

	assert_int_equal(pki_make_key(in("leaf.key")), 0);
	assert_int_equal(pki_make_request(in("leaf.key"), "what is asked for does not count", &request), 0);
	assert_int_equal(pki_sign(in("ca.key"), in("ca.crt"), request, common_name, alt_names, days, &pem), 0);
	cert = parse(pem);
	free(request);
	free(pem);
	return cert;
}

static bool is_good_for(X509 *cert, int purpose)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *ca = parse_file(in("ca.crt"));
	bool good;

	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX_init(ctx, store, cert, NULL);
	X509_STORE_CTX_set_purpose(ctx, purpose);
	good = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(ca);
	return good;
}

static void test_a_token_survives_its_text(void **state)
{
	struct pki_token t, back;
	char text[PKI_TOKEN_TEXT_LEN + 1];

	for (int i = 0; i < 16; i++) {
		t.ca_pin[i] = (uint8_t)(i * 17);
		t.secret[i] = (uint8_t)(255 - i);
	}
	assert_ptr_equal(pki_token_format(&t, text), text);
	assert_int_equal(strlen(text), PKI_TOKEN_TEXT_LEN);
	assert_string_equal(text, "0011-2233-4455-6677-8899-AABB-CCDD-EEFF-FFFE-FDFC-FBFA-F9F8-F7F6-F5F4-F3F2-F1F0");
	assert_int_equal(pki_token_parse(text, &back), 0);
	assert_memory_equal(&t, &back, sizeof(t));
	text[0] = 'f';
	assert_int_equal(pki_token_parse(text, &back), 0);
}

static void test_what_is_not_a_token_is_refused(void **state)
{
	char text[] = "0011-2233-4455-6677-8899-AABB-CCDD-EEFF-FFFE-FDFC-FBFA-F9F8-F7F6-F5F4-F3F2-F1F0";
	struct pki_token t;

	assert_int_equal(pki_token_parse("", &t), -EINVAL);
	for (size_t i = 0; text[i]; i++) {
		char good = text[i];

		text[i] = 'x';
		assert_int_equal(pki_token_parse(text, &t), -EINVAL);
		text[i] = good;
	}
	text[sizeof(text) - 2] = '\0';
	assert_int_equal(pki_token_parse(text, &t), -EINVAL);
}

static void test_a_key_is_made_once_and_only_its_owner_reads_it(void **state)
{
	struct stat before, after;

	assert_int_equal(pki_make_key(in("once.key")), 0);
	assert_int_equal(stat(in("once.key"), &before), 0);
	assert_int_equal(before.st_mode & 07777, 0600);
	assert_int_equal(pki_make_key(in("once.key")), 0);
	assert_int_equal(stat(in("once.key"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
}

static void test_a_ca_signs_but_may_not_make_other_cas(void **state)
{
	X509 *ca = parse_file(in("ca.crt"));

	assert_int_not_equal(X509_check_ca(ca), 0);
	assert_int_equal(X509_get_pathlen(ca), 0);
	assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	X509_free(ca);
}

static void test_each_role_gets_the_use_it_needs_and_no_other(void **state)
{
	X509 *agent = sign("agent:11111111-1111-4111-8111-111111111111", NULL, 10);
	X509 *server = sign("server:11111111-1111-4111-8111-111111111111", NULL, 10), *console = sign("console", NULL, 10);

	assert_true(is_good_for(agent, X509_PURPOSE_SSL_CLIENT));
	assert_false(is_good_for(agent, X509_PURPOSE_SSL_SERVER));
	assert_true(is_good_for(server, X509_PURPOSE_SSL_CLIENT));
	assert_true(is_good_for(server, X509_PURPOSE_SSL_SERVER));
	assert_false(is_good_for(console, X509_PURPOSE_SSL_CLIENT));
	assert_true(is_good_for(console, X509_PURPOSE_SSL_SERVER));
	assert_int_equal(X509_check_ca(agent), 0);
	X509_free(agent);
	X509_free(server);
	X509_free(console);
}

static void test_the_name_is_the_signers_and_not_the_askers(void **state)
{
	X509 *cert = sign("agent:22222222-1111-4111-8111-111111111111", NULL, 10);
	char name[64];

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
	assert_string_equal(name, "agent:22222222-1111-4111-8111-111111111111");
	X509_free(cert);
}

static void test_alternative_names_are_hosts_and_addresses(void **state)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "::1", "console.example.com", NULL };
	X509 *cert = sign("console", names, 10);

	assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "console.example.com", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "example.com", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "10.0.0.1", 0), 0);
	X509_free(cert);
}

static void test_a_certificate_began_before_now_and_ends_with_the_ca(void **state)
{
	X509 *cert = sign("console", NULL, 100 * 365), *ca = parse_file(in("ca.crt"));
	time_t soon = time(NULL) - 60;

	assert_true(X509_cmp_time(X509_get0_notBefore(cert), &soon) < 0);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca)), 0);
	X509_free(cert);
	X509_free(ca);
}

static void test_serial_numbers_differ(void **state)
{
	X509 *a = sign("console", NULL, 10), *b = sign("console", NULL, 10);

	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
	X509_free(a);
	X509_free(b);
}

static void test_the_pin_is_of_the_key(void **state)
{
	uint8_t file[16], again[16];
	X509 *ca = parse_file(in("ca.crt"));
	char *text;
	size_t len;

	assert_int_equal(pki_pin(in("ca.crt"), file), 0);
	assert_int_equal(fileio_slurp(in("ca.crt"), 65536, &text, &len), 0);
	assert_int_equal(pki_pin_pem(text, again), 0);
	assert_memory_equal(file, again, 16);
	assert_int_equal(unlink(in("ca.crt")), 0);
	assert_int_equal(pki_make_ca(in("ca.key"), in("ca.crt")), 0);
	assert_int_equal(pki_pin(in("ca.crt"), again), 0);
	assert_memory_equal(file, again, 16);
	assert_int_equal(pki_pin_pem("nonsense", again), -EBADMSG);
	assert_int_equal(pki_pin(in("nothing"), again), -ENOENT);
	free(text);
	X509_free(ca);
}

static void test_what_is_not_a_request_is_not_signed(void **state)
{
	char *request, *pem = NULL, *at;

	assert_int_equal(pki_sign(in("ca.key"), in("ca.crt"), "nonsense", "console", NULL, 1, &pem), -EBADMSG);
	assert_int_equal(pki_make_request(in("leaf.key"), "x", &request), 0);
	at = strchr(request, '\n') + 70; /* past the names, in the key or the signature */
	*at = *at == 'A' ? 'B' : 'A';
	assert_int_equal(pki_sign(in("ca.key"), in("ca.crt"), request, "console", NULL, 1, &pem), -EBADMSG);
	assert_null(pem);
	free(request);
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	assert_int_equal(pki_make_key(in("ca.key")), 0);
	assert_int_equal(pki_make_ca(in("ca.key"), in("ca.crt")), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_token_survives_its_text),
		cmocka_unit_test(test_what_is_not_a_token_is_refused),
		cmocka_unit_test(test_a_key_is_made_once_and_only_its_owner_reads_it),
		cmocka_unit_test(test_a_ca_signs_but_may_not_make_other_cas),
		cmocka_unit_test(test_each_role_gets_the_use_it_needs_and_no_other),
		cmocka_unit_test(test_the_name_is_the_signers_and_not_the_askers),
		cmocka_unit_test(test_alternative_names_are_hosts_and_addresses),
		cmocka_unit_test(test_a_certificate_began_before_now_and_ends_with_the_ca),
		cmocka_unit_test(test_serial_numbers_differ),
		cmocka_unit_test(test_the_pin_is_of_the_key),
		cmocka_unit_test(test_what_is_not_a_request_is_not_signed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
