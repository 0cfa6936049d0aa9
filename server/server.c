/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"
#include "console.h"
#include "daemon.h"
#include "exports.h"
#include "launches.h"
#include "log.h"
#include "stores.h"
#include "wallclock.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_BYTES_MAX (16 * MIB)
#define LOG_FILES 5

/* Everything asked to end has ended, or is killed. */
#define STOP_US (8 * USEC_PER_SEC)

/* --- what modules tell the server ------------------------------------------------------ */

const char *server_machine_name(const struct server *s, const struct uuid *machine, char *buf)
{
	const struct machine *m = registry_find(&s->registry, machine);

	return m ? m->name : uuid_format(machine, buf);
}

/* The text without its remedy: what is only information needs none. */
static const char *fault_message(const struct fault *f, char *buf, size_t size)
{
	struct message_arg args[FAULT_ARGS_MAX + 1] = { 0 };

	for (unsigned int i = 0; i < f->arg_count; i++)
		args[i] = (struct message_arg){ f->args[i].name, f->args[i].value };
	return message_text(f->code, LANGUAGE_EN, args, buf, size);
}

/* In events a machine is its id, in the log its name. */
void server_report(struct server *s, const struct uuid *machine, const struct fault *fault)
{
	char id[UUID_TEXT_LEN + 1], text[1024];
	struct fault named = *fault;

	for (unsigned int i = 0; machine && i < named.arg_count; i++) {
		if (strcmp(named.args[i].name, "machine") == 0)
			snprintf(named.args[i].value, sizeof(named.args[i].value), "%s",
				 server_machine_name(s, machine, id));
	}
	fault_format(&named, LANGUAGE_EN, text, sizeof(text));
	if (message_severity(fault->code) == SEVERITY_ERROR)
		log_error("%s", text);
	else if (message_severity(fault->code) == SEVERITY_WARNING)
		log_warn("%s", text);
	else
		log_info("%s", fault_message(&named, text, sizeof(text)));
	if (s->link)
		link_event(s->link, wallclock_now_us(), fault);
}

void server_set_registry(struct server *s, struct registry *r)
{
	registry_done(&s->registry);
	s->registry = *r;
	*r = (struct registry){ 0 };
	listener_check_machines(s->listener);
	stores_check_machines(s->stores);
}

static void session_begun(void *context, const struct uuid *machine)
{
	stores_begun(((struct server *)context)->stores, machine);
}

static void session_progress(void *context, const struct uuid *machine, const struct session_figures *figures)
{
	stores_progress(((struct server *)context)->stores, machine, figures);
}

static void session_lost(void *context, const struct uuid *machine, const char *epochs)
{
	stores_lost(((struct server *)context)->stores, machine, epochs);
}

static void session_ended(void *context, const struct uuid *machine, const struct control_message *ended)
{
	stores_ended(((struct server *)context)->stores, machine, ended);
}

/* --- signals ------------------------------------------------------------------------------ */

static void reap_children(struct server *s)
{
	pid_t pid;
	int status;

	/* Whatever child has ended is taken, the link's, too: that sees its end by its descriptors. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (!worker_reaped(pid, status) && !listener_reaped(s->listener, pid, status) &&
		    !exports_reaped(s->exports, pid, status))
			(void)launches_reaped(s->launches, pid, status);
	}
}

static void stop(struct server *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	log_info("stopping");
	listener_shut(s->listener);
	stores_shut(s->stores);
	exports_shut(s->exports);
}

static void reload(struct server *s)
{
	struct registry r;
	int err;

	if (!s->options.machines_file)
		return;
	err = registry_from_file(s->options.machines_file, &r);
	if (err)
		log_error("%s cannot be used: %s; what it said before stays in force", s->options.machines_file,
			  strerror(-err));
	else
		server_set_registry(s, &r);
}

static void take_signal(void *context, uint32_t events)
{
	struct server *s = context;
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCHLD)
		reap_children(s);
	else if (si.ssi_signo == SIGHUP)
		reload(s);
	else
		stop(s);
}

/* --- starting -------------------------------------------------------------------------------- */

static int load_settings(struct server *s, struct fault *f)
{
	const struct server_options *o = &s->options;
	int err = settings_open(o->state, &s->settings);

	if (err)
		return fault_set(f, err, MSG_SERVER_STATE_UNUSABLE, "state", o->state, "reason", strerror(-err), NULL);
	err = settings_load(&s->settings);
	if (err && !(err == -ENOENT && o->machines_file))
		return fault_set(f, err, MSG_SERVER_NOT_ENROLLED, "state", s->settings.state, "reason", strerror(-err),
				 NULL);
	if (o->port >= 0)
		s->settings.port = (uint16_t)o->port;
	(void)settings_path(&s->settings, "store", s->store_root);
	return 0;
}

static int lock_state(struct server *s, struct fault *f)
{
	char path[SETTINGS_PATH_MAX], pid[16];
	pid_t other = 0;
	int err = daemon_lock(settings_path(&s->settings, "server.pid", path), &other);

	snprintf(pid, sizeof(pid), "%d", (int)other);
	if (err == -EBUSY)
		return fault_set(f, err, MSG_SERVER_ALREADY_RUNNING, "state", s->settings.state, "pid", pid, NULL);
	if (!err)
		err = log_to_file(settings_path(&s->settings, "server.log.0", path), LOG_BYTES_MAX, LOG_FILES);
	if (err)
		return fault_set(f, err, MSG_SERVER_STATE_UNUSABLE, "state", s->settings.state, "reason",
				 strerror(-err), NULL);
	return 0;
}

static int load_keys(struct server *s, struct fault *f)
{
	char key[SETTINGS_PATH_MAX], cert[SETTINGS_PATH_MAX], ca[SETTINGS_PATH_MAX];
	int err = tls_context_new(settings_path(&s->settings, "server.key", key),
				  settings_path(&s->settings, "server.crt", cert),
				  settings_path(&s->settings, "ca.crt", ca), &s->tls);

	if (err)
		return fault_set(f, err, MSG_SERVER_KEYS_UNUSABLE, "state", s->settings.state, "reason", strerror(-err),
				 NULL);
	return 0;
}

static int load_machines(struct server *s, struct fault *f)
{
	int err;

	if (!s->options.machines_file)
		return 0;
	err = registry_from_file(s->options.machines_file, &s->registry);
	if (err)
		return fault_set(f, err, MSG_SERVER_MACHINES_FILE_INVALID, "file", s->options.machines_file, "reason",
				 strerror(-err), NULL);
	return 0;
}

static int start_listener(struct server *s, struct fault *f)
{
	const char *address = s->options.listen ? s->options.listen : "all addresses";
	struct listener_options o = { .loop = s->loop,
				      .registry = &s->registry,
				      .address = s->options.listen,
				      .port = s->settings.port,
				      .store_root = s->store_root,
				      .tls = s->tls,
				      .begun = session_begun,
				      .progress = session_progress,
				      .lost = session_lost,
				      .ended = session_ended,
				      .context = s };
	char port[8];
	int err = listener_new(&o, &s->listener);

	snprintf(port, sizeof(port), "%u", s->settings.port);
	if (err == -EADDRINUSE)
		return fault_set(f, err, MSG_SERVER_PORT_IN_USE, "address", address, "port", port, NULL);
	if (err)
		return fault_set(f, err, MSG_SERVER_LISTEN_FAILED, "address", address, "port", port, "reason",
				 strerror(-err), NULL);
	log_info("godwit-server listens on %s, port %u", address, listener_port(s->listener));
	return 0;
}

static int start_loop(struct server *s)
{
	int err = loop_new(&s->loop);

	if (err)
		return err;
	daemon_raise_files(); /* a control socket a session, a pipe a worker, some an export */
	s->signal_fd = daemon_signal_fd();
	return s->signal_fd < 0 ? s->signal_fd : loop_watch(s->loop, s->signal_fd, EPOLLIN, take_signal, s);
}

static int start(struct server *s, struct fault *f)
{
	int err;

	if ((err = load_settings(s, f)) || (err = lock_state(s, f)) || (err = load_keys(s, f)) ||
	    (err = load_machines(s, f)))
		return err;
	err = start_loop(s);
	if (!err)
		err = exports_new(s, &s->exports);
	if (!err)
		err = launches_new(s, &s->launches);
	if (!err)
		err = stores_new(s, &s->stores);
	if (err)
		return fault_set(f, err, MSG_SERVER_STATE_UNUSABLE, "state", s->settings.state, "reason",
				 strerror(-err), NULL);
	err = start_listener(s, f);
	if (err)
		return err;
	err = console_start(s);
	if (err)
		return fault_set(f, err, MSG_SERVER_STATE_UNUSABLE, "state", s->settings.state, "reason",
				 strerror(-err), NULL);
	stores_check_machines(s->stores);
	return 0;
}

/* --- running ------------------------------------------------------------------------------------ */

static int run(struct server *s)
{
	uint64_t stop_by_us = 0;
	int err = 0;

	while (!err) {
		if (s->stopping && listener_is_idle(s->listener) && stores_is_idle(s->stores) &&
		    exports_is_idle(s->exports) && launches_is_idle(s->launches))
			break;
		if (s->stopping && !stop_by_us)
			stop_by_us = monotonic_now_us() + STOP_US;
		if (stop_by_us && monotonic_now_us() > stop_by_us) {
			log_warn("not everything has ended in time");
			break;
		}
		err = loop_turn(s->loop);
	}
	return err;
}

static void done(struct server *s)
{
	console_stop(s);
	listener_free(s->listener);
	exports_free(s->exports);
	launches_free(s->launches);
	stores_free(s->stores);
	tls_context_free(s->tls);
	registry_done(&s->registry);
	loop_free(s->loop);
}

int server_run(const struct server_options *o)
{
	struct server *s = calloc(1, sizeof(*s));
	char text[1024];
	struct fault f;
	int err;

	if (!s)
		return 1;
	s->options = *o;
	if (o->background && daemon_detach()) {
		free(s);
		return 1;
	}
	err = start(s, &f);
	if (err) {
		fprintf(stderr, "godwit-server: %s\n", fault_format(&f, LANGUAGE_EN, text, sizeof(text)));
	} else {
		if (o->background)
			log_quiet_stderr();
		daemon_ready(0);
		err = run(s);
		log_info("stopped%s%s", err ? ": " : "", err ? strerror(-err) : "");
	}
	done(s);
	free(s);
	if (err)
		daemon_ready(1);
	return err ? 1 : 0;
}
