/* SPDX-License-Identifier: Apache-2.0 */
#include "launches-private.h"
#include "daemon.h"
#include "fileio.h"
#include "launchfiles.h"
#include "link.h"
#include "log.h"
#include "stores.h"
#include "wallclock.h"

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

#define START_TRIES    5u			/* of one that is to be started again, and ... */
#define START_PAUSE_US (10 * USEC_PER_SEC)	/* ... after the first; doubled each time */

#define COMING_UP_US   (400 * USEC_PER_SEC)	/* longer than its process waits */

/* --- small things ------------------------------------------------------------------------ */

struct launch *launches_find(const struct launches *l, const char *id)
{
	for (struct launch *e = l->list; e; e = e->next)
		if (strcmp(e->id, id) == 0)
			return e;
	return NULL;
}

char *launch_path(const struct launch *e, const char *name, char ret[SETTINGS_PATH_MAX + 64])
{
	snprintf(ret, SETTINGS_PATH_MAX + 64, "%s/%s", e->folder, name);
	return ret;
}

static pid_t process_of(const struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];

	return daemon_running(launch_path(e, "launch.pid", path));
}

void launch_forget(struct launch *e)
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

void launch_answer(struct launch *e, const struct fault *fault)
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

struct launch *launches_add(struct launches *l, const char *id)
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

static bool record_has(const struct launch *e, const char *member)
{
	return json_is_true(json_object_get(e->record, member));
}

static bool is_stopped(const struct launch *e)
{
	return strcmp(state_of(e), "stopped") == 0;
}

/* All its data is its own, whether its machine runs just now or not. */
static bool stands(const struct launch *e)
{
	return strcmp(state_of(e), "standing") == 0 || (is_stopped(e) && !record_has(e, "needs_store"));
}

/* N4.  Over and with disks that somebody may ask for again, it does, unless it has stood. */
static bool needs_store(const struct launch *e)
{
	if (e->unreadable)
		return true;
	return e->over ? record_has(e, "disks_kept") && !record_has(e, "has_stood") : !stands(e);
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

/* Want of memory or of descriptors, say, may pass. */
static void note_failed_start(struct launch *e)
{
	if (e->start_failures < START_TRIES)
		e->start_at_us = monotonic_now_us() + (START_PAUSE_US << e->start_failures++);
}

static void take_record(struct launch *e, json_t *record)
{
	const char *state = json_string_value(json_object_get(record, "state")) ?: "";
	json_t *log = json_object_get(record, "log");
	char machine[UUID_TEXT_LEN + 1];

	while (json_array_size(log) > LAUNCHES_LOG_LINES)
		(void)json_array_remove(log, 0);
	(void)json_object_set_new(record, "folder", json_string(e->folder));
	if (e->spec) { /* else nobody knows whose it is: N5 */
		(void)json_object_set_new(record, "machine_id", json_string(uuid_format(&e->machine, machine)));
		add_point_id(e, record);
	}
	json_decref(e->record);
	e->record = record;
	if (!e->over && (strcmp(state, "ended") == 0 || strcmp(state, "failed") == 0)) {
		e->over = e->launches->thin_is_due = true;
		note_failed_start(e);
	}
}

/* -ENOENT: it has none. */
static int read_record(struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct stat st;
	json_t *record;
	int err;

	if (stat(launch_path(e, "launch.json", path), &st))
		return -errno;
	if (e->record && st.st_ino == e->seen.st_ino && st.st_size == e->seen.st_size &&
	    st.st_mtim.tv_sec == e->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == e->seen.st_mtim.tv_nsec)
		return 0;
	err = launchfiles_read(path, &record);
	if (err)
		return err;
	e->seen = st;
	take_record(e, record);
	return 0;
}

void launch_read_record(struct launch *e)
{
	(void)!read_record(e); /* what was read before stays: its process writes it again */
}

static bool is_somebodys_data(const struct launch *e)
{
	const char *kind = json_string_value(json_object_get(e->spec, "kind")) ?: "";
	bool kept = record_has(e, "disks_kept");

	if (e->over || kept)
		return kept;
	return stands(e) || is_stopped(e) || json_is_object(json_object_get(e->record, "not_proved")) ||
	       record_has(e, "to_be_kept") ||
	       (strcmp(kind, "cutover") == 0 && strcmp(state_of(e), "booted") == 0);
}

/* Without a record nobody knows whose they are: N5. */
static bool are_disks_to_stay(const struct launch *e)
{
	return !e->asked_to_end && (e->record ? is_somebodys_data(e) : launchfiles_has_disks(e->folder) != 0);
}

/* N1. */
static void bury(struct launch *e, const struct fault *f)
{
	bool keep_disks = are_disks_to_stay(e);
	char path[SETTINGS_PATH_MAX + 64];

	launchfiles_end_processes(e->folder);
	launchfiles_clear(e->folder, keep_disks);
	launchfiles_clear_images(e->spec);
	if (launchfiles_bury(launch_path(e, "launch.json", path), e->record, e->spec, e->asked_to_end ? NULL : f, keep_disks))
		log_warn("launch %s cannot be buried", e->id);
	else
		log_info("launch %s is buried: its process was gone", e->id);
	launch_read_record(e);
	if (!e->record) /* there is no room to write it: not again and again */
		e->over = true;
	stores_schedule(e->launches->server->stores);
}

void launch_bury(struct launch *e)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_KILLED, "machine",
			json_string_value(json_object_get(e->spec, "machine")) ?: e->id, NULL);
	bury(e, &f);
}

void launch_not_started_again(struct launch *e)
{
	struct fault f;

	if (e->over) /* its record says why */
		return;
	note_failed_start(e);
	if (e->start_failures < START_TRIES)
		return;
	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_STARTED, "reason", "godwit-launch ended at once", NULL);
	bury(e, &f);
}

/* N3.  Killed on this boot of the server's machine is killed; stopped on it, it waits for the next. */
static bool is_of_another_boot(const struct launch *e)
{
	const char *seen = json_string_value(json_object_get(e->record, "boot_id")), *now = e->launches->boot_id;

	return seen && *now && strcmp(seen, now) != 0;
}

static bool is_to_start_again(const struct launch *e)
{
	const char *wanted = json_string_value(json_object_get(e->spec, "after_restart")) ?: "start";

	return is_somebodys_data(e) && !e->asked_to_end && strcmp(wanted, "start") == 0 && is_of_another_boot(e);
}

/* It is on its way, and its record does not say yet that its machine runs. */
static bool is_coming_up(const struct launch *e)
{
	if (monotonic_now_us() > e->started_again_us + COMING_UP_US)
		return false;
	return (e->stage == SPAWNING && e->again) || (e->stage == THERE && !e->over && is_stopped(e) && process_of(e) > 0);
}

/* One after the other: they share disks and processors. */
static bool may_start_again(const struct launch *e)
{
	if (e->launches->server->stopping || monotonic_now_us() < e->start_at_us)
		return false;
	for (const struct launch *other = e->launches->list; other; other = other->next)
		if (other != e && is_coming_up(other))
			return false;
	return true;
}

static const char *ran_again(const struct launch *e)
{
	return json_string_value(json_object_get(e->record, "started_again")) ?: "";
}

static void start_after_restart(struct launch *e)
{
	e->over = false;
	e->after_restart = true;
	snprintf(e->ran_before, sizeof(e->ran_before), "%s", ran_again(e));
	launch_start_again(e);
}

/* It has failed before its machine ran: too little memory, say, while all come up at once. */
static bool is_to_be_tried_again(const struct launch *e)
{
	return e->over && !e->unreadable && e->after_restart && !e->asked_to_end && record_has(e, "disks_kept") &&
	       e->start_failures < START_TRIES && strcmp(e->ran_before, ran_again(e)) == 0 && may_start_again(e);
}

static bool waits_for_restart(const struct launch *e)
{
	return is_stopped(e) && !e->asked_to_end && !is_of_another_boot(e);
}

/* --- what cannot be read: N5 ------------------------------------------------------------------------- */

static int read_spec(struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];
	json_t *spec;
	int err = launchfiles_read(launch_path(e, "spec.json", path), &spec);

	if (err)
		return err;
	if (uuid_parse(json_string_value(json_object_get(spec, "machine_id")) ?: "", &e->machine)) {
		json_decref(spec);
		return -EBADMSG;
	}
	e->spec = spec;
	return 0;
}

static const char *reason_of(int err)
{
	return err == -EBADMSG ? "it is damaged" : strerror(-err);
}

/* What the console is told instead of its record.  Of launch.json what can be had stays, for its
 * point (N4); nothing of it is written. */
static void set_unreadable(struct launch *e, const char *file, int err)
{
	char path[SETTINGS_PATH_MAX + 64], now[WALLCLOCK_TEXT_LEN + 1];
	json_t *record;
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_UNREADABLE, "launch", e->id, "file", file, "reason", reason_of(err),
			"folder", e->folder, NULL);
	if (launchfiles_read(launch_path(e, "launch.json", path), &record))
		record = json_pack("{s:s, s:O*, s:O*, s:O*, s:{}, s:{}, s:[]}", "launch", e->id, "machine",
				   json_object_get(e->spec, "machine"), "kind", json_object_get(e->spec, "kind"), "point",
				   json_object_get(e->spec, "point"), "times", "milliseconds", "log");
	(void)json_object_set_new(record, "state", json_string("failed"));
	(void)json_object_set_new(record, "since", json_string(wallclock_format(wallclock_now_us(), now)));
	(void)json_object_set_new(record, "fault", fault_to_json(&f));
	(void)json_object_set_new(record, "disks_kept", json_true());
	e->unreadable = true;
	e->reported = false;
	take_record(e, record);
}

/* Its record says why; the link, which carries the event, begins later than the first look. */
static void report_unreadable(struct launch *e)
{
	struct server *s = e->launches->server;
	struct fault f;

	if (e->reported || (s->settings.console[0] && !s->link))
		return;
	e->reported = true;
	if (fault_from_json(json_object_get(e->record, "fault"), &f) == 0)
		server_report(s, NULL, &f);
}

/* Can it be read now?  Then all is as it was when the server started. */
static void look_at_unreadable(struct launch *e)
{
	char path[SETTINGS_PATH_MAX + 64];
	json_t *record = NULL;
	int err = e->spec ? 0 : read_spec(e);

	if (!err)
		err = launchfiles_read(launch_path(e, "launch.json", path), &record);
	json_decref(record);
	if (err && !(err == -ENOENT && e->spec)) {
		report_unreadable(e);
		return;
	}
	json_decref(e->record);
	e->record = NULL;
	e->unreadable = e->over = false;
	e->dead_looks = 0;
	log_info("launch %s can be read again", e->id);
	launch_answer(e, NULL);
}

/* --- looking --------------------------------------------------------------------------------------------- */

static void look_at(struct launch *e)
{
	bool was_in_need = needs_store(e);
	pid_t pid = process_of(e); /* first: its record has its end before its lock is gone */
	int err;

	if (e->unreadable)
		look_at_unreadable(e);
	if (e->unreadable)
		return;
	err = read_record(e);
	if (pid > 0) {
		e->dead_looks = 0;
		if (e->kill_at_us && monotonic_now_us() > e->kill_at_us)
			(void)kill(pid, SIGKILL);
	} else if (err && err != -ENOENT && !e->over && !e->asked_to_end) {
		set_unreadable(e, "launch.json", err);
	} else if (!e->over && is_to_start_again(e)) {
		if (may_start_again(e))
			start_after_restart(e);
	} else if (!e->over && !waits_for_restart(e) && (e->record || ++e->dead_looks > 1)) {
		launch_bury(e);
	}
	if (was_in_need && !needs_store(e))
		stores_schedule(e->launches->server->stores);
}

/* --- those that are over -------------------------------------------------------------------------- */

static void discard(struct launch *e)
{
	struct stores *stores = e->over && needs_store(e) ? e->launches->server->stores : NULL;
	struct fault f;

	if (e->unreadable) /* nobody has ended what it may have started */
		launchfiles_end_processes(e->folder);
	(void)fault_unknown(&f, e->id);
	launch_answer(e, &f);
	launchfiles_remove(e->folder);
	launch_forget(e);
	if (stores) /* its point, or all of its store, may go now */
		stores_schedule(stores);
}

static const char *since_of(const struct launch *e)
{
	return json_string_value(json_object_get(e->record, "since")) ?: "";
}

/* N2: the oldest that is over and left no disks, of @machine or of all, and how many are over. */
static struct launch *oldest_over(const struct launches *l, const struct uuid *machine, size_t *ret_count)
{
	struct launch *oldest = NULL;

	*ret_count = 0;
	for (struct launch *e = l->list; e; e = e->next) {
		if (!e->over || (machine && !uuid_equal(machine, &e->machine)))
			continue;
		++*ret_count;
		if (!is_somebodys_data(e) && launchfiles_has_disks(e->folder) == 0 && (!oldest || strcmp(since_of(e), since_of(oldest)) < 0))
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
			launch_forget(e);
		} else if (!e->over || e->unreadable) {
			look_at(e);
		} else if (is_to_be_tried_again(e)) {
			start_after_restart(e);
		}
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

/* Off, but its disks are there: after it was killed, or stopped without a restart of this machine. */
static bool can_start_again(const struct launch *e)
{
	return !e->unreadable && process_of(e) <= 0 && is_somebodys_data(e) && (e->over || is_stopped(e)) && !e->launches->server->stopping;
}

int launches_keep(struct launches *l, const char *id, struct fault *ret_fault)
{
	struct launch *e = launches_find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	if (!e->over || e->unreadable)
		look_at(e);
	if (e->unreadable && fault_from_json(json_object_get(e->record, "fault"), ret_fault) == 0)
		return -EBADMSG;
	if (e->stage == THERE && can_start_again(e)) {
		e->over = e->asked_to_end = e->after_restart = false;
		e->start_failures = 0;
		e->kill_at_us = 0;
		launch_start_again(e);
		return 0;
	}
	if (e->over)
		return fault_set(ret_fault, -ESTALE, MSG_LAUNCH_OVER, "launch", id, NULL);
	if (strcmp(state_of(e), "keeping") == 0 || stands(e) || is_stopped(e)) /* that goes on with it by itself */
		return 0;
	return say(e, "keep\n") ? fault_set(ret_fault, -ESTALE, MSG_LAUNCH_OVER, "launch", id, NULL) : 0;
}

void launches_terminate(struct launches *l, const char *id)
{
	struct launch *e = launches_find(l, id);
	pid_t pid;

	if (!e)
		return;
	e->asked_to_end = true;
	if (e->stage != THERE)
		return;
	if (!e->over || e->unreadable)
		look_at(e);
	if (e->stage != THERE)
		return;
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
	struct launch *e = launches_find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	*ret = launchfiles_text(launch_path(e, "serial.log", path), from, LAUNCHES_CONSOLE_BYTES);
	return *ret ? 0 : fault_set(ret_fault, -ENOMEM, MSG_SERVER_BUSY, "reason", "no memory", NULL);
}

int launches_screenshot(struct launches *l, const char *id, json_t **ret, struct fault *ret_fault)
{
	char path[SETTINGS_PATH_MAX + 64];
	struct launch *e = launches_find(l, id);

	if (!e || e->stage != THERE)
		return fault_unknown(ret_fault, id);
	*ret = launchfiles_picture(launch_path(e, "screenshot.png", path));
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

/* Of one without a spec.json only the epoch is known: that is kept of every machine. */
static json_int_t epoch_of(const struct launch *e)
{
	return json_integer_value(e->spec ? json_object_get(e->spec, "epoch") :
					    json_object_get(json_object_get(e->record, "point"), "epoch"));
}

size_t launches_points(const struct launches *l, const struct uuid *machine, uint64_t *ret_epochs, size_t max)
{
	size_t n = 0;

	for (const struct launch *e = l->list; e && n < max; e = e->next) {
		json_int_t epoch = epoch_of(e);

		if ((!e->spec || uuid_equal(&e->machine, machine)) && needs_store(e) && epoch > 0)
			ret_epochs[n++] = (uint64_t)epoch;
	}
	return n;
}

/* --- all of them ----------------------------------------------------------------------------------------- */

static bool is_missing(const struct launch *e, const char *name)
{
	char path[SETTINGS_PATH_MAX + 64];

	return access(launch_path(e, name, path), F_OK) && errno == ENOENT;
}

/* There never was a launch: what becomes of one begins with spec.json. */
static bool never_began(const struct launch *e)
{
	return is_missing(e, "spec.json") && is_missing(e, "launch.json") && launchfiles_has_disks(e->folder) == 0;
}

/* Those of an earlier life of this process. */
static void find_again(struct launches *l, const char *id)
{
	struct launch *e = launches_add(l, id);
	int err;

	if (!e)
		return;
	e->stage = THERE;
	err = read_spec(e);
	if (err && never_began(e)) {
		launchfiles_end_processes(e->folder);
		discard(e);
	} else if (err) {
		set_unreadable(e, "spec.json", err);
	} else {
		launch_read_record(e);
	}
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
	daemon_boot_id(l->boot_id);
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
		launch_forget(l->list);
	}
	free(l);
}
