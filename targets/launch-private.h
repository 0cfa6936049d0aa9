/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a launch share: launch.c (its life), launch-disks.c (the point),
 * launch-view.c (the machine's own view of it), launch-watch.c (what the machine says),
 * launch-commands.c (what is run in it). */
#ifndef GODWIT_LAUNCH_PRIVATE_H
#define GODWIT_LAUNCH_PRIVATE_H

#include "convert.h"
#include "loop.h"
#include "nbdkit.h"
#include "record.h"
#include "spec.h"
#include "store.h"
#include "target.h"
#include "wallclock.h"

#define TAIL_BYTES 512u /* of the serial console, searched for the proof */

#define LAUNCH_PICTURE_US (15 * USEC_PER_SEC) /* for one; then it is done without */

struct disk {
	struct launch *launch;
	struct nbdkit_process process; /* pid 0: not running */
	bool ready;
};

struct launch {
	const char *folder;
	struct launch_spec spec;
	struct loop *loop;
	struct record *record;
	char id[UUID_TEXT_LEN + 1], point_time[WALLCLOCK_TEXT_LEN + 1];
	const struct target_ops *ops;
	struct target *target;
	struct target_disk target_disks[DISKS_MAX];
	struct disk disks[DISKS_MAX];
	unsigned int disk_count;
	unsigned int boot_disk;
	uint64_t esp_offset, esp_bytes; /* of the boot disk's EFI system partition; 0: none */
	enum bootdisk_firmware firmware;
	enum target_bus bus;
	struct convert *convert;	/* NULL: none is under way */
	char macs[HARDWARE_CARDS_MAX][CONVERT_MAC_SIZE]; /* of its network cards */
	const char *mac_list[HARDWARE_CARDS_MAX];
	int signal_fd, control_fd;
	int store_fd; /* its folder, so that it is known again */
	struct loop_timer deadline; /* of what is awaited: NBD servers, the proof, post_launch, a picture */
	struct loop_timer power_off_limit; /* L4: no other wait shares it, and none ends it */
	uint64_t proof_us;	    /* when the proof's time is over; a symptom makes the deadline earlier */
	struct fault why;	    /* it failed */
	bool failing, ending, done;
	bool asked_to_end;
	bool to_be_kept;	    /* somebody asked for that, or it is a cutover */
	bool unproved;		    /* a cutover that did not show in time that it has booted: it runs on */
	bool stopping;		    /* with this machine, to be started again with it */
	bool powering_off;	    /* it was asked to, and its end is awaited */
	uint64_t power_off_us;	    /* when that was */
	bool standing;		    /* L3 */
	bool written;
	bool resumed;		    /* it is started again after a restart */
	bool guest_ready;	    /* commands can be run in the machine */
	bool picture_awaited;	    /* of its proof */
	bool post_launch_due;	    /* it has booted, and its picture is taken */
	bool post_launch_sent;
	const char *running;	    /* "proof_command", "post_launch": its end is awaited; NULL: none */
	uint64_t tried_us;	    /* when proof_command was run last */
	int proof_status;	    /* of the command, when it ended last; -1 */
	struct loop_timer again;    /* proof_command is run */
	bool read_failed, full;	    /* said already */
	struct store_reader *point; /* until the NBD servers hold the point themselves */
	struct loop_timer store_look;
	enum message_code symptom;  /* why there may be no proof, and ... */
	char symptom_line[128];	    /* ... what the console said; "": nothing */
	size_t console_bytes;	    /* said since the console's log was looked at */
	size_t tail_used;
	char tail[TAIL_BYTES + 1];
};

/* launch.c */
void launch_fail(struct launch *l, const struct fault *f);
void launch_end(struct launch *l);
void launch_stop_in_order(struct launch *l); /* L4 */
void launch_powered_off(struct launch *l, const char *why); /* it ended; @why, unless it did as asked */
void launch_finish(struct launch *l); /* the target is gone, or never was */
void launch_start_machine(struct launch *l);
void launch_run_machine(struct launch *l); /* its disks are as they are to be */
void launch_let_go_of_point(struct launch *l);

/* launch-disks.c */
_must_check_ int launch_look_at_disks(struct launch *l, struct fault *ret_fault);
_must_check_ int launch_find_point_again(struct launch *l, struct fault *ret_fault); /* under disks that are there */
void launch_serve_disks(struct launch *l); /* then launch_start_machine() */
void launch_reap_disks(struct launch *l);  /* a child has ended */
void launch_end_disks(struct launch *l);

/* launch-view.c: copy-on-write disks over the point, and what has to be changed on them. */
_must_check_ int launch_make_view(struct launch *l, struct fault *ret_fault);

/* launch-convert.c: what is bound to other hardware. */
void launch_choose_bus(struct launch *l);
void launch_convert(struct launch *l); /* if anything has to be; then launch_run_machine() */
void launch_stop_converting(struct launch *l);

/* launch-watch.c */
extern const struct target_events launch_target_events;
void launch_await_proof(struct launch *l);
void launch_proved(struct launch *l, const char *by);
void launch_look_for_store(struct launch *l); /* now and again */
void launch_keep(struct launch *l);

/* launch-commands.c: what the blueprint runs in the machine. */
void launch_guest_ready(void *context);
void launch_guest_ran(void *context, const char *name, int status, const char *output);
/* Before it is said to have booted: with nothing pending its job would be done. */
void launch_await_post_launch(struct launch *l);
void launch_run_post_launch(struct launch *l); /* it has booted */

#endif
