/* SPDX-License-Identifier: Apache-2.0 */
/* Points are the replication server's: it is asked, and its answer passed on. */
#include "db_events.h"
#include "db_launches.h"
#include "handlers.h"
#include "names.h"
#include "points.h"
#include "resource.h"
#include "wallclock.h"

#include <stdio.h>

#define LIST_MOST 100000u
#define LIST_DEFAULT 1000u
#define ANSWER_MS 30000u
#define MARK_US (60 * USEC_PER_SEC)
#define POINT_MS 10000u

json_t *points_at(const char *at)
{
	char text[WALLCLOCK_TEXT_LEN + 1];
	uint64_t us;

	/* Replication is always a little behind this moment: what is meant is the newest point. */
	if (wallclock_is_now(at))
		return json_string("latest");
	/* Times as people write them are of our clock and our time zone. */
	if (wallclock_parse(at, &us) == 0)
		return json_string(wallclock_format(us, text));
	return json_string(at);
}

static void add_time(json_t *command, const char *name, uint64_t us)
{
	if (us)
		json_object_set_new(command, name, resource_time(us));
}

/* A point that was launched and booted says so. */
static void add_proof(json_t *point, const json_t *proofs)
{
	char epoch[24];
	const json_t *proof;

	snprintf(epoch, sizeof(epoch), "%lld", (long long)resource_integer(point, "epoch", 0));
	proof = json_object_get(proofs, epoch);
	if (json_is_object(point))
		json_object_set_new(point, "proof", proof ? json_deep_copy(proof) : json_null());
}

static int read_proofs(struct request *r, const char *machine_id, json_t **ret)
{
	json_t *proofs = db_launch_proofs(catalogue_read(r->console->catalogue), machine_id);
	int err = catalogue_read_end(r->console->catalogue);

	if (err) {
		json_decref(proofs);
		return request_catalogue_failed(r, "looking for proofs", err);
	}
	*ret = proofs;
	return 0;
}

static int answer_points(struct request *r, const char *machine_id, json_t *answer)
{
	json_t *proofs, *point;
	size_t i;
	int status = read_proofs(r, machine_id, &proofs);

	if (status) {
		json_decref(answer);
		return status;
	}
	json_array_foreach(json_object_get(answer, "points"), i, point)
		add_proof(point, proofs);
	json_decref(proofs);
	return request_answer(r, 200, answer);
}

int handle_point_list(struct request *r)
{
	uint64_t from = 0, to = 0, limit = LIST_DEFAULT;
	bool newest = false;
	struct machine_row m;
	json_t *command, *result;
	char id[ID_SIZE];
	int status = resource_machine(r, &m);

	if (!status)
		status = request_query_time(r, "from", &from);
	if (!status)
		status = request_query_time(r, "to", &to);
	if (!status)
		status = request_query_number(r, "limit", 1, LIST_MOST, &limit);
	if (!status)
		status = request_query_bool(r, "newest", &newest);
	if (status)
		return status;
	memcpy(id, m.id, sizeof(id));
	command = resource_command("points");
	json_object_set_new(command, "machine", json_string(id));
	json_object_set_new(command, "limit", json_integer((json_int_t)limit));
	json_object_set_new(command, "newest", json_boolean(newest));
	add_time(command, "from", from);
	add_time(command, "to", to);
	status = resource_call_server(r, &m, command, ANSWER_MS, &result);
	return status ? status : answer_points(r, id, result);
}

static int get_point(struct request *r, const struct machine_row *m, json_t *at, unsigned int timeout_ms,
		     json_t **ret)
{
	json_t *command = resource_command("point");

	json_object_set_new(command, "machine", json_string(m->id));
	json_object_set_new(command, "at", at);
	return resource_call_server(r, m, command, timeout_ms, ret);
}

int handle_point_get(struct request *r)
{
	struct machine_row m;
	json_t *point, *proofs;
	int status = resource_machine(r, &m);

	if (!status)
		status = get_point(r, &m, points_at(r->params[1]), ANSWER_MS, &point);
	if (status)
		return status;
	status = read_proofs(r, m.id, &proofs);
	if (status) {
		json_decref(point);
		return status;
	}
	add_proof(point, proofs);
	json_decref(proofs);
	return request_answer(r, 200, point);
}

/* --- mark --------------------------------------------------------------------------------------- */

static int timed_out(struct request *r, const struct machine_row *m, const char *label)
{
	return request_refuse(r, 504, MSG_MARK_TIMED_OUT, "machine", m->name, "label", label, NULL);
}

/* The agent has the word that the epoch is durable; the server, asked at the
 * same moment, may need another to show it. */
static int wait_for_point(struct request *r, const struct machine_row *m, uint64_t epoch, uint64_t deadline_us,
			  const char *label, json_t **ret)
{
	struct uuid machine, point;
	char id[ID_SIZE];

	if (uuid_parse(m->id, &machine))
		return timed_out(r, m, label);
	point = uuid_from_epoch(&machine, epoch);
	uuid_format(&point, id);
	for (;;) {
		uint64_t ticket = live_ticket(r->console->live, LIVE_STATUSES);
		int status = get_point(r, m, json_string(id), POINT_MS, ret);

		if (status != 404)
			return status;
		if (!live_wait(r->console->live, LIVE_STATUSES, ticket, deadline_us))
			return timed_out(r, m, label);
	}
}

/* A label leads to one point.  Where the server cannot be asked, the mark will say so itself. */
static int check_label_free(struct request *r, const struct machine_row *m, const char *label)
{
	json_t *point;
	bool taken;

	if (get_point(r, m, json_string(label), POINT_MS, &point))
		return 0;
	taken = json_is_string(json_object_get(point, "label")) &&
		strcmp(json_string_value(json_object_get(point, "label")), label) == 0;
	json_decref(point);
	return taken ? request_refuse(r, 409, MSG_LABEL_TAKEN, "machine", m->name, "label", label, NULL) : 0;
}

static int call_mark(struct request *r, const struct machine_row *m, const char *label, uint64_t *ret_epoch)
{
	json_t *command = resource_command("mark"), *result;
	int status;

	json_object_set_new(command, "label", json_string(label));
	status = resource_call_agent(r, m, command, MARK_US / USEC_PER_MSEC, &result);
	if (status == 504)
		return timed_out(r, m, label);
	if (status)
		return status;
	*ret_epoch = (uint64_t)resource_integer(result, "epoch", 0);
	json_decref(result);
	return *ret_epoch ? 0 : request_refuse(r, 504, MSG_AGENT_SILENT, "machine", m->name, NULL);
}

int handle_mark(struct request *r)
{
	json_t *label, *point;
	const struct member members[] = { { "label", MEMBER_TEXT, true, &label }, { NULL } };
	uint64_t deadline_us = monotonic_now_us() + MARK_US, epoch;
	struct machine_row m;
	const char *text;
	struct db *db;
	int status = resource_machine(r, &m), err;

	if (!status)
		status = request_members(r, r->body, "the request", members);
	if (status)
		return status;
	text = json_string_value(label);
	if (!names_label_ok(text))
		return request_refuse(r, 400, MSG_LABEL_BAD, "label", text, NULL);
	if (strcmp(m.state, "started"))
		return request_refuse(r, 409, MSG_MACHINE_NOT_RUNNING, "machine", m.name, "state", m.state, NULL);
	status = check_label_free(r, &m, text);
	if (!status)
		status = call_mark(r, &m, text, &epoch);
	if (!status)
		status = wait_for_point(r, &m, epoch, deadline_us, text, &point);
	if (status)
		return status;
	db = catalogue_write(r->console->catalogue);
	resource_event(r, db, &m, NULL, MSG_POINT_MARKED, "label", text, "time",
		       json_string_value(json_object_get(point, "time")), NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		console_catalogue_failed(r->console, "recording a point", err);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 201, point);
}

/* --- scrub ----------------------------------------------------------------------------------------- */

int handle_scrub(struct request *r)
{
	struct machine_row m;
	json_t *command, *result;
	int status = resource_machine(r, &m);

	if (status)
		return status;
	command = resource_command("scrub");
	json_object_set_new(command, "machine", json_string(m.id));
	status = resource_call_server(r, &m, command, ANSWER_MS, &result);
	if (status)
		return status;
	json_decref(result);
	return request_answer(r, 202, json_object());
}
