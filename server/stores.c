/* SPDX-License-Identifier: Apache-2.0 */
#include "stores.h"
#include "exports.h"
#include "launches.h"
#include "fileio.h"
#include "log.h"
#include "staging.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum work_kind { SUMMARY, UPKEEP, SCRUB, REMOVAL, WORK_KINDS };

/* A full staging area found by a failed write is called full for so long. */
#define FULL_AT_LEAST_US (5 * USEC_PER_SEC)

struct record {
	struct record *next;
	struct uuid id;
	bool connected;
	struct session_figures figures, rated; /* now, and at the last status */
	uint64_t rated_us;
	uint64_t point_epoch, point_time_us; /* the newest that a session told; 0: none */
	json_t *summary;
	uint64_t due_us[WORK_KINDS]; /* 0: nothing to do */
	bool running[WORK_KINDS];
	uint64_t upkeep_at_bytes; /* figures.received_bytes then */
	bool scrub_is_asked_for;
	bool asked_scrub_runs; /* running[SCRUB] is the one that was asked for */
	unsigned int failures[WORK_KINDS]; /* in a row */
	uint64_t retry_us[WORK_KINDS];	   /* after a failure: not before this */
	struct store_policy policy; /* that upkeep was last told */
};

struct slot {
	struct stores *stores;
	enum work_kind kind;
	struct worker *worker; /* NULL: free */
	struct record *record;
};

struct stores {
	struct server *server;
	struct record *records;
	struct slot slots[WORK_KINDS];
	struct loop_timer timer;
	bool shut;
	int root_fd;
	bool full;
	uint64_t full_since_us;
	struct staging_room room;
};

static void done_work(void *context, int err, const char *result, size_t len);

/* --- records ------------------------------------------------------------------------- */

static struct record *find(const struct stores *st, const struct uuid *id)
{
	struct record *r = st->records;

	while (r && !uuid_equal(&r->id, id))
		r = r->next;
	return r;
}

static const struct machine *machine_of(const struct stores *st, const struct record *r)
{
	return registry_find(&st->server->registry, &r->id);
}

static char *store_path(const struct stores *st, const struct uuid *id, char path[SETTINGS_PATH_MAX])
{
	char text[UUID_TEXT_LEN + 1];

	snprintf(path, SETTINGS_PATH_MAX, "%.*s/%s", SETTINGS_PATH_MAX - UUID_TEXT_LEN - 2, st->server->store_root,
		 uuid_format(id, text));
	return path;
}

/* When a scrub was last finished is a file's time of change. */
static char *scrub_path(const struct stores *st, const struct uuid *id, char path[SETTINGS_PATH_MAX])
{
	char text[UUID_TEXT_LEN + 1], name[64];

	snprintf(name, sizeof(name), "scrubbed/%s", uuid_format(id, text));
	return settings_path(&st->server->settings, name, path);
}

/* If it cannot be made the next scrub comes too early: no harm. */
static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	(void)futimens(fd, NULL);
	close(fd);
}

static uint64_t next_scrub_us(const struct stores *st, const struct uuid *id)
{
	char path[SETTINGS_PATH_MAX];
	uint64_t now = wallclock_now_us(), due;
	struct stat sb;

	if (stat(scrub_path(st, id, path), &sb)) {
		touch(path);
		return monotonic_now_us() + STORES_SCRUB_EVERY_S * USEC_PER_SEC;
	}
	due = ((uint64_t)sb.st_mtim.tv_sec + STORES_SCRUB_EVERY_S) * USEC_PER_SEC;
	return monotonic_now_us() + (due > now ? due - now : 0);
}

static struct record *add(struct stores *st, const struct uuid *id)
{
	struct record *r = find(st, id);
	uint64_t now = monotonic_now_us();

	if (r)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->id = *id;
	r->due_us[SUMMARY] = now;
	r->due_us[UPKEEP] = now + STORES_UPKEEP_EVERY_US / 4;
	r->due_us[SCRUB] = next_scrub_us(st, id);
	r->next = st->records;
	st->records = r;
	return r;
}

static void forget(struct stores *st, struct record *r)
{
	char path[SETTINGS_PATH_MAX];

	for (struct record **p = &st->records; *p; p = &(*p)->next) {
		if (*p == r) {
			*p = r->next;
			break;
		}
	}
	(void)unlink(scrub_path(st, &r->id, path));
	json_decref(r->summary);
	free(r);
}

static int add_existing(struct stores *st)
{
	DIR *d = opendir(st->server->store_root);
	struct dirent *e;
	struct uuid id;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (uuid_parse(e->d_name, &id) == 0 && !add(st, &id)) {
			closedir(d);
			return -ENOMEM;
		}
	}
	closedir(d);
	return 0;
}

bool stores_exists(const struct stores *st, const struct uuid *machine)
{
	return find(st, machine) != NULL;
}

/* --- scheduling ------------------------------------------------------------------------ */

/* What fails is done from its beginning again: less and less often. */
static uint64_t pause_after_us(enum work_kind kind, unsigned int failures)
{
	static const uint64_t most_us[] = { [SUMMARY] = STORES_RETRY_US, [UPKEEP] = STORES_UPKEEP_RETRY_MOST_US,
					    [SCRUB] = STORES_SCRUB_RETRY_MOST_US, [REMOVAL] = STORES_RETRY_US };

	return MIN(STORES_RETRY_US << MIN(failures - 1, 20u), most_us[kind]);
}

static void has_failed(struct record *r, enum work_kind kind)
{
	r->failures[kind]++;
	r->due_us[kind] = r->retry_us[kind] = monotonic_now_us() + pause_after_us(kind, r->failures[kind]);
}

static void has_succeeded(struct record *r, enum work_kind kind)
{
	r->failures[kind] = 0;
	r->retry_us[kind] = 0;
}

static bool is_removed(const struct stores *st, const struct record *r)
{
	const struct machine *m = machine_of(st, r);

	return m && m->state == MACHINE_REMOVED;
}

static bool may_start(const struct stores *st, const struct record *r, enum work_kind kind)
{
	if (r->running[kind] || r->running[REMOVAL])
		return false;
	if (kind != REMOVAL)
		return !is_removed(st, r);
	return !r->running[SUMMARY] && !r->running[UPKEEP] && !r->running[SCRUB] &&
	       !listener_is_inside(st->server->listener, &r->id) && !exports_of(st->server->exports, &r->id) &&
	       !launches_of(st->server->launches, &r->id);
}

/* Somebody waits for what he has asked for: that goes before all that is only due. */
static uint64_t urgency_us(const struct record *r, enum work_kind kind)
{
	return kind == SCRUB && r->scrub_is_asked_for ? 0 : r->due_us[kind];
}

static struct record *most_urgent(const struct stores *st, enum work_kind kind)
{
	struct record *best = NULL;

	for (struct record *r = st->records; r; r = r->next) {
		if (r->due_us[kind] && may_start(st, r, kind) &&
		    (!best || urgency_us(r, kind) < urgency_us(best, kind)))
			best = r;
	}
	return best;
}

static void fill_request(const struct stores *st, const struct record *r, struct work_request *q)
{
	const struct machine *m = machine_of(st, r);

	*q = (struct work_request){ .machine = r->id, .has_policy = m != NULL };
	if (m)
		q->policy = m->retention;
	q->held_count = launches_points(st->server->launches, &r->id, q->held, WORK_HELD_MAX);
	if (!r->scrub_is_asked_for)
		q->io_bytes_per_second = STORES_SCRUB_BYTES_PER_SECOND;
}

static int start_work(struct slot *slot, struct record *r)
{
	static int (*const work[])(const void *, size_t, const char *, int) = {
		[SUMMARY] = work_summary, [UPKEEP] = work_upkeep, [SCRUB] = work_scrub, [REMOVAL] = work_remove
	};
	struct stores *st = slot->stores;
	struct work_request q;
	char dir[SETTINGS_PATH_MAX], name[UUID_TEXT_LEN + 1];
	struct worker_options o = { .dir = store_path(st, &r->id, dir),
				    .parent = slot->kind == REMOVAL ? st->server->store_root : NULL,
				    .idle = slot->kind != SUMMARY,
				    .work = work[slot->kind],
				    .argument = &q,
				    .argument_size = sizeof(q),
				    .done = done_work,
				    .context = slot };
	int err;

	fill_request(st, r, &q);
	if (slot->kind == UPKEEP)
		r->policy = q.policy;
	if (slot->kind == SCRUB)
		r->asked_scrub_runs = r->scrub_is_asked_for;
	r->due_us[slot->kind] = 0;
	err = worker_start(st->server->loop, &o, &slot->worker);
	if (err) {
		slot->worker = NULL;
		r->due_us[slot->kind] = monotonic_now_us() + STORES_RETRY_US;
		return err;
	}
	slot->record = r;
	r->running[slot->kind] = true;
	if (slot->kind == SCRUB)
		log_info("%s: its store is read back, %s", server_machine_name(st->server, &r->id, name),
			 r->asked_scrub_runs ? "as asked for" : "as every week");
	return 0;
}

void stores_schedule(struct stores *st)
{
	uint64_t now = monotonic_now_us(), soonest = 0;

	if (st->shut)
		return;
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
		struct slot *slot = &st->slots[kind];
		struct record *r = slot->worker ? NULL : most_urgent(st, kind);
		int err;

		if (r && r->due_us[kind] <= now) {
			err = start_work(slot, r);
			if (err)
				log_error("a worker cannot be started: %s", strerror(-err));
			r = slot->worker ? NULL : most_urgent(st, kind);
		}
		if (r && (!soonest || r->due_us[kind] < soonest))
			soonest = r->due_us[kind];
	}
	if (soonest)
		loop_set_timer(st->server->loop, &st->timer, soonest);
}

static void timer_fired(void *context)
{
	stores_schedule(context);
}

/* --- results ----------------------------------------------------------------------------- */

static void set_summary(struct record *r, json_t *summary)
{
	if (!json_is_object(summary))
		return;
	json_decref(r->summary);
	r->summary = json_incref(summary);
}

static const char *reason_of(const struct fault *f)
{
	for (unsigned int i = 0; i < f->arg_count; i++) {
		if (strcmp(f->args[i].name, "reason") == 0)
			return f->args[i].value;
	}
	return message_name(f->code);
}

static uint64_t upkeep_every_us(const struct stores *st, const struct record *r)
{
	const struct machine *m = machine_of(st, r);
	uint64_t window_us = m ? m->retention.every_s * USEC_PER_SEC : UINT64_MAX;

	return MAX(STORES_UPKEEP_EVERY_LEAST_US, MIN(STORES_UPKEEP_EVERY_US, window_us / 4));
}

static void upkeep_done(struct stores *st, struct record *r, const json_t *result)
{
	bool more = json_is_true(json_object_get(result, "more"));
	long long freed = json_integer_value(json_object_get(result, "bytes_freed"));
	char name[UUID_TEXT_LEN + 1];

	set_summary(r, json_object_get(result, "summary"));
	r->upkeep_at_bytes = r->figures.received_bytes;
	r->due_us[UPKEEP] = monotonic_now_us() + (more ? 0 : upkeep_every_us(st, r));
	if (freed > 0)
		log_info("%s: upkeep freed %lld bytes", server_machine_name(st->server, &r->id, name), freed);
}

static void report_failure(struct stores *st, const struct record *r, enum message_code code, const struct fault *why)
{
	char id[UUID_TEXT_LEN + 1];
	struct fault f;

	(void)fault_set(&f, 0, code, "machine", uuid_format(&r->id, id), "reason", reason_of(why), NULL);
	server_report(st->server, &r->id, &f);
}

/* Said once; what it freed nevertheless is told by a summary of its own. */
static void upkeep_failed(struct stores *st, struct record *r, const struct fault *why)
{
	r->due_us[SUMMARY] = monotonic_now_us();
	if (r->failures[UPKEEP] == 1 && why->code != MSG_POINT_NONE) /* else nothing is there that could be kept up */
		report_failure(st, r, MSG_UPKEEP_FAILED, why);
}

/* Said once, and to everybody who asks. */
static void scrub_failed(struct stores *st, struct record *r, const struct fault *why)
{
	if (r->failures[SCRUB] == 1 || r->asked_scrub_runs)
		report_failure(st, r, MSG_SCRUB_FAILED, why);
	if (r->asked_scrub_runs)
		r->scrub_is_asked_for = false;
	else if (r->scrub_is_asked_for)
		r->due_us[SCRUB] = monotonic_now_us();
}

static void report_damage(struct stores *st, const struct record *r, const json_t *d)
{
	char id[UUID_TEXT_LEN + 1], disk[16], offset[24], length[24];
	struct fault f;

	snprintf(disk, sizeof(disk), "%lld", (long long)json_integer_value(json_object_get(d, "disk")));
	snprintf(offset, sizeof(offset), "%lld", (long long)json_integer_value(json_object_get(d, "offset")));
	snprintf(length, sizeof(length), "%lld", (long long)json_integer_value(json_object_get(d, "length")));
	(void)fault_set(&f, 0, MSG_STORE_DAMAGED, "machine", uuid_format(&r->id, id), "disk", disk, "offset", offset,
			"length", length, "first", json_string_value(json_object_get(d, "first")), "last",
			json_string_value(json_object_get(d, "last")), NULL);
	server_report(st->server, &r->id, &f);
}

static void scrub_done(struct stores *st, struct record *r, const json_t *result)
{
	char id[UUID_TEXT_LEN + 1], bytes[24], damaged[24], path[SETTINGS_PATH_MAX];
	struct fault f;
	size_t i;
	json_t *d;

	if (json_is_true(json_object_get(result, "stopped"))) {
		r->due_us[SCRUB] = r->scrub_is_asked_for ? monotonic_now_us() : next_scrub_us(st, &r->id);
		return;
	}
	json_array_foreach(json_object_get(result, "damage"), i, d)
		report_damage(st, r, d);
	snprintf(bytes, sizeof(bytes), "%lld", (long long)json_integer_value(json_object_get(result, "bytes")));
	snprintf(damaged, sizeof(damaged), "%lld", (long long)json_integer_value(json_object_get(result, "damaged")));
	(void)fault_set(&f, 0, MSG_SCRUB_DONE, "machine", uuid_format(&r->id, id), "bytes", bytes, "damaged", damaged,
			NULL);
	server_report(st->server, &r->id, &f);
	touch(scrub_path(st, &r->id, path));
	r->scrub_is_asked_for = r->scrub_is_asked_for && !r->asked_scrub_runs;
	r->due_us[SCRUB] = r->scrub_is_asked_for ? monotonic_now_us() : next_scrub_us(st, &r->id);
}

static void removal_done(struct stores *st, struct record *r)
{
	char id[UUID_TEXT_LEN + 1];
	struct fault f;

	(void)fault_set(&f, 0, MSG_STORE_REMOVED, "machine", uuid_format(&r->id, id), NULL);
	server_report(st->server, &r->id, &f);
	forget(st, r);
}

static void take_failure(struct stores *st, struct record *r, enum work_kind kind, const struct fault *f)
{
	has_failed(r, kind);
	if (kind == UPKEEP)
		upkeep_failed(st, r, f);
	else if (kind == SCRUB)
		scrub_failed(st, r, f);
	else if (kind == REMOVAL)
		server_report(st->server, &r->id, f);
}

static void done_work(void *context, int err, const char *text, size_t len)
{
	struct slot *slot = context;
	struct stores *st = slot->stores;
	struct record *r = slot->record;
	json_t *result = NULL;
	struct fault f;

	slot->worker = NULL;
	slot->record = NULL;
	r->running[slot->kind] = false;
	err = work_result(&r->id, err, text, len, &result, &f);
	if (!err)
		has_succeeded(r, slot->kind);
	if (err && !is_removed(st, r) && !st->shut)
		take_failure(st, r, slot->kind, &f);
	else if (err && slot->kind == REMOVAL)
		r->due_us[REMOVAL] = monotonic_now_us() + STORES_RETRY_US;
	else if (!err && slot->kind == SUMMARY)
		set_summary(r, result);
	else if (!err && slot->kind == UPKEEP)
		upkeep_done(st, r, result);
	else if (!err && slot->kind == SCRUB)
		scrub_done(st, r, result);
	else if (!err && slot->kind == REMOVAL)
		removal_done(st, r);
	json_decref(result);
	stores_schedule(st);
}

/* --- what sessions do ---------------------------------------------------------------------- */

void stores_begun(struct stores *st, const struct uuid *machine)
{
	struct record *r = add(st, machine);

	if (!r)
		return;
	r->connected = true;
	r->figures = r->rated = (struct session_figures){ 0 };
	r->rated_us = monotonic_now_us();
	r->upkeep_at_bytes = 0;
	stores_schedule(st);
}

static void take_figures(struct record *r, const struct session_figures *f)
{
	r->figures = *f;
	if (f->point_epoch <= r->point_epoch)
		return;
	r->point_epoch = f->point_epoch;
	r->point_time_us = f->point_time_us;
}

void stores_progress(struct stores *st, const struct uuid *machine, const struct session_figures *f)
{
	struct record *r = find(st, machine);

	if (!r)
		return;
	take_figures(r, f);
	if (f->received_bytes - r->upkeep_at_bytes < STORES_UPKEEP_AFTER_BYTES)
		return;
	r->upkeep_at_bytes = f->received_bytes;
	r->due_us[UPKEEP] = MAX(monotonic_now_us(), r->retry_us[UPKEEP]);
	stores_schedule(st);
}

static void report_full(struct stores *st)
{
	char free_text[24], reserve[24];
	struct fault f;

	if (st->full)
		return;
	st->full = true;
	st->full_since_us = monotonic_now_us();
	(void)!staging_room(st->root_fd, &st->room);
	snprintf(free_text, sizeof(free_text), "%llu MiB", (unsigned long long)(st->room.free_bytes / MIB));
	snprintf(reserve, sizeof(reserve), "%llu MiB", (unsigned long long)(st->room.reserve_bytes / MIB));
	(void)fault_set(&f, 0, MSG_STAGING_FULL, "path", st->server->store_root, "free", free_text, "reserve", reserve,
			NULL);
	server_report(st->server, NULL, &f);
	for (struct record *r = st->records; r; r = r->next)
		r->due_us[UPKEEP] = monotonic_now_us();
	stores_schedule(st);
}

static void report_store_failure(struct stores *st, const struct uuid *machine, const struct control_message *m)
{
	char id[UUID_TEXT_LEN + 1];
	struct fault f;

	(void)fault_set(&f, 0, MSG_STORE_FAILED, "machine", uuid_format(machine, id), "reason", m->text, NULL);
	server_report(st->server, machine, &f);
}

void stores_lost(struct stores *st, const struct uuid *machine, const char *epochs)
{
	char id[UUID_TEXT_LEN + 1];
	struct fault f;

	(void)fault_set(&f, 0, MSG_STORE_EPOCHS_LOST, "machine", uuid_format(machine, id), "epochs", epochs, NULL);
	server_report(st->server, machine, &f);
}

void stores_ended(struct stores *st, const struct uuid *machine, const struct control_message *m)
{
	struct record *r = find(st, machine);

	if (m->reason == WIRE_REFUSED_STAGING_FULL)
		report_full(st);
	else if (m->reason == WIRE_REFUSED_STORE)
		report_store_failure(st, machine, m);
	if (r) {
		r->connected = false;
		take_figures(r, &m->figures);
		r->due_us[SUMMARY] = monotonic_now_us();
	}
	stores_schedule(st);
}

void stores_check_room(struct stores *st)
{
	char free_text[24];
	struct fault f;

	if (staging_room(st->root_fd, &st->room))
		return;
	if (staging_is_full(&st->room))
		report_full(st);
	if (!st->full || !staging_may_resume(&st->room) ||
	    monotonic_now_us() < st->full_since_us + FULL_AT_LEAST_US)
		return;
	st->full = false;
	snprintf(free_text, sizeof(free_text), "%llu MiB", (unsigned long long)(st->room.free_bytes / MIB));
	(void)fault_set(&f, 0, MSG_STAGING_ROOM_AGAIN, "path", st->server->store_root, "free", free_text, NULL);
	server_report(st->server, NULL, &f);
}

/* --- the console's wishes -------------------------------------------------------------------- */

static void stop_work_on(struct stores *st, const struct record *r)
{
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
		if (st->slots[kind].record == r && st->slots[kind].worker && kind != REMOVAL)
			worker_stop(st->slots[kind].worker);
	}
}

static bool policy_has_changed(const struct stores *st, const struct record *r)
{
	const struct machine *m = machine_of(st, r);

	return m && (m->retention.every_s != r->policy.every_s || m->retention.hourly_s != r->policy.hourly_s ||
		     m->retention.daily_s != r->policy.daily_s);
}

void stores_check_machines(struct stores *st)
{
	for (struct record *r = st->records; r; r = r->next) {
		if (policy_has_changed(st, r))
			r->due_us[UPKEEP] = monotonic_now_us();
		if (!is_removed(st, r) || r->due_us[REMOVAL] || r->running[REMOVAL])
			continue;
		stop_work_on(st, r);
		exports_stop_machine(st->server->exports, &r->id);
		launches_stop_machine(st->server->launches, &r->id);
		r->due_us[REMOVAL] = monotonic_now_us();
	}
	stores_schedule(st);
}

/* Who asks for a scrub does not wait for days until a weekly one is done, be it of the same
 * machine or of another: that begins anew afterwards. */
static void stop_weekly_scrub(struct stores *st)
{
	const struct slot *slot = &st->slots[SCRUB];

	if (slot->worker && !slot->record->asked_scrub_runs)
		worker_stop(slot->worker);
}

int stores_scrub(struct stores *st, const struct uuid *machine)
{
	struct record *r = find(st, machine);

	if (!r)
		return -ENOENT;
	if (r->running[SCRUB] && r->asked_scrub_runs) /* that is the answer */
		return 0;
	r->scrub_is_asked_for = true;
	r->due_us[SCRUB] = monotonic_now_us();
	stop_weekly_scrub(st);
	stores_schedule(st);
	return 0;
}

/* --- status ------------------------------------------------------------------------------------ */

/* The newer of what the session did and what the store had. */
static json_t *newest_point(const struct record *r)
{
	json_t *stored = json_object_get(r->summary, "newest_point");
	char id[UUID_TEXT_LEN + 1], time[WALLCLOCK_TEXT_LEN + 1];
	struct uuid point;

	if (r->point_epoch == 0 || (json_is_object(stored) && (uint64_t)json_integer_value(json_object_get(
									stored, "epoch")) > r->point_epoch))
		return json_is_object(stored) ? json_incref(stored) : json_null();
	point = uuid_from_epoch(&r->id, r->point_epoch);
	return json_pack("{s:s, s:I, s:s}", "id", uuid_format(&point, id), "epoch", (json_int_t)r->point_epoch, "time", wallclock_format(r->point_time_us, time));
}

static json_t *usage(const struct record *r)
{
	static const char *const members[] = { "data_bytes", "points", "first_point", "last_point" };
	json_t *u = json_object();

	if (!r->summary)
		return json_pack("{s:i, s:i, s:n, s:n}", "data_bytes", 0, "points", 0, "first_point", "last_point");
	for (unsigned int i = 0; i < ARRAY_LEN(members); i++)
		(void)json_object_set(u, members[i], json_object_get(r->summary, members[i]));
	return u;
}

static json_t *record_json(struct record *r)
{
	uint64_t now = monotonic_now_us();
	double seconds = (double)(now - r->rated_us) / 1e6;
	double received = (double)(r->figures.received_bytes - r->rated.received_bytes) / seconds;
	double staging = (double)(r->figures.staging_us - r->rated.staging_us) / seconds;
	char id[UUID_TEXT_LEN + 1];

	r->rated = r->figures;
	r->rated_us = now;
	return json_pack("{s:s, s:b, s:I, s:o, s:o, s:f, s:f}", "id", uuid_format(&r->id, id), "connected",
			 r->connected, "durable_epoch", (json_int_t)r->figures.durable_epoch, "newest_point",
			 newest_point(r), "usage", usage(r), "receive_bytes_per_second", r->connected ? received : 0.0,
			 "staging_us_per_second", r->connected ? staging : 0.0);
}

int stores_status(struct stores *st, json_t *status)
{
	json_t *list = json_array();

	for (struct record *r = st->records; r; r = r->next)
		(void)json_array_append_new(list, record_json(r));
	if (json_object_set_new(status, "free_bytes", json_integer((json_int_t)st->room.free_bytes)) ||
	    json_object_set_new(status, "total_bytes", json_integer((json_int_t)st->room.total_bytes)) ||
	    json_object_set_new(status, "machines", list))
		return -ENOMEM;
	return 0;
}

/* --- the whole ----------------------------------------------------------------------------------- */

int stores_new(struct server *s, struct stores **ret)
{
	struct stores *st = calloc(1, sizeof(*st));
	char path[SETTINGS_PATH_MAX];
	int err;

	if (!st)
		return -ENOMEM;
	st->server = s;
	st->timer.fire = timer_fired;
	st->timer.context = st;
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++)
		st->slots[kind] = (struct slot){ .stores = st, .kind = kind };
	st->root_fd = open(s->store_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = st->root_fd < 0 ? -errno : fileio_mkdirs(settings_path(&s->settings, "scrubbed", path), 0700);
	if (!err)
		err = add_existing(st);
	if (err) {
		stores_free(st);
		return err;
	}
	*ret = st;
	return 0;
}

void stores_shut(struct stores *st)
{
	st->shut = true;
	loop_clear_timer(st->server->loop, &st->timer);
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
		if (st->slots[kind].worker)
			worker_stop(st->slots[kind].worker);
	}
}

bool stores_is_idle(const struct stores *st)
{
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
		if (st->slots[kind].worker)
			return false;
	}
	return true;
}

void stores_free(struct stores *st)
{
	if (!st)
		return;
	for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
		if (st->slots[kind].worker)
			worker_kill(st->slots[kind].worker);
	}
	while (st->records) {
		struct record *r = st->records;

		st->records = r->next;
		json_decref(r->summary);
		free(r);
	}
	if (st->root_fd >= 0)
		close(st->root_fd);
	free(st);
}
