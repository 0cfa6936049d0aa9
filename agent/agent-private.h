/* SPDX-License-Identifier: Apache-2.0 */
/* agent-private - the program around the engine: agent.c (life, loop), attach.c
 * (capture and disks), control.c (the console's wishes), status.c (once a second). */
#ifndef GODWIT_AGENT_PRIVATE_H
#define GODWIT_AGENT_PRIVATE_H

#include "agent.h"
#include "engine.h"
#include "facts.h"
#include "link.h"
#include "priority.h"
#include "session.h"
#include "settings.h"
#include "stage.h"
#include "tls.h"
#include "tracker.h"
#include "uring.h"

#define MARKS_MAX    16u
#define ANSWERED_MAX 16u
#define PROBLEMS_MAX 32u
#define ID_MAX	     40u

/* A disk while it is attached, beside what settings say of it. */
struct attached {
	struct settings_disk *settings;
	int fd;			/* -1: not there */
	bool unfollowed;	/* it is there again, and yet not attached, or ... */
	bool outgrown;		/* it is followed to its old end only, ... */
	struct fault why;	/* ... or outgrown, for this reason */
	uint64_t again_us, pause_us; /* when growth is tried again */
	bool unmapped;		/* its maps were made anew and the engine lacks them: nothing may be connected */
	unsigned int healed;	/* places that can be read again, since the last tick */
	uint64_t healed_sector; /* one of them */
};

/* The search for disks that are missing (attach.c). */
struct attach_search {
	uint64_t present; /* disks_present() at the last look; 0: none yet */
	bool settled;	  /* and at the look before it */
	uint64_t next_us, pause_us;
};

/* `mark' commands, answered when their point is durable. */
struct mark {
	char id[ID_MAX];
	char label[WIRE_LABEL_MAX + 1];
	uint64_t until_us;
	bool given; /* to the engine */
};

/* Commands answered not long ago: the console may hand one out again. */
struct answered {
	char id[ID_MAX];
	json_t *result;
};

struct problem {
	struct fault fault;
	uint64_t since_us;	/* wall clock */
	uint64_t seen_us;	/* monotonic: the round in which it was said last */
};

struct agent {
	const struct agent_options *o;
	struct settings settings;
	struct engine_memory *memory;
	struct tracker *tracker;
	struct engine *engine;
	struct session *session;
	struct tls_context *tls;
	struct uring *uring;
	struct link *link;
	struct facts *facts;
	struct priority priority;
	struct attached disks[DISKS_MAX]; /* as in settings.disks */
	struct attach_search search;	  /* for those that are missing */
	char pin_dir[128];
	int signal_fd;
	bool stopping, removing;
	bool resumed;

	/* the console's wishes */
	enum stage_wish wish;
	uint64_t throttle_mbit;
	bool compression_auto;
	enum payload_codec codec;
	struct mark marks[MARKS_MAX];
	unsigned int mark_count;
	struct answered answered[ANSWERED_MAX];
	unsigned int answered_next;
	char verify_id[ID_MAX];
	bool verify_done;

	/* once a second */
	uint64_t tick_us, staged_us;
	uint64_t backlog;	/* bytes, as of the last tick */
	struct stage_tracker stages;
	bool stuck; /* that is why it is stalled */
	struct stage_forecast forecast;
	struct session_figures last_session;
	struct fault connection_fault; /* why there is no connection */
	bool connection_failed;
	uint64_t durable_at_us, connected_at_us;
	struct problem problems[PROBLEMS_MAX];
	unsigned int problem_count;
	uint64_t sent_at_tick;
	struct fault read_fault;
	bool read_failed;
};

/* A fact for people: a line in the log and an event at the console. */
void agent_tell(struct agent *a, const struct fault *f);
void agent_tell_code(struct agent *a, enum message_code code, ...) __attribute__((sentinel));

/* attach.c */
_must_check_ int attach_all(struct agent *a, struct fault *ret_fault);
void attach_done(struct agent *a);
void attach_tick(struct agent *a);
void attach_unclaim(struct agent *a);
/* The session, if it is wished and nothing in the engine forbids it. */
void attach_let_session(struct agent *a);
void attach_say_problems(struct agent *a);
bool attach_still_gone(void *agent); /* engine_ops */

/* control.c */
void control_receive(struct agent *a);
void control_load(struct agent *a);
void control_durable(struct agent *a, const struct wire_commit *commit);
void control_tick(struct agent *a, uint64_t now_us);
void control_done(struct agent *a);

/* status.c */
void status_stage(struct agent *a, uint64_t now_us);
void status_tick(struct agent *a, uint64_t now_us);
void status_problem(struct agent *a, const struct fault *f);

#endif
