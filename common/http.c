/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console is known by its CA, not by its name: any name or address that
 * leads to it will do (port forwarding, a moved address), as long as the
 * certificate there was signed by the CA for "console".  So the host name is
 * not compared; the common name is (http_verify).  Without a CA and without a
 * pin the system's CAs and the host name decide, as in a browser.
 */
#include "http.h"

#include "fileio.h"
#include "pki.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_MAX_BYTES (64 * MIB)
#define CA_MAX_BYTES (1 * MIB)
#define STALL_BYTES_PER_SECOND 100 /* less is nowhere */
#define UNSENT_MAX_BYTES (64 * KIB)

enum verdict {
	VERDICT_NONE,	     /* the certificate was not looked at */
	VERDICT_GOOD,
	VERDICT_OTHER_CA,    /* not signed by ours, but by another console's */
	VERDICT_INTERCEPTED, /* signed by somebody who has nothing to do with godwit */
	VERDICT_TIME,	     /* not valid yet, or not any more */
	VERDICT_INVALID,
};

struct http {
	CURL *curl;
	struct curl_slist *headers;
	char *base_url, *host, *proxy;
	STACK_OF(X509) *ca;
	bool pinned, own_ca, stalls;
	uint8_t pin[16];

	/* How far this request's new connection came, if it needed one; curl's
	 * own times do not say so after a time-out. */
	bool connecting, tls_begun;
	enum verdict verdict;
	char issuer[FAULT_VALUE_MAX];
	char reason[CURL_ERROR_SIZE];
};

struct buffer {
	char *data;
	size_t len;
	bool too_big;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* --- whom to believe --------------------------------------------------------- */

static bool has_pin(const X509 *cert, const uint8_t pin[16])
{
	uint8_t own[PKI_PIN_BYTES];

	return pki_pin_certificate(cert, own) == 0 && CRYPTO_memcmp(own, pin, sizeof(own)) == 0;
}

/* The presented certificate whose key has the pin: the only one to trust. */
static STACK_OF(X509) *pinned_anchor(struct http *h, X509_STORE_CTX *ctx)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(ctx), *found = sk_X509_new_null();

	for (int i = 0; found && i < sk_X509_num(chain); i++) {
		X509 *cert = sk_X509_value(chain, i);

		if (has_pin(cert, h->pin) && X509_check_ca(cert) && X509_up_ref(cert) &&
		    sk_X509_push(found, cert) <= 0)
			X509_free(cert);
	}
	return found;
}

static void name_text(const X509_NAME *name, char *buf, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int len = 0;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		len = BIO_read(bio, buf, (int)size - 1);
	buf[len > 0 ? len : 0] = '\0';
	BIO_free(bio);
}

static bool is_console(X509 *leaf)
{
	char name[32];
	int len = X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name, sizeof(name));

	return len == 7 && !memcmp(name, "console", 7);
}

static enum verdict judge(const struct http *h, int x509_error)
{
	switch (x509_error) {
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return VERDICT_TIME;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		return strstr(h->issuer, "CN=godwit console CA") ? VERDICT_OTHER_CA : VERDICT_INTERCEPTED;
	default:
		return VERDICT_INVALID;
	}
}

static int verify(X509_STORE_CTX *ctx, void *arg)
{
	struct http *h = arg;
	X509 *leaf = X509_STORE_CTX_get0_cert(ctx);
	STACK_OF(X509) *found = NULL;
	int ok;

	name_text(X509_get_issuer_name(leaf), h->issuer, sizeof(h->issuer));
	if (h->own_ca) {
		found = h->pinned ? pinned_anchor(h, ctx) : NULL;
		X509_STORE_CTX_set0_trusted_stack(ctx, h->pinned ? found : h->ca);
	}
	ok = X509_verify_cert(ctx) > 0;
	if (ok && h->own_ca && !is_console(leaf)) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_HOSTNAME_MISMATCH);
		ok = 0;
	}
	h->verdict = ok ? VERDICT_GOOD : judge(h, X509_STORE_CTX_get_error(ctx));
	if (found) {
		X509_STORE_CTX_set0_trusted_stack(ctx, NULL);
		sk_X509_pop_free(found, X509_free);
	}
	return ok;
}

static CURLcode on_ssl_context(CURL *curl, void *ssl_context, void *arg)
{
	struct http *h = arg;

	h->tls_begun = true;
	SSL_CTX_set_cert_verify_callback(ssl_context, verify, h);
	return CURLE_OK;
}

static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	struct http *h = arg;
	int unsent = UNSENT_MAX_BYTES;

	/* What the kernel holds has got nowhere yet. */
	if (h->stalls)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	h->connecting = true;
	return CURL_SOCKOPT_OK;
}

static int read_ca(const char *path, STACK_OF(X509) **ret)
{
	STACK_OF(X509) *ca = sk_X509_new_null();
	X509 *cert;
	char *text;
	size_t len;
	BIO *bio;
	int err = fileio_slurp(path, CA_MAX_BYTES, &text, &len);

	if (err) {
		sk_X509_free(ca);
		return err;
	}
	bio = BIO_new_mem_buf(text, (int)len);
	while (bio && ca && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (sk_X509_push(ca, cert) <= 0)
			X509_free(cert);
	ERR_clear_error();
	BIO_free(bio);
	free(text);
	if (!ca || sk_X509_num(ca) == 0) {
		sk_X509_free(ca);
		return -EBADMSG;
	}
	*ret = ca;
	return 0;
}

/* --- making and freeing -------------------------------------------------------- */

static int set_blob(CURL *curl, CURLoption option, const char *path)
{
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };
	char *text;
	int err = fileio_slurp(path, CA_MAX_BYTES, &text, &blob.len);

	if (err)
		return err;
	blob.data = text;
	err = curl_easy_setopt(curl, option, &blob) == CURLE_OK ? 0 : -ENOMEM;
	OPENSSL_cleanse(text, blob.len);
	free(text);
	return err;
}

static int set_identity(struct http *h, const struct http_options *o)
{
	int err = 0;

	if (o->ca_pin) {
		h->pinned = h->own_ca = true;
		memcpy(h->pin, o->ca_pin, sizeof(h->pin));
	} else if (o->ca_path) {
		h->own_ca = true;
		err = read_ca(o->ca_path, &h->ca);
	}
	if (!err && o->key_path && o->cert_path) {
		err = set_blob(h->curl, CURLOPT_SSLCERT_BLOB, o->cert_path);
		if (!err)
			err = set_blob(h->curl, CURLOPT_SSLKEY_BLOB, o->key_path);
	}
	return err;
}

static bool add_header(struct http *h, const char *line)
{
	struct curl_slist *longer = curl_slist_append(h->headers, line);

	if (longer)
		h->headers = longer;
	return longer != NULL;
}

static int set_headers(struct http *h, const char *bearer)
{
	char *line;
	bool ok = add_header(h, "Accept: application/json") && add_header(h, "Content-Type: application/json") &&
		  add_header(h, "Expect:");

	if (!ok)
		return -ENOMEM;
	if (!bearer)
		return 0;
	if (strpbrk(bearer, "\r\n"))
		return -EINVAL;
	if (asprintf(&line, "Authorization: Bearer %s", bearer) < 0)
		return -ENOMEM;
	ok = add_header(h, line);
	OPENSSL_cleanse(line, strlen(line));
	free(line);
	return ok ? 0 : -ENOMEM;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct buffer *b = arg;
	size_t add = size * n;
	char *bigger;

	if (add > ANSWER_MAX_BYTES - b->len) {
		b->too_big = true;
		return 0;
	}
	bigger = realloc(b->data, b->len + add + 1);
	if (!bigger)
		return 0;
	memcpy(bigger + b->len, data, add);
	b->data = bigger;
	b->len += add;
	b->data[b->len] = '\0';
	return add;
}

static void set_options(struct http *h, const struct http_options *o)
{
	CURL *c = h->curl;

	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, h->own_ca ? 0L : 2L);
	if (h->own_ca) {
		/* The system's bundle would be parsed at every connection, for nothing. */
		curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, h);
	curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket);
	curl_easy_setopt(c, CURLOPT_SOCKOPTDATA, h);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS));
	h->stalls = o->stall_seconds > 0;
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)(h->stalls ? STALL_BYTES_PER_SECOND : 0));
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)o->stall_seconds);
	/* The empty string also keeps https_proxy of the environment out: which
	 * way a daemon goes is a setting, not an accident. */
	curl_easy_setopt(c, CURLOPT_PROXY, h->proxy ? h->proxy : "");
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->reason);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "godwit");
}

/* The host alone, for messages; -EINVAL unless it is an https URL. */
static int parse_base(struct http *h, const char *url)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL;
	int err = -EINVAL;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && !strcmp(scheme, "https") &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		h->host = strdup(host);
		h->base_url = strdup(url);
		err = h->host && h->base_url ? 0 : -ENOMEM;
	}
	if (!err)
		for (size_t n = strlen(h->base_url); n && h->base_url[n - 1] == '/'; n--)
			h->base_url[n - 1] = '\0';
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(u);
	return err;
}

int http_new(const struct http_options *o, struct http **ret)
{
	struct http *h = calloc(1, sizeof(*h));
	int err = -ENOMEM;

	if (!h)
		return err;
	pthread_once(&curl_once, init_curl);
	h->curl = curl_easy_init();
	if (h->curl)
		err = parse_base(h, o->base_url);
	if (!err && o->proxy && !(h->proxy = strdup(o->proxy)))
		err = -ENOMEM;
	if (!err)
		err = set_identity(h, o);
	if (!err)
		err = set_headers(h, o->bearer);
	if (err) {
		http_free(h);
		return err;
	}
	set_options(h, o);
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->curl);
	curl_slist_free_all(h->headers);
	sk_X509_pop_free(h->ca, X509_free);
	free(h->base_url);
	free(h->host);
	free(h->proxy);
	free(h);
}

/* --- what went wrong ------------------------------------------------------------- */

static int tls_fault(const struct http *h, struct fault *f)
{
	switch (h->verdict) {
	case VERDICT_OTHER_CA:
		return fault_set(f, -EKEYREJECTED, MSG_CONSOLE_OTHER, "url", h->base_url, NULL);
	case VERDICT_INTERCEPTED:
		return fault_set(f, -EKEYREJECTED, MSG_CONSOLE_INTERCEPTED, "url", h->base_url, "issuer", h->issuer,
				 NULL);
	case VERDICT_TIME:
		return fault_set(f, -EKEYREJECTED, MSG_CONSOLE_CERTIFICATE_TIME, "url", h->base_url, NULL);
	case VERDICT_INVALID:
		return fault_set(f, -EKEYREJECTED, MSG_CONSOLE_CERTIFICATE_INVALID, "url", h->base_url, "reason",
				 h->reason, NULL);
	default:
		return fault_set(f, -EPROTO, MSG_CONSOLE_NOT_TLS, "url", h->base_url, "reason", h->reason, NULL);
	}
}

/* The proxy as a message may name it: its URL may hold a password. */
static const char *proxy_shown(const struct http *h, char buf[FAULT_VALUE_MAX])
{
	const char *proxy = h->proxy ? h->proxy : "", *scheme = strstr(proxy, "://");
	const char *host = scheme ? scheme + 3 : proxy, *at = NULL;

	/* The last one: a password may have a bare @ or / in it, and no host has. */
	for (const char *p = strchr(host, '@'); p; p = strchr(p + 1, '@'))
		at = p;
	snprintf(buf, FAULT_VALUE_MAX, "%.*s%s", (int)(host - proxy), proxy, at ? at + 1 : host);
	return buf;
}

static int proxy_fault(const struct http *h, struct fault *f)
{
	char shown[FAULT_VALUE_MAX];

	return fault_set(f, -EHOSTUNREACH, MSG_PROXY_FAILED, "proxy", proxy_shown(h, shown), "reason", h->reason, NULL);
}

static int connect_fault(const struct http *h, struct fault *f)
{
	long os_error = 0;

	curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &os_error);
	if (h->proxy)
		return proxy_fault(h, f);
	if (os_error == ECONNREFUSED)
		return fault_set(f, -ECONNREFUSED, MSG_CONSOLE_REFUSED, "url", h->base_url, NULL);
	if (os_error == ETIMEDOUT)
		return fault_set(f, -ETIMEDOUT, MSG_CONSOLE_SILENT, "url", h->base_url, NULL);
	return fault_set(f, -EHOSTUNREACH, MSG_CONSOLE_UNREACHABLE, "url", h->base_url, "reason",
			 os_error ? strerror((int)os_error) : h->reason, NULL);
}

static int timeout_fault(const struct http *h, struct fault *f)
{
	bool connected = h->tls_begun || !h->connecting;

	if (strstr(h->reason, "Resolving timed out"))
		return fault_set(f, -EHOSTUNREACH, MSG_CONSOLE_NAME_UNKNOWN, "host", h->host, NULL);
	if (!connected && h->proxy)
		return connect_fault(h, f);
	if (!connected)
		return fault_set(f, -ETIMEDOUT, MSG_CONSOLE_SILENT, "url", h->base_url, NULL);
	if (h->tls_begun && h->verdict == VERDICT_NONE)
		return fault_set(f, -ETIMEDOUT, MSG_CONSOLE_TLS_SILENT, "url", h->base_url, NULL);
	return fault_set(f, -ETIMEDOUT, MSG_CONSOLE_TIMED_OUT, "url", h->base_url, NULL);
}

static int transport_fault(const struct http *h, CURLcode code, struct fault *f)
{
	long tunnel = 0;

	curl_easy_getinfo(h->curl, CURLINFO_HTTP_CONNECTCODE, &tunnel);
	if (h->proxy && tunnel >= 300)
		return proxy_fault(h, f);
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return fault_set(f, -EHOSTUNREACH, MSG_CONSOLE_NAME_UNKNOWN, "host", h->host, NULL);
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return proxy_fault(h, f);
	case CURLE_COULDNT_CONNECT:
		return connect_fault(h, f);
	case CURLE_OPERATION_TIMEDOUT:
		return timeout_fault(h, f);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
		return tls_fault(h, f);
	case CURLE_OUT_OF_MEMORY:
		return fault_set(f, -ENOMEM, MSG_CONSOLE_LOST, "url", h->base_url, "reason", h->reason, NULL);
	default:
		return fault_set(f, -ECONNRESET, MSG_CONSOLE_LOST, "url", h->base_url, "reason",
				 h->reason[0] ? h->reason : curl_easy_strerror(code), NULL);
	}
}

/* --- one request -------------------------------------------------------------------- */

static int unclear(const struct http *h, long status, struct fault *f)
{
	char text[16];

	snprintf(text, sizeof(text), "%ld", status);
	return fault_set(f, -EBADMSG, MSG_CONSOLE_UNCLEAR, "url", h->base_url, "status", text, NULL);
}

/* An answer of success must be understood; the body of a failure may be a
 * proxy's page, and the status says enough. */
static int take_answer(struct http *h, const struct buffer *b, json_t **ret_body, struct fault *f)
{
	long status = 0;
	json_t *body = NULL;

	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	if (b->len)
		body = json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	if (status < 200 || status > 599 || (status < 400 && b->len && !body) || (status >= 300 && status < 400)) {
		json_decref(body);
		return unclear(h, status, f);
	}
	if (ret_body)
		*ret_body = body;
	else
		json_decref(body);
	return (int)status;
}

static void set_request(struct http *h, const char *method, const char *text, struct buffer *b, unsigned int timeout_ms)
{
	CURL *c = h->curl;

	curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
	if (text) {
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, text);
	}
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, b);
}

/* Without a body curl would not send the length of nothing, which some proxies
 * demand of a POST. */
static const char *body_text(const char *method, char *dumped)
{
	if (dumped)
		return dumped;
	return strcmp(method, "POST") && strcmp(method, "PATCH") && strcmp(method, "PUT") ? NULL : "";
}

int http_request(struct http *h, const char *method, const char *path, const json_t *body, unsigned int timeout_ms,
		 json_t **ret_body, struct fault *ret_fault)
{
	struct buffer answer = { 0 };
	char *dumped = NULL, *url = NULL;
	CURLcode code;
	int result;

	if (body && !(dumped = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY)))
		return fault_set(ret_fault, -ENOMEM, MSG_CONSOLE_LOST, "url", h->base_url, "reason", "no memory", NULL);
	if (asprintf(&url, "%s%s", h->base_url, path) < 0) {
		free(dumped);
		return fault_set(ret_fault, -ENOMEM, MSG_CONSOLE_LOST, "url", h->base_url, "reason", "no memory", NULL);
	}
	h->verdict = VERDICT_NONE;
	h->connecting = h->tls_begun = false;
	h->issuer[0] = h->reason[0] = '\0';
	set_request(h, method, body_text(method, dumped), &answer, timeout_ms);
	curl_easy_setopt(h->curl, CURLOPT_URL, url);
	code = curl_easy_perform(h->curl);
	if (code == CURLE_OK)
		result = take_answer(h, &answer, ret_body, ret_fault);
	else if (answer.too_big)
		result = unclear(h, 200, ret_fault);
	else
		result = transport_fault(h, code, ret_fault);
	free(answer.data);
	free(url);
	free(dumped);
	return result;
}
