/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports - points of a machine served over NBD, one nbdkit for each disk.
 *
 *	STARTING --- every nbdkit is ready --> SERVING --- unexport, death --> ENDING --> (gone)
 *	    '------------ one of them dies, or the time is over --------------^
 *
 * The listening sockets are made here and handed over (LISTEN_FDS), so that
 * the kernel chooses TCP ports and there is no moment in which a URI that was
 * given out does not answer.  nbdkit writes its pid into a pipe when it is
 * ready.  It has no capabilities, and with Landlock it writes nowhere but in
 * the folder of the exports.
 */
#ifndef GODWIT_EXPORTS_H
#define GODWIT_EXPORTS_H

#include "base.h"
#include "message.h"
#include "server.h"
#include <jansson.h>
#include <sys/types.h>

#define EXPORTS_MAX 64u
#define EXPORTS_START_US (20 * 1000000ULL)
#define EXPORTS_END_GRACE_US (3 * 1000000ULL)

struct exports;

struct export_request {
	struct uuid machine;
	const char *at, *disk; /* @disk: id or name, NULL: all */
	bool writable;
	const char *listen; /* NULL or "unix"; or a numeric address */

	/* Once: with {export, machine, point, writable, disks: [{disk, name,
	 * size_bytes, uri}]}, borrowed, or with a fault. */
	void (*done)(void *context, const json_t *export, const struct fault *fault);
	void *context;
};

_must_check_ int exports_new(struct server *s, struct exports **ret);
void exports_free(struct exports *x);

void exports_start(struct exports *x, const struct export_request *q);
_must_check_ int exports_stop(struct exports *x, const char *id); /* -ENOENT */
void exports_stop_machine(struct exports *x, const struct uuid *machine);
json_t *exports_list(const struct exports *x); /* a new array */
size_t exports_of(const struct exports *x, const struct uuid *machine); /* also those that are ending */

void exports_shut(struct exports *x);
bool exports_is_idle(const struct exports *x);

/* The main process reaped @pid: true if it was one of ours. */
bool exports_reaped(struct exports *x, pid_t pid, int status);

#endif
