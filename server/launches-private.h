/* SPDX-License-Identifier: Apache-2.0 */
/* What launches.c (what there is) and launchstart.c (how it begins) share. */
#ifndef GODWIT_LAUNCHES_PRIVATE_H
#define GODWIT_LAUNCHES_PRIVATE_H

#include "launches.h"
#include "settings.h"
#include "wallclock.h"

#include <sys/stat.h>

#define LAUNCH_PATH_MAX (SETTINGS_PATH_MAX + 64)

enum launch_stage { RESOLVING, SPAWNING, THERE };

struct waiter {
	struct waiter *next;
	void (*done)(void *context, const json_t *result, const struct fault *fault);
	void *context;
};

struct launch {
	struct launches *launches;
	struct launch *next;
	enum launch_stage stage;
	char id[UUID_TEXT_LEN + 1];
	char folder[SETTINGS_PATH_MAX];
	struct uuid machine;
	struct waiter *waiters;
	json_t *spec;	/* without point and epoch while RESOLVING */
	json_t *record; /* THERE: launch.json, as the console sees it; NULL: not read yet */
	struct stat seen; /* of launch.json when it was read */
	pid_t spawner;	/* SPAWNING: ends when the launch is on its way */
	bool over;	/* the record has an end; also while it is unreadable */
	bool unreadable; /* N5: @record says so; @spec may be NULL */
	bool reported;	/* ... and so has an event */
	bool asked_to_end;
	bool again;	/* SPAWNING: it has been there before */
	bool after_restart; /* it was started again with the server's machine, not by who asked for it */
	char ran_before[WALLCLOCK_TEXT_LEN + 1]; /* its record's started_again by then */
	uint64_t started_again_us;
	unsigned int start_failures; /* in a row, of starting it again */
	uint64_t start_at_us;	 /* not before that again */
	unsigned int dead_looks; /* in a row, without a record */
	uint64_t kill_at_us;	 /* it was asked to end; 0: not */
};

struct launches {
	struct server *server;
	struct launch *list;
	char boot_id[64];
	bool thin_is_due; /* something is over now */
};

struct launch *launches_find(const struct launches *l, const char *id);
struct launch *launches_add(struct launches *l, const char *id); /* NULL: no memory */
void launch_forget(struct launch *e);
char *launch_path(const struct launch *e, const char *name, char ret[LAUNCH_PATH_MAX]);
void launch_answer(struct launch *e, const struct fault *fault); /* all who wait for it */
void launch_read_record(struct launch *e);			 /* anew, if it has changed */
void launch_bury(struct launch *e);				 /* N1 */
void launch_not_started_again(struct launch *e);		 /* N3; it is tried again later */

/* N3: its machine, which stands alone, is started again with what is in its folder. */
void launch_start_again(struct launch *e);

#endif
