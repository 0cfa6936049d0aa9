/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts - what of this machine is bound to its hardware (hardware.h), for the day when it
 * is launched elsewhere.
 *
 * It is found out by a program of its own, `godwit-agent facts`, without rights, with a
 * deadline and little priority; replication goes on whatever becomes of it.  It is asked
 * at the start and whenever a file that it reads has changed: a handful of stat(2) every
 * minute see that.  A machine whose root file system lies on none of its protected disks
 * has no facts: what is launched of it is not this system.
 */
#ifndef GODWIT_AGENT_FACTS_H
#define GODWIT_AGENT_FACTS_H

#include "base.h"
#include "hardware.h"
#include "settings.h"

struct facts;

_must_check_ int facts_new(const struct settings *s, struct facts **ret);
void facts_free(struct facts *f);

/* Every second; never waits. */
void facts_tick(struct facts *f, uint64_t now_us);

/* As last found out, borrowed; NULL: not known. */
json_t *facts_hardware(const struct facts *f);

/* `godwit-agent facts`: look, and print.  -ENXIO: root is on none of the disks. */
_must_check_ int facts_gather(const struct settings *s, struct hardware *ret);

/* --- the parsers: each adds what it finds in a file's text ---------------------------------- */

/* How a device of the source is known: -ENOENT when it is not on a protected disk. */
struct facts_devices {
	int (*find)(void *context, const char *device, unsigned int *ret_disk, char *ret_uuid, size_t size);
	void *context;
};
void facts_take_fstab(struct hardware *h, const char *text, const struct facts_devices *d);
void facts_take_command_line(struct hardware *h, const char *text, const struct facts_devices *d);

/* Is the last of h's cards named in this configuration file? */
void facts_take_network_file(struct hardware *h, const char *path, const char *text);

/* The interface of the default route with the lowest metric, of /proc/net/route. */
bool facts_default_interface(const char *routes, char *ret, size_t size);

#endif
