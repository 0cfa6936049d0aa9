/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward - ports of the replication server's machine that lead to a launched one.
 *
 *	[ADDRESS:]PORT:GUESTPORT[,...]		"2222:22,192.0.2.5:0:80"
 *
 * TCP.  ADDRESS is an IPv4 address of the server's machine, 127.0.0.1 unless it is said; PORT 0 is a free one, which
 * is chosen when the machine starts.
 */
#ifndef GODWIT_FORWARD_H
#define GODWIT_FORWARD_H

#include "base.h"
#include "message.h"

#define FORWARDS_MAX 16u
#define FORWARD_ADDRESS_SIZE 16
/* The longest text of as many as there can be, without its NUL. */
#define FORWARD_TEXT_MAX (FORWARDS_MAX * sizeof("255.255.255.255:65535:65535") - 1)
#define FORWARD_PORT_LEAST 1024u /* qemu has no right to those below */

struct forward {
	char address[FORWARD_ADDRESS_SIZE];
	uint16_t port; /* 0: a free one */
	uint16_t guest_port;
};

struct forwards {
	struct forward list[FORWARDS_MAX];
	unsigned int count;
};

/* "" is none.  -EINVAL with what is wrong with it. */
_must_check_ int forward_parse(const char *text, struct forwards *ret, struct fault *ret_fault);

#endif
