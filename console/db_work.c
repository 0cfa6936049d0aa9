/* SPDX-License-Identifier: Apache-2.0 */
#include "db_work.h"

#include "wallclock.h"

#include <stdlib.h>

void db_command_add(struct db *db, const char *peer_id, const json_t *command)
{
	char *text = json_dumps(command, JSON_COMPACT);

	db_run(db, "INSERT INTO commands(id, peer_id, body, created_us) VALUES(?, ?, ?, ?)", "ttti",
	       json_string_value(json_object_get(command, "id")), peer_id, text, (int64_t)wallclock_now_us());
	free(text);
}

void db_command_done(struct db *db, const char *id)
{
	db_run(db, "DELETE FROM commands WHERE id = ?", "t", id);
}

void db_command_drop_all(struct db *db, const char *peer_id)
{
	db_run(db, "DELETE FROM commands WHERE peer_id = ?", "t", peer_id);
}

void db_command_each(struct db *db, void (*each)(void *context, const char *peer_id, json_t *command), void *context)
{
	sqlite3_stmt *s = db_query(db, "SELECT peer_id, body FROM commands ORDER BY created_us", "");

	while (db_next(db, s)) {
		json_t *command = db_json(s, 1);

		if (command)
			each(context, (const char *)sqlite3_column_text(s, 0), command);
	}
}

void db_job_add(struct db *db, const char *id, const char *project_id, const char *machine_id, const char *type,
		const char *who)
{
	db_run(db,
	       "INSERT INTO jobs(id, project_id, type, status, initiated_by, created_us) "
	       "VALUES(?, ?, ?, 'PENDING', ?, ?)",
	       "tttti", id, project_id, type, who, (int64_t)wallclock_now_us());
	db_run(db, "INSERT INTO job_machines(job_id, machine_id) VALUES(?, ?)", "tt", id, machine_id);
}

bool db_job_newest(struct db *db, const char *machine_id, const char *type, struct job_row *ret, json_t **ret_result)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT j.id, j.type, j.status, j.created_us, j.ended_us, j.result FROM jobs j "
				   "JOIN job_machines m ON m.job_id = j.id WHERE m.machine_id = ? AND j.type = ? "
				   "ORDER BY j.created_us DESC LIMIT 1",
				   "tt", machine_id, type);

	if (!db_next(db, s))
		return false;
	db_text(s, 0, ret->id, sizeof(ret->id));
	db_text(s, 1, ret->type, sizeof(ret->type));
	db_text(s, 2, ret->status, sizeof(ret->status));
	ret->created_us = sqlite3_column_int64(s, 3);
	ret->ended_us = sqlite3_column_int64(s, 4);
	*ret_result = db_json(s, 5);
	db_done(db, s);
	return true;
}

void db_job_set(struct db *db, const char *id, const char *status, const json_t *result, uint64_t ended_us)
{
	char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;

	db_run(db, "UPDATE jobs SET status = ?, result = coalesce(?, result), ended_us = NULLIF(?, 0) WHERE id = ?",
	       "ttit", status, text, (int64_t)ended_us, id);
	free(text);
}
