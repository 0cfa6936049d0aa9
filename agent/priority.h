/* SPDX-License-Identifier: Apache-2.0 */
/* priority - the processors are the source's first: how the agent's thread is scheduled. */
#ifndef GODWIT_PRIORITY_H
#define GODWIT_PRIORITY_H

#include "base.h"

enum priority_level {
	PRIORITY_AS_STARTED,
	PRIORITY_LOW,	     /* nice 10, or what it was started with where that is more */
	PRIORITY_LEFTOVER,   /* SCHED_IDLE: what no other thread wants */
};

struct priority {
	int thread_fd;	     /* schedstat of the thread; -1: its level is left alone */
	bool own_session;
	int nice;	     /* as started */
	enum priority_level level;
	uint64_t behind_since_us; /* 0: it is not */
	uint64_t low_until_us;
	uint64_t looked_us, waited_us;
};

/* For the calling thread, which every later call must come from.  Where its
 * level could not be raised again (CAP_SYS_NICE), was chosen by somebody (a
 * policy other than the default) or how long it waits is not known, it is left alone. */
void priority_begin(struct priority *p);
void priority_end(struct priority *p);

/* Once a turn of the loop: @behind: much is still to be read before a point can be called. */
void priority_run(struct priority *p, bool behind, uint64_t now_us);

/* Before a child is started: it would inherit the level, and could not change it. */
void priority_lift(struct priority *p);

/* What priority_run decides.  @waited_us: how long, in all, the thread was ready to run
 * and another had its processor; looked at only when priority_looks. */
enum priority_level priority_choose(struct priority *p, bool behind, uint64_t now_us, uint64_t waited_us);
bool priority_looks(const struct priority *p, bool behind, uint64_t now_us);

#endif
