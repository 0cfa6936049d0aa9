/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener - accepts connections, gives each a process, and decides who comes in.
 *
 *	            accept              ADMIT              LET_IN
 *	 (nothing) -------> GREETING ---------> WAITING ----------> INSIDE
 *	                       |        for an older   |               |
 *	                       |        session's end  |               |  ENDED
 *	                       '---------------+-------'---------------+--> LEAVING --> (reaped)
 *
 * L1	A machine has at most one session INSIDE: its store has one writer.
 * L2	The newest connection of a machine wins.  An agent whose link died
 *	knows it before we do; it must not be kept out by its own ghost.
 * L3	Strangers are bounded: in number, in number for each address, and in
 *	time (intake.h).  Sessions INSIDE are not touched by any of it.
 * L4	Whose key the console does not name any more is not the machine: it is
 *	refused before it can end an older session (L2), and ended if it is INSIDE.
 */
#ifndef GODWIT_LISTENER_H
#define GODWIT_LISTENER_H

#include "base.h"
#include "control.h"
#include "loop.h"
#include "registry.h"
#include "tls.h"
#include <sys/types.h>

#define LISTENER_SESSIONS_MAX 1024u
#define LISTENER_GREETINGS_MAX 64u	      /* connections that have not said who they are */
#define LISTENER_GREETINGS_PER_ADDRESS_MAX 8u /* an IPv6 /64 is one address */
#define LISTENER_END_GRACE_US (5 * 1000000ULL) /* asked to end, then killed: S1 makes that safe */

struct listener;

struct listener_options {
	struct loop *loop;
	const struct registry *registry; /* may change between calls */
	const char *address;		 /* NULL: all */
	uint16_t port;			 /* 0: the kernel chooses */
	const char *store_root;
	struct tls_context *tls;

	/* A session of @machine has begun, has got on, is over (@ended is then
	 * its last message, else NULL). */
	void (*begun)(void *context, const struct uuid *machine);
	void (*progress)(void *context, const struct uuid *machine, const struct session_figures *figures);
	void (*lost)(void *context, const struct uuid *machine, const char *epochs); /* its store had */
	void (*ended)(void *context, const struct uuid *machine, const struct control_message *ended);
	void *context;
};

_must_check_ int listener_new(const struct listener_options *o, struct listener **ret);
uint16_t listener_port(const struct listener *l);

/* The registry changed: sessions of machines that are no longer started, or have another key now, end. */
void listener_check_machines(struct listener *l);

/* True while a session of @machine may be writing its store. */
bool listener_is_inside(const struct listener *l, const struct uuid *machine);

/* Accept nothing more, and end all sessions; listener_is_idle() when all are gone. */
void listener_shut(struct listener *l);
bool listener_is_idle(const struct listener *l);
void listener_free(struct listener *l); /* kills what is left */

/* The main process reaped @pid: true if it was a session. */
bool listener_reaped(struct listener *l, pid_t pid, int status);

#endif
