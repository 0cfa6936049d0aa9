/* SPDX-License-Identifier: Apache-2.0 */
/* The API as an administrator, agents and servers see it. */
#include "console_fixture.h"
#include "settings.h"
#include "ticks.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct fixture con;

#define ADMIN(status, method, path, ...) fixture_admin(&con, status, method, path, __VA_ARGS__)

static int64_t version_of(struct caller *c)
{
	json_t *answer = caller_call(&con, c, 200, "GET", "/link", NULL);
	int64_t version = number_in(answer, "version");

	json_decref(answer);
	return version;
}

/* --- who may ------------------------------------------------------------------------------------ */

static void test_health_is_open_to_everybody(void **state)
{
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path };
	struct http *h;
	json_t *body;
	struct fault f;

	assert_int_equal(http_new(&o, &h), 0);
	assert_int_equal(http_request(h, "GET", "/api/godwit/v1/health", NULL, 60000, &body, &f), 200);
	json_decref(body);
	assert_int_equal(http_request(h, "GET", "/api/godwit/v1/machines", NULL, 60000, &body, &f), 401);
	refused(body, "API_NOT_AUTHENTICATED");
	assert_int_equal(http_request(h, "GET", "/metrics", NULL, 60000, &body, &f), 401);
	refused(body, "API_NOT_AUTHENTICATED");
	http_free(h);
}

static void test_wrong_tokens_are_refused_and_then_slowed_but_the_right_one_still_works(void **state)
{
	char wrong[PKI_TOKEN_TEXT_LEN + 1];
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path, .bearer = wrong };
	struct http *h;
	json_t *body;
	struct fault f;
	int status = 401;

	strcpy(wrong, con.admin_token);
	wrong[78] = wrong[78] == '0' ? '1' : '0';
	assert_int_equal(http_new(&o, &h), 0);
	for (int i = 0; i < 30 && status == 401; i++) {
		status = http_request(h, "GET", "/api/godwit/v1/machines", NULL, 60000, &body, &f);
		refused(body, status == 401 ? "API_NOT_AUTHENTICATED" : "TOO_MANY_ATTEMPTS");
	}
	assert_int_equal(status, 429);
	http_free(h);
	json_decref(ADMIN(200, "GET", "/machines", NULL));
}

static void test_an_agent_may_not_do_what_an_administrator_may(void **state)
{
	struct caller a;

	fixture_enrol(&con, &a, "agent", "may-not");
	refused(caller_call(&con, &a, 403, "GET", "/machines", NULL), "API_FORBIDDEN");
	refused(caller_call(&con, &a, 403, "PATCH", "/machines/may-not/settings", json_pack("{s:i}", "epoch_ms", 100)),
		"API_FORBIDDEN");
	refused(caller_call(&con, &a, 403, "POST", "/tokens", json_pack("{s:s}", "role", "agent")), "API_FORBIDDEN");
	refused(caller_call(&con, &a, 403, "DELETE", "/machines/may-not", NULL), "API_FORBIDDEN");
	refused(caller_call(&con, &a, 403, "GET", "/events", NULL), "API_FORBIDDEN");
	refused(ADMIN(403, "GET", "/link", NULL), "API_FORBIDDEN");
	fixture_drop(&con, "may-not");
	caller_done(&a);
}

static void test_an_agent_speaks_for_its_own_machine_only(void **state)
{
	struct caller a, b;
	json_t *m, *answer;

	fixture_enrol(&con, &a, "agent", "own");
	fixture_enrol(&con, &b, "agent", "foreign");
	refused(caller_call(&con, &a, 403, "POST", "/machines/foreign/disks", json_pack("{s:[]}", "disks")),
		"API_FORBIDDEN");
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	assert_string_equal(text_in(json_object_get(answer, "desired"), "name"), "own");
	json_decref(answer);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_pack("{s:s}", "stage", "continuous")));
	m = fixture_machine(&con, "foreign");
	assert_string_equal(text_in(m, "stage"), "not_started");
	json_decref(m);
	refused(caller_call(&con, &b, 404, "POST", "/link/reply", json_pack("{s:s, s:b}", "id", a.id, "ok", 1)),
		"COMMAND_UNKNOWN");
	fixture_drop(&con, "own");
	fixture_drop(&con, "foreign");
	caller_done(&a);
	caller_done(&b);
}

static void test_a_certificate_of_another_console_is_nobodys(void **state)
{
	struct fixture elsewhere;
	struct caller a;
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path };
	struct http *h;
	json_t *body;
	struct fault f;

	fixture_start(&elsewhere);
	fixture_enrol(&elsewhere, &a, "agent", "stranger");
	o.key_path = a.key;
	o.cert_path = a.cert;
	assert_int_equal(http_new(&o, &h), 0);
	assert_int_equal(http_request(h, "GET", "/api/godwit/v1/link", NULL, 60000, &body, &f), 401);
	refused(body, "API_NOT_AUTHENTICATED");
	http_free(h);
	caller_done(&a);
	fixture_stop(&elsewhere);
}

/* --- enrolment ----------------------------------------------------------------------------------- */

static void test_enrolment_gives_identity_settings_and_server(void **state)
{
	char *token = fixture_token(&con, "agent");
	struct caller a;
	json_t *answer, *m;

	caller_init(&con, &a, "first");
	answer = caller_enrol(&con, &a, 201, "agent", token, NULL);
	assert_string_equal(text_in(answer, "name"), "first");
	assert_int_equal(number_in(json_object_get(answer, "settings"), "epoch_ms"), 500);
	json_decref(answer);
	m = fixture_machine(&con, "first");
	assert_string_equal(text_in(m, "id"), a.id);
	assert_string_equal(text_in(m, "state"), "started");
	assert_true(json_is_null(json_object_get(m, "lag_seconds")));
	assert_string_equal(text_in(json_array_get(json_object_get(m, "disks"), 0), "device"), "/dev/sda");
	json_decref(m);
	fixture_drop(&con, "first");
	caller_done(&a);
	free(token);
}

static void test_an_agent_that_lost_the_answer_may_ask_again(void **state)
{
	char *token = fixture_token(&con, "agent"), id[ID_SIZE];
	struct caller a;

	caller_init(&con, &a, "again");
	json_decref(caller_enrol(&con, &a, 201, "agent", token, NULL));
	strcpy(id, a.id);
	json_decref(caller_enrol(&con, &a, 201, "agent", token, NULL));
	assert_string_equal(a.id, id);
	fixture_drop(&con, "again");
	caller_done(&a);
	free(token);
}

static void test_a_name_belongs_to_one_key(void **state)
{
	char *token = fixture_token(&con, "agent");
	struct caller a, b;
	json_t *error;

	fixture_enrol(&con, &a, "agent", "taken");
	caller_init(&con, &b, "taken");
	error = caller_enrol(&con, &b, 409, "agent", token, NULL);
	refused(error, "MACHINE_NAME_TAKEN");
	fixture_drop(&con, "taken");
	json_decref(caller_enrol(&con, &b, 201, "agent", token, NULL));
	assert_string_not_equal(a.id, b.id);
	fixture_drop(&con, "taken");
	caller_done(&a);
	caller_done(&b);
	free(token);
}

static void test_a_machine_enrolled_anew_leaves_the_old_key_worthless(void **state)
{
	char *token = fixture_token(&con, "agent");
	struct caller a, b;
	json_t *event;

	fixture_enrol(&con, &a, "agent", "anew");
	caller_init(&con, &b, "anew");
	a.as_admin = b.as_admin = true;
	json_decref(caller_enrol(&con, &b, 201, "agent", token, a.id));
	assert_string_equal(a.id, b.id);
	event = fixture_newest_event(&con);
	assert_string_equal(code_of(event), "MACHINE_ENROLLED_AGAIN");
	json_decref(event);
	refused(caller_call(&con, &a, 401, "GET", "/link", NULL), "CERTIFICATE_SUPERSEDED");
	json_decref(caller_call(&con, &b, 200, "GET", "/link", NULL));
	refused(caller_enrol(&con, &a, 409, "agent", token, a.id), "MACHINE_CONNECTED");
	fixture_drop(&con, "anew");
	caller_done(&a);
	caller_done(&b);
	free(token);
}

static void test_an_installation_token_takes_no_machine_over(void **state)
{
	char *token = fixture_token(&con, "agent"), *other = fixture_token(&con, "server");
	struct caller a, b, s, t;

	fixture_enrol(&con, &a, "agent", "kept");
	caller_init(&con, &b, "kept");
	refused(caller_enrol(&con, &b, 403, "agent", token, a.id), "API_FORBIDDEN");
	json_decref(caller_call(&con, &a, 200, "GET", "/link", NULL));
	json_decref(caller_enrol(&con, &a, 201, "agent", token, a.id)); /* its own key */
	fixture_enrol(&con, &s, "server", "kept-server");
	caller_init(&con, &t, "kept-server");
	refused(caller_enrol(&con, &t, 403, "server", other, s.id), "API_FORBIDDEN");
	json_decref(caller_call(&con, &s, 200, "GET", "/link", NULL));
	fixture_drop(&con, "kept");
	json_decref(ADMIN(204, "DELETE", "/servers/kept-server", NULL));
	caller_done(&a);
	caller_done(&b);
	caller_done(&s);
	caller_done(&t);
	free(token);
	free(other);
}

static void test_tokens_are_for_one_role_and_one_console(void **state)
{
	char *token = fixture_token(&con, "agent");
	struct caller a;

	caller_init(&con, &a, "role");
	refused(caller_enrol(&con, &a, 401, "server", token, NULL), "TOKEN_WRONG");
	token[0] = token[0] == '0' ? '1' : '0';
	refused(caller_enrol(&con, &a, 401, "agent", token, NULL), "TOKEN_WRONG");
	refused(caller_enrol(&con, &a, 401, "agent", "nonsense", NULL), "TOKEN_WRONG");
	refused(caller_enrol(&con, &a, 401, "agent", con.admin_token, NULL), "TOKEN_WRONG");
	free(token);
}

static void test_an_expired_token_says_when(void **state)
{
	char *token = fixture_token(&con, "agent");
	struct caller a;
	json_t *error;
	struct db *db = catalogue_write(con.console.catalogue);

	db_run(db, "UPDATE tokens SET expires_us = ?", "i", (int64_t)(wallclock_now_us() - 1));
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	caller_init(&con, &a, "late");
	error = caller_enrol(&con, &a, 401, "agent", token, NULL);
	assert_non_null(text_in(json_object_get(error, "args"), "expired"));
	refused(error, "TOKEN_EXPIRED");
	free(token);
}

static void test_bad_enrolments_are_refused_by_name(void **state)
{
	char *token = fixture_token(&con, "agent");
	static const char *const bad[] = { "", "-x", "a b", "a/b", "../x", "ä", "11111111-1111-4111-8111-111111111111",
					   "0123456789012345678901234567890123456789012345678901234567890123" };
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path };
	struct caller a;
	struct http *h;
	struct fault f;
	json_t *body, *answer;

	caller_init(&con, &a, "x");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(a.name, sizeof(a.name), "%s", bad[i]);
		if (strlen(bad[i]) < sizeof(a.name))
			refused(caller_enrol(&con, &a, 400, "agent", token, NULL), "MACHINE_NAME_BAD");
	}
	assert_int_equal(http_new(&o, &h), 0);
	body = json_pack("{s:s, s:s, s:s, s:s}", "token", token, "role", "agent", "request", "nonsense", "name", "x");
	assert_int_equal(http_request(h, "POST", "/api/godwit/v1/enrol", body, 60000, &answer, &f), 422);
	refused(answer, "API_NOT_UNDERSTOOD");
	json_decref(body);
	http_free(h);
	free(token);
}

/* --- settings ------------------------------------------------------------------------------------------ */

static void expect_setting(json_t *body, int status, const char *code)
{
	refused(ADMIN(status, "PATCH", "/machines/set/settings", body), code);
}

static void test_settings_are_checked_and_all_or_nothing(void **state)
{
	struct caller a;
	json_t *s;

	fixture_enrol(&con, &a, "agent", "set");
	expect_setting(json_pack("{s:i}", "throttle_mbit_per_second", -1), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:f}", "throttle_mbit_per_second", 1.5), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:s}", "throttle_mbit_per_second", "fast"), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:s}", "throttle_mbit_per_second", "99999999999999999999"), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:b}", "epoch_ms", 1), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:i}", "epoch_ms", 99), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:i}", "epoch_ms", 60001), 400, "SETTING_OUT_OF_RANGE");
	expect_setting(json_pack("{s:s}", "compression", "gzip"), 400, "SETTING_NOT_A_CHOICE");
	expect_setting(json_pack("{s:i}", "compression", 1), 400, "SETTING_NOT_A_CHOICE");
	expect_setting(json_pack("{s:i}", "no_such", 1), 400, "SETTING_UNKNOWN");
	expect_setting(json_pack("[]"), 422, "API_NOT_UNDERSTOOD");
	expect_setting(json_pack("{s:i, s:i}", "epoch_ms", 200, "retention_every_seconds", 1), 400, "SETTING_OUT_OF_RANGE");
	s = ADMIN(200, "GET", "/machines/set/settings", NULL);
	assert_int_equal(number_in(s, "epoch_ms"), 500);
	json_decref(s);
	fixture_drop(&con, "set");
	caller_done(&a);
}

static void test_every_change_of_a_setting_is_an_event_with_old_new_and_who(void **state)
{
	struct caller a;
	json_t *s, *e, *change;
	int64_t id;

	fixture_enrol(&con, &a, "agent", "changes");
	s = ADMIN(200, "PATCH", "/machines/changes/settings",
		  json_pack("{s:s, s:s}", "throttle_mbit_per_second", "100", "compression", "lz4"));
	assert_int_equal(number_in(s, "throttle_mbit_per_second"), 100);
	assert_string_equal(text_in(s, "compression"), "lz4");
	json_decref(s);
	s = ADMIN(200, "GET", "/events?machine=changes&limit=2", NULL);
	e = json_array_get(json_object_get(s, "events"), 0);
	assert_string_equal(code_of(e), "SETTING_CHANGED");
	assert_string_equal(text_in(e, "who"), "admin");
	assert_string_equal(text_in(e, "machine"), "changes");
	change = json_array_get(json_object_get(e, "changes"), 0);
	assert_string_equal(text_in(change, "name"), "throttle_mbit_per_second");
	assert_string_equal(text_in(change, "old"), "0");
	assert_string_equal(text_in(change, "new"), "100");
	json_decref(s);
	e = fixture_newest_event(&con);
	id = number_in(e, "id");
	json_decref(e);
	json_decref(ADMIN(200, "PATCH", "/machines/changes/settings", json_pack("{s:i}", "throttle_mbit_per_second", 100)));
	e = fixture_newest_event(&con);
	assert_int_equal(number_in(e, "id"), id);
	json_decref(e);
	s = ADMIN(200, "PATCH", "/machines/changes/settings", json_pack("{s:n}", "throttle_mbit_per_second"));
	assert_int_equal(number_in(s, "throttle_mbit_per_second"), 0);
	json_decref(s);
	fixture_drop(&con, "changes");
	caller_done(&a);
}

static void test_the_table_of_settings_agrees_with_what_is_in_force(void **state)
{
	json_t *table = ADMIN(200, "GET", "/settings", NULL), *s, *in_force;
	struct caller a;
	size_t i;

	fixture_enrol(&con, &a, "agent", "table");
	in_force = ADMIN(200, "GET", "/machines/table/settings", NULL);
	json_array_foreach(json_object_get(table, "settings"), i, s) {
		assert_true(json_equal(json_object_get(s, "default"), json_object_get(in_force, text_in(s, "name"))));
		assert_non_null(text_in(s, "text"));
	}
	assert_int_equal(i, json_object_size(in_force));
	json_decref(table);
	json_decref(in_force);
	fixture_drop(&con, "table");
	caller_done(&a);
}

/* --- the link ----------------------------------------------------------------------------------------- */

static void *change_setting_soon(void *arg)
{
	/* The poll is under way when its request has been counted: then, and not
	 * after some time, it is woken. */
	json_decref(ADMIN(200, "PATCH", "/machines/poll/settings", json_pack("{s:i}", "epoch_ms", 250)));
	return NULL;
}

static void test_a_long_poll_wakes_at_once_when_a_setting_changes(void **state)
{
	struct caller a;
	pthread_t thread;
	char path[96];
	uint64_t began;
	json_t *answer;
	int64_t version;

	fixture_enrol(&con, &a, "agent", "poll");
	version = version_of(&a);
	snprintf(path, sizeof(path), "/link?wait=30&version=%lld", (long long)version);
	began = monotonic_now_us();
	assert_int_equal(pthread_create(&thread, NULL, change_setting_soon, NULL), 0);
	answer = caller_call(&con, &a, 200, "GET", path, NULL);
	assert_true(monotonic_now_us() - began < 10 * USEC_PER_SEC);
	assert_int_equal(number_in(json_object_get(json_object_get(answer, "desired"), "settings"), "epoch_ms"), 250);
	assert_true(number_in(answer, "version") != version);
	json_decref(answer);
	pthread_join(thread, NULL);
	fixture_drop(&con, "poll");
	caller_done(&a);
}

static void test_a_poll_without_news_answers_when_its_time_is_over(void **state)
{
	struct caller a;
	char path[96];
	uint64_t began;
	json_t *answer;

	fixture_enrol(&con, &a, "agent", "quiet");
	snprintf(path, sizeof(path), "/link?wait=1&version=%lld", (long long)version_of(&a));
	began = monotonic_now_us();
	answer = caller_call(&con, &a, 200, "GET", path, NULL);
	assert_true(monotonic_now_us() - began >= USEC_PER_SEC);
	assert_int_equal(json_array_size(json_object_get(answer, "commands")), 0);
	assert_true(json_is_object(json_object_get(answer, "desired")));
	json_decref(answer);
	fixture_drop(&con, "quiet");
	caller_done(&a);
}

static void *poll_long(void *arg)
{
	struct caller *c = arg;
	char path[160];

	snprintf(path, sizeof(path), "/link?wait=60&version=%s", (char *)c->ca);
	json_decref(caller_call(&con, c, 200, "GET", path, NULL));
	return NULL;
}

static void test_a_newer_poll_ends_the_older(void **state)
{
	struct caller a, twin;
	int64_t version;
	pthread_t thread;
	uint64_t began = monotonic_now_us();
	char path[96];

	fixture_enrol(&con, &a, "agent", "twice");
	version = version_of(&a);
	twin = a;
	twin.http = NULL;
	caller_connect(&con, &twin);
	snprintf(twin.ca, sizeof(twin.ca), "%lld", (long long)version);
	assert_int_equal(pthread_create(&thread, NULL, poll_long, &twin), 0);
	snprintf(path, sizeof(path), "/link?wait=1&version=%lld", (long long)version);
	/* Whichever came first is ended by the other; neither waits for 60 s. */
	do
		json_decref(caller_call(&con, &a, 200, "GET", path, NULL));
	while (pthread_tryjoin_np(thread, NULL) == EBUSY);
	assert_true(monotonic_now_us() - began < 30 * USEC_PER_SEC);
	fixture_drop(&con, "twice");
	caller_done(&a);
	caller_done(&twin);
}

static void test_a_rescan_waits_for_the_agent_and_is_done_once(void **state)
{
	struct caller a;
	json_t *answer, *command;

	fixture_enrol(&con, &a, "agent", "rescan");
	json_decref(ADMIN(202, "POST", "/machines/rescan/rescan", NULL));
	fixture_halt(&con);
	fixture_continue(&con);
	caller_connect(&con, &a);
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	command = json_incref(json_array_get(json_object_get(answer, "commands"), 0));
	assert_string_equal(text_in(command, "verb"), "rescan");
	json_decref(answer);
	answer = caller_call(&con, &a, 200, "GET", "/link?version=0&wait=0", NULL);
	assert_int_equal(json_array_size(json_object_get(answer, "commands")), 0);
	json_decref(answer);
	answer = caller_call(&con, &a, 200, "GET", "/link", NULL);
	assert_int_equal(json_array_size(json_object_get(answer, "commands")), 1);
	json_decref(answer);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/reply",
				json_pack("{s:O, s:b, s:{}}", "id", json_object_get(command, "id"), "ok", 1, "result")));
	refused(caller_call(&con, &a, 404, "POST", "/link/reply",
			    json_pack("{s:O, s:b}", "id", json_object_get(command, "id"), "ok", 1)),
		"COMMAND_UNKNOWN");
	json_decref(command);
	fixture_drop(&con, "rescan");
	caller_done(&a);
}

static void test_events_of_agents_are_kept_with_their_time_and_in_the_readers_language(void **state)
{
	struct caller a;
	json_t *answer, *e;

	fixture_enrol(&con, &a, "agent", "speaks");
	json_decref(caller_call(&con, &a, 204, "POST", "/link/events",
				json_pack("{s:[{s:s, s:{s:s}, s:s}, {s:s}]}", "events", "code", "DISK_READ_ONLY", "args",
					  "disk", "/dev/sdx", "time", "2026-01-02T03:04:05.000006Z", "code",
					  "FROM_THE_FUTURE")));
	answer = ADMIN(200, "GET", "/events?machine=speaks&limit=2&lang=ja", NULL);
	e = json_array_get(json_object_get(answer, "events"), 0);
	assert_string_equal(code_of(e), "DISK_READ_ONLY");
	assert_string_equal(text_in(e, "who"), "agent:speaks");
	assert_string_equal(text_in(e, "time"), "2026-01-02T03:04:05.000006Z");
	assert_string_equal(text_in(e, "severity"), "error");
	assert_non_null(strstr(text_in(e, "text"), "/dev/sdx は"));
	e = json_array_get(json_object_get(answer, "events"), 1);
	assert_string_equal(code_of(e), "EVENT_UNKNOWN");
	assert_non_null(strstr(text_in(e, "text"), "FROM_THE_FUTURE"));
	json_decref(answer);
	fixture_drop(&con, "speaks");
	caller_done(&a);
}

static void test_a_flood_of_events_is_stopped(void **state)
{
	struct caller a;
	json_t *many = json_array();

	fixture_enrol(&con, &a, "agent", "flood");
	for (int i = 0; i < 300; i++)
		json_array_append_new(many, json_pack("{s:s}", "code", "NOT_ROOT"));
	json_decref(caller_call(&con, &a, 204, "POST", "/link/events", json_pack("{s:O}", "events", many)));
	refused(caller_call(&con, &a, 429, "POST", "/link/events", json_pack("{s:O}", "events", many)), "TOO_MANY_EVENTS");
	json_decref(many);
	fixture_drop(&con, "flood");
	caller_done(&a);
}

/* --- what is not understood -------------------------------------------------------------------------------- */

static void test_unknown_paths_methods_and_members(void **state)
{
	refused(ADMIN(404, "GET", "/nothing", NULL), "API_PATH_UNKNOWN");
	refused(ADMIN(404, "GET", "!/", NULL), "API_PATH_UNKNOWN");
	refused(ADMIN(404, "GET", "/machines/", NULL), "API_PATH_UNKNOWN");
	refused(ADMIN(404, "GET", "/machines/%ff", NULL), "API_PATH_UNKNOWN");
	refused(ADMIN(404, "GET", "/machines/a%00b", NULL), "MACHINE_UNKNOWN");
	refused(ADMIN(405, "PUT", "/machines", json_object()), "API_METHOD_WRONG");
	refused(ADMIN(405, "POST", "/health", NULL), "API_METHOD_WRONG");
	refused(ADMIN(404, "GET", "/machines/nobody", NULL), "MACHINE_UNKNOWN");
	refused(ADMIN(422, "POST", "/tokens", json_pack("{s:s, s:i}", "role", "agent", "x", 1)), "API_NOT_UNDERSTOOD");
	refused(ADMIN(422, "POST", "/tokens", json_object()), "API_NOT_UNDERSTOOD");
	refused(ADMIN(422, "POST", "/tokens", json_pack("{s:i}", "role", 1)), "API_NOT_UNDERSTOOD");
	refused(ADMIN(422, "POST", "/tokens", json_pack("[s]", "role")), "API_NOT_UNDERSTOOD");
	refused(ADMIN(400, "POST", "/tokens", json_pack("{s:s}", "role", "king")), "VALUE_BAD");
	refused(ADMIN(400, "POST", "/tokens", json_pack("{s:s, s:i}", "role", "agent", "expires_seconds", 1)), "VALUE_BAD");
	refused(ADMIN(400, "GET", "/events?limit=-1", NULL), "VALUE_BAD");
	refused(ADMIN(422, "GET", "/events?limits=1", NULL), "API_NOT_UNDERSTOOD");
}

static void test_a_body_that_is_too_large_is_refused(void **state)
{
	char *big = malloc(3 * MIB);
	json_t *error;

	memset(big, 'x', 3 * MIB - 1);
	big[3 * MIB - 1] = '\0';
	error = ADMIN(413, "POST", "/tokens", json_pack("{s:s}", "role", big));
	refused(error, "API_BODY_TOO_LARGE");
	free(big);
}

static json_t *nested(unsigned int depth)
{
	json_t *j = json_array();

	while (depth--)
		j = json_pack("[o]", j);
	return j;
}

static void test_a_body_that_is_nested_too_deeply_is_refused(void **state)
{
	struct caller a;

	fixture_enrol(&con, &a, "agent", "deep");
	refused(caller_call(&con, &a, 422, "POST", "/link/status", json_pack("{s:o}", "disks", nested(2000))),
		"API_NOT_UNDERSTOOD");
	refused(caller_call(&con, &a, 422, "POST", "/link/status", json_pack("{s:o}", "x", nested(64))),
		"API_NOT_UNDERSTOOD");
	/* Brackets in a text are none. */
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:o, s:s, s:s}", "x", nested(60), "y",
					  "\\\"[[[[[[[[[[[[[[[[", "z", "{{{{{{{{{{{{\\")));
	json_decref(ADMIN(200, "GET", "/machines", NULL));
	fixture_drop(&con, "deep");
	caller_done(&a);
}

static json_t *of_size(size_t size)
{
	char *text = malloc(size);
	json_t *j;

	memset(text, 'x', size - 1);
	text[size - 1] = '\0';
	j = json_pack("{s:s}", "x", text);
	free(text);
	return j;
}

static void test_who_is_trusted_less_may_send_less(void **state)
{
	struct http_options o = { .base_url = con.url, .ca_path = con.console.ca_path };
	struct caller a, s;
	json_t *error, *body = of_size(65 * KIB);
	struct fault f;
	struct http *h;

	assert_int_equal(http_new(&o, &h), 0);
	assert_int_equal(http_request(h, "POST", "/api/godwit/v1/enrol", body, 20000, &error, &f), 413);
	refused(error, "API_BODY_TOO_LARGE");
	http_free(h);
	json_decref(body);
	fixture_enrol(&con, &a, "agent", "large");
	fixture_enrol(&con, &s, "server", "largest");
	refused(caller_call(&con, &a, 413, "POST", "/link/status", of_size(2 * MIB)), "API_BODY_TOO_LARGE");
	refused(caller_call(&con, &a, 413, "POST", "/link/reply", of_size(2 * MIB)), "API_BODY_TOO_LARGE");
	json_decref(caller_call(&con, &s, 204, "POST", "/link/status", of_size(2 * MIB)));
	refused(caller_call(&con, &s, 422, "POST", "/link/reply", of_size(2 * MIB)), "API_NOT_UNDERSTOOD");
	fixture_drop(&con, "large");
	json_decref(ADMIN(204, "DELETE", "/servers/largest", NULL));
	caller_done(&a);
	caller_done(&s);
}

static int connect_from(const char *from, unsigned int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, from, &a.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	a.sin_port = htons((uint16_t)port);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &a.sin_addr), 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void test_who_opens_all_connections_that_he_can_does_not_lock_others_out(void **state)
{
	struct rlimit before, few;
	struct fixture small;
	int fds[200];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ .rlim_cur = 200, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	fixture_start(&small); /* it takes 136 connections */
	few.rlim_cur = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = connect_from("127.0.0.2", (unsigned int)atoi(strrchr(small.url, ':') + 1));
	json_decref(fixture_admin(&small, 200, "GET", "/machines", NULL));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	fixture_stop(&small);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_events_can_be_waited_for(void **state)
{
	json_t *newest = fixture_newest_event(&con), *answer, *events;
	struct caller a;
	pthread_t thread;
	char path[96];

	fixture_enrol(&con, &a, "agent", "poll");
	json_decref(newest);
	newest = fixture_newest_event(&con);
	snprintf(path, sizeof(path), "/events?wait=30&after=%lld", (long long)number_in(newest, "id"));
	assert_int_equal(pthread_create(&thread, NULL, change_setting_soon, NULL), 0);
	answer = ADMIN(200, "GET", path, NULL);
	pthread_join(thread, NULL);
	events = json_object_get(answer, "events");
	assert_int_equal(json_array_size(events), 1);
	assert_string_equal(code_of(json_array_get(events, 0)), "SETTING_CHANGED");
	json_decref(answer);
	json_decref(newest);
	fixture_drop(&con, "poll");
	caller_done(&a);
}

/* --- restart -------------------------------------------------------------------------------------------------- */

static void test_a_restart_keeps_everything(void **state)
{
	struct caller a, s;
	json_t *before, *after, *old_events, *new_events;
	char token[PKI_TOKEN_TEXT_LEN + 1];

	fixture_enrol(&con, &s, "server", "kept-server");
	fixture_enrol(&con, &a, "agent", "kept");
	json_decref(ADMIN(200, "PATCH", "/machines/kept/settings", json_pack("{s:i}", "epoch_ms", 333)));
	json_decref(ADMIN(202, "POST", "/machines/kept/pause", NULL));
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:s, s:i, s:o}", "stage", "paused", "backlog_bytes", 77, "newest_point",
					  point_now(0))));
	before = fixture_machine(&con, "kept");
	old_events = ADMIN(200, "GET", "/events?machine=kept", NULL);
	strcpy(token, con.admin_token);
	fixture_halt(&con);
	fixture_continue(&con);
	assert_string_equal(con.admin_token, token);
	after = fixture_machine(&con, "kept");
	new_events = ADMIN(200, "GET", "/events?machine=kept", NULL);
	assert_true(json_equal(json_object_get(before, "settings"), json_object_get(after, "settings")));
	assert_true(json_equal(json_object_get(before, "newest_point"), json_object_get(after, "newest_point")));
	assert_true(json_equal(json_object_get(before, "disks"), json_object_get(after, "disks")));
	assert_string_equal(text_in(after, "stage"), "paused");
	assert_int_equal(number_in(after, "backlog_bytes"), 77);
	assert_string_equal(text_in(after, "state"), "paused");
	assert_int_equal(json_array_size(json_object_get(old_events, "events")),
			 json_array_size(json_object_get(new_events, "events")) - 1); /* AGENT_CONNECTED, at the halt */
	caller_connect(&con, &a);
	json_decref(caller_call(&con, &a, 200, "GET", "/link", NULL));
	json_decref(before);
	json_decref(after);
	json_decref(old_events);
	json_decref(new_events);
	fixture_drop(&con, "kept");
	json_decref(ADMIN(204, "DELETE", "/servers/kept-server", NULL));
	caller_done(&a);
	caller_done(&s);
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
		cmocka_unit_test(test_health_is_open_to_everybody),
		cmocka_unit_test(test_an_agent_may_not_do_what_an_administrator_may),
		cmocka_unit_test(test_an_agent_speaks_for_its_own_machine_only),
		cmocka_unit_test(test_a_certificate_of_another_console_is_nobodys),
		cmocka_unit_test(test_enrolment_gives_identity_settings_and_server),
		cmocka_unit_test(test_an_agent_that_lost_the_answer_may_ask_again),
		cmocka_unit_test(test_a_name_belongs_to_one_key),
		cmocka_unit_test(test_a_machine_enrolled_anew_leaves_the_old_key_worthless),
		cmocka_unit_test(test_an_installation_token_takes_no_machine_over),
		cmocka_unit_test(test_tokens_are_for_one_role_and_one_console),
		cmocka_unit_test(test_an_expired_token_says_when),
		cmocka_unit_test(test_bad_enrolments_are_refused_by_name),
		cmocka_unit_test(test_settings_are_checked_and_all_or_nothing),
		cmocka_unit_test(test_every_change_of_a_setting_is_an_event_with_old_new_and_who),
		cmocka_unit_test(test_the_table_of_settings_agrees_with_what_is_in_force),
		cmocka_unit_test(test_a_long_poll_wakes_at_once_when_a_setting_changes),
		cmocka_unit_test(test_a_poll_without_news_answers_when_its_time_is_over),
		cmocka_unit_test(test_a_newer_poll_ends_the_older),
		cmocka_unit_test(test_a_rescan_waits_for_the_agent_and_is_done_once),
		cmocka_unit_test(test_events_of_agents_are_kept_with_their_time_and_in_the_readers_language),
		cmocka_unit_test(test_a_flood_of_events_is_stopped),
		cmocka_unit_test(test_unknown_paths_methods_and_members),
		cmocka_unit_test(test_a_body_that_is_too_large_is_refused),
		cmocka_unit_test(test_a_body_that_is_nested_too_deeply_is_refused),
		cmocka_unit_test(test_who_is_trusted_less_may_send_less),
		cmocka_unit_test(test_who_opens_all_connections_that_he_can_does_not_lock_others_out),
		cmocka_unit_test(test_events_can_be_waited_for),
		cmocka_unit_test(test_a_restart_keeps_everything),
		cmocka_unit_test(test_wrong_tokens_are_refused_and_then_slowed_but_the_right_one_still_works),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
