/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded target: qemu on this machine.
 *
 * Files in the launch's folder: disk<n>.qcow2, what the machine writes, over the
 * point, which it reads through NBD; vars.fd, its firmware's variables; serial.log;
 * the sockets qmp.sock, serial.sock, agent.sock (the guest agent's), guest.sock (ours).
 *
 *	spawn -> CONNECTING (qmp, serial) -> RUNNING -> [KEEPING -> RUNNING] -> STOPPING -> (stopped)
 *
 * Of a shutdown of this machine qemu hears nothing (SIGTERM and its like are blocked in it), so
 * that its machine can be asked to power itself off first.  qemu has no capabilities and no folder to write to but the launch's, and its own sandbox
 * forbids it to start programs.  Ports of a bridge are made before, and it is given them open (bridge.h).
 * It ends when this process ends, however that ends.
 */
#include "args.h"
#include "base.h"
#include "bridge.h"
#include "confine.h"
#include "fileio.h"
#include "forwards.h"
#include "guest.h"
#include "keep.h"
#include "memory.h"
#include "qmp.h"
#include "room.h"
#include "target.h"
#include "tool.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPUS_MAX 255u /* the emulated processors have no x2APIC for more */
#define CONNECT_US    (20 * USEC_PER_SEC)
#define CONNECT_AGAIN_US (180 * USEC_PER_SEC) /* all start at once, on cold disks, and it is somebody's */
#define RETRY_US      (10 * USEC_PER_MSEC)
#define AGENT_PING_US (2 * USEC_PER_SEC)
#define PROGRESS_US   (USEC_PER_SEC / 2)
#define BUTTON_US     (10 * USEC_PER_SEC) /* a machine that comes up does not see it yet */
#define STOP_GRACE_US (5 * USEC_PER_SEC)
#define VARIABLES_MAX (16 * MIB)
#define MEMORY_SPARE  (256 * MIB) /* for qemu itself and everybody else */

enum state { CONNECTING, RUNNING, STOPPING, STOPPED };

struct target {
	struct loop *loop;
	const struct target_events *events;
	void *context;
	struct target_machine m;
	enum state state;
	pid_t pid;
	int pid_fd, error_fd, serial_fd, agent_fd;
	struct qmp *qmp;
	struct guest *guest;
	struct loop_timer timer; /* CONNECTING: retry; RUNNING: ping, progress; STOPPING: kill */
	uint64_t limit_us, deadline_us; /* CONNECTING */
	bool running_said, agent_said;
	bool powering_off, never_ran;
	uint64_t button_us;	 /* it was pressed last */
	bool full;		 /* it waits for room on its disks */
	struct keep keep;
	struct room_needs *needs; /* measured before that; NULL: it is not */
	void (*picture_done)(void *context, const char *error); /* NULL: none is being taken */
	void *picture_context;
	char said[192];		 /* the last line on its standard error */
};

static void timer_fired(void *context);
static void read_error(void *context, uint32_t events);

/* When memory runs out a machine goes before the replication of all others; a test before one that is somebody's. */
static void set_oom_score(pid_t pid, bool is_somebodys)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, is_somebodys ? "50" : "300", is_somebodys ? 2 : 3);
	close(fd);
}

static void path_in(const struct target *t, char *ret, size_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static void path_in(const struct target *t, char *ret, size_t size, const char *format, ...)
{
	int n = snprintf(ret, size, "%s/", t->m.folder);
	va_list args;

	va_start(args, format);
	vsnprintf(ret + n, size - (size_t)n, format, args);
	va_end(args);
}

static void again_in(struct target *t, uint64_t us)
{
	t->timer.fire = timer_fired;
	t->timer.context = t;
	loop_set_timer(t->loop, &t->timer, monotonic_now_us() + us);
}

/* --- the end -------------------------------------------------------------------------- */

static void forget_line(struct target *t)
{
	if (!t->qmp)
		return;
	loop_unwatch(t->loop, qmp_fd(t->qmp));
	qmp_free(t->qmp);
	t->qmp = NULL;
}

static void let_go(struct target *t)
{
	forget_line(t);
	room_measure_free(t->needs);
	t->needs = NULL;
	guest_free(t->guest);
	t->guest = NULL;
	loop_close(t->loop, &t->pid_fd);
	loop_close(t->loop, &t->error_fd);
	loop_close(t->loop, &t->serial_fd);
	loop_close(t->loop, &t->agent_fd);
}

static void process_ended(void *context, uint32_t events)
{
	struct target *t = context;
	bool asked = t->state == STOPPING;
	struct fault f;
	int status = 0;

	(void)waitpid(t->pid, &status, 0);
	if (t->error_fd >= 0)
		read_error(t, 0); /* its last words, if they have not been read yet */
	asked |= t->powering_off && status == 0;
	if (t->never_ran) {
		asked = false;
		snprintf(t->said, sizeof(t->said), "it did not run yet");
	}
	t->pid = 0;
	t->state = STOPPED;
	loop_clear_timer(t->loop, &t->timer);
	let_go(t);
	keep_end(&t->keep, "the machine ended");
	if (!asked && !t->never_ran && !t->running_said && forwards_check(t->m.forwards, t->m.name, &f))
		t->events->failed(t->context, &f); /* somebody took a port since probe() */
	if (!t->said[0] && !asked)
		snprintf(t->said, sizeof(t->said), "qemu ended with status %d", status);
	t->events->stopped(t->context, asked ? NULL : t->said);
}

static void stop(struct target *t)
{
	if (t->state == STOPPING || t->state == STOPPED)
		return;
	t->state = STOPPING;
	if (t->qmp)
		qmp_command(t->qmp, "quit", NULL, NULL, NULL);
	else
		(void)kill(t->pid, SIGKILL);
	again_in(t, STOP_GRACE_US);
}

static void press_button(struct target *t)
{
	uint64_t now = monotonic_now_us();

	if (t->button_us && now < t->button_us + BUTTON_US)
		return;
	t->button_us = now;
	qmp_command(t->qmp, "system_powerdown", NULL, NULL, NULL);
}

static void power_off(struct target *t)
{
	t->powering_off = true;
	if (t->state == CONNECTING) {
		t->never_ran = true;
		stop(t);
	} else if (t->state == RUNNING) {
		press_button(t);
	}
}

/* --- what it says ------------------------------------------------------------------------ */

static void read_error(void *context, uint32_t events)
{
	struct target *t = context;
	char text[1024], *line;
	ssize_t n = read(t->error_fd, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(t->loop, &t->error_fd);
		return;
	}
	text[n] = 0;
	for (line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"))
		snprintf(t->said, sizeof(t->said), "%s", line);
}

static void read_serial(void *context, uint32_t events)
{
	struct target *t = context;
	char text[4096];
	ssize_t n = read(t->serial_fd, text, sizeof(text));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		loop_close(t->loop, &t->serial_fd);
	else
		t->events->output(t->context, text, (size_t)n);
}

static void read_agent(void *context, uint32_t events)
{
	struct target *t = context;
	char text[4096];
	ssize_t n = read(t->agent_fd, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(t->loop, &t->agent_fd);
		return;
	}
	text[n] = 0;
	if (!t->agent_said && strstr(text, "\"return\"")) {
		t->agent_said = true;
		t->events->agent(t->context);
	}
}

/* --- keeping ------------------------------------------------------------------------------ */

static void kept(void *context, const char *error)
{
	struct target *t = context;

	t->events->kept(t->context, error);
}

static void measured(void *context, int err, uint64_t needed_bytes)
{
	struct target *t = context;
	char why[192];

	room_measure_free(t->needs);
	t->needs = NULL;
	if (err)
		t->events->note(t->context, "how much room it needs for its own data is not known");
	if (!err && room_check(t->m.folder, t->m.is_beside_store, needed_bytes, why, sizeof(why)) == -ENOSPC)
		t->events->kept(t->context, why);
	else
		keep_begin(&t->keep, t->qmp, t->m.disk_count);
}

static void keep(struct target *t)
{
	set_oom_score(t->pid, true);
	if (!t->needs && room_measure(t->loop, t->m.folder, t->m.disk_count, measured, t, &t->needs))
		keep_begin(&t->keep, t->qmp, t->m.disk_count);
}

/* Others, and the machine itself, take room meanwhile. */
static void look_at_room(struct target *t)
{
	char why[192];

	if (t->m.is_beside_store && room_check(t->m.folder, true, 0, why, sizeof(why)) == -ENOSPC)
		keep_cancel(&t->keep, why);
}

/* Without room the machine is stopped by qemu (its default), and goes on when it is told to. */
static void disk_trouble(struct target *t, const json_t *data)
{
	const char *node = json_string_value(json_object_get(data, "node-name")) ?: "";
	const char *reason = json_string_value(json_object_get(data, "reason")) ?: "";
	const char *action = json_string_value(json_object_get(data, "action")) ?: "";

	if (strcmp(action, "stop") == 0)
		t->full = true;
	t->events->disk_trouble(t->context, strncmp(node, "disk", 4) == 0 ? node + 4 : node, reason, t->full);
}

static void line_event(void *context, const char *name, const json_t *data)
{
	struct target *t = context;

	keep_event(&t->keep, name, data);
	if (strcmp(name, "BLOCK_IO_ERROR") == 0)
		disk_trouble(t, data);
}

static void line_closed(void *context)
{
	struct target *t = context; /* the process's end follows */

	loop_unwatch(t->loop, qmp_fd(t->qmp));
}

static const struct qmp_ops line_ops = { .event = line_event, .closed = line_closed };

static void jobs_listed(void *context, const json_t *result, const char *error)
{
	struct target *t = context;
	uint64_t done = 0, total = 0;
	const json_t *job;
	size_t i;

	json_array_foreach(result, i, job) {
		done += (uint64_t)json_integer_value(json_object_get(job, "offset"));
		total += (uint64_t)json_integer_value(json_object_get(job, "len"));
	}
	if (!error && t->keep.wanted && total)
		t->events->progress(t->context, done, total);
}

/* --- coming up ------------------------------------------------------------------------------ */

static void read_line(void *context, uint32_t events)
{
	struct target *t = context;

	qmp_read(t->qmp);
}

static int connect_unix(const struct target *t, const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	path_in(t, a.sun_path, sizeof(a.sun_path), "%s", name);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void status_told(void *context, const json_t *result, const char *error)
{
	struct target *t = context;

	if (error || t->running_said || !json_is_true(json_object_get(result, "running")))
		return;
	t->running_said = true;
	t->state = RUNNING;
	t->events->started(t->context);
}

static void guest_ready(void *context)
{
	struct target *t = context;

	t->events->ready(t->context);
}

static void guest_ran(void *context, const char *name, int status, const char *output)
{
	struct target *t = context;

	t->events->ran(t->context, name, status, output);
}

static const struct guest_ops guest_ops = { .ready = guest_ready, .ran = guest_ran };

static int run(struct target *t, const char *name, const char *command)
{
	return t->guest ? guest_run(t->guest, name, command) : -ENOTCONN;
}

static void network_told(void *context, const json_t *result, const char *error)
{
	struct target *t = context;
	struct forwards made;

	if (error || !json_is_string(result) || forwards_find(json_string_value(result), t->m.forwards, &made))
		t->events->note(t->context, "which ports lead to it is not known");
	else
		t->events->forwarded(t->context, &made);
}

static void ask_for_ports(struct target *t)
{
	if (t->m.forwards && t->m.forwards->count)
		qmp_command(t->qmp, "human-monitor-command", json_pack("{s:s}", "command-line", "info usernet"),
			    network_told, t);
}

static void try_to_connect(struct target *t)
{
	char path[PATH_MAX];

	if (t->serial_fd < 0) {
		t->serial_fd = connect_unix(t, "serial.sock");
		if (t->serial_fd >= 0 && loop_watch(t->loop, t->serial_fd, EPOLLIN, read_serial, t))
			stop(t);
	}
	if (t->agent_fd < 0) {
		t->agent_fd = connect_unix(t, "agent.sock");
		if (t->agent_fd >= 0 && loop_watch(t->loop, t->agent_fd, EPOLLIN, read_agent, t))
			stop(t);
	}
	path_in(t, path, sizeof(path), "guest.sock");
	if (!t->guest)
		(void)!guest_connect(t->loop, path, &guest_ops, t, &t->guest);
	path_in(t, path, sizeof(path), "qmp.sock");
	if (!t->qmp && t->serial_fd >= 0 && qmp_connect(path, &line_ops, t, &t->qmp) == 0) {
		if (loop_watch(t->loop, qmp_fd(t->qmp), EPOLLIN, read_line, t))
			stop(t);
		ask_for_ports(t);
		/* It waits (-S) until its serial console is heard. */
		qmp_command(t->qmp, "cont", NULL, NULL, NULL);
	}
	if (t->qmp)
		qmp_command(t->qmp, "query-status", NULL, status_told, t);
}

static void timer_fired(void *context)
{
	struct target *t = context;
	static const char ping[] = "{\"execute\":\"guest-ping\"}\n";

	switch (t->state) {
	case CONNECTING:
		if (monotonic_now_us() > t->deadline_us) {
			snprintf(t->said, sizeof(t->said), "qemu did not answer within %llu s",
				 (unsigned long long)(t->limit_us / USEC_PER_SEC));
			(void)kill(t->pid, SIGKILL);
			return;
		}
		try_to_connect(t);
		again_in(t, t->state == CONNECTING ? RETRY_US : PROGRESS_US);
		return;
	case RUNNING:
		if (!t->agent_said && t->agent_fd >= 0)
			(void)!write(t->agent_fd, ping, sizeof(ping) - 1);
		if (t->full) {
			t->full = false;
			qmp_command(t->qmp, "cont", NULL, NULL, NULL);
		}
		if (t->powering_off)
			press_button(t);
		if (t->keep.wanted)
			look_at_room(t);
		if (t->keep.wanted)
			qmp_command(t->qmp, "query-block-jobs", NULL, jobs_listed, t);
		again_in(t, t->keep.wanted ? PROGRESS_US : AGENT_PING_US);
		return;
	case STOPPING:
		(void)kill(t->pid, SIGKILL);
		return;
	case STOPPED:
		return;
	}
}

/* --- before it starts ------------------------------------------------------------------------------ */

/* All of them, and on disk: a machine that stands alone has no others. */
static int copy_variables(const struct target_machine *m, struct fault *f)
{
	char path[PATH_MAX], *text;
	size_t length;
	int err = fileio_slurp(FIRMWARE_VARS, VARIABLES_MAX, &text, &length);

	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_FIRMWARE, "file", FIRMWARE_VARS, NULL);
	snprintf(path, sizeof(path), "%s/vars.fd", m->folder);
	err = fileio_replace(path, text, length, 0600);
	free(text);
	return err ? fault_set(f, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL) : 0;
}

static int check_memory(const struct target_machine *m, struct fault *f)
{
	uint64_t available = memory_free_bytes(m->folder);
	char wanted[32], there[32];

	if (available >= m->memory_bytes + MEMORY_SPARE)
		return 0;
	snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)((m->memory_bytes + MEMORY_SPARE) / MIB));
	snprintf(there, sizeof(there), "%llu", (unsigned long long)(available / MIB));
	return fault_set(f, -ENOMEM, MSG_LAUNCH_NO_MEMORY, "machine", m->name, "wanted", wanted, "available",
			 there, NULL);
}

/* One that has run before with more, on hardware that could, is its own proof. */
static int check_cpus(const struct target_machine *m, struct fault *f)
{
	if (m->cpus <= CPUS_MAX || m->again)
		return 0;
	return fault_set(f, -EINVAL, MSG_LAUNCH_BAD_SPEC, "member", "cpus, of which there can be 255", NULL);
}

static int check_network(const struct target_machine *m, struct fault *f)
{
	if (m->network == NETWORK_BRIDGE)
		return bridge_check(m->bridge, m->card_count, m->name, f);
	return forwards_check(m->forwards, m->name, f);
}

static int probe(const struct target_machine *m, struct fault *ret_fault)
{
	static const char *const programs[] = { QEMU, "qemu-img", "nbdkit", NULL };

	return check_cpus(m, ret_fault) ?: tool_need(programs, ret_fault) ?: check_network(m, ret_fault) ?:
	       check_memory(m, ret_fault);
}

/* --- start -------------------------------------------------------------------------------------------- */

/* @folder and nothing else to write to; @ports stay open in it. */
static void __attribute__((noreturn)) exec_qemu(char *const argv[], const char *folder,
						const struct bridge_ports *ports, int error_fd, pid_t parent)
{
	/* Where /etc/resolv.conf may lead to. */
	const struct confine_path paths[] = { { folder, true },
					      { "/run/systemd/resolve", false },
					      { "/run/NetworkManager", false },
					      { "/run/resolvconf", false },
					      { NULL, false } };
	sigset_t deaf;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	sigemptyset(&deaf);
	sigaddset(&deaf, SIGTERM);
	sigaddset(&deaf, SIGINT);
	sigaddset(&deaf, SIGHUP);
	(void)sigprocmask(SIG_SETMASK, &deaf, NULL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it had died before that */
		_exit(126);
	if (dup2(null, 0) < 0 || dup2(error_fd, 1) < 0 || dup2(error_fd, 2) < 0 || bridge_hand_on(ports) ||
	    tool_confine(paths))
		_exit(126);
	execvp(argv[0], argv);
	dprintf(2, "%s cannot be run: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int spawn(struct target *t, struct qemu_args *a, const struct bridge_ports *ports)
{
	pid_t parent = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	t->pid = fork();
	if (t->pid == 0)
		exec_qemu(a->v, t->m.folder, ports, fds[1], parent);
	close(fds[1]);
	t->error_fd = fds[0];
	if (t->pid < 0)
		return -errno;
	set_oom_score(t->pid, t->m.is_somebodys);
	t->pid_fd = pidfd_open(t->pid, 0);
	if (t->pid_fd < 0)
		return -errno;
	return loop_watch(t->loop, t->pid_fd, EPOLLIN, process_ended, t) ?:
	       loop_watch(t->loop, t->error_fd, EPOLLIN, read_error, t);
}

static void free_target(struct target *t)
{
	if (!t)
		return;
	loop_clear_timer(t->loop, &t->timer);
	if (t->pid > 0) {
		(void)kill(t->pid, SIGKILL);
		(void)waitpid(t->pid, NULL, 0);
	}
	let_go(t);
	free(t);
}

static int open_ports(const struct target_machine *m, struct bridge_ports *ret, struct fault *f)
{
	*ret = (struct bridge_ports){ .count = 0 };
	if (m->network != NETWORK_BRIDGE)
		return 0;
	return bridge_open_ports(m->bridge, m->macs, m->card_count, m->name, ret, f);
}

static void note_bridges(const struct target *t, unsigned int count)
{
	char line[HARDWARE_BRIDGES_SIZE + 96], name[HARDWARE_BRIDGE_SIZE];
	size_t used = (size_t)snprintf(line, sizeof(line), "its cards are, in their order, ports of bridges of this machine:");

	for (unsigned int i = 0; i < count; i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, " %s",
					 hardware_bridge_of(t->m.bridge, i, name));
	t->events->note(t->context, line);
}

/* @ports are qemu's alone from here on: they go when it does.  And what a machine says is heard without the right to
 * make others. */
static int run_qemu(struct target *t, struct bridge_ports *ports)
{
	struct qemu_args a = { .n = 0 };
	int err;

	qemu_args_build(&a, &t->m, ports);
	t->events->note(t->context, strcmp(a.accelerator, "kvm") == 0 ?
					    "its processors are this machine's (KVM)" :
					    "its processors are emulated (TCG), which is many times slower");
	if (ports->count)
		note_bridges(t, ports->count);
	t->deadline_us = monotonic_now_us() + t->limit_us; /* to find out which took its own time */
	err = a.failed ? -ENOMEM : confine_drop_capability(CAP_NET_ADMIN) ?: spawn(t, &a, ports);
	qemu_args_free(&a);
	bridge_close_ports(ports);
	return err;
}

static int start(struct loop *loop, const struct target_machine *m, const struct target_events *events, void *context,
		 struct target **ret, struct fault *ret_fault)
{
	struct bridge_ports ports;
	struct target *t;
	int err = m->firmware == FIRMWARE_UEFI && !m->again ? copy_variables(m, ret_fault) : 0;

	if (err)
		return err;
	err = open_ports(m, &ports, ret_fault);
	if (err)
		return err;
	t = calloc(1, sizeof(*t));
	if (!t) {
		bridge_close_ports(&ports);
		return fault_set(ret_fault, -ENOMEM, MSG_LAUNCH_NOT_STARTED, "reason", strerror(ENOMEM), NULL);
	}
	*t = (struct target){ .loop = loop, .events = events, .context = context, .m = *m,
			      .pid_fd = -1, .error_fd = -1, .serial_fd = -1, .agent_fd = -1,
			      .limit_us = m->again ? CONNECT_AGAIN_US : CONNECT_US };
	t->keep = (struct keep){ .done = kept, .context = t };
	err = run_qemu(t, &ports);
	if (err) {
		free_target(t);
		return fault_set(ret_fault, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL);
	}
	again_in(t, RETRY_US);
	*ret = t;
	return 0;
}

/* --- a picture ------------------------------------------------------------------------------------------ */

static void picture_taken(void *context, const json_t *result, const char *error)
{
	struct target *t = context;
	void (*done)(void *context, const char *error) = t->picture_done;

	t->picture_done = NULL;
	done(t->picture_context, error);
}

static void screenshot(struct target *t, const char *png_path, void (*done)(void *context, const char *error),
		       void *context)
{
	if (!t->qmp || t->picture_done) {
		done(context, t->qmp ? "a picture is being taken already" : "qemu is not connected");
		return;
	}
	t->picture_done = done;
	t->picture_context = context;
	qmp_command(t->qmp, "screendump", json_pack("{s:s,s:s}", "filename", png_path, "format", "png"),
		    picture_taken, t);
}

const struct target_ops target_qemu = {
	.name = "qemu",
	.probe = probe,
	.start = start,
	.screenshot = screenshot,
	.run = run,
	.keep = keep,
	.power_off = power_off,
	.stop = stop,
	.free = free_target,
};
