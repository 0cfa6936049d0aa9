/* SPDX-License-Identifier: Apache-2.0 */
/* spec - what a launch is asked for: spec.json in its folder. */
#ifndef GODWIT_SPEC_H
#define GODWIT_SPEC_H

#include "base.h"
#include "message.h"
#include "target.h"
#include "uuid.h"

enum launch_kind { LAUNCH_TEST, LAUNCH_CUTOVER, LAUNCH_DRILL, LAUNCH_IMAGES };
enum launch_convert { CONVERT_AUTO, CONVERT_NEVER, CONVERT_ALWAYS };
enum launch_proof { PROOF_LOGIN, PROOF_AGENT, PROOF_TEXT, PROOF_COMMAND };

#define SPEC_COMMAND_SIZE 1024

struct launch_spec {
	struct uuid id;
	char machine[64];	/* name */
	char store[4096];	/* folder of the machine's store */
	uint64_t epoch;
	enum launch_kind kind;
	unsigned int cpus;	/* 2 */
	uint64_t memory_bytes;	/* 1 GiB */
	enum bootdisk_firmware firmware; /* NONE: read it from the disks */
	enum bootdisk_firmware source_firmware; /* how the source was started; NONE: not known */
	enum target_network network; /* isolated */
	char bridge[HARDWARE_BRIDGES_SIZE]; /* for NETWORK_BRIDGE: its name, or several (hardware_bridge_of()) */
	struct forwards forwards; /* for NETWORK_ISOLATED and NETWORK_USER */
	enum target_bus bus;	/* auto */
	enum launch_convert convert;
	bool new_identity;
	char hardware_since[32];  /* of which time that is; "": not known */
	enum { HARDWARE_NEWEST, HARDWARE_OLDER, HARDWARE_LATER } hardware_is; /* later than the point, since there is none before */
	struct hardware hardware; /* of the source; not known unless it says so */
	enum launch_proof proof; /* login */
	char proof_text[128];
	char proof_command[SPEC_COMMAND_SIZE]; /* for the machine's sh */
	char post_launch[SPEC_COMMAND_SIZE];   /* likewise, once it has booted; "": nothing */
	unsigned int proof_seconds; /* 600 */
	unsigned int poweroff_seconds; /* to power itself off, when the server's machine goes down; 0: not asked */
	bool leave_after_restart; /* of a machine that stands alone */
	char to[2048], format[8]; /* of images: an absolute path; qcow2 */
	uint64_t asked_us;	/* by the monotonic clock; 0: now */
};

/* @path's JSON; every member is checked.  -EINVAL with what is wrong. */
_must_check_ int spec_read(const char *path, struct launch_spec *ret, struct fault *ret_fault);

#endif
