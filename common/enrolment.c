/* SPDX-License-Identifier: Apache-2.0 */
#include "enrolment.h"
#include "fileio.h"
#include "http.h"
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define ENROL_TIMEOUT_MS 30000

bool enrolment_take_token(const char **token)
{
	if (!*token)
		*token = getenv(ENROLMENT_TOKEN_VARIABLE);
	return *token && **token;
}

json_t *enrolment_facts(void)
{
	struct utsname u = { 0 };
	struct sysinfo si = { 0 };
	char os[128] = "Linux", *text = NULL, *p;
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

/* The request may have arrived, and what became of it is not known. */
static bool is_lost(const struct fault *f)
{
	return f->code == MSG_CONSOLE_TIMED_OUT || f->code == MSG_CONSOLE_LOST || f->code == MSG_CONSOLE_UNCLEAR;
}

int enrolment_ask(const char *console, const struct pki_token *token, const char *proxy, const json_t *body,
		  enum message_code failed, json_t **ret_answer, struct fault *f)
{
	struct http_options ho = { .base_url = console, .ca_pin = token->ca_pin, .proxy = proxy };
	struct http *h;
	json_t *answer = NULL;
	int status, err = http_new(&ho, &h);

	if (err == -EINVAL)
		return fault_set(f, err, MSG_CONSOLE_URL_BAD, "url", console, NULL);
	if (err)
		return fault_set(f, err, failed, "reason", strerror(-err), NULL);
	status = http_request(h, "POST", "/api/godwit/v1/enrol", body, ENROL_TIMEOUT_MS, &answer, f);
	http_free(h);
	if (status < 0)
		return is_lost(f) ? -EINPROGRESS : status;
	if (status == 201) {
		*ret_answer = answer;
		return 0;
	}
	err = fault_from_json(answer, f);
	json_decref(answer);
	if (err)
		return fault_set(f, -EINPROGRESS, MSG_CONSOLE_UNCLEAR, "url", console, "status", "not 201", NULL);
	return status >= 500 ? -EINPROGRESS : -EACCES;
}

static int save(const char *path, const char *text)
{
	return fileio_replace(path, text, strlen(text), 0644);
}

int enrolment_keep(const json_t *answer, const char *certificate_path, const char *ca_path, struct uuid *ret_id)
{
	const char *id = json_string_value(json_object_get(answer, "id"));
	const char *certificate = json_string_value(json_object_get(answer, "certificate"));
	const char *ca = json_string_value(json_object_get(answer, "ca"));
	struct uuid parsed;
	int err;

	if (!id || uuid_parse(id, &parsed) || !certificate || !ca)
		return -EPROTO;
	err = save(certificate_path, certificate);
	if (!err)
		err = save(ca_path, ca);
	if (!err)
		*ret_id = parsed;
	return err;
}
