/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim [-v] [-n RUNS] [-s SEED]: as many worlds as asked for, each from its own
 * seed (GODWIT_SEED is the first).  In each: load and faults for a while, every
 * point checked; then quiet, and source and replica must become equal.
 */
#include "world.h"
#include <getopt.h>
#include <stdlib.h>
#include <time.h>

static void each(struct sim_world *w, uint64_t every, void (*run)(void *, uint64_t, uint64_t))
{
	if (every)
		world_at(w, w->now + 1 + world_random(w, 2 * every), run, w, 0, 0);
}

static void fault_cut(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet)
		return;
	fake_agent_cut(w->agent);
	each(w, w->s.cut_every_us, fault_cut);
}

static void fault_kill(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet)
		return;
	w->kill_in_calls = 1 + world_random(w, 300);
	each(w, w->s.kill_every_us, fault_kill);
}

static void fault_server(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet)
		return;
	world_log(w, "the server crashes");
	w->stats.server_crashes++;
	fake_server_crash(w->server);
	fake_agent_cut(w->agent);
	each(w, w->s.server_crash_every_us, fault_server);
}

static void fault_reboot(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet)
		return;
	world_log(w, "the machine reboots");
	w->stats.reboots++;
	disks_power_cut(w);
	fake_agent_kill(w->agent);
	fake_tracker_free(w->tracker);
	w->tracker = fake_tracker_new(w);
	engine_memory_reset(&w->memory);
	each(w, w->s.reboot_every_us, fault_reboot);
}

static void heal(void *context, uint64_t a, uint64_t b)
{
	disks_heal_sectors(context);
}

static void fault_bad(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet)
		return;
	disks_break_sectors(w);
	world_at(w, w->now + world_random(w, 100000), heal, w, 0, 0);
	each(w, w->s.bad_every_us, fault_bad);
}

static void fault_grow(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	if (w->quiet || !disks_grow(w))
		return;
	fake_agent_notice_growth(w->agent, world_random(w, 200000));
	each(w, w->s.grow_every_us, fault_grow);
}

static void fault_clock(void *context, uint64_t a, uint64_t b)
{
	static const int64_t seconds[] = { 0, 0, 1, -1, 50, -50, 3600, -3600, 30 * 86400 };
	struct sim_world *w = context;

	if (w->quiet)
		return;
	w->clock_wrong_us = seconds[world_random(w, ARRAY_LEN(seconds))] * 1000000;
	world_log(w, "the wall clock is ahead by %lld s", (long long)w->clock_wrong_us / 1000000);
	w->stats.clocks++;
	each(w, w->s.clock_every_us, fault_clock);
}

static void start_verify(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	fake_agent_verify(w->agent);
}

static void begin_quiet(void *context, uint64_t a, uint64_t b)
{
	struct sim_world *w = context;

	w->quiet = true;
	w->kill_in_calls = 0;
	disks_heal_sectors(w);
	world_log(w, "quiet");
	if (w->s.verify)
		world_at(w, w->now + 50000, start_verify, w, 0, 0);
}

#define PATIENCE_US 120000000ULL

static void run_world(struct sim_world *w)
{
	const uint8_t *images[SIM_DISKS];
	bool settled = false;

	disks_start_load(w);
	each(w, w->s.cut_every_us, fault_cut);
	each(w, w->s.kill_every_us, fault_kill);
	each(w, w->s.server_crash_every_us, fault_server);
	each(w, w->s.reboot_every_us, fault_reboot);
	each(w, w->s.bad_every_us, fault_bad);
	each(w, w->s.grow_every_us, fault_grow);
	each(w, w->s.clock_every_us, fault_clock);
	if (w->s.verify)
		world_at(w, w->now + w->s.load_us / 2, start_verify, w, 0, 0);
	world_at(w, w->now + w->s.load_us, begin_quiet, w, 0, 0);
	while (!settled) {
		if (!world_step(w))
			world_fail(w, "nothing happens any more, and not all is replicated");
		if (w->now > w->s.load_us + PATIENCE_US)
			world_fail(w, "two minutes of quiet, and not all is replicated");
		settled = w->quiet && !w->flying_count && fake_agent_settled(w->agent) &&
			  fake_server_ends_in_point(w->server);
	}
	for (unsigned int i = 0; i < w->s.disks; i++)
		images[i] = fake_server_image(w->server, i);
	checker_equal(w, images);
	if (!w->stats.points)
		world_fail(w, "no point was ever made");
	fake_agent_figures(w->agent);
}

static void add(struct sim_stats *sum, const struct sim_stats *one)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)one;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

static void print_stats(const struct sim_stats *s, unsigned long runs)
{
	printf("%lu worlds: %llu writes (%llu lost to the dirty map, %llu overlapping, %llu unseen), %llu epochs, %llu points, %llu sectors checked\n",
	       runs, (unsigned long long)s->writes, (unsigned long long)s->lost, (unsigned long long)s->overlaps, (unsigned long long)s->unseen,
	       (unsigned long long)s->epochs, (unsigned long long)s->points, (unsigned long long)s->checked_sectors);
	printf("  %llu agents killed, %llu links cut, %llu servers crashed, %llu reboots, %llu times bad sectors, %llu times a larger disk, %llu clocks set, %llu frames refused, %llu samples and %llu chunks found wrong\n",
	       (unsigned long long)s->kills, (unsigned long long)s->cuts, (unsigned long long)s->server_crashes,
	       (unsigned long long)s->reboots, (unsigned long long)s->bad, (unsigned long long)s->grown, (unsigned long long)s->clocks,
	       (unsigned long long)s->refusals, (unsigned long long)s->mismatches,
	       (unsigned long long)s->verify_differs);
	printf("  %llu KiB sent again, %llu KiB taken from the ring again, %llu KiB skipped\n",
	       (unsigned long long)s->resent / 1024, (unsigned long long)s->replayed / 1024,
	       (unsigned long long)s->skipped / 1024);
}

int main(int argc, char **argv)
{
	static struct sim_world w;
	static struct sim_stats sum;
	const char *given = getenv("GODWIT_SEED");
	unsigned long runs = 1;
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003;
	int c;

	while ((c = getopt(argc, argv, "vn:s:")) != -1) {
		if (c == 'v')
			w.verbose = true;
		else if (c == 'n')
			runs = strtoul(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	printf("first seed: %llu\n", (unsigned long long)seed);
	for (unsigned long i = 0; i < runs; i++) {
		world_init(&w, seed + i);
		if (w.verbose)
			scenario_print(&w, stdout);
		run_world(&w);
		add(&sum, &w.stats);
		world_done(&w);
	}
	print_stats(&sum, runs);
	if (runs >= 100 && !sum.refusals) {
		printf("so many worlds, and no frame was ever refused\n");
		return 1;
	}
	return 0;
}
