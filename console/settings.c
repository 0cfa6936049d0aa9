/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include "db_settings.h"
#include "handlers.h"
#include "resource.h"

#include <errno.h>

#define TEN_YEARS_S 315360000LL

static const struct value_kind table[] = {
	{ "throttle_mbit_per_second", 0, 1000000, 0, { NULL }, 0, "Mbit/s", "limit of what the agent sends; 0: none" },
	{ "epoch_ms", 100, 60000, 500, { NULL }, 0, "ms", "longest time between cuts" },
	{ "compression", 0, 0, 0, { "auto", "none", "lz4", "zstd" }, 0, "", "of what is sent" },
	{ "capture", 0, 0, 0, { "payload", "dirty-map" }, 0, "", "what capture takes of a write: its payload or only where" },
	{ "retention_every_seconds", 60, TEN_YEARS_S, 86400, { NULL }, 0, "s", "every point younger than this is kept" },
	{ "retention_hourly_seconds", 0, TEN_YEARS_S, 7 * 86400, { NULL }, 0, "s", "then one an hour until this age" },
	{ "retention_daily_seconds", 0, TEN_YEARS_S, 30 * 86400, { NULL }, 0, "s", "then one a day until this age" },
	{ "drill_every_seconds", 0, TEN_YEARS_S, 0, { NULL }, 0, "s", "a drill so often, at least 60 s apart; 0: none" },
};

static const struct value_kind *find(const char *name)
{
	return value_find(table, ARRAY_LEN(table), name);
}

/* --- values ------------------------------------------------------------------------------ */

json_t *settings_in_force(struct db *db, const char *machine_id)
{
	json_t *kept = db_settings(db, machine_id), *all = json_object();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_object_set_new(all, table[i].name,
				    value_of(&table[i], json_string_value(json_object_get(kept, table[i].name))));
	json_decref(kept);
	return all;
}

int settings_check(const char *name, const json_t *value, char ret[VALUE_SIZE], struct fault *ret_fault)
{
	const struct value_kind *k = find(name);
	char known[FAULT_VALUE_MAX];

	if (k)
		return value_check(k, value, ret, ret_fault);
	return fault_set(ret_fault, -EINVAL, MSG_SETTING_UNKNOWN, "setting", name, "known",
			 value_names(table, ARRAY_LEN(table), known, sizeof(known)), NULL);
}

/* --- handlers --------------------------------------------------------------------------------- */

int handle_settings_table(struct request *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_array_append_new(list, value_describe(&table[i]));
	return request_answer(r, 200, json_pack("{s:o}", "settings", list));
}

int handle_settings_get(struct request *r)
{
	struct machine_row m;
	int status = resource_machine(r, &m), err;
	json_t *settings;

	if (status)
		return status;
	settings = settings_in_force(catalogue_read(r->console->catalogue), m.id);
	err = catalogue_read_end(r->console->catalogue);
	if (err) {
		json_decref(settings);
		return request_catalogue_failed(r, "reading settings", err);
	}
	return request_answer(r, 200, settings);
}

static int check_all(struct request *r)
{
	const char *name;
	char text[VALUE_SIZE];
	struct fault f;
	json_t *value;

	if (!json_is_object(r->body))
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", "the settings must be a JSON object", NULL);
	json_object_foreach(r->body, name, value)
		if (settings_check(name, value, text, &f)) {
			r->fault = f;
			return 400;
		}
	return 0;
}

/* Put one, and record it if that changed what is in force. */
static void change_one(struct request *r, struct db *db, const struct machine_row *m, const struct value_kind *s,
		       const char *text)
{
	json_t *before = settings_in_force(db, m->id), *after, *changes;
	char old[VALUE_SIZE], new[VALUE_SIZE];

	db_setting_put(db, m->id, s->name, *text ? text : NULL);
	after = settings_in_force(db, m->id);
	if (!json_equal(before, after)) {
		value_text(json_object_get(before, s->name), old, sizeof(old));
		value_text(json_object_get(after, s->name), new, sizeof(new));
		changes = json_pack("[{s:s, s:s, s:s}]", "name", s->name, "old", old, "new", new);
		resource_event(r, db, m, changes, MSG_SETTING_CHANGED, "setting", s->name, "old", old, "new", new, NULL);
		json_decref(changes);
	}
	json_decref(before);
	json_decref(after);
}

int handle_settings_change(struct request *r)
{
	struct machine_row m;
	int status = resource_machine(r, &m), err;
	const char *name;
	json_t *value, *settings;
	struct db *db;

	if (!status)
		status = check_all(r);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	json_object_foreach(r->body, name, value) {
		char text[VALUE_SIZE];
		struct fault f;

		if (settings_check(name, value, text, &f) == 0)
			change_one(r, db, &m, find(name), text);
	}
	settings = settings_in_force(db, m.id);
	err = catalogue_commit(r->console->catalogue);
	if (err) {
		json_decref(settings);
		return request_catalogue_failed(r, "changing settings", err);
	}
	live_wake(r->console->live, m.id);
	live_wake(r->console->live, m.server_id);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 200, settings);
}
