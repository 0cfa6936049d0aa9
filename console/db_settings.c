/* SPDX-License-Identifier: Apache-2.0 */
#include "db_settings.h"

json_t *db_settings(struct db *db, const char *machine_id)
{
	sqlite3_stmt *s = db_query(db,
				   "SELECT s.name, s.value FROM machines m JOIN projects p ON p.id = m.project_id "
				   "JOIN settings s ON s.machine_id = m.id OR s.configuration_id = p.configuration_id "
				   "WHERE m.id = ? ORDER BY s.machine_id IS NOT NULL",
				   "t", machine_id);
	json_t *found = json_object();

	while (db_next(db, s))
		json_object_set_new(found, (const char *)sqlite3_column_text(s, 0),
				    json_string((const char *)sqlite3_column_text(s, 1)));
	return found;
}

void db_setting_put(struct db *db, const char *machine_id, const char *name, const char *value)
{
	db_run(db, "DELETE FROM settings WHERE machine_id = ? AND name = ?", "tt", machine_id, name);
	if (value)
		db_run(db, "INSERT INTO settings(machine_id, name, value) VALUES(?, ?, ?)", "ttt", machine_id, name,
		       value);
}
