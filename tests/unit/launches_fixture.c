/* SPDX-License-Identifier: Apache-2.0 */
#include "launches_fixture.h"
#include "wallclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct fixture con;
struct caller agent, server;

bool is_null_in(const json_t *object, const char *name)
{
	return json_is_null(json_object_get(object, name));
}

json_t *get(const char *what, const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/%s/%s", what, id);
	return ADMIN(200, "GET", path, NULL);
}

/* About one launch. */
json_t *call(int status, const char *method, const char *launch, const char *what)
{
	char path[128];

	snprintf(path, sizeof(path), "/launches/%s%s", launch, what);
	return ADMIN(status, method, path, NULL);
}

/* --- a server that answers what it is asked, until it is told to stop ------------------------ */

static void reply(struct fake *f, const json_t *command, const struct answer *a)
{
	json_t *body = json_pack("{s:s, s:b}", "id", text_in(command, "id"), "ok", a->fault == NULL);

	if (a->fault)
		json_object_set_new(body, "fault", json_pack("{s:s, s:{s:s*}}", "code", a->fault, "args", "machine",
							     text_in(command, "machine")));
	else
		json_object_set_new(body, "result", a->result ? json_deep_copy(a->result) : json_object());
	json_decref(caller_call(&con, &f->line, 204, "POST", "/link/reply", body));
}

static void take_command(struct fake *f, const json_t *command)
{
	for (const struct answer *a = f->answers; a->verb; a++)
		if (!strcmp(a->verb, text_in(command, "verb")))
			reply(f, command, a);
	pthread_mutex_lock(&f->lock);
	json_array_append_new(f->commands, json_deep_copy(command));
	pthread_cond_broadcast(&f->came);
	pthread_mutex_unlock(&f->lock);
}

static bool is_stopped(struct fake *f)
{
	bool yes;

	pthread_mutex_lock(&f->lock);
	yes = f->stop;
	pthread_mutex_unlock(&f->lock);
	return yes;
}

static void *serve(void *arg)
{
	struct fake *f = arg;
	int64_t version = 0;

	while (!is_stopped(f)) {
		json_t *answer, *c;
		char path[96];
		size_t i;

		snprintf(path, sizeof(path), "/link?wait=30&version=%lld", (long long)version);
		answer = caller_call(&con, &f->line, 200, "GET", path, NULL);
		version = number_in(answer, "version");
		json_array_foreach(json_object_get(answer, "commands"), i, c)
			take_command(f, c);
		json_decref(answer);
	}
	return NULL;
}

void fake_start(struct fake *f, const struct answer *answers)
{
	json_t *first, *c;
	size_t i;

	*f = (struct fake){ .answers = answers, .commands = json_array(), .lock = PTHREAD_MUTEX_INITIALIZER,
			    .came = PTHREAD_COND_INITIALIZER, .line = server };
	f->line.http = NULL;
	caller_connect(&con, &f->line);
	first = caller_call(&con, &f->line, 200, "GET", "/link?wait=0", NULL);
	json_array_foreach(json_object_get(first, "commands"), i, c)
		take_command(f, c);
	json_decref(first);
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

void fake_stop(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_mutex_unlock(&f->lock);
	live_command(con.console.live, server.id, json_pack("{s:s, s:s}", "id", "stop", "verb", "stop"), true);
	pthread_join(f->thread, NULL);
	live_withdraw(con.console.live, server.id, "stop");
	caller_done(&f->line);
	json_decref(f->commands);
}

/* The first command of that verb, waited for. */
json_t *command_of(struct fake *f, const char *verb)
{
	struct timespec deadline;
	json_t *found = NULL, *c;
	size_t i;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 20;
	pthread_mutex_lock(&f->lock);
	while (!found) {
		json_array_foreach(f->commands, i, c)
			if (!found && !strcmp(text_in(c, "verb"), verb))
				found = json_deep_copy(c);
		if (!found && pthread_cond_timedwait(&f->came, &f->lock, &deadline))
			break;
	}
	pthread_mutex_unlock(&f->lock);
	assert_non_null(found);
	return found;
}

json_t *newest_launch(void)
{
	json_t *answer = ADMIN(200, "GET", "/launches?limit=1", NULL);
	json_t *launch = json_incref(json_array_get(json_object_get(answer, "launches"), 0));

	json_decref(answer);
	return launch;
}

/* --- records --------------------------------------------------------------------------------- */

bool has_points = true;
char second[ID_SIZE];

void post_status(json_t *records)
{
	json_t *point =
	    has_points ? json_pack("{s:i, s:s}", "epoch", 7, "time", "2026-11-22T09:41:07Z") : json_null();
	json_t *status = json_pack("{s:s, s:i, s:[{s:s, s:O}, {s:s, s:o}], s:o}", "address", "", "port", 1500,
				   "machines", "id", agent.id, "newest_point", point, "id", *second ? second : "none",
				   "newest_point", point, "launches", records);

	json_decref(caller_call(&con, &server, 204, "POST", "/link/status", status));
}

void post_one(const json_t *record)
{
	post_status(json_pack("[O]", record));
}

json_t *new_record(const char *launch, const char *kind)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:i, s:s}, s:{s:s}, s:{}, s:[]}", "launch", launch,
			 "machine", "m", "machine_id", agent.id, "kind", kind, "state", "preparing", "since",
			 "2026-11-22T10:00:00.000000Z", "point", "epoch", 7, "time", "2026-11-22T09:41:07.000000Z",
			 "times", "asked", "2026-11-22T10:00:00.000000Z", "milliseconds", "log");
}

void move(json_t *record, const char *state, const char *message)
{
	char now[WALLCLOCK_TEXT_LEN + 1];

	wallclock_format(wallclock_now_us(), now);
	json_object_set_new(record, "state", json_string(state));
	json_object_set_new(record, "since", json_string(now));
	json_array_append_new(json_object_get(record, "log"),
			      json_pack("{s:s, s:s}", "time", now, "message", message));
	post_one(record);
}

void boot(json_t *record)
{
	json_object_set_new(record, "proof", json_string("a login prompt is on its serial console"));
	json_object_set_new(record, "milliseconds", json_pack("{s:i}", "proof", 12345));
	move(record, "booted", "it runs: a login prompt is on its serial console");
}

void fault_of(json_t *record, const char *code)
{
	json_object_set_new(
	    record, "fault",
	    json_pack("{s:s, s:{s:s, s:s}}", "code", code, "args", "machine", "m", "reason", "why not"));
}

const struct answer all_well[] = { { "launch" }, { "terminate" }, { "keep" }, { NULL } };

void ask(const char *kind, char launch[ID_SIZE], char job[ID_SIZE])
{
	json_t *answer = ADMIN(202, "POST", "/machines/m/launches", json_pack("{s:s}", "kind", kind));

	snprintf(launch, ID_SIZE, "%s", text_in(answer, "launch"));
	snprintf(job, ID_SIZE, "%s", text_in(answer, "job"));
	json_decref(answer);
}

void expect_job(const char *id, const char *type, const char *status, size_t lines)
{
	json_t *j = get("jobs", id);

	assert_string_equal(text_in(j, "type"), type);
	assert_string_equal(text_in(j, "status"), status);
	assert_int_equal(json_array_size(json_object_get(j, "log")), lines);
	assert_int_equal(is_null_in(j, "ended"), !strcmp(status, "STARTED") || !strcmp(status, "PENDING"));
	assert_string_equal(text_in(json_array_get(json_object_get(j, "participating_machines"), 0), "id"), agent.id);
	json_decref(j);
}

void expect_state(const char *launch, const char *state)
{
	json_t *l = get("launches", launch);

	assert_string_equal(text_in(l, "state"), state);
	json_decref(l);
}

bool has_event(const char *code, const char *launch)
{
	json_t *answer = ADMIN(200, "GET", "/events?limit=1000", NULL), *e;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(answer, "events"), i, e)
		if (!strcmp(text_in(e, "code"), code) &&
		    (!launch || !strcmp(text_in(json_object_get(e, "args"), "launch"), launch)))
			found = true;
	json_decref(answer);
	return found;
}

/* --- the group ------------------------------------------------------------------------------- */

int launches_setup(void **state)
{
	fixture_start(&con);
	fixture_enrol(&con, &server, "server", "s");
	fixture_enrol(&con, &agent, "agent", "m");
	return 0;
}

int launches_teardown(void **state)
{
	caller_done(&agent);
	caller_done(&server);
	fixture_stop(&con);
	return 0;
}
