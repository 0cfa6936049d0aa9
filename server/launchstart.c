/* SPDX-License-Identifier: Apache-2.0 */
/* How a launch begins: its point is found, its folder made, its process started. */
#include "launches-private.h"
#include "fileio.h"
#include "hardware.h"
#include "launchfiles.h"
#include "log.h"
#include "stores.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "godwit-launch"

static void give_up(struct launch *e, const struct fault *f)
{
	launchfiles_end_processes(e->folder);
	launchfiles_remove(e->folder);
	launch_answer(e, f); /* who hears it finds nothing left */
	stores_schedule(e->launches->server->stores);
	launch_forget(e);
}

static void give_up_because(struct launch *e, enum message_code code, const char *name, const char *value)
{
	struct fault f;

	(void)fault_set(&f, 0, code, name, value, NULL);
	give_up(e, &f);
}

static int spawn(struct launch *e)
{
	char program[SETTINGS_PATH_MAX + 64];

	launchfiles_program(PROGRAM, program, sizeof(program));
	e->spawner = fork();
	if (e->spawner == 0) {
		sigset_t none;

		sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		(void)signal(SIGPIPE, SIG_DFL);
		execlp(program, PROGRAM, "--daemon", e->folder, NULL);
		log_error("%s cannot be run: %s", program, strerror(errno));
		_exit(127);
	}
	return e->spawner < 0 ? -errno : 0;
}

void launch_start_again(struct launch *e)
{
	launchfiles_end_processes(e->folder);
	launchfiles_clear(e->folder, true);
	e->again = true;
	e->started_again_us = monotonic_now_us();
	e->stage = SPAWNING;
	log_info("launch %s is started again", e->id);
	if (spawn(e)) {
		e->again = false;
		e->stage = THERE;
		launch_bury(e);
	}
}

/* Of what the machine was bound to over time, what it was at the point's: that is on its disks. */
static void choose_hardware(struct launch *e, const json_t *point)
{
	const char *time = json_string_value(json_object_get(point, "time"));
	json_t *history = json_object_get(e->spec, "hardware_history");
	const json_t *was;
	uint64_t time_us;
	bool later;

	was = time && wallclock_parse(time, &time_us) == 0 ? hardware_at(history, time_us, &later) : NULL;
	if (was) {
		(void)json_object_set(e->spec, "hardware", json_object_get(was, "hardware"));
		(void)json_object_set(e->spec, "hardware_since", json_object_get(was, "since"));
		(void)json_object_set_new(e->spec, "hardware_is", json_string(later ? "later" :
					  was == json_array_get(history, 0) ? "newest" : "older"));
	}
	(void)json_object_del(e->spec, "hardware_history");
}

static int begin(struct launch *e, const json_t *point)
{
	char path[SETTINGS_PATH_MAX + 64];
	char *text;
	int err;

	(void)json_object_set_new(e->spec, "point",
				  json_pack("{s:O, s:O, s:O}", "id", json_object_get(point, "id"), "epoch",
					    json_object_get(point, "epoch"), "time", json_object_get(point, "time")));
	(void)json_object_set(e->spec, "epoch", json_object_get(point, "epoch"));
	choose_hardware(e, point);
	text = json_dumps(e->spec, JSON_INDENT(1));
	err = text ? fileio_mkdirs(e->folder, 0700) : -ENOMEM;
	if (!err)
		err = fileio_replace(launch_path(e, "spec.json", path), text, strlen(text), 0600);
	free(text);
	return err ? err : spawn(e);
}

static void resolved(void *context, int err, const char *text, size_t len)
{
	struct launch *e = context;
	struct server *s = e->launches->server;
	const struct machine *m = registry_find(&s->registry, &e->machine);
	char id[UUID_TEXT_LEN + 1];
	json_t *result = NULL;
	struct fault f;

	err = work_result(&e->machine, err, text, len, &result, &f);
	e->stage = SPAWNING;
	if (!err && m && m->state == MACHINE_REMOVED)
		err = fault_set(&f, -ENOENT, MSG_MACHINE_WITHOUT_STORE, "machine", uuid_format(&e->machine, id), NULL);
	if (!err && s->stopping)
		err = fault_set(&f, -ESHUTDOWN, MSG_SERVER_BUSY, "reason", "it is stopping", NULL);
	if (!err) {
		err = begin(e, json_object_get(result, "point"));
		if (err)
			(void)fault_set(&f, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL);
	}
	json_decref(result);
	if (err)
		give_up(e, &f);
}

/* The launch is on its way, or has said why not. */
static void spawned(struct launch *e, int status)
{
	struct fault f;

	e->spawner = 0;
	e->stage = THERE;
	launch_read_record(e);
	if (e->again) {
		e->again = false;
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			log_warn("launch %s could not be started again", e->id); /* its record says why, or it is tried again */
			launch_not_started_again(e);
		}
		if (e->asked_to_end)
			launches_terminate(e->launches, e->id);
		return;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("launch %s is on its way", e->id);
		launch_answer(e, NULL);
		if (e->asked_to_end)
			launches_terminate(e->launches, e->id);
	} else if (fault_from_json(json_object_get(e->record, "fault"), &f) == 0) {
		give_up(e, &f);
	} else {
		give_up_because(e, MSG_LAUNCH_NOT_STARTED, "reason",
				WIFEXITED(status) && WEXITSTATUS(status) == 127 ? PROGRAM " is not installed" :
										  PROGRAM " ended at once");
	}
}

bool launches_reaped(struct launches *l, pid_t pid, int status)
{
	for (struct launch *e = l->list; e; e = e->next) {
		if (e->stage == SPAWNING && e->spawner == pid) {
			spawned(e, status);
			return true;
		}
	}
	return false;
}

static json_t *make_spec(const struct launches *l, const struct launch_request *q, const char *machine)
{
	static const char *const members[] = { "cpus", "memory_mib", "firmware", "network", "bridge", "disk_bus",
					       "proof", "proof_text", "proof_command", "post_launch", "proof_seconds", "after_restart",
					       "poweroff_seconds", "convert", "new_identity", "forward" };
	char store[SETTINGS_PATH_MAX + UUID_TEXT_LEN + 2], id[UUID_TEXT_LEN + 1], launch[UUID_TEXT_LEN + 1];
	json_t *spec;

	snprintf(store, sizeof(store), "%s/%s", l->server->store_root, machine);
	spec = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "launch", uuid_format(&q->launch, launch), "machine",
			 server_machine_name(l->server, &q->machine, id), "machine_id", machine, "store", store,
			 "kind", q->kind, "asked_us", (json_int_t)monotonic_now_us());
	for (unsigned int i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(q->blueprint, members[i]);

		if (v && !json_is_null(v))
			(void)json_object_set(spec, members[i], v);
	}
	if (q->source_firmware)
		(void)json_object_set_new(spec, "source_firmware", json_string(q->source_firmware));
	if (q->to)
		(void)json_object_set_new(spec, "to", json_string(q->to));
	if (q->format)
		(void)json_object_set_new(spec, "format", json_string(q->format));
	if (json_is_object(q->hardware))
		(void)json_object_set(spec, "hardware", q->hardware);
	if (json_is_array(q->hardware_history))
		(void)json_object_set(spec, "hardware_history", q->hardware_history); /* until the point's time is known */
	return spec;
}

static void wait_for(struct launch *e, const struct launch_request *q)
{
	struct waiter *w = malloc(sizeof(*w));
	struct fault f;

	if (!w) {
		(void)fault_set(&f, 0, MSG_SERVER_BUSY, "reason", "no memory", NULL);
		q->done(q->context, NULL, &f);
		return;
	}
	*w = (struct waiter){ .next = e->waiters, .done = q->done, .context = q->context };
	e->waiters = w;
}

static size_t count_running(const struct launches *l)
{
	size_t n = 0;

	for (const struct launch *e = l->list; e; e = e->next)
		n += !e->over;
	return n;
}

void launches_start(struct launches *l, const struct launch_request *q)
{
	struct work_request r = { .machine = q->machine };
	char dir[SETTINGS_PATH_MAX + UUID_TEXT_LEN + 2], machine[UUID_TEXT_LEN + 1], id[UUID_TEXT_LEN + 1];
	struct worker_options o = { .dir = dir, .work = work_point, .argument = &r, .argument_size = sizeof(r),
				    .timeout_us = LAUNCHES_START_US, .done = resolved };
	struct launch *e = launches_find(l, uuid_format(&q->launch, id));
	bool full = count_running(l) >= LAUNCHES_MAX;
	struct fault f;

	if (e) { /* asked for again */
		wait_for(e, q);
		if (e->stage == THERE && !e->unreadable)
			launch_answer(e, NULL);
		return;
	}
	e = full ? NULL : launches_add(l, id);
	if (!e) {
		(void)fault_set(&f, 0, MSG_SERVER_BUSY, "reason", full ? "too many launches run" : "no memory", NULL);
		q->done(q->context, NULL, &f);
		return;
	}
	e->machine = q->machine;
	wait_for(e, q);
	uuid_format(&q->machine, machine);
	if (!stores_exists(l->server->stores, &q->machine)) {
		give_up_because(e, MSG_MACHINE_WITHOUT_STORE, "machine", machine);
		return;
	}
	e->spec = make_spec(l, q, machine);
	snprintf(dir, sizeof(dir), "%s/%s", l->server->store_root, machine);
	snprintf(r.at, sizeof(r.at), "%s", q->at);
	o.context = e;
	if (!e->spec || worker_start(l->server->loop, &o, NULL))
		give_up_because(e, MSG_SERVER_BUSY, "reason", "no process can be started");
}
