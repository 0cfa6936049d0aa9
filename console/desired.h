/* SPDX-License-Identifier: Apache-2.0 */
/* desired - what an agent or a server is to be, from the catalogue (docs/api.md, section 8). */
#ifndef GODWIT_CONSOLE_DESIRED_H
#define GODWIT_CONSOLE_DESIRED_H

#include "db_machines.h"
#include "request.h"

/* For the agent or server that sends @r.  0, or a status. */
_must_check_ int desired_of(struct request *r, json_t **ret);

/* Where the machine's agent is to send, and the pin of the key that it is to find there; null: nowhere yet. */
json_t *desired_server(const struct request *r, struct db *db, const struct machine_row *m);

/* Stands for the contents; below 2^53, so that it is exact in every language. */
uint64_t desired_version(const json_t *desired);

#endif
