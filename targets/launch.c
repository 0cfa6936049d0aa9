/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"
#include "daemon.h"
#include "fileio.h"
#include "log.h"
#include "loop.h"
#include "nbdkit.h"
#include "record.h"
#include "spec.h"
#include "store.h"
#include "target.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY_SPARE	(256 * MIB) /* for qemu itself and everybody else */
#define NBDKIT_START_US (20 * USEC_PER_SEC)
#define PICTURE_US	(5 * USEC_PER_SEC)
#define STORE_LOOK_US	(2 * USEC_PER_SEC)
#define TAIL_BYTES	512u /* of the serial console, searched for the proof */

struct disk {
	struct launch *launch;
	struct nbdkit_process process; /* pid 0: not running */
	bool ready;
};

struct launch {
	const char *folder;
	struct launch_spec spec;
	struct loop *loop;
	struct record *record;
	const struct target_ops *ops;
	struct target *target;
	struct target_disk target_disks[DISKS_MAX];
	struct disk disks[DISKS_MAX];
	unsigned int disk_count;
	unsigned int boot_disk;
	uint64_t esp_offset, esp_bytes;
	enum bootdisk_firmware firmware;
	int signal_fd, control_fd;
	struct loop_timer deadline; /* of what is awaited: NBD servers, or the proof */
	struct fault why;	    /* it failed */
	bool failing, ending, done;
	bool asked_to_end;
	bool standing;		    /* L3 */
	bool read_failed, full;	    /* said already */
	struct store_reader *point; /* until the NBD servers hold the point themselves */
	struct loop_timer store_look;
	size_t tail_used;
	char tail[TAIL_BYTES + 1];
};

static void fail(struct launch *l, const struct fault *f);
static void finish(struct launch *l);

/* --- the end ------------------------------------------------------------------------------- */

static void close_watched(struct launch *l, int *fd)
{
	if (*fd < 0)
		return;
	loop_unwatch(l->loop, *fd);
	close(*fd);
	*fd = -1;
}

static void end_disks(struct launch *l)
{
	for (unsigned int i = 0; i < l->disk_count; i++) {
		struct disk *d = &l->disks[i];

		close_watched(l, &d->process.ready_fd);
		close_watched(l, &d->process.stderr_fd);
		if (d->process.pid > 0) {
			(void)kill(d->process.pid, SIGKILL); /* it only reads */
			(void)waitpid(d->process.pid, NULL, 0);
			d->process.pid = 0;
		}
		(void)unlink(l->target_disks[i].socket);
	}
}

/* L2.  The disks of a machine that stands on its own, and of a cutover that has booted, are
 * somebody's data: they go only when it is asked to end. */
static bool is_somebodys_data(const struct launch *l)
{
	enum launch_state state = record_current(l->record);
	bool booted = state == LAUNCH_BOOTED || state == LAUNCH_KEEPING;

	return !l->asked_to_end && (l->standing || (l->spec.kind == LAUNCH_CUTOVER && booted));
}

static void remove_files(struct launch *l)
{
	static const char *const names[] = { "qmp.sock", "serial.sock", "agent.sock", "control", "vars.fd" };
	bool keep_disks = is_somebodys_data(l);
	char path[PATH_MAX];

	for (unsigned int i = 0; i < ARRAY_LEN(names) - keep_disks; i++) {
		snprintf(path, sizeof(path), "%s/%s", l->folder, names[i]);
		(void)unlink(path);
	}
	if (keep_disks)
		record_disks_kept(l->record);
	for (unsigned int i = 0; i < l->disk_count && !keep_disks; i++) {
		snprintf(path, sizeof(path), "%s/disk%u.qcow2", l->folder, i);
		(void)unlink(path);
	}
}

static void let_go_of_point(struct launch *l)
{
	if (l->point)
		store_reader_close(l->point);
	l->point = NULL;
}

static void finish(struct launch *l)
{
	l->ops->free(l->target);
	l->target = NULL;
	let_go_of_point(l);
	end_disks(l);
	remove_files(l);
	loop_clear_timer(l->loop, &l->deadline);
	loop_clear_timer(l->loop, &l->store_look);
	if (l->failing)
		record_fail(l->record, &l->why);
	else
		record_state(l->record, LAUNCH_ENDED, "the machine is gone");
	l->done = true;
}

static void end(struct launch *l)
{
	if (l->ending)
		return;
	l->ending = true;
	if (l->target)
		l->ops->stop(l->target); /* then stopped() */
	else
		finish(l);
}

static void picture_then_end(void *context, const char *error)
{
	end(context);
}

static void picture_too_late(void *context)
{
	end(context);
}

static void fail(struct launch *l, const struct fault *f)
{
	char path[PATH_MAX];

	if (l->failing || l->ending)
		return;
	l->failing = true;
	l->why = *f;
	if (!l->target) {
		end(l);
		return;
	}
	/* A last picture, unless it is too far gone for one. */
	l->deadline.fire = picture_too_late;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + PICTURE_US);
	snprintf(path, sizeof(path), "%s/screenshot.png", l->folder);
	l->ops->screenshot(l->target, path, picture_then_end, l);
}

/* --- standing alone -------------------------------------------------------------------------- */

static void target_kept(void *context, const char *error)
{
	struct launch *l = context;
	struct fault f;

	if (error) {
		(void)fault_set(&f, 0, MSG_LAUNCH_NOT_KEPT, "reason", error, NULL);
		record_note(l->record, &f); /* it runs on, on the store */
		record_state(l->record, LAUNCH_BOOTED, "it still needs the store");
		return;
	}
	l->standing = true;
	end_disks(l);
	record_state(l->record, LAUNCH_STANDING, "all its data is its own; the store is not needed any more");
}

static void target_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	struct launch *l = context;

	record_progress(l->record, done_bytes, total_bytes);
}

static void keep(struct launch *l)
{
	enum launch_state state = record_current(l->record);

	if (l->failing || l->ending || (state != LAUNCH_BOOTED && state != LAUNCH_BOOTING))
		return;
	record_state(l->record, LAUNCH_KEEPING, "copying what the store has into the machine's own disks");
	l->ops->keep(l->target);
}

/* --- proof --------------------------------------------------------------------------------------- */

static void picture_with_proof(void *context, const char *error)
{
	struct launch *l = context;

	if (error)
		log_warn("no picture of the screen: %s", error);
	if (l->spec.kind == LAUNCH_DRILL)
		end(l);
	else if (l->spec.kind == LAUNCH_CUTOVER)
		keep(l);
}

static void proved(struct launch *l, const char *by)
{
	char path[PATH_MAX];

	if (record_current(l->record) != LAUNCH_BOOTING)
		return;
	loop_clear_timer(l->loop, &l->deadline);
	record_proof(l->record, by);
	record_state(l->record, LAUNCH_BOOTED, "it runs: %s", by);
	snprintf(path, sizeof(path), "%s/screenshot.png", l->folder);
	l->ops->screenshot(l->target, path, picture_with_proof, l);
}

/* Keep the last bytes that the console said, so that a text in two pieces is found. */
static void keep_tail(struct launch *l, const char *text, size_t len)
{
	if (len > TAIL_BYTES) {
		text += len - TAIL_BYTES;
		len = TAIL_BYTES;
	}
	if (l->tail_used + len > TAIL_BYTES) {
		size_t drop = l->tail_used + len - TAIL_BYTES;

		memmove(l->tail, l->tail + drop, l->tail_used - drop);
		l->tail_used -= drop;
	}
	for (size_t i = 0; i < len; i++)
		l->tail[l->tail_used++] = text[i] ? text[i] : ' ';
	l->tail[l->tail_used] = 0;
}

static void target_output(void *context, const char *text, size_t len)
{
	struct launch *l = context;
	const char *wanted = l->spec.proof == PROOF_TEXT ? l->spec.proof_text : "login:";

	record_output(l->record);
	keep_tail(l, text, len);
	/* A kernel's line begins with its clock, unless it is quiet; then this is what follows. */
	if (strstr(l->tail, "[    0.") || strstr(l->tail, "systemd[1]"))
		record_kernel(l->record);
	if (l->spec.proof != PROOF_AGENT && strstr(l->tail, wanted))
		proved(l, l->spec.proof == PROOF_TEXT ? "the text asked for is on its serial console" :
							"a login prompt is on its serial console");
}

static void target_agent(void *context)
{
	struct launch *l = context;

	if (l->spec.proof != PROOF_TEXT)
		proved(l, "its guest agent answers");
}

static void target_note(void *context, const char *text)
{
	record_line(((struct launch *)context)->record, text);
}

static void target_started(void *context)
{
	struct launch *l = context;

	record_started(l->record);
	record_state(l->record, LAUNCH_BOOTING, "its processors run");
}

static bool store_is_there(const struct launch *l)
{
	return access(l->spec.store, R_OK | X_OK) == 0;
}

static void fail_without_store(struct launch *l)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", l->spec.machine, NULL);
	fail(l, &f);
}

static void target_disk_trouble(void *context, const char *disk, const char *reason, bool full)
{
	struct launch *l = context;
	bool *said = full ? &l->full : &l->read_failed;
	struct fault f;

	if (!l->standing && !store_is_there(l)) {
		fail_without_store(l);
		return;
	}
	if (*said)
		return;
	*said = true;
	if (full)
		(void)fault_set(&f, 0, MSG_LAUNCH_DISK_FULL, NULL);
	else
		(void)fault_set(&f, 0, MSG_LAUNCH_READ_FAILED, "disk", disk, "reason", reason, "machine",
				l->spec.machine, NULL);
	record_note(l->record, &f);
}

/* What is open of a store that was deleted can be read on; what is opened next cannot. */
static void look_for_store(void *context)
{
	struct launch *l = context;

	if (l->standing || l->ending)
		return;
	if (!store_is_there(l))
		fail_without_store(l);
	else
		loop_set_timer(l->loop, &l->store_look, monotonic_now_us() + STORE_LOOK_US);
}

static void target_stopped(void *context, const char *why)
{
	struct launch *l = context;

	if (why && !l->failing && !l->ending) {
		l->failing = true;
		(void)fault_set(&l->why, 0, MSG_LAUNCH_DIED, "machine", l->spec.machine, "reason", why, NULL);
	}
	finish(l);
}

static const struct target_events target_events = {
	.note = target_note,
	.started = target_started,
	.output = target_output,
	.agent = target_agent,
	.kept = target_kept,
	.progress = target_progress,
	.disk_trouble = target_disk_trouble,
	.stopped = target_stopped,
};

static void not_proved(void *context)
{
	struct launch *l = context;
	char seconds[24];
	struct fault f;

	snprintf(seconds, sizeof(seconds), "%u", l->spec.proof_seconds);
	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_PROVED, "machine", l->spec.machine, "seconds", seconds, NULL);
	fail(l, &f);
}

/* --- starting ----------------------------------------------------------------------------------------- */

static void start_machine(struct launch *l)
{
	char id[UUID_TEXT_LEN + 1];
	struct target_machine m = {
		.folder = l->folder,
		.id = uuid_format(&l->spec.id, id),
		.name = l->spec.machine,
		.cpus = l->spec.cpus,
		.memory_bytes = l->spec.memory_bytes,
		.firmware = l->firmware,
		.boot_disk = l->boot_disk,
		.esp_offset = l->esp_offset,
		.esp_bytes = l->esp_bytes,
		.network = l->spec.network,
		.bus = l->spec.bus,
		.disks = l->target_disks,
		.disk_count = l->disk_count,
	};
	struct fault f;

	let_go_of_point(l); /* the NBD servers hold it now */
	l->store_look.fire = look_for_store;
	l->store_look.context = l;
	look_for_store(l);
	if (l->failing)
		return;
	record_state(l->record, LAUNCH_STARTING, "starting a %s machine with %u processors and %llu MiB",
		     bootdisk_firmware_name(m.firmware), m.cpus, (unsigned long long)(m.memory_bytes / MIB));
	if (l->ops->start(l->loop, &m, &target_events, l, &l->target, &f)) {
		fail(l, &f);
		return;
	}
	l->deadline.fire = not_proved;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + l->spec.proof_seconds * USEC_PER_SEC);
}

static void disk_said(void *context, uint32_t events)
{
	struct disk *d = context;
	char text[512];
	ssize_t n = read(d->process.stderr_fd, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_watched(d->launch, &d->process.stderr_fd);
		return;
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	log_warn("nbdkit: %s", text);
}

static void disk_ready(void *context, uint32_t events)
{
	struct disk *d = context;
	struct launch *l = d->launch;
	char pid[32];
	ssize_t n = read(d->process.ready_fd, pid, sizeof(pid));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_watched(l, &d->process.ready_fd);
	if (n <= 0) /* dead: child_ended() tells */
		return;
	d->ready = true;
	for (unsigned int i = 0; i < l->disk_count; i++)
		if (!l->disks[i].ready)
			return;
	start_machine(l);
}

static void disks_not_ready(void *context)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_STARTED, "reason", "nbdkit was not ready in time", NULL);
	fail(context, &f);
}

static int serve_disk(struct launch *l, unsigned int i)
{
	struct target_disk *t = &l->target_disks[i];
	struct disk *d = &l->disks[i];
	struct nbdkit_options o = {
		.store_dir = l->spec.store, .exports_dir = l->folder, .epoch = l->spec.epoch, .disk = t->disk,
	};
	int err = nbdkit_listen_unix(t->socket, &o.listen_fd);

	if (err)
		return err;
	err = nbdkit_spawn(&o, &d->process);
	close(o.listen_fd);
	if (err)
		return err;
	return loop_watch(l->loop, d->process.ready_fd, EPOLLIN, disk_ready, d) ?:
	       loop_watch(l->loop, d->process.stderr_fd, EPOLLIN, disk_said, d);
}

static void serve_disks(struct launch *l)
{
	struct fault f;

	l->deadline.fire = disks_not_ready;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + NBDKIT_START_US);
	for (unsigned int i = 0; i < l->disk_count; i++) {
		int err = serve_disk(l, i);

		if (err) {
			(void)fault_set(&f, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL);
			fail(l, &f);
			return;
		}
	}
}

/* --- looking at the disks -------------------------------------------------------------------------------- */

struct look {
	struct launch *launch;
	struct store_reader *reader;
};

static uint64_t look_size(void *context, unsigned int disk)
{
	const struct look *k = context;

	return k->launch->target_disks[disk].size_bytes;
}

static unsigned int look_sector(void *context, unsigned int disk)
{
	const struct look *k = context;

	return k->launch->target_disks[disk].sector_bytes;
}

static int look_read(void *context, unsigned int disk, uint64_t offset, uint32_t length, void *ret)
{
	const struct look *k = context;

	return store_read(k->reader, (uint16_t)k->launch->target_disks[disk].disk, offset, length, ret);
}

static void note_disks(struct launch *l, struct store_reader *r)
{
	struct store_disk disks[DISKS_MAX];
	size_t n = MIN(store_reader_disks(r, disks, DISKS_MAX), (size_t)DISKS_MAX);

	for (size_t i = 0; i < n; i++) {
		struct target_disk *t = &l->target_disks[l->disk_count];

		if (disks[i].size_bytes == 0)
			continue;
		*t = (struct target_disk){
			.disk = disks[i].disk,
			.size_bytes = disks[i].size_bytes,
			.sector_bytes = disks[i].sector_bytes,
		};
		snprintf(t->socket, sizeof(t->socket), "%s/disk%u.sock", l->folder, l->disk_count);
		l->disks[l->disk_count] = (struct disk){ .launch = l, .process = { .ready_fd = -1, .stderr_fd = -1 } };
		l->disk_count++;
	}
}

static int look_at_disks(struct launch *l, struct fault *f)
{
	struct look k = { .launch = l };
	struct bootdisk_source s = { .size_bytes = look_size, .sector_bytes = look_sector, .read = look_read,
				     .context = &k };
	struct bootdisk b;
	int err = store_reader_open(l->spec.store, &store_sys_default, l->spec.epoch, &k.reader);

	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_POINT, "machine", l->spec.machine, "reason", strerror(-err),
				 NULL);
	note_disks(l, k.reader);
	record_point(l->record, store_reader_point(k.reader));
	s.count = l->disk_count;
	l->point = k.reader;
	err = bootdisk_find(&s, l->spec.firmware ?: l->spec.source_firmware, &b);
	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_POINT, "machine", l->spec.machine, "reason", strerror(-err),
				 NULL);
	if (b.firmware == FIRMWARE_NONE)
		return fault_set(f, -ENOEXEC, MSG_LAUNCH_NOT_BOOTABLE, "machine", l->spec.machine, NULL);
	l->boot_disk = b.disk;
	l->esp_offset = b.esp_offset;
	l->esp_bytes = b.esp_bytes;
	l->firmware = l->spec.firmware ?: b.firmware;
	record_boot(l->record, bootdisk_firmware_name(l->firmware), b.disk, b.gpt);
	return 0;
}

static uint64_t memory_available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * KIB;
}

static int check_memory(const struct launch *l, struct fault *f)
{
	uint64_t available = memory_available();
	char wanted[32], there[32];

	if (available >= l->spec.memory_bytes + MEMORY_SPARE)
		return 0;
	snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)((l->spec.memory_bytes + MEMORY_SPARE) / MIB));
	snprintf(there, sizeof(there), "%llu", (unsigned long long)(available / MIB));
	return fault_set(f, -ENOMEM, MSG_LAUNCH_NO_MEMORY, "machine", l->spec.machine, "wanted", wanted, "available",
			 there, NULL);
}

static void prepare(struct launch *l)
{
	struct fault f = { 0 };

	record_state(l->record, LAUNCH_PREPARING, "looking at the disks of the point");
	if (l->ops->probe(&f) || check_memory(l, &f) || look_at_disks(l, &f)) {
		fail(l, &f);
		return;
	}
	daemon_ready(0); /* it is on its way; what fails from here on is in the record */
	serve_disks(l);
}

/* --- from outside ------------------------------------------------------------------------------------------- */

static void signal_came(void *context, uint32_t events)
{
	struct launch *l = context;
	struct signalfd_siginfo s;

	if (read(l->signal_fd, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo != SIGCHLD) {
		end(l); /* as when this machine is shut down: nobody asked for the data to go */
		return;
	}
	for (unsigned int i = 0; i < l->disk_count; i++) {
		struct disk *d = &l->disks[i];
		struct fault f;

		if (d->process.pid <= 0 || waitpid(d->process.pid, NULL, WNOHANG) != d->process.pid)
			continue;
		d->process.pid = 0;
		(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", l->spec.machine, NULL);
		if (!l->standing)
			fail(l, &f);
	}
}

static void control_came(void *context, uint32_t events)
{
	struct launch *l = context;
	char line[64] = "";
	int fd = accept4(l->control_fd, NULL, NULL, SOCK_CLOEXEC);
	struct timeval limit = { .tv_sec = 1 };

	if (fd < 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (read(fd, line, sizeof(line) - 1) > 0) {
		l->asked_to_end |= strncmp(line, "terminate", 9) == 0;
		if (l->asked_to_end)
			end(l);
		else if (strncmp(line, "keep", 4) == 0)
			keep(l);
	}
	close(fd);
}

static int listen_control(struct launch *l)
{
	char path[PATH_MAX];
	int err;

	snprintf(path, sizeof(path), "%s/control", l->folder);
	err = nbdkit_listen_unix(path, &l->control_fd);
	if (err)
		return err;
	return loop_watch(l->loop, l->control_fd, EPOLLIN, control_came, l);
}

static int begin(struct launch *l)
{
	int err = loop_new(&l->loop);

	if (err)
		return err;
	l->signal_fd = daemon_signal_fd();
	if (l->signal_fd < 0)
		return l->signal_fd;
	return loop_watch(l->loop, l->signal_fd, EPOLLIN, signal_came, l) ?: listen_control(l);
}

int launch_run(const char *folder)
{
	struct launch l = { .folder = folder, .signal_fd = -1, .control_fd = -1, .ops = &target_qemu };
	char path[PATH_MAX], line[1024];
	struct fault f = { 0 };
	pid_t other;
	int err;

	snprintf(path, sizeof(path), "%s/launch.pid", folder);
	err = daemon_lock(path, &other);
	if (err) {
		log_error("%s: %s", path, err == -EBUSY ? "this launch runs already" : strerror(-err));
		return 2;
	}
	snprintf(path, sizeof(path), "%s/spec.json", folder);
	if (spec_read(path, &l.spec, &f)) {
		log_error("%s", fault_format(&f, LANGUAGE_EN, line, sizeof(line)));
		(void)!record_refused(folder, &f);
		daemon_ready(2);
		return 2;
	}
	err = record_new(folder, &l.spec, &l.record) ?: begin(&l);
	if (err) {
		log_error("%s: %s", folder, strerror(-err));
		return 2;
	}
	prepare(&l);
	while (!l.done && !err)
		err = loop_turn(l.loop);
	assert(l.done || err);
	if (!l.done)
		finish(&l);
	record_free(l.record);
	close_watched(&l, &l.control_fd);
	close_watched(&l, &l.signal_fd);
	loop_free(l.loop);
	daemon_ready(1); /* unless it was on its way */
	return l.failing || err ? 1 : 0;
}
