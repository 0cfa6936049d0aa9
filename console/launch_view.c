/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's record is shown as it came; a member that is missing or not of
 * its type is null or empty, so that what is promised is always there.
 */
#include "launch_view.h"

#include "link.h"
#include "resource.h"
#include "wallclock.h"

#include <stdio.h>

static json_t *taken_or(const json_t *record, const char *name, json_type type, json_t *otherwise)
{
	json_t *value = json_object_get(record, name);

	if (!value || json_typeof(value) != type)
		return otherwise;
	json_decref(otherwise);
	return json_deep_copy(value);
}

/* Programs speak of machines by name and of points by epoch, the API by id. */
static json_t *point_of(const struct launch_row *l, const json_t *record)
{
	json_t *point = taken_or(record, "point", JSON_OBJECT, NULL);
	struct uuid machine, made;
	char id[ID_SIZE];

	if (!point)
		return json_null();
	if (!json_is_string(json_object_get(point, "id")) && uuid_parse(l->machine_id, &machine) == 0) {
		made = uuid_from_epoch(&machine, (uint64_t)resource_integer(point, "epoch", 0));
		json_object_set_new(point, "id", json_string(uuid_format(&made, id)));
	}
	return point;
}

/* {code, message, remedy, args} or null; a code of a newer server keeps its name. */
static json_t *fault_in(const struct request *r, const json_t *holder, const char *member)
{
	const json_t *told = json_object_get(holder, member);
	struct fault f;

	if (!told)
		return json_null();
	return fault_from_json(told, &f) ? json_deep_copy(told) : request_fault_body(&f, r->language);
}

static json_t *fault_of(const struct request *r, const json_t *holder)
{
	return fault_in(r, holder, "fault");
}

static json_t *problems_of(const struct request *r, struct db *db, const char *server_id, bool over)
{
	char seen[WALLCLOCK_TEXT_LEN + 1];
	json_t *list = json_array();
	struct server_row s;
	struct live_view v;

	if (over || !db_server_find(db, server_id, &s))
		return list;
	v = live_view(r->console->live, server_id);
	if (!v.connected) {
		uint64_t seen_us = MAX(v.seen_us, (uint64_t)s.last_seen_us);

		resource_problem(
		    list, r, MSG_SERVER_AWAY,
		    json_pack("{s:s, s:s}", "server", s.name, "seen", resource_time_or_never(seen_us, seen)),
		    resource_time(seen_us));
	}
	live_view_done(&v);
	return list;
}

static const char *server_name(struct db *db, const char *id, struct server_row *s)
{
	return db_server_find(db, id, s) ? s->name : "";
}

json_t *launch_view(const struct request *r, struct db *db, const struct launch_row *l, bool with_log)
{
	json_t *record = db_launch_record(db, l->id), *view;
	json_t *created = resource_time((uint64_t)l->created_us);
	struct server_row s;

	view = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O}", "id", l->id, "machine",
			 l->machine_name, "machine_id", l->machine_id, "server", server_name(db, l->server_id, &s),
			 "kind", l->kind, "state", l->state, "at", l->at, "job", l->job_id, "initiated_by",
			 l->initiated_by, "created", created);
	json_object_set_new(view, "since", taken_or(record, "since", JSON_STRING, created));
	json_object_set_new(view, "ended", resource_time((uint64_t)l->ended_us));
	json_object_set_new(view, "point", point_of(l, record));
	json_object_set_new(view, "blueprint", db_launch_blueprint(db, l->id));
	json_object_set_new(view, "boot", taken_or(record, "boot", JSON_OBJECT, json_null()));
	json_object_set_new(view, "times", taken_or(record, "times", JSON_OBJECT, json_object()));
	json_object_set_new(view, "milliseconds", taken_or(record, "milliseconds", JSON_OBJECT, json_object()));
	json_object_set_new(view, "proof", taken_or(record, "proof", JSON_STRING, json_null()));
	json_object_set_new(view, "not_proved", l->ended_us ? json_null() : fault_in(r, record, "not_proved"));
	json_object_set_new(view, "progress", taken_or(record, "progress", JSON_OBJECT, json_null()));
	json_object_set_new(view, "proof_command", taken_or(record, "proof_command", JSON_OBJECT, json_null()));
	json_object_set_new(view, "post_launch", taken_or(record, "post_launch", JSON_OBJECT, json_null()));
	json_object_set_new(view, "started_again", taken_or(record, "started_again", JSON_STRING, json_null()));
	json_object_set_new(view, "power_off", taken_or(record, "power_off", JSON_OBJECT, json_null()));
	json_object_set_new(view, "forwards",
			    l->ended_us ? json_array() : taken_or(record, "forwards", JSON_ARRAY, json_array()));
	json_object_set_new(view, "images", taken_or(record, "images", JSON_OBJECT, json_null()));
	json_object_set_new(view, "folder", taken_or(record, "folder", JSON_STRING, json_null()));
	json_object_set_new(view, "disks_kept", json_boolean(json_is_true(json_object_get(record, "disks_kept"))));
	json_object_set_new(view, "fault", fault_of(r, record));
	json_object_set_new(view, "problems", problems_of(r, db, l->server_id, l->ended_us != 0));
	if (with_log)
		json_object_set_new(view, "log", taken_or(record, "log", JSON_ARRAY, json_array()));
	json_decref(record);
	return view;
}

json_t *job_view(const struct request *r, struct db *db, const struct job_row *j)
{
	json_t *result = db_job_result(db, j->id), *view;
	struct launch_row l;
	bool has_launch = *j->launch_id && db_launch_find(db, j->launch_id, &l);

	view = json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "id", j->id, "type", j->type,
			 "status", j->status, "created", resource_time((uint64_t)j->created_us), "ended",
			 resource_time((uint64_t)j->ended_us), "initiated_by", j->initiated_by,
			 "participating_machines", db_job_machines(db, j->id), "launch",
			 *j->launch_id ? json_string(j->launch_id) : json_null(), "fault", fault_of(r, result),
			 "problems", has_launch ? problems_of(r, db, l.server_id, db_job_is_over(j)) : json_array(),
			 "log", db_job_log(db, j->id));
	json_decref(result);
	return view;
}

/* --- life cycle ------------------------------------------------------------------------------ */

static void add_newest(json_t *view, const json_t *life, const char *type, const char *time_name,
		       const char *job_name)
{
	const json_t *newest = json_object_get(life, type);

	json_object_set_new(view, time_name, resource_time((uint64_t)resource_integer(newest, "us", 0)));
	json_object_set_new(view, job_name, taken_or(newest, "job", JSON_STRING, json_null()));
}

json_t *launch_view_replica(struct db *db, const struct machine_row *m)
{
	char id[ID_SIZE];

	return db_launch_replica(db, m->id, id) ? json_string(id) : json_null();
}

json_t *launch_view_life_cycle(struct db *db, const struct machine_row *m)
{
	json_t *view = json_pack(
	    "{s:o, s:o, s:o, s:o}", "agent_installation", resource_time((uint64_t)m->enrolled_us),
	    "connection_established", resource_time((uint64_t)m->connection_us), "first_byte",
	    resource_time((uint64_t)m->first_byte_us), "first_point", resource_time((uint64_t)m->first_point_us));
	json_t *life = db_machine_life(db, m->id);

	add_newest(view, life, "TEST_LAUNCH", "last_test_launch", "last_test_launch_job");
	add_newest(view, life, "CUTOVER_LAUNCH", "last_cutover", "last_cutover_job");
	add_newest(view, life, "DRILL", "last_drill", "last_drill_job");
	json_decref(life);
	return view;
}
