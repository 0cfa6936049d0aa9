/* SPDX-License-Identifier: Apache-2.0 */
#include "db_launches.h"

#include "wallclock.h"

#include <stdlib.h>

#define COLUMNS \
	"id, project_id, machine_id, server_id, job_id, machine_name, kind, at, initiated_by, state, created_us, " \
	"ended_us, record IS NOT NULL"

static void read_row(sqlite3_stmt *s, struct launch_row *l)
{
	*l = (struct launch_row){ .created_us = sqlite3_column_int64(s, 10),
				  .ended_us = sqlite3_column_int64(s, 11),
				  .has_record = sqlite3_column_int(s, 12) };
	db_text(s, 0, l->id, sizeof(l->id));
	db_text(s, 1, l->project_id, sizeof(l->project_id));
	db_text(s, 2, l->machine_id, sizeof(l->machine_id));
	db_text(s, 3, l->server_id, sizeof(l->server_id));
	db_text(s, 4, l->job_id, sizeof(l->job_id));
	db_text(s, 5, l->machine_name, sizeof(l->machine_name));
	db_text(s, 6, l->kind, sizeof(l->kind));
	db_text(s, 7, l->at, sizeof(l->at));
	db_text(s, 8, l->initiated_by, sizeof(l->initiated_by));
	db_text(s, 9, l->state, sizeof(l->state));
}

static size_t read_rows(struct db *db, sqlite3_stmt *s, struct launch_row **ret)
{
	struct launch_row *rows = NULL;
	size_t count = 0;

	while (db_next(db, s)) {
		struct launch_row *more = reallocarray(rows, count + 1, sizeof(*rows));

		if (!more)
			abort();
		rows = more;
		read_row(s, &rows[count++]);
	}
	*ret = rows;
	return count;
}

void db_launch_add(struct db *db, const struct launch_row *l, const json_t *blueprint)
{
	char *text = json_dumps(blueprint, JSON_COMPACT);

	db_run(db,
	       "INSERT INTO launches(id, project_id, machine_id, server_id, job_id, machine_name, kind, at, initiated_by, "
	       "state, created_us, blueprint) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	       "ttttttttttit", l->id, l->project_id, l->machine_id, l->server_id, l->job_id, l->machine_name, l->kind,
	       l->at, l->initiated_by, l->state, l->created_us, text);
	free(text);
}

bool db_launch_find(struct db *db, const char *id, struct launch_row *ret)
{
	sqlite3_stmt *s = db_query(db, "SELECT " COLUMNS " FROM launches WHERE id = ?", "t", id);

	if (!db_next(db, s))
		return false;
	read_row(s, ret);
	db_done(db, s);
	return true;
}

void db_launch_drop(struct db *db, const char *id)
{
	db_run(db, "DELETE FROM launches WHERE id = ?", "t", id);
}

void db_launch_set(struct db *db, const char *id, const char *state, const json_t *record, int64_t ended_us)
{
	char *text = json_dumps(record, JSON_COMPACT);

	db_run(db,
	       "UPDATE launches SET state = ?, record = coalesce(?, record), ended_us = NULLIF(?, 0) WHERE id = ?",
	       "ttit", state, text, ended_us, id);
	free(text);
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

json_t *db_launch_record(struct db *db, const char *id)
{
	return one_json(db, db_query(db, "SELECT record FROM launches WHERE id = ?", "t", id));
}

bool db_launch_replica(struct db *db, const char *machine_id, char ret_id[ID_SIZE])
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT id FROM launches WHERE machine_id = ? AND ended_us IS NULL AND "
				   "kind IN ('test', 'cutover') AND record IS NOT NULL ORDER BY created_us DESC, id LIMIT 1",
				   "t", machine_id);

	if (!db_next(db, s))
		return false;
	db_text(s, 0, ret_id, ID_SIZE);
	db_done(db, s);
	return true;
}

json_t *db_launch_blueprint(struct db *db, const char *id)
{
	json_t *blueprint = one_json(db, db_query(db, "SELECT blueprint FROM launches WHERE id = ?", "t", id));

	return blueprint ? blueprint : json_object();
}

size_t db_launch_list(struct db *db, const char *machine, int64_t limit, struct launch_row **ret)
{
	return read_rows(db,
			 db_query(db,
				  "SELECT " COLUMNS " FROM launches WHERE ?1 IS NULL OR machine_id = ?1 OR "
				  "machine_name = ?1 ORDER BY created_us DESC, id LIMIT ?2",
				  "ti", machine, limit),
			 ret);
}

size_t db_launch_list_open(struct db *db, const char *server_id, struct launch_row **ret)
{
	return read_rows(db,
			 db_query(db,
				  "SELECT " COLUMNS " FROM launches WHERE ended_us IS NULL AND "
				  "(?1 IS NULL OR server_id = ?1) ORDER BY created_us DESC, id",
				  "t", server_id),
			 ret);
}

size_t db_launch_list_old_drills(struct db *db, const char *machine_id, int64_t keep, struct launch_row **ret)
{
	return read_rows(db,
			 db_query(db,
				  "SELECT " COLUMNS " FROM launches WHERE machine_id = ? AND kind = 'drill' AND "
				  "ended_us IS NOT NULL ORDER BY created_us DESC, id LIMIT -1 OFFSET ?",
				  "ti", machine_id, keep),
			 ret);
}

json_t *db_launch_proofs(struct db *db, const char *machine_id)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT id, json_extract(record, '$.point.epoch'), json_extract(record, '$.times.proof'), "
				   "json_extract(record, '$.milliseconds.proof') FROM launches WHERE machine_id = ? AND "
				   "json_type(record, '$.proof') = 'text' AND json_type(record, '$.times.proof') = 'text' "
				   "ORDER BY created_us",
				   "t", machine_id);
	json_t *proofs = json_object();

	while (db_next(db, s))
		json_object_set_new(proofs, (const char *)sqlite3_column_text(s, 1) ?: "",
				    json_pack("{s:s, s:s, s:I}", "launch", sqlite3_column_text(s, 0), "time",
					      sqlite3_column_text(s, 2), "milliseconds",
					      (json_int_t)sqlite3_column_int64(s, 3)));
	return proofs;
}

json_t *db_launch_states(struct db *db)
{
	sqlite3_stmt *s =
	    db_query(db, "SELECT state, count(*) FROM launches WHERE ended_us IS NULL GROUP BY state", "");
	json_t *states = json_object();

	while (db_next(db, s))
		json_object_set_new(states, (const char *)sqlite3_column_text(s, 0),
				    json_integer((json_int_t)sqlite3_column_int64(s, 1)));
	return states;
}

bool db_launch_drill_runs(struct db *db, const char *server_id)
{
	sqlite3_stmt *s = db_query(
	    db, "SELECT 1 FROM launches WHERE server_id = ? AND ended_us IS NULL AND kind = 'drill'", "t", server_id);
	bool runs = db_next(db, s);

	if (runs)
		db_done(db, s);
	return runs;
}

void db_launch_each_drilled(struct db *db,
			    void (*each)(void *context, const char *machine_id, const char *value, int64_t last_us),
			    void *context)
{
	/* A machine's own setting wins over its project's. */
	sqlite3_stmt *s = db_query(
		db,
		"SELECT m.id, coalesce(own.value, common.value), (SELECT max(j.created_us) FROM job_machines jm "
		"JOIN jobs j ON j.id = jm.job_id WHERE jm.machine_id = m.id AND j.type = 'DRILL') "
		"FROM machines m JOIN projects p ON p.id = m.project_id "
		"LEFT JOIN settings own ON own.machine_id = m.id AND own.name = 'drill_every_seconds' "
		"LEFT JOIN settings common ON common.configuration_id = p.configuration_id AND common.name = "
		"'drill_every_seconds' WHERE m.removed_us IS NULL AND (own.value IS NOT NULL OR common.value IS NOT NULL) "
		"ORDER BY 3, m.name",
		"");

	while (db_next(db, s))
		each(context, (const char *)sqlite3_column_text(s, 0), (const char *)sqlite3_column_text(s, 1),
		     sqlite3_column_int64(s, 2));
}

/* --- blueprints ------------------------------------------------------------------------------ */

json_t *db_blueprint(struct db *db, const char *machine_id)
{
	json_t *members =
	    one_json(db, db_query(db, "SELECT members FROM blueprints WHERE machine_id = ?", "t", machine_id));

	return json_is_object(members) ? members : json_object();
}

void db_blueprint_put(struct db *db, const char *machine_id, const json_t *members)
{
	char *text = json_dumps(members, JSON_COMPACT);

	db_run(db, "INSERT OR REPLACE INTO blueprints(machine_id, members) VALUES(?, ?)", "tt", machine_id, text);
	free(text);
}
