/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_fixture - a whole console in this process, on a free port of the
 * loopback, in a folder of its own; people, agents and servers who call it.
 */
#ifndef GODWIT_TEST_CONSOLE_FIXTURE_H
#define GODWIT_TEST_CONSOLE_FIXTURE_H

#include "console.h"
#include "http.h"
#include <jansson.h>

struct fixture {
	struct console console;
	struct httpd *httpd;
	char data[64], url[64], admin_token[PKI_TOKEN_TEXT_LEN + 1];
};

void fixture_start(struct fixture *f);	  /* an empty folder */
void fixture_stop(struct fixture *f);	  /* and remove the folder */
void fixture_halt(struct fixture *f);	  /* keep the folder */
void fixture_continue(struct fixture *f); /* on the folder kept; another port */

/* One call; the answer is checked to have @status and returned (NULL: none). */
json_t *fixture_admin(struct fixture *f, int status, const char *method, const char *path, json_t *body);

/* Somebody with a key, and a certificate once enrolled. */
struct caller {
	char key[96], cert[96], ca[96], id[ID_SIZE], name[64];
	struct http *http;
	bool as_admin; /* its enrolment has the administrator's token, too */
};
char *fixture_token(struct fixture *f, const char *role); /* to be freed */
void caller_init(struct fixture *f, struct caller *c, const char *name);
json_t *caller_enrol(struct fixture *f, struct caller *c, int status, const char *role, const char *token,
		     const char *machine_id);
void caller_done(struct caller *c);

/* All of the above: a key, a token, an enrolment. */
void fixture_enrol(struct fixture *f, struct caller *c, const char *role, const char *name);
json_t *caller_call(struct fixture *f, struct caller *c, int status, const char *method, const char *path,
		    json_t *body);
void caller_connect(struct fixture *f, struct caller *c); /* again, after fixture_continue() */

/* The code of an error's body. */
const char *code_of(const json_t *error);
void refused(json_t *error, const char *code); /* an error with all that is promised of one */

const char *text_in(const json_t *object, const char *name);
int64_t number_in(const json_t *object, const char *name);

/* As an agent says it: of a moment ago. */
json_t *point_now(int64_t ago_us);

json_t *fixture_machine(struct fixture *f, const char *name);
json_t *fixture_newest_event(struct fixture *f);
void fixture_drop(struct fixture *f, const char *name); /* a machine, by force */

#endif
