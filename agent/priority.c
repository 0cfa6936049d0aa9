/* SPDX-License-Identifier: Apache-2.0 */
/*
 * priority - the processors are the source's first: how the agent's thread is scheduled.
 *
 * While much is still to be read before a point can be called (the first scan, a
 * comparison after a reboot, a source that writes faster than can be sent), nothing
 * is lost if the agent takes a little longer, so it takes only what no other thread
 * wants (SCHED_IDLE: a thread that wakes up has its processor at once).  While it
 * follows the source it runs as it was started: that costs little, and a ring that
 * is not emptied costs the source more.
 *
 * A source may have no processor to spare for hours.  So the kernel is asked how
 * long the thread was kept waiting (schedstat, Documentation/scheduler/sched-stats.rst):
 * if for most of LOOK_US, it is a nice 10 among the others for LOW_US (a tenth of a
 * processor beside one thread that never sleeps), and then tries again.
 *
 * Where sessions are groups of their own (autogroup, sched(7)), a thread's level
 * counts among its session's only; so the session's is set as well, if it is the
 * agent's own.
 */
#include "priority.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#define BEHIND_US 200000u  /* for so long, before it is acted upon */
#define LOOK_US	  250000u
#define LOW_US	  10000000u
#define LOW_NICE  10

static bool can_raise(void)
{
	cap_flag_value_t has = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (caps)
		(void)cap_get_flag(caps, CAP_SYS_NICE, CAP_EFFECTIVE, &has);
	cap_free(caps);
	return has == CAP_SET;
}

void priority_begin(struct priority *p)
{
	*p = (struct priority){ .thread_fd = -1 };
	if (!can_raise() || sched_getscheduler(0) != SCHED_OTHER)
		return;
	p->nice = getpriority(PRIO_PROCESS, 0);
	p->own_session = getsid(0) == getpid();
	p->thread_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void priority_end(struct priority *p)
{
	if (p->thread_fd >= 0)
		close(p->thread_fd);
	p->thread_fd = -1;
}

/* Where there is no autogroup, there is no such file. */
static void set_session(int nice)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!dprintf(fd, "%d", nice);
	close(fd);
}

static void set(struct priority *p, enum priority_level level)
{
	int policy = level == PRIORITY_LEFTOVER ? SCHED_IDLE : SCHED_OTHER;
	int nice = level == PRIORITY_AS_STARTED ? p->nice : MAX(p->nice, LOW_NICE);

	(void)sched_setscheduler(0, policy, &(struct sched_param){ 0 });
	(void)setpriority(PRIO_PROCESS, 0, nice);
	if (p->own_session)
		set_session(level == PRIORITY_LEFTOVER ? 19 : nice);
	p->level = level;
}

/* Microseconds; what was known, where the kernel does not say. */
static uint64_t waited_us(const struct priority *p)
{
	char text[80];
	uint64_t ran_ns, waited_ns;
	ssize_t n = pread(p->thread_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return p->waited_us;
	text[n] = '\0';
	return sscanf(text, "%" SCNu64 " %" SCNu64, &ran_ns, &waited_ns) == 2 ? waited_ns / 1000 : p->waited_us;
}

void priority_lift(struct priority *p)
{
	if (p->level != PRIORITY_AS_STARTED)
		set(p, PRIORITY_AS_STARTED);
	p->behind_since_us = 0;
}

bool priority_looks(const struct priority *p, bool behind, uint64_t now_us)
{
	return behind && now_us - p->looked_us >= LOOK_US;
}

enum priority_level priority_choose(struct priority *p, bool behind, uint64_t now_us, uint64_t waited_us)
{
	if (priority_looks(p, behind, now_us)) {
		if (p->level == PRIORITY_LEFTOVER && waited_us - p->waited_us > (now_us - p->looked_us) / 8 * 7)
			p->low_until_us = now_us + LOW_US;
		p->looked_us = now_us;
		p->waited_us = waited_us;
	}
	if (!behind) {
		p->behind_since_us = 0;
		return PRIORITY_AS_STARTED;
	}
	if (!p->behind_since_us)
		p->behind_since_us = now_us;
	if (now_us - p->behind_since_us < BEHIND_US)
		return PRIORITY_AS_STARTED;
	return now_us < p->low_until_us ? PRIORITY_LOW : PRIORITY_LEFTOVER;
}

void priority_run(struct priority *p, bool behind, uint64_t now_us)
{
	enum priority_level level;

	if (p->thread_fd < 0)
		return;
	level = priority_choose(p, behind, now_us, priority_looks(p, behind, now_us) ? waited_us(p) : 0);
	if (level != p->level)
		set(p, level);
}
