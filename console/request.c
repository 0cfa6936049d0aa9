/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include "link.h"
#include "utf8.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 2048
#define DEPTH_MAX 64u

/* --- query ------------------------------------------------------------------------------- */

const char *request_query(const struct request *r, const char *name)
{
	return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
}

int request_query_number(struct request *r, const char *name, uint64_t least, uint64_t most, uint64_t *ret)
{
	const char *text = request_query(r, name);
	char range[64], *end;
	unsigned long long value;

	if (!text)
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < least || value > most) {
		snprintf(range, sizeof(range), "a whole number from %llu to %llu", (unsigned long long)least,
			 (unsigned long long)most);
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", name, "value", text, "expected", range, NULL);
	}
	*ret = value;
	return 0;
}

int request_query_bool(struct request *r, const char *name, bool *ret)
{
	const char *text = request_query(r, name);

	if (!text)
		return 0;
	if (!strcmp(text, "1") || !strcmp(text, "true"))
		*ret = true;
	else if (!strcmp(text, "0") || !strcmp(text, "false"))
		*ret = false;
	else
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", name, "value", text, "expected", "0 or 1", NULL);
	return 0;
}

int request_query_time(struct request *r, const char *name, uint64_t *ret_us)
{
	const char *text = request_query(r, name);

	if (text && wallclock_parse(text, ret_us))
		return request_refuse(r, 400, MSG_TIME_BAD, "value", text, NULL);
	return 0;
}

/* --- answers ------------------------------------------------------------------------------ */

int request_answer(struct request *r, int status, json_t *answer)
{
	assert(!r->answer);
	r->answer = answer;
	return answer ? status : request_catalogue_failed(r, "making an answer", -ENOMEM);
}

int request_nothing(struct request *r)
{
	return MHD_HTTP_NO_CONTENT;
}

int request_refuse(struct request *r, int status, enum message_code code, ...)
{
	struct fault *f = &r->fault;
	const char *name;
	va_list ap;

	memset(f, 0, sizeof(*f));
	f->code = code;
	va_start(ap, code);
	while ((name = va_arg(ap, const char *))) {
		assert(f->arg_count < FAULT_ARGS_MAX);
		snprintf(f->args[f->arg_count].name, sizeof(f->args[0].name), "%s", name);
		utf8_clean(va_arg(ap, const char *), f->args[f->arg_count].value, sizeof(f->args[0].value));
		f->arg_count++;
	}
	va_end(ap);
	return status;
}

/* Faults that agents and servers answer with; all others are 409, "not now". */
static int status_of(enum message_code code)
{
	switch (code) {
	case MSG_POINT_NONE:
	case MSG_POINT_OUT_OF_RANGE:
	case MSG_POINT_TIME_AHEAD:
	case MSG_POINT_UNKNOWN:
	case MSG_EXPORT_UNKNOWN:
	case MSG_LAUNCH_UNKNOWN:
	case MSG_LAUNCH_NO_SCREENSHOT:
		return 404;
	case MSG_DISK_UNKNOWN:
	case MSG_POINT_WITHOUT_DISK:
		return 400;
	case MSG_SERVER_AWAY:
		return 503;
	default:
		return 409;
	}
}

int request_fault(struct request *r, const struct fault *f)
{
	r->fault = *f;
	return status_of(f->code);
}

int request_catalogue_failed(struct request *r, const char *doing, int err)
{
	console_catalogue_failed(r->console, doing, err);
	return request_refuse(r, 500, MSG_CATALOGUE_FAILED, "reason", strerror(-err), NULL);
}

json_t *request_fault_body(const struct fault *f, enum message_language language)
{
	json_t *body = fault_to_json(f);
	struct message_arg args[FAULT_ARGS_MAX + 1] = { 0 };
	char text[TEXT_MAX];

	for (unsigned int i = 0; i < f->arg_count; i++)
		args[i] = (struct message_arg){ f->args[i].name, f->args[i].value };
	json_object_set_new(body, "message", json_string(message_text(f->code, language, args, text, sizeof(text))));
	json_object_set_new(body, "remedy", json_string(message_remedy(f->code, language, args, text, sizeof(text))));
	return body;
}

/* What is parsed is walked by functions that call themselves, in a thread with little stack, and is
 * kept: before it is parsed, so that how deep the parser itself goes does not matter. */
static bool is_nested_too_deeply(const char *text, size_t len)
{
	bool in_text = false;
	unsigned int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_text && c == '\\')
			i++;
		else if (c == '"')
			in_text = !in_text;
		else if (!in_text && (c == '[' || c == '{') && ++depth > DEPTH_MAX)
			return true;
		else if (!in_text && (c == ']' || c == '}') && depth)
			depth--;
	}
	return false;
}

int request_parse(struct request *r)
{
	char reason[FAULT_VALUE_MAX];
	json_error_t e;

	if (!r->raw_len)
		return 0;
	if (is_nested_too_deeply(r->raw, r->raw_len))
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", "it is nested more than 64 deep", NULL);
	r->body = json_loadb(r->raw, r->raw_len, JSON_REJECT_DUPLICATES, &e);
	if (!r->body) {
		snprintf(reason, sizeof(reason), "it is not JSON: %.100s (line %d, column %d)", e.text, e.line, e.column);
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", reason, NULL);
	}
	if (!r->route->body_max && (!json_is_object(r->body) || json_object_size(r->body)))
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", "this call takes no members", NULL);
	return 0;
}

json_t *request_take_body(struct request *r)
{
	json_t *body = r->body;

	r->body = NULL;
	return body;
}

/* --- members --------------------------------------------------------------------------------- */

static const struct {
	const char *name;
} type_names[] = {
	[MEMBER_TEXT] = { "a text" },	    [MEMBER_INTEGER] = { "a whole number" }, [MEMBER_BOOL] = { "true or false" },
	[MEMBER_OBJECT] = { "an object" }, [MEMBER_ARRAY] = { "a list" },	     [MEMBER_ANY] = { "anything" },
};

static bool type_fits(enum member_type type, const json_t *value)
{
	switch (type) {
	case MEMBER_TEXT:
		return json_is_string(value);
	case MEMBER_INTEGER:
		return json_is_integer(value);
	case MEMBER_BOOL:
		return json_is_boolean(value);
	case MEMBER_OBJECT:
		return json_is_object(value);
	case MEMBER_ARRAY:
		return json_is_array(value);
	default:
		return true;
	}
}

static int misunderstood(struct request *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int misunderstood(struct request *r, const char *fmt, ...)
{
	char reason[FAULT_VALUE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", reason, NULL);
}

static const struct member *find_member(const struct member *members, const char *name)
{
	for (; members->name; members++)
		if (!strcmp(members->name, name))
			return members;
	return NULL;
}

/* A text with a NUL in it would be another text for C. */
static bool has_nul(const json_t *value)
{
	return json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value);
}

int request_members(struct request *r, json_t *object, const char *what, const struct member *members)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return misunderstood(r, "%s must be a JSON object", what);
	for (const struct member *m = members; m->name; m++)
		*m->value = NULL;
	json_object_foreach(object, name, value) {
		const struct member *m = find_member(members, name);

		if (!m)
			return misunderstood(r, "%s has no member \"%.60s\"", what, name);
		if (json_is_null(value) && !m->required && m->type != MEMBER_ANY)
			continue;
		if (!type_fits(m->type, value) || has_nul(value))
			return misunderstood(r, "\"%s\" must be %s", name, type_names[m->type].name);
		*m->value = value;
	}
	for (const struct member *m = members; m->name; m++)
		if (m->required && !*m->value)
			return misunderstood(r, "%s needs the member \"%s\"", what, m->name);
	return 0;
}
