/* SPDX-License-Identifier: Apache-2.0 */
/* port - whether a TCP port can be listened on, and if not, who has it. */
#ifndef GODWIT_PORT_H
#define GODWIT_PORT_H

#include "base.h"

/* 0, -EADDRINUSE, -EINVAL @address is not an address, or what bind(2) says. */
_must_check_ int port_check(const char *address, uint16_t port);

/* "nginx (pid 123)", or "another program" when it cannot be seen.  Returns @ret_text. */
char *port_owner(uint16_t port, char *ret_text, size_t size);

#endif
