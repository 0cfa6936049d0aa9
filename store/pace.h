/* SPDX-License-Identifier: Apache-2.0 */
/* pace - background work that does not take more of the disk than it may, and
 * that stops when it is asked to. */
#ifndef GODWIT_STORE_PACE_H
#define GODWIT_STORE_PACE_H

#include "sys.h"
#include <errno.h>

struct pace {
	const struct store_sys *sys;
	uint64_t bytes_per_second; /* 0: no limit */
	bool (*stop)(void *context, uint64_t bytes_done);
	void *context;
	uint64_t begun_us, done, asked;
};

#define PACE_STEP (1 * MIB)

/* @bytes were moved: waits as long as they are worth.  -ECANCELED: stop. */
_must_check_ static inline int pace_step(struct pace *p, uint64_t bytes)
{
	uint64_t due, spent;

	p->done += bytes;
	if (p->done - p->asked < PACE_STEP)
		return 0;
	p->asked = p->done;
	if (p->stop && p->stop(p->context, p->done))
		return -ECANCELED;
	if (p->bytes_per_second) {
		due = (uint64_t)((double)p->done * 1e6 / (double)p->bytes_per_second);
		spent = p->sys->now_us(p->sys) - p->begun_us;
		if (due > spent)
			p->sys->pause(p->sys, MIN(due - spent, 1000000ULL));
	}
	return 0;
}

#endif
