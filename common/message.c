/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"
#include "utf8.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>

struct message {
	const char *name;
	enum message_severity severity;
	struct {
		const char *text, *remedy;
	} in[2]; /* by enum message_language */
};

static const struct message messages[MSG_COUNT] = {
#define MSG(code, level, en, en_remedy, ja, ja_remedy) \
	[MSG_##code] = { #code, SEVERITY_##level, { { en, en_remedy }, { ja, ja_remedy } } },
#include "messages.def"
#undef MSG
};

const char *message_name(enum message_code code)
{
	assert(code < MSG_COUNT);
	return messages[code].name;
}

enum message_severity message_severity(enum message_code code)
{
	assert(code < MSG_COUNT);
	return messages[code].severity;
}

int message_from_name(const char *name, enum message_code *ret)
{
	for (unsigned int i = 0; i < MSG_COUNT; i++) {
		if (strcmp(messages[i].name, name) != 0)
			continue;
		*ret = (enum message_code)i;
		return 0;
	}
	return -ENOENT;
}

struct out {
	char *buf;
	size_t size, len;
};

static void append(struct out *o, const char *s, size_t len)
{
	size_t n = utf8_fitting(s, len, o->size - 1 - o->len);

	memcpy(o->buf + o->len, s, n);
	o->len += n;
	o->buf[o->len] = '\0';
	if (n < len)
		o->size = o->len + 1; /* full: nothing after a cut */
}

static const char *value_of(const struct message_arg *args, const char *name, size_t len)
{
	for (; args && args->name; args++)
		if (strncmp(args->name, name, len) == 0 && args->name[len] == '\0')
			return args->value;
	return NULL;
}

static void fill(struct out *o, const char *text, const struct message_arg *args)
{
	const char *open, *close, *value;

	while ((open = strchr(text, '{')) && (close = strchr(open, '}'))) {
		append(o, text, (size_t)(open - text));
		value = value_of(args, open + 1, (size_t)(close - open - 1));
		if (value)
			append(o, value, strlen(value));
		else
			append(o, open, (size_t)(close + 1 - open));
		text = close + 1;
	}
	append(o, text, strlen(text));
}

/* What a program said may end in a full stop; whoever goes on puts one of his own. */
static void fill_text(struct out *o, enum message_code code, enum message_language lang, const struct message_arg *args)
{
	fill(o, messages[code].in[lang].text, args);
	if (o->len > 1 && o->buf[o->len - 1] == '.' && o->buf[o->len - 2] != '.')
		o->buf[--o->len] = '\0';
}

char *message_text(enum message_code code, enum message_language lang, const struct message_arg *args, char *buf,
		   size_t size)
{
	struct out o = { buf, size, 0 };

	assert(code < MSG_COUNT && lang <= LANGUAGE_JA && size > 0);
	buf[0] = '\0';
	fill_text(&o, code, lang, args);
	return buf;
}

char *message_remedy(enum message_code code, enum message_language lang, const struct message_arg *args, char *buf,
		     size_t size)
{
	struct out o = { buf, size, 0 };

	assert(code < MSG_COUNT && lang <= LANGUAGE_JA && size > 0);
	buf[0] = '\0';
	fill(&o, messages[code].in[lang].remedy, args);
	return buf;
}

int fault_set(struct fault *fault, int err, enum message_code code, ...)
{
	const char *name, *value;
	va_list ap;

	if (!fault)
		return err;
	fault->code = code;
	fault->arg_count = 0;
	va_start(ap, code);
	while ((name = va_arg(ap, const char *))) {
		value = va_arg(ap, const char *);
		assert(fault->arg_count < FAULT_ARGS_MAX && strlen(name) < sizeof(fault->args[0].name));
		strcpy(fault->args[fault->arg_count].name, name);
		utf8_clean(value ? value : "", fault->args[fault->arg_count].value, FAULT_VALUE_MAX);
		fault->arg_count++;
	}
	va_end(ap);
	return err;
}

char *fault_format(const struct fault *fault, enum message_language lang, char *buf, size_t size)
{
	struct message_arg args[FAULT_ARGS_MAX + 1] = { { NULL, NULL } };
	struct out o = { buf, size, 0 };
	const char *stop = lang == LANGUAGE_JA ? "。" : ". ";

	assert(fault->code < MSG_COUNT && fault->arg_count <= FAULT_ARGS_MAX && size > 0);
	for (unsigned int i = 0; i < fault->arg_count; i++)
		args[i] = (struct message_arg){ fault->args[i].name, fault->args[i].value };
	buf[0] = '\0';
	fill_text(&o, fault->code, lang, args);
	append(&o, stop, strlen(stop));
	fill(&o, messages[fault->code].in[lang].remedy, args);
	return buf;
}
