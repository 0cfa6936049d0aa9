/* SPDX-License-Identifier: Apache-2.0 */
#include "api.h"
#include "http.h"
#include "instance.h"
#include "words.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define API_ROOT "/api/godwit/v1"
#define PATH_MAX_BYTES 2048

/* --- paths -------------------------------------------------------------------- */

static bool plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
}

static void append_escaped(char *path, size_t size, const char *text)
{
	size_t n = strlen(path);

	for (; *text && n + 4 < size; text++) {
		if (plain((unsigned char)*text))
			path[n++] = *text;
		else
			n += (size_t)snprintf(path + n, 4, "%%%02X", (unsigned char)*text);
	}
	path[n] = '\0';
}

/* Only %s (escaped) and %llu. */
static void make_path(const struct cli *c, char *path, size_t size, const char *fmt, va_list ap)
{
	size_t n = (size_t)snprintf(path, size, "%s", API_ROOT);

	for (; *fmt && n + 16 < size; fmt++) {
		if (strncmp(fmt, "%s", 2) == 0) {
			append_escaped(path, size, va_arg(ap, const char *));
			fmt++;
		} else if (strncmp(fmt, "%llu", 4) == 0) {
			snprintf(path + n, size - n, "%llu", va_arg(ap, unsigned long long));
			fmt += 3;
		} else {
			assert(*fmt != '%');
			path[n] = *fmt;
			path[n + 1] = '\0';
		}
		n = strlen(path);
	}
	/* Texts come in our language. */
	snprintf(path + n, size - n, "%clang=%s", strchr(path, '?') ? '&' : '?', cli_japanese(c) ? "ja" : "en");
}

/* --- what the console says when it says no --------------------------------------- */

static void describe_refusal(const struct cli *c, int status, const json_t *answer, char *text, size_t size)
{
	const char *message = get_text(answer, "message", NULL), *remedy = get_text(answer, "remedy", "");

	if (message)
		snprintf(text, size, "%s%s%s", message, !*remedy ? "" : cli_japanese(c) ? "。" : ". ", remedy);
	else
		snprintf(text, size, "the console answered with HTTP status %d and no reason", status);
}

static int errno_of_status(int status)
{
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return -EBUSY;
	case 503:
		return -EHOSTDOWN;
	case 504:
		return -ETIMEDOUT;
	default:
		return -EINVAL;
	}
}

/* --- calls ----------------------------------------------------------------------- */

static bool is_remote(const struct cli *c)
{
	return (c->verb->uses & USES_CONSOLE) && cli_option(c, "console");
}

static int connect_console(struct cli *c)
{
	struct http_options o = { 0 };
	int r;

	if (c->http)
		return 0;
	if (!c->console_url && instance_credentials(c) != CLI_DONE)
		return -ECANCELED;
	o.base_url = c->console_url;
	o.ca_path = c->ca_path;
	o.bearer = c->bearer;
	r = http_new(&o, &c->http);
	if (r == 0)
		return 0;
	if (is_remote(c))
		cli_fail_message(c, MSG_CA_FILE_BAD, "file", c->ca_path, "reason",
				 r == -EBADMSG ? "it holds no certificate" : strerror(-r), NULL);
	else
		cli_fail_errno(c, c->ca_path ? c->ca_path : c->console_url, r);
	return -ECANCELED;
}

/* -ECANCELED: it has been said already. */
static int request(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms,
		   json_t **ret_answer, char *ret_text, size_t text_size, const char *path)
{
	struct fault fault = { 0 };
	json_t *answer = NULL;
	int status = connect_console(c);

	if (status < 0)
		return status;
	status = http_request(c->http, method, path, body, timeout_ms, &answer, &fault);
	if (status < 0) {
		fault_format(&fault, c->language, ret_text, text_size);
		return status == -ECANCELED ? -EIO : status;
	}
	if (status == 401 && is_remote(c)) {
		json_decref(answer);
		cli_fail_message(c, MSG_ADMIN_TOKEN_WRONG, "url", c->console_url, NULL);
		return -ECANCELED;
	}
	if (status >= 300) {
		describe_refusal(c, status, answer, ret_text, text_size);
		json_decref(answer);
		return errno_of_status(status);
	}
	*ret_answer = answer ? answer : json_object();
	return 0;
}

int api_try(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms, json_t **ret_answer,
	    char *ret_text, size_t text_size, const char *path, ...)
{
	char whole[PATH_MAX_BYTES];
	va_list ap;

	va_start(ap, path);
	make_path(c, whole, sizeof(whole), path, ap);
	va_end(ap);
	return request(c, method, body, timeout_ms, ret_answer, ret_text, text_size, whole);
}

static json_t *call(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms, const char *path)
{
	char text[1024], hinted[WORDS_HINT_MAX];
	json_t *answer;
	int r = request(c, method, body, timeout_ms, &answer, text, sizeof(text), path);

	if (r == 0)
		return answer;
	if (r != -ECANCELED)
		fprintf(stderr, "godwit: %s\n", words_with_data(c, text, hinted));
	return NULL;
}

json_t *api_call(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms, const char *path, ...)
{
	char whole[PATH_MAX_BYTES];
	va_list ap;

	va_start(ap, path);
	make_path(c, whole, sizeof(whole), path, ap);
	va_end(ap);
	return call(c, method, body, timeout_ms, whole);
}

json_t *api_get(struct cli *c, const char *path, ...)
{
	char whole[PATH_MAX_BYTES];
	va_list ap;

	va_start(ap, path);
	make_path(c, whole, sizeof(whole), path, ap);
	va_end(ap);
	return call(c, "GET", NULL, API_SOON_MS, whole);
}

void api_done(struct cli *c)
{
	http_free(c->http);
	c->http = NULL;
}

/* --- members ------------------------------------------------------------------------ */

const char *get_text(const json_t *object, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : otherwise;
}

uint64_t get_u64(const json_t *object, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(object, name));

	return value > 0 ? (uint64_t)value : 0;
}

double get_number(const json_t *object, const char *name, double otherwise)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : otherwise;
}

const json_t *get_object(const json_t *object, const char *name)
{
	static json_t *empty;
	const json_t *value = json_object_get(object, name);

	if (json_is_object(value))
		return value;
	if (!empty)
		empty = json_object();
	return empty;
}

const json_t *get_array(const json_t *object, const char *name)
{
	static json_t *empty;
	const json_t *value = json_object_get(object, name);

	if (json_is_array(value))
		return value;
	if (!empty)
		empty = json_array();
	return empty;
}
