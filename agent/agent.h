/* SPDX-License-Identifier: Apache-2.0 */
/* agent - run: capture, engine and session around one event loop. */
#ifndef GODWIT_AGENT_H
#define GODWIT_AGENT_H

#include "base.h"

struct agent_options {
	const char *state;
	const char *server;	  /* "ADDR:PORT" instead of what the console says, or NULL */
	uint64_t ring_bytes;	  /* 0: 64 MiB */
	bool background, dirty_map_only;
};

/* The exit status. */
int agent_run(const struct agent_options *o);

#endif
