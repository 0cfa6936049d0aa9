/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"
#include "daemon.h"
#include "launch-private.h"
#include "log.h"
#include "nbdkit.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the end --------------------------------------------------------------------------------- */

/* L2.  The disks of a machine that stands on its own or is to, and of a cutover that has
 * booted or runs without having shown it, are somebody's data: they go only when it is asked to end. */
static bool is_somebodys_data(const struct launch *l)
{
	bool is_new = l->spec.kind == LAUNCH_CUTOVER && record_current(l->record) == LAUNCH_BOOTED;

	return !l->asked_to_end && (l->standing || l->resumed || l->to_be_kept || l->unproved || is_new);
}

static void remove_files(struct launch *l)
{
	static const char *const names[] = { "qmp.sock", "serial.sock", "agent.sock", "guest.sock", "control", "vars.fd" };
	bool keep_disks = is_somebodys_data(l);
	char path[PATH_MAX];

	for (unsigned int i = 0; i < ARRAY_LEN(names) - keep_disks; i++) {
		snprintf(path, sizeof(path), "%s/%s", l->folder, names[i]);
		(void)unlink(path);
	}
	if (keep_disks && !l->stopping)
		record_disks_kept(l->record);
	for (unsigned int i = 0; i < l->disk_count && !keep_disks; i++) {
		snprintf(path, sizeof(path), "%s/disk%u.qcow2", l->folder, i);
		(void)unlink(path);
	}
}

void launch_let_go_of_point(struct launch *l)
{
	if (l->point)
		store_reader_close(l->point);
	l->point = NULL;
}

void launch_finish(struct launch *l)
{
	l->ops->free(l->target);
	l->target = NULL;
	launch_stop_converting(l);
	launch_let_go_of_point(l);
	launch_end_disks(l);
	remove_files(l);
	record_forwards(l->record, NULL);
	loop_clear_timer(l->loop, &l->deadline);
	loop_clear_timer(l->loop, &l->power_off_limit);
	loop_clear_timer(l->loop, &l->store_look);
	loop_clear_timer(l->loop, &l->again);
	if (l->failing)
		record_fail(l->record, &l->why);
	else if (l->stopping && !l->asked_to_end) {
		record_needs_store(l->record, !l->standing);
		record_state(l->record, LAUNCH_STOPPED, "it is started again when this machine is");
	} else
		record_state(l->record, LAUNCH_ENDED, l->written ? "the machine is written" : "the machine is gone");
	l->done = true;
}

void launch_end(struct launch *l)
{
	if (l->ending)
		return;
	l->ending = true;
	if (l->target)
		l->ops->stop(l->target); /* then stopped() */
	else
		launch_finish(l);
}

/* --- with this machine ------------------------------------------------------------------------ */

static unsigned int seconds_since(uint64_t us)
{
	return (unsigned int)((monotonic_now_us() - us) / USEC_PER_SEC);
}

static void power_off_too_late(void *context)
{
	struct launch *l = context;
	char line[96];

	snprintf(line, sizeof(line), "it had not powered itself off after %u s, and is ended", l->spec.poweroff_seconds);
	record_power_off(l->record, false, seconds_since(l->power_off_us), line);
	launch_end(l);
}

void launch_powered_off(struct launch *l, const char *why)
{
	char line[320] = "it has powered itself off";

	if (why)
		snprintf(line, sizeof(line), "it ended before it had powered itself off: %s", why);
	record_power_off(l->record, !why, seconds_since(l->power_off_us), line);
	launch_finish(l);
}

/* L4.  Nobody asked for the data to go. */
void launch_stop_in_order(struct launch *l)
{
	bool somebodys = is_somebodys_data(l);
	char line[128];

	if (l->ending || l->failing || l->powering_off)
		return;
	l->stopping = somebodys && !l->spec.leave_after_restart;
	if (!somebodys || !l->target || !l->spec.poweroff_seconds) {
		launch_end(l);
		return;
	}
	l->powering_off = true;
	l->power_off_us = monotonic_now_us();
	loop_clear_timer(l->loop, &l->deadline); /* nothing else is awaited of it any more */
	loop_clear_timer(l->loop, &l->again);
	l->power_off_limit.fire = power_off_too_late;
	l->power_off_limit.context = l;
	loop_set_timer(l->loop, &l->power_off_limit, l->power_off_us + l->spec.poweroff_seconds * USEC_PER_SEC);
	snprintf(line, sizeof(line), "the replication server's machine goes down: it is asked to power itself off, within %u s",
		 l->spec.poweroff_seconds);
	record_line(l->record, line);
	l->ops->power_off(l->target);
}

static void picture_then_end(void *context, const char *error)
{
	launch_end(context);
}

static void picture_too_late(void *context)
{
	launch_end(context);
}

void launch_fail(struct launch *l, const struct fault *f)
{
	char path[PATH_MAX];

	if (l->failing || l->ending)
		return;
	l->failing = true;
	l->why = *f;
	if (!l->target) {
		launch_end(l);
		return;
	}
	/* A last picture, unless it is too far gone for one. */
	l->deadline.fire = picture_too_late;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + LAUNCH_PICTURE_US);
	snprintf(path, sizeof(path), "%s/screenshot.png", l->folder);
	l->ops->screenshot(l->target, path, picture_then_end, l);
}

/* --- starting -------------------------------------------------------------------------------- */

static bool is_beside_store(const struct launch *l)
{
	struct stat store, own;

	return stat(l->spec.store, &store) == 0 && stat(l->folder, &own) == 0 && store.st_dev == own.st_dev;
}

static void describe(struct launch *l, struct target_machine *m)
{
	for (unsigned int i = 0; i < HARDWARE_CARDS_MAX; i++)
		l->mac_list[i] = convert_mac(&l->spec.id, i, l->macs[i]);
	*m = (struct target_machine){
		.folder = l->folder,
		.id = uuid_format(&l->spec.id, l->id),
		.time = l->point_time,
		.to = l->spec.to,
		.format = l->spec.format,
		.name = l->spec.machine,
		.cpus = l->spec.cpus,
		.memory_bytes = l->spec.memory_bytes,
		.firmware = l->firmware,
		.boot_disk = l->boot_disk,
		.network = l->spec.network,
		.bridge = l->spec.bridge,
		.forwards = &l->spec.forwards,
		.card = hardware_has_virtio_net(&l->spec.hardware) ? "virtio-net-pci" : "e1000e",
		.macs = l->mac_list,
		.card_count = MAX(l->spec.hardware.card_count, 1u),
		.bus = l->bus,
		.wants_login = l->spec.proof == PROOF_LOGIN,
		.is_beside_store = is_beside_store(l),
		.is_somebodys = l->spec.kind == LAUNCH_CUTOVER || l->resumed,
		.again = l->resumed,
		.disks = l->target_disks,
		.disk_count = l->disk_count,
	};
}

/* They need not be there: the machine is not held up by what it has no card for. */
static void note_unused_bridges(struct launch *l, const struct target_machine *m)
{
	unsigned int named = m->network == NETWORK_BRIDGE ? hardware_count_bridges(m->bridge) : 0;
	char line[HARDWARE_BRIDGES_SIZE + 160], name[HARDWARE_BRIDGE_SIZE];
	size_t used;

	if (named <= m->card_count)
		return;
	used = (size_t)snprintf(line, sizeof(line), "the blueprint names more bridges than the machine has cards (%u); not used:",
				m->card_count);
	for (unsigned int i = m->card_count; i < named; i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " %s", hardware_bridge_of(m->bridge, i, name));
	record_line(l->record, line);
}

void launch_run_machine(struct launch *l)
{
	struct target_machine m;
	struct fault f;

	describe(l, &m);
	if (l->ops->only_writes) {
		record_state(l->record, LAUNCH_WRITING, "writing a %s machine with %u processors and %llu MiB to %s",
			     bootdisk_firmware_name(m.firmware), m.cpus, (unsigned long long)(m.memory_bytes / MIB), m.to);
		record_images(l->record, m.to, m.format);
	} else {
		record_state(l->record, LAUNCH_STARTING, "starting a %s machine with %u processors and %llu MiB",
			     bootdisk_firmware_name(m.firmware), m.cpus, (unsigned long long)(m.memory_bytes / MIB));
	}
	record_machine(l->record, &m);
	note_unused_bridges(l, &m);
	if (l->ops->start(l->loop, &m, &launch_target_events, l, &l->target, &f))
		launch_fail(l, &f);
	else if (!l->ops->only_writes)
		launch_await_proof(l);
}

static void run_again(struct launch *l)
{
	struct target_machine m;
	struct fault f;

	describe(l, &m);
	if (l->ops->start(l->loop, &m, &launch_target_events, l, &l->target, &f))
		launch_fail(l, &f);
}

void launch_start_machine(struct launch *l)
{
	struct fault f;

	loop_clear_timer(l->loop, &l->deadline);
	launch_let_go_of_point(l); /* the NBD servers hold it now */
	launch_look_for_store(l);
	if (l->failing)
		return;
	if (l->resumed) {
		run_again(l);
		return;
	}
	launch_choose_bus(l);
	if (launch_make_view(l, &f))
		launch_fail(l, &f);
	else
		launch_convert(l);
}

static void prepare(struct launch *l)
{
	struct target_machine m;
	struct fault f = { 0 };

	l->ops = l->spec.kind == LAUNCH_IMAGES ? &target_images : &target_qemu;
	describe(l, &m);
	record_state(l->record, LAUNCH_PREPARING, "looking at the disks of the point");
	l->store_fd = open(l->spec.store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l->ops->probe(&m, &f) || launch_look_at_disks(l, &f)) {
		launch_fail(l, &f);
		return;
	}
	daemon_ready(0); /* it is on its way; what fails from here on is in the record */
	launch_serve_disks(l);
}


/* A machine that stands alone needs no point, no NBD server and no proof; another that is started
 * again needs the point under its disks. */
static void start_again(struct launch *l)
{
	struct target_machine m;
	struct fault f = { 0 };
	int err;

	l->ops = &target_qemu;
	describe(l, &m);
	if (!l->standing)
		l->store_fd = open(l->spec.store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	err = l->ops->probe(&m, &f);
	if (!err && !l->standing)
		err = launch_find_point_again(l, &f);
	if (err) {
		launch_fail(l, &f);
		return;
	}
	if (l->standing)
		run_again(l);
	else
		launch_serve_disks(l); /* then launch_start_machine() */
	if (!l->failing)
		daemon_ready(0);
}

/* --- from outside ---------------------------------------------------------------------------- */

static void signal_came(void *context, uint32_t events)
{
	struct launch *l = context;
	struct signalfd_siginfo s;

	if (read(l->signal_fd, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo != SIGCHLD) {
		launch_stop_in_order(l);
		return;
	}
	launch_reap_disks(l);
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
			launch_end(l);
		else if (strncmp(line, "keep", 4) == 0)
			launch_keep(l);
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

static int resume(struct launch *l)
{
	struct target_machine m = { 0 };
	int err = record_resume(l->folder, &l->record, &m, l->target_disks, &l->disk_count, &l->standing);

	if (err)
		return err;
	l->resumed = l->post_launch_sent = true;
	l->firmware = m.firmware;
	l->boot_disk = m.boot_disk;
	l->bus = m.bus;
	for (unsigned int i = 0; i < l->disk_count; i++)
		l->disks[i] = (struct disk){ .launch = l, .process = { .ready_fd = -1, .stderr_fd = -1 } };
	return 0;
}

/* What could not be read just now may be read soon: the record of what was there before is let alone then, and
 * the server tries again. */
static int refuse(const char *folder, int err, const struct fault *f)
{
	char line[1024];

	log_error("%s", fault_format(f, LANGUAGE_EN, line, sizeof(line)));
	if (err == -EINVAL || !record_has_disks(folder))
		record_refused(folder, f);
	daemon_ready(2);
	return 2;
}

int launch_run(const char *folder)
{
	struct launch l = { .folder = folder, .signal_fd = -1, .control_fd = -1, .store_fd = -1, .proof_status = -1 };
	char path[PATH_MAX];
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
	err = spec_read(path, &l.spec, &f);
	if (err)
		return refuse(folder, err, &f);
	l.bus = l.spec.bus;
	err = resume(&l);
	if (err == -ENOENT && record_has_disks(folder)) {
		(void)fault_set(&f, -EINVAL, MSG_LAUNCH_NOT_STARTED, "reason",
				"its folder has disks, and no record by which they can be started", NULL);
		return refuse(folder, -EINVAL, &f);
	}
	if (err == -ENOENT)
		err = record_new(folder, &l.spec, &l.record);
	if (!err)
		err = begin(&l);
	if (err) {
		log_error("%s: %s", folder, strerror(-err));
		return 2;
	}
	if (l.resumed)
		start_again(&l);
	else
		prepare(&l);
	while (!l.done && !err)
		err = loop_turn(l.loop);
	assert(l.done || err);
	if (!l.done)
		launch_finish(&l);
	record_free(l.record);
	loop_close(l.loop, &l.control_fd);
	loop_close(l.loop, &l.signal_fd);
	if (l.store_fd >= 0)
		close(l.store_fd);
	loop_free(l.loop);
	daemon_ready(1); /* unless it was on its way */
	return l.failing || err ? 1 : 0;
}
