/* SPDX-License-Identifier: Apache-2.0 */
#include "console_fixture.h"

#include "fileio.h"
#include "httpd.h"
#include "identity.h"
#include "setup.h"
#include "ticks.h"
#include "wallclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ANSWER_MS 70000u

static void read_admin_token(struct fixture *f)
{
	char path[128], *text;
	size_t len;

	snprintf(path, sizeof(path), "%s/admin.token", f->data);
	assert_int_equal(fileio_slurp(path, 4096, &text, &len), 0);
	snprintf(f->admin_token, sizeof(f->admin_token), "%.*s", PKI_TOKEN_TEXT_LEN, text);
	free(text);
}

void fixture_continue(struct fixture *f)
{
	char *data, *dir, *key, *chain;
	struct fault fault;
	unsigned int port;
	int fd;

	log_init("test", LOG_ERROR);
	f->console = (struct console){ .started_us = wallclock_now_us(), .live = live_new(), .attempts = attempts_new() };
	assert_int_equal(setup_folder(f->data, &data, &dir, &fault), 0);
	assert_int_equal(setup_console(&f->console, data, dir, "127.0.0.1", &key, &chain, &fault), 0);
	assert_int_equal(httpd_listen("127.0.0.1", 0, &fd, &port, &fault), 0);
	assert_int_equal(ticks_load(&f->console), 0);
	assert_int_equal(httpd_start(&f->console, fd, key, chain, f->console.ca_pem, &f->httpd), 0);
	snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%u", port);
	read_admin_token(f);
	free(data);
	free(dir);
	free(key);
	free(chain);
}

void fixture_start(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	strcpy(f->data, "/tmp/godwit-console-XXXXXX");
	assert_non_null(mkdtemp(f->data));
	fixture_continue(f);
}

void fixture_halt(struct fixture *f)
{
	live_stop(f->console.live);
	httpd_stop(f->httpd);
	ticks_run(&f->console, true);
	live_free(f->console.live);
	attempts_free(f->console.attempts);
	setup_done(&f->console);
}

void fixture_stop(struct fixture *f)
{
	char command[128];

	fixture_halt(f);
	snprintf(command, sizeof(command), "rm -rf %s", f->data);
	assert_int_equal(system(command), 0);
}

/* --- calls ------------------------------------------------------------------------------- */

static json_t *call(struct http *h, int status, const char *method, const char *path, json_t *body)
{
	char full[512];
	struct fault fault;
	json_t *answer = NULL;
	int got;

	snprintf(full, sizeof(full), "%s%s", *path == '!' ? "" : "/api/godwit/v1", path + (*path == '!'));
	got = http_request(h, method, full, body, ANSWER_MS, &answer, &fault);
	json_decref(body);
	if (got != status) {
		char text[1024], *shown = json_dumps(answer, JSON_ENCODE_ANY);

		print_error("%s %s: %d instead of %d: %s\n", method, path, got, status,
			    got < 0 ? fault_format(&fault, LANGUAGE_EN, text, sizeof(text)) : shown ? shown : "");
		free(shown);
	}
	assert_int_equal(got, status);
	return answer;
}

json_t *fixture_admin(struct fixture *f, int status, const char *method, const char *path, json_t *body)
{
	struct http_options o = { .base_url = f->url, .ca_path = f->console.ca_path, .bearer = f->admin_token };
	struct http *h;
	json_t *answer;

	assert_int_equal(http_new(&o, &h), 0);
	answer = call(h, status, method, path, body);
	http_free(h);
	return answer;
}

char *fixture_token(struct fixture *f, const char *role)
{
	json_t *answer = fixture_admin(f, 201, "POST", "/tokens", json_pack("{s:s}", "role", role));
	char *token = strdup(json_string_value(json_object_get(answer, "token")));

	json_decref(answer);
	return token;
}

/* --- callers ------------------------------------------------------------------------------ */

void caller_init(struct fixture *f, struct caller *c, const char *name)
{
	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->key, sizeof(c->key), "%s/%.20s-XXXXXX", f->data, name);
	assert_non_null(mkdtemp(c->key));
	strcpy(c->cert, strcpy(c->ca, c->key));
	strcat(c->cert, "/crt");
	strcat(c->ca, "/ca");
	strcat(c->key, "/key");
	assert_int_equal(pki_make_key(c->key), 0);
}

void caller_connect(struct fixture *f, struct caller *c)
{
	struct http_options o = { .base_url = f->url, .ca_path = c->ca, .key_path = c->key, .cert_path = c->cert };

	http_free(c->http);
	assert_int_equal(http_new(&o, &c->http), 0);
}

static void keep_certificate(struct fixture *f, struct caller *c, const json_t *answer)
{
	const char *cert = json_string_value(json_object_get(answer, "certificate"));
	const char *ca = json_string_value(json_object_get(answer, "ca"));

	snprintf(c->id, sizeof(c->id), "%s", json_string_value(json_object_get(answer, "id")));
	assert_int_equal(fileio_replace(c->cert, cert, strlen(cert), 0600), 0);
	assert_int_equal(fileio_replace(c->ca, ca, strlen(ca), 0600), 0);
	caller_connect(f, c);
}

json_t *caller_enrol(struct fixture *f, struct caller *c, int status, const char *role, const char *token,
		     const char *machine_id)
{
	struct pki_token parsed = { 0 };
	struct http_options o = { .base_url = f->url, .ca_path = f->console.ca_path,
				  .bearer = c->as_admin ? f->admin_token : NULL };
	struct http *h;
	json_t *body, *answer;
	char *request;

	if (pki_token_parse(token, &parsed) == 0 && status == 201)
		o.ca_pin = parsed.ca_pin;
	assert_int_equal(http_new(&o, &h), 0);
	assert_int_equal(pki_make_request(c->key, "whatever", &request), 0);
	body = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:[{s:s, s:s, s:I}]}", "token", token, "role", role, "request",
			 request, "name", c->name, "machine_id", machine_id, "disks", "id",
			 "11111111-1111-4111-8111-111111111111", "name", "/dev/sda", "size_bytes", (json_int_t)1 << 30);
	answer = call(h, status, "POST", "/enrol", body);
	if (status == 201)
		keep_certificate(f, c, answer);
	free(request);
	http_free(h);
	return answer;
}

void fixture_enrol(struct fixture *f, struct caller *c, const char *role, const char *name)
{
	char *token = fixture_token(f, role);

	caller_init(f, c, name);
	json_decref(caller_enrol(f, c, 201, role, token, NULL));
	free(token);
}

json_t *caller_call(struct fixture *f, struct caller *c, int status, const char *method, const char *path,
		    json_t *body)
{
	return call(c->http, status, method, path, body);
}

void caller_done(struct caller *c)
{
	http_free(c->http);
	c->http = NULL;
}

const char *code_of(const json_t *error)
{
	return json_string_value(json_object_get(error, "code"));
}

/* --- looking at answers ----------------------------------------------------------------------- */

void refused(json_t *error, const char *code)
{
	if (!code_of(error) || strcmp(code_of(error), code))
		print_error("%s\n", json_dumps(error, 0));
	assert_string_equal(code_of(error), code);
	assert_non_null(json_string_value(json_object_get(error, "message")));
	assert_non_null(json_string_value(json_object_get(error, "remedy")));
	assert_true(json_is_object(json_object_get(error, "args")));
	json_decref(error);
}

const char *text_in(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

int64_t number_in(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

json_t *fixture_machine(struct fixture *f, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/machines/%s", name);
	return fixture_admin(f, 200, "GET", path, NULL);
}

json_t *fixture_newest_event(struct fixture *f)
{
	json_t *answer = fixture_admin(f, 200, "GET", "/events?limit=1", NULL);
	json_t *event = json_incref(json_array_get(json_object_get(answer, "events"), 0));

	json_decref(answer);
	return event;
}

void fixture_drop(struct fixture *f, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/machines/%s?force=1", name);
	json_decref(fixture_admin(f, 204, "DELETE", path, NULL));
}

json_t *point_now(int64_t ago_us)
{
	char time[WALLCLOCK_TEXT_LEN + 1];

	return json_pack("{s:i, s:s}", "epoch", 7, "time", wallclock_format(wallclock_now_us() - (uint64_t)ago_us, time));
}
