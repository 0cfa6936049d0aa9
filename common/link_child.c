/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three threads:
 *
 *	reader (main)	program -> queues; its end is everybody's end
 *	poller		GET /link, for ever -> desired, commands -> program
 *	poster		queues -> POST /link/reply, /events, /status
 *
 * Replies go first, then the status if it is time (one a second), then events.
 * But a status does not wait for a reply that has broken off, nor for long: it
 * would make the program seem dead.  A post
 * has its time as long as it gets on, and not for ever (POST_TIMEOUT_MS).  A reply
 * that breaks off REPLY_ATTEMPTS times is replaced by a fault that says so.
 * A post that the console could not take is tried again, with back-off; one that
 * it refused (4xx) would be refused again and is dropped.  Too many events (429)
 * wait by themselves: the status goes on.
 *
 * After any failure the poller asks without a version: a console that was
 * restored from a copy may be at the version that we have with other contents.
 * Commands handed out twice are passed on once (`seen`): the console repeats
 * those that were not answered yet.
 *
 * Before a byte of the network is read all capabilities are gone, and of the
 * files all but those that give_up_rights() lists.
 */
#include "link_child.h"

#include "confine.h"
#include "fileio.h"
#include "http.h"
#include "wallclock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define POLL_WAIT_S 25
#define POLL_TIMEOUT_MS ((POLL_WAIT_S + 15) * 1000)
#define POST_TIMEOUT_MS 120000 /* who asked has given up by then */
#define POST_STALL_S 15
#define REPLY_ATTEMPTS 3
#define BACKOFF_LEAST_MS 1000
#define BACKOFF_MOST_MS 10000
#define STATUS_PERIOD_US USEC_PER_SEC
#define STATUS_OVERDUE_US (10 * USEC_PER_SEC)
#define DRAIN_MS 2000
#define EVENTS_PER_POST 100
#define QUEUE_MAX_ITEMS 1000
#define QUEUE_MAX_BYTES (64 * MIB)
#define SEEN_MAX 128
#define DESIRED_MAX_BYTES (16 * MIB)
#define API "/api/godwit/v1/link"

struct item {
	json_t *body;
	size_t bytes;
	unsigned int attempts; /* a reply's, that broke off */
	bool given_up; /* it is the fault that says so */
	struct item *next;
};

/* First in, first out; the oldest goes when there is no more room. */
struct queue {
	struct item *first, **last;
	size_t count, bytes;
};

struct child {
	struct link_options options;
	int fd;

	pthread_mutex_t lock; /* of everything down to `stopping` */
	pthread_cond_t wake;
	struct queue replies, events;
	json_t *status;
	uint64_t status_sent_us, events_after_us;
	bool stopping, drained;

	pthread_mutex_t write_lock; /* one message at a time to the program */

	/* the poller's */
	json_t *desired;
	int64_t version; /* -1: ask for the state whatever its version */
	char *seen[SEEN_MAX];
	size_t seen_next;
	bool told, up;
	enum message_code told_code;
};

/* --- queues ---------------------------------------------------------------------- */

static void queue_init(struct queue *q)
{
	*q = (struct queue){ 0 };
	q->last = &q->first;
}

static json_t *queue_pop(struct queue *q)
{
	struct item *i = q->first;
	json_t *body;

	if (!i)
		return NULL;
	body = i->body;
	q->first = i->next;
	if (!q->first)
		q->last = &q->first;
	q->count--;
	q->bytes -= i->bytes;
	free(i);
	return body;
}

/* Takes @body. */
static void queue_push(struct queue *q, json_t *body, size_t bytes)
{
	struct item *i = malloc(sizeof(*i));

	if (!i) {
		json_decref(body);
		return;
	}
	while (q->count && (q->count >= QUEUE_MAX_ITEMS || q->bytes + bytes > QUEUE_MAX_BYTES))
		json_decref(queue_pop(q));
	*i = (struct item){ .body = body, .bytes = bytes };
	*q->last = i;
	q->last = &i->next;
	q->count++;
	q->bytes += bytes;
}

/* --- between program and child ----------------------------------------------------- */

static _Noreturn void leave(int status)
{
	_exit(status);
}

/* Takes @message. */
static void tell_program(struct child *c, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	uint8_t head[4];
	size_t len = text ? strlen(text) : 0;
	int err = 0;

	json_decref(message);
	if (text && len <= LINK_MESSAGE_MAX) {
		put_le32(head, (uint32_t)len);
		pthread_mutex_lock(&c->write_lock);
		err = fileio_write_full(c->fd, head, sizeof(head));
		if (!err)
			err = fileio_write_full(c->fd, text, len);
		pthread_mutex_unlock(&c->write_lock);
	}
	free(text);
	/* The reader sees the end as well, and drains before it leaves; from
	 * here there is nobody left to tell. */
	(void)err;
}

static int read_message(int fd, json_t **ret, size_t *ret_bytes)
{
	uint8_t head[4];
	uint32_t len;
	char *text;
	int err = fileio_read_full(fd, head, sizeof(head));

	if (err)
		return err;
	len = get_le32(head);
	if (len > LINK_MESSAGE_MAX || !(text = malloc(len)))
		return -EMSGSIZE;
	err = fileio_read_full(fd, text, len);
	if (!err && !(*ret = json_loadb(text, len, 0, NULL)))
		err = -EBADMSG;
	*ret_bytes = len;
	free(text);
	return err;
}

static void take_from_program(struct child *c, json_t *message, size_t bytes)
{
	json_t *status = json_object_get(message, "status"), *event = json_object_get(message, "event");
	json_t *reply = json_object_get(message, "reply");

	pthread_mutex_lock(&c->lock);
	if (status) {
		json_decref(c->status);
		c->status = json_incref(status);
	}
	if (event)
		queue_push(&c->events, json_incref(event), bytes);
	if (reply)
		queue_push(&c->replies, json_incref(reply), bytes);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	json_decref(message);
}

/* --- console up and down ------------------------------------------------------------ */

static void tell_up(struct child *c)
{
	if (c->told && c->up)
		return;
	c->told = c->up = true;
	tell_program(c, json_pack("{s:{s:b}}", "console", "up", 1));
}

/* Once for each different reason, not once for each attempt. */
static void tell_down(struct child *c, const struct fault *f)
{
	if (c->told && !c->up && c->told_code == f->code)
		return;
	c->told = true;
	c->up = false;
	c->told_code = f->code;
	tell_program(c, json_pack("{s:{s:b, s:o}}", "console", "up", 0, "fault", fault_to_json(f)));
}

/* --- back-off -------------------------------------------------------------------------- */

/* The next wait in ms: doubled, with a quarter of chance in it, so that many
 * agents do not come back in the same moment. */
static unsigned int next_backoff(unsigned int *ms, unsigned int *seed)
{
	unsigned int wait = *ms + (unsigned int)rand_r(seed) % (*ms / 4 + 1);

	*ms = MIN(*ms * 2, BACKOFF_MOST_MS);
	return wait;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static struct timespec deadline_after_us(uint64_t us)
{
	uint64_t at = monotonic_now_us() + us;

	return (struct timespec){ .tv_sec = (time_t)(at / USEC_PER_SEC),
				  .tv_nsec = (long)(at % USEC_PER_SEC) * 1000 };
}

/* @stall_seconds: as of struct http_options. */
static struct http *connect_console(struct child *c, unsigned int stall_seconds)
{
	struct http_options o = { .base_url = c->options.console_url, .ca_path = c->options.ca_path,
				  .key_path = c->options.key_path, .cert_path = c->options.cert_path,
				  .proxy = c->options.proxy, .stall_seconds = stall_seconds };
	struct http *h;

	/* The files were there when the program enrolled; if they cannot be
	 * used there is nothing to wait for. */
	if (http_new(&o, &h))
		leave(3);
	return h;
}

/* --- poller ------------------------------------------------------------------------------ */

static void save_desired(struct child *c)
{
	json_t *state = json_pack("{s:O}", "desired", c->desired);
	char *text = state ? json_dumps(state, JSON_INDENT(2)) : NULL;

	/* If it cannot be kept the program runs on what it has, and has the
	 * older state after a restart until the console is heard. */
	if (text)
		(void)!fileio_replace(c->options.state_path, text, strlen(text), 0600);
	free(text);
	json_decref(state);
}

static void load_desired(struct child *c)
{
	json_t *state, *desired;
	char *text;
	size_t len;

	if (fileio_slurp(c->options.state_path, DESIRED_MAX_BYTES, &text, &len))
		return;
	state = json_loadb(text, len, 0, NULL);
	desired = json_object_get(state, "desired");
	if (json_is_object(desired)) {
		c->desired = json_incref(desired);
		tell_program(c, json_pack("{s:O}", "desired", desired));
	}
	json_decref(state);
	free(text);
}

static void take_desired(struct child *c, json_t *desired)
{
	if (!json_is_object(desired) || (c->desired && json_equal(desired, c->desired)))
		return;
	json_decref(c->desired);
	c->desired = json_incref(desired);
	save_desired(c);
	tell_program(c, json_pack("{s:O}", "desired", desired));
}

static bool remember(struct child *c, const char *id)
{
	for (size_t i = 0; i < SEEN_MAX; i++)
		if (c->seen[i] && !strcmp(c->seen[i], id))
			return false;
	free(c->seen[c->seen_next]);
	c->seen[c->seen_next] = strdup(id);
	c->seen_next = (c->seen_next + 1) % SEEN_MAX;
	return true;
}

static void take_commands(struct child *c, json_t *commands)
{
	json_t *command;
	size_t i;

	json_array_foreach(commands, i, command) {
		const char *id = json_string_value(json_object_get(command, "id"));

		if (id && remember(c, id))
			tell_program(c, json_pack("{s:O}", "command", command));
	}
}

/* What a status that is not 200 means. */
static void status_fault(const struct child *c, int status, const json_t *body, struct fault *f)
{
	const char *code = json_string_value(json_object_get(body, "code"));
	char text[16];

	snprintf(text, sizeof(text), "%d", status);
	if (status == 401 || status == 403)
		fault_set(f, 0, MSG_LINK_UNAUTHORISED, "url", c->options.console_url, "status", text, "reason",
			  code ? code : "no reason given", NULL);
	else if (fault_from_json(body, f))
		fault_set(f, 0, MSG_CONSOLE_UNCLEAR, "url", c->options.console_url, "status", text, NULL);
}

static bool poll_once(struct child *c, struct http *h)
{
	json_t *body = NULL;
	struct fault fault;
	char path[96];
	int status;

	if (c->version < 0)
		snprintf(path, sizeof(path), API "?wait=0");
	else
		snprintf(path, sizeof(path), API "?version=%lld&wait=%d", (long long)c->version, POLL_WAIT_S);
	status = http_request(h, "GET", path, NULL, POLL_TIMEOUT_MS, &body, &fault);
	if (status == 200 && json_is_integer(json_object_get(body, "version"))) {
		tell_up(c);
		take_desired(c, json_object_get(body, "desired"));
		c->version = json_integer_value(json_object_get(body, "version"));
		take_commands(c, json_object_get(body, "commands"));
		json_decref(body);
		return true;
	}
	c->version = -1;
	if (status >= 0)
		status_fault(c, status, body, &fault);
	tell_down(c, &fault);
	json_decref(body);
	return false;
}

static void *poller(void *arg)
{
	struct child *c = arg;
	struct http *h = connect_console(c, 0);
	unsigned int backoff = BACKOFF_LEAST_MS, seed = (unsigned int)getpid();

	for (;;) {
		if (poll_once(c, h))
			backoff = BACKOFF_LEAST_MS;
		else
			sleep_ms(next_backoff(&backoff, &seed));
	}
	return NULL;
}

/* --- poster ---------------------------------------------------------------------------------- */

enum posted { POSTED, POST_LATER, POST_BROKEN_OFF, POST_TOO_MANY };

static enum posted post(struct http *h, const char *path, const json_t *body)
{
	json_t *answer = NULL;
	struct fault fault;
	int status = http_request(h, "POST", path, body, POST_TIMEOUT_MS, &answer, &fault);

	json_decref(answer);
	if (status == 429)
		return POST_TOO_MANY;
	if (status < 0 && (fault.code == MSG_CONSOLE_TIMED_OUT || fault.code == MSG_CONSOLE_LOST))
		return POST_BROKEN_OFF;
	if (status < 0 || status >= 500 || status == 401 || status == 403)
		return POST_LATER;
	return POSTED;
}

struct work {
	const char *path;
	json_t *body;
	size_t events;	/* so many at the head of the queue are in it */
	bool reply, status;
};

static json_t *events_body(const struct queue *q, size_t *ret_count)
{
	json_t *list = json_array();

	*ret_count = 0;
	for (struct item *i = q->first; i && *ret_count < EVENTS_PER_POST; i = i->next, (*ret_count)++)
		json_array_append(list, i->body);
	return json_pack("{s:o}", "events", list);
}

static bool status_is_next(const struct child *c, uint64_t now)
{
	if (!c->replies.first)
		return c->stopping || now >= c->status_sent_us + STATUS_PERIOD_US;
	return !c->stopping &&
	       now >= c->status_sent_us + (c->replies.first->attempts ? STATUS_PERIOD_US : STATUS_OVERDUE_US);
}

/* What to post next, or how long to wait for it. Called with the lock held;
 * the queues keep what is being posted. */
static bool next_work(struct child *c, struct work *w, uint64_t *ret_wait_us)
{
	uint64_t now = monotonic_now_us();

	*w = (struct work){ 0 };
	*ret_wait_us = 3600 * USEC_PER_SEC;
	if (c->status && status_is_next(c, now)) {
		*w = (struct work){ .path = API "/status", .body = c->status, .status = true };
		c->status = NULL;
		c->status_sent_us = now;
	} else if (c->replies.first) {
		*w = (struct work){ .path = API "/reply", .body = json_incref(c->replies.first->body), .reply = true };
	} else if (c->events.first && now >= c->events_after_us) {
		w->path = API "/events";
		w->body = events_body(&c->events, &w->events);
	} else {
		if (c->events.first)
			*ret_wait_us = c->events_after_us - now;
		if (c->status)
			*ret_wait_us = MIN(*ret_wait_us, c->status_sent_us + STATUS_PERIOD_US - now);
	}
	return w->body != NULL;
}

/* While a post was under way newer items may have pushed out those in it: only
 * what is still at the head is taken off. */
static void work_done(struct child *c, struct work *w)
{
	if (w->reply && c->replies.first && c->replies.first->body == w->body)
		json_decref(queue_pop(&c->replies));
	for (size_t i = 0; i < w->events; i++) {
		json_t *sent = json_array_get(json_object_get(w->body, "events"), i);

		if (c->events.first && c->events.first->body == sent)
			json_decref(queue_pop(&c->events));
	}
}

static json_t *lost_reply(const struct item *i)
{
	char bytes[24];
	struct fault f;

	snprintf(bytes, sizeof(bytes), "%zu", i->bytes);
	fault_set(&f, 0, MSG_LINK_REPLY_LOST, "bytes", bytes, NULL);
	return json_pack("{s:O, s:b, s:o}", "id", json_object_get(i->body, "id"), "ok", 0, "fault", fault_to_json(&f));
}

/* With the lock held.  What has no id cannot be told of, and goes by itself. */
static void reply_broke_off(struct child *c, const struct work *w)
{
	struct item *i = c->replies.first;
	json_t *instead;

	if (!w->reply || !i || i->body != w->body || ++i->attempts < REPLY_ATTEMPTS)
		return;
	instead = i->given_up ? NULL : lost_reply(i);
	if (!instead) {
		json_decref(queue_pop(&c->replies));
		return;
	}
	json_decref(i->body);
	i->body = instead;
	i->attempts = 0;
	i->given_up = true;
}

static void *poster(void *arg)
{
	struct child *c = arg;
	struct http *h = connect_console(c, c->options.stall_seconds ? c->options.stall_seconds : POST_STALL_S);
	unsigned int backoff = BACKOFF_LEAST_MS, seed = (unsigned int)getpid() + 1;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct work w;
		uint64_t wait_us;
		enum posted result;

		if (!next_work(c, &w, &wait_us)) {
			struct timespec until = deadline_after_us(wait_us);

			if (c->stopping)
				break;
			pthread_cond_timedwait(&c->wake, &c->lock, &until);
			continue;
		}
		pthread_mutex_unlock(&c->lock);
		result = post(h, w.path, w.body);
		pthread_mutex_lock(&c->lock);
		if (result == POSTED) {
			work_done(c, &w);
			backoff = BACKOFF_LEAST_MS;
		}
		if (result == POST_BROKEN_OFF)
			reply_broke_off(c, &w);
		json_decref(w.body);
		if (result != POSTED && c->stopping)
			break;
		if (result == POST_TOO_MANY && w.events) {
			c->events_after_us = monotonic_now_us() + next_backoff(&backoff, &seed) * USEC_PER_MSEC;
		} else if (result != POSTED) {
			pthread_mutex_unlock(&c->lock);
			sleep_ms(next_backoff(&backoff, &seed));
			pthread_mutex_lock(&c->lock);
		}
	}
	c->drained = true;
	pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* --- rights ------------------------------------------------------------------------------------ */

/* The folder of @path, to be freed. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

/* What resolving a name needs, the keys, and the one file that is written.
 * A folder that does not exist needs no rights. */
static int give_up_rights(const struct link_options *o)
{
	char *state = folder_of(o->state_path), *ca = folder_of(o->ca_path), *key = folder_of(o->key_path),
	     *cert = folder_of(o->cert_path);
	const struct confine_path wanted[] = { { state, true }, { ca, false },	    { key, false },    { cert, false },
					       { "/etc", false }, { "/usr", false }, { "/lib", false }, { "/lib64", false },
					       { "/run", false }, { "/dev/null", true } };
	struct confine_path there[ARRAY_LEN(wanted) + 1] = { 0 };
	size_t n = 0;
	bool active;
	int err = confine_capabilities(NULL, 0);

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (access(wanted[i].path, F_OK) == 0)
			there[n++] = wanted[i];
	if (!err)
		err = confine_paths(there, &active);
	free(state);
	free(ca);
	free(key);
	free(cert);
	return err;
}

/* --- reader ------------------------------------------------------------------------------------ */

static void drain(struct child *c)
{
	struct timespec until = deadline_after_us(DRAIN_MS * USEC_PER_MSEC);

	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_broadcast(&c->wake);
	while (!c->drained && pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
		;
	pthread_mutex_unlock(&c->lock);
}

static void init_sync(struct child *c)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->write_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
}

/* A terminal's ^C reaches the whole group: the program decides when its line
 * to the console ends. */
static void own_signals(void)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGABRT);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Nobody joins them: the process ends with them. */
static int start_thread(void *(*run)(void *), struct child *c)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, run, c);

	return err ? -err : -pthread_detach(thread);
}

_Noreturn void link_child_run(const struct link_options *o, int fd)
{
	static struct child c;
	json_t *message;
	size_t bytes;

	prctl(PR_SET_NAME, "godwit-link");
	own_signals();
	if (give_up_rights(o))
		leave(3);
	c.options = *o;
	c.fd = fd;
	c.version = -1;
	queue_init(&c.replies);
	queue_init(&c.events);
	init_sync(&c);
	load_desired(&c);
	if (start_thread(poller, &c) || start_thread(poster, &c))
		leave(3);
	while (read_message(fd, &message, &bytes) == 0)
		take_from_program(&c, message, bytes);
	drain(&c);
	leave(0);
}
