/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"
#include "fileio.h"
#include "link.h"
#include "lookup.h"
#include "wallclock.h"
#include "worker.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A scrub names so many damaged records; the rest are only counted. */
#define DAMAGE_LISTED_MAX 100u

/* --- leaving the result -------------------------------------------------------- */

static int leave(int fd, const char *member, json_t *value)
{
	json_t *j = json_pack("{s:o}", member, value);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int err = text ? fileio_write_full(fd, text, strlen(text)) : -ENOMEM;

	free(text);
	json_decref(j);
	return err;
}

static int leave_fault(int fd, const struct fault *f)
{
	return leave(fd, "fault", fault_to_json(f));
}

/* Whether nothing was ever stored there: the session makes this file with the store. */
static bool is_unbegun(const char *dir)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/identity", dir) < (int)sizeof(path) && access(path, F_OK) < 0 &&
	       errno == ENOENT;
}

static int leave_unreadable(int fd, const struct work_request *r, const char *dir, int err)
{
	char id[UUID_TEXT_LEN + 1];
	struct fault f;

	if (err == -ENOENT && is_unbegun(dir)) {
		(void)fault_set(&f, err, MSG_POINT_NONE, "machine", uuid_format(&r->machine, id), NULL);
		return leave_fault(fd, &f);
	}
	(void)fault_set(&f, err, MSG_STORE_UNREADABLE, "machine", uuid_format(&r->machine, id), "reason",
			err == -EBADMSG ? "its files are damaged" : strerror(-err), NULL);
	return leave_fault(fd, &f);
}

/* ... and if it is because of one file, which. */
static int leave_damaged(int fd, const struct work_request *r, const char *dir, int err)
{
	char id[UUID_TEXT_LEN + 1], file[STORE_FILE_NAME_BYTES], why[128];
	struct fault f;

	if ((err != -EBADMSG && err != -EIO) || store_damaged_file(dir, &store_sys_default, file))
		return leave_unreadable(fd, r, dir, err);
	snprintf(why, sizeof(why), "%s is damaged or cannot be read back", file);
	(void)fault_set(&f, err, MSG_STORE_UNREADABLE, "machine", uuid_format(&r->machine, id), "reason", why, NULL);
	return leave_fault(fd, &f);
}

int work_result(const struct uuid *machine, int err, const char *text, size_t len, json_t **ret,
		struct fault *ret_fault)
{
	char id[UUID_TEXT_LEN + 1];
	json_t *j = err ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *result = json_object_get(j, "result");

	if (json_is_object(result)) {
		*ret = json_incref(result);
		json_decref(j);
		return 0;
	}
	if (j && fault_from_json(json_object_get(j, "fault"), ret_fault) == 0)
		err = -EREMOTEIO;
	else if (err == -ENOENT) /* the store's folder: its agent has never connected */
		err = fault_set(ret_fault, err, MSG_POINT_NONE, "machine", uuid_format(machine, id), NULL);
	else
		err = fault_set(ret_fault, err ? err : -EPROTO, MSG_STORE_UNREADABLE, "machine",
				uuid_format(machine, id), "reason",
				err == -ETIMEDOUT ? "it took too long" :
				err		  ? strerror(-err) :
						    "the worker's answer is not understood",
				NULL);
	json_decref(j);
	return err;
}

/* --- points ------------------------------------------------------------------------ */

static const char *point_kind(const struct store_epoch *e, const struct store_policy *policy, uint64_t now_us)
{
	uint64_t age_s = now_us > e->time_us ? (now_us - e->time_us) / USEC_PER_SEC : 0;

	if (e->label[0])
		return "named";
	if (age_s < policy->every_s)
		return "epoch";
	return age_s < policy->hourly_s ? "hourly" : "daily";
}

static json_t *time_json(uint64_t time_us)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	return json_string(wallclock_format(time_us, text));
}

static json_t *point_json(const struct work_request *r, const struct store_epoch *e, const struct store_policy *policy)
{
	struct uuid point = uuid_from_epoch(&r->machine, e->epoch);
	char id[UUID_TEXT_LEN + 1];

	return json_pack("{s:s, s:I, s:o, s:s, s:s?}", "id", uuid_format(&point, id), "epoch", (json_int_t)e->epoch,
			 "time", time_json(e->time_us), "kind", point_kind(e, policy, wallclock_now_us()), "label",
			 e->label[0] ? e->label : NULL);
}

/* First index with a time of at least, or, @after, of more than @time_us. */
static size_t points_bound(const struct store_points *p, uint64_t time_us, bool after)
{
	size_t low = 0, high = store_points_count(p);

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint64_t t = store_points_get(p, middle)->time_us;

		if (t < time_us || (after && t == time_us))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static json_t *points_json(const struct work_request *r, const struct store_points *p,
			   const struct store_policy *policy)
{
	size_t count = store_points_count(p);
	size_t from = points_bound(p, r->from_us, false), to = points_bound(p, r->to_us, true);
	size_t in_range = to > from ? to - from : 0, n = MIN(in_range, r->limit);
	size_t first = r->newest ? from + in_range - n : from;
	json_t *list = json_array();

	for (size_t i = first; i < first + n; i++)
		(void)json_array_append_new(list, point_json(r, store_points_get(p, i), policy));
	return json_pack("{s:o, s:o, s:o, s:I, s:b}", "points", list, "first",
			 count ? time_json(store_points_get(p, 0)->time_us) : json_null(), "last",
			 count ? time_json(store_points_get(p, count - 1)->time_us) : json_null(), "count",
			 (json_int_t)in_range, "truncated", n < in_range);
}

static int open_points(const struct work_request *r, const char *dir, struct store_points **ret_points,
		       struct store_policy *ret_policy)
{
	int err = store_policy_get(dir, &store_sys_default, ret_policy);

	return err ? err : store_points_open(dir, &store_sys_default, ret_points);
}

int work_points(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	struct store_policy policy;
	struct store_points *p;
	int err = open_points(r, dir, &p, &policy);

	if (err)
		return leave_unreadable(out_fd, r, dir, err);
	err = leave(out_fd, "result", points_json(r, p, &policy));
	store_points_close(p);
	return err;
}

static int fault_lookup(const struct work_request *r, const struct store_points *p, int err, struct fault *f)
{
	char id[UUID_TEXT_LEN + 1], first[WALLCLOCK_TEXT_LEN + 1], last[WALLCLOCK_TEXT_LEN + 1];
	size_t count = store_points_count(p);

	uuid_format(&r->machine, id);
	if (err == -EBADMSG) {
		char why[128];

		snprintf(why, sizeof(why), "%s is damaged and hides the points after it; choose one that is listed",
			 store_points_damaged(p));
		return fault_set(f, err, MSG_STORE_UNREADABLE, "machine", id, "reason", why, NULL);
	}
	if (err == -ENODATA)
		return fault_set(f, err, MSG_POINT_NONE, "machine", id, NULL);
	wallclock_format(store_points_get(p, count - 1)->time_us, last);
	if (err == -ETIME)
		return fault_set(f, err, MSG_POINT_TIME_AHEAD, "at", r->at, "machine", id, "last", last, NULL);
	if (err != -ERANGE)
		return fault_set(f, err, MSG_POINT_UNKNOWN, "at", r->at, "machine", id, NULL);
	return fault_set(f, err, MSG_POINT_OUT_OF_RANGE, "at", r->at, "first",
			 wallclock_format(store_points_get(p, 0)->time_us, first), "last", last, NULL);
}

/* The point that @r names; a fault has been left if it is none. */
static int resolve(const struct work_request *r, const char *dir, int out_fd, struct store_epoch *ret,
		   struct store_policy *ret_policy)
{
	struct store_points *p;
	struct fault f;
	size_t index;
	int err = open_points(r, dir, &p, ret_policy);

	if (err) {
		(void)leave_unreadable(out_fd, r, dir, err);
		return err;
	}
	err = lookup_point(p, &r->machine, r->at, &index);
	if (err) {
		(void)fault_lookup(r, p, err, &f);
		(void)leave_fault(out_fd, &f);
	} else {
		*ret = *store_points_get(p, index);
	}
	store_points_close(p);
	return err;
}

int work_point(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	struct store_policy policy;
	struct store_epoch e;

	if (resolve(r, dir, out_fd, &e, &policy))
		return 0;
	return leave(out_fd, "result", json_pack("{s:o}", "point", point_json(r, &e, &policy)));
}

static json_t *disks_json(struct store_reader *reader)
{
	struct store_disk disks[DISKS_MAX];
	size_t n = store_reader_disks(reader, disks, ARRAY_LEN(disks));
	json_t *list = json_array();
	char id[UUID_TEXT_LEN + 1];

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:I}", "index", disks[i].disk, "disk",
							    uuid_format(&disks[i].id, id), "name", disks[i].name,
							    "size_bytes", (json_int_t)disks[i].size_bytes));
	return list;
}

int work_disks(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	struct store_policy policy;
	struct store_reader *reader;
	struct store_epoch e;
	int err;

	if (resolve(r, dir, out_fd, &e, &policy))
		return 0;
	err = store_reader_open(dir, &store_sys_default, e.epoch, &reader);
	if (err)
		return leave_unreadable(out_fd, r, dir, err);
	err = leave(out_fd, "result",
		    json_pack("{s:o, s:o}", "point", point_json(r, &e, &policy), "disks", disks_json(reader)));
	store_reader_close(reader);
	return err;
}

int work_label(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	struct work_request again = *r;
	struct uuid point = uuid_from_epoch(&r->machine, r->epoch);
	int err = store_point_label(dir, &store_sys_default, r->epoch, r->unlabel ? NULL : r->label);

	if (err && err != -ENOENT)
		return leave_unreadable(out_fd, r, dir, err);
	uuid_format(&point, again.at); /* not there: the lookup says so */
	return work_point(&again, size, dir, out_fd);
}

/* --- upkeep --------------------------------------------------------------------------- */

/* @ret: {data_bytes, points, first_point, last_point, newest_point, durable_epoch}. */
static int summary_json(const struct work_request *r, const char *dir, json_t **ret)
{
	struct store_policy policy;
	struct store_points *p;
	struct store_usage u;
	size_t count;
	int err = store_usage(dir, &store_sys_default, &u);

	if (!err)
		err = open_points(r, dir, &p, &policy);
	if (err)
		return err;
	count = store_points_count(p);
	*ret = json_pack("{s:I, s:I, s:o, s:o, s:o}", "data_bytes", (json_int_t)(u.data_bytes + u.run_bytes), "points",
			 (json_int_t)count, "first_point",
			 count ? time_json(store_points_get(p, 0)->time_us) : json_null(), "last_point",
			 count ? time_json(store_points_get(p, count - 1)->time_us) : json_null(), "newest_point",
			 count ? point_json(r, store_points_get(p, count - 1), &policy) : json_null());
	store_points_close(p);
	return *ret ? 0 : -ENOMEM;
}

int work_summary(const void *request, size_t size, const char *dir, int out_fd)
{
	json_t *summary;
	int err = summary_json(request, dir, &summary);

	return err ? leave_unreadable(out_fd, request, dir, err) : leave(out_fd, "result", summary);
}

static bool is_to_stop(void *context, uint64_t bytes_done)
{
	return worker_asked_to_stop();
}

/* One store's hours of collecting do not keep others from being freed of what has expired. */
static bool is_enough(void *context)
{
	return monotonic_now_us() >= *(const uint64_t *)context;
}

static int set_policy(const struct work_request *r, const char *dir)
{
	struct store_policy is;

	if (!r->has_policy)
		return 0;
	if (store_policy_get(dir, &store_sys_default, &is) == 0 && is.every_s == r->policy.every_s &&
	    is.hourly_s == r->policy.hourly_s && is.daily_s == r->policy.daily_s)
		return 0;
	return store_policy_set(dir, &store_sys_default, &r->policy);
}

int work_upkeep(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	uint64_t enough_us = monotonic_now_us() + WORK_UPKEEP_SLICE_US;
	struct store_upkeep_options o = { .now_us = wallclock_now_us(), .stop = is_to_stop, .enough = is_enough,
					  .context = &enough_us, .held = r->held, .held_count = r->held_count };
	struct store_upkeep_result u = { 0 };
	json_t *summary = NULL;
	int err = set_policy(r, dir);

	if (!err)
		err = store_upkeep(dir, &store_sys_default, &o, &u);
	if (!err)
		err = summary_json(r, dir, &summary);
	if (err)
		return leave_damaged(out_fd, r, dir, err);
	return leave(out_fd, "result",
		     json_pack("{s:o, s:b, s:I, s:I, s:I, s:I}", "summary", summary, "more", u.more, "runs_merged",
			       (json_int_t)u.runs_merged, "points_expired", (json_int_t)u.points_expired,
			       "bytes_freed", (json_int_t)u.bytes_freed, "bytes_rewritten",
			       (json_int_t)u.bytes_rewritten));
}

struct scrub_list {
	json_t *damage;
	const struct store_points *points;
};

static uint64_t time_of_epoch(const struct store_points *p, uint64_t epoch)
{
	size_t low = 0, high = store_points_count(p);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (store_points_get(p, middle)->epoch < epoch)
			low = middle + 1;
		else
			high = middle;
	}
	return low < store_points_count(p) ? store_points_get(p, low)->time_us : 0;
}

static void note_damage(void *context, const struct store_damage *d)
{
	struct scrub_list *l = context;

	if (json_array_size(l->damage) >= DAMAGE_LISTED_MAX)
		return;
	(void)json_array_append_new(l->damage, json_pack("{s:i, s:I, s:I, s:o, s:o, s:s}", "disk", d->disk, "offset",
							 (json_int_t)d->offset_bytes, "length",
							 (json_int_t)d->length_bytes, "first",
							 time_json(time_of_epoch(l->points, d->first_epoch)), "last",
							 time_json(time_of_epoch(l->points, d->last_epoch)), "file",
							 d->file));
}

int work_scrub(const void *request, size_t size, const char *dir, int out_fd)
{
	const struct work_request *r = request;
	struct scrub_list l = { .damage = json_array() };
	const struct store_scrub_options o = { .io_bytes_per_second = r->io_bytes_per_second, .stop = is_to_stop,
					       .report = note_damage, .context = &l };
	struct store_policy policy;
	struct store_points *p;
	uint64_t bytes, damaged;
	int err = open_points(r, dir, &p, &policy);

	if (err)
		return leave_unreadable(out_fd, r, dir, err);
	l.points = p;
	err = store_scrub(dir, &store_sys_default, &o, &bytes, &damaged);
	store_points_close(p);
	if (err == -ECANCELED)
		return leave(out_fd, "result", json_pack("{s:b}", "stopped", 1));
	if (err)
		return leave_unreadable(out_fd, r, dir, err);
	return leave(out_fd, "result",
		     json_pack("{s:I, s:I, s:o}", "bytes", (json_int_t)bytes, "damaged", (json_int_t)damaged, "damage",
			       l.damage));
}

/* A store is a folder of files; a folder in it is nothing of ours and stays. */
int work_remove(const void *request, size_t size, const char *dir, int out_fd)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? leave(out_fd, "result", json_object()) : -errno;
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	if (rmdir(dir))
		return -errno;
	return leave(out_fd, "result", json_object());
}
