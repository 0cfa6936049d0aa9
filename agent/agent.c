/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent - one process, one event loop.
 *
 *	signals --.                           .--> io_uring --> disks
 *	link -----+--> loop --> engine -------+
 *	ring -----+     ^         |           '--> outbox --> session --> TLS
 *	reads ----'     '---------'
 *
 * Order of beginning: lock, log, link (a child without rights, started before
 * there is anything it must not inherit), keys, capture, disks, session; then
 * what is not needed any more is given up, and only then a byte of what the
 * server sends is looked at.
 *
 * Kept: CAP_SYS_ADMIN, CAP_BPF and CAP_PERFMON, to make maps anew when a disk
 * grows or comes back, and CAP_SYS_NICE, to give way to the source's threads and to
 * stop doing so (priority.c).  The process stays root: it reads disks, which is
 * everything there is to protect on this machine.
 */
#include "agent-private.h"
#include "confine.h"
#include "daemon.h"
#include "log.h"
#include "wallclock.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef GODWIT_VERSION
#define GODWIT_VERSION "unknown"
#endif

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF	    39
#endif

#define TICK_US		 USEC_PER_SEC
#define STAGE_US	 (50 * USEC_PER_MSEC)
#define LOG_FILE_BYTES	 (16 * MIB)
#define LOG_FILES	 5
#define READS		 8

/* --- telling ------------------------------------------------------------------------ */

void agent_tell(struct agent *a, const struct fault *f)
{
	static const enum log_level levels[] = { [SEVERITY_INFO] = LOG_INFO, [SEVERITY_WARNING] = LOG_WARN,
						 [SEVERITY_ERROR] = LOG_ERROR };
	char text[2048];

	if (message_severity(f->code) == SEVERITY_INFO) {
		struct message_arg args[FAULT_ARGS_MAX + 1] = { 0 };

		for (unsigned int i = 0; i < f->arg_count; i++)
			args[i] = (struct message_arg){ f->args[i].name, f->args[i].value };
		message_text(f->code, LANGUAGE_EN, args, text, sizeof(text));
	} else {
		fault_format(f, LANGUAGE_EN, text, sizeof(text));
	}
	log_write(levels[message_severity(f->code)], "%s", text);
	if (a->link)
		link_event(a->link, wallclock_now_us(), f);
}

void agent_tell_code(struct agent *a, enum message_code code, ...)
{
	struct fault f = { .code = code };
	const char *name;
	va_list ap;

	va_start(ap, code);
	while (f.arg_count < FAULT_ARGS_MAX && (name = va_arg(ap, const char *))) {
		const char *value = va_arg(ap, const char *);

		snprintf(f.args[f.arg_count].name, sizeof(f.args[0].name), "%s", name);
		snprintf(f.args[f.arg_count++].value, sizeof(f.args[0].value), "%s", value ? value : "");
	}
	va_end(ap);
	agent_tell(a, &f);
}

/* --- what the engine asks for and says -------------------------------------------------- */

static struct attached *attached_of(struct agent *a, uint16_t disk)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (a->settings.disks[i].disk == disk)
			return &a->disks[i];
	return NULL;
}

static const char *disk_name(struct agent *a, uint16_t disk)
{
	struct attached *at = attached_of(a, disk);

	return at ? at->settings->info.path : "?";
}

static int on_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot)
{
	struct agent *a = context;
	struct attached *at = attached_of(a, disk);

	return at && at->fd >= 0 ? uring_read(a->uring, at->fd, buffer, length, offset, slot) : -ENODEV;
}

static uint64_t on_size(void *context, uint16_t disk)
{
	struct attached *at = attached_of(context, disk);
	uint64_t bytes;

	return at && at->fd >= 0 && ioctl(at->fd, BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
}

static uint64_t on_boot(void *context)
{
	return boottime_now_us();
}

static uint64_t on_now(void *context)
{
	return monotonic_now_us();
}

static void on_event(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text)
{
	struct agent *a = context;
	struct attached *at = attached_of(a, disk);
	const char *name = disk_name(a, disk);
	char sector[24], number[24];

	snprintf(sector, sizeof(sector), "%llu", (unsigned long long)(value / SECTOR_BYTES));
	snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
	switch (event) {
	case ENGINE_READ_ERROR: /* told as a problem, for as long as it is one */
		(void)fault_set(&a->read_fault, 0, MSG_DISK_READ_ERROR, "disk", name, "sector", sector, NULL);
		a->read_failed = true;
		break;
	case ENGINE_READ_HEALED:
		if (!at)
			break;
		at->healed++;
		at->healed_sector = value / SECTOR_BYTES;
		break;
	case ENGINE_SUSPECT:
		agent_tell_code(a, MSG_DISK_SUSPECT, "disk", name, "why", text, NULL);
		break;
	case ENGINE_STORE_LOST:
		agent_tell_code(a, MSG_STORE_BEHIND, "epoch", number, NULL);
		break;
	case ENGINE_STORE_FOREIGN:
		agent_tell_code(a, MSG_STORE_FOREIGN, "epoch", number, NULL);
		break;
	case ENGINE_SYNCED:
		agent_tell_code(a, MSG_INITIAL_SYNC_DONE, "disk", name, NULL);
		break;
	case ENGINE_MISMATCH:
		agent_tell_code(a, MSG_CAPTURE_MISMATCH, "disk", name, "sector", sector, NULL);
		break;
	case ENGINE_CAPTURE_WRONG:
		agent_tell_code(a, MSG_CAPTURE_WRONG, "count", number, NULL);
		break;
	case ENGINE_VERIFY_DIFFERS:
		log_warn("verify: %s differs from its replica at sector %s", name, sector);
		break;
	case ENGINE_VERIFY_DONE:
		log_info("verify is done, %s bytes differed", number);
		break;
	}
}

static void on_durable(void *context, const struct wire_commit *commit, const struct wire_durable *answer)
{
	struct agent *a = context;

	a->durable_at_us = monotonic_now_us();
	control_durable(a, commit);
}

static const struct engine_ops engine_ops = { on_read, on_size, on_boot, on_now, on_event, on_durable,
					       attach_still_gone };

static void on_session_fault(void *context, const struct fault *f)
{
	struct agent *a = context;

	/* The same again is no news; the first of a kind is told as a problem. */
	if (a->connection_failed && a->connection_fault.code == f->code)
		log_debug("still: %s", message_name(f->code));
	a->connection_fault = *f;
	a->connection_failed = true;
}

static void on_welcome(void *context)
{
	struct agent *a = context;

	a->connection_failed = false;
	a->connected_at_us = monotonic_now_us();
}

/* --- beginning ------------------------------------------------------------------------------ */

static int start_link(struct agent *a)
{
	static char ca[SETTINGS_PATH_MAX], key[SETTINGS_PATH_MAX], cert[SETTINGS_PATH_MAX], state[SETTINGS_PATH_MAX];
	const struct settings *s = &a->settings;
	struct link_options o = {
		.console_url = s->console, .ca_path = settings_path(s, "ca.crt", ca),
		.key_path = settings_path(s, "agent.key", key), .cert_path = settings_path(s, "agent.crt", cert),
		.proxy = s->proxy[0] ? s->proxy : NULL, .state_path = settings_path(s, "desired.json", state),
	};

	if (!s->console[0])
		return 0;
	priority_lift(&a->priority);
	return link_start(&o, &a->link);
}

static int load_keys(struct agent *a, struct fault *f)
{
	char ca[SETTINGS_PATH_MAX], key[SETTINGS_PATH_MAX], cert[SETTINGS_PATH_MAX];
	const struct settings *s = &a->settings;
	int err = tls_context_new(settings_path(s, "agent.key", key), settings_path(s, "agent.crt", cert),
				  settings_path(s, "ca.crt", ca), &a->tls);

	return err ? fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", s->folder, "reason",
			       "its keys or certificates cannot be read", NULL) : 0;
}

/* Capture first: I1. */
static int open_tracker(struct agent *a, struct fault *f)
{
	struct tracker_options o = { .ring_bytes = a->o->ring_bytes, .dirty_map_only = a->o->dirty_map_only };
	char id[UUID_TEXT_LEN + 1];
	bool same_boot;
	int err = settings_memory(&a->settings, &a->memory, &same_boot);

	if (err)
		return fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", a->settings.folder, "reason", strerror(-err), NULL);
	snprintf(a->pin_dir, sizeof(a->pin_dir), "/sys/fs/bpf/godwit/%s", uuid_format(&a->settings.machine, id));
	if (!same_boot)
		(void)!tracker_remove(a->pin_dir);
	err = tracker_open(a->pin_dir, &o, &a->tracker, &a->resumed, f);
	if (err)
		return err;
	if (!a->resumed)
		engine_memory_reset(a->memory);
	return 0;
}

static int make_engine(struct agent *a)
{
	struct engine_options o = { .tracker = a->tracker, .memory = a->memory, .ops = &engine_ops, .context = a,
				    .reads = READS };
	struct session_options so = { .machine = a->settings.machine, .tls = a->tls, .fault = on_session_fault,
				      .welcome = on_welcome, .context = a,
				      .boot_time_us = wallclock_now_us() - boottime_now_us() };
	int err;

	if (getrandom(&o.hash_seed, sizeof(o.hash_seed), 0) != sizeof(o.hash_seed))
		return -errno;
	err = uring_new(2 * READS, &a->uring);
	if (!err)
		err = engine_new(&o, &a->engine);
	if (err)
		return err;
	so.engine = a->engine;
	return session_new(&so, &a->session);
}

static int give_up_rights(void)
{
	static const int keep[] = { CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_BPF, CAP_PERFMON };
	int err = confine_capabilities(keep, ARRAY_LEN(keep));

	/* Before 5.8 the kernel does not know the last two: then the others are all there is. */
	return err ? confine_capabilities(keep, 2) : 0;
}

static int begin(struct agent *a, struct fault *f)
{
	int err = disks_check_machine(f);

	if (!err)
		err = load_keys(a, f);
	if (!err)
		err = open_tracker(a, f);
	if (err)
		return err;
	err = make_engine(a);
	if (err)
		return fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", a->settings.folder, "reason", strerror(-err), NULL);
	err = attach_all(a, f);
	if (err)
		return err;
	err = give_up_rights();
	if (err)
		log_warn("rights that are not needed could not be given up: %s", strerror(-err));
	priority_begin(&a->priority);
	if (facts_new(&a->settings, &a->facts))
		log_warn("what a launched copy of this machine needs is not found out");
	a->compression_auto = true;
	control_load(a);
	return 0;
}

static int lock_state(struct agent *a, struct fault *f)
{
	char path[SETTINGS_PATH_MAX], number[24];
	pid_t other = 0;
	int err = daemon_lock(settings_path(&a->settings, "agent.pid", path), &other);

	snprintf(number, sizeof(number), "%d", (int)other);
	if (err == -EBUSY)
		return fault_set(f, err, MSG_AGENT_ALREADY_RUNNING, "state", a->settings.folder, "pid", number, NULL);
	if (!err)
		err = log_to_file(settings_path(&a->settings, "agent.log.0", path), LOG_FILE_BYTES, LOG_FILES);
	return err ? fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", a->settings.folder, "reason", strerror(-err),
			       NULL) : 0;
}

/* --- the loop ----------------------------------------------------------------------------------- */

static void take_signals(struct agent *a)
{
	struct signalfd_siginfo si;

	while (read(a->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo != SIGTERM && si.ssi_signo != SIGINT)
			continue;
		log_info("stopping: signal %u; capture goes on without an agent", si.ssi_signo);
		a->stopping = true;
	}
}

static void take_reads(struct agent *a)
{
	unsigned int slot;
	int error;

	while (uring_ended(a->uring, &slot, &error) == 1)
		engine_read_done(a->engine, slot, error);
}

/* A disk that is well again heals in many places at once. */
static void tell_healed(struct agent *a)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++) {
		struct attached *at = &a->disks[i];
		char count[24], sector[24];

		if (!at->healed)
			continue;
		snprintf(count, sizeof(count), "%u", at->healed);
		snprintf(sector, sizeof(sector), "%llu", (unsigned long long)at->healed_sector);
		agent_tell_code(a, MSG_DISK_READ_HEALED, "disk", at->settings->info.path, "count", count, "sector",
				sector, NULL);
		at->healed = 0;
	}
}

/* On the way to continuous protection stages may be short. */
static uint64_t stage_deadline(const struct agent *a)
{
	return a->stages.stage < STAGE_CONTINUOUS ? a->staged_us + STAGE_US : UINT64_MAX;
}

static void tick(struct agent *a, uint64_t now)
{
	if (a->stages.stage != STAGE_CONTINUOUS && now >= a->staged_us + STAGE_US)
		status_stage(a, now);
	if (now < a->tick_us + TICK_US)
		return;
	if (!a->link && start_link(a) < 0)
		log_warn("the link to the console cannot be started");
	attach_tick(a);
	control_tick(a, now);
	tell_healed(a);
	facts_tick(a->facts, now);
	status_tick(a, now);
}

static uint64_t work(struct agent *a)
{
	uint64_t soonest, next;

	take_reads(a);
	next = engine_run(a->engine);
	soonest = session_run(a->session, monotonic_now_us());
	/* What the session took from the outbox may have made room. */
	next = MIN(next, engine_run(a->engine));
	tick(a, monotonic_now_us());
	priority_run(&a->priority, engine_is_behind(a->engine), monotonic_now_us());
	return MIN(MIN(soonest, next), MIN(a->tick_us + TICK_US, stage_deadline(a)));
}

static void wait_for_work(struct agent *a, uint64_t deadline)
{
	struct pollfd p[5] = {
		{ .fd = a->signal_fd, .events = POLLIN },
		{ .fd = uring_fd(a->uring), .events = POLLIN },
		{ .fd = a->link ? link_fd(a->link) : -1, .events = POLLIN },
		{ .fd = engine_wants_ring(a->engine) ? tracker_ring_fd(a->tracker) : -1, .events = POLLIN },
		{ .fd = session_fd(a->session), .events = session_events(a->session) },
	};
	uint64_t now = monotonic_now_us(), us = deadline > now ? deadline - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(us / USEC_PER_SEC), .tv_nsec = (long)(us % USEC_PER_SEC) * 1000 };

	if (ppoll(p, ARRAY_LEN(p), &ts, NULL) <= 0)
		return;
	if (p[0].revents)
		take_signals(a);
	if (p[2].revents)
		control_receive(a);
}

static void loop(struct agent *a)
{
	while (!a->stopping)
		wait_for_work(a, work(a));
}

/* --- life ------------------------------------------------------------------------------------------ */

static void end(struct agent *a)
{
	facts_free(a->facts);
	priority_end(&a->priority);
	session_free(a->session);
	link_stop(a->link);
	attach_done(a);
	uring_free(a->uring); /* no read may end in a buffer that is gone */
	engine_free(a->engine);
	if (a->tracker)
		tracker_close(a->tracker);
	if (a->removing) {
		(void)!tracker_remove(a->pin_dir);
		attach_unclaim(a);
		(void)!settings_forget(&a->settings); /* if it fails: at the next start the console says it again */
	}
	tls_context_free(a->tls);
	control_done(a);
}

static int complain(const struct fault *f, const char *state)
{
	char text[2048];

	log_error("%s", fault_format(f, LANGUAGE_EN, text, sizeof(text)));
	daemon_ready(1);
	return 1;
}

static int load(struct agent *a, struct fault *f)
{
	/* What is not there is not made: nobody was enrolled in it. */
	int err = access(a->o->state, F_OK) < 0 ? -errno : settings_open(a->o->state, &a->settings);

	if (!err)
		err = settings_load(&a->settings);
	if (err == -ENOENT)
		return fault_set(f, err, MSG_AGENT_NOT_ENROLLED, "state", a->o->state, NULL);
	return err ? fault_set(f, err, MSG_AGENT_STATE_UNUSABLE, "state", a->o->state, "reason", strerror(-err), NULL) : 0;
}

int agent_run(const struct agent_options *o)
{
	static struct agent a;
	struct fault f;
	int err;

	a.o = o;
	a.priority.thread_fd = -1;
	err = load(&a, &f);
	if (!err && o->background)
		err = daemon_detach() ? fault_set(&f, -errno, MSG_AGENT_STATE_UNUSABLE, "state", o->state, "reason",
						  strerror(errno), NULL) : 0;
	if (!err)
		err = lock_state(&a, &f);
	if (err)
		return complain(&f, o->state);
	a.signal_fd = daemon_signal_fd();
	if (a.signal_fd < 0 || start_link(&a) < 0) {
		(void)fault_set(&f, -EIO, MSG_AGENT_STATE_UNUSABLE, "state", o->state, "reason", "no more processes", NULL);
		return complain(&f, o->state);
	}
	err = begin(&a, &f);
	if (err) {
		end(&a);
		return complain(&f, o->state);
	}
	agent_tell_code(&a, MSG_AGENT_STARTED, "version", GODWIT_VERSION, NULL);
	daemon_ready(0);
	loop(&a);
	status_tick(&a, monotonic_now_us());
	end(&a);
	log_info("stopped");
	return 0;
}
