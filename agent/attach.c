/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach - from disks in the settings to disks that are captured and read.
 *
 * I1	A disk is tracked (tracker_add_disk()) before it is opened for reading and
 *	given to the engine.
 *
 * What is pinned in the kernel is trusted only if it is of this boot, went on
 * running, and the engine had armed the disk there; otherwise the disk is
 * compared by hashes.  Each attached disk is claimed in /run/godwit/disks, so
 * that a second machine on the same host does not take it.
 */
#include "agent-private.h"
#include "attach.h"
#include "fileio.h"
#include "log.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- claims ------------------------------------------------------------------ */

/* Another disk behind the same name and number has another sequence (5.15). */
static uint64_t disk_sequence(dev_t device)
{
	char path[96], line[32];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/diskseq", major(device), minor(device));
	return fileio_read_line(path, line, sizeof(line)) == 0 ? strtoull(line, NULL, 10) : 0;
}

static char *claim_path(dev_t device, char ret[64])
{
	snprintf(ret, 64, "/run/godwit/disks/%u:%u", major(device), minor(device));
	return ret;
}

/* A claim is three lines: the machine's name, its folder, the disk's sequence. */
int attach_claimed(dev_t device, const char *own_folder, char *ret_name, size_t size)
{
	char path[64], *text = NULL, *rest, *folder, json[SETTINGS_PATH_MAX];
	const char *name, *sequence;
	size_t length;
	int err = fileio_slurp(claim_path(device, path), 4096, &text, &length);

	if (err)
		return 0;
	rest = text;
	name = strsep(&rest, "\n");
	folder = strsep(&rest, "\n");
	sequence = strsep(&rest, "\n");
	if (folder && sequence && strtoull(sequence, NULL, 10) == disk_sequence(device)) {
		snprintf(json, sizeof(json), "%s/agent.json", folder);
		if (strcmp(folder, own_folder) != 0 && access(json, F_OK) == 0) {
			snprintf(ret_name, size, "%s", name);
			err = -EBUSY;
		}
	}
	free(text);
	return err;
}

static void claim(const struct agent *a, dev_t device)
{
	char path[64], text[SETTINGS_PATH_MAX + 160];

	snprintf(text, sizeof(text), "%s\n%s\n%llu\n", a->settings.name, a->settings.folder,
		 (unsigned long long)disk_sequence(device));
	if (fileio_mkdirs("/run/godwit/disks", 0755) == 0)
		(void)!fileio_replace(claim_path(device, path), text, strlen(text), 0644);
}

void attach_unclaim(struct agent *a)
{
	char path[64];

	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (a->settings.disks[i].info.device)
			(void)!unlink(claim_path(a->settings.disks[i].info.device, path));
}

/* --- where it is --------------------------------------------------------------- */

/* Does the hardware, or the loop device, say which one it is? */
static bool is_named(const struct disk_identity *id)
{
	return id->wwid[0] || id->serial[0] || id->backing[0];
}

/* Where is it now?  At its old place, if what is there is it; else anywhere. */
static int locate(const struct settings_disk *d, struct disk_info *ret)
{
	if (disks_probe(d->info.path, NULL, ret, NULL) == 0 && disks_same(&ret->identity, &d->info.identity))
		return 0;
	if (disks_find(&d->info.identity, ret) == 0)
		return 0;
	/* What its content says may have been made anew: then place and size decide. */
	if (disks_probe(d->info.path, NULL, ret, NULL) == 0 && ret->size_bytes == d->info.size_bytes &&
	    !is_named(&ret->identity) && !is_named(&d->info.identity))
		return 0;
	return -ENODEV;
}

/* --- trouble -------------------------------------------------------------------- */

#define PAUSE_FIRST_US (2 * USEC_PER_SEC)
#define PAUSE_LAST_US  (300 * USEC_PER_SEC)

/* To try takes the session down: not each second. */
static void back_off(struct attached *at)
{
	at->pause_us = at->pause_us ? MIN(2 * at->pause_us, PAUSE_LAST_US) : PAUSE_FIRST_US;
	at->again_us = monotonic_now_us() + at->pause_us;
}

static void in_trouble(struct agent *a, struct attached *at, const struct fault *f)
{
	if (!at->in_trouble || at->trouble.code != f->code)
		agent_tell(a, f);
	at->in_trouble = true;
	at->trouble = *f;
}

static void out_of_trouble(struct attached *at)
{
	at->in_trouble = false;
	at->again_us = at->pause_us = 0;
}

/* A disk never shrinks (docs/protocol.md), and there is a limit to growth. */
static int judge_size(struct agent *a, struct attached *at, const char *path, uint64_t size)
{
	uint64_t old_size = at->settings->info.size_bytes;
	char old[24], new[24];
	struct fault f;
	int err = disks_check_size(path, size, &f);

	if (size < old_size) {
		snprintf(old, sizeof(old), "%llu", (unsigned long long)old_size);
		snprintf(new, sizeof(new), "%llu", (unsigned long long)size);
		err = fault_set(&f, -ERANGE, MSG_DISK_SHRANK, "disk", path, "old", old, "new", new, NULL);
	}
	if (err)
		in_trouble(a, at, &f);
	return err;
}

/* --- one disk ------------------------------------------------------------------ */

static int open_disk(struct attached *at)
{
	const struct disk_info *info = &at->settings->info;

	at->fd = open(info->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	at->sequence = disk_sequence(info->device);
	return at->fd < 0 ? -errno : 0;
}

static int track(struct agent *a, struct settings_disk *d, bool *ret_kept, struct fault *f)
{
	struct tracker_disk track = { .disk = d->disk, .device = d->info.device, .size_bytes = d->info.size_bytes };
	int err = tracker_add_disk(a->tracker, &track, f);

	if (!err)
		*ret_kept = track.kept;
	return err;
}

static int prove(struct agent *a, struct attached *at, struct fault *f)
{
	int err;

	if (a->o->dirty_map_only)
		return 0;
	err = tracker_prove(a->tracker, at->settings->disk, at->fd, f);
	if (err == -EOPNOTSUPP) { /* seen, but not readable: the dirty map does */
		agent_tell(a, f);
		err = 0;
	}
	return err;
}

static void engine_options_of(const struct settings_disk *d, const struct disk_info *info, struct engine_disk_options *ret)
{
	*ret = (struct engine_disk_options){ .disk = d->disk, .sector_bytes = info->sector_bytes, .id = d->id };
	snprintf(ret->name, sizeof(ret->name), "%.32s", info->path);
}

static int attach(struct agent *a, struct attached *at, struct fault *f)
{
	struct settings_disk *d = at->settings;
	struct engine_disk_options o;
	struct disk_info info;
	char other[128];
	bool kept;
	int err = locate(d, &info);

	if (err)
		return fault_set(f, err, MSG_DISK_GONE, "disk", d->info.path, NULL);
	err = judge_size(a, at, info.path, info.size_bytes);
	if (err) {
		*f = at->trouble;
		return err;
	}
	if (attach_claimed(info.device, a->settings.folder, other, sizeof(other)))
		return fault_set(f, -EBUSY, MSG_DISK_ALREADY_PROTECTED, "disk", info.path, "machine", other, NULL);
	d->info = info;
	err = track(a, d, &kept, f);
	if (err)
		return err;
	if (!kept || !a->resumed)
		engine_memory_disarm(a->memory, d->disk);
	err = open_disk(at);
	if (err)
		return fault_set(f, err, MSG_DISK_BUSY_ELSEWHERE, "disk", info.path, "reason", strerror(-err), NULL);
	err = prove(a, at, f);
	if (err)
		return err;
	engine_options_of(d, &info, &o);
	err = engine_add_disk(a->engine, &o);
	if (err)
		return fault_set(f, err, MSG_DISK_BUSY_ELSEWHERE, "disk", info.path, "reason", strerror(-err), NULL);
	at->in_engine = true;
	out_of_trouble(at);
	claim(a, info.device);
	log_info("disk %s, %llu bytes, is followed%s", info.path, (unsigned long long)info.size_bytes,
		 kept && a->resumed ? ", and was while no agent ran" : "");
	return 0;
}

/* The engine may have made other buffers for its reads. */
static void renew_reads(struct agent *a)
{
	struct iovec buffers[ENGINE_READS_MAX];

	uring_register(a->uring, buffers, engine_read_buffers(a->engine, buffers));
}

int attach_all(struct agent *a, struct fault *ret_fault)
{
	unsigned int attached = 0;

	for (unsigned int i = 0; i < a->settings.disk_count; i++) {
		struct attached *at = &a->disks[i];
		int err;

		*at = (struct attached){ .settings = &a->settings.disks[i], .fd = -1 };
		err = attach(a, at, ret_fault);
		if (err == -ENODEV || at->in_trouble) { /* perhaps it comes later */
			if (!at->in_trouble)
				agent_tell(a, ret_fault);
			at->told_gone = true;
			continue;
		}
		if (err)
			return err;
		attached++;
	}
	if (!attached && a->settings.disk_count)
		return -ENODEV;
	renew_reads(a);
	return settings_save(&a->settings);
}

void attach_done(struct agent *a)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (a->disks[i].fd >= 0)
			close(a->disks[i].fd);
}

/* --- what happens to disks ---------------------------------------------------------- */

static void lose(struct agent *a, struct attached *at)
{
	if (at->in_engine)
		engine_disk_missing(a->engine, at->settings->disk, true);
	if (at->fd >= 0)
		close(at->fd);
	at->fd = -1;
	if (!at->told_gone)
		agent_tell_code(a, MSG_DISK_GONE, "disk", at->settings->info.path, NULL);
	at->told_gone = true;
}

void attach_let_session(struct agent *a)
{
	bool may = a->wish == STAGE_WISH_STARTED;

	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		may = may && !a->disks[i].unfollowed;
	session_set_enabled(a->session, may);
}

static void grow(struct agent *a, struct attached *at, uint64_t size)
{
	char old[24], new[24];
	struct fault f;
	int err;

	session_set_enabled(a->session, false);
	err = tracker_resize_disk(a->tracker, at->settings->disk, size);
	if (!err) {
		err = engine_disk_resized(a->engine, at->settings->disk);
		at->unfollowed = err != 0;
	}
	renew_reads(a);
	attach_let_session(a);
	snprintf(old, sizeof(old), "%llu", (unsigned long long)at->settings->info.size_bytes);
	snprintf(new, sizeof(new), "%llu", (unsigned long long)size);
	if (err) {
		(void)fault_set(&f, err, MSG_DISK_NOT_FOLLOWED, "disk", at->settings->info.path, "new", new, "reason",
				strerror(-err), NULL);
		in_trouble(a, at, &f);
		back_off(at);
		return;
	}
	out_of_trouble(at);
	agent_tell_code(a, MSG_DISK_GREW, "disk", at->settings->info.path, "old", old, "new", new, NULL);
	at->settings->info.size_bytes = size;
	(void)!settings_save(&a->settings);
}

/* A disk that was away is back, under whatever name. */
static int regain(struct agent *a, struct attached *at, const struct disk_info *info)
{
	struct settings_disk *d = at->settings;
	bool kept;
	int err, taken;

	d->info = *info;
	err = track(a, d, &kept, NULL);
	if (!err)
		err = open_disk(at);
	taken = engine_disk_back(a->engine, d->disk); /* whatever failed, the maps may be others now */
	at->unfollowed = taken != 0;
	if (!err && taken)
		err = taken;
	if (err)
		engine_disk_missing(a->engine, d->disk, true);
	return err;
}

static void look_for(struct agent *a, struct attached *at)
{
	struct disk_info info;
	struct fault f;
	int err;

	if (locate(at->settings, &info) < 0) {
		at->in_trouble = false;
		return;
	}
	if (judge_size(a, at, info.path, info.size_bytes) < 0)
		return;
	session_set_enabled(a->session, false);
	err = at->in_engine ? regain(a, at, &info) : attach(a, at, &f); /* not there when the agent started */
	renew_reads(a);
	attach_let_session(a);
	if (err) {
		back_off(at);
		log_warn("%s is back and cannot be followed yet: %s", info.path, strerror(-err));
		if (at->fd >= 0)
			close(at->fd);
		at->fd = -1;
		return;
	}
	at->told_gone = false;
	out_of_trouble(at);
	claim(a, info.device);
	agent_tell_code(a, MSG_DISK_BACK, "disk", info.path, NULL);
	(void)!settings_save(&a->settings);
}

/* It is there, and not as long as it was. */
static void resized(struct agent *a, struct attached *at, uint64_t size)
{
	int err = judge_size(a, at, at->settings->info.path, size);

	if (!err)
		grow(a, at, size);
	if (err != -ERANGE)
		return;
	at->told_gone = true; /* in other words */
	lose(a, at);
}

void attach_tick(struct agent *a)
{
	uint64_t now = monotonic_now_us();

	for (unsigned int i = 0; i < a->settings.disk_count; i++) {
		struct attached *at = &a->disks[i];
		const struct disk_info *info = &at->settings->info;
		uint64_t size;

		if (at->fd < 0) {
			if (now >= at->again_us)
				look_for(a, at);
			continue;
		}
		if (disks_size_now(info->path, info->device, &size) < 0 || disk_sequence(info->device) != at->sequence) {
			out_of_trouble(at);
			lose(a, at);
		} else if (size == info->size_bytes && !at->unfollowed) {
			out_of_trouble(at);
		} else if (now >= at->again_us) {
			resized(a, at, size);
		}
	}
}
