/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings - the agent's state folder: who this machine is, its disks, and what
 * the console wants.
 *
 *	agent.json	identity, console, disks; written at enrolment and when disks
 *			change
 *	agent.memory	engine_memory, mapped: what must outlive a killed agent but
 *			not a reboot (settings_memory())
 *	desired.json	the last desired state received (link.h)
 *	agent.key, agent.crt, ca.crt, agent.log.0, agent.pid
 */
#ifndef GODWIT_AGENT_SETTINGS_H
#define GODWIT_AGENT_SETTINGS_H

#include "base.h"
#include "disks.h"
#include "engine.h"
#include "pki.h"
#include "uuid.h"
#include <jansson.h>

#define SETTINGS_PATH_MAX 1024

struct settings_disk {
	struct uuid id;
	struct disk_info info;	/* as last seen */
	uint16_t disk;		/* index, for ever */
};

struct settings {
	char folder[SETTINGS_PATH_MAX - 256];
	char name[128], console[512], proxy[512];
	struct uuid machine;
	char server_address[256]; /* at enrolment; desired.json has the newer */
	uint16_t server_port;
	char server_key[PKI_PIN_TEXT_LEN + 1]; /* "": the console has not said it */
	struct settings_disk disks[DISKS_MAX];
	unsigned int disk_count;
};

char *settings_path(const struct settings *s, const char *name, char ret_path[SETTINGS_PATH_MAX]);

/* Make the folder, take its real path. */
_must_check_ int settings_open(const char *folder, struct settings *ret);

/*
 * Whoever this was is not protected any more: the folder is nobody's, and can be
 * enrolled again.  agent.json goes first: what is left without it is no machine's.
 * The log stays.
 */
_must_check_ int settings_forget(const struct settings *s);

/* The same, but for the key: the console may know it already, from an enrolment whose answer was lost. */
_must_check_ int settings_forget_but_key(const struct settings *s);

/* By "launch" in the folder it is known that this machine was launched before it was enrolled, and as
 * which launch: godwit-launched(8) tells it by that from a copy that has the folder from its original. */
_must_check_ int settings_note_launch(const struct settings *s);

/* agent.json.  -ENOENT: not enrolled; -EBADMSG: damaged. */
_must_check_ int settings_load(struct settings *s);
_must_check_ int settings_save(const struct settings *s);

/*
 * Map agent.memory.  *@ret_same_boot: it is of this boot, of this layout and
 * whole; otherwise what is worthless after a reboot, or all of it, has been reset.
 */
_must_check_ int settings_memory(const struct settings *s, struct engine_memory **ret, bool *ret_same_boot);

#endif
