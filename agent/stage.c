/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.h"

#define USEC		 1000000u
#define LAGGING_US	 (10 * (uint64_t)USEC)
#define STALLED_US	 (60 * (uint64_t)USEC)
#define VERDICT_SECONDS	 20u	    /* of a busy link and a backlog that does not shrink */
#define BACKLOG_LEAST	 (16 * MIB) /* below it nothing is said of convergence */
#define RATE_SECONDS	 10u
#define MARGIN_PERCENT	 110u	    /* of what is needed, so that a backlog shrinks, too */

static const struct {
	const char *name, *title;
} words[] = {
	[STAGE_INITIATING] = { "initiating", "Initiating" },
	[STAGE_INITIAL_SYNC] = { "initial_sync", "Initial sync" },
	[STAGE_FLUSHING_BACKLOG] = { "flushing_backlog", "Finalizing initial sync: flushing backlog" },
	[STAGE_CREATING_FIRST_SNAPSHOT] = { "creating_first_snapshot",
					    "Finalizing initial sync: creating first launchable snapshot" },
	[STAGE_CONTINUOUS] = { "continuous", "Continuous data protection" },
	[STAGE_LAGGING] = { "lagging", "Lagging" },
	[STAGE_RESCAN] = { "rescan", "Rescan" },
	[STAGE_PAUSED] = { "paused", "Paused" },
	[STAGE_STOPPED] = { "stopped", "Stopped" },
	[STAGE_STALLED] = { "stalled", "Stalled" },
};

const char *stage_name(enum stage stage)
{
	return words[stage].name;
}

const char *stage_title(enum stage stage)
{
	return words[stage].title;
}

static bool is_lagging(const struct stage_input *in)
{
	return in->lag_us > MAX(LAGGING_US, 4 * in->epoch_us);
}

/* Without a connection: the lag goes on growing; before the first point there is none. */
static enum stage decide_alone(const struct stage_tracker *t, const struct stage_input *in)
{
	if (!in->had_point || t->stage == STAGE_PAUSED || t->stage == STAGE_STOPPED)
		return STAGE_INITIATING;
	return is_lagging(in) ? STAGE_LAGGING : t->stage;
}

/* With a connection or without one.  On a slow link an epoch may take longer than that: then something
 * leaves. */
bool stage_is_stuck(const struct stage_tracker *t, const struct stage_input *in)
{
	return in->backlog_bytes && in->durable_age_us > STALLED_US && in->now_us - t->moved_us > STALLED_US;
}

static enum stage decide(const struct stage_tracker *t, const struct stage_input *in)
{
	if (in->wish == STAGE_WISH_STOPPED)
		return STAGE_STOPPED;
	if (in->wish == STAGE_WISH_PAUSED)
		return STAGE_PAUSED;
	if (stage_is_stuck(t, in))
		return STAGE_STALLED;
	if (!in->connected)
		return decide_alone(t, in);
	if (!in->synced)
		return STAGE_INITIAL_SYNC;
	if (in->rescanning)
		return STAGE_RESCAN;
	if (!in->had_point)
		return in->clean ? STAGE_CREATING_FIRST_SNAPSHOT : STAGE_FLUSHING_BACKLOG;
	if (in->missing) /* what is written to it elsewhere is not protected */
		return STAGE_STALLED;
	return is_lagging(in) ? STAGE_LAGGING : STAGE_CONTINUOUS;
}

static void sample(struct stage_tracker *t, const struct stage_input *in)
{
	if (t->count == STAGE_WINDOW)
		memmove(&t->samples[0], &t->samples[1], --t->count * sizeof(t->samples[0]));
	t->samples[t->count].time_us = in->now_us;
	t->samples[t->count].backlog = in->backlog_bytes;
	t->samples[t->count].drained = in->drained_bytes;
	t->samples[t->count].payload = in->payload_bytes;
	t->samples[t->count].stored = in->stored_bytes;
	t->samples[t->count].busy = in->throttled_percent + in->blocked_percent > 50;
	t->count++;
}

/* Has the link been busy for long, and the backlog not become smaller? */
static bool is_hopeless(const struct stage_tracker *t)
{
	unsigned int from = t->count > VERDICT_SECONDS ? t->count - VERDICT_SECONDS - 1 : 0, busy = 0;
	uint64_t now = t->samples[t->count - 1].backlog;

	if (t->count <= VERDICT_SECONDS || now < BACKLOG_LEAST)
		return false;
	for (unsigned int i = from; i < t->count; i++)
		busy += t->samples[i].busy;
	return busy > VERDICT_SECONDS * 3 / 4 && now >= t->samples[from].backlog / 100 * 99;
}

static struct stage_forecast forecast(const struct stage_tracker *t, const struct stage_input *in)
{
	struct stage_forecast f = { .converges = -1, .eta_seconds = -1 };
	unsigned int last = t->count - 1, from = t->count > RATE_SECONDS ? t->count - RATE_SECONDS - 1 : 0;
	double seconds = (double)(t->samples[last].time_us - t->samples[from].time_us) / USEC, growth, ratio = 1;
	uint64_t payload = t->samples[last].payload - t->samples[from].payload;

	if (seconds < 0.5)
		return f;
	f.drain_rate = (double)(t->samples[last].drained - t->samples[from].drained) / seconds;
	growth = ((double)t->samples[last].backlog - (double)t->samples[from].backlog) / seconds;
	f.write_rate = MAX(0.0, f.drain_rate + growth);
	if (payload)
		ratio = (double)(t->samples[last].stored - t->samples[from].stored) / (double)payload;
	f.needed_mbit = (uint64_t)(f.write_rate * ratio * 8 / 1e6 * MARGIN_PERCENT / 100 + 1);
	if (!in->connected || in->backlog_bytes < BACKLOG_LEAST) {
		f.converges = in->connected ? 1 : -1;
		f.eta_seconds = in->connected ? 0 : -1;
		return f;
	}
	if (growth < 0)
		f.eta_seconds = (double)in->backlog_bytes / -growth;
	f.converges = is_hopeless(t) ? 0 : growth < 0 ? 1 : -1;
	f.throttle_too_low = f.converges == 0 && in->throttle_mbit && in->throttled_percent > 50;
	return f;
}

bool stage_step(struct stage_tracker *t, const struct stage_input *in)
{
	enum stage next;

	t->without_point = t->without_point || !in->had_point;
	/* What was paused, or has only begun, is given its minute. */
	if (in->drained_bytes != t->drained || in->wish != STAGE_WISH_STARTED || !t->moved_us) {
		t->drained = in->drained_bytes;
		t->moved_us = in->now_us;
	}
	next = decide(t, in);
	if (next == t->stage)
		return false;
	if ((t->stage >= STAGE_INITIAL_SYNC || t->without_point) && next > t->stage && next <= STAGE_CONTINUOUS)
		next = t->stage + 1;
	t->stage = next;
	t->without_point = t->without_point && next != STAGE_CONTINUOUS;
	return true;
}

struct stage_forecast stage_sample(struct stage_tracker *t, const struct stage_input *in)
{
	sample(t, in);
	return forecast(t, in);
}
