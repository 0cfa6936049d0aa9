/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record - how far a launch is, in launch.json, and in its log.
 *
 *	{"launch", "machine", "kind", "state", "since", "point": {"epoch", "time"},
 *	 "boot": {"firmware", "disk", "gpt"},
 *	 "boot_id": of the server's machine, "started_again": when it was, after a restart of that
 *	 "bus", "disks": [{"disk", "size_bytes", "sector_bytes"}],	as the machine was started
 *	 "times": {"asked", "started", "output", "kernel", "proof"},	RFC 3339
 *	 "milliseconds": {"started", "output", "kernel", "proof"},	since asked
 *	 "proof_command", "post_launch": {"pending", "status", "output"},	what was run in it
 *	 "proof": text, "progress": {"done_bytes", "total_bytes"},
 *	 "forwards": [{"address", "port", "guest_port"}],	as long as it runs
 *	 "images": {"folder", "format", "written"},	of a launch that only writes
 *	 "not_proved": {"code", "args"} of a cutover that did not show in time that it has booted, and runs on
 *	 "has_stood": true when it has once stood on its own: its disks need no store
 *	 "not_kept": why it could not be made to stand alone when that was tried last,
 *	 "to_be_kept": true when it was asked to be made to stand alone, whether it does yet or not
 *	 "needs_store": true when it is stopped and does not stand on its own yet
 *	 "power_off": {"by_itself", "seconds"},	how it was stopped with the server's machine last
 *	 "fault": {"code", "args"}, "log": [{"time", "message"}],
 *	 "disks_kept": true when it is over and its disk files are still there}
 *
 * What has not happened is absent.  The file is replaced at every change.
 */
#ifndef GODWIT_RECORD_H
#define GODWIT_RECORD_H

#include "base.h"
#include "message.h"
#include "spec.h"
#include "store.h"

enum launch_state {
	LAUNCH_PREPARING,
	LAUNCH_STARTING,
	LAUNCH_BOOTING,
	LAUNCH_BOOTED,
	LAUNCH_KEEPING,
	LAUNCH_STANDING,
	LAUNCH_STOPPED, /* with the server's machine; it is somebody's, and is started again with it */
	LAUNCH_WRITING,
	LAUNCH_ENDED,
	LAUNCH_FAILED,
	LAUNCH_STATES
};

struct record;

struct target_machine;

_must_check_ int record_new(const char *folder, const struct launch_spec *spec, struct record **ret);

/* That of a machine which is somebody's (it stands alone, is to be kept, or is a cutover that had booted or runs
 * unproved; or it is over and its disks were kept), for a process that starts it again: with its firmware, bus and boot disk in *@m, its disks, of which there are
 * @ret_count, and whether it stands.  -ENOENT: the folder's launch is none.
 * -EINVAL: it may be one, but its record is not understood: its disks are to be let alone. */
_must_check_ int record_resume(const char *folder, struct record **ret, struct target_machine *m,
			       struct target_disk disks[DISKS_MAX], unsigned int *ret_count, bool *ret_stands);
void record_free(struct record *r);

/* The one place where the state changes: the step must be one of launch.h's. */
void record_state(struct record *r, enum launch_state state, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
enum launch_state record_current(const struct record *r);
void record_fail(struct record *r, const struct fault *f); /* FAILED, and why */
void record_line(struct record *r, const char *text); /* a line in the log */
void record_note(struct record *r, const struct fault *f); /* a line in the log */

void record_not_proved(struct record *r, const struct fault *f); /* and it runs on */
void record_disks_kept(struct record *r); /* before its end is recorded */

/* It cannot be begun: FAILED, and why.  What the folder's launch.json has already stays in it, and so do disks. */
void record_refused(const char *folder, const struct fault *f);
bool record_has_disks(const char *folder);

void record_point(struct record *r, const struct store_epoch *point);
void record_boot(struct record *r, const char *firmware, unsigned int disk, bool gpt);
void record_machine(struct record *r, const struct target_machine *m); /* as it is started */
void record_forwards(struct record *r, const struct forwards *made); /* NULL: none is there any more */
void record_started(struct record *r);
void record_to_be_kept(struct record *r); /* before it is KEEPING */
void record_needs_store(struct record *r, bool yes); /* before it is STOPPED, and when it is not any more */
void record_started_again(struct record *r);
void record_output(struct record *r); /* the first word on the serial console; later ones are ignored */
void record_kernel(struct record *r); /* likewise */
void record_proof(struct record *r, const char *by);
void record_images(struct record *r, const char *folder, const char *format);
void record_written(struct record *r); /* all of them */
/* @name: proof_command, post_launch; @pending: its end is awaited; @status: -1: it has none. */
void record_command(struct record *r, const char *name, bool pending, int status, const char *output);
void record_power_off(struct record *r, bool by_itself, unsigned int seconds, const char *line);
void record_not_kept(struct record *r, const char *reason);
void record_progress(struct record *r, uint64_t done_bytes, uint64_t total_bytes);

#endif
