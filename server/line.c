/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread owns the TLS connection and one end of each ring.  Both sides
 * wake each other through event descriptors: the session always hears of
 * news; the thread is woken for output, and for room in the input ring only
 * when it said that it waits for that (`wants_room`), after which it looks
 * once more, so that a wake-up cannot be lost.
 */
#include "line.h"
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The session hears of input so often, so that the two work side by side. */
#define READ_BYTES (256 * KIB)

struct line {
	struct tls *tls;
	int socket_fd;
	int event_fd; /* to the session */
	int wake_fd;  /* to the thread */
	struct ring input, output;
	_Atomic bool wants_room, stop;
	_Atomic int ended; /* 0; 1: in order; -errno */
	char text[256];	   /* set before `ended` */
	bool started;
	pthread_t thread;
};

static void signal_event(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one)); /* full: it is readable anyway */
}

static void clear_event(int fd)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
}

static void end_line(struct line *l, int how)
{
	if (atomic_load(&l->ended))
		return;
	snprintf(l->text, sizeof(l->text), "%s", how < 0 ? tls_error(l->tls) : "");
	atomic_store(&l->ended, how);
}

/* --- moving bytes: the thread, or line_pump() ------------------------------------- */

/* Returns the bytes that came. */
static size_t read_some(struct line *l, short *events)
{
	size_t room, n = 0;
	uint8_t *at = ring_room(&l->input, &room);
	ssize_t got = 1;

	room = MIN(room, READ_BYTES);
	while (n < room && got > 0) {
		got = tls_read(l->tls, at + n, room - n);
		n += got > 0 ? (size_t)got : 0;
	}
	if (n)
		ring_put(&l->input, n);
	if (got == -EAGAIN)
		*events |= tls_events(l->tls);
	else if (got <= 0)
		end_line(l, got == 0 ? 1 : (int)got);
	return n;
}

/* Returns the bytes that went. */
static size_t write_some(struct line *l, short *events)
{
	size_t len, n = 0;
	const uint8_t *at;

	while (at = ring_look(&l->output, &len), len > 0) {
		ssize_t sent = tls_write(l->tls, at, len);

		if (sent == -EAGAIN)
			*events |= tls_events(l->tls);
		else if (sent < 0)
			end_line(l, (int)sent);
		if (sent <= 0)
			break;
		ring_take(&l->output, (size_t)sent);
		n += (size_t)sent;
	}
	return n;
}

static bool has_room(struct line *l)
{
	size_t room;

	(void)ring_room(&l->input, &room);
	return room > 0;
}

/* The peer's orderly end leaves our own direction open. */
static bool may_read(struct line *l)
{
	return atomic_load(&l->ended) == 0;
}

void line_pump(struct line *l, short *ret_events)
{
	*ret_events = 0;
	assert(!l->started);
	while (may_read(l) && has_room(l) && read_some(l, ret_events))
		;
	if (atomic_load(&l->ended) >= 0)
		(void)write_some(l, ret_events);
}

/* --- the thread ---------------------------------------------------------------------- */

/* True if there is room now; else the session will say when there is. */
static bool ask_for_room(struct line *l)
{
	atomic_store(&l->wants_room, true);
	if (!has_room(l))
		return false;
	atomic_store(&l->wants_room, false);
	return true;
}

static void wait_for_work(struct line *l, short events)
{
	struct pollfd p[2] = { { .fd = events ? l->socket_fd : -1, .events = events },
			       { .fd = l->wake_fd, .events = POLLIN } };

	(void)poll(p, 2, -1);
	if (p[1].revents)
		clear_event(l->wake_fd);
}

static void *run_line(void *context)
{
	struct line *l = context;

	while (!atomic_load(&l->stop) && atomic_load(&l->ended) >= 0) {
		short events = 0;
		size_t moved = 0;

		if (may_read(l) && (has_room(l) || ask_for_room(l)))
			moved += read_some(l, &events);
		if (atomic_load(&l->ended) >= 0)
			moved += write_some(l, &events);
		if (moved || atomic_load(&l->ended))
			signal_event(l->event_fd);
		if (!moved)
			wait_for_work(l, events);
	}
	return NULL;
}

int line_start(struct line *l)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&l->thread, NULL, run_line, l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->started = err == 0;
	return -err;
}

bool line_is_started(const struct line *l)
{
	return l->started;
}

/* --- the session's side ------------------------------------------------------------------ */

const uint8_t *line_input(struct line *l, size_t *ret_len)
{
	return ring_look(&l->input, ret_len);
}

void line_taken(struct line *l, size_t n)
{
	ring_take(&l->input, n);
	if (l->started && atomic_exchange(&l->wants_room, false))
		signal_event(l->wake_fd);
}

size_t line_send(struct line *l, const void *bytes, size_t len)
{
	size_t room;
	uint8_t *at = ring_room(&l->output, &room);

	len = MIN(len, room);
	if (len == 0)
		return 0;
	memcpy(at, bytes, len);
	ring_put(&l->output, len);
	if (l->started)
		signal_event(l->wake_fd);
	return len;
}

bool line_is_flushed(struct line *l)
{
	size_t len;

	(void)ring_look(&l->output, &len);
	return len == 0;
}

int line_event_fd(const struct line *l)
{
	return l->event_fd;
}

void line_clear_event(struct line *l)
{
	clear_event(l->event_fd);
}

int line_ended(struct line *l, const char **ret_text)
{
	int ended = atomic_load(&l->ended);

	*ret_text = l->text;
	return ended;
}

int line_new(struct tls *tls, int socket_fd, struct line **ret)
{
	struct line *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->tls = tls;
	l->socket_fd = socket_fd;
	l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = l->event_fd < 0 || l->wake_fd < 0 ? -errno : ring_init(&l->input, LINE_INPUT_BYTES);
	if (!err)
		err = ring_init(&l->output, LINE_OUTPUT_BYTES);
	if (err) {
		line_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void line_free(struct line *l)
{
	if (!l)
		return;
	if (l->started) {
		atomic_store(&l->stop, true);
		signal_event(l->wake_fd);
		(void)pthread_join(l->thread, NULL);
	}
	ring_done(&l->input);
	ring_done(&l->output);
	if (l->event_fd >= 0)
		close(l->event_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	free(l);
}
