// SPDX-License-Identifier: Apache-2.0
/*
 * pointwatch DIR - watch a store and print "POINT_TIME_US SEEN_US" for each
 * new point, within a few milliseconds of its commit record being written.
 * Ends on SIGTERM.
 *
 * It looks often while others are being measured, so a look must cost next to
 * nothing: it goes on in the newest journal where the look before ended, from
 * header to header.  Opening the list of points each time would read all of
 * the tail, and the newest epoch's payloads as well.
 */
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "dat.h"
#include "store.h"

#define LOOK_EVERY_NS 4000000

struct watch {
	const char *dir;
	uint64_t last_us; /* of the newest point that was printed */
	uint32_t number;  /* of the journal; 0: none yet */
	struct dat dat;
	struct dat_walk walk;
};

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
	stopping = sig;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* What was written since. */
static void walk_on(struct watch *w)
{
	const uint8_t *payload;
	uint64_t position;
	struct record r;

	w->walk.window_bytes = 0; /* the file has grown */
	while (dat_walk_next(&w->walk, false, &r, &position, &payload) > 0) {
		if (r.type != RECORD_COMMIT || !(r.codec & STORE_EPOCH_POINT) || r.offset_bytes <= w->last_us)
			continue;
		w->last_us = r.offset_bytes;
		printf("%" PRIu64 " %" PRIu64 "\n", w->last_us, now_us());
	}
}

static void leave_journal(struct watch *w)
{
	dat_walk_end(&w->walk);
	dat_close(&w->dat);
}

struct choice {
	uint32_t after, next, newest;
};

static int choose(void *context, const char *name)
{
	struct choice *c = context;
	uint32_t number;

	if (!data_name_parse(name, &number) || number & DATA_COLLECTED || number <= c->after)
		return 0;
	c->next = c->next && c->next < number ? c->next : number;
	c->newest = c->newest > number ? c->newest : number;
	return 0;
}

/* The journal after this one; the newest one to begin with.  false: there is none yet. */
static bool change_journal(struct watch *w)
{
	struct choice c = { .after = w->number };
	struct dat next;
	uint32_t number;

	if (store_sys_default.list(&store_sys_default, w->dir, choose, &c) || !c.newest)
		return false;
	number = w->number ? c.next : c.newest;
	if (dat_open(&store_sys_default, w->dir, number, &next) < 0)
		return false; /* its header is not written yet */
	if (w->number) {
		walk_on(w); /* to its end: nothing is added to it any more */
		leave_journal(w);
	}
	w->number = number;
	w->dat = next;
	if (dat_walk_begin(&w->dat, &w->walk) < 0)
		errx(1, "no memory");
	return true;
}

static void look(struct watch *w)
{
	do {
		if (w->number)
			walk_on(w);
	} while (change_journal(w));
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct watch w = { .last_us = now_us() };

	if (argc != 2)
		errx(2, "usage: pointwatch DIR");
	w.dir = argv[1];
	setlinebuf(stdout);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	while (!stopping) {
		look(&w);
		nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
	}
	if (w.number)
		leave_journal(&w);
	return 0;
}
