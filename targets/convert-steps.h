/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert-steps - the changes, one after the other, in a mounted guest.
 *
 * C1	A step changes nothing where nothing has to be: done again, it says nothing.
 * C2	What it changed, and where, is a line on standard output: "step FILE: ...".
 * C3	0, or -errno with what is wrong on standard error, where the machine could not
 *	start; what is only a pity is a line, too, and 0.
 */
#ifndef GODWIT_CONVERT_STEPS_H
#define GODWIT_CONVERT_STEPS_H

#include "convert.h"
#include "spec.h"
#include <guestfs.h>

struct guest {
	guestfs_h *g; /* its file systems are mounted */
	const struct launch_spec *spec;
	enum target_bus bus;
	char macs[HARDWARE_CARDS_MAX][CONVERT_MAC_SIZE]; /* of the new cards */
	unsigned int disk_count;
	char **filesystems; /* device, type, ..., NULL */
};

/* As its spec says: names, network, initramfs, identity; with convert=never only the last. */
_must_check_ int steps_all(const struct guest *t);

void step(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* NULL when it is not there, larger than such a file is, or no text. */
char *steps_read(const struct guest *t, const char *path);
/* Write, free and say so. */
_must_check_ int steps_write(const struct guest *t, const char *path, char *text);

#endif
