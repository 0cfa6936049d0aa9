/* SPDX-License-Identifier: Apache-2.0 */
/* stop - all launches of a server, in order, when its machine goes down: what
 * godwit-launches.service runs. */
#ifndef GODWIT_STOP_H
#define GODWIT_STOP_H

#include "base.h"

/* SIGTERM to each launch in a folder below @folder, and wait until all have ended, however long
 * that takes: each has its own limit (launch.h, L4).  Says on standard output what it waits for.
 * Not a library's function: it is the program.  -errno: @folder cannot be looked through. */
_must_check_ int stop_all(const char *folder);

#endif
