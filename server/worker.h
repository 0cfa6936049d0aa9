/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker - work on one machine's store in a child process.
 *
 * The files of a store hold what a stranger sent, and reading them takes
 * time; so the main process never opens them.  A worker has no capabilities,
 * sees one folder, and leaves its result as bytes.
 */
#ifndef GODWIT_WORKER_H
#define GODWIT_WORKER_H

#include "base.h"
#include "loop.h"
#include <sys/types.h>

#define WORKER_RESULT_BYTES_MAX (256 * MIB)

struct worker;

struct worker_options {
	const char *dir;     /* what it may read and write ... */
	const char *parent;  /* ... or, if not NULL, the folder around it */
	bool idle;	     /* only when nothing else wants processor or disk */
	uint64_t timeout_us; /* killed after it; 0: never */

	/* In the child: write the result to @out_fd, return 0 or -errno. */
	int (*work)(const void *argument, size_t size, const char *dir, int out_fd);
	const void *argument; /* copied by the fork */
	size_t argument_size;

	/* In the parent, when it is over: @err is what work() returned, or
	 * -ECHILD if it died, -ETIMEDOUT if it was killed. */
	void (*done)(void *context, int err, const char *result, size_t len);
	void *context;
};

_must_check_ int worker_start(struct loop *loop, const struct worker_options *o, struct worker **ret);

/* SIGTERM; done() is still called.  Upkeep and scrub ask for it between their steps
 * (worker_asked_to_stop()); what takes no time goes on to its end. */
void worker_stop(struct worker *w);

/* SIGKILL, when the program ends: it is not waited for, and done() may not be called.  A store
 * takes no harm. */
void worker_kill(struct worker *w);

/* In the child. */
bool worker_asked_to_stop(void);

/* The main process reaped @pid: true if it was a worker. */
bool worker_reaped(pid_t pid, int status);

#endif
