/* SPDX-License-Identifier: Apache-2.0 */
/* value - what a named value of a table may be: a number within limits, one of some words, or a text. */
#ifndef GODWIT_CONSOLE_VALUE_H
#define GODWIT_CONSOLE_VALUE_H

#include "base.h"
#include "message.h"
#include <jansson.h>

#define VALUE_SIZE 1040
#define VALUE_CHOICES_MAX 5

struct value_kind {
	const char *name;
	int64_t least, most, usual;		/* a number; or ... */
	const char *choices[VALUE_CHOICES_MAX]; /* ... one of these, the first is the default; or ... */
	size_t text_most;			/* ... printable text of so many bytes, "" by default */
	const char *unit, *text;
	/* What else is asked of a text that is not "": -EINVAL with what is wrong with it; NULL: nothing. */
	int (*check)(const char *text, struct fault *ret_fault);
};

const struct value_kind *value_find(const struct value_kind *table, size_t count, const char *name);

/* The value that the kept @text stands for; NULL: the default. */
json_t *value_of(const struct value_kind *k, const char *text);

/* As events show it.  Returns @buf. */
const char *value_text(const json_t *value, char *buf, size_t size);

/* A value as it came: the text to keep for it in @ret, "" for null (back to the
 * default).  -EINVAL with the fault. */
_must_check_ int value_check(const struct value_kind *k, const json_t *value, char ret[VALUE_SIZE],
			     struct fault *ret_fault);

/* "epoch_ms, compression, ...".  Returns @buf. */
const char *value_names(const struct value_kind *table, size_t count, char *buf, size_t size);

/* {name, type, minimum ..., default, unit, text} */
json_t *value_describe(const struct value_kind *k);

#endif
