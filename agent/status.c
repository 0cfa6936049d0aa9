/* SPDX-License-Identifier: Apache-2.0 */
/* status - once a second: figures, stage, forecast, problems; what of it is news
 * is told, all of it goes to the console. */
#include "agent-private.h"
#include "encoder.h"
#include "log.h"
#include "wallclock.h"

#include <stdio.h>

#define PROBLEM_AGE_US (3 * USEC_PER_SEC) /* not said again for so long: it is over */

/* --- problems --------------------------------------------------------------------- */

static bool same_subject(const struct fault *a, const struct fault *b)
{
	return a->code == b->code && (!a->arg_count || !b->arg_count || strcmp(a->args[0].name, "disk") != 0 ||
				      strcmp(a->args[0].value, b->args[0].value) == 0);
}

/* To be said again every second for as long as it holds. */
void status_problem(struct agent *a, const struct fault *f)
{
	struct problem *p = NULL;

	for (unsigned int i = 0; i < a->problem_count && !p; i++)
		p = same_subject(&a->problems[i].fault, f) ? &a->problems[i] : NULL;
	if (!p) {
		if (a->problem_count == PROBLEMS_MAX)
			return;
		p = &a->problems[a->problem_count++];
		p->since_us = wallclock_now_us();
		agent_tell(a, f);
	}
	p->fault = *f;
	p->seen_us = monotonic_now_us();
}

static void forget_problems(struct agent *a, uint64_t now_us)
{
	for (unsigned int i = 0; i < a->problem_count; i++)
		if (a->problems[i].seen_us + PROBLEM_AGE_US < now_us)
			a->problems[i--] = a->problems[--a->problem_count];
}

static json_t *problems_json(const struct agent *a)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < a->problem_count; i++) {
		json_t *p = fault_to_json(&a->problems[i].fault);
		char since[WALLCLOCK_TEXT_LEN + 1];

		json_object_set_new(p, "since", json_string(wallclock_format(a->problems[i].since_us, since)));
		json_array_append_new(list, p);
	}
	return list;
}

static void say_convergence(struct agent *a)
{
	const struct stage_forecast *f = &a->forecast;
	char write[24], drain[24], needed[24], throttle[24];
	struct fault fault;

	if (f->converges != 0)
		return;
	snprintf(write, sizeof(write), "%.1f", f->write_rate / 1e6);
	snprintf(drain, sizeof(drain), "%.1f", f->drain_rate / 1e6);
	snprintf(needed, sizeof(needed), "%llu", (unsigned long long)f->needed_mbit);
	snprintf(throttle, sizeof(throttle), "%llu", (unsigned long long)a->throttle_mbit);
	(void)fault_set(&fault, 0, MSG_NOT_CONVERGING, "write", write, "drain", drain, "needed", needed, NULL);
	status_problem(a, &fault);
	if (!f->throttle_too_low)
		return;
	(void)fault_set(&fault, 0, MSG_THROTTLE_TOO_LOW, "throttle", throttle, "needed", needed, "machine",
			a->settings.name, NULL);
	status_problem(a, &fault);
}

static void say_problems(struct agent *a, uint64_t now_us, const struct engine_figures *f)
{
	struct fault fault;
	char seconds[24], until[WALLCLOCK_TEXT_LEN + 1];

	if (a->connection_failed && !f->connected && a->wish == STAGE_WISH_STARTED)
		status_problem(a, &a->connection_fault);
	if (a->read_failed && f->unreadable_regions)
		status_problem(a, &a->read_fault);
	attach_say_problems(a);
	if (a->stuck) {
		snprintf(seconds, sizeof(seconds), "%llu",
			 (unsigned long long)((now_us - MAX(a->durable_at_us, a->connected_at_us)) / USEC_PER_SEC));
		(void)fault_set(&fault, 0, MSG_REPLICATION_STALLED, "seconds", seconds, NULL);
		status_problem(a, &fault);
	}
	if (f->ahead_until_us) {
		(void)fault_set(&fault, 0, MSG_POINTS_AHEAD, "machine", a->settings.name, "until",
				wallclock_format(f->ahead_until_us, until), NULL);
		status_problem(a, &fault);
	}
	say_convergence(a);
}

/* --- figures --------------------------------------------------------------------------- */

struct sums {
	uint64_t dirty, lost;
	json_t *disks;
};

static void add_disk(struct agent *a, unsigned int i, struct sums *s)
{
	const struct settings_disk *d = &a->settings.disks[i];
	struct engine_disk_figures f = { 0 };
	struct tracker_counters c;
	char id[UUID_TEXT_LEN + 1];
	uint64_t dirty;

	if (engine_disk_figures(a->engine, d->disk, &f) < 0)
		f.size_bytes = d->info.size_bytes;
	dirty = MIN(f.pending_bytes + f.live_bytes + f.hash_bytes, f.size_bytes);
	s->dirty += dirty;
	if (tracker_counters(a->tracker, d->disk, &c) == 0)
		s->lost += c.lost_ring_full_bytes + c.lost_unreadable_bytes + c.lost_overlap_bytes + c.lost_other_bytes;
	json_array_append_new(
		s->disks, json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "id", uuid_format(&d->id, id), "device", d->info.path,
				    "size_bytes", (json_int_t)f.size_bytes, "scanned_bytes",
				    (json_int_t)(f.size_bytes - MIN(f.pending_bytes + f.hash_bytes, f.size_bytes)),
				    "dirty_bytes", (json_int_t)dirty, "present", a->disks[i].fd >= 0));
}

static unsigned int percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned int)MIN(part * 100 / whole, 100) : 0;
}

static bool disk_is_missing(const struct agent *a)
{
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		if (a->disks[i].fd < 0)
			return true;
	return false;
}

static struct stage_input stage_input_of(const struct agent *a, uint64_t now_us, const struct engine_figures *f)
{
	return (struct stage_input){
		.now_us = now_us, .wish = a->wish, .connected = f->connected, .synced = f->synced, .clean = f->clean,
		.rescanning = f->rescanning, .missing = disk_is_missing(a), .had_point = f->newest_point_epoch, .lag_us = f->lag_us,
		.durable_age_us = now_us - MAX(a->durable_at_us, a->connected_at_us), .backlog_bytes = a->backlog,
		.drained_bytes = f->payload_bytes + f->zero_bytes, .payload_bytes = f->payload_bytes,
		.stored_bytes = f->stored_bytes, .epoch_us = f->epoch_us, .throttle_mbit = a->throttle_mbit,
	};
}

static void follow_stage(struct agent *a, const struct stage_input *in)
{
	enum stage before = a->stages.stage;

	while (stage_step(&a->stages, in)) {
		agent_tell_code(a, MSG_STAGE_CHANGED, "from", stage_title(before), "to", stage_title(a->stages.stage),
				NULL);
		if (a->stages.stage == STAGE_CONTINUOUS && before != STAGE_LAGGING)
			agent_tell_code(a, MSG_PROTECTION_CONTINUOUS, NULL);
		before = a->stages.stage;
	}
}

/* Between two ticks: only whether the stage is another by now. */
void status_stage(struct agent *a, uint64_t now_us)
{
	struct engine_figures f;
	struct stage_input in;

	engine_figures(a->engine, &f);
	in = stage_input_of(a, now_us, &f);
	follow_stage(a, &in);
	a->staged_us = now_us;
}

static void sample_stage(struct agent *a, uint64_t now_us, const struct engine_figures *f)
{
	struct stage_input in = stage_input_of(a, now_us, f);
	uint64_t second = now_us - a->tick_us;
	struct session_figures s;

	session_figures(a->session, &s);
	in.blocked_percent = percent(s.blocked_us - a->last_session.blocked_us, second);
	in.throttled_percent = percent(s.throttled_us - a->last_session.throttled_us, second);
	a->last_session = s;
	follow_stage(a, &in);
	a->forecast = stage_sample(&a->stages, &in);
	a->stuck = f->connected && a->wish == STAGE_WISH_STARTED && stage_is_stuck(&a->stages, &in);
}

static void choose_codec(struct agent *a, uint64_t now_us, const struct engine_figures *f)
{
	const struct stage_tracker *t = &a->stages;
	enum payload_codec codec;
	uint64_t second = now_us - a->tick_us, rate;

	if (!a->compression_auto || !second || !t->count)
		return;
	rate = (f->sent_bytes - a->sent_at_tick) * USEC_PER_SEC / second;
	codec = encoder_codec_for(a->codec, rate, t->samples[t->count - 1].busy);
	if (codec != a->codec)
		engine_set_codec(a->engine, codec, 1);
	a->codec = codec;
	a->sent_at_tick = f->sent_bytes;
}

/* --- the status object -------------------------------------------------------------------- */

static json_t *point_json(const struct agent *a, const struct engine_figures *f)
{
	struct uuid point = uuid_from_epoch(&a->settings.machine, f->newest_point_epoch);
	char id[UUID_TEXT_LEN + 1], time[WALLCLOCK_TEXT_LEN + 1];

	if (!f->newest_point_epoch)
		return json_null();
	return json_pack("{s:s, s:I, s:s}", "id", uuid_format(&point, id), "epoch", (json_int_t)f->newest_point_epoch,
			 "time", wallclock_format(f->newest_point_us, time));
}

static json_t *forecast_json(const struct stage_forecast *f)
{
	return json_pack("{s:o, s:o, s:o}", "converges",
			 f->converges < 0 ? json_null() : json_boolean(f->converges), "eta_seconds",
			 f->eta_seconds < 0 ? json_null() : json_real(f->eta_seconds), "needed_mbit_per_second",
			 f->needed_mbit ? json_integer((json_int_t)f->needed_mbit) : json_null());
}

static json_t *verify_json(const struct agent *a)
{
	struct engine_verify v;

	engine_verify_status(a->engine, &v);
	if (!a->verify_id[0])
		return json_null();
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "verify", a->verify_id, "state", v.running ? "running" : "done",
			 "checked_bytes", (json_int_t)v.checked_bytes, "total_bytes", (json_int_t)v.total_bytes,
			 "differing_bytes", (json_int_t)v.differing_bytes, "unsettled_bytes",
			 (json_int_t)v.unsettled_bytes);
}

static json_t *details_json(const struct agent *a, const struct engine_figures *f)
{
	json_t *j = json_object();
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {
		{ "ring_bytes", f->ring_bytes }, { "ring_used_bytes", f->ring_used_bytes },
		{ "captured_bytes", f->merged_bytes }, { "skipped_bytes", f->skipped_bytes },
		{ "scanned_bytes", f->scanned_bytes }, { "hashed_bytes", f->hashed_bytes },
		{ "differing_bytes", f->differing_bytes }, { "payload_bytes", f->payload_bytes },
		{ "stored_bytes", f->stored_bytes }, { "zero_bytes", f->zero_bytes },
		{ "replayed_bytes", f->replayed_bytes }, { "epochs", f->epochs }, { "points", f->points },
		{ "read_errors", f->read_errors }, { "unreadable_regions", f->unreadable_regions },
		{ "samples", f->samples }, { "sample_mismatches", f->sample_mismatches },
		{ "blocked_us", a->last_session.blocked_us }, { "throttled_us", a->last_session.throttled_us },
		{ "staging_us", f->staging_us }, { "receive_us", f->receive_us },
		{ "connections", a->last_session.connections },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		json_object_set_new(j, all[i].name, json_integer((json_int_t)all[i].value));
	return j;
}

static json_t *status_json(struct agent *a, const struct engine_figures *f, struct sums *s)
{
	char time[WALLCLOCK_TEXT_LEN + 1];
	json_t *j = json_pack("{s:s, s:s, s:o, s:I, s:o, s:{s:s, s:I}, s:o}", "time",
			      wallclock_format(wallclock_now_us(), time), "stage", stage_name(a->stages.stage),
			      "lag_seconds",
			      f->newest_point_epoch ? json_real((double)(f->lag_us / 1000) / 1000) : json_null(),
			      "backlog_bytes", (json_int_t)a->backlog, "newest_point", point_json(a, f), "capture", "mode",
			      tracker_mode(a->tracker) == TRACKER_PAYLOAD ? "payload" : "dirty-map",
			      "lost_to_dirty_map_bytes", (json_int_t)s->lost, "disks", s->disks);

	json_object_set_new(j, "rates",
			    json_pack("{s:f, s:f}", "write_bytes_per_second", a->forecast.write_rate,
				      "drain_bytes_per_second", a->forecast.drain_rate));
	json_object_set_new(j, "forecast", forecast_json(&a->forecast));
	json_object_set_new(j, "problems", problems_json(a));
	json_object_set_new(j, "sent_bytes", json_integer((json_int_t)a->last_session.sent_bytes));
	json_object_set_new(j, "resent_bytes", json_integer((json_int_t)(f->resent_bytes + f->replayed_bytes)));
	json_object_set_new(j, "verify", verify_json(a));
	json_object_set_new(j, "details", details_json(a, f));
	if (facts_hardware(a->facts))
		json_object_set(j, "hardware", facts_hardware(a->facts));
	return j;
}

void status_tick(struct agent *a, uint64_t now_us)
{
	struct sums s = { .disks = json_array() };
	struct engine_figures f;
	json_t *j;

	engine_figures(a->engine, &f);
	for (unsigned int i = 0; i < a->settings.disk_count; i++)
		add_disk(a, i, &s);
	a->backlog = s.dirty + f.ring_used_bytes + f.scan_in_flight_bytes;
	sample_stage(a, now_us, &f);
	choose_codec(a, now_us, &f);
	say_problems(a, now_us, &f);
	forget_problems(a, now_us);
	j = status_json(a, &f, &s);
	if (a->link)
		link_status(a->link, j);
	json_decref(j);
	a->tick_us = now_us;
}
