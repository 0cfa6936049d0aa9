/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole requests to the console's handlers: "A METHOD PATH\nBODY", the first
 * letter saying who asks (a: admin, m: the machine's agent, s: its server).
 * The console stops waiting before it begins, so that nothing takes long.
 */
#include "fuzz.h"
#include "db_launches.h"
#include "db_machines.h"
#include "db_servers.h"
#include "db_work.h"
#include "request.h"
#include "router.h"
#include "setup.h"
#include "ticks.h"
#include "utf8.h"
#include "wallclock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MACHINE "11111111-1111-4111-8111-111111111111"
#define SERVER "22222222-2222-4222-8222-222222222222"
#define LAUNCH "33333333-3333-4333-8333-333333333333"
#define JOB "44444444-4444-4444-8444-444444444444"

static struct console console;
static char data[64];

static void clean_up(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", data);
	(void)!system(command);
}

static void add_launch(struct db *db)
{
	struct launch_row l = { .id = LAUNCH, .machine_id = MACHINE, .server_id = SERVER, .job_id = JOB, .machine_name = "m",
				.kind = "test", .at = "latest", .initiated_by = "admin", .state = "asked",
				.created_us = (int64_t)wallclock_now_us() };
	json_t *blueprint = json_object();

	memcpy(l.project_id, console.project_id, sizeof(l.project_id));
	db_job_add(db, JOB, l.project_id, MACHINE, "TEST_LAUNCH", "admin", LAUNCH);
	db_launch_add(db, &l, blueprint);
	json_decref(blueprint);
}

static void add_peers(void)
{
	struct server_row s = { .id = SERVER, .name = "s", .port = 1500, .enrolled_us = 1 };
	struct machine_row m = { .id = MACHINE, .name = "m", .state = "started", .enrolled_us = 1, .server_id = SERVER };
	struct db *db = catalogue_write(console.catalogue);

	memcpy(m.project_id, console.project_id, sizeof(m.project_id));
	db_server_add(db, &s);
	db_machine_add(db, &m);
	add_launch(db);
	assert(catalogue_commit(console.catalogue) == 0);
}

/* Asked for, so that a reply or a status may speak of it; back again when an input has ended it. */
static void renew_launch(void)
{
	struct launch_row l;
	struct db *db = catalogue_write(console.catalogue);

	if (!db_launch_find(db, LAUNCH, &l) || l.ended_us) {
		db_run(db, "DELETE FROM launches", "");
		db_run(db, "DELETE FROM jobs", "");
		db_run(db, "DELETE FROM commands", "");
		add_launch(db);
	}
	assert(catalogue_commit(console.catalogue) == 0);
	live_withdraw(console.live, SERVER, LAUNCH);
	live_command(console.live, SERVER, json_pack("{s:s, s:s, s:s}", "id", LAUNCH, "verb", "launch", "launch", LAUNCH), true);
}

static void start(void)
{
	char *folder, *dir, *key, *chain;
	struct fault f;

	if (console.live)
		return;
	log_init("fuzz", LOG_ERROR + 1);
	strcpy(data, access("/dev/shm", W_OK) ? "/tmp/godwit-fuzz-XXXXXX" : "/dev/shm/godwit-fuzz-XXXXXX");
	assert(mkdtemp(data));
	atexit(clean_up);
	console = (struct console){ .started_us = wallclock_now_us(), .live = live_new(), .attempts = attempts_new() };
	assert(setup_folder(data, &folder, &dir, &f) == 0);
	assert(setup_console(&console, folder, dir, NULL, &key, &chain, &f) == 0);
	free(folder);
	free(dir);
	free(key);
	free(chain);
	add_peers();
	assert(ticks_load(&console) == 0);
	live_stop(console.live);
}

static void identify(struct request *r, char who)
{
	r->is = who == 'm' ? WHO_AGENT : who == 's' ? WHO_SERVER : WHO_ADMIN;
	strcpy(r->who, "fuzz");
	strcpy(r->address, "10.0.0.1");
	strcpy(r->host, "console");
	if (r->is == WHO_ADMIN)
		return;
	strcpy(r->peer_id, r->is == WHO_AGENT ? MACHINE : SERVER);
	live_seen(console.live, r->is == WHO_AGENT ? LIVE_AGENT : LIVE_SERVER, r->peer_id);
}

static void check_answer(struct request *r, int status)
{
	json_t *error;
	char *text;

	assert(status >= 200 && status < 600);
	if (status >= 400) {
		error = request_fault_body(&r->fault, r->language);
		assert(json_is_string(json_object_get(error, "code")) && json_is_string(json_object_get(error, "message")));
		json_decref(error);
	} else if (status != 204 && !r->text) {
		text = json_dumps(r->answer, JSON_COMPACT);
		assert(text);
		free(text);
	}
}

static void ask(char who, const char *method, const char *path, const char *body, size_t len)
{
	struct request r = { .console = &console, .language = len % 2 ? LANGUAGE_EN : LANGUAGE_JA };
	char allowed[64];
	int status;

	identify(&r, who);
	r.route = router_find(router_table, method, path, r.params, allowed, sizeof(allowed));
	if (!r.route || !(r.route->who & (r.is | WHO_ANYONE)) || len > MAX(r.route->body_max, 64))
		return;
	r.raw = (char *)body;
	r.raw_len = len;
	status = request_parse(&r);
	if (!status)
		status = r.route->handle(&r);
	check_answer(&r, status);
	json_decref(r.body);
	json_decref(r.answer);
	free(r.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	const char *end = memchr(input, '\n', size);
	char line[1024], *method, *path;
	size_t len = end ? (size_t)(end - (const char *)input) : 0;

	if (len < 5 || len >= sizeof(line))
		return 0;
	memcpy(line, input, len);
	line[len] = '\0';
	method = line + 2;
	path = strchr(method, ' ');
	if (line[1] != ' ' || !path || !utf8_is_printable(line, strlen(line)))
		return 0;
	*path++ = '\0';
	start();
	renew_launch();
	ask(line[0], method, path, end + 1, size - len - 1);
	ticks_run(&console, size % 3 == 0);
	ticks_launches(&console);
	return 0;
}
