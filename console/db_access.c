/* SPDX-License-Identifier: Apache-2.0 */
#include "db_access.h"

#include "wallclock.h"

static void new_id(char id[ID_SIZE])
{
	struct uuid u = uuid_random();

	uuid_format(&u, id);
}

static int64_t count_users(struct db *db)
{
	sqlite3_stmt *s = db_query(db, "SELECT count(*) FROM users", "");
	int64_t n = 0;

	if (db_next(db, s)) {
		n = sqlite3_column_int64(s, 0);
		db_done(db, s);
	}
	return n;
}

void db_access_init(struct db *db)
{
	char account[ID_SIZE], user[ID_SIZE], project[ID_SIZE], configuration[ID_SIZE];
	int64_t now = (int64_t)wallclock_now_us();

	if (count_users(db) || db_error(db))
		return;
	new_id(account);
	new_id(user);
	new_id(project);
	new_id(configuration);
	db_run(db, "INSERT INTO accounts(id, name, created_us) VALUES(?, 'default', ?)", "ti", account, now);
	db_run(db,
	       "INSERT INTO users(id, account_id, username, status, roles, created_us) "
	       "VALUES(?, ?, 'admin', 'CONFIRMED', '[\"USER\",\"ACCOUNT_ADMIN\",\"ACCOUNT_OWNER\"]', ?)",
	       "tti", user, account, now);
	db_run(db, "INSERT INTO projects(id, account_id, name, type, configuration_id, created_us) "
	       "VALUES(?, ?, 'default', 'DR', ?, ?)", "ttti", project, account, configuration, now);
	db_run(db, "INSERT INTO replication_configurations(id, project_id, created_us) VALUES(?, ?, ?)", "tti",
	       configuration, project, now);
}

void db_first_project(struct db *db, char ret_id[ID_SIZE])
{
	sqlite3_stmt *s = db_query(db, "SELECT id FROM projects ORDER BY created_us LIMIT 1", "");

	*ret_id = '\0';
	if (db_next(db, s)) {
		db_text(s, 0, ret_id, ID_SIZE);
		db_done(db, s);
	}
}

bool db_user_by_token(struct db *db, const uint8_t hash[HASH_BYTES], char *ret_name, size_t size)
{
	sqlite3_stmt *s = db_query(db, "SELECT username FROM users WHERE api_token_sha256 = ? AND status = 'CONFIRMED'",
				   "b", hash, (size_t)HASH_BYTES);
	bool found = db_next(db, s);

	if (found) {
		db_text(s, 0, ret_name, size);
		db_done(db, s);
	}
	return found;
}

void db_user_set_token(struct db *db, const char *username, const uint8_t hash[HASH_BYTES])
{
	db_run(db, "UPDATE users SET api_token_sha256 = ? WHERE username = ?", "bt", hash, (size_t)HASH_BYTES, username);
}

void db_token_add(struct db *db, const uint8_t hash[HASH_BYTES], const char *project_id, const char *role,
		  uint64_t expires_us)
{
	db_run(db, "INSERT INTO tokens(sha256, project_id, role, created_us, expires_us) VALUES(?, ?, ?, ?, ?)",
	       "bttii", hash, (size_t)HASH_BYTES, project_id, role, (int64_t)wallclock_now_us(), (int64_t)expires_us);
}

bool db_token_get(struct db *db, const uint8_t hash[HASH_BYTES], char ret_project_id[ID_SIZE], char *ret_role,
		  size_t role_size, uint64_t *ret_expires_us)
{
	sqlite3_stmt *s = db_query(db, "SELECT project_id, role, coalesce(expires_us, 9000000000000000000) FROM tokens "
				   "WHERE sha256 = ?", "b", hash, (size_t)HASH_BYTES);
	bool found = db_next(db, s);

	if (found) {
		db_text(s, 0, ret_project_id, ID_SIZE);
		db_text(s, 1, ret_role, role_size);
		*ret_expires_us = (uint64_t)sqlite3_column_int64(s, 2);
		db_done(db, s);
	}
	return found;
}

void db_token_drop_expired(struct db *db, uint64_t before_us)
{
	db_run(db, "DELETE FROM tokens WHERE expires_us < ?", "i", (int64_t)before_us);
}
