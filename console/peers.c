/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link's side at the console (docs/api.md, section 8).  The peer is known
 * by its certificate; whatever it says is about itself, or, if it is a server,
 * about the machines assigned to it.
 */
#include "db_events.h"
#include "db_work.h"
#include "desired.h"
#include "handlers.h"
#include "hardware.h"
#include "launches.h"
#include "link.h"
#include "resource.h"
#include "verify.h"
#include "wallclock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_DEFAULT_S 25u
#define WAIT_MOST_S 60u
#define EVENTS_MOST 1000u
#define PORT_DEFAULT 1500

/* --- long poll ----------------------------------------------------------------------------- */

int handle_link_poll(struct request *r)
{
	uint64_t known = 0, wait_s = WAIT_DEFAULT_S, deadline;
	bool fresh = !request_query(r, "version");
	struct live *live = r->console->live;
	struct live_poll poll;
	int status = request_query_number(r, "version", 0, 1ULL << 53, &known);

	if (!status)
		status = request_query_number(r, "wait", 0, WAIT_MOST_S, &wait_s);
	if (status)
		return status;
	deadline = monotonic_now_us() + wait_s * USEC_PER_SEC;
	live_poll_begin(live, r->peer_id, fresh, &poll);
	for (;;) {
		json_t *commands = live_poll_commands(live, r->peer_id, &poll), *desired;
		uint64_t version;

		status = desired_of(r, &desired);
		if (status) {
			json_decref(commands);
			return status;
		}
		version = desired_version(desired);
		if (fresh || version != known || json_array_size(commands) ||
		    !live_poll_wait(live, r->peer_id, &poll, deadline))
			return request_answer(r, 200, json_pack("{s:I, s:o, s:o}", "version", (json_int_t)version,
								"desired", desired, "commands", commands));
		json_decref(desired);
		json_decref(commands);
	}
}

/* --- replies --------------------------------------------------------------------------------- */

/* What a kept command's answer means beyond that it need not be told again. */
static void after_kept(struct request *r, struct db *db, const json_t *command, const struct fault *f)
{
	const char *verb = json_string_value(json_object_get(command, "verb"));
	const char *id = json_string_value(json_object_get(command, "id"));

	db_command_done(db, id);
	if (!strcmp(verb, "remove"))
		db_machine_set_told(db, r->peer_id);
	if (!strcmp(verb, "verify"))
		verify_answered(db, id, f);
	if (!strcmp(verb, "launch") || !strcmp(verb, "terminate"))
		launches_answered(db, command, f);
}

static int end_kept(struct request *r, const json_t *command, const struct fault *f)
{
	struct db *db = catalogue_write(r->console->catalogue);
	int err;

	after_kept(r, db, command, f);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "ending a command", err);
	live_withdraw(r->console->live, r->peer_id, json_string_value(json_object_get(command, "id")));
	live_announce(r->console->live, LIVE_STATUSES);
	live_announce(r->console->live, LIVE_EVENTS);
	return 0;
}

static int read_fault(struct request *r, const json_t *fault, struct fault *ret)
{
	if (fault && fault_from_json(fault, ret) == 0)
		return 0;
	return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason",
			      "\"fault\" must have a code of messages.def and at most 6 texts as args", NULL);
}

/* Out of the body, so that nobody else has it. */
static json_t *take_result(struct request *r, json_t *result)
{
	if (!json_is_object(result))
		return json_object();
	json_incref(result);
	json_object_del(r->body, "result");
	return result;
}

int handle_link_reply(struct request *r)
{
	json_t *id, *ok, *result, *fault, *command = NULL;
	const struct member members[] = { { "id", MEMBER_TEXT, true, &id },
					  { "ok", MEMBER_BOOL, true, &ok },
					  { "result", MEMBER_ANY, false, &result },
					  { "fault", MEMBER_OBJECT, false, &fault },
					  { NULL } };
	struct fault f;
	bool kept = false, failed;
	int status = request_members(r, r->body, "the reply", members), err;

	if (status)
		return status;
	failed = json_is_false(ok);
	if (failed)
		status = read_fault(r, fault, &f);
	if (status)
		return status;
	err = live_reply(r->console->live, r->peer_id, json_string_value(id), take_result(r, result),
			 failed ? &f : NULL, &kept, &command);
	if (err)
		return request_refuse(r, 404, MSG_COMMAND_UNKNOWN, "id", json_string_value(id), NULL);
	if (kept)
		status = end_kept(r, command, failed ? &f : NULL);
	json_decref(command);
	return status ? status : request_nothing(r);
}

/* --- status ------------------------------------------------------------------------------------ */

static bool read_clock(const json_t *status, int64_t *ret_ahead_us)
{
	const char *time = json_string_value(json_object_get(status, "time"));
	uint64_t us;

	if (!time || wallclock_parse(time, &us))
		return false;
	*ret_ahead_us = (int64_t)us - (int64_t)wallclock_now_us();
	return true;
}

/* The first time of each. */
static int note_firsts(struct request *r, const struct machine_row *m)
{
	int64_t now = (int64_t)wallclock_now_us();
	bool sends = resource_integer(r->body, "sent_bytes", 0) > 0;
	bool has_point = json_is_object(json_object_get(r->body, "newest_point"));

	if (m->connection_us && (m->first_byte_us || !sends) && (m->first_point_us || !has_point))
		return 0;
	db_machine_set_firsts(catalogue_write(r->console->catalogue), m->id, now, sends ? now : 0, has_point ? now : 0);
	return catalogue_commit(r->console->catalogue);
}

/* It outlives the machine: that is what it is for. */
static int note_hardware(struct request *r, const struct machine_row *m, const json_t *before)
{
	json_t *said = json_object_get(r->body, "hardware"), *facts;
	int64_t ahead_us = 0;
	struct hardware *h;
	struct db *db;
	bool good;

	if (!said || json_equal(said, json_object_get(before, "hardware")))
		return 0;
	h = malloc(sizeof(*h));
	good = h && hardware_from_json(said, h) == 0;
	db = catalogue_write(r->console->catalogue);
	facts = db_machine_facts(db, m->id);
	if (good && !json_equal(said, json_object_get(facts, "hardware"))) {
		json_object_set_new(facts, "hardware", hardware_to_json(h));
		json_object_set_new(facts, "kernel", json_string(h->kernel)); /* it may have been upgraded since enrolment */
		db_machine_set_facts(db, m->id, facts);
		(void)read_clock(r->body, &ahead_us); /* points have the machine's times, too */
		db_machine_add_hardware(db, m->id, (int64_t)wallclock_now_us() + ahead_us,
					json_object_get(facts, "hardware"));
	}
	json_decref(facts);
	free(h);
	return catalogue_commit(r->console->catalogue);
}

static int take_agent_status(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct machine_row m;
	bool known = db_machine_by_id(db, r->peer_id, &m);
	struct live_view before;
	int64_t ahead;
	bool has_clock;
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a machine", err);
	if (!known || m.removed)
		return request_nothing(r);
	err = note_firsts(r, &m);
	if (err)
		return request_catalogue_failed(r, "keeping a machine's dates", err);
	before = live_view(r->console->live, r->peer_id);
	verify_take_status(r, &m, before.status, r->body);
	err = note_hardware(r, &m, before.status);
	live_view_done(&before);
	if (err)
		return request_catalogue_failed(r, "keeping a machine's facts", err);
	has_clock = read_clock(r->body, &ahead);
	live_set_status(r->console->live, r->peer_id, request_take_body(r), has_clock ? &ahead : NULL);
	return request_nothing(r);
}

static bool lists_machine(const json_t *status, const char *id)
{
	json_t *m;
	size_t i;

	json_array_foreach(json_object_get(status, "machines"), i, m) {
		const char *its = json_string_value(json_object_get(m, "id"));

		if (its && !strcmp(its, id))
			return true;
	}
	return false;
}

/* Stores of removed machines that this status does not name any more; the
 * number of them. */
static size_t note_gone_stores(struct request *r, struct db *db, bool write)
{
	struct machine_row *rows;
	size_t count = db_machine_list(db, true, r->peer_id, &rows), gone = 0;

	for (size_t i = 0; i < count; i++)
		if (rows[i].removed && !rows[i].store_gone && !lists_machine(r->body, rows[i].id)) {
			gone++;
			if (write)
				db_machine_set_store_gone(db, rows[i].id);
		}
	free(rows);
	return gone;
}

static void wake_machines_of(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct machine_row *rows;
	size_t count = db_machine_list(db, false, r->peer_id, &rows);

	(void)!catalogue_read_end(r->console->catalogue);
	for (size_t i = 0; i < count; i++)
		live_wake(r->console->live, rows[i].id);
	free(rows);
}

/* A server that listens on every address is reached where it calls from, unless
 * that is this machine: resource_server_address() knows what to do then. */
static const char *address_of(const struct request *r)
{
	const char *told = json_string_value(json_object_get(r->body, "address"));

	if (told && resource_is_every_address(told) && !resource_is_loopback(r->address))
		return r->address;
	return told;
}

static int take_server_status(struct request *r)
{
	const char *address = address_of(r);
	int64_t port = resource_integer(r->body, "port", PORT_DEFAULT);
	struct db *db = catalogue_read(r->console->catalogue);
	struct server_row s = { 0 };
	bool known = db_server_find(db, r->peer_id, &s), moved;
	struct live_view before;
	size_t gone = note_gone_stores(r, db, false);
	int err = catalogue_read_end(r->console->catalogue);

	moved = known && address && port > 0 && port < 65536 && strlen(address) < sizeof(s.address) &&
		(strcmp(address, s.address) || port != s.port);
	if (!err && (moved || gone)) {
		db = catalogue_write(r->console->catalogue);
		if (moved)
			db_server_set_address(db, s.id, address, port);
		note_gone_stores(r, db, true);
		err = catalogue_commit(r->console->catalogue);
	}
	if (err)
		return request_catalogue_failed(r, "keeping a server's status", err);
	before = live_view(r->console->live, r->peer_id);
	err = launches_take_status(r->console, r->peer_id, before.status, r->body);
	live_view_done(&before);
	if (err)
		return request_catalogue_failed(r, "following launches", err);
	live_set_status(r->console->live, r->peer_id, request_take_body(r), NULL);
	if (moved)
		wake_machines_of(r);
	if (gone)
		live_wake(r->console->live, r->peer_id);
	return request_nothing(r);
}

int handle_link_status(struct request *r)
{
	if (!json_is_object(r->body))
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", "the status must be a JSON object", NULL);
	return r->is == WHO_AGENT ? take_agent_status(r) : take_server_status(r);
}

/* --- events -------------------------------------------------------------------------------------- */

/* Whom it is about: an agent's are about its machine; a server says it, and is
 * believed for its own. */
static bool find_subject(struct request *r, struct db *db, const json_t *event, struct machine_row *ret)
{
	const char *id = r->is == WHO_AGENT ? r->peer_id : json_string_value(json_object_get(event, "machine"));

	if (!id)
		id = json_string_value(json_object_get(json_object_get(event, "args"), "machine"));
	if (!id)
		return false;
	if (r->is == WHO_AGENT)
		return db_machine_by_id(db, id, ret);
	return (db_machine_by_id(db, id, ret) || db_machine_find(db, id, ret)) && !strcmp(ret->server_id, r->peer_id);
}

static void record(struct request *r, struct db *db, const json_t *event, const struct fault *told)
{
	const char *time = json_string_value(json_object_get(event, "time"));
	struct machine_row m;
	bool has_machine = find_subject(r, db, event, &m);
	struct fault f = *told;
	struct event e = { .who = r->who, .fault = &f, .project_id = r->console->project_id };

	if (has_machine) {
		e.machine_id = m.id;
		e.machine_name = m.name;
		e.project_id = m.project_id;
	}
	for (unsigned int i = 0; has_machine && i < f.arg_count; i++)
		if (!strcmp(f.args[i].value, m.id))
			snprintf(f.args[i].value, sizeof(f.args[i].value), "%s", m.name);
	if (time && wallclock_parse(time, &e.time_us))
		e.time_us = 0;
	db_event_add(db, &e);
}

/* A code of a newer agent: what it says is lost on this console, but not that
 * it was said. */
static void read_event(const json_t *event, struct fault *ret)
{
	const char *code = json_string_value(json_object_get(event, "code"));

	if (fault_from_json(event, ret))
		fault_set(ret, 0, MSG_EVENT_UNKNOWN, "event", code ? code : "?", NULL);
}

int handle_link_events(struct request *r)
{
	json_t *events, *event;
	const struct member members[] = { { "events", MEMBER_ARRAY, true, &events }, { NULL } };
	struct db *db;
	size_t i;
	int status = request_members(r, r->body, "the request", members), err;

	if (status)
		return status;
	if (json_array_size(events) > EVENTS_MOST)
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", "events", "value", "too many", "expected",
				      "at most 1000 events", NULL);
	if (!live_take_events(r->console->live, r->peer_id, json_array_size(events)))
		return request_refuse(r, 429, MSG_TOO_MANY_EVENTS, "who", r->who, NULL);
	db = catalogue_write(r->console->catalogue);
	json_array_foreach(events, i, event) {
		struct fault f;

		read_event(event, &f);
		record(r, db, event, &f);
	}
	err = catalogue_commit(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "keeping events", err);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_nothing(r);
}
