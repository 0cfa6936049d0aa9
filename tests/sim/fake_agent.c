/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine, driven as agent.c drives it: reads take a while and see pieces of
 * the disk at moments of their own; the outbox goes out as fast as the link
 * lets it; a broken link is tried again.
 */
#include "world.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PIECES 4u

struct sim_agent {
	struct sim_world *w;
	struct engine *engine;
	uint64_t life;		/* counts: what belongs to an earlier one is ignored */
	uint64_t connection;
	bool up, welcomed;	/* the link; the server has answered */
	uint64_t link_free_at, in_transit;
	uint64_t wake_at;
};

struct pending_read {
	struct sim_agent *a;
	uint64_t life;
	uint16_t disk;
	uint32_t sectors, pieces_left;
	uint64_t sector;
	unsigned int slot;
	uint8_t *buffer;
	bool failed;
};

struct packet {
	struct sim_agent *a;
	size_t length;
	uint8_t bytes[];
};

static void connect_later(struct sim_agent *a, uint64_t delay);
static void close_link(struct sim_agent *a);

/* --- what the engine asks for ------------------------------------------------------ */

static void read_piece(void *context, uint64_t from, uint64_t to)
{
	struct pending_read *p = context;
	struct sim_world *w = p->a->w;

	for (uint64_t s = from; p->life == p->a->life && s < to; s++) {
		if (w->disks[p->disk].at[p->sector + s].bad)
			p->failed = true;
		sector_fill(p->buffer + s * SECTOR_BYTES, disk_stamp(w, p->disk, (uint32_t)(p->sector + s)));
	}
}

static void read_ends(void *context, uint64_t a, uint64_t b)
{
	struct pending_read *p = context;

	if (p->life == p->a->life) {
		engine_read_done(p->a->engine, p->slot, p->failed ? -EIO : 0);
		fake_agent_wake(p->a, 1);
	}
	free(p);
}

static int start_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot)
{
	struct sim_agent *a = context;
	struct sim_world *w = a->w;
	struct pending_read *p = malloc(sizeof(*p));
	uint32_t sectors = length / SECTOR_BYTES;
	uint64_t duration = 20 + world_random(w, w->s.read_us);

	assert(length && offset % SECTOR_BYTES == 0 && offset + length <= w->disks[disk].sectors * SECTOR_BYTES);
	*p = (struct pending_read){ .a = a, .life = a->life, .disk = disk, .sectors = sectors,
				    .sector = offset / SECTOR_BYTES, .slot = slot, .buffer = buffer };
	for (uint32_t i = 0; i < PIECES; i++)
		world_at(w, w->now + world_random(w, duration), read_piece, p, (uint64_t)sectors * i / PIECES,
			 (uint64_t)sectors * (i + 1) / PIECES);
	world_at_own(w, w->now + duration + 10, read_ends, p, 0, 0);
	w->stats.reads++;
	return 0;
}

static uint64_t size(void *context, uint16_t disk)
{
	struct sim_agent *a = context;

	return a->w->disks[disk].sectors * SECTOR_BYTES;
}

static uint64_t now(void *context)
{
	struct sim_agent *a = context;

	return a->w->now;
}

static void on_event(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text)
{
	struct sim_agent *a = context;
	struct sim_world *w = a->w;

	world_log(w, "event %d disk %u value %llu", event, disk, (unsigned long long)value);
	if (event == ENGINE_STORE_LOST || event == ENGINE_STORE_FOREIGN)
		world_fail(w, "the agent believes that the server lost something");
	if (event == ENGINE_MISMATCH && !w->s.wrong_percent && !w->s.unseen_percent)
		world_fail(w, "a sample differs from what was captured, and nothing was captured wrongly");
	if (event == ENGINE_VERIFY_DIFFERS && !w->s.wrong_percent && !w->s.unseen_percent)
		world_fail(w, "verify found a difference at %llu of disk %u where there can be none",
			   (unsigned long long)value, disk);
	w->stats.mismatches += event == ENGINE_MISMATCH;
	w->stats.verify_differs += event == ENGINE_VERIFY_DIFFERS;
}

static void on_durable(void *context, const struct wire_commit *commit, const struct wire_durable *m)
{
	struct sim_agent *a = context;

	world_log(a->w, "epoch %llu is durable%s", (unsigned long long)commit->epoch,
		  commit->flags & WIRE_COMMIT_POINT ? ", a point" : "");
}

static const struct engine_ops ops = { start_read, size, now, now, on_event, on_durable, NULL };

/* --- growth ------------------------------------------------------------------------- */

static bool has_grown(struct sim_agent *a, uint16_t disk)
{
	struct tracker_disk d;

	return tracker_disk(a->w->tracker, disk, &d) == 0 && d.size_bytes < size(a, disk);
}

static void follow_growth(struct sim_agent *a)
{
	struct sim_world *w = a->w;

	for (uint16_t i = 0; i < w->s.disks; i++) {
		if (!has_grown(a, i))
			continue;
		if (a->up) {
			engine_disconnected(a->engine);
			close_link(a);
			connect_later(a, 1 + world_random(w, 2000));
		}
		if (tracker_resize_disk(w->tracker, i, size(a, i)) < 0 || engine_disk_resized(a->engine, i) < 0)
			world_fail(w, "disk %u grew and is not followed", i);
	}
}

static void notice_growth(void *context, uint64_t b, uint64_t c)
{
	struct sim_agent *a = context;

	if (!a->engine)
		return; /* the next one will see it */
	if (setjmp(a->w->killed)) {
		fake_agent_kill(a);
		return;
	}
	a->w->may_kill = true;
	follow_growth(a);
	a->w->may_kill = false;
	fake_agent_wake(a, 1);
}

void fake_agent_notice_growth(struct sim_agent *a, uint64_t delay_us)
{
	world_at(a->w, a->w->now + delay_us, notice_growth, a, 0, 0);
}

/* --- a life ------------------------------------------------------------------------- */

static void start_engine(struct sim_agent *a)
{
	struct sim_world *w = a->w;
	struct engine_options o = { .tracker = w->tracker, .memory = &w->memory, .ops = &ops, .context = a,
				    .arena_bytes = w->s.arena_bytes, .read_bytes = w->s.read_bytes,
				    .epoch_us = w->s.epoch_us, .idle_us = w->s.epoch_us * 2,
				    .reads = 2 + (unsigned int)world_random(w, 6), .hash_seed = w->seed,
				    .outbox_bytes = 200 * KIB };

	if (engine_new(&o, &a->engine) < 0)
		world_fail(w, "no memory");
	for (unsigned int i = 0; i < w->s.disks; i++) {
		struct engine_disk_options d = { .disk = (uint16_t)i, .sector_bytes = 512 };

		if (has_grown(a, (uint16_t)i) && tracker_resize_disk(w->tracker, (uint16_t)i, size(a, (uint16_t)i)) < 0)
			world_fail(w, "disk %u grew and is not followed", i);
		d.id.bytes[0] = (uint8_t)(i + 1);
		snprintf(d.name, sizeof(d.name), "/dev/sim%u", i);
		if (engine_add_disk(a->engine, &d) < 0)
			world_fail(w, "disk %u is not taken", i);
	}
	engine_set_codec(a->engine, (enum payload_codec)world_random(w, 3), 1);
}

struct sim_agent *fake_agent_new(struct sim_world *w)
{
	struct sim_agent *a = calloc(1, sizeof(*a));

	a->w = w;
	a->life = 1;
	a->wake_at = UINT64_MAX;
	start_engine(a);
	connect_later(a, 1000);
	return a;
}

void fake_agent_free(struct sim_agent *a)
{
	engine_free(a->engine);
	free(a);
}

static void account(struct sim_agent *a)
{
	struct engine_figures f;

	engine_figures(a->engine, &f);
	a->w->stats.resent += f.resent_bytes;
	a->w->stats.replayed += f.replayed_bytes;
	a->w->stats.skipped += f.skipped_bytes;
}

void fake_agent_figures(struct sim_agent *a)
{
	account(a);
}

static void close_link(struct sim_agent *a)
{
	a->up = a->welcomed = false;
	a->connection++;
	a->in_transit = 0;
	fake_server_disconnect(a->w->server);
}

static void revive(void *context, uint64_t b, uint64_t c)
{
	struct sim_agent *a = context;

	if (!a->engine)
		start_engine(a);
	connect_later(a, 100);
}

/* kill -9: nothing of the process remains but what is pinned or mapped. */
void fake_agent_kill(struct sim_agent *a)
{
	struct sim_world *w = a->w;

	if (!a->engine)
		return;
	world_log(w, "the agent is killed");
	w->may_kill = false;
	account(a);
	engine_free(a->engine);
	a->engine = NULL;
	a->life++;
	a->wake_at = UINT64_MAX;
	close_link(a);
	w->stats.kills++;
	world_at(w, w->now + 1000 + world_random(w, 200000), revive, a, 0, 0);
}

/* --- the link ------------------------------------------------------------------------- */

static void connected(void *context, uint64_t life, uint64_t b)
{
	struct sim_agent *a = context;
	struct uuid machine = { { 1 } };

	if (a->life != life || !a->engine || a->up)
		return;
	a->up = true;
	a->connection++;
	a->link_free_at = a->w->now;
	fake_server_connect(a->w->server);
	engine_greet(a->engine, &machine, 1);
	fake_agent_wake(a, 1);
}

static void connect_later(struct sim_agent *a, uint64_t delay)
{
	world_at(a->w, a->w->now + delay, connected, a, a->life, 0);
}

void fake_agent_cut(struct sim_agent *a)
{
	if (!a->engine || !a->up)
		return;
	world_log(a->w, "the link is cut");
	a->w->stats.cuts++;
	engine_disconnected(a->engine);
	close_link(a);
	connect_later(a, 1000 + world_random(a->w, 300000));
}

/* What session.c does when it is told to go: the connection is over, and another is tried. */
static void turned_away(struct sim_agent *a)
{
	world_log(a->w, "the server refuses");
	engine_disconnected(a->engine);
	close_link(a);
	connect_later(a, 1000 + world_random(a->w, 20000));
}

static void arrive(void *context, uint64_t connection, uint64_t b)
{
	struct packet *p = context;
	struct sim_agent *a = p->a;

	if (a->connection == connection && a->up) {
		a->in_transit -= p->length;
		fake_server_bytes(a->w->server, p->bytes, p->length);
		fake_agent_wake(a, 1);
	}
	free(p);
}

/* As many bytes as the link takes; the rest stays in the outbox. */
static bool pump(struct sim_agent *a)
{
	struct sim_world *w = a->w;
	struct outbox *o = engine_outbox(a->engine);
	size_t n = 1 + world_random(w, 64 * KIB);
	struct packet *p;

	n = MIN(n, outbox_waiting(o));
	if (!a->up || !n || a->in_transit > 256 * KIB)
		return false;
	p = malloc(sizeof(*p) + n);
	p->a = a;
	p->length = n;
	memcpy(p->bytes, outbox_first(o), n);
	outbox_take(o, n);
	a->in_transit += n;
	a->link_free_at = MAX(a->link_free_at, w->now) + n * 1000 / w->s.link_bytes_per_ms;
	world_at_own(w, a->link_free_at + w->s.latency_us, arrive, p, a->connection, 0);
	return true;
}

static void run(void *context, uint64_t life, uint64_t b)
{
	struct sim_agent *a = context;
	struct sim_world *w = a->w;
	uint64_t deadline;

	if (a->life != life || !a->engine || w->now < a->wake_at)
		return;
	a->wake_at = UINT64_MAX;
	if (setjmp(w->killed)) {
		fake_agent_kill(a);
		return;
	}
	do {
		w->may_kill = true;
		deadline = engine_run(a->engine);
		w->may_kill = false;
	} while (pump(a));
	if (deadline != UINT64_MAX)
		fake_agent_wake(a, deadline > w->now ? deadline - w->now : 1);
}

void fake_agent_wake(struct sim_agent *a, uint64_t delay_us)
{
	uint64_t at = a->w->now + delay_us;

	if (!a->engine || at >= a->wake_at)
		return;
	a->wake_at = at;
	world_at(a->w, at, run, a, a->life, 0);
}

void fake_agent_frame(struct sim_agent *a, const uint8_t *frame, size_t n)
{
	struct sim_world *w = a->w;
	struct wire_frame f;
	struct wire_welcome m;

	if (!a->engine || !a->up)
		return;
	if (wire_parse_frame(frame, &f) < 0)
		world_fail(w, "the server sent a malformed frame");
	if (f.type == WIRE_REFUSE) {
		turned_away(a);
		return;
	}
	if (setjmp(w->killed)) {
		fake_agent_kill(a);
		return;
	}
	w->may_kill = true;
	if (f.type == WIRE_WELCOME) {
		if (wire_parse_welcome(frame + WIRE_HEADER_BYTES, f.length, &m) < 0)
			world_fail(w, "the server's WELCOME is malformed");
		engine_connected(a->engine, &m);
		a->welcomed = true;
	} else if (!a->welcomed || engine_frame(a->engine, f.type, frame + WIRE_HEADER_BYTES, f.length) < 0) {
		world_fail(w, "the agent does not understand a %s", wire_type_name(f.type));
	}
	w->may_kill = false;
	fake_agent_wake(a, 1);
}

void fake_agent_verify(struct sim_agent *a)
{
	if (a->engine && engine_verify(a->engine) < 0)
		world_log(a->w, "verify is running already");
}

/* Nothing is left to be done? */
bool fake_agent_settled(struct sim_agent *a)
{
	struct engine_figures f;
	struct engine_disk_figures d;
	struct engine_verify v;

	if (!a->engine || !a->welcomed || fake_tracker_is_suspect(a->w->tracker))
		return false;
	engine_figures(a->engine, &f);
	engine_verify_status(a->engine, &v);
	if (!f.clean || !f.synced || f.scan_in_flight_bytes || f.open_bytes || f.ring_used_bytes || v.running)
		return false;
	for (unsigned int i = 0; i < a->w->s.disks; i++) {
		if (engine_disk_figures(a->engine, (uint16_t)i, &d) < 0 || d.leisure_bytes || has_grown(a, (uint16_t)i))
			return false;
	}
	return true;
}
