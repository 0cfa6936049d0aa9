/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request - one call of the API: who asks, for what, and what he is told.
 *
 * A handler returns the HTTP status that one of the request_... functions
 * gave it, so that `return request_refuse(...)` is how one says no.
 */
#ifndef GODWIT_CONSOLE_REQUEST_H
#define GODWIT_CONSOLE_REQUEST_H

#include "console.h"
#include "message.h"
#include <jansson.h>

enum who { WHO_ANYONE = 1, WHO_ADMIN = 2, WHO_AGENT = 4, WHO_SERVER = 8 };

struct request;
struct MHD_Connection;

struct route {
	const char *method, *path;  /* "/machines/{}/settings"; "{*}" takes the rest */
	unsigned int who;	    /* any of these */
	int (*handle)(struct request *r);
	const char *query;	    /* the parameters that it takes, separated by blanks; or NULL */
	size_t body_max;	    /* 0: it takes none, but for an empty object */
	size_t agent_body_max;	    /* what an agent may send, if that is less; or 0 */
};

#define PARAMS_MAX 2
#define PARAM_MAX 512u
#define BODY_MAX (1 * MIB)	   /* of what people and agents send */
#define ENROL_BODY_MAX (64 * KIB) /* of anybody */

struct request {
	struct console *console;
	const struct route *route;
	char params[PARAMS_MAX][PARAM_MAX];

	enum who is;
	char peer_id[ID_SIZE];	/* of an agent or server */
	char who[96];		/* "admin", "agent:web1" */
	char address[48];	/* where he calls from */
	char host[256];		/* what he calls the console: the Host header's name */
	enum message_language language;

	json_t *body;		/* NULL: none was sent */

	json_t *answer;
	char *text;		/* instead of answer: not JSON */
	size_t text_len;	/* 0: to its NUL */
	const char *text_type;	/* NULL: Prometheus' */
	struct fault fault;

	struct MHD_Connection *connection; /* httpd's own, like the rest */
	char *raw;
	size_t raw_len, raw_room;
	bool raw_overflowed;
	int refusal;		/* decided by the headers; 0: none */
};

/* A query parameter, or NULL. */
const char *request_query(const struct request *r, const char *name);

/* 0 and *@ret (unchanged when it is not given), or a status >= 400. */
_must_check_ int request_query_number(struct request *r, const char *name, uint64_t least, uint64_t most,
				      uint64_t *ret);
_must_check_ int request_query_bool(struct request *r, const char *name, bool *ret);
_must_check_ int request_query_time(struct request *r, const char *name, uint64_t *ret_us);

/* --- answers ---------------------------------------------------------------------------- */

int request_answer(struct request *r, int status, json_t *answer); /* takes @answer */
int request_nothing(struct request *r);				    /* 204 */
int request_refuse(struct request *r, int status, enum message_code code, ...) __attribute__((sentinel));
int request_fault(struct request *r, const struct fault *f);	    /* the status that goes with its code */
int request_catalogue_failed(struct request *r, const char *doing, int err); /* 500, and the log */

/* {"code", "message", "remedy", "args"} */
json_t *request_fault_body(const struct fault *f, enum message_language language);

/* The bytes that came, into r->body: 0, or 422. */
_must_check_ int request_parse(struct request *r);

/* The body, which is then the caller's. */
json_t *request_take_body(struct request *r);

/* --- reading the body --------------------------------------------------------------------- */

/*
 * What a member must be.  A table of them, ended by a NULL name, says what a
 * body may have; request_members() fills the pointers (NULL: not given) and
 * returns 0, or a 422 that names the member.
 */
enum member_type { MEMBER_TEXT, MEMBER_INTEGER, MEMBER_BOOL, MEMBER_OBJECT, MEMBER_ARRAY, MEMBER_ANY };

struct member {
	const char *name;
	enum member_type type;
	bool required;
	json_t **value;
};
_must_check_ int request_members(struct request *r, json_t *object, const char *what, const struct member *members);

#endif
