/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token says which console it is for: nothing is sent until that console's
 * CA has been seen (pki.h).  server.json is written last, so a folder with one
 * is a folder with everything; any run before that can be repeated.
 */
#include "enrol.h"
#include "fileio.h"
#include "http.h"
#include "link.h"
#include "pki.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ENROL_TIMEOUT_MS 30000

static json_t *facts(void)
{
	struct utsname u = { 0 };
	struct sysinfo si = { 0 };
	char os[128] = "Linux";
	char *text = NULL, *p;
	size_t len;

	(void)uname(&u);
	(void)sysinfo(&si);
	if (fileio_slurp("/etc/os-release", 16 * KIB, &text, &len) == 0 && (p = strstr(text, "PRETTY_NAME=\""))) {
		p += strlen("PRETTY_NAME=\"");
		snprintf(os, sizeof(os), "%.*s", (int)strcspn(p, "\"\n"), p);
	}
	free(text);
	return json_pack("{s:s, s:s, s:s, s:i, s:I}", "hostname", u.nodename, "os", os, "kernel", u.release, "cpus",
			 get_nprocs(), "memory_bytes", (json_int_t)si.totalram * si.mem_unit);
}

static int ask_console(const struct settings *s, const struct enrol_options *o, const struct pki_token *token,
		       const json_t *body, json_t **ret_answer, struct fault *fault)
{
	struct http_options ho = { .base_url = s->console, .ca_pin = token->ca_pin, .proxy = o->proxy };
	struct http *h;
	json_t *answer;
	int status, err = http_new(&ho, &h);

	if (err)
		return fault_set(fault, err, MSG_SERVER_ENROL_FAILED, "reason", strerror(-err), NULL);
	status = http_request(h, "POST", "/api/godwit/v1/enrol", body, ENROL_TIMEOUT_MS, &answer, fault);
	http_free(h);
	if (status < 0)
		return status;
	if (status == 201) {
		*ret_answer = answer;
		return 0;
	}
	err = fault_from_json(answer, fault);
	json_decref(answer);
	return err ? fault_set(fault, -EPROTO, MSG_CONSOLE_UNCLEAR, "url", s->console, "status", "not 201", NULL) :
		     -EACCES;
}

static int save_text(const struct settings *s, const char *name, const char *text)
{
	char path[SETTINGS_PATH_MAX];

	return fileio_replace(settings_path(s, name, path), text, strlen(text), 0644);
}

static int save_answer(struct settings *s, const json_t *answer)
{
	const char *id = json_string_value(json_object_get(answer, "id"));
	const char *certificate = json_string_value(json_object_get(answer, "certificate"));
	const char *ca = json_string_value(json_object_get(answer, "ca"));
	int err;

	if (!id || uuid_parse(id, &s->id) || !certificate || !ca)
		return -EPROTO;
	err = save_text(s, "server.crt", certificate);
	if (!err)
		err = save_text(s, "ca.crt", ca);
	return err ? err : settings_save(s);
}

static json_t *make_body(const struct enrol_options *o, const char *request)
{
	char host[256] = "server";

	(void)gethostname(host, sizeof(host) - 1);
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:[]}", "token", o->token, "role", "server", "request", request,
			 "name", o->name ? o->name : host, "facts", facts(), "disks");
}

int enrol(struct settings *s, const struct enrol_options *o, struct fault *ret_fault)
{
	struct pki_token token;
	char path[SETTINGS_PATH_MAX], *request = NULL;
	json_t *body = NULL, *answer = NULL;
	int err;

	if (strlen(o->console) >= sizeof(s->console) || pki_token_parse(o->token, &token))
		return fault_set(ret_fault, -EINVAL, MSG_SERVER_TOKEN_MALFORMED, NULL);
	strcpy(s->console, o->console);
	err = pki_make_key(settings_path(s, "server.key", path));
	if (!err)
		err = pki_make_request(path, "server", &request);
	if (!err && !(body = make_body(o, request)))
		err = -ENOMEM;
	free(request);
	if (err)
		return fault_set(ret_fault, err, MSG_SERVER_ENROL_FAILED, "reason", strerror(-err), NULL);
	err = ask_console(s, o, &token, body, &answer, ret_fault);
	json_decref(body);
	if (err)
		return err;
	err = save_answer(s, answer);
	json_decref(answer);
	if (err)
		return fault_set(ret_fault, err, MSG_SERVER_ENROL_FAILED, "reason", strerror(-err), NULL);
	return 0;
}
