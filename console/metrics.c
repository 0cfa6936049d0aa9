/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus' text format, made from the same views that the API shows. */
#include "db_launches.h"
#include "handlers.h"
#include "machine_view.h"
#include "resource.h"
#include "wallclock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct metric {
	const char *name, *type, *help;
	const char *path; /* of the view: "rates.write_bytes_per_second" */
};

static const struct metric of_machines[] = {
	{ "godwit_machine_connected", "gauge", "1 while the agent is heard", "connected" },
	{ "godwit_machine_lag_seconds", "gauge", "since the newest recovery point was cut", "lag_seconds" },
	{ "godwit_machine_backlog_bytes", "gauge", "written and not yet durable", "backlog_bytes" },
	{ "godwit_machine_sent_bytes_total", "counter", "sent since the agent started", "sent_bytes" },
	{ "godwit_machine_resent_bytes_total", "counter", "of these, sent again", "resent_bytes" },
	{ "godwit_machine_lost_to_dirty_map_bytes_total", "counter", "captured without their order",
	  "capture.lost_to_dirty_map_bytes" },
	{ "godwit_machine_write_bytes_per_second", "gauge", "written at the source", "rates.write_bytes_per_second" },
	{ "godwit_machine_drain_bytes_per_second", "gauge", "made durable", "rates.drain_bytes_per_second" },
	{ "godwit_machine_store_bytes", "gauge", "kept in the staging area", "store.data_bytes" },
	{ "godwit_machine_points", "gauge", "recovery points kept", "store.points" },
};

static const struct metric of_servers[] = {
	{ "godwit_server_free_bytes", "gauge", "room in the staging area", "free_bytes" },
	{ "godwit_server_total_bytes", "gauge", "size of the staging area", "total_bytes" },
};

static const json_t *follow(const json_t *view, const char *path)
{
	char name[64];

	for (;;) {
		size_t len = strcspn(path, ".");

		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		view = json_object_get(view, name);
		if (!path[len])
			return view;
		path += len + 1;
	}
}

/* What is null or not there has no line. */
static void put_value(FILE *f, const struct metric *m, const char *label, const json_t *view)
{
	const json_t *value = follow(view, m->path);
	const char *name = json_string_value(json_object_get(view, "name"));

	if (json_is_boolean(value))
		fprintf(f, "%s{%s=\"%s\"} %d\n", m->name, label, name, json_is_true(value));
	else if (json_is_integer(value))
		fprintf(f, "%s{%s=\"%s\"} %lld\n", m->name, label, name, (long long)json_integer_value(value));
	else if (json_is_real(value))
		fprintf(f, "%s{%s=\"%s\"} %.6g\n", m->name, label, name, json_real_value(value));
}

static void put_all(FILE *f, const struct metric *metrics, size_t count, const char *label, const json_t *views)
{
	json_t *view;
	size_t i;

	for (const struct metric *m = metrics; m < metrics + count; m++) {
		fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
		json_array_foreach(views, i, view)
			put_value(f, m, label, view);
	}
}

static void put_stages(FILE *f, const json_t *machines)
{
	json_t *view;
	size_t i;

	fputs("# HELP godwit_machine_stage 1 for the stage the machine is in\n# TYPE godwit_machine_stage gauge\n", f);
	json_array_foreach(machines, i, view)
		fprintf(f, "godwit_machine_stage{machine=\"%s\",stage=\"%s\"} 1\n",
			json_string_value(json_object_get(view, "name")),
			json_string_value(json_object_get(view, "stage")));
}

/* When the newest drill that succeeded did. */
static void put_drills(FILE *f, const json_t *machines)
{
	const char *name = "godwit_machine_last_drill_timestamp_seconds";
	json_t *view;
	size_t i;

	fprintf(f, "# HELP %s when a drill succeeded last\n# TYPE %s gauge\n", name, name);
	json_array_foreach(machines, i, view) {
		const char *time = json_string_value(follow(view, "life_cycle.last_drill"));
		uint64_t us;

		if (time && wallclock_parse(time, &us) == 0)
			fprintf(f, "%s{machine=\"%s\"} %llu\n", name, json_string_value(json_object_get(view, "name")),
				(unsigned long long)(us / USEC_PER_SEC));
	}
}

static void put_launches(FILE *f, const json_t *states)
{
	const char *state;
	json_t *count;

	fputs("# HELP godwit_launches launched machines that are not over\n# TYPE godwit_launches gauge\n", f);
	json_object_foreach((json_t *)states, state, count)
		fprintf(f, "godwit_launches{state=\"%s\"} %lld\n", state, (long long)json_integer_value(count));
}

static json_t *machine_views(struct request *r, struct db *db)
{
	struct machine_row *rows;
	size_t count = db_machine_list(db, false, NULL, &rows);
	json_t *views = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(views, machine_view(r, db, &rows[i]));
	free(rows);
	return views;
}

static json_t *server_views(struct request *r, struct db *db)
{
	struct server_row *rows;
	size_t count = db_server_list(db, &rows);
	json_t *views = json_array();

	for (size_t i = 0; i < count; i++) {
		struct live_view v = live_view(r->console->live, rows[i].id);
		json_t *view = v.status ? json_deep_copy(v.status) : json_object();

		json_object_set_new(view, "name", json_string(rows[i].name));
		json_array_append_new(views, view);
		live_view_done(&v);
	}
	free(rows);
	return views;
}

int handle_metrics(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	json_t *machines = machine_views(r, db), *servers = server_views(r, db), *states = db_launch_states(db);
	int err = catalogue_read_end(r->console->catalogue);
	size_t size;
	FILE *f = open_memstream(&r->text, &size);

	if (f) {
		put_all(f, of_machines, ARRAY_LEN(of_machines), "machine", machines);
		put_stages(f, machines);
		put_drills(f, machines);
		put_launches(f, states);
		put_all(f, of_servers, ARRAY_LEN(of_servers), "server", servers);
		fprintf(f, "# HELP godwit_console_uptime_seconds since the console started\n"
			"# TYPE godwit_console_uptime_seconds gauge\ngodwit_console_uptime_seconds %llu\n",
			(unsigned long long)((wallclock_now_us() - r->console->started_us) / USEC_PER_SEC));
		fclose(f);
	}
	json_decref(machines);
	json_decref(servers);
	json_decref(states);
	return err || !f ? request_catalogue_failed(r, "making metrics", err ? err : -ENOMEM) : 200;
}
