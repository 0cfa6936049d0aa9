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

bool db_command_ends(struct db *db, const char *peer_id, const char *launch)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT 1 FROM commands WHERE peer_id = ? AND json_extract(body, '$.verb') = 'terminate' AND "
				   "json_extract(body, '$.launch') = ?", "tt", peer_id, launch);
	bool yes = db_next(db, s);

	if (yes)
		db_done(db, s);
	return yes;
}

void db_command_done(struct db *db, const char *id)
{
	db_run(db, "DELETE FROM commands WHERE id = ?", "t", id);
}

bool db_command_is_there(struct db *db, const char *id)
{
	sqlite3_stmt *s = db_query(db, "SELECT 1 FROM commands WHERE id = ?", "t", id);

	if (!db_next(db, s))
		return false;
	db_done(db, s);
	return true;
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

/* --- jobs ---------------------------------------------------------------------------------- */

#define JOB_COLUMNS "j.id, j.type, j.status, j.launch_id, j.initiated_by, j.created_us, j.ended_us"

static void read_job(sqlite3_stmt *s, struct job_row *j)
{
	*j = (struct job_row){ .created_us = sqlite3_column_int64(s, 5), .ended_us = sqlite3_column_int64(s, 6) };
	db_text(s, 0, j->id, sizeof(j->id));
	db_text(s, 1, j->type, sizeof(j->type));
	db_text(s, 2, j->status, sizeof(j->status));
	db_text(s, 3, j->launch_id, sizeof(j->launch_id));
	db_text(s, 4, j->initiated_by, sizeof(j->initiated_by));
}

static size_t read_jobs(struct db *db, sqlite3_stmt *s, struct job_row **ret)
{
	struct job_row *rows = NULL;
	size_t count = 0;

	while (db_next(db, s)) {
		struct job_row *more = reallocarray(rows, count + 1, sizeof(*rows));

		if (!more)
			abort();
		rows = more;
		read_job(s, &rows[count++]);
	}
	*ret = rows;
	return count;
}

static void drop_old_jobs(struct db *db, const char *machine_id, const char *type)
{
	db_run(db,
	       "DELETE FROM jobs WHERE id IN (SELECT j.id FROM jobs j JOIN job_machines m ON m.job_id = j.id "
	       "WHERE m.machine_id = ?1 AND j.type = ?2 AND j.status IN ('COMPLETED', 'FAILED') "
	       "ORDER BY j.created_us DESC LIMIT -1 OFFSET ?3)",
	       "tti", machine_id, type, (int64_t)JOBS_KEPT);
}

void db_job_add(struct db *db, const char *id, const char *project_id, const char *machine_id, const char *type,
		const char *who, const char *launch_id)
{
	db_run(db,
	       "INSERT INTO jobs(id, project_id, type, status, initiated_by, created_us, launch_id) "
	       "VALUES(?, ?, ?, 'PENDING', ?, ?, ?)",
	       "ttttit", id, project_id, type, who, (int64_t)wallclock_now_us(), launch_id);
	db_run(db, "INSERT INTO job_machines(job_id, machine_id) VALUES(?, ?)", "tt", id, machine_id);
	drop_old_jobs(db, machine_id, type);
}

bool db_job_find(struct db *db, const char *id, struct job_row *ret)
{
	sqlite3_stmt *s = db_query(db, "SELECT " JOB_COLUMNS " FROM jobs j WHERE j.id = ?", "t", id);

	if (!db_next(db, s))
		return false;
	read_job(s, ret);
	db_done(db, s);
	return true;
}

bool db_job_newest(struct db *db, const char *machine_id, const char *type, struct job_row *ret, json_t **ret_result)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT " JOB_COLUMNS ", j.result FROM jobs j "
				   "JOIN job_machines m ON m.job_id = j.id WHERE m.machine_id = ? AND j.type = ? "
				   "ORDER BY j.created_us DESC LIMIT 1",
				   "tt", machine_id, type);

	if (!db_next(db, s))
		return false;
	read_job(s, ret);
	*ret_result = db_json(s, 7);
	db_done(db, s);
	return true;
}

bool db_job_is_over(const struct job_row *j)
{
	return !strcmp(j->status, "COMPLETED") || !strcmp(j->status, "FAILED");
}

json_t *db_job_result(struct db *db, const char *id)
{
	sqlite3_stmt *s = db_query(db, "SELECT result FROM jobs WHERE id = ?", "t", id);
	json_t *result = NULL;

	if (db_next(db, s)) {
		result = db_json(s, 0);
		db_done(db, s);
	}
	return result;
}

size_t db_job_list(struct db *db, const char *machine, int64_t limit, struct job_row **ret)
{
	if (!machine)
		return read_jobs(db,
				 db_query(db, "SELECT " JOB_COLUMNS " FROM jobs j ORDER BY j.created_us DESC LIMIT ?",
					  "i", limit),
				 ret);
	return read_jobs(db,
			 db_query(db,
				  "SELECT " JOB_COLUMNS " FROM jobs j JOIN job_machines m ON m.job_id = j.id "
				  "WHERE m.machine_id IN (SELECT id FROM machines WHERE id = ?1 OR name = ?1) "
				  "ORDER BY j.created_us DESC LIMIT ?2",
				  "ti", machine, limit),
			 ret);
}

size_t db_job_list_open(struct db *db, const char *launch_id, struct job_row **ret)
{
	return read_jobs(db,
			 db_query(db,
				  "SELECT " JOB_COLUMNS " FROM jobs j WHERE j.launch_id = ? "
				  "AND j.status IN ('PENDING', 'STARTED') ORDER BY j.created_us DESC",
				  "t", launch_id),
			 ret);
}

size_t db_job_list_open_of(struct db *db, const char *machine_id, const char *type, struct job_row **ret)
{
	return read_jobs(db,
			 db_query(db,
				  "SELECT " JOB_COLUMNS " FROM jobs j JOIN job_machines m ON m.job_id = j.id "
				  "WHERE m.machine_id = ? AND j.type = ? AND j.status IN ('PENDING', 'STARTED') "
				  "ORDER BY j.created_us DESC",
				  "tt", machine_id, type),
			 ret);
}

json_t *db_job_machines(struct db *db, const char *id)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT j.machine_id, coalesce(m.name, '') FROM job_machines j "
				   "LEFT JOIN machines m ON m.id = j.machine_id WHERE j.job_id = ? ORDER BY 2",
				   "t", id);
	json_t *list = json_array();

	while (db_next(db, s))
		json_array_append_new(list, json_pack("{s:s, s:s}", "id", sqlite3_column_text(s, 0), "name",
						      sqlite3_column_text(s, 1)));
	return list;
}

void db_job_log_add(struct db *db, const char *job_id, int64_t time_us, const char *message)
{
	db_run(db, "INSERT INTO job_log(job_id, time_us, message) VALUES(?, ?, ?)", "tit", job_id, time_us, message);
}

json_t *db_job_log(struct db *db, const char *job_id)
{
	sqlite3_stmt *s =
	    db_query(db, "SELECT time_us, message FROM job_log WHERE job_id = ? ORDER BY id", "t", job_id);
	char time[WALLCLOCK_TEXT_LEN + 1];
	json_t *list = json_array();

	while (db_next(db, s))
		json_array_append_new(list, json_pack("{s:s, s:s}", "time",
						      wallclock_format((uint64_t)sqlite3_column_int64(s, 0), time),
						      "message", sqlite3_column_text(s, 1)));
	return list;
}

bool db_job_log_last(struct db *db, const char *job_id, int64_t *ret_time_us, char *ret_message, size_t size)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT time_us, message FROM job_log WHERE job_id = ? ORDER BY id DESC LIMIT 1", "t",
				   job_id);

	if (!db_next(db, s))
		return false;
	*ret_time_us = sqlite3_column_int64(s, 0);
	db_text(s, 1, ret_message, size);
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
