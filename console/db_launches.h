/* SPDX-License-Identifier: Apache-2.0 */
/* db_launches - the tables launches and blueprints. */
#ifndef GODWIT_CONSOLE_DB_LAUNCHES_H
#define GODWIT_CONSOLE_DB_LAUNCHES_H

#include "catalogue.h"
#include "console.h"
#include "db_machines.h"

#define LAUNCH_AT_MAX 160

struct launch_row {
	char id[ID_SIZE], project_id[ID_SIZE], machine_id[ID_SIZE], server_id[ID_SIZE], job_id[ID_SIZE];
	char machine_name[NAME_MAX_LEN + 1], kind[16], at[LAUNCH_AT_MAX], initiated_by[96], state[24];
	int64_t created_us, ended_us; /* 0: not over */
	bool has_record;
};

void db_launch_add(struct db *db, const struct launch_row *l, const json_t *blueprint);
bool db_launch_find(struct db *db, const char *id, struct launch_row *ret);
void db_launch_drop(struct db *db, const char *id); /* its jobs stay */

/* @ended_us 0: not over. */
void db_launch_set(struct db *db, const char *id, const char *state, const json_t *record, int64_t ended_us);
/* The newest launch of a machine that is there, and neither a drill nor images. */
bool db_launch_replica(struct db *db, const char *machine_id, char ret_id[ID_SIZE]);
json_t *db_launch_record(struct db *db, const char *id);    /* or NULL */
json_t *db_launch_blueprint(struct db *db, const char *id);

/* Rows, to be freed, the newest first. */
size_t db_launch_list(struct db *db, const char *machine, int64_t limit, struct launch_row **ret); /* NULL: of all */
size_t db_launch_list_open(struct db *db, const char *server_id, struct launch_row **ret);	   /* NULL: of all */
size_t db_launch_list_old_drills(struct db *db, const char *machine_id, int64_t keep, struct launch_row **ret);

/* What has been shown to boot: {epoch: {launch, time, milliseconds}} of a machine, the newest of each. */
json_t *db_launch_proofs(struct db *db, const char *machine_id);

/* How many there are in each state that is not over: {state: n}. */
json_t *db_launch_states(struct db *db);

/* Drills of machines of that server that are not over. */
bool db_launch_drill_runs(struct db *db, const char *server_id);

/* Machines that have the setting: @each(context, machine, value, time of the last drill or 0). */
void db_launch_each_drilled(struct db *db,
			    void (*each)(void *context, const char *machine_id, const char *value, int64_t last_us),
			    void *context);

/* {name: kept text} */
json_t *db_blueprint(struct db *db, const char *machine_id);
void db_blueprint_put(struct db *db, const char *machine_id, const json_t *members);

#endif
