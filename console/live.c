/* SPDX-License-Identifier: Apache-2.0 */
#include "live.h"

#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKETS 1024u
#define HAND_AGAIN_US (30 * USEC_PER_SEC)
#define COMMANDS_MAX 1000u /* waiting for one peer */

struct live_status {
	atomic_uint users;
	json_t *json;
};

struct command {
	struct command *next;
	json_t *body;
	const char *id; /* in body */
	uint64_t handed_mono_us; /* 0: not yet */
	bool kept, answered;
	json_t *result;
	struct fault fault;
	bool failed;
};

struct peer {
	struct peer *next; /* of its bucket */
	enum live_role role;
	char id[LIVE_ID_LEN + 1];
	uint64_t seen_us, seen_mono_us;
	uint64_t status_mono_us; /* 0: of before the start */
	bool connected; /* as last given out by live_take_news() */
	bool status_new;
	struct live_status *status;
	bool clock_known;
	int64_t clock_ahead_us;
	struct command *commands, **commands_end;
	size_t command_count;
	uint64_t poll_serial, generation;
	double event_room;
	uint64_t event_room_mono_us;
	pthread_cond_t changed;
};

struct live {
	pthread_mutex_t lock;
	struct {
		pthread_cond_t announced;
		uint64_t count;
	} topics[LIVE_TOPICS];
	bool stopping;
	size_t peer_count;
	struct peer *buckets[BUCKETS];
};

static void init_cond(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

/* false: the time is over. */
static bool wait_until(struct live *l, pthread_cond_t *c, uint64_t mono_us)
{
	struct timespec t = { .tv_sec = (time_t)(mono_us / USEC_PER_SEC),
			      .tv_nsec = (long)(mono_us % USEC_PER_SEC) * 1000 };

	return !l->stopping && pthread_cond_timedwait(c, &l->lock, &t) == 0;
}

/* --- statuses ------------------------------------------------------------------------- */

/* Takes @json; NULL for NULL. */
static struct live_status *status_new(json_t *json)
{
	struct live_status *s = json ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	atomic_init(&s->users, 1);
	s->json = json;
	return s;
}

static struct live_status *status_keep(struct live_status *s)
{
	if (s)
		atomic_fetch_add(&s->users, 1);
	return s;
}

static void status_drop(struct live_status *s)
{
	if (!s || atomic_fetch_sub(&s->users, 1) > 1)
		return;
	json_decref(s->json);
	free(s);
}

/* --- peers ---------------------------------------------------------------------------- */

static struct peer **slot_of(struct live *l, const char *id)
{
	uint32_t hash = 2166136261u;
	struct peer **slot;

	for (const char *c = id; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619u;
	for (slot = &l->buckets[hash % BUCKETS]; *slot; slot = &(*slot)->next)
		if (!strcmp((*slot)->id, id))
			break;
	return slot;
}

static struct peer *find(struct live *l, const char *id)
{
	return *slot_of(l, id);
}

static struct peer *find_or_make(struct live *l, enum live_role role, const char *id)
{
	struct peer **slot = slot_of(l, id), *p = *slot;

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	assert(strlen(id) <= LIVE_ID_LEN);
	snprintf(p->id, sizeof(p->id), "%s", id);
	p->role = role;
	p->commands_end = &p->commands;
	p->event_room = LIVE_EVENTS_BURST;
	p->event_room_mono_us = monotonic_now_us();
	init_cond(&p->changed);
	*slot = p;
	l->peer_count++;
	return p;
}

static void command_free(struct command *c)
{
	json_decref(c->body);
	json_decref(c->result);
	free(c);
}

static struct command *unlink_command(struct peer *p, const char *id)
{
	for (struct command **at = &p->commands; *at; at = &(*at)->next)
		if (!strcmp((*at)->id, id)) {
			struct command *c = *at;

			*at = c->next;
			if (!*at)
				p->commands_end = at;
			p->command_count--;
			return c;
		}
	return NULL;
}

static void peer_free(struct peer *p)
{
	while (p->commands)
		command_free(unlink_command(p, p->commands->id));
	status_drop(p->status);
	pthread_cond_destroy(&p->changed);
	free(p);
}

static bool is_connected(const struct peer *p)
{
	return p->seen_mono_us && monotonic_now_us() - p->seen_mono_us < LIVE_AWAY_AFTER_MS * USEC_PER_MSEC;
}

struct live *live_new(void)
{
	struct live *l = calloc(1, sizeof(*l));

	if (l) {
		pthread_mutex_init(&l->lock, NULL);
		for (int t = 0; t < LIVE_TOPICS; t++)
			init_cond(&l->topics[t].announced);
	}
	return l;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	for (size_t b = 0; b < BUCKETS; b++)
		while (l->buckets[b]) {
			struct peer *p = l->buckets[b];

			l->buckets[b] = p->next;
			peer_free(p);
		}
	for (int t = 0; t < LIVE_TOPICS; t++)
		pthread_cond_destroy(&l->topics[t].announced);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void live_stop(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	for (int t = 0; t < LIVE_TOPICS; t++)
		pthread_cond_broadcast(&l->topics[t].announced);
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct peer *p = l->buckets[b]; p; p = p->next)
			pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&l->lock);
}

void live_load(struct live *l, enum live_role role, const char *id, bool connected, uint64_t seen_us, json_t *status)
{
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find_or_make(l, role, id);
	p->connected = connected;
	p->seen_us = seen_us;
	/* Whoever was there when the console stopped has a while to come back
	 * before it is called away. */
	if (connected)
		p->seen_mono_us = monotonic_now_us();
	status_drop(p->status);
	p->status = status_new(status);
	p->status_mono_us = 0;
	pthread_mutex_unlock(&l->lock);
}

/* Its memory stays, so that who waits on it is not left with nothing; the
 * next start of the console does not load it any more. */
void live_forget(struct live *l, const char *id)
{
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, id);
	if (p) {
		status_drop(p->status);
		p->status = NULL;
		p->status_new = false;
		p->connected = false;
		p->seen_mono_us = 0;
		p->poll_serial++;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&l->lock);
}

static void note_seen(struct peer *p)
{
	p->seen_us = wallclock_now_us();
	p->seen_mono_us = monotonic_now_us();
}

void live_seen(struct live *l, enum live_role role, const char *id)
{
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find_or_make(l, role, id);
	/* What polls is a process of its own: it goes on when the one that matters hangs. */
	if (!p->status)
		note_seen(p);
	pthread_mutex_unlock(&l->lock);
}

void live_set_status(struct live *l, const char *id, json_t *status, const int64_t *clock_ahead_us)
{
	struct live_status *old = status_new(status);
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, id);
	if (p) {
		struct live_status *new = old;

		old = p->status;
		p->status = new;
		note_seen(p);
		p->status_mono_us = p->seen_mono_us;
		p->status_new = true;
		p->clock_known = clock_ahead_us != NULL;
		p->clock_ahead_us = clock_ahead_us ? *clock_ahead_us : 0;
	}
	l->topics[LIVE_STATUSES].count++;
	pthread_cond_broadcast(&l->topics[LIVE_STATUSES].announced);
	pthread_mutex_unlock(&l->lock);
	status_drop(old);
}

static uint64_t status_age_us(const struct peer *p)
{
	uint64_t now = p->status_mono_us ? monotonic_now_us() : wallclock_now_us();
	uint64_t then = p->status_mono_us ? p->status_mono_us : p->seen_us;

	return now > then ? now - then : 0;
}

struct live_view live_view(struct live *l, const char *id)
{
	struct live_view v = { 0 };
	const struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, id);
	if (p) {
		v.connected = is_connected(p);
		v.seen_us = p->seen_us;
		v.seen_mono_us = p->seen_mono_us;
		v.keep = status_keep(p->status);
		v.status = v.keep ? v.keep->json : NULL;
		v.status_age_us = status_age_us(p);
		v.clock_known = p->clock_known;
		v.clock_ahead_us = p->clock_ahead_us;
	}
	pthread_mutex_unlock(&l->lock);
	return v;
}

void live_view_done(struct live_view *v)
{
	status_drop(v->keep);
	v->keep = NULL;
	v->status = NULL;
}

bool live_connected(struct live *l, const char *id)
{
	const struct peer *p;
	bool yes;

	pthread_mutex_lock(&l->lock);
	p = find(l, id);
	yes = p && is_connected(p);
	pthread_mutex_unlock(&l->lock);
	return yes;
}

bool live_take_events(struct live *l, const char *id, size_t count)
{
	uint64_t now = monotonic_now_us();
	struct peer *p;
	bool yes = false;

	pthread_mutex_lock(&l->lock);
	p = find(l, id);
	if (p) {
		p->event_room += (double)(now - p->event_room_mono_us) / USEC_PER_SEC * LIVE_EVENTS_PER_SECOND;
		p->event_room = MIN(p->event_room, LIVE_EVENTS_BURST);
		p->event_room_mono_us = now;
		yes = p->event_room > 0;
		if (yes)
			p->event_room -= (double)count;
	}
	pthread_mutex_unlock(&l->lock);
	return yes;
}

size_t live_take_news(struct live *l, bool all_statuses, struct live_news **ret)
{
	struct live_news *news;
	size_t count = 0;

	pthread_mutex_lock(&l->lock);
	news = calloc(l->peer_count + 1, sizeof(*news));
	for (size_t b = 0; news && b < BUCKETS; b++)
		for (struct peer *p = l->buckets[b]; p; p = p->next) {
			bool connected = is_connected(p), changed = connected != p->connected;
			struct live_news *n = &news[count];

			if (!changed && !(all_statuses && p->status_new))
				continue;
			*n = (struct live_news){ .role = p->role, .connected = connected, .changed = changed,
						 .seen_us = p->seen_us, .keep = status_keep(p->status) };
			n->status = n->keep ? n->keep->json : NULL;
			memcpy(n->id, p->id, sizeof(n->id));
			p->connected = connected;
			p->status_new = false;
			count++;
		}
	pthread_mutex_unlock(&l->lock);
	*ret = news;
	return count;
}

void live_return_news(struct live *l, const struct live_news *news, size_t count)
{
	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < count; i++) {
		struct peer *p = find(l, news[i].id);

		if (news[i].changed)
			p->connected = !news[i].connected;
		p->status_new = p->status != NULL;
	}
	pthread_mutex_unlock(&l->lock);
}

void live_news_free(struct live_news *news, size_t count)
{
	for (size_t i = 0; i < count; i++)
		status_drop(news[i].keep);
	free(news);
}

/* --- commands --------------------------------------------------------------------------- */

static struct command *queue_command(struct live *l, struct peer *p, json_t *body, bool kept)
{
	struct command *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->body = body;
	c->id = json_string_value(json_object_get(body, "id"));
	c->kept = kept;
	*p->commands_end = c;
	p->commands_end = &c->next;
	p->command_count++;
	p->generation++;
	pthread_cond_broadcast(&p->changed);
	return c;
}

void live_command(struct live *l, const char *peer_id, json_t *command, bool kept)
{
	pthread_mutex_lock(&l->lock);
	queue_command(l, find_or_make(l, LIVE_AGENT, peer_id), command, kept);
	pthread_mutex_unlock(&l->lock);
}

void live_withdraw(struct live *l, const char *peer_id, const char *command_id)
{
	struct command *c = NULL;
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	if (p)
		c = unlink_command(p, command_id);
	assert(!c || c->kept);
	if (c)
		pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&l->lock);
	if (c)
		command_free(c);
}

int live_call(struct live *l, const char *peer_id, json_t *command, uint64_t deadline_mono_us, json_t **ret_result,
	      struct fault *ret_fault)
{
	struct command *c;
	struct peer *p;
	int err = 0;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	if (!p || p->command_count >= COMMANDS_MAX) {
		pthread_mutex_unlock(&l->lock);
		json_decref(command);
		return -ETIMEDOUT;
	}
	c = queue_command(l, p, command, false);
	while (!c->answered && wait_until(l, &p->changed, deadline_mono_us))
		;
	if (!c->answered)
		err = l->stopping ? -ESHUTDOWN : -ETIMEDOUT;
	else if (c->failed)
		err = -EREMOTEIO;
	if (err == -EREMOTEIO)
		*ret_fault = c->fault;
	if (!err) {
		*ret_result = c->result;
		c->result = NULL;
	}
	unlink_command(p, c->id);
	pthread_mutex_unlock(&l->lock);
	command_free(c);
	return err;
}

int live_reply(struct live *l, const char *peer_id, const char *command_id, json_t *result, const struct fault *fault,
	       bool *ret_kept, json_t **ret_command)
{
	struct command *c = NULL;
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	for (c = p ? p->commands : NULL; c; c = c->next)
		if (!strcmp(c->id, command_id) && !c->answered)
			break;
	if (!c) {
		pthread_mutex_unlock(&l->lock);
		json_decref(result);
		return -ENOENT;
	}
	*ret_kept = c->kept;
	*ret_command = json_deep_copy(c->body);
	if (!c->kept) {
		c->answered = true;
		c->result = result;
		result = NULL;
		c->failed = fault != NULL;
		if (fault)
			c->fault = *fault;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&l->lock);
	json_decref(result);
	return 0;
}

static bool is_queued(const struct peer *p, const char *command_id)
{
	for (const struct command *c = p ? p->commands : NULL; c; c = c->next)
		if (!strcmp(c->id, command_id))
			return true;
	return false;
}

bool live_wait_answered(struct live *l, const char *peer_id, const char *command_id, uint64_t deadline_mono_us)
{
	struct peer *p;
	bool queued;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	while ((queued = is_queued(p, command_id)) && wait_until(l, &p->changed, deadline_mono_us))
		;
	pthread_mutex_unlock(&l->lock);
	return !queued;
}

/* --- long polls ------------------------------------------------------------------------------ */

void live_wake(struct live *l, const char *peer_id)
{
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	if (p) {
		p->generation++;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&l->lock);
}

void live_poll_begin(struct live *l, const char *peer_id, bool fresh, struct live_poll *ret)
{
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	assert(p);
	ret->serial = ++p->poll_serial;
	ret->generation = p->generation;
	for (struct command *c = fresh ? p->commands : NULL; c; c = c->next)
		c->handed_mono_us = 0;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&l->lock);
}

json_t *live_poll_commands(struct live *l, const char *peer_id, struct live_poll *poll)
{
	uint64_t now = monotonic_now_us();
	json_t *list = json_array();
	struct peer *p;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	poll->generation = p->generation;
	/* What an ended poll would answer nobody reads. */
	for (struct command *c = poll->serial == p->poll_serial ? p->commands : NULL; c; c = c->next)
		if (!c->answered && (!c->handed_mono_us || now - c->handed_mono_us > HAND_AGAIN_US)) {
			c->handed_mono_us = now;
			json_array_append_new(list, json_deep_copy(c->body));
		}
	pthread_mutex_unlock(&l->lock);
	return list;
}

bool live_poll_wait(struct live *l, const char *peer_id, struct live_poll *poll, uint64_t deadline_mono_us)
{
	struct peer *p;
	bool changed;

	pthread_mutex_lock(&l->lock);
	p = find(l, peer_id);
	while (p->poll_serial == poll->serial && p->generation == poll->generation &&
	       wait_until(l, &p->changed, deadline_mono_us))
		;
	changed = p->poll_serial == poll->serial && p->generation != poll->generation && !l->stopping;
	pthread_mutex_unlock(&l->lock);
	return changed;
}

/* --- events and statuses ------------------------------------------------------------------------- */

uint64_t live_ticket(struct live *l, enum live_topic t)
{
	uint64_t ticket;

	pthread_mutex_lock(&l->lock);
	ticket = l->topics[t].count;
	pthread_mutex_unlock(&l->lock);
	return ticket;
}

void live_announce(struct live *l, enum live_topic t)
{
	pthread_mutex_lock(&l->lock);
	l->topics[t].count++;
	pthread_cond_broadcast(&l->topics[t].announced);
	pthread_mutex_unlock(&l->lock);
}

bool live_wait(struct live *l, enum live_topic t, uint64_t ticket, uint64_t deadline_mono_us)
{
	bool changed;

	pthread_mutex_lock(&l->lock);
	while (l->topics[t].count == ticket && wait_until(l, &l->topics[t].announced, deadline_mono_us))
		;
	changed = l->topics[t].count != ticket && !l->stopping;
	pthread_mutex_unlock(&l->lock);
	return changed;
}
