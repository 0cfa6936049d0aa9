/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live - what the console knows of its agents and servers ("peers") at this
 * moment, in memory: when each was heard, its last status, the commands that
 * wait for its answer, and who waits for what.
 *
 * One lock for all of it, held for moments only.  JSON values of one thread are
 * never shared with another: what comes in is handed over whole, what goes out
 * is a copy.  But for statuses, which are large and often looked at: they are
 * never modified once they are here, and a live_view keeps one for as long as
 * it is looked at; parts of it go into answers as deep copies.
 * Times: wall clock in microseconds, except where "mono" says otherwise.
 */
#ifndef GODWIT_CONSOLE_LIVE_H
#define GODWIT_CONSOLE_LIVE_H

#include "base.h"
#include "message.h"
#include "uuid.h"
#include <jansson.h>

#define LIVE_AWAY_AFTER_MS 15000u
#define LIVE_ID_LEN UUID_TEXT_LEN

enum live_role { LIVE_AGENT, LIVE_SERVER };

struct live;

struct live *live_new(void);
void live_free(struct live *l);

/* Everybody who waits returns at once, now and from now on. */
void live_stop(struct live *l);

/* --- who is there ---------------------------------------------------------------- */

/* As the catalogue remembers it; takes @status. */
void live_load(struct live *l, enum live_role role, const char *id, bool connected, uint64_t seen_us, json_t *status);
void live_forget(struct live *l, const char *id);

/* A request came, of whatever kind: a sign of life until the first status, from then on only
 * statuses are. */
void live_seen(struct live *l, enum live_role role, const char *id);

/* Takes @status, the whole of it.  @clock_ahead_us: the peer's clock minus ours. */
void live_set_status(struct live *l, const char *id, json_t *status, const int64_t *clock_ahead_us);

struct live_view {
	bool connected;
	uint64_t seen_us;	/* 0: never */
	uint64_t seen_mono_us;	/* 0: not since the console started */
	const json_t *status;	/* or NULL */
	uint64_t status_age_us; /* by a clock that nobody sets, but for one from before the console started */
	struct live_status *keep;
	bool clock_known;
	int64_t clock_ahead_us;
};
struct live_view live_view(struct live *l, const char *id);
void live_view_done(struct live_view *v);
bool live_connected(struct live *l, const char *id);

/* May this peer post so many events now?  A bucket of LIVE_EVENTS_BURST that
 * fills again with LIVE_EVENTS_PER_SECOND; may go below empty once. */
#define LIVE_EVENTS_BURST 200
#define LIVE_EVENTS_PER_SECOND 10
bool live_take_events(struct live *l, const char *id, size_t count);

/* Peers that came or went since the last call, and those whose status is newer
 * than what was last given with @all_statuses. */
struct live_news {
	enum live_role role;
	char id[LIVE_ID_LEN + 1];
	bool connected, changed; /* changed: came or went */
	uint64_t seen_us;
	const json_t *status;	 /* or NULL */
	struct live_status *keep;
};
size_t live_take_news(struct live *l, bool all_statuses, struct live_news **ret);
/* They could not be kept: they are news again at the next call. */
void live_return_news(struct live *l, const struct live_news *news, size_t count);
void live_news_free(struct live_news *news, size_t count);

/* --- commands ----------------------------------------------------------------------- */

/*
 * Queue a command, an object with "id"; takes it.  @kept: it stands in the
 * catalogue as well, and its answer is of interest to nobody but for that it is
 * there (live_wait_answered()).
 */
void live_command(struct live *l, const char *peer_id, json_t *command, bool kept);

/* A kept command is not to be handed out any more, as it was answered or is not
 * wanted; in the latter case what was handed out already may still be done. */
void live_withdraw(struct live *l, const char *peer_id, const char *command_id);

/* Queue a command and wait for its answer: 0 with the result; -EREMOTEIO with
 * the fault that the peer answered; -ETIMEDOUT; -ESHUTDOWN.  Takes @command. */
_must_check_ int live_call(struct live *l, const char *peer_id, json_t *command, uint64_t deadline_mono_us,
			   json_t **ret_result, struct fault *ret_fault);

/* The answer: -ENOENT if nothing waits for it.  Takes @result, the whole of it.
 * @fault NULL: it went well.  A kept command stays queued, and may be answered
 * again, until the caller has written down what the answer means and calls
 * live_withdraw(). */
_must_check_ int live_reply(struct live *l, const char *peer_id, const char *command_id, json_t *result,
			    const struct fault *fault, bool *ret_kept, json_t **ret_command);

/* Wait until a command is not queued any more: true, or false at the deadline. */
bool live_wait_answered(struct live *l, const char *peer_id, const char *command_id, uint64_t deadline_mono_us);

/* --- long polls ------------------------------------------------------------------------ */

/* What the peer is to know may have changed. */
void live_wake(struct live *l, const char *peer_id);

/*
 * One poll a peer: a later one ends the earlier, whose connection is dead, most
 * likely.  @fresh: the peer has just begun, and knows of no command that was
 * handed out before.
 */
struct live_poll {
	uint64_t serial, generation;
};
void live_poll_begin(struct live *l, const char *peer_id, bool fresh, struct live_poll *ret);
json_t *live_poll_commands(struct live *l, const char *peer_id, struct live_poll *poll); /* an array */
/* true: look again; false: the time is over, or a later poll has begun. */
bool live_poll_wait(struct live *l, const char *peer_id, struct live_poll *poll, uint64_t deadline_mono_us);

/* --- waiting for events and statuses -------------------------------------------------- */

enum live_topic { LIVE_EVENTS, LIVE_STATUSES, LIVE_TOPICS };

uint64_t live_ticket(struct live *l, enum live_topic t); /* before looking */
void live_announce(struct live *l, enum live_topic t);	  /* there is a new one */
/* false: the time is over. */
bool live_wait(struct live *l, enum live_topic t, uint64_t ticket, uint64_t deadline_mono_us);

#endif
