/* SPDX-License-Identifier: Apache-2.0 */
#include "ticks.h"

#include "db_events.h"
#include "db_machines.h"
#include "db_servers.h"
#include "db_work.h"
#include "drills.h"
#include "launches.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

static void queue_kept(void *context, const char *peer_id, json_t *command)
{
	struct console *c = context;

	live_command(c->live, peer_id, command, true);
}

int ticks_load(struct console *c)
{
	struct db *db = catalogue_read(c->catalogue);
	struct machine_row *machines;
	struct server_row *servers;
	size_t m = db_machine_list(db, true, NULL, &machines), s = db_server_list(db, &servers);

	for (size_t i = 0; i < m; i++)
		live_load(c->live, LIVE_AGENT, machines[i].id, machines[i].connected,
			  (uint64_t)machines[i].last_seen_us, db_machine_status(db, machines[i].id));
	for (size_t i = 0; i < s; i++)
		live_load(c->live, LIVE_SERVER, servers[i].id, servers[i].connected, (uint64_t)servers[i].last_seen_us,
			  db_server_status(db, servers[i].id));
	db_command_each(db, queue_kept, c);
	free(machines);
	free(servers);
	return catalogue_read_end(c->catalogue);
}

/* --- who came and went ------------------------------------------------------------------------- */

static void record(struct db *db, const struct event *base, enum message_code code, const char *kind, const char *name,
		   uint64_t seen_us)
{
	char seen[WALLCLOCK_TEXT_LEN + 1];
	struct event e = *base;
	struct fault f;

	fault_set(&f, 0, code, kind, name, "seen", wallclock_format(seen_us, seen), NULL);
	e.fault = &f;
	e.who = "console";
	db_event_add(db, &e);
}

static void note_agent(struct console *c, struct db *db, const struct live_news *n)
{
	struct machine_row m;

	if (!db_machine_by_id(db, n->id, &m) || m.removed)
		return;
	db_machine_set_seen(db, n->id, n->connected, n->seen_us, n->status);
	if (n->changed)
		record(db,
		       &(struct event){ .project_id = m.project_id, .machine_id = m.id, .machine_name = m.name },
		       n->connected ? MSG_AGENT_CONNECTED : MSG_AGENT_DISCONNECTED, "machine", m.name, n->seen_us);
}

static void note_server(struct console *c, struct db *db, const struct live_news *n)
{
	struct server_row s;

	if (!db_server_find(db, n->id, &s))
		return;
	db_server_set_seen(db, n->id, n->connected, n->seen_us, n->status);
	if (n->changed)
		record(db, &(struct event){ .project_id = c->project_id },
		       n->connected ? MSG_SERVER_CONNECTED : MSG_SERVER_DISCONNECTED, "server", s.name, n->seen_us);
}

void ticks_run(struct console *c, bool keep)
{
	struct live_news *news;
	size_t count = live_take_news(c->live, keep, &news);
	struct db *db;
	int err;

	if (count) {
		db = catalogue_write(c->catalogue);
		for (size_t i = 0; i < count; i++)
			if (news[i].role == LIVE_AGENT)
				note_agent(c, db, &news[i]);
			else
				note_server(c, db, &news[i]);
		err = catalogue_commit(c->catalogue);
		if (err) {
			console_catalogue_failed(c, "keeping statuses", err);
			live_return_news(c->live, news, count);
		} else {
			live_announce(c->live, LIVE_EVENTS);
		}
	}
	live_news_free(news, count);
}

void ticks_launches(struct console *c)
{
	launches_expire(c);
	drills_end_overlong(c);
	drills_start_due(c);
}
