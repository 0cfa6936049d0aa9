/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launches - machines started from points on this server.
 *
 *	RESOLVING --- which point --> SPAWNING --- godwit-launch runs --> THERE --- removed --> (gone)
 *	    '-------------- a fault is answered, nothing is left ---^
 *
 * Each launch is a process of its own, godwit-launch (targets/launch.h), with a
 * folder of its own, launches/<id>/; it outlives this process and is found again
 * by its folder.  What this module knows of it is read from there once a second:
 *
 *	spec.json	what it was started with, and machine_id
 *	launch.json	its record; what the console is told
 *	launch.pid	locked for as long as its process lives
 *
 * N1	A launch whose process is gone and whose record has no end is buried: what
 *	it had started is ended, its sockets and disks go, its record says
 *	LAUNCH_KILLED.  The disks of a machine that is somebody's (N3) stay.
 * N2	Of launches that are over, so many are kept: LAUNCHES_OVER_MAX; but none goes while
 *	there are disks in its folder, before it is terminated.
 * N3	A machine that is somebody's (it stands on its own, is to be kept, or is a
 *	cutover that had booted) is started again, with its disks, when the server's
 *	machine was restarted (another boot id than its record's), unless its
 *	blueprint says that it is to be left (after_restart).
 *	What cannot be begun is tried again a few times, with pauses.
 *	One whose disks were kept at its end is started again when it is asked to be kept.
 * N4	The point of a launch that does not stand on its own is not thinned away, also
 *	while nothing of it runs, and also when it is over while its disks are kept
 *	and until it is terminated: they are nothing without it.
 * N5	What cannot be read may be somebody's machine: a launch whose spec.json, or
 *	with no process its launch.json, is there but unreadable is shown as failed
 *	(LAUNCH_UNREADABLE) and nothing of it is touched, nor what runs of it.  It is
 *	looked at anew every second and goes on when it can be read.  Only a folder
 *	without spec.json, launch.json and disks never became a launch, and goes.
 */
#ifndef GODWIT_LAUNCHES_H
#define GODWIT_LAUNCHES_H

#include "base.h"
#include "message.h"
#include "server.h"
#include <jansson.h>
#include <sys/types.h>

#define LAUNCHES_MAX 64u	      /* that are not over */
#define LAUNCHES_OVER_MAX 128u	      /* in all ... */
#define LAUNCHES_OVER_OF_MACHINE 16u  /* ... and of one machine; the oldest go */
#define LAUNCHES_LOG_LINES 200u	      /* of a record, in the status */
#define LAUNCHES_CONSOLE_BYTES (256 * KIB)
#define LAUNCHES_START_US (30 * 1000000ULL)
#define LAUNCHES_END_GRACE_US (15 * 1000000ULL)

struct launches;

struct launch_request {
	struct uuid launch, machine;
	const char *at, *kind;	 /* docs/api.md, "Link" */
	const json_t *blueprint; /* may be NULL */
	const char *source_firmware; /* may be NULL */
	const char *to, *format; /* of images; may be NULL */
	json_t *hardware;	 /* may be NULL, else hardware.h */
	json_t *hardware_history; /* likewise: hardware_at() */

	/* Once: with {launch, point: {id, epoch, time}}, borrowed, or with a fault. */
	void (*done)(void *context, const json_t *result, const struct fault *fault);
	void *context;
};

_must_check_ int launches_new(struct server *s, struct launches **ret);
void launches_free(struct launches *l); /* the machines run on */

void launches_start(struct launches *l, const struct launch_request *q);
_must_check_ int launches_keep(struct launches *l, const char *id, struct fault *ret_fault);
void launches_terminate(struct launches *l, const char *id);

/* @from: -1 for the last LAUNCHES_CONSOLE_BYTES.  {text, from, next, size}. */
_must_check_ int launches_console_log(struct launches *l, const char *id, json_int_t from, json_t **ret,
				      struct fault *ret_fault);
_must_check_ int launches_screenshot(struct launches *l, const char *id, json_t **ret, struct fault *ret_fault);

void launches_look(struct launches *l);		   /* once a second */
json_t *launches_status(const struct launches *l); /* a new array */

/* The machine was removed; its launches end, but for those that need no store. */
void launches_stop_machine(struct launches *l, const struct uuid *machine);
size_t launches_of(const struct launches *l, const struct uuid *machine); /* that need its store */

/* The points that those need, whether their processes run (and hold them) or not: N4.  How many. */
size_t launches_points(const struct launches *l, const struct uuid *machine, uint64_t *ret_epochs, size_t max);

bool launches_is_idle(const struct launches *l); /* nothing is being resolved */

/* The main process reaped @pid: true if it was one of ours. */
bool launches_reaped(struct launches *l, pid_t pid, int status);

#endif
