/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker is over when it has been reaped and its pipe has been read to the
 * end, whichever comes last: only then is done() called, and the worker freed.
 */
#include "worker.h"
#include "confine.h"
#include "fileio.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NICE_IDLE 10
#define IOPRIO_IDLE (3 << 13) /* IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) */
#define IOPRIO_WHO_PROCESS 1

struct worker {
	struct loop *loop;
	struct worker *next;
	pid_t pid; /* 0: reaped */
	int out_fd; /* -1: read to the end */
	int err;
	bool timed_out;
	char *result;
	size_t len, room;
	struct loop_timer deadline;
	void (*done)(void *context, int err, const char *result, size_t len);
	void *context;
};

static struct worker *workers;
static volatile sig_atomic_t asked_to_stop;

static void ask_to_stop(int signal_number)
{
	asked_to_stop = 1;
}

bool worker_asked_to_stop(void)
{
	return asked_to_stop;
}

/* --- the child ------------------------------------------------------------------- */

static void reset_signals(void)
{
	struct sigaction stop = { .sa_handler = ask_to_stop };
	sigset_t none;

	(void)sigaction(SIGTERM, &stop, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static int confine_worker(const struct worker_options *o)
{
	const struct confine_path paths[] = { { o->parent ? o->parent : o->dir, true }, { NULL, false } };
	bool active;
	int err = confine_capabilities(NULL, 0);

	return err ? err : confine_paths(paths, &active);
}

static void __attribute__((noreturn)) run_child(const struct worker_options *o, int out_fd)
{
	int err;

	reset_signals();
	if (dup2(out_fd, 3) < 0)
		_exit(EIO);
	(void)close_range(4, ~0u, 0);
	(void)fcntl(3, F_SETFD, FD_CLOEXEC);
	if (o->idle) {
		(void)setpriority(PRIO_PROCESS, 0, NICE_IDLE);
		(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	}
	err = confine_worker(o);
	if (!err)
		err = o->work(o->argument, o->argument_size, o->dir, 3);
	_exit(err < 0 && err > -256 ? -err : 0);
}

/* --- the parent ------------------------------------------------------------------ */

static void finish_if_over(struct worker *w)
{
	if (w->pid || w->out_fd >= 0)
		return;
	for (struct worker **p = &workers; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			break;
		}
	}
	loop_clear_timer(w->loop, &w->deadline);
	w->done(w->context, w->timed_out ? -ETIMEDOUT : w->err, w->result, w->len);
	free(w->result);
	free(w);
}

static int grow_result(struct worker *w)
{
	size_t room = w->room ? w->room * 2 : 64 * KIB;
	char *p;

	if (w->len < w->room)
		return 0;
	if (room > WORKER_RESULT_BYTES_MAX)
		return -EFBIG;
	p = realloc(w->result, room);
	if (!p)
		return -ENOMEM;
	w->result = p;
	w->room = room;
	return 0;
}

static void read_result(void *context, uint32_t events)
{
	struct worker *w = context;
	ssize_t n = -1;

	if (grow_result(w) == 0)
		n = read(w->out_fd, w->result + w->len, w->room - w->len);
	else if (w->pid)
		(void)kill(w->pid, SIGKILL);
	if (n > 0) {
		w->len += (size_t)n;
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR) && w->len < w->room)
		return;
	loop_unwatch(w->loop, w->out_fd);
	close(w->out_fd);
	w->out_fd = -1;
	finish_if_over(w);
}

static void deadline_passed(void *context)
{
	struct worker *w = context;

	w->timed_out = true;
	if (w->pid)
		(void)kill(w->pid, SIGKILL);
}

bool worker_reaped(pid_t pid, int status)
{
	for (struct worker *w = workers; w; w = w->next) {
		if (w->pid != pid)
			continue;
		w->pid = 0;
		w->err = WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
		finish_if_over(w);
		return true;
	}
	return false;
}

void worker_stop(struct worker *w)
{
	if (w->pid)
		(void)kill(w->pid, SIGTERM);
}

void worker_kill(struct worker *w)
{
	if (w->pid)
		(void)kill(w->pid, SIGKILL);
}

static int start_child(struct worker *w, const struct worker_options *o)
{
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	err = loop_watch(w->loop, fds[0], EPOLLIN, read_result, w);
	if (!err) {
		w->pid = fork();
		if (w->pid == 0)
			run_child(o, fds[1]);
		err = w->pid < 0 ? -errno : 0;
	}
	close(fds[1]);
	if (err) {
		loop_unwatch(w->loop, fds[0]);
		close(fds[0]);
		return err;
	}
	w->out_fd = fds[0];
	return 0;
}

int worker_start(struct loop *loop, const struct worker_options *o, struct worker **ret)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->loop = loop;
	w->done = o->done;
	w->context = o->context;
	err = start_child(w, o);
	if (err) {
		free(w);
		return err;
	}
	w->next = workers;
	workers = w;
	if (o->timeout_us) {
		w->deadline.fire = deadline_passed;
		w->deadline.context = w;
		loop_set_timer(loop, &w->deadline, monotonic_now_us() + o->timeout_us);
	}
	if (ret)
		*ret = w;
	return 0;
}
