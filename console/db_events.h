/* SPDX-License-Identifier: Apache-2.0 */
/* db_events - the table events: what happened, who did it, what it changed. */
#ifndef GODWIT_CONSOLE_DB_EVENTS_H
#define GODWIT_CONSOLE_DB_EVENTS_H

#include "catalogue.h"
#include "message.h"

/* The oldest are dropped when there are more: of what agents and servers say, and
 * apart from that of what people and the console did, so that one who says much
 * does not push out who changed what. */
#define EVENTS_KEPT 1000000

struct event {
	uint64_t time_us; /* 0: now */
	const char *project_id, *machine_id, *machine_name, *job_id; /* NULL: none */
	const char *who;
	const struct fault *fault; /* code and arguments */
	const json_t *changes;	   /* [{name, old, new}] or NULL */
};
void db_event_add(struct db *db, const struct event *e);

/* All but the newest @keep of each of the two kinds; now and then by db_event_add(). */
void db_event_drop_old(struct db *db, int64_t keep);

/*
 * Events as docs/api.md has them, in order of id: with @after >= 0 the oldest
 * after it, else the newest.  @machine: id or name, or NULL.
 */
json_t *db_event_list(struct db *db, const char *machine, int64_t after, int64_t limit,
		      enum message_language language);

/* The id of the newest; 0 if there is none. */
int64_t db_event_newest(struct db *db);

#endif
