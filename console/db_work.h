/* SPDX-License-Identifier: Apache-2.0 */
/* db_work - the tables commands and jobs: what is still to be told, and what is under way. */
#ifndef GODWIT_CONSOLE_DB_WORK_H
#define GODWIT_CONSOLE_DB_WORK_H

#include "catalogue.h"
#include "console.h"

void db_command_add(struct db *db, const char *peer_id, const json_t *command); /* has "id" */
bool db_command_ends(struct db *db, const char *peer_id, const char *launch); /* it is still to be told so */
void db_command_done(struct db *db, const char *id);
bool db_command_is_there(struct db *db, const char *id);
void db_command_drop_all(struct db *db, const char *peer_id);

/* Calls @each(context, peer id, command), which takes the command. */
void db_command_each(struct db *db, void (*each)(void *context, const char *peer_id, json_t *command), void *context);

struct job_row {
	char id[ID_SIZE], type[24], status[16];
	char launch_id[ID_SIZE]; /* "": of none */
	char initiated_by[96];
	int64_t created_us, ended_us; /* 0: not ended */
};
/* @launch_id may be NULL.  Of the machine's jobs of that type that are over the
 * newest JOBS_KEPT stay. */
#define JOBS_KEPT 100
void db_job_add(struct db *db, const char *id, const char *project_id, const char *machine_id, const char *type,
		const char *who, const char *launch_id);
bool db_job_find(struct db *db, const char *id, struct job_row *ret);
/* The newest of that type; *@ret_result, to be json_decref'ed, may be NULL. */
bool db_job_newest(struct db *db, const char *machine_id, const char *type, struct job_row *ret, json_t **ret_result);
void db_job_set(struct db *db, const char *id, const char *status, const json_t *result, uint64_t ended_us);
bool db_job_is_over(const struct job_row *j);
json_t *db_job_result(struct db *db, const char *id); /* or NULL */

/* Rows, to be freed, the newest first: those of a machine (id or name) or, with
 * NULL, of all; those of a launch, or of a machine and type, that are not over. */
size_t db_job_list(struct db *db, const char *machine, int64_t limit, struct job_row **ret);
size_t db_job_list_open(struct db *db, const char *launch_id, struct job_row **ret);
size_t db_job_list_open_of(struct db *db, const char *machine_id, const char *type, struct job_row **ret);

/* [{id, name}] */
json_t *db_job_machines(struct db *db, const char *id);

void db_job_log_add(struct db *db, const char *job_id, int64_t time_us, const char *message);
json_t *db_job_log(struct db *db, const char *job_id); /* [{time, message}], oldest first */
/* The last line: false if there is none. */
bool db_job_log_last(struct db *db, const char *job_id, int64_t *ret_time_us, char *ret_message, size_t size);

#endif
