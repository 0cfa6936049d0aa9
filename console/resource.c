/* SPDX-License-Identifier: Apache-2.0 */
#include "resource.h"

#include "db_events.h"
#include "link.h"
#include "utf8.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 1024

int resource_machine(struct request *r, struct machine_row *ret)
{
	struct db *db = catalogue_read(r->console->catalogue);
	bool found = db_machine_find(db, r->params[0], ret);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a machine", err);
	return found ? 0 : request_refuse(r, 404, MSG_MACHINE_UNKNOWN, "machine", r->params[0], NULL);
}

int resource_need_machine(struct request *r, struct db *db, const char *machine)
{
	struct machine_row m;

	return db_error(db) || db_machine_find(db, machine, &m) || db_machine_by_id(db, machine, &m)
		       ? 0
		       : request_refuse(r, 404, MSG_MACHINE_UNKNOWN, "machine", machine, NULL);
}

json_t *resource_command(const char *verb)
{
	struct uuid id = uuid_random();
	char text[ID_SIZE];

	return json_pack("{s:s, s:s}", "id", uuid_format(&id, text), "verb", verb);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Programs speak of machines by id, people by name. */
static void name_machine(struct fault *f, const struct machine_row *m)
{
	for (unsigned int i = 0; m && i < f->arg_count; i++)
		if (!strcmp(f->args[i].value, m->id))
			snprintf(f->args[i].value, sizeof(f->args[i].value), "%s", m->name);
}

static int server_away(struct request *r, const char *name, uint64_t seen_us)
{
	char seen[WALLCLOCK_TEXT_LEN + 1];

	return request_refuse(r, 503, MSG_SERVER_AWAY, "server", name, "seen", resource_time_or_never(seen_us, seen),
			      NULL);
}

static int call(struct request *r, const struct server_row *s, const struct machine_row *m, json_t *command,
		unsigned int timeout_ms, json_t **ret_result)
{
	uint64_t deadline = monotonic_now_us() + timeout_ms * USEC_PER_MSEC;
	struct live_view v = live_view(r->console->live, s->id);
	struct fault f;
	int err;

	live_view_done(&v);
	if (!v.connected) {
		json_decref(command);
		return server_away(r, s->name, MAX(v.seen_us, (uint64_t)s->last_seen_us));
	}
	err = live_call(r->console->live, s->id, command, deadline, ret_result, &f);
	if (err == -EREMOTEIO) {
		name_machine(&f, m);
		return request_fault(r, &f);
	}
	if (err == -ESHUTDOWN)
		return server_away(r, s->name, v.seen_us);
	if (err)
		return request_refuse(r, 504, MSG_SERVER_SILENT, "server", s->name, NULL);
	return 0;
}

int resource_call(struct request *r, const struct server_row *s, json_t *command, unsigned int timeout_ms,
		  json_t **ret_result)
{
	return call(r, s, NULL, command, timeout_ms, ret_result);
}

static int find_server(struct request *r, const struct machine_row *m, struct server_row *ret)
{
	struct db *db = catalogue_read(r->console->catalogue);
	bool found = *m->server_id && db_server_find(db, m->server_id, ret);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a server", err);
	return found ? 0 : request_refuse(r, 409, MSG_NO_SERVER, NULL);
}

int resource_call_server(struct request *r, const struct machine_row *m, json_t *command, unsigned int timeout_ms,
			 json_t **ret_result)
{
	struct server_row s;
	int status = find_server(r, m, &s);

	if (status) {
		json_decref(command);
		return status;
	}
	return call(r, &s, m, command, timeout_ms, ret_result);
}

int resource_need_agent(struct request *r, const struct machine_row *m)
{
	struct live_view v = live_view(r->console->live, m->id);
	char seen[WALLCLOCK_TEXT_LEN + 1];

	live_view_done(&v);
	if (v.connected)
		return 0;
	return request_refuse(r, 409, MSG_AGENT_AWAY, "machine", m->name, "seen",
			      resource_time_or_never(MAX(v.seen_us, (uint64_t)m->last_seen_us), seen), NULL);
}

static int need_server(struct request *r, const struct machine_row *m)
{
	struct server_row s;
	struct live_view v;
	int status = find_server(r, m, &s);

	if (status)
		return status;
	v = live_view(r->console->live, s.id);
	live_view_done(&v);
	return v.connected ? 0 : server_away(r, s.name, MAX(v.seen_us, (uint64_t)s.last_seen_us));
}

/* What keeps the agent from its replication server, in the agent's own words. */
static int need_no_problem(struct request *r, const struct machine_row *m)
{
	struct live_view v = live_view(r->console->live, m->id);
	struct fault f;
	json_t *p;
	size_t i;
	int status = 0;

	json_array_foreach(json_object_get(v.status, "problems"), i, p) {
		const char *code = json_string_value(json_object_get(p, "code"));

		if (!status && code && !strncmp(code, "REPLICATION_", 12) && !fault_from_json(p, &f))
			status = request_fault(r, &f);
	}
	live_view_done(&v);
	return status;
}

int resource_need_connection(struct request *r, const struct machine_row *m)
{
	int status = need_server(r, m);

	return status ? status : need_no_problem(r, m);
}

int resource_call_agent(struct request *r, const struct machine_row *m, json_t *command, unsigned int timeout_ms,
			json_t **ret_result)
{
	uint64_t deadline = monotonic_now_us() + timeout_ms * USEC_PER_MSEC;
	int status = resource_need_agent(r, m), err;
	struct fault f;

	if (status) {
		json_decref(command);
		return status;
	}
	err = live_call(r->console->live, m->id, command, deadline, ret_result, &f);
	if (err == -EREMOTEIO) {
		name_machine(&f, m);
		return request_fault(r, &f);
	}
	return err ? request_refuse(r, 504, MSG_AGENT_SILENT, "machine", m->name, NULL) : 0;
}

/* --- events ------------------------------------------------------------------------------------- */

static void add_arg(struct fault *f, const char *name, const char *value)
{
	assert(f->arg_count < FAULT_ARGS_MAX);
	snprintf(f->args[f->arg_count].name, sizeof(f->args[0].name), "%s", name);
	utf8_clean(value, f->args[f->arg_count].value, sizeof(f->args[0].value));
	f->arg_count++;
}

void resource_event(struct request *r, struct db *db, const struct machine_row *m, const json_t *changes,
		    enum message_code code, ...)
{
	struct fault f = { .code = code };
	struct event e = { .project_id = m ? m->project_id : r->console->project_id,
			   .machine_id = m ? m->id : NULL,
			   .machine_name = m ? m->name : NULL,
			   .who = r->who,
			   .fault = &f,
			   .changes = changes };
	const char *name;
	va_list ap;

	if (m)
		add_arg(&f, "machine", m->name);
	va_start(ap, code);
	while ((name = va_arg(ap, const char *)))
		add_arg(&f, name, va_arg(ap, const char *));
	va_end(ap);
	db_event_add(db, &e);
}

/* --- problems ---------------------------------------------------------------------------------- */

static const char *severity_text(enum message_code code)
{
	static const char *const names[] = { "info", "warning", "error" };

	return names[message_severity(code)];
}

void resource_problem(json_t *list, const struct request *r, enum message_code code, json_t *args, json_t *since)
{
	struct message_arg a[FAULT_ARGS_MAX + 1] = { 0 };
	char text[TEXT_MAX], remedy[TEXT_MAX];
	const char *name;
	json_t *value;
	size_t n = 0;

	json_object_foreach(args, name, value)
		if (n < FAULT_ARGS_MAX && json_is_string(value))
			a[n++] = (struct message_arg){ name, json_string_value(value) };
	message_text(code, r->language, a, text, sizeof(text));
	message_remedy(code, r->language, a, remedy, sizeof(remedy));
	json_array_append_new(list,
			      json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "code", message_name(code), "severity",
					severity_text(code), "text", text, "remedy", remedy, "args", args, "since", since));
}

/* --- small things ---------------------------------------------------------------------------------- */

bool resource_is_every_address(const char *address)
{
	return !*address || !strcmp(address, "0.0.0.0") || !strcmp(address, "::");
}

bool resource_is_loopback(const char *address)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, address, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

const char *resource_server_address(const struct request *r, const struct server_row *s)
{
	return resource_is_every_address(s->address) && *r->host ? r->host : s->address;
}

const char *resource_time_or_never(uint64_t us, char *buf)
{
	return us ? wallclock_format(us, buf) : "never";
}

json_t *resource_time(uint64_t us)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	return us ? json_string(wallclock_format(us, text)) : json_null();
}

/* To be freed. */
static char *cleaned_text(const char *text)
{
	size_t size = strlen(text) + 1;
	char *clean = malloc(size);

	if (!clean)
		abort();
	return utf8_clean(text, clean, size);
}

static json_t *cleaned_object(const json_t *said)
{
	json_t *copy = json_object(), *value;
	const char *name;

	json_object_foreach((json_t *)said, name, value) {
		char *clean = cleaned_text(name);

		json_object_set_new(copy, clean, resource_cleaned(value));
		free(clean);
	}
	return copy;
}

json_t *resource_cleaned(const json_t *said)
{
	json_t *copy, *value;
	char *clean;
	size_t i;

	switch (json_typeof(said)) {
	case JSON_OBJECT:
		return cleaned_object(said);
	case JSON_ARRAY:
		copy = json_array();
		json_array_foreach(said, i, value)
			json_array_append_new(copy, resource_cleaned(value));
		return copy;
	case JSON_STRING:
		clean = cleaned_text(json_string_value(said));
		copy = json_string(clean);
		free(clean);
		return copy;
	default:
		return json_deep_copy(said);
	}
}

int64_t resource_integer(const json_t *object, const char *name, int64_t otherwise)
{
	const json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}
