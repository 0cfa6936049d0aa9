/* SPDX-License-Identifier: Apache-2.0 */
#include "db_events.h"

#include "link.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

#define PRUNE_EVERY 1000
#define ARGS_MAX 16
#define TEXT_MAX 2048

static const char *severity_name(enum message_severity s)
{
	switch (s) {
	case SEVERITY_ERROR:
		return "error";
	case SEVERITY_WARNING:
		return "warning";
	default:
		return "info";
	}
}

static char *fault_args(const struct fault *f)
{
	json_t *j = fault_to_json(f);
	char *text = json_dumps(json_object_get(j, "args"), JSON_COMPACT);

	json_decref(j);
	return text;
}

void db_event_add(struct db *db, const struct event *e)
{
	uint64_t now = wallclock_now_us();
	char *args = fault_args(e->fault);
	char *changes = json_dumps(e->changes, JSON_COMPACT);
	int64_t id;

	db_run(db,
	       "INSERT INTO events(time_us, recorded_us, code, severity, project_id, machine_id, machine_name, job_id, "
	       "who, args, changes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	       "iittttttttt", (int64_t)(e->time_us ? e->time_us : now), (int64_t)now, message_name(e->fault->code),
	       severity_name(message_severity(e->fault->code)), e->project_id, e->machine_id, e->machine_name, e->job_id,
	       e->who, args, changes ? changes : "[]");
	id = db_last_id(db);
	if (id % PRUNE_EVERY == 0)
		db_event_drop_old(db, EVENTS_KEPT);
	free(changes);
	free(args);
}

/* As the indices of schema.c have it. */
#define SAID_BY_PROGRAMS "(who GLOB 'agent:*' OR who GLOB 'server:*')"
#define DROP_OLD(kind) \
	"DELETE FROM events WHERE " kind " AND id <= " \
	"(SELECT id FROM events WHERE " kind " ORDER BY id DESC LIMIT 1 OFFSET ?)"

void db_event_drop_old(struct db *db, int64_t keep)
{
	db_run(db, DROP_OLD(SAID_BY_PROGRAMS), "i", keep);
	db_run(db, DROP_OLD("NOT " SAID_BY_PROGRAMS), "i", keep);
}

/* --- reading ---------------------------------------------------------------------- */

/* A code that this version does not know any more still has its name. */
static void add_texts(json_t *event, const char *code, const json_t *args, enum message_language language)
{
	struct message_arg list[ARGS_MAX + 1] = { 0 };
	char text[TEXT_MAX] = "", remedy[TEXT_MAX] = "";
	enum message_code number;
	const char *name;
	json_t *value;
	size_t n = 0;

	json_object_foreach((json_t *)args, name, value)
		if (n < ARGS_MAX && json_is_string(value))
			list[n++] = (struct message_arg){ name, json_string_value(value) };
	if (message_from_name(code, &number) == 0) {
		message_text(number, language, list, text, sizeof(text));
		message_remedy(number, language, list, remedy, sizeof(remedy));
	} else {
		snprintf(text, sizeof(text), "%s", code);
	}
	json_object_set_new(event, "text", json_string(text));
	json_object_set_new(event, "remedy", json_string(remedy));
}

static json_t *text_or_null(sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	return text ? json_string(text) : json_null();
}

static json_t *read_event(sqlite3_stmt *s, enum message_language language)
{
	const char *code = (const char *)sqlite3_column_text(s, 3);
	char time[WALLCLOCK_TEXT_LEN + 1], recorded[WALLCLOCK_TEXT_LEN + 1];
	json_t *args = db_json(s, 8), *changes = db_json(s, 9), *event;

	wallclock_format((uint64_t)sqlite3_column_int64(s, 1), time);
	wallclock_format((uint64_t)sqlite3_column_int64(s, 2), recorded);
	event = json_pack("{s:I, s:s, s:s, s:o, s:o, s:s, s:s}", "id", (json_int_t)sqlite3_column_int64(s, 0), "time",
			  time, "recorded", recorded, "machine", text_or_null(s, 6), "machine_id", text_or_null(s, 5),
			  "code", code, "severity", sqlite3_column_text(s, 4));
	add_texts(event, code, args, language);
	json_object_set_new(event, "who", text_or_null(s, 7));
	json_object_set_new(event, "args", args ? args : json_object());
	json_object_set_new(event, "changes", changes ? changes : json_array());
	return event;
}

#define SELECT_EVENTS \
	"SELECT id, time_us, recorded_us, code, severity, machine_id, machine_name, who, args, changes FROM events "

json_t *db_event_list(struct db *db, const char *machine, int64_t after, int64_t limit,
		      enum message_language language)
{
	json_t *list = json_array();
	sqlite3_stmt *s;

	if (machine)
		s = db_query(db,
			     "SELECT * FROM (" SELECT_EVENTS "WHERE (machine_id = ?1 OR machine_name = ?1) AND id > ?2 "
			     "ORDER BY CASE WHEN ?2 < 0 THEN -id ELSE id END LIMIT ?3) ORDER BY id",
			     "tii", machine, after, limit);
	else if (after >= 0)
		s = db_query(db, SELECT_EVENTS "WHERE id > ? ORDER BY id LIMIT ?", "ii", after, limit);
	else
		s = db_query(db, "SELECT * FROM (" SELECT_EVENTS "ORDER BY id DESC LIMIT ?) ORDER BY id", "i", limit);
	while (db_next(db, s))
		json_array_append_new(list, read_event(s, language));
	return list;
}

int64_t db_event_newest(struct db *db)
{
	sqlite3_stmt *s = db_query(db, "SELECT coalesce(max(id), 0) FROM events", "");
	int64_t id = 0;

	if (db_next(db, s)) {
		id = sqlite3_column_int64(s, 0);
		db_done(db, s);
	}
	return id;
}
