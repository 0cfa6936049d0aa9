/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launches - machines started from points: asked for here, done by the
 * replication server, followed through its status.
 *
 *	asked --> preparing ... booted ... standing --> ended | failed
 *	asked --> preparing ... writing --> ended | failed
 *	      \-> failed (the server refused it, or did not take it)
 *
 * The server's record of a launch (docs/api.md, section 8) is the truth; the
 * catalogue keeps the last one that came.  Jobs follow it:
 *
 *	TEST_LAUNCH, CUTOVER_LAUNCH	COMPLETED when booted
 *	DRILL				COMPLETED when over, having booted
 *	IMAGES				COMPLETED when over, all written
 *	KEEP				COMPLETED when it stands on its own
 *	CLEANUP				COMPLETED when over
 *
 * and FAILED when that cannot be any more.  A server that is away proves
 * nothing, so nothing fails while it is; a launch that a connected server does
 * not list any more is over.
 */
#ifndef GODWIT_CONSOLE_LAUNCHES_H
#define GODWIT_CONSOLE_LAUNCHES_H

#include "console.h"
#include "db_launches.h"
#include "db_work.h"

/* For so long a launch may be asked for without the server's taking it. */
#define LAUNCH_TAKE_US (60 * USEC_PER_SEC)
#define LAUNCH_DRILLS_KEPT 20 /* of a machine, that are over */

/* Ask for a launch like the blueprint @wanted (a drill is isolated whatever it says); returns
 * when that is in the catalogue, not when it is answered.  @images: {to, format}, of that
 * kind, else NULL.  0 with the row, or -errno of the catalogue. */
_must_check_ int launches_begin(struct console *c, const struct machine_row *m, const char *kind, const char *at,
				const json_t *wanted, const json_t *images, const char *who, struct launch_row *ret);

/* Tell its server to end it; a server that is away is told when it comes.  In
 * a write transaction; returns the command, for launches_send() after it. */
json_t *launches_end(struct db *db, const struct launch_row *l);
void launches_send(struct console *c, const char *server_id, json_t *command);

/* A server's answer to the kept command "launch" or "terminate"; @fault NULL: it went well. */
void launches_answered(struct db *db, const json_t *command, const struct fault *fault);

/* A server's status came; the one before may be NULL.  -errno: it is not to be
 * taken for known, so that the next one is looked at again. */
_must_check_ int launches_take_status(struct console *c, const char *server_id, const json_t *before, const json_t *status);

/* What nobody will tell about any more. */
void launches_expire(struct console *c);

/* A job that was begun for a launch: does its record settle it already? */
void launches_settle(struct db *db, const struct launch_row *l);

/* A new launch, with ids of its own, asked for now. */
void launches_make_row(struct launch_row *ret, const struct machine_row *m, const char *kind, const char *at,
		       const char *who);
const char *launches_job_type(const char *kind); /* NULL: there is no such kind */

/* All its data is its own, though it may be off just now. */
bool launches_stands(const json_t *record);
/* It did not show in time that it boots, and runs on (a cutover). */
bool launches_is_unproved(const json_t *record);

bool launches_state_is_over(const char *state);
bool launches_state_has_booted(const char *state);

#endif
