/* SPDX-License-Identifier: Apache-2.0 */
/* db_work - the tables commands and jobs: what is still to be told, and what is under way. */
#ifndef GODWIT_CONSOLE_DB_WORK_H
#define GODWIT_CONSOLE_DB_WORK_H

#include "catalogue.h"
#include "console.h"

void db_command_add(struct db *db, const char *peer_id, const json_t *command); /* has "id" */
void db_command_done(struct db *db, const char *id);
void db_command_drop_all(struct db *db, const char *peer_id);

/* Calls @each(context, peer id, command), which takes the command. */
void db_command_each(struct db *db, void (*each)(void *context, const char *peer_id, json_t *command), void *context);

struct job_row {
	char id[ID_SIZE], type[24], status[16];
	int64_t created_us, ended_us; /* 0: not ended */
};
void db_job_add(struct db *db, const char *id, const char *project_id, const char *machine_id, const char *type,
		const char *who);
/* The newest of that type; *@ret_result, to be json_decref'ed, may be NULL. */
bool db_job_newest(struct db *db, const char *machine_id, const char *type, struct job_row *ret, json_t **ret_result);
void db_job_set(struct db *db, const char *id, const char *status, const json_t *result, uint64_t ended_us);

#endif
