/* SPDX-License-Identifier: Apache-2.0 */
/* verify - comparisons of a machine with its replica, as jobs. */
#ifndef GODWIT_CONSOLE_VERIFY_H
#define GODWIT_CONSOLE_VERIFY_H

#include "db_machines.h"
#include "request.h"

/* The agent's answer to the command: it has begun, or why not (@f). */
void verify_answered(struct db *db, const char *id, const struct fault *f);

/* The agent's word about its last verify, in a new status: ends the job when it
 * has ended, or when the agent does not know of it. */
void verify_take_status(struct request *r, const struct machine_row *m, const json_t *old_status,
			const json_t *new_status);

#endif
