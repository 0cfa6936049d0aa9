/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world - a source machine, a link and a replication server in one process, on
 * virtual time, from a seed: disks whose writes take effect and complete in
 * their own order, the tracker as its header promises it, reads that see what
 * is there while they go on, a link that is slow and breaks, a server that
 * loses what it had not synced, an agent that is killed at any call.
 *
 * Every sector tells which write it comes from (its stamp).  The checker knows
 * when each write was issued, took effect, completed, and was acknowledged, and
 * so which contents a power cut at a given moment could have left.
 *
 * Time goes on by at least a microsecond from event to event, so that it orders
 * them.
 */
#ifndef GODWIT_SIM_WORLD_H
#define GODWIT_SIM_WORLD_H

#include "base.h"
#include "engine.h"
#include "tracker.h"
#include <setjmp.h>
#include <stdio.h>

#define SIM_DISKS     2u
#define SIM_SECTORS   4096u /* of the largest disk */
#define SIM_WRITES    60000u
#define SIM_WALL_ZERO 1700000000000000ULL

/* What a run is like: all drawn from the seed (scenario.c). */
struct scenario {
	unsigned int disks;
	uint64_t disk_sectors[SIM_DISKS];
	unsigned int region_shift;
	uint64_t ring_bytes, arena_bytes, epoch_us;
	uint32_t read_bytes;
	unsigned int depth;		 /* writes in flight */
	uint64_t pause_us;		 /* mean, between writes */
	unsigned int write_sectors;	 /* largest */
	unsigned int hot_percent;	 /* of writes go to a small area */
	unsigned int discard_percent, zero_percent;
	bool overlaps;			 /* may writes in flight overlap */
	uint64_t link_bytes_per_ms, latency_us, sync_us, read_us;
	uint64_t cut_every_us, kill_every_us, server_crash_every_us, reboot_every_us, bad_every_us, clock_every_us;
	unsigned int false_mark_percent; /* of writes mark regions for nothing */
	unsigned int lost_percent;	 /* cannot be read by the tracker */
	unsigned int unseen_percent;	 /* no program sees their completion: the disk is suspect */
	unsigned int wrong_percent;	 /* carried with a wrong payload: capture is broken */
	uint64_t load_us;		 /* then it becomes quiet */
	uint64_t grow_every_us;
	bool dirty_map_only, verify;
	unsigned int changed_per_mille;	 /* of DATA frames arrive otherwise than they were sent */
};

enum sim_op { SIM_WRITE, SIM_ZERO, SIM_DISCARD };

struct sim_write {
	uint64_t stamp; /* what its sectors hold afterwards */
	uint16_t disk;
	enum sim_op op;
	uint32_t sector, count;
	uint64_t issued, completed, acked; /* 0: not yet */
	bool overlapped;
	uint32_t pair;			   /* the ordered pair's number, or 0 */
};

/* A sector's content from a time on. */
struct sim_version {
	uint64_t time, stamp;
};

struct sim_sector {
	struct sim_version *versions;
	uint32_t version_count, version_max;
	uint32_t *writes; /* every write to it, as issued */
	uint32_t write_count, write_max;
	bool bad;
};

struct sim_disk {
	uint64_t sectors, pair_sector; /* the ordered pair's place */
	struct sim_sector *at;
};

struct sim_event {
	uint64_t time, order;
	void (*run)(void *context, uint64_t a, uint64_t b);
	void *context;
	uint64_t a, b;
	bool owns; /* the context is its own: run() frees it, or the world's end */
};

struct sim_stats {
	uint64_t writes, points, epochs, kills, cuts, reboots, server_crashes, lost, overlaps, unseen, reads, bad, resent,
		replayed, skipped, clocks, mismatches, verify_differs, checked_sectors, grown, refusals;
};

struct sim_world {
	uint64_t seed, random;
	uint64_t now;
	int64_t clock_wrong_us; /* what the source's wall clock is ahead */
	struct sim_event *events;
	size_t event_count, event_max;
	uint64_t event_order;
	struct scenario s;
	struct sim_disk disks[SIM_DISKS];
	struct sim_write *writes;
	uint32_t write_count;
	uint32_t flying[64];
	unsigned int flying_count;
	uint32_t pair_number, pair_phase;
	bool quiet; /* no more writes, no more faults */

	struct tracker *tracker;
	struct engine_memory memory;
	struct sim_agent *agent;
	struct sim_server *server;

	/* Killing the agent in the middle of what it does. */
	jmp_buf killed;
	bool may_kill;
	uint64_t kill_in_calls;

	struct sim_stats stats;
	bool verbose;
};

/* world.c */
void world_init(struct sim_world *w, uint64_t seed);
void world_done(struct sim_world *w);
uint64_t world_random(struct sim_world *w, uint64_t below);
bool world_chance(struct sim_world *w, unsigned int percent);
void world_at(struct sim_world *w, uint64_t time, void (*run)(void *, uint64_t, uint64_t), void *context, uint64_t a,
	      uint64_t b);
/* The same, with a context from malloc() that @run frees. */
void world_at_own(struct sim_world *w, uint64_t time, void (*run)(void *, uint64_t, uint64_t), void *context,
		  uint64_t a, uint64_t b);
bool world_step(struct sim_world *w); /* false: nothing more will happen */
void world_meanwhile(struct sim_world *w); /* the source goes on while the agent is busy */
void world_fail(struct sim_world *w, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
void world_log(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* disk.c: the source's disks and what writes to them */
void disks_init(struct sim_world *w);
void disks_done(struct sim_world *w);
void disks_start_load(struct sim_world *w);
void disks_power_cut(struct sim_world *w);
bool disks_is_event(void (*run)(void *, uint64_t, uint64_t));
uint64_t disk_stamp(const struct sim_world *w, unsigned int disk, uint32_t sector);
void disks_break_sectors(struct sim_world *w);
void disks_heal_sectors(struct sim_world *w);
bool disks_grow(struct sim_world *w); /* false: none can any more */
void sector_fill(uint8_t bytes[SECTOR_BYTES], uint64_t stamp);
uint64_t sector_stamp(struct sim_world *w, const uint8_t bytes[SECTOR_BYTES], const char *where);

/* fake_tracker.c */
struct tracker *fake_tracker_new(struct sim_world *w);
void fake_tracker_free(struct tracker *t);
void fake_tracker_complete(struct tracker *t, uint32_t write);
bool fake_tracker_is_suspect(const struct tracker *t);
void fake_tracker_moment(const struct tracker *t, uint64_t position, uint64_t *ret_from, uint64_t *ret_to);

/* fake_server.c */
struct sim_server *fake_server_new(struct sim_world *w);
void fake_server_free(struct sim_server *s);
void fake_server_connect(struct sim_server *s);
void fake_server_disconnect(struct sim_server *s);
void fake_server_bytes(struct sim_server *s, const uint8_t *bytes, size_t n);
void fake_server_crash(struct sim_server *s);
const uint8_t *fake_server_image(const struct sim_server *s, unsigned int disk);
bool fake_server_ends_in_point(const struct sim_server *s);

/* fake_agent.c: the engine, as agent.c would drive it */
struct sim_agent *fake_agent_new(struct sim_world *w);
void fake_agent_free(struct sim_agent *a);
void fake_agent_wake(struct sim_agent *a, uint64_t delay_us);
void fake_agent_frame(struct sim_agent *a, const uint8_t *frame, size_t n);
void fake_agent_kill(struct sim_agent *a);
void fake_agent_cut(struct sim_agent *a);
void fake_agent_notice_growth(struct sim_agent *a, uint64_t delay_us);
bool fake_agent_settled(struct sim_agent *a);
void fake_agent_verify(struct sim_agent *a);
void fake_agent_figures(struct sim_agent *a);

/* checker.c */
void checker_point(struct sim_world *w, const struct wire_commit *m, uint64_t from, uint64_t to, const uint8_t *const images[]);
void checker_equal(struct sim_world *w, const uint8_t *const images[]);

/* scenario.c */
void scenario_draw(struct sim_world *w);
void scenario_print(const struct sim_world *w, FILE *out);

#endif
