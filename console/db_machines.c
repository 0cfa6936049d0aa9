/* SPDX-License-Identifier: Apache-2.0 */
#include "db_machines.h"

#include "wallclock.h"

#include <stdlib.h>

#define COLUMNS \
	"id, name, state, project_id, server_id, key_sha256, enrolled_us, last_seen_us, connected, " \
	"removed_us IS NOT NULL, told_us IS NOT NULL, store_gone_us IS NOT NULL, " \
	"connection_us, first_byte_us, first_point_us"

static void read_row(sqlite3_stmt *s, struct machine_row *m)
{
	*m = (struct machine_row){ .enrolled_us = sqlite3_column_int64(s, 6),
				   .last_seen_us = sqlite3_column_int64(s, 7),
				   .connected = sqlite3_column_int(s, 8),
				   .removed = sqlite3_column_int(s, 9),
				   .told = sqlite3_column_int(s, 10),
				   .store_gone = sqlite3_column_int(s, 11),
				   .connection_us = sqlite3_column_int64(s, 12),
				   .first_byte_us = sqlite3_column_int64(s, 13),
				   .first_point_us = sqlite3_column_int64(s, 14) };
	db_text(s, 0, m->id, sizeof(m->id));
	db_text(s, 1, m->name, sizeof(m->name));
	db_text(s, 2, m->state, sizeof(m->state));
	db_text(s, 3, m->project_id, sizeof(m->project_id));
	db_text(s, 4, m->server_id, sizeof(m->server_id));
	if (sqlite3_column_bytes(s, 5) == sizeof(m->key))
		memcpy(m->key, sqlite3_column_blob(s, 5), sizeof(m->key));
}

static bool read_one(struct db *db, sqlite3_stmt *s, struct machine_row *ret)
{
	bool found = db_next(db, s);

	if (found) {
		read_row(s, ret);
		db_done(db, s);
	}
	return found;
}

bool db_machine_find(struct db *db, const char *id_or_name, struct machine_row *ret)
{
	return read_one(db,
			db_query(db, "SELECT " COLUMNS " FROM machines WHERE (id = ?1 OR name = ?1) "
				 "AND removed_us IS NULL", "t", id_or_name),
			ret);
}

bool db_machine_by_id(struct db *db, const char *id, struct machine_row *ret)
{
	return read_one(db, db_query(db, "SELECT " COLUMNS " FROM machines WHERE id = ?", "t", id), ret);
}

size_t db_machine_list(struct db *db, bool removed_too, const char *server_id, struct machine_row **ret)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT " COLUMNS " FROM machines WHERE (removed_us IS NULL OR "
				   "(?1 AND (told_us IS NULL OR store_gone_us IS NULL))) AND (?2 IS NULL OR server_id = ?2) ORDER BY name, enrolled_us",
				   "it", (int64_t)removed_too, server_id);
	struct machine_row *rows = NULL;
	size_t count = 0, room = 0;

	while (db_next(db, s)) {
		if (count == room) {
			struct machine_row *more;

			room = room ? room * 2 : 16;
			more = reallocarray(rows, room, sizeof(*rows));
			if (!more)
				abort();
			rows = more;
		}
		read_row(s, &rows[count++]);
	}
	*ret = rows;
	return count;
}

void db_machine_add(struct db *db, const struct machine_row *m)
{
	db_run(db,
	       "INSERT INTO machines(id, project_id, server_id, name, key_sha256, state, enrolled_us) "
	       "VALUES(?, ?, ?, ?, ?, ?, ?)",
	       "ttttbti", m->id, m->project_id, *m->server_id ? m->server_id : NULL, m->name, m->key, sizeof(m->key),
	       m->state, m->enrolled_us);
}

void db_machine_enrol_again(struct db *db, const char *id, const uint8_t key[16])
{
	db_run(db, "UPDATE machines SET key_sha256 = ?, enrolled_us = ? WHERE id = ?", "bit", key, (size_t)16,
	       (int64_t)wallclock_now_us(), id);
}

void db_machine_set_state(struct db *db, const char *id, const char *state)
{
	db_run(db, "UPDATE machines SET state = ? WHERE id = ?", "tt", state, id);
}

void db_machine_set_facts(struct db *db, const char *id, const json_t *facts)
{
	char *text = json_dumps(facts, JSON_COMPACT);

	db_run(db, "UPDATE machines SET facts = ? WHERE id = ?", "tt", text, id);
	free(text);
}

void db_machine_set_told(struct db *db, const char *id)
{
	db_run(db, "UPDATE machines SET told_us = ? WHERE id = ? AND told_us IS NULL", "it",
	       (int64_t)wallclock_now_us(), id);
}

void db_machine_set_store_gone(struct db *db, const char *id)
{
	db_run(db, "UPDATE machines SET store_gone_us = ? WHERE id = ? AND store_gone_us IS NULL", "it",
	       (int64_t)wallclock_now_us(), id);
}

void db_machine_set_firsts(struct db *db, const char *id, int64_t connection_us, int64_t first_byte_us,
			   int64_t first_point_us)
{
	db_run(db,
	       "UPDATE machines SET connection_us = coalesce(connection_us, NULLIF(?, 0)), "
	       "first_byte_us = coalesce(first_byte_us, NULLIF(?, 0)), "
	       "first_point_us = coalesce(first_point_us, NULLIF(?, 0)) WHERE id = ?",
	       "iiit", connection_us, first_byte_us, first_point_us, id);
}

void db_machine_remove(struct db *db, const char *id)
{
	db_run(db, "UPDATE machines SET removed_us = ?, state = 'stopped', status = NULL WHERE id = ?", "it",
	       (int64_t)wallclock_now_us(), id);
	db_run(db, "DELETE FROM settings WHERE machine_id = ?", "t", id);
	db_run(db, "DELETE FROM disks WHERE machine_id = ?", "t", id);
	db_run(db, "DELETE FROM blueprints WHERE machine_id = ?", "t", id);
}

void db_machine_drop_removed(struct db *db, int64_t keep)
{
	db_run(db,
	       "DELETE FROM machines WHERE id IN (SELECT id FROM machines WHERE removed_us IS NOT NULL "
	       "AND told_us IS NOT NULL AND store_gone_us IS NOT NULL ORDER BY removed_us DESC LIMIT -1 OFFSET ?)",
	       "i", keep);
	if (db_changes(db))
		db_run(db,
		       "DELETE FROM jobs WHERE id IN (SELECT job_id FROM job_machines "
		       "WHERE machine_id NOT IN (SELECT id FROM machines))",
		       "");
}

void db_machine_assign_homeless(struct db *db, const char *server_id)
{
	db_run(db, "UPDATE machines SET server_id = ? WHERE server_id IS NULL AND removed_us IS NULL", "t", server_id);
}

void db_machine_set_seen(struct db *db, const char *id, bool connected, uint64_t seen_us, const json_t *status)
{
	char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;

	db_run(db,
	       "UPDATE machines SET connected = ?, last_seen_us = NULLIF(?, 0), status = coalesce(?, status) "
	       "WHERE id = ? AND removed_us IS NULL",
	       "iitt", (int64_t)connected, (int64_t)seen_us, text, id);
	free(text);
}

int64_t db_machine_count(struct db *db)
{
	sqlite3_stmt *s = db_query(db, "SELECT count(*) FROM machines WHERE removed_us IS NULL OR store_gone_us IS NULL", "");
	int64_t count = 0;

	if (db_next(db, s)) {
		count = sqlite3_column_int64(s, 0);
		db_done(db, s);
	}
	return count;
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

json_t *db_machine_facts(struct db *db, const char *id)
{
	json_t *facts = one_json(db, db_query(db, "SELECT facts FROM machines WHERE id = ?", "t", id));

	return facts ? facts : json_object();
}

void db_machine_add_hardware(struct db *db, const char *id, int64_t since_us, const json_t *hardware)
{
	char *text = json_dumps(hardware, JSON_COMPACT);

	db_run(db, "INSERT OR REPLACE INTO machine_hardware(machine_id, since_us, hardware) VALUES(?, ?, ?)", "tit", id,
	       since_us, text);
	db_run(db,
	       "DELETE FROM machine_hardware WHERE machine_id = ? AND since_us < (SELECT min(since_us) FROM (SELECT since_us "
	       "FROM machine_hardware WHERE machine_id = ? ORDER BY since_us DESC LIMIT ?))",
	       "tti", id, id, (int64_t)MACHINE_HARDWARE_KEPT);
	free(text);
}

json_t *db_machine_hardware(struct db *db, const char *id)
{
	sqlite3_stmt *s = db_query(db, "SELECT since_us, hardware FROM machine_hardware WHERE machine_id = ? ORDER BY since_us DESC",
				   "t", id);
	json_t *list = json_array();
	char since[WALLCLOCK_TEXT_LEN + 1];

	while (db_next(db, s))
		json_array_append_new(list, json_pack("{s:s, s:o*}", "since",
						      wallclock_format((uint64_t)sqlite3_column_int64(s, 0), since), "hardware",
						      db_json(s, 1)));
	return list;
}

void db_machine_add_life(struct db *db, const char *id, const char *type, int64_t us, const char *job_id)
{
	db_run(db,
	       "UPDATE machines SET life = json_set(life, '$.' || ?, json_object('us', ?, 'job', ?)) WHERE id = ?", "titt",
	       type, us, job_id, id);
}

json_t *db_machine_life(struct db *db, const char *id)
{
	json_t *life = one_json(db, db_query(db, "SELECT life FROM machines WHERE id = ?", "t", id));

	return life ? life : json_object();
}

json_t *db_machine_status(struct db *db, const char *id)
{
	return one_json(db, db_query(db, "SELECT status FROM machines WHERE id = ?", "t", id));
}

json_t *db_disks(struct db *db, const char *machine_id)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT id, name, size_bytes, sector_bytes FROM disks WHERE machine_id = ? "
				   "ORDER BY position",
				   "t", machine_id);
	json_t *list = json_array();

	while (db_next(db, s))
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I}", "id", sqlite3_column_text(s, 0), "name",
						      sqlite3_column_text(s, 1), "size_bytes",
						      (json_int_t)sqlite3_column_int64(s, 2), "sector_bytes",
						      (json_int_t)sqlite3_column_int64(s, 3)));
	return list;
}

void db_disks_replace(struct db *db, const char *machine_id, const json_t *disks)
{
	json_t *d;
	size_t i;

	db_run(db, "DELETE FROM disks WHERE machine_id = ?", "t", machine_id);
	json_array_foreach(disks, i, d)
		db_run(db,
		       "INSERT INTO disks(machine_id, id, position, name, size_bytes, sector_bytes) "
		       "VALUES(?, ?, ?, ?, ?, ?)",
		       "ttitii", machine_id, json_string_value(json_object_get(d, "id")), (int64_t)i,
		       json_string_value(json_object_get(d, "name")),
		       (int64_t)json_integer_value(json_object_get(d, "size_bytes")),
		       (int64_t)json_integer_value(json_object_get(d, "sector_bytes")));
}
