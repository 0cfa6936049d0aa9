/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake - the process of one connection: gives up its rights, shakes hands,
 * feeds the session and writes the store.
 *
 *	socket --> TLS --> session.c --> store
 *	              control (listener) <--> intake
 */
#ifndef GODWIT_INTAKE_H
#define GODWIT_INTAKE_H

#include "base.h"
#include "tls.h"

/* From accept to the last DISK of the greeting. */
#define INTAKE_GREETING_US (10 * 1000000ULL)
/* Then a whole frame at least so often; agents send PING when they have nothing else. */
#define INTAKE_IDLE_US (60 * 1000000ULL)
/* What is left to say to a peer before the connection is closed. */
#define INTAKE_FAREWELL_US (2 * 1000000ULL)
/* The listener may have to end an older session of the machine first. */
#define INTAKE_ADMIT_US (20 * 1000000ULL)

struct intake_options {
	int socket_fd;	/* connected, non-blocking */
	int control_fd; /* to the listener */
	struct tls_context *tls;
	const char *store_root; /* machines' stores are folders in it */
};

/* The whole life of a session process; returns its exit status. */
int intake_run(const struct intake_options *o);

#endif
