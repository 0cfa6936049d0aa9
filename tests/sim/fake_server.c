/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: takes frames, applies an epoch to its durable image some time
 * after the COMMIT, and answers.  A crash, or a lost connection, loses what is
 * not durable.  Each point is given to the checker when it has become durable.
 * A frame that was changed on its way, or a payload before it was framed, is
 * refused, and nothing of that connection is taken any more.
 */
#include "world.h"
#include "frame.h"
#include <assert.h>
#include <stdlib.h>

struct operation {
	uint16_t disk;
	uint64_t offset, length;
	uint8_t *payload; /* NULL: zeroes */
};

struct server_epoch {
	struct wire_commit commit;
	uint64_t from, to; /* moments between which the cut lies */
	struct operation *list;
	size_t count, max;
};

#define QUEUE 8u

struct sim_server {
	struct sim_world *w;
	uint8_t *durable[SIM_DISKS], *working[SIM_DISKS];
	uint64_t last_epoch, last_time;
	bool last_is_point;
	struct server_epoch open, queue[QUEUE];
	unsigned int queued;
	uint8_t *inbox;
	size_t inbox_used;
	uint64_t connection; /* counts; what belongs to an older one is ignored */
	uint64_t queue_connection; /* that of what is queued */
	bool connected;
	bool refused; /* this connection's agent has been told to go */
	bool spoilt;  /* the frame at hand was changed: its checksums may not hold */
	unsigned int disks_announced;
	uint64_t sizes[SIM_DISKS]; /* as announced */
};

static size_t disk_bytes(const struct sim_world *w, unsigned int disk)
{
	return SIM_SECTORS * SECTOR_BYTES;
}

struct sim_server *fake_server_new(struct sim_world *w)
{
	struct sim_server *s = calloc(1, sizeof(*s));

	s->w = w;
	for (unsigned int i = 0; i < w->s.disks; i++) {
		s->durable[i] = calloc(1, disk_bytes(w, i));
		s->working[i] = calloc(1, disk_bytes(w, i));
	}
	s->inbox = malloc(4 * (WIRE_HEADER_BYTES + WIRE_BODY_MAX));
	return s;
}

static void drop_epoch(struct server_epoch *e)
{
	for (size_t i = 0; i < e->count; i++)
		free(e->list[i].payload);
	free(e->list);
	*e = (struct server_epoch){ 0 };
}

void fake_server_free(struct sim_server *s)
{
	for (unsigned int i = 0; i < s->w->s.disks; i++) {
		free(s->durable[i]);
		free(s->working[i]);
	}
	drop_epoch(&s->open);
	for (unsigned int i = 0; i < s->queued; i++)
		drop_epoch(&s->queue[i]);
	free(s->inbox);
	free(s);
}

const uint8_t *fake_server_image(const struct sim_server *s, unsigned int disk)
{
	return s->durable[disk];
}

bool fake_server_ends_in_point(const struct sim_server *s)
{
	return s->last_is_point;
}

void fake_server_connect(struct sim_server *s)
{
	s->connection++;
	s->connected = true;
	s->refused = false;
	s->inbox_used = 0;
	s->disks_announced = 0;
}

static void lose_undurable(struct sim_server *s)
{
	drop_epoch(&s->open);
	for (unsigned int i = 0; i < s->queued; i++)
		drop_epoch(&s->queue[i]);
	s->queued = 0;
	for (unsigned int i = 0; i < s->w->s.disks; i++)
		memcpy(s->working[i], s->durable[i], disk_bytes(s->w, i));
}

void fake_server_disconnect(struct sim_server *s)
{
	if (!s->connected)
		return;
	s->connected = false;
	s->connection++;
	/* What was committed may still become durable, or not. */
	if (world_chance(s->w, 50))
		lose_undurable(s);
}

void fake_server_crash(struct sim_server *s)
{
	s->connected = false;
	s->connection++;
	lose_undurable(s);
}

/* --- answers ---------------------------------------------------------------------- */

struct answer {
	struct sim_server *s;
	size_t length;
	uint8_t frame[WIRE_HEADER_BYTES + 128];
};

static void deliver_answer(void *context, uint64_t connection, uint64_t b)
{
	struct answer *a = context;

	if (a->s->connection == connection)
		fake_agent_frame(a->s->w->agent, a->frame, a->length);
	free(a);
}

static void answer(struct sim_server *s, struct answer *a)
{
	a->s = s;
	world_at_own(s->w, s->w->now + s->w->s.latency_us, deliver_answer, a, s->connection, 0);
}

static void welcome(struct sim_server *s)
{
	struct answer *a = malloc(sizeof(*a));
	struct wire_welcome m = { .version = WIRE_VERSION_MAX, .durable_epoch = s->last_epoch };

	/* A new connection: what was on its way to the disk when the last one broke has been settled. */
	lose_undurable(s);
	a->length = wire_put_welcome(a->frame, &m);
	answer(s, a);
}

/* A checksum does not hold.  Nothing but what this world changed itself may be found so. */
static void refuse(struct sim_server *s, const char *what)
{
	struct wire_refuse m = { .reason = WIRE_REFUSED_CHECKSUM };
	struct answer *a;

	if (!s->spoilt)
		world_fail(s->w, "%s does not match its checksum, and nobody changed it", what);
	world_log(s->w, "%s was changed: refused", what);
	s->w->stats.refusals++;
	s->refused = true;
	a = malloc(sizeof(*a));
	a->length = wire_put_refuse(a->frame, &m);
	answer(s, a);
}

static void apply(uint8_t *const images[], const struct operation *o)
{
	if (o->payload)
		memcpy(images[o->disk] + o->offset, o->payload, o->length);
	else
		memset(images[o->disk] + o->offset, 0, o->length);
}

static void become_durable(struct sim_server *s)
{
	struct server_epoch *e = &s->queue[0];

	for (size_t i = 0; i < e->count; i++)
		apply(s->durable, &e->list[i]);
	s->last_epoch = e->commit.epoch;
	s->last_is_point = e->commit.flags & WIRE_COMMIT_POINT;
	s->w->stats.epochs++;
	if (s->last_is_point)
		checker_point(s->w, &e->commit, e->from, e->to, (const uint8_t *const *)s->durable);
	drop_epoch(e);
	memmove(&s->queue[0], &s->queue[1], (s->queued - 1) * sizeof(s->queue[0]));
	s->queue[--s->queued] = (struct server_epoch){ 0 };
}

/* The epoch and those before it; one answer may speak for several. */
static void synced(void *context, uint64_t epoch, uint64_t connection)
{
	struct sim_server *s = context;
	struct wire_durable m = { .epoch = epoch, .staging_us = s->w->s.sync_us, .receive_us = 1 };
	struct answer *a;

	if (!s->queued || s->queue[0].commit.epoch > epoch || s->queue_connection != connection)
		return; /* lost in between, or durable already */
	while (s->queued && s->queue[0].commit.epoch <= epoch)
		become_durable(s);
	if (s->connection != connection)
		return;
	a = malloc(sizeof(*a));
	a->length = wire_put_durable(a->frame, &m);
	answer(s, a);
}

/* --- frames ------------------------------------------------------------------------ */

static void add_operation(struct sim_server *s, struct operation o)
{
	struct server_epoch *e = &s->open;

	if (o.disk >= s->w->s.disks || o.offset + o.length > s->sizes[o.disk])
		world_fail(s->w, "a record lies past the end of disk %u", o.disk);
	if (e->count == e->max) {
		e->max = e->max ? e->max * 2 : 64;
		e->list = realloc(e->list, e->max * sizeof(*e->list));
	}
	e->list[e->count++] = o;
	apply(s->working, &o);
}

static void on_data(struct sim_server *s, const uint8_t *body, uint32_t length)
{
	struct wire_data m;
	struct operation o;

	if (wire_parse_data(body, length, &m) < 0)
		world_fail(s->w, "a DATA frame is malformed");
	o = (struct operation){ m.disk, m.offset_bytes, m.length_bytes, malloc(m.length_bytes) };
	if (payload_decompress(m.codec, m.stored, m.stored_bytes, o.payload, m.length_bytes) < 0 ||
	    payload_checksum(o.payload, m.length_bytes) != m.checksum) {
		free(o.payload);
		refuse(s, "a payload");
		return;
	}
	add_operation(s, o);
}

static void on_hash(struct sim_server *s, const uint8_t *body, uint32_t length)
{
	struct answer *a = malloc(sizeof(*a));
	struct wire_hash m;
	struct wire_differ d;
	uint64_t hash[2];

	if (wire_parse_hash(body, length, &m) < 0)
		world_fail(s->w, "a HASH frame is malformed");
	payload_hash(s->working[m.disk] + m.offset_bytes, m.length_bytes, m.seed, hash);
	d = (struct wire_differ){ m.disk, memcmp(hash, m.hash, sizeof(hash)) != 0, m.offset_bytes, m.length_bytes };
	a->length = wire_put_differ(a->frame, &d);
	answer(s, a);
}

static void on_commit(struct sim_server *s, const uint8_t *body, uint32_t length)
{
	struct sim_world *w = s->w;
	struct server_epoch *e = &s->open;
	const struct engine_cut *cut;
	uint64_t newest = s->queued ? s->queue[s->queued - 1].commit.epoch : s->last_epoch;

	if (wire_parse_commit(body, length, &e->commit) < 0)
		world_fail(w, "a COMMIT frame is malformed");
	if (e->commit.epoch != newest + 1 || e->commit.time_us <= s->last_time || e->commit.record_count != e->count)
		world_fail(w, "epoch %llu with %llu records follows %llu; %zu records came",
			   (unsigned long long)e->commit.epoch, (unsigned long long)e->commit.record_count,
			   (unsigned long long)newest, e->count);
	s->last_time = e->commit.time_us;
	cut = &w->memory.cuts[e->commit.epoch % ENGINE_CUTS];
	if (cut->epoch != e->commit.epoch || cut->time_us != e->commit.time_us)
		world_fail(w, "the agent does not remember the cut of epoch %llu", (unsigned long long)e->commit.epoch);
	fake_tracker_moment(w->tracker, cut->position, &e->from, &e->to);
	if (!w->s.clock_every_us && e->commit.flags & WIRE_COMMIT_POINT && e->commit.time_us - SIM_WALL_ZERO > e->to + 1)
		world_fail(w, "point %llu has the time %llu, and a write that was recorded at %llu is not in it",
			   (unsigned long long)e->commit.epoch, (unsigned long long)(e->commit.time_us - SIM_WALL_ZERO),
			   (unsigned long long)e->to + 1);
	if (!w->s.clock_every_us) /* else its time says nothing */
		e->from = MIN(MAX(e->commit.time_us - SIM_WALL_ZERO, e->from), e->to);
	assert(s->queued < QUEUE);
	s->queue[s->queued++] = *e;
	s->queue_connection = s->connection;
	*e = (struct server_epoch){ 0 };
	world_at(w, w->now + w->s.sync_us / 2 + world_random(w, w->s.sync_us + 1), synced, s, newest + 1, s->connection);
}

static void on_frame(struct sim_server *s, uint16_t type, const uint8_t *body, uint32_t length)
{
	struct wire_zero zero;
	struct wire_hello hello;
	struct wire_disk disk;

	switch (type) {
	case WIRE_HELLO:
		if (wire_parse_hello(body, length, &hello) < 0)
			world_fail(s->w, "a HELLO frame is malformed");
		break;
	case WIRE_DISK:
		if (wire_parse_disk(body, length, &disk) < 0 || disk.disk >= s->w->s.disks ||
		    disk.size_bytes < s->sizes[disk.disk])
			world_fail(s->w, "a DISK frame is malformed, or a disk shrank");
		s->sizes[disk.disk] = disk.size_bytes;
		if (++s->disks_announced == s->w->s.disks)
			welcome(s);
		break;
	case WIRE_DATA:
		on_data(s, body, length);
		break;
	case WIRE_ZERO:
		if (wire_parse_zero(body, length, &zero) < 0)
			world_fail(s->w, "a ZERO frame is malformed");
		add_operation(s, (struct operation){ zero.disk, zero.offset_bytes, zero.length_bytes, NULL });
		break;
	case WIRE_HASH:
		on_hash(s, body, length);
		break;
	case WIRE_COMMIT:
		on_commit(s, body, length);
		break;
	default:
		world_fail(s->w, "a %s frame is nothing for a server", wire_type_name(type));
	}
}

/* Now and then a bit of a DATA frame is another when it arrives: turned on its way, or in the agent's memory
 * after the payload's checksum was made and before the frame's was. */
static void maybe_spoil(struct sim_server *s, uint8_t *frame, const struct wire_frame *f)
{
	uint8_t *body = frame + WIRE_HEADER_BYTES;
	struct sim_world *w = s->w;
	struct wire_data m;

	s->spoilt = f->type == WIRE_DATA && !w->quiet && world_random(w, 1000) < w->s.changed_per_mille;
	if (!s->spoilt || wire_parse_data(body, f->length, &m) < 0)
		return;
	body[m.stored - body + (ptrdiff_t)world_random(w, m.stored_bytes)] ^= (uint8_t)(1u << world_random(w, 8));
	if (world_chance(w, 50))
		put_le64(frame + 8, frame_checksum(frame, body, f->length));
}

void fake_server_bytes(struct sim_server *s, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	if (s->refused)
		return;
	memcpy(s->inbox + s->inbox_used, bytes, n);
	s->inbox_used += n;
	while (s->inbox_used - at >= WIRE_HEADER_BYTES) {
		struct wire_frame f;

		if (wire_parse_frame(s->inbox + at, &f) < 0)
			world_fail(s->w, "a frame's header is malformed");
		if (s->inbox_used - at < WIRE_HEADER_BYTES + f.length)
			break;
		maybe_spoil(s, s->inbox + at, &f);
		if (wire_check_frame(s->inbox + at, s->inbox + at + WIRE_HEADER_BYTES, f.length) < 0)
			refuse(s, "a frame");
		else
			on_frame(s, f.type, s->inbox + at + WIRE_HEADER_BYTES, f.length);
		if (s->refused)
			return;
		at += WIRE_HEADER_BYTES + f.length;
	}
	memmove(s->inbox, s->inbox + at, s->inbox_used - at);
	s->inbox_used -= at;
}
