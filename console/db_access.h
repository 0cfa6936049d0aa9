/* SPDX-License-Identifier: Apache-2.0 */
/* db_access - the tables accounts, users, projects and tokens: who may come in. */
#ifndef GODWIT_CONSOLE_DB_ACCESS_H
#define GODWIT_CONSOLE_DB_ACCESS_H

#include "catalogue.h"
#include "console.h"

#define HASH_BYTES 32

/* The first account, user ("admin") and project, unless they are there. */
void db_access_init(struct db *db);
void db_first_project(struct db *db, char ret_id[ID_SIZE]);

/* The user whose API token has this hash; false if none. */
bool db_user_by_token(struct db *db, const uint8_t hash[HASH_BYTES], char *ret_name, size_t size);
void db_user_set_token(struct db *db, const char *username, const uint8_t hash[HASH_BYTES]);

void db_token_add(struct db *db, const uint8_t hash[HASH_BYTES], const char *project_id, const char *role,
		  uint64_t expires_us);
/* false: there is no such token. */
bool db_token_get(struct db *db, const uint8_t hash[HASH_BYTES], char ret_project_id[ID_SIZE], char *ret_role,
		  size_t role_size, uint64_t *ret_expires_us);
void db_token_drop_expired(struct db *db, uint64_t before_us);

#endif
