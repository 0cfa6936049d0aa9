/* SPDX-License-Identifier: Apache-2.0 */
/* What the API shows of machines, and what it asks their agents and servers for. */
#include "console_fixture.h"
#include "db_work.h"
#include "pki.h"
#include "settings.h"
#include "ticks.h"
#include "utf8.h"
#include "wallclock.h"

#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct fixture con;

#define ADMIN(status, method, path, ...) fixture_admin(&con, status, method, path, __VA_ARGS__)

static void assert_key_of(const struct caller *c, const json_t *told)
{
	char text[PKI_PIN_TEXT_LEN + 1];
	uint8_t pin[16];

	assert_int_equal(pki_pin(c->cert, pin), 0);
	assert_string_equal(text_in(told, "key"), pki_pin_format(pin, text));
}

/* --- a server that answers commands ---------------------------------------------------------- */

struct responder {
	pthread_t thread;
	struct caller *caller;
	const char *verb;   /* ... is answered by: */
	json_t *result;	    /* or, when NULL, */
	const char *fault;  /* a fault with this code */
	const char *before; /* the first time, if not NULL, by a fault with this code */
	json_t *command;    /* as it came */
};

static json_t *fault_reply(const char *id, const char *fault, const json_t *command)
{
	return json_pack("{s:s, s:b, s:{s:s, s:{s:s}}}", "id", id, "ok", 0, "fault", "code", fault, "args", "machine",
			 text_in(command, "machine"));
}

static void *respond(void *arg)
{
	struct responder *r = arg;
	int64_t version = 0;

	for (;;) {
		json_t *answer, *c, *reply;
		const char *id;
		char path[96];
		size_t i;

		snprintf(path, sizeof(path), "/link?wait=30&version=%lld", (long long)version);
		answer = caller_call(&con, r->caller, 200, "GET", path, NULL);
		version = number_in(answer, "version");
		json_array_foreach(json_object_get(answer, "commands"), i, c) {
			if (strcmp(text_in(c, "verb"), r->verb))
				continue;
			id = text_in(c, "id");
			if (r->before) {
				reply = fault_reply(id, r->before, c);
				json_decref(caller_call(&con, r->caller, 204, "POST", "/link/reply", reply));
				r->before = NULL;
				continue;
			}
			reply = r->result ? json_pack("{s:s, s:b, s:O}", "id", id, "ok", 1, "result", r->result)
					  : fault_reply(id, r->fault, c);
			json_decref(caller_call(&con, r->caller, 204, "POST", "/link/reply", reply));
			r->command = json_incref(c);
			json_decref(answer);
			return NULL;
		}
		json_decref(answer);
	}
}

static void responder_start(struct responder *r)
{
	assert_int_equal(pthread_create(&r->thread, NULL, respond, r), 0);
}

static void responder_stop(struct responder *r)
{
	pthread_join(r->thread, NULL);
	json_decref(r->command);
	json_decref(r->result);
}

/* --- machines ------------------------------------------------------------------------------------------- */

static void test_lag_is_measured_by_the_sources_clock(void **state)
{
	struct caller a;
	uint64_t now_us;
	char now[WALLCLOCK_TEXT_LEN + 1], point[WALLCLOCK_TEXT_LEN + 1];
	json_t *m;
	double lag;

	fixture_enrol(&con, &a, "agent", "lag");
	/* The source is an hour behind, its newest point two seconds old. */
	now_us = wallclock_now_us() - 3600 * USEC_PER_SEC;
	wallclock_format(now_us, now);
	wallclock_format(now_us - 2 * USEC_PER_SEC, point);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:s, s:s, s:{s:i, s:s}}", "stage", "continuous", "time", now, "newest_point",
					  "epoch", 7, "time", point)));
	m = fixture_machine(&con, "lag");
	lag = json_real_value(json_object_get(m, "lag_seconds"));
	assert_true(lag >= 2 && lag < 10);
	assert_string_equal(text_in(m, "stage"), "continuous");
	assert_string_equal(code_of(json_array_get(json_object_get(m, "problems"), 1)), "CLOCKS_DIFFER");
	assert_non_null(text_in(json_object_get(m, "newest_point"), "id"));
	json_decref(m);
	fixture_drop(&con, "lag");
	caller_done(&a);
}

/* Points of an agent whose clock is ahead are in the console's future. */
static void test_lag_grows_when_the_agent_falls_silent_whatever_its_clock_says(void **state)
{
	uint64_t deadline = monotonic_now_us() + 20 * USEC_PER_SEC;
	struct caller a;
	double lag, first;
	json_t *m;

	fixture_enrol(&con, &a, "agent", "ahead");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:s, s:f, s:o}", "stage", "continuous", "lag_seconds", 0.5, "newest_point",
					  point_now(-3600 * (int64_t)USEC_PER_SEC))));
	m = fixture_machine(&con, "ahead");
	first = lag = json_real_value(json_object_get(m, "lag_seconds"));
	assert_true(lag >= 0.5 && lag < 10);
	json_decref(m);
	while (lag < first + 0.2) {
		assert_true(monotonic_now_us() < deadline);
		m = fixture_machine(&con, "ahead");
		lag = json_real_value(json_object_get(m, "lag_seconds"));
		json_decref(m);
	}
	fixture_drop(&con, "ahead");
	caller_done(&a);
}

static void test_a_stage_that_does_not_exist_is_not_passed_on(void **state)
{
	struct caller a;
	json_t *m;

	fixture_enrol(&con, &a, "agent", "odd");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:s, s:s, s:[i], s:i}", "stage", "\"} 1\nevil 2", "backlog_bytes", "many", "capture",
					  1, "unheard_of", 1)));
	m = fixture_machine(&con, "odd");
	assert_string_equal(text_in(m, "stage"), "initiating");
	assert_int_equal(number_in(m, "backlog_bytes"), 0);
	assert_string_equal(text_in(json_object_get(m, "capture"), "mode"), "payload");
	json_decref(m);
	fixture_drop(&con, "odd");
	caller_done(&a);
}

static bool has_control(const json_t *value)
{
	const char *name;
	json_t *part;
	size_t i;
	bool yes = false;

	if (json_is_string(value))
		return !utf8_is_printable(json_string_value(value), json_string_length(value));
	json_array_foreach(value, i, part)
		yes = yes || has_control(part);
	json_object_foreach((json_t *)value, name, part)
		yes = yes || !utf8_is_printable(name, strlen(name)) || has_control(part);
	return yes;
}

static void test_nothing_an_agent_says_reaches_a_terminal_as_a_control_sequence(void **state)
{
#define EVIL "\033]0;x\007"
	struct caller a;
	json_t *m, *problem;

	fixture_enrol(&con, &a, "agent", "evil");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:s, s:[{s:s, s:s, s:{s:s}}], s:[{s:s, s:s}], s:{s:s, s:i}, s:{s:s}}",
					  "stage", EVIL, "problems", "code", "DISK_GONE", "since", EVIL, "args", "disk", EVIL,
					  "disks", "id", EVIL, "device", "/dev/" EVIL, "capture", "mode", EVIL, EVIL, 1,
					  "rates", EVIL, EVIL)));
	m = fixture_machine(&con, "evil");
	assert_false(has_control(m));
	problem = json_array_get(json_object_get(m, "problems"), 1);
	assert_string_equal(code_of(problem), "DISK_GONE");
	assert_string_equal(text_in(json_object_get(problem, "args"), "disk"), "?]0;x?");
	assert_true(json_is_null(json_object_get(problem, "since")));
	assert_string_equal(text_in(json_array_get(json_object_get(m, "disks"), 0), "device"), "/dev/?]0;x?");
	json_decref(m);
	fixture_drop(&con, "evil");
	caller_done(&a);
}

static void test_pause_and_resume_reach_agent_and_server(void **state)
{
	struct caller a;
	json_t *answer;

	fixture_enrol(&con, &a, "agent", "pause");
	answer = ADMIN(202, "POST", "/machines/pause/pause", json_object());
	assert_string_equal(text_in(answer, "state"), "paused");
	json_decref(answer);
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	assert_string_equal(text_in(json_object_get(answer, "desired"), "state"), "paused");
	json_decref(answer);
	json_decref(ADMIN(202, "POST", "/machines/pause/resume", NULL));
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	assert_string_equal(text_in(json_object_get(answer, "desired"), "state"), "started");
	json_decref(answer);
	refused(ADMIN(422, "POST", "/machines/pause/pause", json_pack("{s:i}", "hard", 1)), "API_NOT_UNDERSTOOD");
	fixture_drop(&con, "pause");
	caller_done(&a);
}

static void test_disks_that_come_go_and_grow_are_events(void **state)
{
	struct caller a;
	json_t *answer, *events;

	fixture_enrol(&con, &a, "agent", "disks");
	json_decref(caller_call(&con, &a, 204, "POST", "/machines/disks/disks",
				json_pack("{s:[{s:s, s:s, s:I}, {s:s, s:s, s:i, s:i}]}", "disks", "id",
					  "11111111-1111-4111-8111-111111111111", "name", "/dev/sda", "size_bytes",
					  (json_int_t)2 << 30, "id", "22222222-1111-4111-8111-111111111111", "name",
					  "/dev/sdb", "size_bytes", 4096, "sector_bytes", 4096)));
	json_decref(caller_call(&con, &a, 204, "POST", "/machines/disks/disks", json_pack("{s:[]}", "disks")));
	answer = ADMIN(200, "GET", "/events?machine=disks&limit=4", NULL);
	events = json_object_get(answer, "events");
	assert_string_equal(code_of(json_array_get(events, 0)), "DISK_RESIZED");
	assert_string_equal(code_of(json_array_get(events, 1)), "DISK_ADDED");
	assert_string_equal(code_of(json_array_get(events, 2)), "DISK_DROPPED");
	assert_string_equal(code_of(json_array_get(events, 3)), "DISK_DROPPED");
	json_decref(answer);
	refused(caller_call(&con, &a, 400, "POST", "/machines/disks/disks",
			    json_pack("{s:[{s:s, s:s, s:i}]}", "disks", "id", "11111111-1111-4111-8111-111111111111",
				      "name", "/dev/sda", "size_bytes", 513)),
		"VALUE_BAD");
	fixture_drop(&con, "disks");
	caller_done(&a);
}

static void test_a_machine_is_not_removed_behind_its_agents_back(void **state)
{
	struct caller a;
	json_t *answer, *command;

	fixture_enrol(&con, &a, "agent", "gone");
	refused(ADMIN(409, "DELETE", "/machines/gone", NULL), "AGENT_AWAY");
	fixture_drop(&con, "gone");
	refused(ADMIN(404, "GET", "/machines/gone", NULL), "MACHINE_UNKNOWN");
	refused(ADMIN(404, "DELETE", "/machines/gone?force=1", NULL), "MACHINE_UNKNOWN");
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	command = json_array_get(json_object_get(answer, "commands"), 0);
	assert_string_equal(text_in(command, "verb"), "remove");
	assert_string_equal(text_in(json_object_get(answer, "desired"), "state"), "stopped");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/reply",
				json_pack("{s:O, s:b}", "id", json_object_get(command, "id"), "ok", 1)));
	json_decref(answer);
	refused(caller_call(&con, &a, 403, "GET", "/link", NULL), "MACHINE_REMOVED");
	answer = ADMIN(200, "GET", "/events?machine=gone", NULL);
	assert_true(json_array_size(json_object_get(answer, "events")) >= 2);
	json_decref(answer);
	caller_done(&a);
}

/* --- servers -------------------------------------------------------------------------------------------- */

static void test_without_a_server_points_are_a_clear_no(void **state)
{
	struct caller a;

	fixture_enrol(&con, &a, "agent", "homeless");
	refused(ADMIN(409, "GET", "/machines/homeless/points", NULL), "NO_SERVER");
	fixture_drop(&con, "homeless");
	caller_done(&a);
}

static void test_points_are_asked_of_the_server(void **state)
{
	struct caller a, s;
	struct responder r = { .caller = &s, .verb = "points" };
	json_t *answer;

	fixture_enrol(&con, &s, "server", "store1");
	fixture_enrol(&con, &a, "agent", "pointed");
	refused(ADMIN(503, "GET", "/machines/pointed/points", NULL), "SERVER_AWAY");
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status",
				json_pack("{s:s, s:i, s:[]}", "address", "10.1.2.3", "port", 1501, "machines")));
	r.result = json_pack("{s:[], s:n, s:n, s:i, s:b}", "points", "first", "last", "count", 0, "truncated", 0);
	responder_start(&r);
	answer = ADMIN(200, "GET", "/machines/pointed/points?from=2026-01-01T00:00:00%2B09:00&limit=5&newest=1", NULL);
	responder_stop(&r);
	assert_int_equal(number_in(answer, "count"), 0);
	json_decref(answer);
	r = (struct responder){ .caller = &s, .verb = "point", .fault = "POINT_NONE" };
	responder_start(&r);
	answer = ADMIN(404, "GET", "/machines/pointed/points/a%2Fb%20c", NULL);
	pthread_join(r.thread, NULL);
	assert_string_equal(text_in(r.command, "at"), "a/b c");
	assert_string_equal(text_in(r.command, "machine"), a.id);
	assert_string_equal(text_in(json_object_get(answer, "args"), "machine"), "pointed");
	refused(answer, "POINT_NONE");
	json_decref(r.command);
	refused(ADMIN(400, "GET", "/machines/pointed/points?from=yesterday", NULL), "TIME_BAD");
	refused(ADMIN(400, "GET", "/machines/pointed/points?limit=0", NULL), "VALUE_BAD");
	refused(ADMIN(422, "GET", "/machines/pointed/points?form=now", NULL), "API_NOT_UNDERSTOOD");
	answer = fixture_machine(&con, "pointed");
	assert_string_equal(text_in(json_object_get(answer, "replication_server"), "address"), "10.1.2.3");
	json_decref(answer);
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	assert_int_equal(number_in(json_object_get(json_object_get(answer, "desired"), "server"), "port"), 1501);
	assert_key_of(&s, json_object_get(json_object_get(answer, "desired"), "server"));
	json_decref(answer);
	refused(ADMIN(409, "DELETE", "/servers/store1", NULL), "SERVER_IN_USE");
	fixture_drop(&con, "pointed");
	json_decref(ADMIN(204, "DELETE", "/servers/store1", NULL));
	refused(caller_call(&con, &s, 403, "GET", "/link", NULL), "MACHINE_REMOVED");
	caller_done(&a);
	caller_done(&s);
}

static void *remove_it(void *arg)
{
	int *statuses = arg;
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path, .bearer = con.admin_token };
	json_t *body = NULL;
	struct fault f;
	struct http *h;

	assert_int_equal(http_new(&o, &h), 0);
	*statuses = http_request(h, "DELETE", "/api/godwit/v1/machines/contested?force=1", NULL, 30000, &body, &f);
	json_decref(body);
	http_free(h);
	return NULL;
}

static void test_of_several_who_remove_a_machine_at_once_one_does(void **state)
{
	struct caller a;
	pthread_t threads[4];
	int statuses[4], done = 0;
	json_t *answer, *e;
	size_t i, events = 0;

	fixture_enrol(&con, &a, "agent", "contested");
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, remove_it, &statuses[i]), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(statuses[i] == 204 || statuses[i] == 404);
		done += statuses[i] == 204;
	}
	assert_int_equal(done, 1);
	answer = ADMIN(200, "GET", "/events?machine=contested", NULL);
	json_array_foreach(json_object_get(answer, "events"), i, e)
		events += !strcmp(code_of(e), "MACHINE_UNPROTECTED");
	assert_int_equal(events, 1);
	json_decref(answer);
	caller_done(&a);
}

static void test_a_store_is_listed_as_removed_until_it_is_gone(void **state)
{
	struct caller a, s;
	json_t *answer, *list;

	fixture_enrol(&con, &s, "server", "store2");
	fixture_enrol(&con, &a, "agent", "stored");
	fixture_drop(&con, "stored");
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status",
				json_pack("{s:s, s:i, s:[{s:s}]}", "address", "", "port", 1500, "machines", "id", a.id)));
	answer = caller_call(&con, &s, 200, "GET", "/link", NULL);
	list = json_object_get(json_object_get(answer, "desired"), "machines");
	assert_string_equal(text_in(json_array_get(list, 0), "state"), "removed");
	assert_key_of(&a, json_array_get(list, 0));
	json_decref(answer);
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status",
				json_pack("{s:s, s:i, s:[]}", "address", "", "port", 1500, "machines")));
	answer = caller_call(&con, &s, 200, "GET", "/link", NULL);
	assert_int_equal(json_array_size(json_object_get(json_object_get(answer, "desired"), "machines")), 0);
	json_decref(answer);
	json_decref(ADMIN(204, "DELETE", "/servers/store2", NULL));
	caller_done(&a);
	caller_done(&s);
}

static void test_a_mark_waits_for_agent_and_server(void **state)
{
	struct caller a, s;
	struct responder agent = { .caller = &a, .verb = "mark" };
	struct responder server = { .caller = &s, .verb = "point", .before = "POINT_NONE" };
	struct responder taken = { .caller = &s, .verb = "point" };
	json_t *answer, *event;

	fixture_enrol(&con, &s, "server", "store3");
	fixture_enrol(&con, &a, "agent", "marked");
	refused(ADMIN(409, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "x")), "AGENT_AWAY");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status", json_object()));
	agent.result = json_pack("{s:i}", "epoch", 9);
	server.result = json_pack("{s:s, s:i, s:s, s:s, s:s}", "id", "x", "epoch", 9, "time", "2026-01-01T00:00:00.000000Z",
				  "kind", "named", "label", "before upgrade");
	responder_start(&agent);
	responder_start(&server);
	answer = ADMIN(201, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "before upgrade"));
	assert_int_equal(number_in(answer, "epoch"), 9);
	json_decref(answer);
	taken.result = json_incref(server.result);
	responder_stop(&agent);
	responder_stop(&server);
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "POINT_MARKED");
	json_decref(event);
	responder_start(&taken);
	refused(ADMIN(409, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "before upgrade")),
		"LABEL_TAKEN");
	responder_stop(&taken);
	json_decref(ADMIN(202, "POST", "/machines/marked/pause", NULL));
	refused(ADMIN(409, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "x")), "MACHINE_NOT_RUNNING");
	refused(ADMIN(400, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "latest")), "LABEL_BAD");
	refused(ADMIN(400, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "12:00")), "LABEL_BAD");
	refused(ADMIN(400, "POST", "/machines/marked/mark", json_pack("{s:s}", "label", "")), "LABEL_BAD");
	refused(ADMIN(422, "POST", "/machines/marked/mark", NULL), "API_NOT_UNDERSTOOD");
	fixture_drop(&con, "marked");
	json_decref(ADMIN(204, "DELETE", "/servers/store3", NULL));
	caller_done(&a);
	caller_done(&s);
}

static json_t *problem_status(const char *code, const char *argument, const char *value)
{
	return json_pack("{s:[{s:s, s:{s:s, s:s}}]}", "problems", "code", code, "args", "server", "s:1500", argument, value);
}

static void test_a_verify_that_cannot_begin_is_refused_with_what_hinders_it(void **state)
{
	struct caller a, s;

	fixture_enrol(&con, &a, "agent", "hindered");
	refused(ADMIN(409, "POST", "/machines/hindered/verify", NULL), "AGENT_AWAY");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	refused(ADMIN(409, "POST", "/machines/hindered/verify", NULL), "NO_SERVER");
	fixture_enrol(&con, &s, "server", "store5");
	refused(ADMIN(503, "POST", "/machines/hindered/verify", NULL), "SERVER_AWAY");
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status", json_object()));
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				problem_status("REPLICATION_STAGING_FULL", "reason", "full")));
	refused(ADMIN(409, "POST", "/machines/hindered/verify", NULL), "REPLICATION_STAGING_FULL");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	json_decref(ADMIN(202, "POST", "/machines/hindered/pause", NULL));
	refused(ADMIN(409, "POST", "/machines/hindered/verify", NULL), "VERIFY_NOT_RUNNING");
	json_decref(ADMIN(202, "POST", "/machines/hindered/resume", NULL));
	json_decref(ADMIN(202, "POST", "/machines/hindered/verify", NULL));
	fixture_drop(&con, "hindered");
	json_decref(ADMIN(204, "DELETE", "/servers/store5", NULL));
	caller_done(&a);
	caller_done(&s);
}

static void test_a_rescan_says_when_it_will_begin(void **state)
{
	struct caller a, s;
	json_t *answer;

#define BEGINS(when) \
	do { \
		answer = ADMIN(202, "POST", "/machines/scanned/rescan", NULL); \
		assert_string_equal(text_in(answer, "begins"), when); \
		json_decref(answer); \
	} while (0)
	fixture_enrol(&con, &s, "server", "store6");
	fixture_enrol(&con, &a, "agent", "scanned");
	BEGINS("agent");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	BEGINS("server");
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status", json_object()));
	BEGINS("now");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				problem_status("REPLICATION_NO_ANSWER", "reason", "timed out")));
	BEGINS("server");
	json_decref(ADMIN(202, "POST", "/machines/scanned/pause", NULL));
	BEGINS("resume");
#undef BEGINS
	fixture_drop(&con, "scanned");
	json_decref(ADMIN(204, "DELETE", "/servers/store6", NULL));
	caller_done(&a);
	caller_done(&s);
}

static void test_a_verify_runs_once_at_a_time_and_ends_with_an_event(void **state)
{
	struct caller a, s;
	json_t *answer, *again, *event;
	char id[ID_SIZE];

	fixture_enrol(&con, &s, "server", "store4");
	fixture_enrol(&con, &a, "agent", "verified");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status", json_object()));
	refused(ADMIN(404, "GET", "/machines/verified/verify", NULL), "VERIFY_NONE");
	answer = ADMIN(202, "POST", "/machines/verified/verify", NULL);
	again = ADMIN(202, "POST", "/machines/verified/verify", NULL);
	assert_true(json_equal(answer, again));
	snprintf(id, sizeof(id), "%s", text_in(answer, "verify"));
	json_decref(answer);
	json_decref(again);
	answer = ADMIN(200, "GET", "/machines/verified/verify", NULL);
	assert_string_equal(text_in(answer, "state"), "waiting");
	json_decref(answer);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:{s:s, s:s, s:i, s:i}}", "verify", "verify", id, "state", "running",
					  "checked_bytes", 5, "total_bytes", 10)));
	answer = ADMIN(200, "GET", "/machines/verified/verify", NULL);
	assert_string_equal(text_in(answer, "state"), "running");
	assert_int_equal(number_in(answer, "checked_bytes"), 5);
	json_decref(answer);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:{s:s, s:s, s:i, s:i}}", "verify", "verify", id, "state", "done",
					  "checked_bytes", 10, "differing_bytes", 512)));
	answer = ADMIN(200, "GET", "/machines/verified/verify", NULL);
	assert_string_equal(text_in(answer, "state"), "done");
	assert_non_null(text_in(answer, "ended"));
	json_decref(answer);
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "VERIFY_DIFFERS");
	json_decref(event);
	fixture_drop(&con, "verified");
	json_decref(ADMIN(204, "DELETE", "/servers/store4", NULL));
	caller_done(&a);
	caller_done(&s);
}

/* --- verifies that do not go as they should --------------------------------------------------- */

static void verify_setup(struct caller *a, struct caller *s, const char *agent, const char *server)
{
	fixture_enrol(&con, s, "server", server);
	fixture_enrol(&con, a, "agent", agent);
	json_decref(caller_call(&con, a, 204, "POST", "/link/status", json_object()));
	json_decref(caller_call(&con, s, 204, "POST", "/link/status", json_object()));
}

static void verify_teardown(struct caller *a, struct caller *s, const char *server)
{
	char path[128];

	fixture_drop(&con, a->name);
	snprintf(path, sizeof(path), "/servers/%s", server);
	json_decref(ADMIN(204, "DELETE", path, NULL));
	caller_done(a);
	caller_done(s);
}

static void verify_begin(struct caller *a, char ret_id[ID_SIZE])
{
	char path[128];
	json_t *answer;

	snprintf(path, sizeof(path), "/machines/%s/verify", a->name);
	answer = ADMIN(202, "POST", path, NULL);
	snprintf(ret_id, ID_SIZE, "%s", text_in(answer, "verify"));
	json_decref(answer);
}

static void verify_is(struct caller *a, const char *id, const char *state, const char *code)
{
	char path[128];
	json_t *answer;

	snprintf(path, sizeof(path), "/machines/%s/verify", a->name);
	answer = ADMIN(200, "GET", path, NULL);
	assert_string_equal(text_in(answer, "verify"), id);
	assert_string_equal(text_in(answer, "state"), state);
	if (code) {
		assert_string_equal(code_of(json_object_get(answer, "error")), code);
		assert_non_null(text_in(json_object_get(answer, "error"), "text"));
	}
	json_decref(answer);
}

static void verify_told(struct caller *a, const char *id, const char *state)
{
	json_decref(caller_call(&con, a, 204, "POST", "/link/status",
				json_pack("{s:{s:s, s:s, s:i}}", "verify", "verify", id, "state", state,
					  "differing_bytes", 512)));
}

static void verify_answered(struct caller *a, const char *id)
{
	json_decref(caller_call(&con, a, 200, "GET", "/link?wait=0", NULL));
	json_decref(caller_call(&con, a, 204, "POST", "/link/reply",
				json_pack("{s:s, s:b, s:{}}", "id", id, "ok", 1, "result")));
}

static void test_a_verify_asked_for_before_the_agents_next_status_is_the_one_under_way(void **state)
{
	char first[ID_SIZE], second[ID_SIZE];
	struct caller a, s;
	json_t *event;

	verify_setup(&a, &s, "twice", "store7");
	verify_begin(&a, first);
	verify_answered(&a, first);
	verify_begin(&a, second);
	assert_string_equal(first, second);
	/* The last status of before it began. */
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	verify_is(&a, first, "waiting", NULL);
	verify_told(&a, first, "running");
	verify_is(&a, first, "running", NULL);
	verify_told(&a, first, "done");
	verify_is(&a, first, "done", NULL);
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "VERIFY_DIFFERS");
	json_decref(event);
	verify_teardown(&a, &s, "store7");
}

static void test_a_result_is_taken_though_another_verify_was_asked_for(void **state)
{
	struct db *db;
	char first[ID_SIZE], second[] = "22222222-2222-4222-8222-222222222222";
	struct caller a, s;
	json_t *job;

	verify_setup(&a, &s, "other", "store8");
	verify_begin(&a, first);
	verify_answered(&a, first);
	verify_told(&a, first, "running");
	db = catalogue_write(con.console.catalogue);
	db_job_add(db, second, con.console.project_id, a.id, "VERIFY", "admin", NULL);
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	verify_told(&a, first, "done");
	db = catalogue_read(con.console.catalogue);
	job = db_job_result(db, first);
	assert_int_equal(catalogue_read_end(con.console.catalogue), 0);
	assert_int_equal(number_in(job, "differing_bytes"), 512);
	json_decref(job);
	verify_teardown(&a, &s, "store8");
}

static void test_a_verify_that_could_not_compare_everything_does_not_say_equal(void **state)
{
	struct caller a, s;
	char id[ID_SIZE];
	json_t *event;

	verify_setup(&a, &s, "unsettled", "store9");
	verify_begin(&a, id);
	verify_answered(&a, id);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:{s:s, s:s, s:i, s:i, s:i}}", "verify", "verify", id, "state", "done",
					  "checked_bytes", 65536, "differing_bytes", 0, "unsettled_bytes", 4096)));
	verify_is(&a, id, "done", NULL);
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "VERIFY_UNSETTLED");
	json_decref(event);
	verify_teardown(&a, &s, "store9");
}

static void test_a_verify_ends_as_failed_when_its_agent_does_not_know_of_it_any_more(void **state)
{
	char id[ID_SIZE];
	struct caller a, s;
	json_t *event;

	verify_setup(&a, &s, "anew", "store9");
	verify_begin(&a, id);
	verify_answered(&a, id);
	verify_told(&a, id, "running");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_pack("{s:n}", "verify")));
	verify_is(&a, id, "failed", "VERIFY_FAILED");
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "VERIFY_FAILED");
	json_decref(event);
	verify_begin(&a, id);
	verify_is(&a, id, "waiting", NULL);
	verify_teardown(&a, &s, "store9");
}

static void test_what_an_agent_says_against_a_verify_is_its_error(void **state)
{
	char id[ID_SIZE];
	struct caller a, s;

	verify_setup(&a, &s, "busy", "store10");
	verify_begin(&a, id);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/reply", 
				json_pack("{s:s, s:b, s:{s:s, s:{s:s}}}", "id", id, "ok", 0, "fault", "code",
					  "VERIFY_BUSY", "args", "machine", a.name)));
	verify_is(&a, id, "failed", "VERIFY_BUSY");
	verify_teardown(&a, &s, "store10");
}

/* --- a catalogue that cannot be written ------------------------------------------------------- */

static void run_sql(const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/console/catalogue.sqlite", con.data);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 20000);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static bool event_is_there(const char *machine, const char *code)
{
	char path[128];
	json_t *answer, *e;
	bool yes = false;
	size_t i;

	snprintf(path, sizeof(path), "/events?machine=%s", machine);
	answer = ADMIN(200, "GET", path, NULL);
	json_array_foreach(json_object_get(answer, "events"), i, e)
		yes = yes || !strcmp(code_of(e), code);
	json_decref(answer);
	return yes;
}

static void test_who_came_while_the_disk_was_full_is_an_event_once_there_is_room(void **state)
{
	struct caller a;

	fixture_enrol(&con, &a, "agent", "comes");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_object()));
	run_sql("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'full'); END");
	ticks_run(&con.console, true);
	assert_false(event_is_there("comes", "AGENT_CONNECTED"));
	run_sql("DROP TRIGGER full");
	ticks_run(&con.console, false);
	assert_true(event_is_there("comes", "AGENT_CONNECTED"));
	fixture_drop(&con, "comes");
	caller_done(&a);
}

static void test_a_commands_answer_counts_once_it_is_kept(void **state)
{
	char id[ID_SIZE];
	struct caller a, s;

	verify_setup(&a, &s, "kept", "store11");
	verify_begin(&a, id);
	run_sql("CREATE TRIGGER full BEFORE DELETE ON commands BEGIN SELECT RAISE(FAIL, 'full'); END");
	json_decref(caller_call(&con, &a, 200, "GET", "/link?wait=0", NULL));
	refused(caller_call(&con, &a, 500, "POST", "/link/reply",
			    json_pack("{s:s, s:b, s:{}}", "id", id, "ok", 1, "result")), "CATALOGUE_FAILED");
	run_sql("DROP TRIGGER full");
	verify_answered(&a, id);
	verify_teardown(&a, &s, "store11");
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	fixture_start(&con);
	return 0;
}

static int teardown(void **state)
{
	fixture_stop(&con);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lag_is_measured_by_the_sources_clock),
		cmocka_unit_test(test_lag_grows_when_the_agent_falls_silent_whatever_its_clock_says),
		cmocka_unit_test(test_a_stage_that_does_not_exist_is_not_passed_on),
		cmocka_unit_test(test_nothing_an_agent_says_reaches_a_terminal_as_a_control_sequence),
		cmocka_unit_test(test_pause_and_resume_reach_agent_and_server),
		cmocka_unit_test(test_disks_that_come_go_and_grow_are_events),
		cmocka_unit_test(test_without_a_server_points_are_a_clear_no),
		cmocka_unit_test(test_a_machine_is_not_removed_behind_its_agents_back),
		cmocka_unit_test(test_of_several_who_remove_a_machine_at_once_one_does),
		cmocka_unit_test(test_points_are_asked_of_the_server),
		cmocka_unit_test(test_a_store_is_listed_as_removed_until_it_is_gone),
		cmocka_unit_test(test_a_mark_waits_for_agent_and_server),
		cmocka_unit_test(test_a_verify_that_cannot_begin_is_refused_with_what_hinders_it),
		cmocka_unit_test(test_a_rescan_says_when_it_will_begin),
		cmocka_unit_test(test_a_verify_runs_once_at_a_time_and_ends_with_an_event),
		cmocka_unit_test(test_a_verify_asked_for_before_the_agents_next_status_is_the_one_under_way),
		cmocka_unit_test(test_a_result_is_taken_though_another_verify_was_asked_for),
		cmocka_unit_test(test_a_verify_that_could_not_compare_everything_does_not_say_equal),
		cmocka_unit_test(test_a_verify_ends_as_failed_when_its_agent_does_not_know_of_it_any_more),
		cmocka_unit_test(test_what_an_agent_says_against_a_verify_is_its_error),
		cmocka_unit_test(test_who_came_while_the_disk_was_full_is_an_event_once_there_is_room),
		cmocka_unit_test(test_a_commands_answer_counts_once_it_is_kept),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
