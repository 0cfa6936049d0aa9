/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console - the server's side of the link (docs/api.md, "Link"): desired
 * machines come, commands come and are answered, status and events go.
 */
#ifndef GODWIT_SERVER_CONSOLE_H
#define GODWIT_SERVER_CONSOLE_H

#include "server.h"

#define CONSOLE_STATUS_EVERY_US 1000000ULL
#define CONSOLE_LINK_AGAIN_US (2 * 1000000ULL) /* the link's process died */

/* Without a console in server.json: only the once-a-second checks. */
_must_check_ int console_start(struct server *s);
void console_stop(struct server *s);

#endif
