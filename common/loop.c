/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watch is found by its descriptor's number and a generation, so that an
 * event for a descriptor closed and reused within one turn reaches nobody.
 */
#include "loop.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct watch {
	uint32_t generation; /* odd while watched */
	void (*ready)(void *context, uint32_t events);
	void *context;
};

struct loop {
	int epoll_fd;
	struct watch *watches; /* by descriptor */
	size_t watch_count;
	struct loop_timer *timers; /* soonest first */
};

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		int err = -errno;

		free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	close(l->epoll_fd);
	free(l->watches);
	free(l);
}

static int grow_watches(struct loop *l, size_t count)
{
	struct watch *w;

	if (count <= l->watch_count)
		return 0;
	w = realloc(l->watches, count * sizeof(*w));
	if (!w)
		return -ENOMEM;
	memset(w + l->watch_count, 0, (count - l->watch_count) * sizeof(*w));
	l->watches = w;
	l->watch_count = count;
	return 0;
}

int loop_watch(struct loop *l, int fd, uint32_t events, void (*ready)(void *context, uint32_t events), void *context)
{
	struct epoll_event e = { .events = events };
	struct watch *w;
	int err = grow_watches(l, (size_t)fd + 1);

	if (err)
		return err;
	w = &l->watches[fd];
	assert(w->generation % 2 == 0);
	e.data.u64 = (uint64_t)(w->generation + 1) << 32 | (uint32_t)fd;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e))
		return -errno;
	w->generation++;
	w->ready = ready;
	w->context = context;
	return 0;
}

void loop_unwatch(struct loop *l, int fd)
{
	if (fd < 0 || (size_t)fd >= l->watch_count || l->watches[fd].generation % 2 == 0)
		return;
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	l->watches[fd].generation++;
}

void loop_close(struct loop *l, int *fd)
{
	if (*fd < 0)
		return;
	loop_unwatch(l, *fd);
	close(*fd);
	*fd = -1;
}

void loop_clear_timer(struct loop *l, struct loop_timer *t)
{
	for (struct loop_timer **p = &l->timers; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	t->at_us = 0;
	t->next = NULL;
}

void loop_set_timer(struct loop *l, struct loop_timer *t, uint64_t at_us)
{
	struct loop_timer **p = &l->timers;

	loop_clear_timer(l, t);
	while (*p && (*p)->at_us <= at_us)
		p = &(*p)->next;
	t->at_us = at_us;
	t->next = *p;
	*p = t;
}

static int wait_ms(const struct loop *l)
{
	uint64_t now = monotonic_now_us();

	if (!l->timers)
		return -1;
	if (l->timers->at_us <= now)
		return 0;
	return (int)MIN((l->timers->at_us - now + 999) / 1000, 1000000u);
}

static void fire_timers(struct loop *l)
{
	uint64_t now = monotonic_now_us();

	while (l->timers && l->timers->at_us <= now) {
		struct loop_timer *t = l->timers;

		loop_clear_timer(l, t);
		t->fire(t->context);
	}
}

int loop_turn(struct loop *l)
{
	struct epoll_event events[64];
	int n = epoll_wait(l->epoll_fd, events, ARRAY_LEN(events), wait_ms(l));

	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n; i++) {
		const struct watch *w = &l->watches[(uint32_t)events[i].data.u64];

		if (w->generation == events[i].data.u64 >> 32)
			w->ready(w->context, events[i].events);
	}
	fire_timers(l);
	return 0;
}
