/* SPDX-License-Identifier: Apache-2.0 */
/* How a launch begins, and how its server is told to end it. */
#include "launches.h"

#include "db_events.h"
#include "points.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>

const char *launches_job_type(const char *kind)
{
	if (!strcmp(kind, "test"))
		return "TEST_LAUNCH";
	if (!strcmp(kind, "cutover"))
		return "CUTOVER_LAUNCH";
	if (!strcmp(kind, "images"))
		return "IMAGES";
	return strcmp(kind, "drill") ? NULL : "DRILL";
}

void launches_make_row(struct launch_row *l, const struct machine_row *m, const char *kind, const char *at,
		       const char *who)
{
	struct uuid id = uuid_random(), job = uuid_random();

	*l = (struct launch_row){ .created_us = (int64_t)wallclock_now_us(), .state = "asked" };
	uuid_format(&id, l->id);
	uuid_format(&job, l->job_id);
	memcpy(l->project_id, m->project_id, sizeof(l->project_id));
	memcpy(l->machine_id, m->id, sizeof(l->machine_id));
	memcpy(l->server_id, m->server_id, sizeof(l->server_id));
	memcpy(l->machine_name, m->name, sizeof(l->machine_name));
	snprintf(l->kind, sizeof(l->kind), "%s", kind);
	snprintf(l->at, sizeof(l->at), "%s", at);
	snprintf(l->initiated_by, sizeof(l->initiated_by), "%s", who);
}

/* Its id is the launch's, so that it can be withdrawn. */
static json_t *make_command(const struct launch_row *l, const json_t *blueprint, const json_t *images,
			    const json_t *facts, json_t *history)
{
	json_t *command = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "id", l->id, "verb", "launch", "launch", l->id,
				    "machine", l->machine_id, "at", points_at(l->at), "kind", l->kind);
	const char *firmware = json_string_value(json_object_get(facts, "firmware"));
	json_t *b = json_deep_copy(blueprint);

	if (!json_string_length(json_object_get(b, "proof_text")))
		json_object_del(b, "proof_text");
	json_object_set_new(command, "blueprint", b);
	json_object_update_missing(command, (json_t *)images);
	/* How the source was started: a word more than what its disks say. */
	if (firmware && (!strcmp(firmware, "bios") || !strcmp(firmware, "uefi")))
		json_object_set_new(command, "source_firmware", json_string(firmware));
	if (json_is_object(json_object_get(facts, "hardware")))
		json_object_set(command, "hardware", json_object_get(facts, "hardware"));
	/* The server knows the point's time. */
	if (json_array_size(history))
		json_object_set(command, "hardware_history", history);
	return command;
}

static void record_begin(struct db *db, const struct launch_row *l)
{
	struct fault f;

	fault_set(&f, 0, MSG_LAUNCH_REQUESTED, "machine", l->machine_name, "at", l->at, "kind", l->kind, "launch",
		  l->id, NULL);
	db_event_add(db, &(struct event){ .project_id = l->project_id, .machine_id = l->machine_id,
					  .machine_name = l->machine_name, .job_id = l->job_id,
					  .who = l->initiated_by, .fault = &f });
}

/* Drills go on for ever; what they leave does not. */
static json_t *drop_old_drills(struct db *db, const char *machine_id)
{
	struct launch_row *old;
	size_t count = db_launch_list_old_drills(db, machine_id, LAUNCH_DRILLS_KEPT, &old);
	json_t *commands = json_array();

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(commands, launches_end(db, &old[i]));
		db_launch_drop(db, old[i].id);
	}
	free(old);
	return commands;
}

/* Nobody is to meet a machine that is started only to see that it boots. */
static json_t *blueprint_for(const char *kind, const json_t *blueprint)
{
	json_t *copy = json_deep_copy(blueprint);
	const char *network = json_string_value(json_object_get(copy, "network"));

	if (!strcmp(kind, "drill") && network && (!strcmp(network, "user") || !strcmp(network, "bridge")))
		json_object_set_new(copy, "network", json_string("isolated"));
	if (!strcmp(kind, "drill") && json_string_length(json_object_get(copy, "forward")))
		json_object_set_new(copy, "forward", json_string(""));
	return copy;
}

int launches_begin(struct console *c, const struct machine_row *m, const char *kind, const char *at,
		   const json_t *wanted, const json_t *images, const char *who, struct launch_row *ret)
{
	struct db *db = catalogue_write(c->catalogue);
	json_t *old = NULL, *command, *blueprint = blueprint_for(kind, wanted), *facts, *history;
	struct launch_row l;
	int err;
	size_t i;

	launches_make_row(&l, m, kind, at, who);
	db_job_add(db, l.job_id, l.project_id, l.machine_id, launches_job_type(kind), who, l.id);
	db_launch_add(db, &l, blueprint);
	record_begin(db, &l);
	facts = db_machine_facts(db, m->id);
	history = db_machine_hardware(db, m->id);
	if (!strcmp(kind, "drill"))
		old = drop_old_drills(db, m->id);
	err = catalogue_commit(c->catalogue);
	if (!err) {
		live_command(c->live, l.server_id, make_command(&l, blueprint, images, facts, history), true);
		json_array_foreach(old, i, command)
			launches_send(c, l.server_id, json_deep_copy(command));
		live_announce(c->live, LIVE_EVENTS);
		*ret = l;
	}
	json_decref(blueprint);
	json_decref(facts);
	json_decref(history);
	json_decref(old);
	return err;
}

json_t *launches_end(struct db *db, const struct launch_row *l)
{
	struct uuid id = uuid_random();
	char text[ID_SIZE];
	json_t *command =
	    json_pack("{s:s, s:s, s:s}", "id", uuid_format(&id, text), "verb", "terminate", "launch", l->id);

	db_command_add(db, l->server_id, command);
	return command;
}

void launches_send(struct console *c, const char *server_id, json_t *command)
{
	live_command(c->live, server_id, command, true);
}
