// SPDX-License-Identifier: Apache-2.0
/*
 * pointwatch DIR - watch a store and print "POINT_TIME_US SEEN_US" for each
 * new point, within a few milliseconds of its commit record being written.
 * Ends on SIGTERM.
 */
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "store.h"

#define LOOK_EVERY_NS 4000000

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

/* Print what is newer than @last_us; the newest time there is. */
static uint64_t look(const char *dir, uint64_t last_us)
{
	struct store_points *points;
	uint64_t seen_us;
	size_t count, first;
	int r = store_points_open(dir, &store_sys_default, &points);

	if (r < 0)
		return last_us;
	seen_us = now_us();
	count = first = store_points_count(points);
	while (first > 0 && store_points_get(points, first - 1)->time_us > last_us)
		first--;
	for (; first < count; first++) {
		last_us = store_points_get(points, first)->time_us;
		printf("%" PRIu64 " %" PRIu64 "\n", last_us, seen_us);
	}
	store_points_close(points);
	return last_us;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	uint64_t last_us = now_us();

	if (argc != 2)
		errx(2, "usage: pointwatch DIR");
	setlinebuf(stdout);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	while (!stopping) {
		last_us = look(argv[1], last_us);
		nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
	}
	return 0;
}
