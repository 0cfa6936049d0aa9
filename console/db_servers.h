/* SPDX-License-Identifier: Apache-2.0 */
/* db_servers - the table servers. */
#ifndef GODWIT_CONSOLE_DB_SERVERS_H
#define GODWIT_CONSOLE_DB_SERVERS_H

#include "catalogue.h"
#include "console.h"

struct server_row {
	char id[ID_SIZE], name[64], address[256];
	int64_t port, enrolled_us, last_seen_us, machines;
	uint8_t key[16];
	bool connected;
};

bool db_server_find(struct db *db, const char *id_or_name, struct server_row *ret);
size_t db_server_list(struct db *db, struct server_row **ret); /* by name, to be freed */

/* The one with the fewest machines; false if there is none. */
bool db_server_choose(struct db *db, struct server_row *ret);

void db_server_add(struct db *db, const struct server_row *s);
void db_server_enrol_again(struct db *db, const char *id, const uint8_t key[16]);
void db_server_set_facts(struct db *db, const char *id, const json_t *facts);
void db_server_set_address(struct db *db, const char *id, const char *address, int64_t port);
void db_server_set_seen(struct db *db, const char *id, bool connected, uint64_t seen_us, const json_t *status);
void db_server_remove(struct db *db, const char *id);

json_t *db_server_facts(struct db *db, const char *id);
json_t *db_server_status(struct db *db, const char *id);

#endif
