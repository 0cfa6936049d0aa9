/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control - what the listener and a session's process say to each other.
 *
 *	session process				listener
 *	ADMIT			-->		may this machine come in?
 *				<--	LET_IN | KEEP_OUT
 *	LOST (seldom)		-->		damage took epochs that were acknowledged
 *	FIGURES (now and then)	-->
 *				<--	END (any time): stop, and say why
 *	ENDED			-->
 *
 * One message is one datagram of a SOCK_SEQPACKET pair, of fixed size.  The
 * listener trusts nothing in it: a session's process has read what a stranger
 * sent.
 */
#ifndef GODWIT_CONTROL_H
#define GODWIT_CONTROL_H

#include "base.h"
#include "session.h"
#include "uuid.h"

enum control_type {
	CONTROL_ADMIT = 1,
	CONTROL_FIGURES,
	CONTROL_ENDED,
	CONTROL_LOST,
	CONTROL_LET_IN,
	CONTROL_KEEP_OUT,
	CONTROL_END,
};

struct control_message {
	uint32_t type;
	struct uuid machine;	/* ADMIT */
	uint8_t key[16];	/* ADMIT: tls_peer_pin() */
	struct session_figures figures; /* FIGURES, ENDED */
	int32_t err;		/* ENDED: -errno or 0 */
	uint16_t reason;	/* ENDED, KEEP_OUT, END: enum wire_refusal, or 0: no REFUSE was sent */
	char text[WIRE_TEXT_MAX + 1];		/* ENDED, KEEP_OUT, END; LOST: which epochs */
};

_must_check_ int control_pair(int ret_fds[2]); /* [0] stays with the listener: non-blocking */

_must_check_ int control_send(int fd, const struct control_message *m);

/* -EAGAIN; -EPIPE: the other side is gone; -EPROTO: not a message.  The text
 * is terminated and printable. */
_must_check_ int control_receive(int fd, struct control_message *ret);

#endif
