/* SPDX-License-Identifier: Apache-2.0 */
#include "exports.h"
#include "log.h"
#include "nbdkit.h"
#include "stores.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum export_state { RESOLVING, STARTING, SERVING, ENDING };

struct disk {
	struct export *export;
	struct nbdkit_process process; /* pid 0: not running */
	bool ready;
	bool is_unix;
	char socket[SETTINGS_PATH_MAX];
	char said[192]; /* the last line on its standard error */
};

struct export {
	struct exports *exports;
	struct export *next;
	enum export_state state;
	char id[UUID_TEXT_LEN + 1];
	struct uuid machine;
	char wanted_disk[64]; /* empty: all */
	bool writable;
	char listen[64];
	json_t *shown; /* from STARTING on: what the console sees */
	struct fault why; /* it ends, if it does before SERVING */
	struct disk disks[DISKS_MAX];
	size_t disk_count;
	struct loop_timer timer; /* STARTING: give up; ENDING: kill */
	void (*done)(void *context, const json_t *export, const struct fault *fault);
	void *context;
};

struct exports {
	struct server *server;
	struct export *list;
	size_t count;
	bool shut;
};

/* --- the end ------------------------------------------------------------------------------ */

static bool any_running(const struct export *e)
{
	for (size_t i = 0; i < e->disk_count; i++) {
		if (e->disks[i].process.pid)
			return true;
	}
	return false;
}

static void free_export(struct export *e)
{
	struct exports *x = e->exports;

	for (struct export **p = &x->list; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			break;
		}
	}
	x->count--;
	loop_clear_timer(x->server->loop, &e->timer);
	for (size_t i = 0; i < e->disk_count; i++) {
		loop_close(e->exports->server->loop, &e->disks[i].process.ready_fd);
		loop_close(e->exports->server->loop, &e->disks[i].process.stderr_fd);
		if (e->disks[i].is_unix)
			(void)unlink(e->disks[i].socket);
	}
	json_decref(e->shown);
	free(e);
}

static void answer(struct export *e, const json_t *shown, const struct fault *fault)
{
	if (e->done)
		e->done(e->context, shown, fault);
	e->done = NULL;
}

static void signal_all(struct export *e, int signal_number)
{
	for (size_t i = 0; i < e->disk_count; i++) {
		if (e->disks[i].process.pid)
			(void)kill(e->disks[i].process.pid, signal_number);
	}
}

/* Not during a worker's work: its done() needs the export. */
static void end(struct export *e)
{
	struct exports *x = e->exports;

	if (e->state == ENDING)
		return;
	e->state = ENDING;
	if (!any_running(e)) {
		free_export(e);
		if (x->server->stores && !x->shut)
			stores_schedule(x->server->stores);
		return;
	}
	signal_all(e, SIGTERM);
	loop_set_timer(x->server->loop, &e->timer, monotonic_now_us() + EXPORTS_END_GRACE_US);
}

static void timer_fired(void *context)
{
	struct export *e = context;

	if (e->state == ENDING) {
		signal_all(e, SIGKILL);
		return;
	}
	(void)fault_set(&e->why, 0, MSG_EXPORT_FAILED, "reason", "nbdkit was not ready in time", NULL);
	answer(e, NULL, &e->why);
	end(e);
}

/* --- what nbdkit says ------------------------------------------------------------------------ */

/* The last whole line that there is. */
static void keep_line(struct disk *d, char *text)
{
	char *line;

	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		snprintf(d->said, sizeof(d->said), "%s", line);
		log_warn("export %s: %s", d->export->id, line);
	}
}

static void read_stderr(void *context, uint32_t events)
{
	struct disk *d = context;
	char text[1024];
	ssize_t n = read(d->process.stderr_fd, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(d->export->exports->server->loop, &d->process.stderr_fd);
		return;
	}
	text[n] = 0;
	keep_line(d, text);
}

static void become_serving(struct export *e)
{
	for (size_t i = 0; i < e->disk_count; i++) {
		if (!e->disks[i].ready)
			return;
	}
	loop_clear_timer(e->exports->server->loop, &e->timer);
	e->state = SERVING;
	log_info("export %s is served", e->id);
	answer(e, e->shown, NULL);
}

static void read_ready(void *context, uint32_t events)
{
	struct disk *d = context;
	struct export *e = d->export;
	char pid[32];
	ssize_t n = read(d->process.ready_fd, pid, sizeof(pid));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	loop_close(e->exports->server->loop, &d->process.ready_fd);
	if (n <= 0 || e->state != STARTING) /* dead: it will be reaped */
		return;
	d->ready = true;
	become_serving(e);
}

bool exports_reaped(struct exports *x, pid_t pid, int status)
{
	struct disk *d = NULL;
	struct export *e;

	for (e = x->list; e; e = e->next) {
		for (size_t i = 0; !d && i < e->disk_count; i++)
			d = e->disks[i].process.pid == pid ? &e->disks[i] : NULL;
		if (d)
			break;
	}
	if (!d)
		return false;
	d->process.pid = 0;
	if (d->process.stderr_fd >= 0)
		read_stderr(d, 0);
	if (!d->said[0])
		snprintf(d->said, sizeof(d->said), "nbdkit ended with %s %d", WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (e->state == STARTING) {
		(void)fault_set(&e->why, 0, MSG_EXPORT_FAILED, "reason", d->said, NULL);
		answer(e, NULL, &e->why);
	} else if (e->state == SERVING) {
		char id[UUID_TEXT_LEN + 1];

		(void)fault_set(&e->why, 0, MSG_EXPORT_DIED, "export", e->id, "machine",
				uuid_format(&e->machine, id), "reason", d->said, NULL);
		server_report(x->server, &e->machine, &e->why);
	} else if (!any_running(e)) {
		free_export(e);
		if (!x->shut)
			stores_schedule(x->server->stores);
		return true;
	}
	end(e);
	return true;
}

/* --- starting ---------------------------------------------------------------------------------- */

/* The part of a device's name that can stand in a URI as it is. */
static void uri_name(const char *name, char *ret, size_t size)
{
	const char *slash = strrchr(name, '/');
	size_t n = 0;

	for (const char *c = slash ? slash + 1 : name; *c && n + 1 < size; c++)
		ret[n++] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", *c) ? *c : '-';
	ret[n] = 0;
}

static int open_socket(struct disk *d, unsigned int index, const char *name, int *ret_fd, char *uri, size_t size)
{
	struct export *e = d->export;
	bool v6 = strchr(e->listen, ':') != NULL;
	char file[64], part[64];
	uint16_t port;
	int err;

	uri_name(name, part, sizeof(part));
	if (strcmp(e->listen, "unix") != 0) {
		err = nbdkit_listen_tcp(e->listen, ret_fd, &port);
		if (!err)
			snprintf(uri, size, "nbd://%s%s%s:%u/%s", v6 ? "[" : "", e->listen, v6 ? "]" : "", port, part);
		return err;
	}
	snprintf(file, sizeof(file), "exports/%.8s-%u.sock", e->id, index);
	settings_path(&e->exports->server->settings, file, d->socket);
	err = nbdkit_listen_unix(d->socket, ret_fd);
	if (err)
		return err;
	d->is_unix = true;
	snprintf(uri, size, "nbd+unix:///%s?socket=%s", part, d->socket);
	return 0;
}

static int start_disk(struct export *e, const json_t *j, uint64_t epoch, json_t *shown_disks)
{
	struct server *s = e->exports->server;
	struct disk *d = &e->disks[e->disk_count];
	const char *name = json_string_value(json_object_get(j, "name"));
	char store[SETTINGS_PATH_MAX + UUID_TEXT_LEN + 2], dir[SETTINGS_PATH_MAX], id[UUID_TEXT_LEN + 1];
	char uri[SETTINGS_PATH_MAX + 128];
	struct nbdkit_options o = { .store_dir = store,
				    .exports_dir = settings_path(&s->settings, "exports", dir),
				    .epoch = epoch,
				    .disk = (unsigned int)json_integer_value(json_object_get(j, "index")),
				    .writable = e->writable };
	int err;

	d->export = e;
	d->process = (struct nbdkit_process){ .ready_fd = -1, .stderr_fd = -1 };
	e->disk_count++;
	snprintf(store, sizeof(store), "%s/%s", s->store_root, uuid_format(&e->machine, id));
	err = open_socket(d, o.disk, name, &o.listen_fd, uri, sizeof(uri));
	if (err)
		return err;
	err = nbdkit_spawn(&o, &d->process);
	close(o.listen_fd);
	if (!err)
		err = loop_watch(s->loop, d->process.ready_fd, EPOLLIN, read_ready, d);
	if (!err)
		err = loop_watch(s->loop, d->process.stderr_fd, EPOLLIN, read_stderr, d);
	(void)json_array_append_new(shown_disks,
				    json_pack("{s:O, s:s, s:O, s:s}", "disk", json_object_get(j, "disk"), "name", name,
					      "size_bytes", json_object_get(j, "size_bytes"), "uri", uri));
	return err;
}

static bool is_wanted(const struct export *e, const json_t *disk)
{
	const char *name = json_string_value(json_object_get(disk, "name"));
	const char *id = json_string_value(json_object_get(disk, "disk"));
	const char *slash = strrchr(name, '/');

	return !e->wanted_disk[0] || strcmp(e->wanted_disk, name) == 0 || strcmp(e->wanted_disk, id) == 0 ||
	       (slash && strcmp(e->wanted_disk, slash + 1) == 0);
}

static void fault_no_disk(struct export *e, const json_t *disks)
{
	char list[FAULT_VALUE_MAX] = "", id[UUID_TEXT_LEN + 1];
	size_t i, n = 0;
	json_t *d;

	json_array_foreach(disks, i, d)
		n += (size_t)snprintf(list + MIN(n, sizeof(list) - 1), sizeof(list) - MIN(n, sizeof(list) - 1), "%s%s",
				      i ? ", " : "", json_string_value(json_object_get(d, "name")));
	(void)fault_set(&e->why, 0, MSG_POINT_WITHOUT_DISK, "machine", uuid_format(&e->machine, id), "disk",
			e->wanted_disk, "disks", list, NULL);
}

static void fault_start(struct export *e, int err)
{
	bool tcp = strcmp(e->listen, "unix") != 0;

	if (tcp && (err == -EADDRNOTAVAIL || err == -EINVAL || err == -EAFNOSUPPORT))
		(void)fault_set(&e->why, err, MSG_EXPORT_ADDRESS_UNUSABLE, "address", e->listen, "reason",
				err == -EINVAL ? "it is no IP address" : strerror(-err), NULL);
	else if (err == -ENAMETOOLONG)
		(void)fault_set(&e->why, err, MSG_EXPORT_PATH_TOO_LONG, "path", e->disks[e->disk_count - 1].socket,
				NULL);
	else
		(void)fault_set(&e->why, err, MSG_EXPORT_FAILED, "reason", strerror(-err), NULL);
}

/* A worker has read what a stranger sent: its answer is looked at before it is used. */
static bool is_answer(const json_t *result)
{
	const json_t *disks = json_object_get(result, "disks"), *d;
	size_t i;

	json_array_foreach(disks, i, d)
		if (!json_is_string(json_object_get(d, "name")) || !json_is_string(json_object_get(d, "disk")) ||
		    !json_is_integer(json_object_get(d, "index")) || !json_is_integer(json_object_get(d, "size_bytes")))
			return false;
	return json_is_array(disks) && json_is_object(json_object_get(result, "point"));
}

static int start_disks(struct export *e, const json_t *result)
{
	json_t *point = json_object_get(result, "point"), *disks = json_object_get(result, "disks");
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(point, "epoch"));
	json_t *shown = json_array(), *d;
	char id[UUID_TEXT_LEN + 1];
	size_t i;
	int err = 0;

	if (!is_answer(result)) {
		json_decref(shown);
		return fault_set(&e->why, -EPROTO, MSG_EXPORT_FAILED, "reason",
				 "the worker's answer is not understood", NULL);
	}
	json_array_foreach(disks, i, d) {
		if (!err && is_wanted(e, d) && e->disk_count < DISKS_MAX)
			err = start_disk(e, d, epoch, shown);
	}
	e->shown = json_pack("{s:s, s:s, s:O, s:b, s:o}", "export", e->id, "machine", uuid_format(&e->machine, id),
			     "point", point, "writable", e->writable, "disks", shown);
	if (err) {
		fault_start(e, err);
		return err;
	}
	if (e->disk_count == 0) {
		fault_no_disk(e, disks);
		return -ENOENT;
	}
	return 0;
}

static void resolved(void *context, int err, const char *text, size_t len)
{
	struct export *e = context;
	const struct machine *m = registry_find(&e->exports->server->registry, &e->machine);
	char id[UUID_TEXT_LEN + 1];
	json_t *result = NULL;

	err = work_result(&e->machine, err, text, len, &result, &e->why);
	e->state = STARTING;
	if (!err && m && m->state == MACHINE_REMOVED)
		err = fault_set(&e->why, -ENOENT, MSG_MACHINE_WITHOUT_STORE, "machine",
				uuid_format(&e->machine, id), NULL);
	if (!err && e->exports->shut)
		err = fault_set(&e->why, -ESHUTDOWN, MSG_SERVER_BUSY, "reason", "it is stopping", NULL);
	if (!err)
		err = start_disks(e, result);
	json_decref(result);
	if (err) {
		answer(e, NULL, &e->why);
		end(e);
		return;
	}
	loop_set_timer(e->exports->server->loop, &e->timer, monotonic_now_us() + EXPORTS_START_US);
}

static void fail_at_once(const struct export_request *q, enum message_code code, const char *name, const char *value)
{
	struct fault f;

	(void)fault_set(&f, 0, code, name, value, NULL);
	q->done(q->context, NULL, &f);
}

void exports_start(struct exports *x, const struct export_request *q)
{
	struct work_request r = { .machine = q->machine };
	char dir[SETTINGS_PATH_MAX + UUID_TEXT_LEN + 2], id[UUID_TEXT_LEN + 1];
	struct worker_options o = { .dir = dir, .work = work_disks, .argument = &r, .argument_size = sizeof(r),
				    .timeout_us = EXPORTS_START_US, .done = resolved };
	struct uuid export_id = uuid_random();
	struct export *e;

	snprintf(dir, sizeof(dir), "%s/%s", x->server->store_root, uuid_format(&q->machine, id));
	if (!stores_exists(x->server->stores, &q->machine)) {
		fail_at_once(q, MSG_MACHINE_WITHOUT_STORE, "machine", id);
		return;
	}
	if (x->shut || x->count >= EXPORTS_MAX) {
		fail_at_once(q, MSG_SERVER_BUSY, "reason", x->shut ? "it is stopping" : "too many exports are open");
		return;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		fail_at_once(q, MSG_SERVER_BUSY, "reason", "no memory");
		return;
	}
	e->exports = x;
	e->machine = q->machine;
	e->writable = q->writable;
	e->done = q->done;
	e->context = q->context;
	e->timer.fire = timer_fired;
	e->timer.context = e;
	uuid_format(&export_id, e->id);
	snprintf(e->wanted_disk, sizeof(e->wanted_disk), "%s", q->disk ? q->disk : "");
	snprintf(e->listen, sizeof(e->listen), "%s", q->listen && q->listen[0] ? q->listen : "unix");
	snprintf(r.at, sizeof(r.at), "%s", q->at);
	o.context = e;
	if (worker_start(x->server->loop, &o, NULL)) {
		free(e);
		fail_at_once(q, MSG_SERVER_BUSY, "reason", "no process can be started");
		return;
	}
	e->next = x->list;
	x->list = e;
	x->count++;
}

/* --- the rest ----------------------------------------------------------------------------------- */

int exports_stop(struct exports *x, const char *id)
{
	for (struct export *e = x->list; e; e = e->next) {
		if (strcmp(e->id, id) == 0 && e->state == SERVING) {
			log_info("export %s ends", e->id);
			end(e);
			return 0;
		}
	}
	return -ENOENT;
}

/* Those that are being resolved find the machine's end by themselves. */
static void end_all(struct exports *x, const struct uuid *machine)
{
	struct export *next;

	for (struct export *e = x->list; e; e = next) {
		next = e->next;
		if (e->state == RESOLVING || (machine && !uuid_equal(machine, &e->machine)))
			continue;
		if (e->state == STARTING) {
			(void)fault_set(&e->why, 0, MSG_SERVER_BUSY, "reason", "the export was ended meanwhile", NULL);
			answer(e, NULL, &e->why);
		}
		end(e);
	}
}

void exports_stop_machine(struct exports *x, const struct uuid *machine)
{
	end_all(x, machine);
}

json_t *exports_list(const struct exports *x)
{
	json_t *list = json_array();

	for (const struct export *e = x->list; e; e = e->next) {
		if (e->state == SERVING)
			(void)json_array_append(list, e->shown);
	}
	return list;
}

size_t exports_of(const struct exports *x, const struct uuid *machine)
{
	size_t n = 0;

	for (const struct export *e = x->list; e; e = e->next)
		n += uuid_equal(&e->machine, machine);
	return n;
}

/* Sockets of a server that was killed. */
static void remove_old_sockets(const struct server *s)
{
	char path[SETTINGS_PATH_MAX];
	DIR *d = opendir(settings_path(&s->settings, "exports", path));
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d))) {
		if (strstr(e->d_name, ".sock"))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}

int exports_new(struct server *s, struct exports **ret)
{
	struct exports *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->server = s;
	remove_old_sockets(s);
	*ret = x;
	return 0;
}

void exports_shut(struct exports *x)
{
	x->shut = true;
	end_all(x, NULL);
}

bool exports_is_idle(const struct exports *x)
{
	return !x->list;
}

void exports_free(struct exports *x)
{
	if (!x)
		return;
	while (x->list) {
		signal_all(x->list, SIGKILL);
		free_export(x->list);
	}
	free(x);
}
