/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert - change what is bound to other hardware on a launch's own disks.
 *
 * A program of its own does it, `godwit-convert`, with libguestfs: file systems that
 * strangers wrote are mounted in a small machine of libguestfs', never in this kernel.
 * Each line that it says is a step that was done; said again by hand,
 * `godwit-convert FOLDER DISKS BUS` finds nothing left to do.
 */
#ifndef GODWIT_CONVERT_H
#define GODWIT_CONVERT_H

#include "hardware.h"
#include "loop.h"
#include "uuid.h"

#define CONVERT_MAC_SIZE 18
#define CONVERT_FOLDER	 "convert" /* in the launch's, for its temporary files */

struct convert;

struct convert_options {
	const char *folder; /* of the launch: spec.json, disk<n>.qcow2 */
	unsigned int disk_count;
	enum target_bus bus;
	void (*step)(void *context, const char *line);
	/* Once; @error NULL: all is as it is to be.  Not after convert_stop(), which may be called in it. */
	void (*done)(void *context, const char *error);
	void *context;
};

/* Is the program here, and what it needs? */
bool convert_available(void);

_must_check_ int convert_start(struct loop *loop, const struct convert_options *o, struct convert **ret);
void convert_stop(struct convert *c); /* nothing of it is left then; NULL is allowed */

/* The address of a launch's network card: of its own, and always the same. */
const char *convert_mac(const struct uuid *launch, unsigned int card, char ret[CONVERT_MAC_SIZE]);

#endif
