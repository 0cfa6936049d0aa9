/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_child - the process that speaks with the console for link.h, and the
 * form of what passes between the two: a length (4 bytes, little-endian) and
 * so many bytes of JSON, an object with one of these members:
 *
 *	to the program	desired, command, console
 *	from it		status, event, reply	(bodies as docs/api.md has them)
 */
#ifndef GODWIT_LINK_CHILD_H
#define GODWIT_LINK_CHILD_H

#include "link.h"

#define LINK_MESSAGE_MAX (64 * MIB)

/* Never returns; ends when the program closes its end of @fd. */
_Noreturn void link_child_run(const struct link_options *o, int fd);

#endif
