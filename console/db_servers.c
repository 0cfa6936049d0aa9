/* SPDX-License-Identifier: Apache-2.0 */
#include "db_servers.h"

#include "wallclock.h"

#include <stdlib.h>

#define SELECT_SERVERS \
	"SELECT id, name, address, port, enrolled_us, last_seen_us, key_sha256, connected, " \
	"(SELECT count(*) FROM machines m WHERE m.server_id = servers.id AND m.removed_us IS NULL) AS machines " \
	"FROM servers "

static void read_row(sqlite3_stmt *s, struct server_row *r)
{
	*r = (struct server_row){ .port = sqlite3_column_int64(s, 3),
				  .enrolled_us = sqlite3_column_int64(s, 4),
				  .last_seen_us = sqlite3_column_int64(s, 5),
				  .connected = sqlite3_column_int(s, 7),
				  .machines = sqlite3_column_int64(s, 8) };
	db_text(s, 0, r->id, sizeof(r->id));
	db_text(s, 1, r->name, sizeof(r->name));
	db_text(s, 2, r->address, sizeof(r->address));
	if (sqlite3_column_bytes(s, 6) == sizeof(r->key))
		memcpy(r->key, sqlite3_column_blob(s, 6), sizeof(r->key));
}

static bool read_one(struct db *db, sqlite3_stmt *s, struct server_row *ret)
{
	bool found = db_next(db, s);

	if (found) {
		read_row(s, ret);
		db_done(db, s);
	}
	return found;
}

bool db_server_find(struct db *db, const char *id_or_name, struct server_row *ret)
{
	return read_one(db, db_query(db, SELECT_SERVERS "WHERE id = ?1 OR name = ?1", "t", id_or_name), ret);
}

bool db_server_choose(struct db *db, struct server_row *ret)
{
	return read_one(db, db_query(db, SELECT_SERVERS "ORDER BY connected DESC, machines, enrolled_us LIMIT 1", ""), ret);
}

size_t db_server_list(struct db *db, struct server_row **ret)
{
	sqlite3_stmt *s = db_query(db, SELECT_SERVERS "ORDER BY name", "");
	struct server_row *rows = NULL;
	size_t count = 0;

	while (db_next(db, s)) {
		struct server_row *more = reallocarray(rows, count + 1, sizeof(*rows));

		if (!more)
			abort();
		rows = more;
		read_row(s, &rows[count++]);
	}
	*ret = rows;
	return count;
}

void db_server_add(struct db *db, const struct server_row *s)
{
	db_run(db, "INSERT INTO servers(id, name, key_sha256, address, port, enrolled_us) VALUES(?, ?, ?, ?, ?, ?)",
	       "ttbtii", s->id, s->name, s->key, sizeof(s->key), s->address, s->port, s->enrolled_us);
}

void db_server_enrol_again(struct db *db, const char *id, const uint8_t key[16])
{
	db_run(db, "UPDATE servers SET key_sha256 = ?, enrolled_us = ? WHERE id = ?", "bit", key, (size_t)16,
	       (int64_t)wallclock_now_us(), id);
}

void db_server_set_facts(struct db *db, const char *id, const json_t *facts)
{
	char *text = json_dumps(facts, JSON_COMPACT);

	db_run(db, "UPDATE servers SET facts = ? WHERE id = ?", "tt", text, id);
	free(text);
}

void db_server_set_address(struct db *db, const char *id, const char *address, int64_t port)
{
	db_run(db, "UPDATE servers SET address = ?, port = ? WHERE id = ?", "tit", address, port, id);
}

void db_server_set_seen(struct db *db, const char *id, bool connected, uint64_t seen_us, const json_t *status)
{
	char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;

	db_run(db,
	       "UPDATE servers SET connected = ?, last_seen_us = NULLIF(?, 0), status = coalesce(?, status) "
	       "WHERE id = ?",
	       "iitt", (int64_t)connected, (int64_t)seen_us, text, id);
	free(text);
}

/* Removed machines may still point to it: nothing is left to be told to it. */
void db_server_remove(struct db *db, const char *id)
{
	db_run(db, "UPDATE machines SET server_id = NULL, store_gone_us = coalesce(store_gone_us, ?) WHERE server_id = ?",
	       "it", (int64_t)wallclock_now_us(), id);
	db_run(db, "DELETE FROM servers WHERE id = ?", "t", id);
}

static json_t *one_json(struct db *db, sqlite3_stmt *s)
{
	json_t *value = NULL;

	if (db_next(db, s)) {
		value = db_json(s, 0);
		db_done(db, s);
	}
	return value;
}

json_t *db_server_facts(struct db *db, const char *id)
{
	json_t *facts = one_json(db, db_query(db, "SELECT facts FROM servers WHERE id = ?", "t", id));

	return facts ? facts : json_object();
}

json_t *db_server_status(struct db *db, const char *id)
{
	return one_json(db, db_query(db, "SELECT status FROM servers WHERE id = ?", "t", id));
}
