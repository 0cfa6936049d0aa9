/* SPDX-License-Identifier: Apache-2.0 */
/* drills - launches that the console starts by itself, to see that a machine's points boot. */
#ifndef GODWIT_CONSOLE_DRILLS_H
#define GODWIT_CONSOLE_DRILLS_H

#include "console.h"

/* Start those that are due: of every server one at a time, whoever waits longest first. */
void drills_start_due(struct console *c);

/* End those that have been there for too long, whatever holds them. */
void drills_end_overlong(struct console *c);

#endif
