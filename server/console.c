/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands come once each (the link drops repetitions); what takes longer
 * than a moment is done by a worker or by exports.c and answered when it is
 * over, by the command's id.
 */
#include "console.h"
#include "exports.h"
#include "launches.h"
#include "log.h"
#include "stores.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define QUERY_US (20 * USEC_PER_SEC)
#define LIMIT_DEFAULT 1000
#define LIMIT_MAX 100000

struct console {
	struct server *server;
	struct loop_timer tick;
	struct loop_timer link_again;
};

/* A command that is being carried out. */
struct pending {
	struct server *server;
	struct uuid machine;
	bool point_only; /* of the result, the member "point" is the answer */
	char id[];
};

static struct console the_console; /* one process, one console */

/* --- answers --------------------------------------------------------------------------------- */

static void reply(struct server *s, const char *command, const json_t *result, const struct fault *fault)
{
	if (!s->link)
		return;
	if (result)
		link_reply(s->link, command, result);
	else
		link_reply_fault(s->link, command, fault);
}

static void reply_fault(struct server *s, const char *command, enum message_code code, const char *name,
			const char *value)
{
	struct fault f;

	(void)fault_set(&f, 0, code, name, value, NULL);
	reply(s, command, NULL, &f);
}

static void reply_empty(struct server *s, const char *command)
{
	json_t *empty = json_object();

	reply(s, command, empty, NULL);
	json_decref(empty);
}

static struct pending *new_pending(struct server *s, const char *command, const struct uuid *machine)
{
	struct pending *p = calloc(1, sizeof(*p) + strlen(command) + 1);

	if (!p)
		return NULL;
	p->server = s;
	p->machine = *machine;
	strcpy(p->id, command);
	return p;
}

static void query_done(void *context, int err, const char *text, size_t len)
{
	struct pending *p = context;
	json_t *result = NULL;
	char id[UUID_TEXT_LEN + 1];
	const json_t *answer;
	struct fault f;

	err = work_result(&p->machine, err, text, len, &result, &f);
	answer = p->point_only ? json_object_get(result, "point") : result;
	if (!err && !answer)
		(void)fault_set(&f, -EPROTO, MSG_STORE_UNREADABLE, "machine", uuid_format(&p->machine, id), "reason",
				"the worker's answer has no point", NULL);
	reply(p->server, p->id, answer, &f);
	json_decref(result);
	free(p);
}

static void export_done(void *context, const json_t *export, const struct fault *fault)
{
	struct pending *p = context;

	reply(p->server, p->id, export, fault);
	free(p);
}

/* --- commands -------------------------------------------------------------------------------- */

static void start_query(struct server *s, const char *command, const struct work_request *q,
			int (*work)(const void *, size_t, const char *, int), bool point_only)
{
	char dir[SETTINGS_PATH_MAX + UUID_TEXT_LEN + 2], id[UUID_TEXT_LEN + 1];
	struct worker_options o = { .dir = dir, .work = work, .argument = q, .argument_size = sizeof(*q),
				    .timeout_us = QUERY_US, .done = query_done };
	struct pending *p;

	snprintf(dir, sizeof(dir), "%s/%s", s->store_root, uuid_format(&q->machine, id));
	if (!stores_exists(s->stores, &q->machine)) {
		reply_fault(s, command, MSG_MACHINE_WITHOUT_STORE, "machine", id);
		return;
	}
	p = new_pending(s, command, &q->machine);
	o.context = p;
	if (!p || worker_start(s->loop, &o, NULL)) {
		free(p);
		reply_fault(s, command, MSG_SERVER_BUSY, "reason", "no process can be started");
		return;
	}
	p->point_only = point_only;
}

static void do_points(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	struct work_request q = { .machine = *machine, .to_us = UINT64_MAX, .limit = LIMIT_DEFAULT };
	const char *from = json_string_value(json_object_get(c, "from"));
	const char *to = json_string_value(json_object_get(c, "to"));
	json_int_t limit = json_integer_value(json_object_get(c, "limit"));

	if ((from && wallclock_parse(from, &q.from_us)) || (to && wallclock_parse(to, &q.to_us))) {
		reply_fault(s, command, MSG_SERVER_BUSY, "reason", "the time is not understood");
		return;
	}
	if (limit > 0)
		q.limit = (uint32_t)MIN(limit, LIMIT_MAX);
	q.newest = json_is_true(json_object_get(c, "newest"));
	start_query(s, command, &q, work_points, false);
}

static void do_point(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	struct work_request q = { .machine = *machine };
	const char *at = json_string_value(json_object_get(c, "at"));

	snprintf(q.at, sizeof(q.at), "%s", at ? at : "latest");
	start_query(s, command, &q, work_point, true);
}

static void do_label(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	struct work_request q = { .machine = *machine };
	const char *label = json_string_value(json_object_get(c, "label"));

	q.epoch = (uint64_t)json_integer_value(json_object_get(c, "epoch"));
	q.unlabel = !label || !label[0];
	snprintf(q.label, sizeof(q.label), "%s", label ? label : "");
	start_query(s, command, &q, work_label, true);
}

static void do_export(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	const char *at = json_string_value(json_object_get(c, "at"));
	struct export_request q = { .machine = *machine,
				    .at = at ? at : "latest",
				    .disk = json_string_value(json_object_get(c, "disk")),
				    .writable = json_is_true(json_object_get(c, "writable")),
				    .listen = json_string_value(json_object_get(c, "listen")),
				    .done = export_done,
				    .context = new_pending(s, command, machine) };

	if (q.context)
		exports_start(s->exports, &q);
}

static void do_unexport(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	const char *id = json_string_value(json_object_get(c, "export"));

	if (!id || exports_stop(s->exports, id))
		reply_fault(s, command, MSG_EXPORT_UNKNOWN, "export", id ? id : "");
	else
		reply_empty(s, command);
}

static void do_exports(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	json_t *result = json_pack("{s:o}", "exports", exports_list(s->exports));

	reply(s, command, result, NULL);
	json_decref(result);
}

static void do_scrub(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	char id[UUID_TEXT_LEN + 1];

	if (stores_scrub(s->stores, machine))
		reply_fault(s, command, MSG_MACHINE_WITHOUT_STORE, "machine", uuid_format(machine, id));
	else
		reply_empty(s, command);
}

static void launch_done(void *context, const json_t *result, const struct fault *fault)
{
	struct pending *p = context;

	reply(p->server, p->id, result, fault);
	free(p);
}

static void do_launch(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	const char *launch = json_string_value(json_object_get(c, "launch"));
	struct launch_request q = { .machine = *machine,
				    .at = json_string_value(json_object_get(c, "at")) ?: "latest",
				    .kind = json_string_value(json_object_get(c, "kind")) ?: "test",
				    .blueprint = json_object_get(c, "blueprint"),
				    .source_firmware = json_string_value(json_object_get(c, "source_firmware")),
				    .to = json_string_value(json_object_get(c, "to")),
				    .format = json_string_value(json_object_get(c, "format")),
				    .hardware = json_object_get(c, "hardware"),
				    .hardware_history = json_object_get(c, "hardware_history"),
				    .done = launch_done };

	if (!launch || uuid_parse(launch, &q.launch)) {
		reply_fault(s, command, MSG_LAUNCH_BAD_SPEC, "member", "launch");
		return;
	}
	q.context = new_pending(s, command, machine);
	if (q.context)
		launches_start(s->launches, &q);
}

static const char *launch_of(const json_t *c)
{
	return json_string_value(json_object_get(c, "launch")) ?: "";
}

static void do_keep(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	struct fault f;

	if (launches_keep(s->launches, launch_of(c), &f))
		reply(s, command, NULL, &f);
	else
		reply_empty(s, command);
}

static void do_terminate(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	launches_terminate(s->launches, launch_of(c));
	reply_empty(s, command);
}

/* @err with @result, or with @f; the result is taken over. */
static void reply_either(struct server *s, const char *command, int err, json_t *result, const struct fault *f)
{
	reply(s, command, err ? NULL : result, err ? f : NULL);
	if (!err)
		json_decref(result);
}

static void do_console_log(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	const json_t *from = json_object_get(c, "from");
	json_int_t offset = json_is_integer(from) ? json_integer_value(from) : -1;
	json_t *result = NULL;
	struct fault f;
	int err = launches_console_log(s->launches, launch_of(c), offset, &result, &f);

	reply_either(s, command, err, result, &f);
}

static void do_screenshot(struct server *s, const char *command, const struct uuid *machine, const json_t *c)
{
	json_t *result = NULL;
	struct fault f;
	int err = launches_screenshot(s->launches, launch_of(c), &result, &f);

	reply_either(s, command, err, result, &f);
}

static const struct verb {
	const char *name;
	bool needs_machine;
	void (*run)(struct server *s, const char *command, const struct uuid *machine, const json_t *c);
} verbs[] = {
	{ "points", true, do_points },	   { "point", true, do_point },	      { "label", true, do_label },
	{ "export", true, do_export },	   { "unexport", false, do_unexport }, { "exports", false, do_exports },
	{ "scrub", true, do_scrub },	   { "launch", true, do_launch },      { "keep", false, do_keep },
	{ "terminate", false, do_terminate },
	{ "console_log", false, do_console_log },
	{ "screenshot", false, do_screenshot },
};

static void take_command(struct server *s, const json_t *c)
{
	const char *id = json_string_value(json_object_get(c, "id"));
	const char *verb = json_string_value(json_object_get(c, "verb"));
	const char *machine = json_string_value(json_object_get(c, "machine"));
	struct uuid m = { 0 };

	if (!id || !verb)
		return;
	for (unsigned int i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, verb) != 0)
			continue;
		if (verbs[i].needs_machine && (!machine || uuid_parse(machine, &m)))
			reply_fault(s, id, MSG_MACHINE_WITHOUT_STORE, "machine", machine ? machine : "");
		else
			verbs[i].run(s, id, &m, c);
		return;
	}
	reply_fault(s, id, MSG_SERVER_BUSY, "reason", "this version of it does not know the command");
}

/* --- messages of the link ----------------------------------------------------------------------- */

static void take_desired(struct server *s, const json_t *desired)
{
	struct registry r;

	if (s->options.machines_file) /* the file is what counts */
		return;
	if (registry_from_json(desired, &r))
		log_error("the console's list of machines is not understood; the last one stays in force");
	else
		server_set_registry(s, &r);
}

static void take_console_state(const json_t *state)
{
	char text[1024];
	struct fault f;

	if (json_is_true(json_object_get(state, "up")))
		log_info("the console is there");
	else if (fault_from_json(json_object_get(state, "fault"), &f) == 0)
		log_warn("the console is away: %s", fault_format(&f, LANGUAGE_EN, text, sizeof(text)));
	else
		log_warn("the console is away");
}

static void take_message(struct server *s, const json_t *m)
{
	const json_t *desired = json_object_get(m, "desired"), *command = json_object_get(m, "command");
	const json_t *state = json_object_get(m, "console");

	if (desired)
		take_desired(s, desired);
	if (command)
		take_command(s, command);
	if (state)
		take_console_state(state);
}

static void read_link(void *context, uint32_t events)
{
	struct server *s = context;
	json_t *m;
	int err;

	while ((err = link_receive(s->link, &m)) == 0) {
		take_message(s, m);
		json_decref(m);
	}
	if (err == -EAGAIN)
		return;
	log_error("the link's process has died: %s", strerror(-err));
	loop_unwatch(s->loop, link_fd(s->link));
	link_stop(s->link);
	s->link = NULL;
	loop_set_timer(s->loop, &the_console.link_again, monotonic_now_us() + CONSOLE_LINK_AGAIN_US);
}

/* --- once a second ---------------------------------------------------------------------------------- */

static void post_status(struct server *s)
{
	const char *address = s->settings.address[0] ? s->settings.address :
			      s->options.listen	     ? s->options.listen :
						       "";
	json_t *status = json_pack("{s:s, s:i}", "address", address, "port", listener_port(s->listener));

	if (status && json_object_set_new(status, "launches", launches_status(s->launches)) == 0 &&
	    stores_status(s->stores, status) == 0)
		link_status(s->link, status);
	json_decref(status);
}

static void tick(void *context)
{
	struct server *s = context;

	stores_check_room(s->stores);
	launches_look(s->launches);
	if (s->link && !s->stopping)
		post_status(s);
	loop_set_timer(s->loop, &the_console.tick, monotonic_now_us() + CONSOLE_STATUS_EVERY_US);
}

/* --- starting ----------------------------------------------------------------------------------------- */

static int start_link(struct server *s)
{
	char key[SETTINGS_PATH_MAX], cert[SETTINGS_PATH_MAX], ca[SETTINGS_PATH_MAX], state[SETTINGS_PATH_MAX];
	struct link_options o = { .console_url = s->settings.console,
				  .ca_path = settings_path(&s->settings, "ca.crt", ca),
				  .key_path = settings_path(&s->settings, "server.key", key),
				  .cert_path = settings_path(&s->settings, "server.crt", cert),
				  .proxy = s->options.proxy,
				  .state_path = settings_path(&s->settings, "desired.json", state) };
	int err = link_start(&o, &s->link);

	if (err)
		return err;
	return loop_watch(s->loop, link_fd(s->link), EPOLLIN, read_link, s);
}

static void start_link_again(void *context)
{
	struct server *s = context;

	if (!s->stopping && start_link(s))
		loop_set_timer(s->loop, &the_console.link_again, monotonic_now_us() + CONSOLE_LINK_AGAIN_US);
}

int console_start(struct server *s)
{
	the_console = (struct console){ .server = s,
					.tick = { .fire = tick, .context = s },
					.link_again = { .fire = start_link_again, .context = s } };
	tick(s);
	return s->settings.console[0] ? start_link(s) : 0;
}

void console_stop(struct server *s)
{
	link_stop(s->link);
	s->link = NULL;
}
