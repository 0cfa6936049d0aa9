/* SPDX-License-Identifier: Apache-2.0 */
#include "value.h"

#include "utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum form { NUMBER, CHOICE, TEXT };

static enum form form_of(const struct value_kind *k)
{
	return k->choices[0] ? CHOICE : k->text_most ? TEXT : NUMBER;
}

const struct value_kind *value_find(const struct value_kind *table, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

json_t *value_of(const struct value_kind *k, const char *text)
{
	switch (form_of(k)) {
	case CHOICE:
		return json_string(text ? text : k->choices[0]);
	case TEXT:
		return json_string(text ? text : "");
	default:
		return json_integer(text ? strtoll(text, NULL, 10) : k->usual);
	}
}

const char *value_text(const json_t *value, char *buf, size_t size)
{
	if (json_is_string(value))
		snprintf(buf, size, "%s", json_string_value(value));
	else
		snprintf(buf, size, "%lld", (long long)json_integer_value(value));
	return buf;
}

/* --- checking ------------------------------------------------------------------------------ */

/* Whatever was sent, as a person would see it. */
static void shown(const json_t *value, char *buf, size_t size)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

	snprintf(buf, size, "%.100s", json_is_string(value) ? json_string_value(value) : text ? text : "?");
	free(text);
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

static int check_number(const struct value_kind *k, const json_t *value, char *ret, size_t size, struct fault *f)
{
	char least[24], most[24], text[128];
	int64_t number;

	if (whole_number(value, &number) && number >= k->least && number <= k->most) {
		snprintf(ret, size, "%lld", (long long)number);
		return 0;
	}
	shown(value, text, sizeof(text));
	snprintf(least, sizeof(least), "%lld", (long long)k->least);
	snprintf(most, sizeof(most), "%lld", (long long)k->most);
	return fault_set(f, -EINVAL, MSG_SETTING_OUT_OF_RANGE, "setting", k->name, "value", text, "least", least,
			 "most", most, NULL);
}

static int check_choice(const struct value_kind *k, const json_t *value, char *ret, size_t size, struct fault *f)
{
	const char *given = json_string_value(value);
	char choices[128] = "", text[128];
	size_t used = 0;

	for (size_t i = 0; i < VALUE_CHOICES_MAX && k->choices[i]; i++) {
		if (given && !strcmp(given, k->choices[i])) {
			snprintf(ret, size, "%s", given);
			return 0;
		}
		used +=
		    (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%s", i ? ", " : "", k->choices[i]);
	}
	shown(value, text, sizeof(text));
	return fault_set(f, -EINVAL, MSG_SETTING_NOT_A_CHOICE, "setting", k->name, "value", text, "choices", choices,
			 NULL);
}

static int check_text(const struct value_kind *k, const json_t *value, char *ret, size_t size, struct fault *f)
{
	size_t len = json_string_length(value);
	char text[128], expected[64];
	int err;

	if (!json_is_string(value) || len > k->text_most || !utf8_is_printable(json_string_value(value), len)) {
		shown(value, text, sizeof(text));
		snprintf(expected, sizeof(expected), "a printable text of at most %zu bytes", k->text_most);
		return fault_set(f, -EINVAL, MSG_VALUE_BAD, "name", k->name, "value", text, "expected", expected, NULL);
	}
	err = len && k->check ? k->check(json_string_value(value), f) : 0;
	if (!err)
		snprintf(ret, size, "%s", json_string_value(value));
	return err;
}

int value_check(const struct value_kind *k, const json_t *value, char ret[VALUE_SIZE], struct fault *ret_fault)
{
	if (json_is_null(value)) {
		*ret = '\0';
		return 0;
	}
	switch (form_of(k)) {
	case CHOICE:
		return check_choice(k, value, ret, VALUE_SIZE, ret_fault);
	case TEXT:
		return check_text(k, value, ret, VALUE_SIZE, ret_fault);
	default:
		return check_number(k, value, ret, VALUE_SIZE, ret_fault);
	}
}

/* --- showing the table ------------------------------------------------------------------------ */

const char *value_names(const struct value_kind *table, size_t count, char *buf, size_t size)
{
	size_t used = 0;

	*buf = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", table[i].name);
	return buf;
}

json_t *value_describe(const struct value_kind *k)
{
	static const char *const forms[] = { [NUMBER] = "integer", [CHOICE] = "choice", [TEXT] = "text" };
	json_t *d = json_pack("{s:s, s:s}", "name", k->name, "type", forms[form_of(k)]), *choices;

	if (form_of(k) == NUMBER) {
		json_object_set_new(d, "minimum", json_integer(k->least));
		json_object_set_new(d, "maximum", json_integer(k->most));
	} else if (form_of(k) == CHOICE) {
		choices = json_array();
		for (size_t i = 0; i < VALUE_CHOICES_MAX && k->choices[i]; i++)
			json_array_append_new(choices, json_string(k->choices[i]));
		json_object_set_new(d, "choices", choices);
	} else {
		json_object_set_new(d, "longest", json_integer((json_int_t)k->text_most));
	}
	json_object_set_new(d, "default", value_of(k, NULL));
	json_object_set_new(d, "unit", json_string(k->unit));
	json_object_set_new(d, "text", json_string(k->text));
	return d;
}
