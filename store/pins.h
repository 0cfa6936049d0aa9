/* SPDX-License-Identifier: Apache-2.0 */
/* pins - names given to points, or taken from them, after they were committed;
 * and the policy: the two small text files of a store. */
#ifndef GODWIT_STORE_PINS_H
#define GODWIT_STORE_PINS_H

#include "sys.h"

struct pin {
	uint64_t epoch;
	char label[STORE_LABEL_MAX + 1]; /* "": the point has no name any more */
};

struct pins {
	struct pin *list; /* ascending by epoch */
	size_t count;
};

/* Empty if there is no such file.  -EBADMSG: who deletes must stop here. */
_must_check_ int pins_load(const struct store_sys *sys, const char *dir, struct pins *ret);
/* For who reads: what cannot be read is no reason not to show the points. */
_must_check_ int pins_load_if_whole(const struct store_sys *sys, const char *dir, struct pins *ret);
void pins_done(struct pins *p);
const struct pin *pins_find(const struct pins *p, uint64_t epoch); /* NULL: none */
_must_check_ int pins_set(struct pins *p, uint64_t epoch, const char *label);
_must_check_ int pins_save(const struct store_sys *sys, const char *dir, const struct pins *p);

#endif
