/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"
#include <stdarg.h>
#include <stdlib.h>

uint64_t world_random(struct sim_world *w, uint64_t below)
{
	uint64_t z = (w->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	z ^= z >> 31;
	return below ? z % below : 0;
}

bool world_chance(struct sim_world *w, unsigned int percent)
{
	return world_random(w, 100) < percent;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void add_event(struct sim_world *w, struct sim_event e)
{
	size_t i = w->event_count++;

	if (w->event_count > w->event_max) {
		w->event_max = w->event_max ? w->event_max * 2 : 1024;
		w->events = realloc(w->events, w->event_max * sizeof(*w->events));
	}
	e.time = MAX(e.time, w->now + 1);
	e.order = w->event_order++;
	w->events[i] = e;
	while (i > 0 && earlier(&w->events[i], &w->events[(i - 1) / 2])) {
		struct sim_event swap = w->events[i];

		w->events[i] = w->events[(i - 1) / 2];
		w->events[(i - 1) / 2] = swap;
		i = (i - 1) / 2;
	}
}

void world_at(struct sim_world *w, uint64_t time, void (*run)(void *, uint64_t, uint64_t), void *context, uint64_t a,
	      uint64_t b)
{
	add_event(w, (struct sim_event){ .time = time, .run = run, .context = context, .a = a, .b = b });
}

void world_at_own(struct sim_world *w, uint64_t time, void (*run)(void *, uint64_t, uint64_t), void *context,
		  uint64_t a, uint64_t b)
{
	add_event(w, (struct sim_event){ .time = time, .run = run, .context = context, .a = a, .b = b, .owns = true });
}

bool world_step(struct sim_world *w)
{
	struct sim_event first;
	size_t i = 0;

	if (!w->event_count)
		return false;
	first = w->events[0];
	w->events[0] = w->events[--w->event_count];
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;
		struct sim_event swap;

		if (left < w->event_count && earlier(&w->events[left], &w->events[least]))
			least = left;
		if (right < w->event_count && earlier(&w->events[right], &w->events[least]))
			least = right;
		if (least == i)
			break;
		swap = w->events[i];
		w->events[i] = w->events[least];
		w->events[least] = swap;
		i = least;
	}
	w->now = MAX(w->now + 1, first.time);
	first.run(first.context, first.a, first.b);
	return true;
}

void world_meanwhile(struct sim_world *w)
{
	if (!world_chance(w, 40))
		return;
	for (uint64_t n = world_random(w, 8); n && w->event_count && disks_is_event(w->events[0].run); n--)
		world_step(w);
}

void world_init(struct sim_world *w, uint64_t seed)
{
	bool verbose = w->verbose;

	*w = (struct sim_world){ .seed = seed, .random = seed * 0x2545f4914f6cdd1dULL + 1, .now = 1000, .verbose = verbose };
	scenario_draw(w);
	disks_init(w);
	w->tracker = fake_tracker_new(w);
	w->server = fake_server_new(w);
	w->agent = fake_agent_new(w);
}

void world_done(struct sim_world *w)
{
	fake_agent_free(w->agent);
	fake_server_free(w->server);
	fake_tracker_free(w->tracker);
	disks_done(w);
	for (size_t i = 0; i < w->event_count; i++)
		if (w->events[i].owns)
			free(w->events[i].context);
	free(w->events);
}

void world_log(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->verbose)
		return;
	va_start(ap, fmt);
	printf("%10.3f ms  ", (double)w->now / 1000);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

void world_fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "seed %llu, at %.3f ms: ", (unsigned long long)w->seed, (double)w->now / 1000);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	scenario_print(w, stderr);
	fprintf(stderr, "repeat with: GODWIT_SEED=%llu, -v for the course of it\n", (unsigned long long)w->seed);
	exit(1);
}
