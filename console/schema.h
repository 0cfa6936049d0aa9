/* SPDX-License-Identifier: Apache-2.0 */
/* schema - the tables of the catalogue, as steps from the empty file on. */
#ifndef GODWIT_CONSOLE_SCHEMA_H
#define GODWIT_CONSOLE_SCHEMA_H

#include <stddef.h>

/* Step i makes version i + 1 (PRAGMA user_version) of version i.  Steps that
 * have been released are never edited: a change is a new step. */
extern const char *const schema_steps[];
extern const size_t schema_step_count;

#define SCHEMA_APPLICATION_ID 0x67776463 /* "gwdc" */

#endif
