/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stores - every store of this server: what is known of it, and its upkeep.
 *
 * Four kinds of work, each done for one machine at a time by a worker:
 *
 *	summary		count and range of the points, bytes: for the status
 *	upkeep		store_upkeep(): merge, thin, collect
 *	scrub		read everything back; weekly, and when asked for
 *	removal		delete the store of a machine that has been removed
 *
 * Work of different kinds goes on side by side, also on one machine, but for
 * removal, which waits until it is alone.  Of one kind there is one worker, for
 * the machine that has been due the longest; a round of upkeep ends after
 * WORK_UPKEEP_SLICE_US if it is not done, and a weekly scrub makes way for one
 * that is asked for.  What fails is said and tried again, less and less often.
 */
#ifndef GODWIT_STORES_H
#define GODWIT_STORES_H

#include "base.h"
#include "control.h"
#include "server.h"
#include <jansson.h>

#define STORES_UPKEEP_EVERY_US (60 * 1000000ULL) /* four times in the shortest window, if that is more often ... */
#define STORES_UPKEEP_EVERY_LEAST_US (10 * 1000000ULL) /* ... but not more often than this */
#define STORES_UPKEEP_AFTER_BYTES (256 * MIB) /* received since the last: sooner */
#define STORES_SCRUB_EVERY_S (7 * 86400)
#define STORES_SCRUB_BYTES_PER_SECOND (16 * MIB) /* of the weekly one */
#define STORES_RETRY_US (60 * 1000000ULL) /* after a failure; doubled after each further one up to ... */
#define STORES_UPKEEP_RETRY_MOST_US (3600 * 1000000ULL)
#define STORES_SCRUB_RETRY_MOST_US (86400 * 1000000ULL)

struct stores;

_must_check_ int stores_new(struct server *s, struct stores **ret);
void stores_free(struct stores *st);

/* The registry has changed: retention, removed machines. */
void stores_check_machines(struct stores *st);

/* From the listener. */
void stores_begun(struct stores *st, const struct uuid *machine);
void stores_progress(struct stores *st, const struct uuid *machine, const struct session_figures *f);
void stores_lost(struct stores *st, const struct uuid *machine, const char *epochs);
void stores_ended(struct stores *st, const struct uuid *machine, const struct control_message *m);

/* Something a removal may have waited for is over. */
void stores_schedule(struct stores *st);

/* -ENOENT: there is no such store. */
_must_check_ int stores_scrub(struct stores *st, const struct uuid *machine);
bool stores_exists(const struct stores *st, const struct uuid *machine);

/* Look at the room of the staging area (once a second), tell its changes. */
void stores_check_room(struct stores *st);

/* free_bytes, total_bytes and machines of the status (docs/api.md, "Link"). */
_must_check_ int stores_status(struct stores *st, json_t *status);

/* The stop of all work; stores_is_idle() when it is over. */
void stores_shut(struct stores *st);
bool stores_is_idle(const struct stores *st);

#endif
