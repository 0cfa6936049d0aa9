/* SPDX-License-Identifier: Apache-2.0 */
/* blueprint - what a launched machine is to be like: the table, and what is in force. */
#ifndef GODWIT_CONSOLE_BLUEPRINT_H
#define GODWIT_CONSOLE_BLUEPRINT_H

#include "catalogue.h"
#include "message.h"
#include "request.h"

/* {member: value} of all members in force. */
json_t *blueprint_in_force(struct db *db, const char *machine_id);

/* All of @changes, an object as it came (NULL: none), checked: 0, or a status. */
_must_check_ int blueprint_check(struct request *r, const json_t *changes);

/* Put checked @changes over @blueprint. */
void blueprint_apply(json_t *blueprint, const json_t *changes);

/* Whether a machine can be launched with it, as a whole. */
_must_check_ int blueprint_check_whole(const json_t *blueprint, const char *machine, struct fault *ret_fault);

#endif
