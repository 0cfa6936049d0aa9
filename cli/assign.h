/* SPDX-License-Identifier: Apache-2.0 */
/* assign - verbs of the form NAME [KEY=VALUE...]: settings and blueprint. */
#ifndef GODWIT_ASSIGN_H
#define GODWIT_ASSIGN_H

#include "cli.h"

/* As an object, for a PATCH; NULL after saying what is wrong.  Durations may have
 * a unit; "default" is null; whether a value is good is for the console to say. */
json_t *assign_read(struct cli *c);

struct assigned {
	const char *resource;	     /* below /machines/NAME: GET and PATCH */
	const char *table, *members; /* where what there is to set is described, and its member */
	void (*show)(struct cli *c, const json_t *before, const json_t *now, const json_t *members);
};

/* Show what is, or change what the words say and show that. */
int assign_run(struct cli *c, const struct assigned *a);

#endif
