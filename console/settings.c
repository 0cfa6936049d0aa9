/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include "db_settings.h"
#include "handlers.h"
#include "resource.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_SIZE 32
#define CHOICES_MAX 5
#define TEN_YEARS_S 315360000LL

static const struct setting {
	const char *name;
	int64_t least, most, usual;	    /* a number; or ... */
	const char *choices[CHOICES_MAX]; /* ... one of these, the first is the default */
	const char *unit, *text;
} table[] = {
	{ "throttle_mbit_per_second", 0, 1000000, 0, { NULL }, "Mbit/s", "limit of what the agent sends; 0: none" },
	{ "epoch_ms", 100, 60000, 500, { NULL }, "ms", "longest time between cuts" },
	{ "compression", 0, 0, 0, { "auto", "none", "lz4", "zstd" }, "", "of what is sent" },
	{ "capture", 0, 0, 0, { "payload", "dirty-map" }, "", "what capture takes of a write: its payload or only where" },
	{ "retention_every_seconds", 60, TEN_YEARS_S, 86400, { NULL }, "s", "every point younger than this is kept" },
	{ "retention_hourly_seconds", 0, TEN_YEARS_S, 7 * 86400, { NULL }, "s", "then one an hour until this age" },
	{ "retention_daily_seconds", 0, TEN_YEARS_S, 30 * 86400, { NULL }, "s", "then one a day until this age" },
};

static const struct setting *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static bool is_number(const struct setting *s)
{
	return !s->choices[0];
}

/* --- values ------------------------------------------------------------------------------ */

static json_t *value_of(const struct setting *s, const char *text)
{
	if (!is_number(s))
		return json_string(text ? text : s->choices[0]);
	return json_integer(text ? strtoll(text, NULL, 10) : s->usual);
}

static const char *value_text(const json_t *value, char *buf, size_t size)
{
	if (json_is_string(value))
		snprintf(buf, size, "%s", json_string_value(value));
	else
		snprintf(buf, size, "%lld", (long long)json_integer_value(value));
	return buf;
}

json_t *settings_in_force(struct db *db, const char *machine_id)
{
	json_t *kept = db_settings(db, machine_id), *all = json_object();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_object_set_new(all, table[i].name,
				    value_of(&table[i], json_string_value(json_object_get(kept, table[i].name))));
	json_decref(kept);
	return all;
}

/* --- checking ------------------------------------------------------------------------------ */

/* Whatever was sent, as a person would see it. */
static void shown(const json_t *value, char *buf, size_t size)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	snprintf(buf, size, "%.100s", json_is_string(value) ? json_string_value(value) : text ? text : "?");
	free(text);
}

static int unknown_setting(const char *name, struct fault *f)
{
	char known[FAULT_VALUE_MAX] = "";
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_LEN(table) && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", table[i].name);
	return fault_set(f, -EINVAL, MSG_SETTING_UNKNOWN, "setting", name, "known", known, NULL);
}

static bool whole_number(const json_t *value, int64_t *ret)
{
	const char *text = json_string_value(value);
	char *end;

	if (json_is_integer(value)) {
		*ret = json_integer_value(value);
		return true;
	}
	if (!text || (*text != '-' && (*text < '0' || *text > '9')))
		return false;
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return !*end && !errno && strlen(text) == json_string_length(value);
}

static int check_number(const struct setting *s, const json_t *value, char *ret, size_t size, struct fault *f)
{
	char least[24], most[24], text[128];
	int64_t number;

	if (whole_number(value, &number) && number >= s->least && number <= s->most) {
		snprintf(ret, size, "%lld", (long long)number);
		return 0;
	}
	shown(value, text, sizeof(text));
	snprintf(least, sizeof(least), "%lld", (long long)s->least);
	snprintf(most, sizeof(most), "%lld", (long long)s->most);
	return fault_set(f, -EINVAL, MSG_SETTING_OUT_OF_RANGE, "setting", s->name, "value", text, "least", least, "most",
			 most, NULL);
}

static int check_choice(const struct setting *s, const json_t *value, char *ret, size_t size, struct fault *f)
{
	const char *given = json_string_value(value);
	char choices[128] = "", text[128];
	size_t used = 0;

	for (size_t i = 0; i < CHOICES_MAX && s->choices[i]; i++) {
		if (given && !strcmp(given, s->choices[i])) {
			snprintf(ret, size, "%s", given);
			return 0;
		}
		used += (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%s", i ? ", " : "", s->choices[i]);
	}
	shown(value, text, sizeof(text));
	return fault_set(f, -EINVAL, MSG_SETTING_NOT_A_CHOICE, "setting", s->name, "value", text, "choices", choices,
			 NULL);
}

int settings_check(const char *name, const json_t *value, char *ret, size_t size, struct fault *ret_fault)
{
	const struct setting *s = find(name);

	if (!s)
		return unknown_setting(name, ret_fault);
	if (json_is_null(value)) {
		*ret = '\0';
		return 0;
	}
	return is_number(s) ? check_number(s, value, ret, size, ret_fault) : check_choice(s, value, ret, size, ret_fault);
}

/* --- handlers --------------------------------------------------------------------------------- */

static json_t *describe(const struct setting *s)
{
	json_t *d = json_pack("{s:s, s:s}", "name", s->name, "type", is_number(s) ? "integer" : "choice");
	json_t *choices;

	if (is_number(s)) {
		json_object_set_new(d, "minimum", json_integer(s->least));
		json_object_set_new(d, "maximum", json_integer(s->most));
	} else {
		choices = json_array();
		for (size_t i = 0; i < CHOICES_MAX && s->choices[i]; i++)
			json_array_append_new(choices, json_string(s->choices[i]));
		json_object_set_new(d, "choices", choices);
	}
	json_object_set_new(d, "default", value_of(s, NULL));
	json_object_set_new(d, "unit", json_string(s->unit));
	json_object_set_new(d, "text", json_string(s->text));
	return d;
}

int handle_settings_table(struct request *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		json_array_append_new(list, describe(&table[i]));
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
		if (settings_check(name, value, text, sizeof(text), &f)) {
			r->fault = f;
			return 400;
		}
	return 0;
}

/* Put one, and record it if that changed what is in force. */
static void change_one(struct request *r, struct db *db, const struct machine_row *m, const struct setting *s,
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

		if (settings_check(name, value, text, sizeof(text), &f) == 0)
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
