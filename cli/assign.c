/* SPDX-License-Identifier: Apache-2.0 */
#include "assign.h"
#include "api.h"
#include "instance.h"
#include "when.h"
#include "words.h"
#include <stdio.h>
#include <stdlib.h>

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* The console takes numbers as texts, too. */
static json_t *value_of(const char *key, const char *text)
{
	uint64_t seconds, ms;

	if (strcmp(text, "default") == 0)
		return json_null();
	if (ends_with(key, "_seconds") && when_duration(text, &seconds) == 0)
		return json_integer((json_int_t)seconds);
	if (ends_with(key, "_ms") && when_milliseconds(text, &ms) == 0)
		return json_integer((json_int_t)ms);
	return json_string(text);
}

json_t *assign_read(struct cli *c)
{
	json_t *body = json_object();

	for (size_t i = 1; i < c->operand_count; i++) {
		char *word = c->operands[i], *equals = strchr(word, '='), *key;
		json_t *value;

		if (!equals || equals == word || !equals[1]) {
			cli_usage(c, equals && equals != word ? "\"%s\" is not KEY=VALUE; %sdefault takes back what was set" :
								"\"%s\" is not KEY=VALUE", word, word);
			json_decref(body);
			return NULL;
		}
		key = text_copy(word);
		key[equals - word] = '\0';
		value = value_of(key, equals + 1);
		if (!value || json_object_set_new(body, key, value)) {
			cli_usage(c, "\"%s\" is not valid UTF-8", word);
			free(key);
			json_decref(body);
			return NULL;
		}
		free(key);
	}
	return body;
}

static int show(struct cli *c, const struct assigned *a, const json_t *before, const json_t *now)
{
	json_t *table = api_get(c, a->table);

	if (!table)
		return CLI_FAILED;
	a->show(c, before, now, get_array(table, a->members));
	json_decref(table);
	return CLI_DONE;
}

/* What was refused is said in seconds: which of the words it was. */
static void name_durations(const struct cli *c, const json_t *body)
{
	for (size_t i = 1; i < c->operand_count; i++) {
		const char *word = c->operands[i], *equals = strchr(word, '='), *end = word + strlen(word) - 1;
		char *key = text_format("%.*s", (int)(equals - word), word);
		const json_t *value = json_object_get(body, key);

		if (json_is_integer(value) && (*end < '0' || *end > '9'))
			fprintf(stderr, say(c, "%s is %lld seconds.\n", "%s は %lld 秒です。\n"), word,
				(long long)json_integer_value(value));
		free(key);
	}
}

static int change(struct cli *c, const struct assigned *a, const json_t *before)
{
	json_t *body = assign_read(c), *after;
	int r;

	if (!body)
		return CLI_USAGE;
	after = api_call(c, "PATCH", body, API_SOON_MS, "/machines/%s/%s", c->operands[0], a->resource);
	if (!after)
		name_durations(c, body);
	json_decref(body);
	if (!after)
		return CLI_FAILED;
	r = show(c, a, before, after);
	json_decref(after);
	return r;
}

int assign_run(struct cli *c, const struct assigned *a)
{
	json_t *now = api_get(c, "/machines/%s/%s", c->operands[0], a->resource);
	int r;

	if (!now)
		return CLI_FAILED;
	r = c->operand_count == 1 ? show(c, a, NULL, now) : change(c, a, now);
	json_decref(now);
	return r;
}
