/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stores - where the replication servers that run on this machine have their
 * stores.
 *
 * A console may be reached from its own machine like one elsewhere; then no path
 * leads from the agent's folder to the store, and the disk below it would
 * replicate its own replica for ever.  So the servers are looked for: a running
 * one holds <state>/server.pid open (server.c), and <state>/ca.crt is its
 * console's CA, whose pin is in the token that the agent enrols with (pki.h).
 * One that does not run is not seen.
 */
#ifndef GODWIT_AGENT_STORES_H
#define GODWIT_AGENT_STORES_H

#include "base.h"
#include <limits.h>

#define STORES_MAX 8

struct store_here {
	char path[PATH_MAX + 64]; /* that leads there from here */
	char shown[PATH_MAX];	  /* as its server calls it */
};

/* Those of the console with this pin; how many there are. */
unsigned int stores_here(const uint8_t ca_pin[16], struct store_here ret[STORES_MAX]);

#endif
