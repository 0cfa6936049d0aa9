/* SPDX-License-Identifier: Apache-2.0 */
#include "launches.h"
#include "daemon.h"
#include "fileio.h"
#include "launchfiles.h"
#include "log.h"
#include "stores.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "godwit-launch"

enum launch_stage { RESOLVING, SPAWNING, THERE };

struct waiter {
	struct waiter *next;
	void (*done)(void *context, const json_t *result, const struct fault *fault);
	void *context;
};

struct launch {
	struct launches *launches;
	struct launch *next;
	enum launch_stage stage;
	char id[UUID_TEXT_LEN + 1];
	char folder[SETTINGS_PATH_MAX];
	struct uuid machine;
	struct waiter *waiters;
	json_t *spec;	/* without point and epoch while RESOLVING */
	json_t *record; /* THERE: launch.json, as the console sees it; NULL: not read yet */
	struct stat seen; /* of launch.json when it was read */
	pid_t spawner;	/* SPAWNING: ends when the launch is on its way */
	bool over;	/* the record has an end */
	bool asked_to_end;
	unsigned int dead_looks; /* in a row, without a record */
	uint64_t kill_at_us;	 /* it was asked to end; 0: not */
};

struct launches {
	struct server *server;
	struct launch *list;
	bool thin_is_due; /* something is over now */
};

/* --- small things ------------------------------------------------------------------------ */

static struct launch *find(const struct launches *l, const char *id)
{
	for (struct launch *e = l->list; e; e = e->next)
		if (strcmp(e->id, id) == 0)
			return e;
	return NULL;
}

static char *path_of(const struct launch *e, const char *name, char ret[SETTINGS_PATH_MAX + 64])
{
	snprintf(ret, SETTINGS_PATH_MAX + 64, "%s/%s", e->folder, name);
	return ret;
}

static pid_t process_of(const struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];

	return daemon_running(path_of(e, "launch.pid", path));
}

static void forget(struct launch *e)
{
	for (struct launch **p = &e->launches->list; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			break;
		}
	}
	json_decref(e->spec);
	json_decref(e->record);
	free(e);
}

static void answer(struct launch *e, const struct fault *fault)
{
	json_t *result = fault ? NULL : json_pack("{s:s, s:O}", "launch", e->id, "point", json_object_get(e->spec, "point"));

	while (e->waiters) {
		struct waiter *w = e->waiters;

		e->waiters = w->next;
		w->done(w->context, result, fault);
		free(w);
	}
	json_decref(result);
}

static struct launch *add(struct launches *l, const char *id)
{
	struct launch *e = calloc(1, sizeof(*e));
	char name[UUID_TEXT_LEN + 16];

	if (!e)
		return NULL;
	e->launches = l;
	snprintf(e->id, sizeof(e->id), "%s", id);
	snprintf(name, sizeof(name), "launches/%s", id);
	settings_path(&l->server->settings, name, e->folder);
	e->next = l->list;
	l->list = e;
	return e;
}

static const char *state_of(const struct launch *e)
{
	return json_string_value(json_object_get(e->record, "state")) ?: "";
}

static bool needs_store(const struct launch *e)
{
	return !e->over && strcmp(state_of(e), "standing") != 0;
}

static int fault_unknown(struct fault *f, const char *id)
{
	return fault_set(f, -ENOENT, MSG_LAUNCH_UNKNOWN, "launch", id, NULL);
}

/* --- what the process says of itself -------------------------------------------------------- */

static void add_point_id(const struct launch *e, json_t *record)
{
	json_t *point = json_object_get(record, "point");
	json_int_t epoch = json_integer_value(json_object_get(point, "epoch"));
	char id[UUID_TEXT_LEN + 1];
	struct uuid u;

	if (epoch <= 0)
		return;
	u = uuid_from_epoch(&e->machine, (uint64_t)epoch);
	(void)json_object_set_new(point, "id", json_string(uuid_format(&u, id)));
}

static void take_record(struct launch *e, json_t *record)
{
	const char *state = json_string_value(json_object_get(record, "state")) ?: "";
	json_t *log = json_object_get(record, "log");
	char machine[UUID_TEXT_LEN + 1];

	while (json_array_size(log) > LAUNCHES_LOG_LINES)
		(void)json_array_remove(log, 0);
	(void)json_object_set_new(record, "machine_id", json_string(uuid_format(&e->machine, machine)));
	(void)json_object_set_new(record, "folder", json_string(e->folder));
	add_point_id(e, record);
	json_decref(e->record);
	e->record = record;
	if (!e->over && (strcmp(state, "ended") == 0 || strcmp(state, "failed") == 0))
		e->over = e->launches->thin_is_due = true;
}

/* Its record anew, if it has changed. */
static void read_record(struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct stat st;
	json_t *record;

	if (stat(path_of(e, "launch.json", path), &st))
		return;
	if (e->record && st.st_ino == e->seen.st_ino && st.st_size == e->seen.st_size &&
	    st.st_mtim.tv_sec == e->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == e->seen.st_mtim.tv_nsec)
		return;
	record = launchfiles_read(path);
	if (!record)
		return;
	e->seen = st;
	take_record(e, record);
}

static bool is_somebodys_data(const struct launch *e)
{
	const char *kind = json_string_value(json_object_get(e->spec, "kind")) ?: "";
	bool booted = strcmp(state_of(e), "booted") == 0 || strcmp(state_of(e), "keeping") == 0;

	if (e->over)
		return json_is_true(json_object_get(e->record, "disks_kept"));
	return strcmp(state_of(e), "standing") == 0 || (strcmp(kind, "cutover") == 0 && booted);
}

/* N1. */
static void bury(struct launch *e)
{
	bool keep_disks = is_somebodys_data(e) && !e->asked_to_end;
	char path[SETTINGS_PATH_MAX + 64];
	struct fault f;

	launchfiles_end_processes(e->folder);
	launchfiles_clear(e->folder, keep_disks);
	launchfiles_clear_images(e->spec);
	(void)fault_set(&f, 0, MSG_LAUNCH_KILLED, "machine",
			json_string_value(json_object_get(e->spec, "machine")) ?: e->id, NULL);
	if (launchfiles_bury(path_of(e, "launch.json", path), e->spec, e->asked_to_end ? NULL : &f, keep_disks))
		log_warn("launch %s cannot be buried", e->id);
	else
		log_info("launch %s is buried: its process was gone", e->id);
	read_record(e);
	if (!e->record) /* there is no room to write it: not again and again */
		e->over = true;
	stores_schedule(e->launches->server->stores);
}

static void look_at(struct launch *e)
{
	bool was_in_need = needs_store(e);
	pid_t pid = process_of(e); /* first: its record has its end before its lock is gone */

	read_record(e);
	if (pid > 0) {
		e->dead_looks = 0;
		if (e->kill_at_us && monotonic_now_us() > e->kill_at_us)
			(void)kill(pid, SIGKILL);
	} else if (!e->over && (e->record || ++e->dead_looks > 1)) {
		bury(e);
	}
	if (was_in_need && !needs_store(e))
		stores_schedule(e->launches->server->stores);
}

/* --- those that are over -------------------------------------------------------------------------- */

static void discard(struct launch *e)
{
	launchfiles_remove(e->folder);
	forget(e);
}

static const char *since_of(const struct launch *e)
{
	return json_string_value(json_object_get(e->record, "since")) ?: "";
}

/* N2: the oldest that is over, of @machine or of all, and how many there are. */
static struct launch *oldest_over(const struct launches *l, const struct uuid *machine, size_t *ret_count)
{
	struct launch *oldest = NULL;

	*ret_count = 0;
	for (struct launch *e = l->list; e; e = e->next) {
		if (!e->over || (machine && !uuid_equal(machine, &e->machine)))
			continue;
		++*ret_count;
		if (!is_somebodys_data(e) && (!oldest || strcmp(since_of(e), since_of(oldest)) < 0))
			oldest = e;
	}
	return oldest;
}

/* Whether one went: then the list is to be gone through anew. */
static bool thin_one(struct launches *l)
{
	struct launch *oldest;
	size_t count;

	for (struct launch *e = l->list; e; e = e->next) {
		oldest = e->over ? oldest_over(l, &e->machine, &count) : NULL;
		if (oldest && count > LAUNCHES_OVER_OF_MACHINE) {
			discard(oldest);
			return true;
		}
	}
	oldest = oldest_over(l, NULL, &count);
	if (!oldest || count <= LAUNCHES_OVER_MAX)
		return false;
	discard(oldest);
	return true;
}

void launches_look(struct launches *l)
{
	struct launch *next;

	for (struct launch *e = l->list; e; e = next) {
		next = e->next;
		if (e->stage != THERE)
			continue;
		if (access(e->folder, F_OK) && errno == ENOENT) { /* somebody has removed it */
			launchfiles_end_processes(e->folder);
			forget(e);
		} else if (!e->over)
			look_at(e);
	}
	if (l->thin_is_due)
		while (thin_one(l))
			;
	l->thin_is_due = false;
}

json_t *launches_status(const struct launches *l)
{
	json_t *list = json_array();

	for (const struct launch *e = l->list; e; e = e->next)
		if (e->record)
			(void)json_array_append(list, e->record);
	return list;
}

/* --- starting ------------------------------------------------------------------------------------------ */

static void give_up(struct launch *e, const struct fault *f)
{
	answer(e, f);
	launchfiles_end_processes(e->folder);
	launchfiles_remove(e->folder);
	stores_schedule(e->launches->server->stores);
	forget(e);
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

static int begin(struct launch *e, const json_t *point)
{
	char path[SETTINGS_PATH_MAX + 64];
	char *text;
	int err;

	(void)json_object_set_new(e->spec, "point",
				  json_pack("{s:O, s:O, s:O}", "id", json_object_get(point, "id"), "epoch",
					    json_object_get(point, "epoch"), "time", json_object_get(point, "time")));
	(void)json_object_set(e->spec, "epoch", json_object_get(point, "epoch"));
	text = json_dumps(e->spec, JSON_INDENT(1));
	err = text ? fileio_mkdirs(e->folder, 0700) : -ENOMEM;
	if (!err)
		err = fileio_replace(path_of(e, "spec.json", path), text, strlen(text), 0600);
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
	read_record(e);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("launch %s is on its way", e->id);
		answer(e, NULL);
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
	static const char *const members[] = { "cpus", "memory_mib", "firmware", "network", "disk_bus", "proof",
					       "proof_text", "proof_command", "post_launch", "proof_seconds" };
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
	struct launch *e = find(l, uuid_format(&q->launch, id));
	bool full = count_running(l) >= LAUNCHES_MAX;
	struct fault f;

	if (e) { /* asked for again */
		wait_for(e, q);
		if (e->stage == THERE)
			answer(e, NULL);
		return;
	}
	e = full ? NULL : add(l, id);
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

/* --- while it is there -------------------------------------------------------------------------------- */

static int say(const struct launch *e, const char *line)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int dir = open(e->folder, O_PATH | O_DIRECTORY | O_CLOEXEC), err = 0;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* By a short name, however long the folder's is. */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control", dir);
	if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) ||
	    send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return err;
}

int launches_keep(struct launches *l, const char *id, struct fault *ret_fault)
{
	struct launch *e = find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	look_at(e);
	if (e->over)
		return fault_set(ret_fault, -ESTALE, MSG_LAUNCH_OVER, "launch", id, NULL);
	if (strcmp(state_of(e), "keeping") == 0 || strcmp(state_of(e), "standing") == 0)
		return 0;
	return say(e, "keep\n") ? fault_set(ret_fault, -ESTALE, MSG_LAUNCH_OVER, "launch", id, NULL) : 0;
}

void launches_terminate(struct launches *l, const char *id)
{
	struct launch *e = find(l, id);
	pid_t pid;

	if (!e)
		return;
	e->asked_to_end = true;
	if (e->stage != THERE)
		return;
	if (!e->over)
		look_at(e);
	if (e->over) {
		discard(e);
		return;
	}
	if (!e->kill_at_us)
		e->kill_at_us = monotonic_now_us() + LAUNCHES_END_GRACE_US;
	pid = process_of(e);
	if (say(e, "terminate\n") && pid > 0)
		(void)kill(pid, SIGTERM);
}

int launches_console_log(struct launches *l, const char *id, json_int_t from, json_t **ret, struct fault *ret_fault)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct launch *e = find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	*ret = launchfiles_text(path_of(e, "serial.log", path), from, LAUNCHES_CONSOLE_BYTES);
	return *ret ? 0 : fault_set(ret_fault, -ENOMEM, MSG_SERVER_BUSY, "reason", "no memory", NULL);
}

int launches_screenshot(struct launches *l, const char *id, json_t **ret, struct fault *ret_fault)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct launch *e = find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	*ret = launchfiles_picture(path_of(e, "screenshot.png", path));
	return *ret ? 0 : fault_set(ret_fault, -ENOENT, MSG_LAUNCH_NO_SCREENSHOT, "launch", id, NULL);
}

void launches_stop_machine(struct launches *l, const struct uuid *machine)
{
	struct launch *next;

	for (struct launch *e = l->list; e; e = next) {
		next = e->next;
		if (!uuid_equal(&e->machine, machine) || is_somebodys_data(e))
			continue;
		e->asked_to_end = true;
		launches_terminate(l, e->id);
	}
}

size_t launches_of(const struct launches *l, const struct uuid *machine)
{
	size_t n = 0;

	for (const struct launch *e = l->list; e; e = e->next)
		n += uuid_equal(&e->machine, machine) && needs_store(e);
	return n;
}

/* --- all of them ----------------------------------------------------------------------------------------- */

/* Those of an earlier life of this process.  A folder without a usable spec.json never became one. */
static void find_again(struct launches *l, const char *id)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct launch *e = add(l, id);

	if (!e)
		return;
	e->stage = THERE;
	e->spec = launchfiles_read(path_of(e, "spec.json", path));
	if (!e->spec || uuid_parse(json_string_value(json_object_get(e->spec, "machine_id")) ?: "", &e->machine)) {
		launchfiles_end_processes(e->folder);
		discard(e);
		return;
	}
	read_record(e);
}

int launches_new(struct server *s, struct launches **ret)
{
	struct launches *l = calloc(1, sizeof(*l));
	char path[SETTINGS_PATH_MAX];
	struct uuid id;
	struct dirent *d;
	DIR *dir;
	int err;

	if (!l)
		return -ENOMEM;
	l->server = s;
	err = fileio_mkdirs(settings_path(&s->settings, "launches", path), 0700);
	dir = err ? NULL : opendir(path);
	if (!dir) {
		free(l);
		return err ? err : -errno;
	}
	while ((d = readdir(dir)))
		if (uuid_parse(d->d_name, &id) == 0)
			find_again(l, d->d_name);
	closedir(dir);
	*ret = l;
	return 0;
}

bool launches_is_idle(const struct launches *l)
{
	for (const struct launch *e = l->list; e; e = e->next)
		if (e->stage == RESOLVING)
			return false;
	return true;
}

void launches_free(struct launches *l)
{
	if (!l)
		return;
	while (l->list) {
		while (l->list->waiters) {
			struct waiter *w = l->list->waiters;

			l->list->waiters = w->next;
			free(w);
		}
		forget(l->list);
	}
	free(l);
}
