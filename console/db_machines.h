/* SPDX-License-Identifier: Apache-2.0 */
/* db_machines - the tables machines and disks. */
#ifndef GODWIT_CONSOLE_DB_MACHINES_H
#define GODWIT_CONSOLE_DB_MACHINES_H

#include "catalogue.h"
#include "console.h"

#define NAME_MAX_LEN 63

struct machine_row {
	char id[ID_SIZE], name[NAME_MAX_LEN + 1], state[16];
	char project_id[ID_SIZE];
	char server_id[ID_SIZE]; /* "" while there is no server */
	uint8_t key[16];	 /* pki_pin() of its certificate */
	int64_t enrolled_us, last_seen_us;
	int64_t connection_us, first_byte_us, first_point_us; /* 0: not yet */
	bool connected, removed, told, store_gone;
};

/* Those that are protected. */
bool db_machine_find(struct db *db, const char *id_or_name, struct machine_row *ret);
/* Also those that are removed. */
bool db_machine_by_id(struct db *db, const char *id, struct machine_row *ret);

/* Rows, to be freed; by name; with @removed_too also those removed of which
 * somebody is still to be told.  Of one server, when @server_id is not NULL. */
size_t db_machine_list(struct db *db, bool removed_too, const char *server_id, struct machine_row **ret);

/* What a server has to keep: protected, or removed with their store not yet gone. */
int64_t db_machine_count(struct db *db);

void db_machine_add(struct db *db, const struct machine_row *m);
void db_machine_enrol_again(struct db *db, const char *id, const uint8_t key[16]);
void db_machine_set_state(struct db *db, const char *id, const char *state);
void db_machine_set_facts(struct db *db, const char *id, const json_t *facts);
void db_machine_set_told(struct db *db, const char *id);
void db_machine_set_store_gone(struct db *db, const char *id);
/* How far its life has come, for the first time; 0 leaves what is there. */
void db_machine_set_firsts(struct db *db, const char *id, int64_t connection_us, int64_t first_byte_us,
			   int64_t first_point_us);
/* A job of that type was completed now; {type: {us, job}}. */
void db_machine_add_life(struct db *db, const char *id, const char *type, int64_t us, const char *job_id);
json_t *db_machine_life(struct db *db, const char *id);
void db_machine_remove(struct db *db, const char *id);

/* Of those that are removed, of which there is nothing left anywhere, all but the newest
 * @keep, with their jobs. */
#define MACHINES_REMOVED_KEPT 1000
void db_machine_drop_removed(struct db *db, int64_t keep);
void db_machine_assign_homeless(struct db *db, const char *server_id); /* those without a server */
void db_machine_set_seen(struct db *db, const char *id, bool connected, uint64_t seen_us, const json_t *status);

json_t *db_machine_facts(struct db *db, const char *id);

/* What it is bound to since @us, by its own clock; of so many changes the newest are kept. */
#define MACHINE_HARDWARE_KEPT 64
void db_machine_add_hardware(struct db *db, const char *id, int64_t since_us, const json_t *hardware);
/* hardware_at()'s history: a new array. */
json_t *db_machine_hardware(struct db *db, const char *id);
json_t *db_machine_status(struct db *db, const char *id);

/* [{id, name, size_bytes, sector_bytes}] in the order that they were given. */
json_t *db_disks(struct db *db, const char *machine_id);
void db_disks_replace(struct db *db, const char *machine_id, const json_t *disks);

#endif
