/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage - what a person is told of where a machine stands, and whether it will
 * get there.
 *
 *	initiating -> initial_sync -> flushing_backlog -> creating_first_snapshot
 *		   -> continuous <-> lagging
 *	rescan, paused, stopped, stalled from anywhere
 *
 * Nothing here reads clocks or devices.
 */
#ifndef GODWIT_STAGE_H
#define GODWIT_STAGE_H

#include "base.h"
#include "message.h"

enum stage {
	STAGE_INITIATING,
	STAGE_INITIAL_SYNC,
	STAGE_FLUSHING_BACKLOG,
	STAGE_CREATING_FIRST_SNAPSHOT,
	STAGE_CONTINUOUS,
	STAGE_LAGGING,
	STAGE_RESCAN,
	STAGE_PAUSED,
	STAGE_STOPPED,
	STAGE_STALLED,
};

const char *stage_name(enum stage stage); /* "initial_sync" */
const char *stage_title(enum stage stage); /* "Initial sync" */

enum stage_wish { STAGE_WISH_STARTED, STAGE_WISH_PAUSED, STAGE_WISH_STOPPED };

struct stage_input {
	uint64_t now_us;	 /* monotonic */
	enum stage_wish wish;
	bool connected;
	bool synced, clean, rescanning, point_sent;
	bool missing;		 /* one of the disks is not there */
	bool had_point;		 /* a point was durable once, in this life or before */
	uint64_t lag_us;	 /* since the newest point; with had_point */
	uint64_t durable_age_us; /* since the last DURABLE or the connection, whichever is later */
	uint64_t backlog_bytes;
	uint64_t drained_bytes;	 /* of the source's data, ever */
	uint64_t payload_bytes, stored_bytes; /* before and after compression, ever */
	uint64_t epoch_us;
	unsigned int throttled_percent, blocked_percent; /* of the last second */
	uint64_t throttle_mbit;
};

#define STAGE_WINDOW 60 /* seconds looked back on */

struct stage_tracker {
	enum stage stage;
	uint64_t drained, moved_us; /* what had left, and when it was last another */
	bool without_point; /* there was none when it began: an initial sync is to be told of */
	/* one sample a second, newest last */
	struct {
		uint64_t time_us, backlog, drained, payload, stored;
		bool busy;
	} samples[STAGE_WINDOW];
	unsigned int count;
};

struct stage_forecast {
	double write_rate, drain_rate; /* bytes a second, of distinct blocks */
	int converges;		       /* 1, 0, -1 not known */
	double eta_seconds;	       /* < 0: not known */
	uint64_t needed_mbit;	       /* 0: not known */
	bool throttle_too_low;
};

/*
 * Go one stage on, if there is reason to.  true: *@t's stage is another now;
 * call again, for the stages of an initial sync are passed one by one even when
 * they last no time, so that nobody who follows them misses one.
 */
bool stage_step(struct stage_tracker *t, const struct stage_input *in);

/* With something to send, and for a minute nothing left and nothing was durable: the replication server
 * is away, lets nobody in, or takes data and does not finish. */
bool stage_is_stuck(const struct stage_tracker *t, const struct stage_input *in);

/* Once a second: remember the figures and say where they lead. */
struct stage_forecast stage_sample(struct stage_tracker *t, const struct stage_input *in);

#endif
