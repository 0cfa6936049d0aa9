/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs, in the order of the help. */
#include "cli.h"

#define VERBS(X) \
	X(up) X(down) X(protect) X(unprotect) X(status) X(points) X(mark) X(export) X(serve) X(verify) \
	X(launch) X(launches) X(console_log) X(keep) X(terminate) X(drill) X(blueprint) X(settings) \
	X(pause) X(resume) X(rescan) X(scrub) X(events) X(token) X(log) X(version) X(help)

#define DECLARE(name) extern const struct verb verb_##name;
#define ENTRY(name) &verb_##name,

VERBS(DECLARE)

const struct verb *const verbs[] = { VERBS(ENTRY) NULL };

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; verbs[i]; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}
