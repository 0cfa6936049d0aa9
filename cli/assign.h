/* SPDX-License-Identifier: Apache-2.0 */
/* assign - the words KEY=VALUE behind a machine's name. */
#ifndef GODWIT_ASSIGN_H
#define GODWIT_ASSIGN_H

#include "cli.h"

/* As an object, for a PATCH; NULL after saying what is wrong.  Durations may
 * have a unit; "default" is null; whether a value is good is for the console
 * to say. */
json_t *assign_read(struct cli *c);

#endif
