/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

#include "fileio.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEM_MAX_BYTES (256 * KIB)
#define ALT_NAMES_MAX 64u
#define SERIAL_BITS 127

/* Clocks differ: a certificate that begins "now" is not valid yet on a machine
 * that is a minute behind. */
#define BACKDATE_S (-3600L)
#define CA_DAYS (20 * 365)

/* --- tokens --------------------------------------------------------------- */

char *pki_token_format(const struct pki_token *t, char *ret_text)
{
	uint8_t all[32];
	char *out = ret_text;

	memcpy(all, t->ca_pin, 16);
	memcpy(all + 16, t->secret, 16);
	for (size_t i = 0; i < sizeof(all); i++) {
		if (i && i % 2 == 0)
			*out++ = '-';
		out += sprintf(out, "%02X", all[i]);
	}
	return ret_text;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int pki_token_parse(const char *text, struct pki_token *ret)
{
	uint8_t all[32];

	if (strlen(text) != PKI_TOKEN_TEXT_LEN)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(all); i++) {
		const char *at = text + i * 2 + i / 2;
		int high = hex_digit(at[0]), low = hex_digit(at[1]);

		if (high < 0 || low < 0 || (i % 2 && i < 31 && at[2] != '-'))
			return -EINVAL;
		all[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret->ca_pin, all, 16);
	memcpy(ret->secret, all + 16, 16);
	return 0;
}

char *pki_pin_format(const uint8_t pin[16], char ret_text[PKI_PIN_TEXT_LEN + 1])
{
	for (size_t i = 0; i < PKI_PIN_BYTES; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", pin[i]);
	return ret_text;
}

int pki_pin_parse(const char *text, uint8_t ret_pin[16])
{
	uint8_t pin[PKI_PIN_BYTES];

	if (strlen(text) != PKI_PIN_TEXT_LEN)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(pin); i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		pin[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret_pin, pin, sizeof(pin));
	return 0;
}

/* --- reading and writing PEM ---------------------------------------------- */

/* OpenSSL's queue of errors is per thread and would be blamed on the next
 * caller. */
static int ssl_failed(int err)
{
	ERR_clear_error();
	return err;
}

static int read_pem(const char *path, BIO **ret)
{
	char *text;
	size_t len;
	int err = fileio_slurp(path, PEM_MAX_BYTES, &text, &len);

	if (err)
		return err;
	*ret = BIO_new(BIO_s_mem());
	if (*ret && BIO_write(*ret, text, (int)len) != (int)len) {
		BIO_free(*ret);
		*ret = NULL;
	}
	OPENSSL_cleanse(text, len);
	free(text);
	return *ret ? 0 : ssl_failed(-ENOMEM);
}

static int read_key(const char *path, EVP_PKEY **ret)
{
	BIO *bio;
	int err = read_pem(path, &bio);

	if (err)
		return err;
	*ret = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return *ret ? 0 : ssl_failed(-EBADMSG);
}

static int read_cert(const char *path, X509 **ret)
{
	BIO *bio;
	int err = read_pem(path, &bio);

	if (err)
		return err;
	*ret = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return *ret ? 0 : ssl_failed(-EBADMSG);
}

static int bio_to_text(BIO *bio, char **ret)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	char *text = len > 0 ? malloc((size_t)len + 1) : NULL;

	if (!text)
		return -ENOMEM;
	memcpy(text, data, (size_t)len);
	text[len] = '\0';
	*ret = text;
	return 0;
}

static int cert_to_text(X509 *cert, char **ret)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int err = -ENOMEM;

	if (bio && PEM_write_bio_X509(bio, cert))
		err = bio_to_text(bio, ret);
	BIO_free(bio);
	return ssl_failed(err);
}

int pki_make_key(const char *key_path)
{
	EVP_PKEY *key;
	BIO *bio;
	char *data;
	long len;
	int err = -ENOMEM;

	if (access(key_path, F_OK) == 0)
		return 0;
	key = EVP_EC_gen("P-256");
	bio = BIO_new(BIO_s_secmem());
	if (key && bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
		len = BIO_get_mem_data(bio, &data);
		err = fileio_replace(key_path, data, (size_t)len, 0600);
	}
	BIO_free(bio);
	EVP_PKEY_free(key);
	return ssl_failed(err);
}

/* --- building certificates ------------------------------------------------- */

static int set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	int ok = number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		 BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));

	BN_free(number);
	return ok;
}

static int set_name(X509_NAME *name, const char *common_name)
{
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"godwit", -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0);
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static int set_validity(X509 *cert, int days)
{
	return X509_gmtime_adj(X509_getm_notBefore(cert), BACKDATE_S) &&
	       X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL);
}

/* What the two kinds have in common; unsigned. */
static X509 *begin_cert(const char *common_name, EVP_PKEY *key, int days)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
	    set_name(X509_get_subject_name(cert), common_name) && set_validity(cert, days) &&
	    X509_set_pubkey(cert, key))
		return cert;
	X509_free(cert);
	return NULL;
}

int pki_pin_certificate(const X509 *cert, uint8_t ret_pin[16])
{
	uint8_t *der = NULL, hash[SHA256_DIGEST_LENGTH];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	if (len <= 0)
		return ssl_failed(-EBADMSG);
	SHA256(der, (size_t)len, hash);
	OPENSSL_free(der);
	memcpy(ret_pin, hash, 16);
	return 0;
}

/* The start of the key's hash in the name: whoever looks at two certificates
 * of two consoles sees that they are two. */
static int ca_name(EVP_PKEY *key, char *buf, size_t size)
{
	uint8_t *der = NULL, hash[SHA256_DIGEST_LENGTH];
	int len = i2d_PUBKEY(key, &der);

	if (len <= 0)
		return -EBADMSG;
	SHA256(der, (size_t)len, hash);
	OPENSSL_free(der);
	snprintf(buf, size, "godwit console CA %02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
	return 0;
}

int pki_make_ca(const char *key_path, const char *cert_path)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	char name[64], *pem = NULL;
	int err;

	if (access(cert_path, F_OK) == 0)
		return 0;
	err = read_key(key_path, &key);
	if (!err)
		err = ca_name(key, name, sizeof(name));
	if (!err) {
		cert = begin_cert(name, key, CA_DAYS);
		if (!cert || !X509_set_issuer_name(cert, X509_get_subject_name(cert)) ||
		    !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
		    !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
		    !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
		    !X509_sign(cert, key, EVP_sha256()))
			err = -ENOMEM;
	}
	if (!err)
		err = cert_to_text(cert, &pem);
	if (!err)
		err = fileio_replace(cert_path, pem, strlen(pem), 0644);
	free(pem);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ssl_failed(err);
}

int pki_make_request(const char *key_path, const char *common_name, char **ret_pem)
{
	EVP_PKEY *key;
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	int err = read_key(key_path, &key);

	if (!err) {
		if (req && bio && X509_REQ_set_version(req, X509_REQ_VERSION_1) &&
		    set_name(X509_REQ_get_subject_name(req), common_name) && X509_REQ_set_pubkey(req, key) &&
		    X509_REQ_sign(req, key, EVP_sha256()) && PEM_write_bio_X509_REQ(bio, req))
			err = bio_to_text(bio, ret_pem);
		else
			err = -ENOMEM;
		EVP_PKEY_free(key);
	}
	BIO_free(bio);
	X509_REQ_free(req);
	return ssl_failed(err);
}

/* The key asked for, once the request has proved that the asker has it. */
static int request_key(const char *pem, EVP_PKEY **ret)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = req ? X509_REQ_get_pubkey(req) : NULL;
	int err = -EBADMSG;

	if (key && X509_REQ_verify(req, key) == 1 && EVP_PKEY_get_security_bits(key) >= 112) {
		*ret = key;
		key = NULL;
		err = 0;
	}
	EVP_PKEY_free(key);
	X509_REQ_free(req);
	BIO_free(bio);
	return ssl_failed(err);
}

static int add_alt_name(STACK_OF(GENERAL_NAME) *names, const char *text)
{
	GENERAL_NAME *name = NULL;
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(text);
	ASN1_IA5STRING *host;

	ERR_clear_error();
	name = GENERAL_NAME_new();
	if (name && address) {
		GENERAL_NAME_set0_value(name, GEN_IPADD, address);
	} else if (name) {
		host = ASN1_IA5STRING_new();
		if (host && ASN1_STRING_set(host, text, -1)) {
			GENERAL_NAME_set0_value(name, GEN_DNS, host);
		} else {
			ASN1_IA5STRING_free(host);
			GENERAL_NAME_free(name);
			name = NULL;
		}
	}
	if (name && sk_GENERAL_NAME_push(names, name) > 0)
		return 1;
	GENERAL_NAME_free(name);
	return 0;
}

static int add_alt_names(X509 *cert, const char *const *alt_names)
{
	STACK_OF(GENERAL_NAME) *names = sk_GENERAL_NAME_new_null();
	int ok = names != NULL;

	for (size_t i = 0; ok && alt_names[i] && i < ALT_NAMES_MAX; i++)
		ok = add_alt_name(names, alt_names[i]);
	if (ok && sk_GENERAL_NAME_num(names) > 0)
		ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
	sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
	return ok;
}

/* Who only calls may not be called: an agent's certificate cannot pass for
 * the console's or a replication server's. */
static const char *role_usage(const char *common_name)
{
	if (!strncmp(common_name, "agent:", 6))
		return "clientAuth";
	if (!strcmp(common_name, "console"))
		return "serverAuth";
	return "serverAuth,clientAuth";
}

static int end_before_ca(X509 *cert, const X509 *ca)
{
	if (ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca)) <= 0)
		return 1;
	return X509_set1_notAfter(cert, X509_get0_notAfter(ca));
}

int pki_sign(const char *ca_key_path, const char *ca_cert_path, const char *request_pem, const char *common_name,
	     const char *const *alt_names, unsigned int days, char **ret_pem)
{
	EVP_PKEY *ca_key = NULL, *key = NULL;
	X509 *ca = NULL, *cert = NULL;
	int err = read_key(ca_key_path, &ca_key);

	if (!err)
		err = read_cert(ca_cert_path, &ca);
	if (!err)
		err = request_key(request_pem, &key);
	if (!err) {
		cert = begin_cert(common_name, key, (int)days);
		if (!cert || !end_before_ca(cert, ca) || !X509_set_issuer_name(cert, X509_get_subject_name(ca)) ||
		    !add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
		    !add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
		    !add_extension(cert, ca, NID_ext_key_usage, role_usage(common_name)) ||
		    !add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
		    !add_extension(cert, ca, NID_authority_key_identifier, "keyid") ||
		    (alt_names && !add_alt_names(cert, alt_names)) || !X509_sign(cert, ca_key, EVP_sha256()))
			err = -ENOMEM;
	}
	if (!err)
		err = cert_to_text(cert, ret_pem);
	X509_free(cert);
	EVP_PKEY_free(key);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	return ssl_failed(err);
}

int pki_pin(const char *cert_path, uint8_t ret_pin[16])
{
	X509 *cert;
	int err = read_cert(cert_path, &cert);

	if (err)
		return err;
	err = pki_pin_certificate(cert, ret_pin);
	X509_free(cert);
	return err;
}

int pki_pin_pem(const char *cert_pem, uint8_t ret_pin[16])
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int err = cert ? pki_pin_certificate(cert, ret_pin) : -EBADMSG;

	X509_free(cert);
	BIO_free(bio);
	return ssl_failed(err);
}
