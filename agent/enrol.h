/* SPDX-License-Identifier: Apache-2.0 */
/* enrol - make this machine and its disks known to a console. */
#ifndef GODWIT_AGENT_ENROL_H
#define GODWIT_AGENT_ENROL_H

#include "base.h"
#include "message.h"
#include "settings.h"

struct enrol_options {
	const char *state, *console, *token, *name, *proxy;
	char *const *disks;
	unsigned int disk_count;
};

/* Can these disks be protected on this machine, by an agent with this folder? */
_must_check_ int enrol_check(const char *state, char *const *disks, unsigned int count, struct settings *s,
			     struct fault *ret_fault);

/* Everything or nothing; agent.json is written last. */
_must_check_ int enrol(const struct enrol_options *o, struct settings *ret, struct fault *ret_fault);

#endif
