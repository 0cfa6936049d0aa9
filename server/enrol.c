/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token says which console it is for: nothing is sent until that console's
 * CA has been seen (pki.h).  server.json is written last, so a folder with one
 * is a folder with everything; any run before that can be repeated.
 */
#include "enrol.h"
#include "enrolment.h"
#include "fileio.h"
#include "name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int save_answer(struct settings *s, const json_t *answer)
{
	char certificate[SETTINGS_PATH_MAX], ca[SETTINGS_PATH_MAX];
	int err;

	err = enrolment_keep(answer, settings_path(s, "server.crt", certificate), settings_path(s, "ca.crt", ca),
			     &s->id);
	return err ? err : settings_save(s);
}

/* The machine's name where it is one that a console takes (the kernel's own, "(none)", is not). */
static void own_name(char ret[64])
{
	memset(ret, 0, 64);
	if (gethostname(ret, 63) || !name_is_ok(ret))
		strcpy(ret, "server");
}

static json_t *make_body(const struct enrol_options *o, const char *request)
{
	char host[64];

	own_name(host);
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:[]}", "token", o->token, "role", "server", "request", request,
			 "name", o->name ? o->name : host, "facts", enrolment_facts(), "disks");
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
	err = enrolment_ask(s->console, &token, o->proxy, body, MSG_SERVER_ENROL_FAILED, &answer, ret_fault);
	json_decref(body);
	if (err)
		return err;
	err = save_answer(s, answer);
	json_decref(answer);
	if (err)
		return fault_set(ret_fault, err, MSG_SERVER_ENROL_FAILED, "reason", strerror(-err), NULL);
	return 0;
}
