/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http - JSON over HTTPS to the console, as a client (libcurl).
 *
 * One handle is one connection, kept open; one thread, or one process.
 */
#ifndef GODWIT_HTTP_H
#define GODWIT_HTTP_H

#include "base.h"
#include "message.h"
#include <jansson.h>

struct http;

struct http_options {
	const char *base_url;	/* "https://host:8443" */
	const char *ca_path;	/* PEM of the console's CA; or ... */
	const uint8_t *ca_pin;	/* ... 16 bytes that the presented CA's key must hash to (pki.h) */
	const char *key_path, *cert_path; /* client certificate, or NULL */
	const char *bearer;	/* Authorization: Bearer, or NULL */
	const char *proxy;	/* URL, or NULL */
	unsigned int connect_timeout_ms; /* 0: 5000 */
	unsigned int stall_seconds; /* a request that gets nowhere for so long has timed out; 0: none */
};

_must_check_ int http_new(const struct http_options *o, struct http **ret);
void http_free(struct http *h);

/*
 * One request.  @body is borrowed, NULL for none.  Returns the HTTP status
 * (200-599) and the decoded body in *@ret_body (NULL when empty, to be
 * json_decref'ed), or -errno with @ret_fault when there was no answer:
 * resolving, connecting, TLS and time-out are told apart.
 */
int http_request(struct http *h, const char *method, const char *path, const json_t *body, unsigned int timeout_ms,
		 json_t **ret_body, struct fault *ret_fault);

#endif
