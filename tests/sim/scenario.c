/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

static uint64_t pick(struct sim_world *w, const uint64_t *list, size_t n)
{
	return list[world_random(w, n)];
}

#define PICK(w, ...) pick(w, (const uint64_t[]){ __VA_ARGS__ }, sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

void scenario_draw(struct sim_world *w)
{
	struct scenario *s = &w->s;

	s->disks = 1 + (unsigned int)world_random(w, 2);
	for (unsigned int i = 0; i < s->disks; i++)
		s->disk_sectors[i] = PICK(w, 512, 1000, 2048, 4096);
	s->region_shift = (unsigned int)PICK(w, 12, 12, 12, 13, 15, 17);
	s->ring_bytes = PICK(w, 16, 64, 256, 1024, 4096, 4096) * KIB;
	s->arena_bytes = PICK(w, 128, 256, 1024) * KIB;
	s->read_bytes = (uint32_t)(PICK(w, 64, 128, 256) * KIB);
	s->epoch_us = PICK(w, 5, 20, 50) * 1000;
	s->depth = (unsigned int)PICK(w, 1, 4, 16, 32);
	s->pause_us = PICK(w, 50, 200, 1000, 1000, 5000);
	s->write_sectors = (unsigned int)PICK(w, 8, 8, 16, 64, 256);
	s->hot_percent = (unsigned int)PICK(w, 0, 30, 80);
	s->discard_percent = (unsigned int)PICK(w, 0, 0, 5, 20);
	s->zero_percent = (unsigned int)PICK(w, 0, 5);
	s->overlaps = world_chance(w, 50);
	s->link_bytes_per_ms = PICK(w, 500, 2000, 20000, 200000, 200000);
	s->latency_us = PICK(w, 50, 1000, 20000);
	s->sync_us = PICK(w, 100, 2000, 30000);
	s->read_us = PICK(w, 100, 500, 500, 20000);
	s->cut_every_us = PICK(w, 0, 0, 100, 400) * 1000;
	s->kill_every_us = PICK(w, 0, 0, 100, 500) * 1000;
	s->server_crash_every_us = PICK(w, 0, 0, 300) * 1000;
	s->reboot_every_us = PICK(w, 0, 0, 0, 500) * 1000;
	s->bad_every_us = PICK(w, 0, 0, 0, 200) * 1000;
	s->false_mark_percent = (unsigned int)PICK(w, 0, 0, 1, 10);
	s->lost_percent = (unsigned int)PICK(w, 0, 0, 0, 1, 10);
	s->wrong_percent = world_chance(w, 4) ? 50 : 0;
	s->load_us = PICK(w, 500, 1500, 3000) * 1000;
	s->dirty_map_only = world_chance(w, 5);
	s->verify = world_chance(w, 30);
	s->grow_every_us = PICK(w, 0, 0, 100, 500) * 1000;
	s->unseen_percent = (unsigned int)PICK(w, 0, 0, 0, 1);
	s->clock_every_us = PICK(w, 0, 0, 0, 300) * 1000;
	s->changed_per_mille = (unsigned int)PICK(w, 0, 0, 2, 20);
}

void scenario_print(const struct sim_world *w, FILE *out)
{
	const struct scenario *s = &w->s;

	fprintf(out, "  %u disks of %llu %llu sectors, regions 1<<%u, ring %llu KiB, arena %llu KiB, reads %u KiB\n", s->disks,
		(unsigned long long)s->disk_sectors[0], (unsigned long long)s->disk_sectors[1], s->region_shift,
		(unsigned long long)s->ring_bytes / 1024, (unsigned long long)s->arena_bytes / 1024, s->read_bytes / 1024);
	fprintf(out, "  epochs %llu ms, depth %u, pause %llu us, writes to %u sectors, hot %u %%, discards %u %%, zeroes %u %%%s\n",
		(unsigned long long)s->epoch_us / 1000, s->depth, (unsigned long long)s->pause_us, s->write_sectors,
		s->hot_percent, s->discard_percent, s->zero_percent, s->overlaps ? ", overlapping" : "");
	fprintf(out, "  reads take up to %llu us\n", (unsigned long long)s->read_us);
	fprintf(out, "  link %llu B/ms, latency %llu us, sync %llu us; ms between link cuts %llu, kills %llu, server crashes %llu, reboots %llu, bad sectors %llu, clock steps %llu\n",
		(unsigned long long)s->link_bytes_per_ms, (unsigned long long)s->latency_us,
		(unsigned long long)s->sync_us, (unsigned long long)s->cut_every_us / 1000,
		(unsigned long long)s->kill_every_us / 1000, (unsigned long long)s->server_crash_every_us / 1000,
		(unsigned long long)s->reboot_every_us / 1000, (unsigned long long)s->bad_every_us / 1000,
		(unsigned long long)s->clock_every_us / 1000);
	fprintf(out, "  disks grow every %llu ms, of 1000 frames of data %u are changed on their way\n",
		(unsigned long long)s->grow_every_us / 1000, s->changed_per_mille);
	fprintf(out, "  false marks %u %%, lost %u %%, unseen %u %%, wrong %u %%%s%s\n", s->false_mark_percent, s->lost_percent,
		s->unseen_percent, s->wrong_percent, s->dirty_map_only ? ", dirty map only" : "", s->verify ? ", verify" : "");
}
