/* SPDX-License-Identifier: Apache-2.0 */
#include "convert.h"
#include "fileio.h"
#include "log.h"
#include "tool.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM	    "godwit-convert"
#define DEADLINE_US (45 * 60 * USEC_PER_SEC) /* without hardware virtualisation it is slow */
#define GRACE_MS    4000

struct convert {
	struct loop *loop;
	struct convert_options o;
	pid_t pid;
	int pid_fd, out_fd;
	struct loop_timer deadline;
	size_t used;
	char line[1024];
	char error[512]; /* its last word, if it fails */
};

const char *convert_mac(const struct uuid *launch, unsigned int card, char ret[CONVERT_MAC_SIZE])
{
	unsigned char last = (unsigned char)(launch->bytes[2] ^ card);

	assert(card < HARDWARE_CARDS_MAX);
	snprintf(ret, CONVERT_MAC_SIZE, "52:54:00:%02x:%02x:%02x", launch->bytes[0], launch->bytes[1], last);
	return ret;
}

/* Beside this program, or where programs are. */
static bool find_program(char ret[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - sizeof("/" PROGRAM));
	char *slash;

	if (n <= 0)
		return false;
	ret[n] = 0;
	slash = strrchr(ret, '/');
	strcpy(slash ? slash + 1 : ret, PROGRAM);
	if (access(ret, X_OK) == 0)
		return true;
	strcpy(ret, PROGRAM);
	return tool_is_there(PROGRAM);
}

bool convert_available(void)
{
	char path[PATH_MAX];

	return find_program(path) && tool_is_there("supermin");
}

static void __attribute__((noreturn)) exec_convert(const struct convert_options *o, int out, pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char path[PATH_MAX], disks[16];
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* then it takes its own things away */
	(void)setpgid(0, 0);
	if (getppid() != parent) /* it had died before that */
		_exit(126);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || !find_program(path))
		_exit(126);
	snprintf(disks, sizeof(disks), "%u", o->disk_count);
	execlp(path, PROGRAM, o->folder, disks, hardware_bus_name(o->bus), (char *)NULL);
	_exit(127);
}

/* Its process is gone. */
static void let_go(struct convert *c)
{
	char path[PATH_MAX];

	loop_clear_timer(c->loop, &c->deadline);
	loop_close(c->loop, &c->pid_fd);
	loop_close(c->loop, &c->out_fd);
	snprintf(path, sizeof(path), "%s/" CONVERT_FOLDER, c->o.folder);
	(void)!fileio_remove_tree(path); /* it may have been killed */
}

void convert_stop(struct convert *c)
{
	struct pollfd p;

	if (!c)
		return;
	if (c->pid > 0) {
		p = (struct pollfd){ .fd = c->pid_fd, .events = POLLIN };
		(void)kill(c->pid, SIGTERM);
		if (poll(&p, 1, GRACE_MS) <= 0)
			(void)kill(c->pid, SIGKILL);
		(void)kill(-c->pid, SIGKILL); /* whatever it had started */
		(void)waitpid(c->pid, NULL, 0);
	}
	let_go(c);
	free(c);
}

/* "step ..." is one; whatever else it says is why it failed, if it does. */
static void take_line(struct convert *c)
{
	if (strncmp(c->line, "step ", 5) == 0) {
		c->o.step(c->o.context, c->line + 5);
	} else if (c->line[0]) {
		log_info("%s: %s", PROGRAM, c->line);
		snprintf(c->error, sizeof(c->error), "%.511s", c->line);
	}
	c->used = 0;
}

static void take_output(struct convert *c)
{
	char text[512];
	ssize_t n;

	while (c->out_fd >= 0 && (n = read(c->out_fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != '\n' && c->used < sizeof(c->line) - 1)
				c->line[c->used++] = text[i] ? text[i] : ' ';
			c->line[c->used] = 0;
			if (text[i] == '\n')
				take_line(c);
		}
	}
}

static void output_came(void *context, uint32_t events)
{
	struct convert *c = context;

	take_output(c);
	if (events & EPOLLHUP)
		loop_close(c->loop, &c->out_fd);
}

static void ended(void *context, uint32_t events)
{
	struct convert *c = context;
	char error[sizeof(c->error)]; /* done() may free all of it */
	int status = 0;

	take_output(c);
	(void)kill(-c->pid, SIGKILL); /* what it had started, if it could not see to that */
	(void)waitpid(c->pid, &status, 0);
	c->pid = 0;
	let_go(c);
	snprintf(error, sizeof(error), "%s", c->error[0] ? c->error : PROGRAM " was killed");
	c->o.done(c->o.context, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : error);
}

static void too_late(void *context)
{
	struct convert *c = context;

	snprintf(c->error, sizeof(c->error), "it took longer than %llu minutes",
		 (unsigned long long)(DEADLINE_US / USEC_PER_SEC / 60));
	(void)kill(-c->pid, SIGKILL); /* then ended() */
}

static int start(struct convert *c)
{
	pid_t parent = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	c->pid = fork();
	if (c->pid == 0)
		exec_convert(&c->o, fds[1], parent);
	close(fds[1]);
	c->out_fd = fds[0];
	if (c->pid < 0)
		return -errno;
	c->pid_fd = pidfd_open(c->pid, 0);
	if (c->pid_fd < 0)
		return -errno;
	c->deadline.fire = too_late;
	c->deadline.context = c;
	loop_set_timer(c->loop, &c->deadline, monotonic_now_us() + DEADLINE_US);
	return loop_watch(c->loop, c->pid_fd, EPOLLIN, ended, c) ?:
	       loop_watch(c->loop, c->out_fd, EPOLLIN, output_came, c);
}

int convert_start(struct loop *loop, const struct convert_options *o, struct convert **ret)
{
	struct convert *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct convert){ .loop = loop, .o = *o, .pid_fd = -1, .out_fd = -1 };
	err = start(c);
	if (err)
		convert_stop(c);
	else
		*ret = c;
	return err;
}
