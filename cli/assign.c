/* SPDX-License-Identifier: Apache-2.0 */
#include "assign.h"
#include "instance.h"
#include "when.h"
#include <stdlib.h>

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* The console takes numbers as texts, too. */
static json_t *value_of(const char *key, const char *text)
{
	uint64_t seconds;

	if (strcmp(text, "default") == 0)
		return json_null();
	if (ends_with(key, "_seconds") && when_duration(text, &seconds) == 0)
		return json_integer((json_int_t)seconds);
	return json_string(text);
}

json_t *assign_read(struct cli *c)
{
	json_t *body = json_object();

	for (size_t i = 1; i < c->operand_count; i++) {
		char *word = c->operands[i], *equals = strchr(word, '='), *key;
		json_t *value;

		if (!equals || equals == word || !equals[1]) {
			cli_usage(c, "\"%s\" is not KEY=VALUE", word);
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
