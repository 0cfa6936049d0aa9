/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory - struct engine_memory: the one place that writes what its sums are of.
 *
 * The agent may be killed between any two stores here.  What is half done is
 * either of no consequence (a cut whose epoch is 0) or is told by its sum.
 */
#include "engine-private.h"

static uint64_t mix(uint64_t sum, uint64_t value)
{
	sum = (sum ^ value) * 0x9e3779b97f4a7c15ULL;
	return sum ^ sum >> 29;
}

static uint64_t sum_of_one(uint64_t value, uint64_t salt)
{
	return mix(mix(salt, value), salt);
}

static uint64_t disks_sum(const struct engine_memory *m)
{
	return mix(sum_of_one(m->armed_disks, 1), m->synced_disks);
}

static uint64_t durable_sum(const struct engine_memory *m)
{
	return sum_of_one(m->durable_epoch, 2);
}

static uint64_t last_time_sum(const struct engine_memory *m)
{
	return sum_of_one(m->last_time_us, 6);
}

static uint64_t horizon_sum(const struct engine_memory *m)
{
	return sum_of_one(m->horizon, 3);
}

static uint64_t point_sum(const struct engine_memory *m)
{
	return mix(sum_of_one(m->point_epoch, 4), m->point_time_us);
}

static uint64_t cut_sum(const struct engine_cut *c)
{
	return mix(mix(sum_of_one(c->epoch, 5), c->position), c->time_us);
}

static void barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static bool is_blank(const struct engine_memory *m)
{
	static const struct engine_memory blank;

	return memcmp(m, &blank, sizeof(blank)) == 0;
}

static bool cut_is_sound(const struct engine_memory *m, unsigned int i)
{
	const struct engine_cut *c = &m->cuts[i];

	return !c->epoch || (c->epoch % ENGINE_CUTS == i && c->sum == cut_sum(c));
}

bool engine_memory_is_sound(const struct engine_memory *m)
{
	if (is_blank(m))
		return true;
	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		if (!cut_is_sound(m, i))
			return false;
	return m->disks_sum == disks_sum(m) && m->durable_sum == durable_sum(m) && m->last_time_sum == last_time_sum(m) &&
	       m->horizon_sum == horizon_sum(m) && m->point_sum == point_sum(m);
}

static void seal_all(struct engine_memory *m)
{
	m->durable_sum = durable_sum(m);
	m->last_time_sum = last_time_sum(m);
	m->horizon_sum = horizon_sum(m);
	m->point_sum = point_sum(m);
	barrier();
	m->disks_sum = disks_sum(m);
}

void engine_memory_reset(struct engine_memory *m)
{
	m->armed_disks = 0; /* first: from here on nothing else of it is believed */
	barrier();
	m->horizon = 0;
	m->merged = 0;
	memory_forget_cuts(m);
	seal_all(m);
}

void engine_memory_disarm(struct engine_memory *m, uint16_t disk)
{
	m->armed_disks &= ~(1ULL << disk);
	m->disks_sum = disks_sum(m);
}

void memory_arm(struct engine_memory *m, uint16_t disk)
{
	if (is_blank(m))
		seal_all(m);
	barrier(); /* its planes were written before */
	m->armed_disks |= 1ULL << disk;
	m->disks_sum = disks_sum(m);
}

void memory_set_synced(struct engine_memory *m, uint16_t disk, bool synced)
{
	m->synced_disks = (m->synced_disks & ~(1ULL << disk)) | (uint64_t)synced << disk;
	m->disks_sum = disks_sum(m);
}

void memory_set_durable(struct engine_memory *m, uint64_t epoch)
{
	m->durable_epoch = epoch;
	m->durable_sum = durable_sum(m);
}

void memory_raise_horizon(struct engine_memory *m, uint64_t position)
{
	if (position <= m->horizon)
		return;
	m->horizon = position;
	m->horizon_sum = horizon_sum(m);
}

void memory_set_point(struct engine_memory *m, uint64_t epoch, uint64_t time_us)
{
	m->point_time_us = time_us;
	m->point_epoch = epoch;
	m->point_sum = point_sum(m);
}

void memory_set_cut(struct engine_memory *m, uint64_t epoch, uint64_t position, uint64_t time_us)
{
	struct engine_cut *c = &m->cuts[epoch % ENGINE_CUTS];
	struct engine_cut cut = { .epoch = epoch, .position = position, .time_us = time_us };

	c->epoch = 0;
	barrier();
	c->position = position;
	c->time_us = time_us;
	c->sum = cut_sum(&cut);
	barrier();
	c->epoch = epoch;
	m->last_time_us = time_us;
	m->last_time_sum = last_time_sum(m);
}

void memory_forget_cuts(struct engine_memory *m)
{
	memset(m->cuts, 0, sizeof(m->cuts));
}
