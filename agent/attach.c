/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach - from disks in the settings to disks that are captured and read.
 *
 * I1	A disk is tracked (tracker_add_disk()) before it is opened for reading and
 *	given to the engine.
 *
 * What is pinned in the kernel is trusted only if it is of this boot, went on
 * running, the disk was there all the time, and the engine had armed it there;
 * otherwise the disk is compared by hashes.  Each attached disk is claimed in
 * /run/godwit/disks, so that a second machine on the same host does not take it.
 *
 *	             lose()               look_for()
 *	followed ----------> gone -----------------------> followed, and compared
 *	    |                 ^ |   it cannot be attached        ^
 *	    |     it vanishes | v                                |
 *	    '------------> unfollowed ---------------------------'
 *
 * Of a disk that is gone, or was not there when the agent started, the engine has
 * the planes: they say whether its replica is what it was, so that points can go on
 * (I4).  One that is there and not followed is written to unseen: all of it is set
 * to be compared, and so there are no points until it has been.
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
	if (folder && sequence && strtoull(sequence, NULL, 10) == tracker_sequence(device)) {
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
		 (unsigned long long)tracker_sequence(device));
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

/* --- one disk ------------------------------------------------------------------ */

/* Does the hardware, or the loop device, say which one it is? */
static bool is_named(const struct disk_identity *id)
{
	return id->wwid[0] || id->serial[0] || id->backing[0];
}

/* Where is it now?  At its old place, if what is there is it; else anywhere. */
static int locate(const struct settings_disk *d, struct disk_info *ret)
{
	if (disks_match(d->info.path, &d->info.identity, ret) == 0 || disks_find(&d->info.identity, ret) == 0)
		return 0;
	/* What its content says may have been made anew: then place and size decide.  It
	 * is compared, unless it is known to have been there all the time. */
	if (!is_named(&d->info.identity) && disks_probe(d->info.path, NULL, ret, NULL) == 0 &&
	    ret->size_bytes == d->info.size_bytes && !is_named(&ret->identity))
		return 0;
	return -ENODEV;
}

/* A disk never shrinks (docs/protocol.md), and there is a limit to growth. */
static int judge_size(const struct attached *at, const char *path, uint64_t size, struct fault *f)
{
	uint64_t old_size = at->settings->info.size_bytes;
	char old[24], new[24];

	if (size >= old_size)
		return disks_check_size(path, size, f);
	snprintf(old, sizeof(old), "%llu", (unsigned long long)old_size);
	snprintf(new, sizeof(new), "%llu", (unsigned long long)size);
	return fault_set(f, -ERANGE, MSG_DISK_SHRANK, "disk", path, "old", old, "new", new, NULL);
}

/* Of what is there, so that what was tracked is what is opened. */
static int open_disk(struct agent *a, struct attached *at)
{
	const struct disk_info *info = &at->settings->info;
	struct stat st;

	at->fd = open(info->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (at->fd < 0 || fstat(at->fd, &st) < 0)
		return -errno;
	return st.st_rdev == info->device && tracker_is_there(a->tracker, at->settings->disk) ? 0 : -ENODEV;
}

/* *@ret_trusted: what is pinned tells of every write. */
static int track(struct agent *a, struct settings_disk *d, dev_t device, bool *ret_trusted, struct fault *f)
{
	struct tracker_disk track = { .disk = d->disk, .device = device, .size_bytes = d->info.size_bytes };
	int err = tracker_add_disk(a->tracker, &track, f);

	if (err)
		return err;
	/* Of a disk without a name, on a kernel that does not number them, nothing says that it is the same. */
	*ret_trusted = track.kept && a->resumed && (!device || track.sequence || is_named(&d->info.identity));
	return 0;
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

static int add_to_engine(struct agent *a, struct attached *at, bool trusted)
{
	const struct settings_disk *d = at->settings;
	struct engine_disk_options o = { .disk = d->disk, .sector_bytes = d->info.sector_bytes, .id = d->id };

	snprintf(o.name, sizeof(o.name), "%.32s", d->info.path);
	if (!trusted)
		engine_memory_disarm(a->memory, d->disk);
	return engine_add_disk(a->engine, &o);
}

/* Is it another one of this machine's disks? */
static bool is_taken(const struct agent *a, const struct attached *at, dev_t device)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (&a->disks[i] != at && a->disks[i].fd >= 0 && a->settings.disks[i].info.device == device)
			return true;
	return false;
}

static int may_attach(struct agent *a, const struct disk_info *info, struct fault *f)
{
	char other[128];

	if (attach_claimed(info->device, a->settings.folder, other, sizeof(other)))
		return fault_set(f, -EBUSY, MSG_DISK_ALREADY_PROTECTED, "disk", info->path, "machine", other, NULL);
	return disks_judge_path(info->path, info->device, f);
}

static void close_disk(struct attached *at)
{
	if (at->fd >= 0)
		close(at->fd);
	at->fd = -1;
}

/* Nothing is followed, or read, under its name and number from now on. */
static void let_go(struct agent *a, struct attached *at)
{
	tracker_lose_disk(a->tracker, at->settings->disk);
	close_disk(at);
}

/* It is tracked: what else there is to it.  The engine compares one that it had to do without. */
static int open_tracked(struct agent *a, struct attached *at, bool known, bool trusted, struct fault *f)
{
	const struct settings_disk *d = at->settings;
	int err = open_disk(a, at);

	if (!err) {
		err = prove(a, at, f);
		if (err)
			return err;
		err = known ? engine_disk_back(a->engine, d->disk) : add_to_engine(a, at, trusted);
	}
	return err ? fault_set(f, err, MSG_DISK_BUSY_ELSEWHERE, "disk", d->info.path, "reason", strerror(-err), NULL) : 0;
}

/* Nothing may be connected while the tracker has maps that the engine does not have. */
static void take_maps(struct agent *a, struct attached *at)
{
	at->unmapped = engine_disk_resized(a->engine, at->settings->disk) != 0;
}

/* @known: the engine has it, as missing. */
static int attach(struct agent *a, struct attached *at, const struct disk_info *info, bool known, struct fault *f)
{
	struct settings_disk *d = at->settings;
	bool trusted;
	int err;

	d->info = *info;
	err = track(a, d, info->device, &trusted, f);
	if (err)
		return err;
	err = open_tracked(a, at, known, trusted, f);
	if (err) {
		let_go(a, at);
		if (known) /* its maps may have been made anew, larger */
			take_maps(a, at);
		return err;
	}
	at->unmapped = false;
	claim(a, info->device);
	log_info("disk %s, %llu bytes, is followed%s", info->path, (unsigned long long)info->size_bytes,
		 trusted && !known ? ", and was while no agent ran" : "");
	return 0;
}

/* It is not there.  What is known of it from before, if anything is, says what a point can be. */
static int attach_absent(struct agent *a, struct attached *at, struct fault *f)
{
	struct settings_disk *d = at->settings;
	bool trusted;
	int err = track(a, d, 0, &trusted, f);

	if (err)
		return err;
	err = add_to_engine(a, at, trusted);
	if (err)
		return fault_set(f, err, MSG_CAPTURE_UNAVAILABLE, "folder", a->pin_dir, "reason", strerror(-err), NULL);
	engine_disk_missing(a->engine, d->disk, true);
	return 0;
}

/* It is there: what is written to it from now on is seen by nobody, until it has been attached. */
static void leave_unfollowed(struct agent *a, struct attached *at, const struct fault *why)
{
	if (!at->unfollowed)
		engine_rescan(a->engine, at->settings->disk);
	at->unfollowed = true;
	at->why = *why;
}

/* The engine may have made other buffers for its reads. */
static void renew_reads(struct agent *a)
{
	struct iovec buffers[ENGINE_READS_MAX];

	uring_register(a->uring, buffers, engine_read_buffers(a->engine, buffers));
}

/* The engine gets what is known of it.  @odd: it is there, and not as it was. */
static int do_without(struct agent *a, struct attached *at, const struct fault *odd, struct fault *f)
{
	int err = attach_absent(a, at, f);

	if (!err && odd)
		leave_unfollowed(a, at, odd);
	return err;
}

/* When the agent starts.  *@ret_there: it is followed; else @f says why not, and it may come later. */
static int attach_first(struct agent *a, struct attached *at, bool *ret_there, struct fault *f)
{
	struct fault absent;
	struct disk_info info;
	int err;

	*ret_there = locate(at->settings, &info) == 0 && !is_taken(a, at, info.device);
	if (!*ret_there) {
		(void)fault_set(f, -ENODEV, MSG_DISK_NOT_FOUND, "disk", at->settings->info.path, NULL);
		err = do_without(a, at, NULL, &absent);
	} else if (judge_size(at, info.path, info.size_bytes, f) < 0) {
		*ret_there = false;
		err = do_without(a, at, f, &absent);
	} else {
		err = may_attach(a, &info, f);
		return err ? err : attach(a, at, &info, false, f);
	}
	if (err)
		*f = absent;
	return err;
}

int attach_all(struct agent *a, struct fault *ret_fault)
{
	unsigned int attached = 0;

	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		a->disks[i] = (struct attached){ .settings = &a->settings.disks[i], .fd = -1 };
	for (unsigned int i = 0; i < a->settings.disk_count; i++) {
		bool there;
		int err = attach_first(a, &a->disks[i], &there, ret_fault);

		if (err)
			return err;
		attached += there;
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

#define LOOK_FIRST_US USEC_PER_SEC
#define LOOK_LAST_US  (30 * USEC_PER_SEC)

static void lose(struct agent *a, struct attached *at)
{
	engine_disk_missing(a->engine, at->settings->disk, true);
	let_go(a, at);
	a->search = (struct attach_search){ 0 };
}

void attach_let_session(struct agent *a)
{
	bool may = a->wish == STAGE_WISH_STARTED;

	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		may = may && !a->disks[i].unmapped;
	session_set_enabled(a->session, may);
}

#define GROW_FIRST_US (2 * USEC_PER_SEC)
#define GROW_LAST_US  (300 * USEC_PER_SEC)

/* It is followed to its old end only, and there are no points: cut.c. */
static void cannot_grow(struct agent *a, struct attached *at, const struct fault *why)
{
	if (!at->outgrown || at->why.code != why->code)
		agent_tell(a, why);
	at->outgrown = true;
	at->why = *why;
	/* To try takes the session down: not each second. */
	at->pause_us = at->pause_us ? MIN(2 * at->pause_us, GROW_LAST_US) : GROW_FIRST_US;
	at->again_us = monotonic_now_us() + at->pause_us;
}

static void has_grown(struct attached *at)
{
	at->outgrown = false;
	at->again_us = at->pause_us = 0;
}

static int grow_maps(struct agent *a, struct attached *at, uint64_t size)
{
	int err;

	session_set_enabled(a->session, false);
	err = tracker_resize_disk(a->tracker, at->settings->disk, size);
	if (!err) {
		err = engine_disk_resized(a->engine, at->settings->disk);
		at->unmapped = err != 0;
	}
	renew_reads(a);
	attach_let_session(a);
	return err;
}

static void grow(struct agent *a, struct attached *at, uint64_t size)
{
	const char *path = at->settings->info.path;
	char old[24], new[24];
	struct fault f;
	int err = judge_size(at, path, size, &f);

	snprintf(old, sizeof(old), "%llu", (unsigned long long)at->settings->info.size_bytes);
	snprintf(new, sizeof(new), "%llu", (unsigned long long)size);
	if (!err) {
		err = grow_maps(a, at, size);
		if (err)
			(void)fault_set(&f, err, MSG_DISK_GROWTH_NOT_FOLLOWED, "disk", path, "new", new, "reason",
					strerror(-err), NULL);
	}
	if (err) {
		cannot_grow(a, at, &f);
		return;
	}
	has_grown(at);
	agent_tell_code(a, MSG_DISK_GREW, "disk", path, "old", old, "new", new, NULL);
	at->settings->info.size_bytes = size;
	(void)!settings_save(&a->settings);
}

/* A disk that was away may be back, under whatever name. */
static void look_for(struct agent *a, struct attached *at)
{
	struct disk_info info;
	struct fault f;
	int err;

	if (locate(at->settings, &info) < 0 || is_taken(a, at, info.device)) {
		at->unfollowed = false;
		return;
	}
	err = judge_size(at, info.path, info.size_bytes, &f);
	if (!err)
		err = may_attach(a, &info, &f);
	if (!err) {
		session_set_enabled(a->session, false);
		err = attach(a, at, &info, true, &f);
		renew_reads(a);
		attach_let_session(a);
	}
	if (err) {
		leave_unfollowed(a, at, &f);
		return;
	}
	at->unfollowed = false;
	agent_tell_code(a, MSG_DISK_BACK, "disk", info.path, NULL);
	(void)!settings_save(&a->settings);
}

/* Looking asks disks that may not answer: only when one has come or gone, and else seldom. */
static void look(struct agent *a, uint64_t now_us)
{
	uint64_t present = disks_present(); /* before: what comes meanwhile is news */

	if (present != a->search.present)
		a->search = (struct attach_search){ .present = present, .pause_us = LOOK_FIRST_US };
	else if (now_us < a->search.next_us)
		return;
	else
		a->search.settled = true; /* its name and node have come by now, if it is one of ours */
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (a->disks[i].fd < 0)
			look_for(a, &a->disks[i]);
	a->search.next_us = now_us + a->search.pause_us;
	a->search.pause_us = MIN(2 * a->search.pause_us, LOOK_LAST_US);
}

bool attach_still_gone(void *agent)
{
	const struct agent *a = agent;

	return a->search.settled && disks_present() == a->search.present;
}

static void lose_and_say(struct agent *a, struct attached *at, const struct fault *why)
{
	lose(a, at);
	leave_unfollowed(a, at, why);
}

/* Is it followed still?  false: it is missing. */
static bool is_followed(struct agent *a, struct attached *at)
{
	const struct disk_info *info = &at->settings->info;
	struct fault f;
	uint64_t size;

	if (at->fd < 0)
		return false;
	if (disks_size_now(info->path, info->device, &size) < 0 || !tracker_is_there(a->tracker, at->settings->disk)) {
		lose(a, at);
		return false;
	}
	if (disks_judge_path(info->path, info->device, &f) < 0 || /* it has got a second path */
	    judge_size(at, info->path, size, &f) == -ERANGE) {
		lose_and_say(a, at, &f);
		return false;
	}
	if (size == info->size_bytes && !at->unmapped)
		has_grown(at);
	else if (monotonic_now_us() >= at->again_us)
		grow(a, at, size);
	return true;
}

void attach_tick(struct agent *a)
{
	bool missing = false;

	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		missing |= !is_followed(a, &a->disks[i]);
	if (missing)
		look(a, monotonic_now_us());
}

/* What is missing of the replica of a disk that is not there. */
static uint64_t unsent_bytes(struct agent *a, uint16_t disk)
{
	struct engine_disk_figures f;

	if (engine_disk_figures(a->engine, disk, &f) < 0)
		return 0;
	return MIN(f.pending_bytes + f.live_bytes + f.hash_bytes, f.size_bytes);
}

static void say_missing(struct agent *a, const struct attached *at)
{
	const char *path = at->settings->info.path;
	uint64_t bytes = unsent_bytes(a, at->settings->disk);
	char number[24], text[1024];
	struct fault f;

	snprintf(number, sizeof(number), "%llu", (unsigned long long)bytes);
	if (at->unfollowed && (at->why.code == MSG_DISK_SHRANK || at->why.code == MSG_DISK_TOO_LARGE))
		f = at->why; /* says it all */
	else if (at->unfollowed)
		(void)fault_set(&f, 0, MSG_DISK_NOT_FOLLOWED, "disk", path, "reason",
				fault_format(&at->why, LANGUAGE_EN, text, sizeof(text)), NULL);
	else if (bytes)
		(void)fault_set(&f, 0, MSG_DISK_GONE_UNSENT, "disk", path, "bytes", number, NULL);
	else
		(void)fault_set(&f, 0, MSG_DISK_GONE, "disk", path, NULL);
	status_problem(a, &f);
}

void attach_say_problems(struct agent *a)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++) {
		if (a->disks[i].fd < 0)
			say_missing(a, &a->disks[i]);
		else if (a->disks[i].outgrown)
			status_problem(a, &a->disks[i].why);
	}
}
