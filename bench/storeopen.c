// SPDX-License-Identifier: Apache-2.0
/*
 * storeopen DIR [COUNT] - open so many points chosen at random and read the
 * first block of each, in a process of its own every time as nbdkit would;
 * prints the milliseconds of each, one a line.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store.h"

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int open_and_read(const char *dir, uint64_t epoch)
{
	double begin = now_ms();
	struct store_reader *reader;
	uint8_t block[BLOCK_BYTES];
	int r = store_reader_open(dir, &store_sys_default, epoch, &reader);

	if (r == 0)
		r = store_read(reader, 0, 0, sizeof(block), block);
	if (r < 0)
		errx(1, "epoch %" PRIu64 ": %s", epoch, strerror(-r));
	printf("%.2f\n", now_ms() - begin);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct store_points *points;
	int count = argc > 2 ? atoi(argv[2]) : 20;
	int r;

	if (argc < 2)
		errx(2, "usage: storeopen DIR [COUNT]");
	r = store_points_open(argv[1], &store_sys_default, &points);
	if (r < 0)
		errx(1, "%s: %s", argv[1], strerror(-r));
	srandom(1);
	for (int i = 0; i < count; i++) {
		size_t index = (size_t)random() % store_points_count(points);
		int status = 1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(open_and_read(argv[1], store_points_get(points, index)->epoch));
		if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
			errx(1, "a child failed");
	}
	store_points_close(points);
	return 0;
}
