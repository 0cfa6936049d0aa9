/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's and the server's last statuses are shown as they came, but for
 * what is not printable; a member that is missing or not of its type is
 * replaced by an empty one, so that what is promised is always there.
 */
#include "machine_view.h"
#include "blueprint.h"

#include "launch_view.h"
#include "needs.h"
#include "resource.h"
#include "settings.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

#define CLOCKS_DIFFER_US (5 * USEC_PER_SEC)
#define LAG_MOST_S 1e9

struct sources {
	const struct request *r;
	const struct machine_row *m;
	struct live_view agent, server;
	const json_t *status;	  /* the agent's, or NULL */
	const json_t *store;	  /* the server's word about this machine, or NULL */
	struct server_row server_row;
	bool has_server;
	uint64_t now_us;
};

/* --- points ------------------------------------------------------------------------------ */

struct newest {
	char id[ID_SIZE];
	uint64_t time_us; /* 0: none */
	uint64_t agents_us; /* of the newest that the agent knows; 0: none */
};

static void take_newer(struct newest *n, const struct machine_row *m, const json_t *point)
{
	const char *time = json_string_value(json_object_get(point, "time"));
	const char *id = json_string_value(json_object_get(point, "id"));
	uint64_t time_us, epoch = (uint64_t)resource_integer(point, "epoch", 0);
	struct uuid machine, made;

	if (!time || wallclock_parse(time, &time_us) || time_us <= n->time_us || (!id && !epoch))
		return;
	n->time_us = time_us;
	if (id) {
		snprintf(n->id, sizeof(n->id), "%s", id);
	} else if (uuid_parse(m->id, &machine) == 0) {
		made = uuid_from_epoch(&machine, epoch);
		uuid_format(&made, n->id);
	}
}

static struct newest newest_point(const struct sources *s)
{
	struct newest n = { 0 };

	take_newer(&n, s->m, json_object_get(s->status, "newest_point"));
	n.agents_us = n.time_us;
	take_newer(&n, s->m, json_object_get(s->store, "newest_point"));
	return n;
}

/* The agent counts its lag by a clock that nobody sets, and so does the console from there on.
 * A point that only the server knows of is later than the agent's by their times, which are both
 * the source's.  Where the agent says nothing the source's "now" is what points are compared with. */
static double lag_seconds(const struct sources *s, const struct newest *n)
{
	const json_t *told = json_object_get(s->status, "lag_seconds");
	int64_t us;

	if (json_is_number(told) && n->agents_us)
		us = (int64_t)(MIN(MAX(json_number_value(told), 0), LAG_MOST_S) * USEC_PER_SEC) +
		     (int64_t)s->agent.status_age_us - (int64_t)(n->time_us - n->agents_us);
	else
		us = (int64_t)s->now_us + (s->agent.clock_known ? s->agent.clock_ahead_us : 0) - (int64_t)n->time_us;
	return (double)(MAX(us, 0) / 1000) / 1000;
}

static void add_points(json_t *view, const struct sources *s)
{
	struct newest n = newest_point(s);

	if (!n.time_us) {
		json_object_set_new(view, "lag_seconds", json_null());
		json_object_set_new(view, "newest_point", json_null());
		return;
	}
	json_object_set_new(view, "lag_seconds", json_real(lag_seconds(s, &n)));
	json_object_set_new(view, "newest_point",
			    json_pack("{s:s, s:o}", "id", n.id, "time", resource_time(n.time_us)));
}

/* --- stage and problems --------------------------------------------------------------------- */

static const char *const stages[] = { "not_started", "initiating", "initial_sync", "flushing_backlog",
				      "creating_first_snapshot", "continuous", "lagging", "rescan", "paused",
				      "stopped", "stalled" };

static const char *stage(const struct sources *s)
{
	const char *told = json_string_value(json_object_get(s->status, "stage"));

	if (!s->agent.seen_us)
		return "not_started";
	if (!s->agent.connected)
		return "disconnected";
	for (size_t i = 0; told && i < ARRAY_LEN(stages); i++)
		if (!strcmp(told, stages[i]))
			return stages[i];
	return "initiating";
}

static void add_own_problems(json_t *list, const struct sources *s)
{
	char seen[WALLCLOCK_TEXT_LEN + 1], seconds[32];
	uint64_t server_seen = MAX(s->server.seen_us, (uint64_t)s->server_row.last_seen_us);

	if (s->agent.seen_us && !s->agent.connected)
		resource_problem(list, s->r, MSG_AGENT_DISCONNECTED,
			    json_pack("{s:s, s:s}", "machine", s->m->name, "seen",
				      resource_time_or_never(s->agent.seen_us, seen)),
			    resource_time(s->agent.seen_us));
	if (!s->has_server)
		resource_problem(list, s->r, MSG_NO_SERVER, json_object(), resource_time((uint64_t)s->m->enrolled_us));
	else if (!s->server.connected)
		resource_problem(list, s->r, MSG_SERVER_AWAY,
			    json_pack("{s:s, s:s}", "server", s->server_row.name, "seen",
				      resource_time_or_never(server_seen, seen)),
			    resource_time(server_seen));
	if (s->agent.connected && s->agent.clock_known &&
	    (uint64_t)llabs(s->agent.clock_ahead_us) > CLOCKS_DIFFER_US) {
		snprintf(seconds, sizeof(seconds), "%.1f", (double)s->agent.clock_ahead_us / USEC_PER_SEC);
		resource_problem(list, s->r, MSG_CLOCKS_DIFFER,
			    json_pack("{s:s, s:s}", "machine", s->m->name, "seconds", seconds), json_null());
	}
}

static json_t *time_or_null(const json_t *said)
{
	uint64_t us;

	return json_is_string(said) && !wallclock_parse(json_string_value(said), &us) ? resource_time(us) : json_null();
}

static json_t *problems(const struct sources *s)
{
	json_t *list = json_array(), *p;
	size_t i;

	add_own_problems(list, s);
	json_array_foreach(json_object_get(s->status, "problems"), i, p) {
		const char *name = json_string_value(json_object_get(p, "code"));
		json_t *args = json_object_get(p, "args"), *since = json_object_get(p, "since");
		enum message_code code;

		if (name && message_from_name(name, &code) == 0)
			resource_problem(list, s->r, code, json_is_object(args) ? resource_cleaned(args) : json_object(),
				    time_or_null(since));
	}
	return list;
}

/* --- the live members ------------------------------------------------------------------------- */

static json_t *taken_or(const json_t *status, const char *name, json_type type, json_t *otherwise)
{
	json_t *value = json_object_get(status, name);

	if (!value || json_typeof(value) != type)
		return otherwise;
	json_decref(otherwise);
	return resource_cleaned(value);
}

static json_t *number_or_zero(const json_t *status, const char *name)
{
	json_t *value = json_object_get(status, name);

	return json_is_number(value) ? json_deep_copy(value) : json_integer(0);
}

static json_t *disks(const struct sources *s, struct db *db)
{
	json_t *told = json_object_get(s->status, "disks"), *enrolled, *list, *d;
	size_t i;

	if (json_array_size(told))
		return resource_cleaned(told);
	enrolled = db_disks(db, s->m->id);
	list = json_array();
	json_array_foreach(enrolled, i, d)
		json_array_append_new(list, json_pack("{s:O, s:O, s:O, s:i, s:i}", "id", json_object_get(d, "id"),
						      "device", json_object_get(d, "name"), "size_bytes",
						      json_object_get(d, "size_bytes"), "scanned_bytes", 0,
						      "dirty_bytes", 0));
	json_decref(enrolled);
	return list;
}

static void add_live(json_t *view, const struct sources *s, struct db *db)
{
	const json_t *t = s->status;

	json_object_set_new(view, "backlog_bytes", number_or_zero(t, "backlog_bytes"));
	json_object_set_new(view, "capture",
			    taken_or(t, "capture", JSON_OBJECT,
				     json_pack("{s:s, s:i}", "mode", "payload", "lost_to_dirty_map_bytes", 0)));
	json_object_set_new(view, "disks", disks(s, db));
	json_object_set_new(view, "rates",
			    taken_or(t, "rates", JSON_OBJECT,
				     json_pack("{s:f, s:f}", "write_bytes_per_second", 0.0, "drain_bytes_per_second", 0.0)));
	json_object_set_new(view, "forecast",
			    taken_or(t, "forecast", JSON_OBJECT,
				     json_pack("{s:n, s:n, s:n}", "converges", "eta_seconds",
					       "needed_mbit_per_second")));
	json_object_set_new(view, "sent_bytes", number_or_zero(t, "sent_bytes"));
	json_object_set_new(view, "resent_bytes", number_or_zero(t, "resent_bytes"));
}

static json_t *server_view(const struct sources *s)
{
	const struct server_row *w = &s->server_row;

	if (!s->has_server)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:I, s:b}", "id", w->id, "name", w->name, "address",
			 resource_server_address(s->r, w), "port", (json_int_t)w->port, "connected", s->server.connected);
}

/* --- all of it ---------------------------------------------------------------------------------- */

static const json_t *store_of(const json_t *server_status, const char *machine_id)
{
	json_t *m;
	size_t i;

	json_array_foreach(json_object_get(server_status, "machines"), i, m) {
		const char *id = json_string_value(json_object_get(m, "id"));

		if (id && !strcmp(id, machine_id))
			return m;
	}
	return NULL;
}

json_t *machine_view(const struct request *r, struct db *db, const struct machine_row *m)
{
	struct sources s = { .r = r, .m = m, .now_us = wallclock_now_us(), .agent = live_view(r->console->live, m->id) };
	json_t *view, *usage, *facts, *blueprint;

	s.status = s.agent.status;
	s.has_server = *m->server_id && db_server_find(db, m->server_id, &s.server_row);
	if (s.has_server)
		s.server = live_view(r->console->live, m->server_id);
	s.store = store_of(s.server.status, m->id);
	view = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "name", m->name, "id", m->id, "state", m->state, "stage",
			 stage(&s), "connected", s.agent.connected, "last_seen", resource_time(s.agent.seen_us));
	add_points(view, &s);
	add_live(view, &s, db);
	json_object_set_new(view, "settings", settings_in_force(db, m->id));
	json_object_set_new(view, "replication_server", server_view(&s));
	json_object_set_new(view, "problems", problems(&s));
	usage = json_object_get(s.store, "usage");
	json_object_set_new(view, "store", json_is_object(usage) ? resource_cleaned(usage) : json_null());
	facts = db_machine_facts(db, m->id);
	blueprint = blueprint_in_force(db, m->id);
	json_object_set_new(view, "launch_needs", needs_view(r, facts, blueprint));
	json_decref(blueprint);
	json_object_set_new(view, "facts", resource_cleaned(facts));
	json_decref(facts);
	json_object_set_new(view, "enrolled", resource_time((uint64_t)m->enrolled_us));
	json_object_set_new(view, "replica", launch_view_replica(db, m));
	json_object_set_new(view, "life_cycle", launch_view_life_cycle(db, m));
	live_view_done(&s.agent);
	live_view_done(&s.server);
	return view;
}
