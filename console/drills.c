/* SPDX-License-Identifier: Apache-2.0 */
#include "drills.h"

#include "blueprint.h"
#include "db_launches.h"
#include "db_work.h"
#include "launches.h"
#include "wallclock.h"

#include <stdlib.h>

#define LEAST_S	  60	 /* between two of a machine */
#define LONGEST_S 7200	 /* beyond the time for its proof: its disks may have to be changed first */

struct due {
	struct drill {
		char machine_id[ID_SIZE];
	} *drills;
	size_t count;
};

static void note_due(void *context, const char *machine_id, const char *value, int64_t last_us)
{
	int64_t every_s = strtoll(value, NULL, 10);
	struct due *d = context;
	struct drill *more;

	int64_t now_us = (int64_t)wallclock_now_us();

	/* A clock that was set back is no reason to wait for what it was set back by. */
	if (every_s <= 0 || strlen(machine_id) >= ID_SIZE ||
	    (last_us <= now_us && last_us + MAX(every_s, LEAST_S) * (int64_t)USEC_PER_SEC > now_us))
		return;
	more = reallocarray(d->drills, d->count + 1, sizeof(*more));
	if (!more)
		abort();
	d->drills = more;
	memcpy(d->drills[d->count++].machine_id, machine_id, strlen(machine_id) + 1);
}

static bool has_point(const json_t *server_status, const char *machine_id)
{
	json_t *m;
	size_t i;

	json_array_foreach(json_object_get(server_status, "machines"), i, m) {
		const char *id = json_string_value(json_object_get(m, "id"));

		if (id && !strcmp(id, machine_id))
			return json_is_object(json_object_get(m, "newest_point"));
	}
	return false;
}

/* Where there is no point yet nothing can be shown, and no harm is done by waiting. */
static bool can_start(struct console *c, struct db *db, const struct machine_row *m)
{
	struct live_view v;
	bool yes;

	if (!*m->server_id || db_launch_drill_runs(db, m->server_id))
		return false;
	v = live_view(c->live, m->server_id);
	yes = v.connected && has_point(v.status, m->id);
	live_view_done(&v);
	return yes;
}

static void start_one(struct console *c, const char *machine_id)
{
	struct db *db = catalogue_read(c->catalogue);
	json_t *blueprint = NULL;
	struct launch_row l;
	struct machine_row m;
	struct fault f;
	bool ready = db_machine_find(db, machine_id, &m) && can_start(c, db, &m);
	int err;

	if (ready)
		blueprint = blueprint_in_force(db, m.id);
	err = catalogue_read_end(c->catalogue);
	if (!err && ready && !blueprint_check_whole(blueprint, m.name, &f))
		err = launches_begin(c, &m, "drill", "latest", blueprint, NULL, "console", &l);
	if (err)
		console_catalogue_failed(c, "starting a drill", err);
	json_decref(blueprint);
}

static bool is_overlong(struct db *db, const struct launch_row *l)
{
	json_t *blueprint;
	int64_t limit_us;

	if (strcmp(l->kind, "drill") || db_command_ends(db, l->server_id, l->id))
		return false;
	blueprint = db_launch_blueprint(db, l->id);
	limit_us = ((int64_t)json_integer_value(json_object_get(blueprint, "proof_seconds")) + LONGEST_S) *
		   (int64_t)USEC_PER_SEC;
	json_decref(blueprint);
	return l->created_us + limit_us <= (int64_t)wallclock_now_us();
}

/* No other drill of that server begins before, and its point is held. */
void drills_end_overlong(struct console *c)
{
	struct db *db = catalogue_read(c->catalogue);
	struct launch_row *open, still;
	size_t count = db_launch_list_open(db, NULL, &open), n = 0;

	for (size_t i = 0; i < count; i++)
		if (is_overlong(db, &open[i]))
			open[n++] = open[i];
	if (catalogue_read_end(c->catalogue))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		json_t *command;
		int err;

		db = catalogue_write(c->catalogue);
		command = db_launch_find(db, open[i].id, &still) && !still.ended_us ? launches_end(db, &still) : NULL;
		err = catalogue_commit(c->catalogue);
		if (err)
			console_catalogue_failed(c, "ending a drill", err);
		if (command && !err)
			launches_send(c, open[i].server_id, command);
		else
			json_decref(command);
	}
	free(open);
}

void drills_start_due(struct console *c)
{
	struct due d = { 0 };

	db_launch_each_drilled(catalogue_read(c->catalogue), note_due, &d);
	if (catalogue_read_end(c->catalogue) == 0)
		for (size_t i = 0; i < d.count; i++)
			start_one(c, d.drills[i].machine_id);
	free(d.drills);
}
