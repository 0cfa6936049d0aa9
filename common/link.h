/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link - an agent's or server's line to the console (docs/api.md, "Link").
 *
 * A child process without capabilities speaks HTTPS; the program itself sees
 * one descriptor and whole JSON objects, and never waits for the console.
 *
 *	from the link	{"desired": {...}}		the desired state changed
 *			{"command": {id, verb, ...}}	to be answered by link_reply()
 *			{"console": {"up": bool, "fault"?: {code, args}}}
 *	to the link	status, events, replies
 *
 * Status is sent at most once a second, newest wins.  Events and replies are
 * kept, in a bounded queue, while the console is away; a reply that does not get
 * through although it is there is given up, and the console told so.  The last desired state
 * is kept in @state_path and is the first message after a restart.
 */
#ifndef GODWIT_LINK_H
#define GODWIT_LINK_H

#include "base.h"
#include "message.h"
#include <jansson.h>

struct link;

struct link_options {
	const char *console_url, *ca_path, *key_path, *cert_path, *proxy;
	const char *state_path; /* desired.json */
	unsigned int stall_seconds; /* a post that gets nowhere for so long is tried again; 0: 15 */
};

/* Forks: call before threads are made.  The options' strings must live until
 * it returns. */
_must_check_ int link_start(const struct link_options *o, struct link **ret);
/* What is queued is given two seconds to get out, and the child four in all to end. NULL is allowed. */
void link_stop(struct link *l);
int link_fd(const struct link *l);			/* poll for input */

/* Call until it says -EAGAIN: several messages may have come at once, and what
 * has been read already is not seen by poll(2).  -EPIPE: the child died:
 * link_stop() and link_start() again. */
_must_check_ int link_receive(struct link *l, json_t **ret);

void link_status(struct link *l, const json_t *status);
void link_event(struct link *l, uint64_t time_us, const struct fault *fault);
void link_reply(struct link *l, const char *command_id, const json_t *result);
void link_reply_fault(struct link *l, const char *command_id, const struct fault *fault);

json_t *fault_to_json(const struct fault *f);		      /* {"code": NAME, "args": {...}} */
_must_check_ int fault_from_json(const json_t *j, struct fault *ret);

#endif
