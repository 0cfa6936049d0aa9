/* SPDX-License-Identifier: Apache-2.0 */
/* enrolment - what an agent's and a server's have in common: the words to the console and its answer. */
#ifndef GODWIT_ENROLMENT_H
#define GODWIT_ENROLMENT_H

#include "base.h"
#include "message.h"
#include "pki.h"
#include <jansson.h>

/* Where a program finds its token, unless it is on its command line, which everybody on the machine can read. */
#define ENROLMENT_TOKEN_VARIABLE "GODWIT_TOKEN"

/* *@token from there if it is NULL; false: there is none. */
bool enrolment_take_token(const char **token);

/* Of this machine: {hostname, os, kernel, cpus, memory_bytes}. */
json_t *enrolment_facts(void);

/* Nothing is sent until the CA that @token names has been seen.  0 with the console's answer, or
 * -errno with its fault: -EINPROGRESS if the console may have enrolled it all the same, the answer
 * being lost or no refusal; who asks again with the same key and name gets it.  @failed,
 * with {reason}, where there was no asking it.  @proxy may be NULL. */
_must_check_ int enrolment_ask(const char *console, const struct pki_token *token, const char *proxy,
			       const json_t *body, enum message_code failed, json_t **ret_answer,
			       struct fault *ret_fault);

/* What both keep of the answer: the certificate and the CA in these files.
 * -EPROTO: it is no answer to an enrolment. */
_must_check_ int enrolment_keep(const json_t *answer, const char *certificate_path, const char *ca_path,
				struct uuid *ret_id);

#endif
