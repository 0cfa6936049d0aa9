/* SPDX-License-Identifier: Apache-2.0 */
/* enrol - make this folder a replication server of a console (docs/api.md, "Enrolment"). */
#ifndef GODWIT_ENROL_H
#define GODWIT_ENROL_H

#include "base.h"
#include "message.h"
#include "settings.h"

struct enrol_options {
	const char *console, *token, *proxy;
	const char *name; /* NULL: the host's */
};

/* @s has state, address and port; gets console and id; server.json, key and
 * certificates are then in the folder.  -errno with @ret_fault. */
_must_check_ int enrol(struct settings *s, const struct enrol_options *o, struct fault *ret_fault);

#endif
