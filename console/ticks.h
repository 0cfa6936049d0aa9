/* SPDX-License-Identifier: Apache-2.0 */
/* ticks - what the console does by itself: notices who came and went, and keeps statuses. */
#ifndef GODWIT_CONSOLE_TICKS_H
#define GODWIT_CONSOLE_TICKS_H

#include "console.h"

/* Peers, their last statuses and the commands that wait, from the catalogue into live. */
_must_check_ int ticks_load(struct console *c);

/* Once a second.  @keep: also write the newest statuses (now and then, and at the end). */
void ticks_run(struct console *c, bool keep);

/* Once a second: drills that are due, launches that nobody tells about any more. */
void ticks_launches(struct console *c);

#endif
