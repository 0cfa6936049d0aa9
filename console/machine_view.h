/* SPDX-License-Identifier: Apache-2.0 */
/* machine_view - a machine as the API shows it: catalogue, agent's word and server's word in one. */
#ifndef GODWIT_CONSOLE_MACHINE_VIEW_H
#define GODWIT_CONSOLE_MACHINE_VIEW_H

#include "db_machines.h"
#include "request.h"

json_t *machine_view(const struct request *r, struct db *db, const struct machine_row *m);

#endif
