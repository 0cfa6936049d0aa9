/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry - which machines this server keeps, as the console (or a file)
 * last said it: {"machines": [{id, name, state, key?, retention: {every, hourly, daily}}]}.
 */
#ifndef GODWIT_REGISTRY_H
#define GODWIT_REGISTRY_H

#include "base.h"
#include "store.h"
#include "uuid.h"
#include <jansson.h>

#define REGISTRY_NAME_MAX 127u
#define REGISTRY_MACHINES_MAX 4096u

enum machine_state { MACHINE_STARTED, MACHINE_PAUSED, MACHINE_STOPPED, MACHINE_REMOVED };

struct machine {
	struct uuid id;
	char name[REGISTRY_NAME_MAX + 1];
	enum machine_state state;
	bool has_key; /* false: the console is older than this, and has not said it */
	uint8_t key[16]; /* pki_pin() of the certificate that was made for it last */
	struct store_policy retention;
};

struct registry {
	struct machine *machines;
	size_t count;
};

/* -EINVAL: not of the form above; -ENOMEM.  @ret is to be given to registry_done(). */
_must_check_ int registry_from_json(const json_t *desired, struct registry *ret);

/* -errno of reading the file, or as above. */
_must_check_ int registry_from_file(const char *path, struct registry *ret);
void registry_done(struct registry *r);

const struct machine *registry_find(const struct registry *r, const struct uuid *id); /* NULL */

#endif
