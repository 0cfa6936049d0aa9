/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 with OpenSSL, over a BIO of our own, with a buffer for several records
 * on each side: one is filled by one recv(2), the other leaves in one send(2),
 * without SIGPIPE (a send for each record costs a third of the throughput).
 *
 * - OpenSSL's own way of reading ahead is not used: it moves all that it has
 *   read ahead to the front of its buffer for each record.
 * - What is in that buffer when the socket takes no more is encrypted and
 *   cannot be taken back, but is not yet said to be written: `owed` bytes of
 *   plaintext stand for it, and the next tls_write()s begin with them.
 * - A connection that failed once stays failed: the first error and its text
 *   are kept, and every later call returns them.
 * - In TLS 1.3 the client's handshake is over before the server has looked at
 *   the client's certificate, so a refused certificate shows in the client's
 *   first tls_read(): errors are told apart in one place for all calls.
 * - Sessions are never resumed (no tickets): each connection proves both
 *   certificates anew, and there is no state to steal.
 * - The keys are changed after KEY_UPDATE_BYTES: a connection lasts for months,
 *   and AES-GCM is good for some 2^24 full records with one key (RFC 8446, 5.5).
 */
#include "tls.h"
#include "pki.h"
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_BYTES 16384u
#define SEALED_BYTES (RECORD_BYTES + 256u) /* a record as it travels, at most */
#define READ_BUFFER_BYTES (8 * SEALED_BYTES)
#define OUT_BUFFER_BYTES (8 * SEALED_BYTES)
#ifndef KEY_UPDATE_BYTES /* a test changes them more often */
#define KEY_UPDATE_BYTES (64 * GIB)
#endif

struct tls_context {
	SSL_CTX *ctx;
	BIO_METHOD *bio_method;
};

struct tls {
	SSL *ssl;
	int fd;
	uint8_t *in; /* READ_BUFFER_BYTES; in_start to in_end were received */
	size_t in_start, in_end;
	uint8_t *out; /* OUT_BUFFER_BYTES; out_start to out_end are to be sent */
	size_t out_start, out_end;
	size_t owed; /* plaintext in it that the caller will offer again */
	short events;
	bool established;
	bool read_dry; /* what is still held is less than a record */
	int failed;    /* 0 or the -errno of the first failure */
	uint64_t key_bytes;
	char error[256];
};

/* --- the BIO: its data pointer carries the struct tls ---------------------- */

/* Send what is in the buffer.  0: it is empty now; else -errno. */
static int flush_out(struct tls *t)
{
	while (t->out_start < t->out_end) {
		ssize_t n = send(t->fd, t->out + t->out_start, t->out_end - t->out_start, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		t->out_start += (size_t)n;
	}
	t->out_start = t->out_end = 0;
	return 0;
}

static ssize_t fill_in(struct tls *t)
{
	ssize_t n;

	do
		n = recv(t->fd, t->in, READ_BUFFER_BYTES, 0);
	while (n < 0 && errno == EINTR);
	t->in_start = 0;
	t->in_end = n > 0 ? (size_t)n : 0;
	return n;
}

static int bio_read(BIO *b, char *buf, int len)
{
	struct tls *t = BIO_get_data(b);
	ssize_t n;

	BIO_clear_retry_flags(b);
	if (t->in_start == t->in_end) {
		n = fill_in(t);
		if (n < 0 && errno == EAGAIN)
			BIO_set_retry_read(b);
		if (n <= 0)
			return (int)n;
	}
	n = (ssize_t)MIN((size_t)len, t->in_end - t->in_start);
	memcpy(buf, t->in + t->in_start, (size_t)n);
	t->in_start += (size_t)n;
	return (int)n;
}

/* Never sends: whoever called into OpenSSL flushes afterwards.  OpenSSL 3.0 does
 * not come back well from a flush that would have to wait in a change of keys. */
static int bio_write(BIO *b, const char *buf, int len)
{
	struct tls *t = BIO_get_data(b);
	size_t room = MIN(OUT_BUFFER_BYTES - t->out_end, (size_t)len);

	BIO_clear_retry_flags(b);
	if (room == 0) {
		BIO_set_retry_write(b);
		return -1;
	}
	memcpy(t->out + t->out_end, buf, room);
	t->out_end += room;
	return (int)room;
}

static long bio_ctrl(BIO *b, int cmd, long number, void *p)
{
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO_METHOD *make_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");

	if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) &&
	    BIO_meth_set_ctrl(m, bio_ctrl) && BIO_meth_set_create(m, bio_create))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* --- context -------------------------------------------------------------- */

static int load_files(SSL_CTX *ctx, const char *key_path, const char *cert_path, const char *ca_path)
{
	if (access(key_path, R_OK) != 0 || access(cert_path, R_OK) != 0 || access(ca_path, R_OK) != 0)
		return -errno;
	if (SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_certificate_chain_file(ctx, cert_path) != 1 || SSL_CTX_check_private_key(ctx) != 1 ||
	    SSL_CTX_load_verify_file(ctx, ca_path) != 1)
		return -EKEYREJECTED;
	return 0;
}

static int configure(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_verify_depth(ctx, 0); /* our CA signs directly */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 ||
	    SSL_CTX_set_ciphersuites(
		    ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1)
		return -ENOTSUP;
	return 0;
}

int tls_context_new(const char *key_path, const char *cert_path, const char *ca_path, struct tls_context **ret)
{
	struct tls_context *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->bio_method = make_bio_method();
	c->ctx = SSL_CTX_new(TLS_method());
	if (c->bio_method && c->ctx)
		err = configure(c->ctx);
	if (err == 0)
		err = load_files(c->ctx, key_path, cert_path, ca_path);
	ERR_clear_error();
	if (err) {
		tls_context_free(c);
		return err;
	}
	*ret = c;
	return 0;
}

void tls_context_free(struct tls_context *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	BIO_meth_free(c->bio_method);
	free(c);
}

/* --- connection ----------------------------------------------------------- */

int tls_new(struct tls_context *c, int fd, bool server, struct tls **ret)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *bio = BIO_new(c->bio_method);

	if (t) {
		t->fd = fd;
		t->ssl = SSL_new(c->ctx);
		t->in = malloc(READ_BUFFER_BYTES);
		t->out = malloc(OUT_BUFFER_BYTES);
	}
	if (!t || !bio || !t->ssl || !t->in || !t->out) {
		BIO_free(bio);
		tls_free(t);
		return -ENOMEM;
	}
	BIO_set_data(bio, t);
	SSL_set_bio(t->ssl, bio, bio);
	if (server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	*ret = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->established && t->failed == 0)
		(void)SSL_shutdown(t->ssl); /* the first half only: does not wait for the peer's */
	if (t->out && t->out_end > 0)
		(void)!flush_out(t); /* an alert, too */
	ERR_clear_error();
	SSL_free(t->ssl);
	free(t->in);
	free(t->out);
	free(t);
}

static int fail(struct tls *t, int err, const char *text)
{
	t->failed = err;
	t->events = 0;
	snprintf(t->error, sizeof(t->error), "%s", text);
	return err;
}

/* An alert in which the peer says that it does not want our certificate. */
static bool is_certificate_alert(int reason)
{
	switch (reason) {
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		return true;
	default:
		return false;
	}
}

static int fail_protocol(struct tls *t, unsigned long code)
{
	const char *reason = ERR_reason_error_string(code);
	long verified = SSL_get_verify_result(t->ssl);
	char text[sizeof(t->error)];

	if (!reason)
		reason = "unknown error";
	if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return fail(t, -ECONNRESET, "the peer closed the connection in the middle");
	if (ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		return fail(t, -EKEYREJECTED, "the peer has no certificate");
	if (is_certificate_alert(ERR_GET_REASON(code))) {
		snprintf(text, sizeof(text), "the peer refuses our certificate: %s", reason);
		return fail(t, -EKEYREJECTED, text);
	}
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		snprintf(text, sizeof(text), "the peer's certificate is refused: %s",
			 X509_verify_cert_error_string(verified));
		return fail(t, -EKEYREJECTED, text);
	}
	return fail(t, -EPROTO, reason);
}

/* What a call into OpenSSL that returned @ret <= 0 means; 0 for the orderly end. */
static int classify(struct tls *t, int ret)
{
	int saved = errno;
	unsigned long code;

	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		t->events = POLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		t->events = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		if (saved == 0 || saved == EAGAIN) /* EAGAIN is no error, and would be taken for "again" */
			saved = ECONNRESET;
		return fail(t, -saved, strerror(saved));
	default:
		code = ERR_peek_error();
		ERR_clear_error();
		return fail_protocol(t, code);
	}
}

/* After a call that may have put something into the buffer: send it, or ask for
 * POLLOUT as well.  @result, unless that fails. */
static int flush_after(struct tls *t, int result)
{
	int err = flush_out(t);

	if (err == -EAGAIN)
		t->events |= POLLOUT;
	else if (err && !t->failed)
		return fail(t, err, strerror(-err));
	return result;
}

int tls_handshake(struct tls *t)
{
	int n;

	if (t->failed)
		return t->failed;
	ERR_clear_error();
	errno = 0;
	t->events = 0;
	n = SSL_do_handshake(t->ssl);
	if (n != 1) {
		n = classify(t, n);
		if (n == 0)
			n = fail(t, -ECONNRESET, "the peer closed the connection in the handshake");
		return flush_after(t, n);
	}
	n = flush_after(t, 0);
	if (n == 0 && t->out_end > 0)
		return -EAGAIN;
	t->established = n == 0;
	return n;
}

/* Has something come that was not decrypted, or not taken, yet? */
static bool is_held(const struct tls *t)
{
	return t->in_start < t->in_end || SSL_has_pending(t->ssl) == 1;
}

/* One SSL_read gives one record at most; go on while there are whole ones. */
ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	char *p = buf;
	size_t done = 0;
	int n;

	assert(len > 0);
	if (t->failed)
		return t->failed;
	do {
		ERR_clear_error();
		errno = 0;
		n = SSL_read(t->ssl, p + done, (int)MIN(len - done, (size_t)INT32_MAX));
		t->read_dry = n <= 0;
		if (n <= 0) {
			n = classify(t, n);
			if (t->failed)
				(void)!flush_out(t); /* the alert that says why */
			return done > 0 ? (ssize_t)done : n;
		}
		done += (size_t)n;
	} while (done < len && is_held(t));
	return (ssize_t)done;
}

static int change_keys(struct tls *t)
{
	if (SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
		return fail(t, -EPROTO, "cannot change the keys");
	t->key_bytes = 0;
	return 0;
}

/* Encrypt as many whole records as the buffer has room for; how many bytes of
 * @buf that were, or -errno.  There being room, OpenSSL cannot ask to wait. */
static ssize_t fill_out(struct tls *t, const char *buf, size_t len)
{
	size_t done = 0;
	int n;

	if (t->key_bytes >= KEY_UPDATE_BYTES && change_keys(t))
		return t->failed;
	ERR_clear_error();
	errno = 0;
	while (done < len && OUT_BUFFER_BYTES - t->out_end >= 2 * SEALED_BYTES) {
		n = SSL_write(t->ssl, buf + done, (int)MIN(len - done, RECORD_BYTES));
		if (n <= 0) {
			n = classify(t, n);
			return t->failed ? n : fail(t, -EPIPE, "the connection is closed");
		}
		done += (size_t)n;
	}
	t->key_bytes += done;
	return (ssize_t)done;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	const char *p = buf;
	size_t done = 0, settled;
	ssize_t n;
	int err;

	assert(len > 0);
	while (!t->failed) {
		err = flush_out(t);
		if (err == -EAGAIN) {
			t->events = POLLOUT;
			return done > 0 ? (ssize_t)done : -EAGAIN;
		}
		if (err)
			return fail(t, err, strerror(-err));
		settled = MIN(t->owed, len - done);
		t->owed -= settled;
		done += settled;
		if (done == len)
			return (ssize_t)done;
		n = fill_out(t, p + done, len - done);
		if (n > 0)
			t->owed = (size_t)n;
	}
	return t->failed;
}

short tls_events(const struct tls *t)
{
	return t->events;
}

bool tls_pending(const struct tls *t)
{
	return t->failed == 0 && !t->read_dry && is_held(t);
}

/* The one common name of the subject, as a C string. */
static int common_name(const struct tls *t, char *buf, size_t size)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;
	int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	const ASN1_STRING *s;
	int len;

	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return -EKEYREJECTED;
	s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	len = ASN1_STRING_length(s);
	if (len <= 0 || (size_t)len >= size || memchr(ASN1_STRING_get0_data(s), '\0', (size_t)len))
		return -EKEYREJECTED;
	memcpy(buf, ASN1_STRING_get0_data(s), (size_t)len);
	buf[len] = '\0';
	return 0;
}

int tls_peer(const struct tls *t, char ret_role[16], struct uuid *ret_id)
{
	static const char *const roles[] = { "agent", "server" };
	char name[64];

	if (!t->established || common_name(t, name, sizeof(name)) != 0)
		return -EKEYREJECTED;
	if (strcmp(name, "console") == 0) {
		strcpy(ret_role, name);
		memset(ret_id, 0, sizeof(*ret_id));
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		size_t len = strlen(roles[i]);

		if (strncmp(name, roles[i], len) != 0 || name[len] != ':' || uuid_parse(name + len + 1, ret_id) != 0)
			continue;
		strcpy(ret_role, roles[i]);
		return 0;
	}
	return -EKEYREJECTED;
}

int tls_peer_pin(const struct tls *t, uint8_t ret_pin[16])
{
	X509 *cert = t->established ? SSL_get0_peer_certificate(t->ssl) : NULL;

	return cert ? pki_pin_certificate(cert, ret_pin) : -EKEYREJECTED;
}

const char *tls_error(const struct tls *t)
{
	return t->failed ? t->error : "no error";
}
