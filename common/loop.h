/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop - descriptors and deadlines of a process: the server's main one, a launch.
 *
 * One thread.  A callback may add and remove anything, itself included.
 */
#ifndef GODWIT_LOOP_H
#define GODWIT_LOOP_H

#include "base.h"

struct loop;

/* Embedded by its owner, which zeroes it before first use. */
struct loop_timer {
	uint64_t at_us; /* monotonic; 0: not set */
	void (*fire)(void *context);
	void *context;
	struct loop_timer *next;
};

_must_check_ int loop_new(struct loop **ret);
void loop_free(struct loop *l);

/* @ready is called with the EPOLL... events for as long as the descriptor is watched. */
_must_check_ int loop_watch(struct loop *l, int fd, uint32_t events, void (*ready)(void *context, uint32_t events),
			    void *context);
void loop_unwatch(struct loop *l, int fd); /* before the descriptor is closed */
void loop_close(struct loop *l, int *fd);  /* both, if it is open (>= 0), and it is -1 then */

/* Once, at or after @at_us; setting it again moves it. */
void loop_set_timer(struct loop *l, struct loop_timer *t, uint64_t at_us);
void loop_clear_timer(struct loop *l, struct loop_timer *t);

/* Wait for events and call back once round. */
_must_check_ int loop_turn(struct loop *l);

#endif
