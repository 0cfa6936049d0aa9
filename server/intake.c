/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before the first byte is read the process has no capabilities, no way to
 * new ones, and sees nothing of the file system but the stores; once the
 * machine is known, nothing but that machine's own.  The keys were read by
 * the listener.
 *
 *	          handshake done           WELCOME               refused, peer gone, deadline
 *	HANDSHAKE --------------> GREETING --------> STREAMING -------------------------------> FAREWELL
 *
 * FAREWELL sends what is left (a REFUSE) and reads on until the peer has
 * closed, for a moment: a connection closed over unread input is reset, and
 * the reset would overtake the REFUSE.
 */
#include "intake.h"
#include "confine.h"
#include "control.h"
#include "line.h"
#include "session.h"
#include "staging.h"
#include "store.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Given to the session at a time: between slices the listener is heard. */
#define SLICE_BYTES (1 * MIB)
_Static_assert(SLICE_BYTES >= WIRE_HEADER_BYTES + WIRE_BODY_MAX, "any frame fits");

/* A speed test writes over itself from here on. */
#define PROBE_FILE_BYTES (256 * MIB)

/* Points expire by whole journal files, and the store closes those by size.
 * Where points are kept for a short time only, the writer is opened anew four
 * times in that time, but not more often than this: that closes one. */
#define ROTATE_LEAST_US (15 * USEC_PER_SEC)

/* The listener hears of progress at most so often. */
#define FIGURES_EVERY_US (200 * USEC_PER_MSEC)

struct intake {
	const struct intake_options *o;
	struct tls *tls;
	struct line *line;
	struct session *session;
	struct uuid machine;
	uint8_t key[16]; /* tls_peer_pin() */
	struct store_writer *writer;
	char store_dir[4096];
	int store_fd; /* the machine's folder */
	bool at_border; /* nothing was put since the last commit */
	uint64_t opened_us, look_again_us; /* the writer; whether it is to be opened anew */
	int probe_fd;
	uint64_t probe_offset;

	uint64_t deadline_us; /* of the greeting, then of the next frame */
	uint64_t told_us;     /* when the listener last got the figures */
	struct control_message ended; /* why it is over */
};

/* --- to the listener ----------------------------------------------------------- */

static void tell_figures(struct intake *in, uint64_t now_us)
{
	struct control_message m = { .type = CONTROL_FIGURES, .figures = *session_get_figures(in->session) };

	if (now_us - in->told_us < FIGURES_EVERY_US)
		return;
	in->told_us = now_us;
	if (m.figures.received_bytes > 0)
		(void)!control_send(in->o->control_fd, &m); /* if the listener is gone, the next wait says so */
}

static int over(struct intake *in, int err, uint16_t reason, const char *text)
{
	if (in->ended.type)
		return -ECONNABORTED;
	in->ended.type = CONTROL_ENDED;
	in->ended.err = err;
	in->ended.reason = reason;
	snprintf(in->ended.text, sizeof(in->ended.text), "%s", text);
	return -ECONNABORTED;
}

/* --- what the session may do: struct session_ops --------------------------------- */

static int confine_to(const char *dir)
{
	const struct confine_path paths[] = { { dir, true }, { NULL, false } };
	bool active;

	return confine_paths(paths, &active);
}

static int ask_listener(struct intake *in, const struct uuid *machine, struct wire_refuse *refuse)
{
	struct control_message m = { .type = CONTROL_ADMIT, .machine = *machine };
	struct pollfd p = { .fd = in->o->control_fd, .events = POLLIN };
	int err;

	memcpy(m.key, in->key, sizeof(m.key));
	err = control_send(in->o->control_fd, &m);
	if (!err && poll(&p, 1, (int)(INTAKE_ADMIT_US / USEC_PER_MSEC)) <= 0)
		err = -ETIMEDOUT;
	if (!err)
		err = control_receive(in->o->control_fd, &m);
	if (!err && m.type == CONTROL_LET_IN)
		return 0;
	if (!err && (m.type == CONTROL_KEEP_OUT || m.type == CONTROL_END)) {
		refuse->reason = m.reason;
		snprintf(refuse->text, sizeof(refuse->text), "%s", m.text);
		return -EACCES;
	}
	refuse->reason = WIRE_REFUSED_SHUTDOWN;
	snprintf(refuse->text, sizeof(refuse->text), "the server cannot answer now");
	return err ? err : -EPROTO;
}

/* A store is begun while the folder around it can still be synced; there is
 * nothing in it yet that a stranger wrote. */
static int begin_store(const char *dir, const struct uuid *machine)
{
	struct store_writer *w;
	int err = store_writer_open(dir, machine, &store_sys_default, &w);

	if (!err)
		store_writer_close(w);
	return err;
}

static void tell_lost(struct intake *in)
{
	struct control_message m = { .type = CONTROL_LOST, .machine = in->machine };
	uint64_t first, last;

	if (!store_writer_lost(in->writer, &first, &last))
		return;
	snprintf(m.text, sizeof(m.text), "%llu-%llu", (unsigned long long)first, (unsigned long long)last);
	(void)!control_send(in->o->control_fd, &m); /* if the listener is gone, the next wait says so */
}

static int open_writer(struct intake *in)
{
	int err;

	in->opened_us = monotonic_now_us();
	in->look_again_us = in->opened_us + ROTATE_LEAST_US;
	err = store_writer_open(in->store_dir, &in->machine, &store_sys_default, &in->writer);
	if (!err)
		tell_lost(in);
	return err;
}

/* At a border between epochs only: closing drops what was not committed. */
static int rotate_if_old(struct intake *in)
{
	struct store_policy policy = STORE_POLICY_DEFAULT;
	uint64_t now = monotonic_now_us();

	if (!in->at_border || now < in->look_again_us)
		return 0;
	in->look_again_us = now + ROTATE_LEAST_US;
	(void)!store_policy_get(in->store_dir, &store_sys_default, &policy);
	if (now - in->opened_us < policy.every_s * USEC_PER_SEC / 4)
		return 0;
	store_writer_close(in->writer);
	in->writer = NULL;
	return open_writer(in);
}

static int open_store(struct intake *in, const struct uuid *machine)
{
	char id[UUID_TEXT_LEN + 1], *dir = in->store_dir;
	struct staging_room room;
	int err;

	if (snprintf(dir, sizeof(in->store_dir), "%s/%s", in->o->store_root, uuid_format(machine, id)) >=
	    (int)sizeof(in->store_dir))
		return -ENAMETOOLONG;
	in->store_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in->store_fd < 0)
		return -errno;
	err = staging_room(in->store_fd, &room);
	if (!err && !staging_may_resume(&room))
		err = -ENOSPC;
	if (!err && faccessat(in->store_fd, "identity", F_OK, 0))
		err = begin_store(dir, machine);
	if (!err)
		err = confine_to(dir);
	return err ? err : open_writer(in);
}

static int op_admit(void *context, const struct wire_hello *hello, struct wire_refuse *refuse)
{
	char file[STORE_FILE_NAME_BYTES];
	struct intake *in = context;
	char full[STAGING_TEXT_MAX];
	int err = ask_listener(in, &hello->machine, refuse);

	if (err)
		return err;
	in->machine = hello->machine;
	err = open_store(in, &hello->machine);
	if (!err)
		return 0;
	refuse->reason = err == -EBUSY	  ? WIRE_REFUSED_BUSY :
			 err == -ENOSPC ? WIRE_REFUSED_STAGING_FULL :
					  WIRE_REFUSED_STORE;
	snprintf(refuse->text, sizeof(refuse->text), "%s%s",
		 err == -EBUSY	 ? "another process writes this machine's store" :
		 err == -ENOSPC ? staging_full_text(in->store_fd, full) :
				  "the store cannot be opened: ",
		 err == -EBUSY || err == -ENOSPC ? "" : strerror(-err));
	if ((err == -EBADMSG || err == -EIO) && store_damaged_file(in->store_dir, &store_sys_default, file) == 0)
		snprintf(refuse->text, sizeof(refuse->text),
			 "the store cannot be opened: %s is damaged or cannot be read back", file);
	return err;
}

static uint64_t op_last_epoch(void *context)
{
	return store_writer_last_epoch(((struct intake *)context)->writer);
}

static uint64_t op_last_time_us(void *context)
{
	return store_writer_last_time_us(((struct intake *)context)->writer);
}

static struct store_writer *put_into(void *context)
{
	struct intake *in = context;

	in->at_border = false;
	return in->writer;
}

static int op_put_disk(void *context, const struct store_disk *disk)
{
	return store_put_disk(put_into(context), disk);
}

static int op_put_data(void *context, const struct wire_data *d)
{
	return store_put_data(put_into(context), d->disk, d->offset_bytes, d->length_bytes, d->codec,
			      d->stored, d->stored_bytes, d->checksum);
}

static int op_put_zero(void *context, const struct wire_zero *z)
{
	return store_put_zero(put_into(context), z->disk, z->offset_bytes, z->length_bytes);
}

static int op_commit(void *context, const struct store_epoch *epoch)
{
	struct intake *in = context;
	int err = store_commit(in->writer, epoch);

	in->at_border = err == 0;
	return err;
}

static int op_read(void *context, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes, void *ret_buf)
{
	return store_writer_read(((struct intake *)context)->writer, disk, offset_bytes, length_bytes, ret_buf);
}

static int op_room(void *context)
{
	struct intake *in = context;
	struct staging_room room;
	int err = staging_room(in->store_fd, &room);

	if (err)
		return err;
	return staging_is_full(&room) ? -ENOSPC : rotate_if_old(in);
}

/* A file without a name in the machine's folder: gone when it is closed. */
static int op_probe_write(void *context, const void *payload, uint32_t len)
{
	struct intake *in = context;
	ssize_t n;

	if (in->probe_fd < 0)
		in->probe_fd = openat(in->store_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (in->probe_fd < 0)
		return -errno;
	if (in->probe_offset + len > PROBE_FILE_BYTES)
		in->probe_offset = 0;
	n = pwrite(in->probe_fd, payload, len, (off_t)in->probe_offset);
	if (n < 0)
		return -errno;
	in->probe_offset += (uint64_t)n;
	return (uint32_t)n == len ? 0 : -ENOSPC;
}

static int op_probe_end(void *context)
{
	struct intake *in = context;
	int err = 0;

	if (in->probe_fd >= 0 && fdatasync(in->probe_fd))
		err = -errno;
	if (in->probe_fd >= 0)
		close(in->probe_fd);
	in->probe_fd = -1;
	in->probe_offset = 0;
	return err;
}

static uint64_t op_now_us(void *context)
{
	return monotonic_now_us();
}

static const struct session_ops intake_ops = {
	.admit = op_admit,
	.last_epoch = op_last_epoch,
	.last_time_us = op_last_time_us,
	.put_disk = op_put_disk,
	.put_data = op_put_data,
	.put_zero = op_put_zero,
	.commit = op_commit,
	.read = op_read,
	.room = op_room,
	.probe_write = op_probe_write,
	.probe_end = op_probe_end,
	.now_us = op_now_us,
};

/* --- the connection -------------------------------------------------------------- */

/* Wait for @fd (no @events: only look), the listener, or the deadline. */
static int wait_for(struct intake *in, int fd, short events)
{
	struct pollfd p[2] = { { .fd = fd, .events = events },
			       { .fd = in->o->control_fd, .events = POLLIN } };
	uint64_t now = monotonic_now_us();
	struct control_message m;

	if (now >= in->deadline_us)
		return over(in, -ETIMEDOUT, 0,
			    in->session && session_is_open(in->session) ? "nothing was heard from the agent for a minute" :
									  "the greeting took too long");
	if (poll(p, 2, events ? (int)MIN((in->deadline_us - now + 999) / 1000, 1000) : 0) < 0 && errno != EINTR)
		return over(in, -errno, 0, "poll failed");
	if (!p[1].revents)
		return 0;
	if (control_receive(in->o->control_fd, &m) || m.type != CONTROL_END)
		return over(in, -EPIPE, 0, "the server has died");
	if (in->session)
		session_refuse(in->session, m.reason, m.text);
	else
		return over(in, 0, m.reason, m.text);
	return 0;
}

static int shake_hands(struct intake *in, struct uuid *ret_peer)
{
	char role[16];
	int err;

	while ((err = tls_handshake(in->tls)) == -EAGAIN) {
		if (wait_for(in, in->o->socket_fd, tls_events(in->tls)))
			return -ECONNABORTED;
	}
	if (err)
		return over(in, err, 0, tls_error(in->tls));
	err = tls_peer(in->tls, role, ret_peer) ?: tls_peer_pin(in->tls, in->key);
	if (err || strcmp(role, "agent") != 0)
		return over(in, -EKEYREJECTED, 0, "the peer's certificate is not an agent's");
	return 0;
}

/* What the session says goes as far as there is room for it. */
static void push_output(struct intake *in)
{
	const uint8_t *out;
	size_t len;

	while (out = session_output(in->session, &len), len > 0) {
		size_t n = line_send(in->line, out, len);

		if (n == 0)
			return;
		session_sent(in->session, n);
	}
}

/* Returns how much was taken. */
static size_t feed_session(struct intake *in, bool *ret_stuck)
{
	size_t len, taken;
	const uint8_t *at = line_input(in->line, &len);

	*ret_stuck = session_input(in->session, at, MIN(len, SLICE_BYTES), &taken) == -EAGAIN;
	line_taken(in->line, taken);
	if (session_is_open(in->session) && taken)
		in->deadline_us = monotonic_now_us() + INTAKE_IDLE_US;
	return taken;
}

/* @how: line_ended(). */
static int line_is_over(struct intake *in, int how, const char *text)
{
	size_t rest;

	(void)line_input(in->line, &rest);
	if (how < 0)
		return over(in, how, 0, text);
	return over(in, rest ? -ECONNRESET : 0, 0,
		    rest ? "the agent went away in the middle of a frame" : "the agent closed the connection");
}

static int wait_for_line(struct intake *in, short events)
{
	uint64_t since = monotonic_now_us();
	int err;

	err = line_is_started(in->line) ? wait_for(in, line_event_fd(in->line), POLLIN) :
					  wait_for(in, in->o->socket_fd, events);
	session_waited(in->session, monotonic_now_us() - since);
	return err;
}

/* The thread begins when the process has given up all that it ever will. */
static int start_thread_if_open(struct intake *in)
{
	int err;

	if (line_is_started(in->line) || !session_is_open(in->session))
		return 0;
	err = line_start(in->line);
	return err ? over(in, err, 0, "no thread for the connection") : 0;
}

/* One round: take what is there, say what is to be said, wait if it was nothing. */
static int stream_once(struct intake *in)
{
	short events = 0;
	const char *text;
	bool stuck;
	size_t taken;
	int how;

	line_clear_event(in->line);
	if (!line_is_started(in->line))
		line_pump(in->line, &events);
	how = line_ended(in->line, &text); /* before the input: what is there then is all */
	taken = feed_session(in, &stuck);
	push_output(in);
	if (!line_is_started(in->line))
		line_pump(in->line, &events);
	tell_figures(in, monotonic_now_us());
	if (!taken && (how < 0 || (how && !stuck)))
		return line_is_over(in, how, text);
	if (start_thread_if_open(in))
		return -ECONNABORTED;
	return taken ? wait_for(in, -1, 0) : wait_for_line(in, events);
}

static void stream(struct intake *in)
{
	const struct session_end *end = session_get_end(in->session);

	while (!stream_once(in) && !end->refused)
		;
	if (end->refused)
		(void)over(in, end->err, end->refuse.reason, end->refuse.text);
}

static bool is_all_said(struct intake *in)
{
	const char *text;
	size_t len;

	(void)session_output(in->session, &len);
	return line_ended(in->line, &text) < 0 || (len == 0 && line_is_flushed(in->line));
}

/* The last words, and patience until the peer has read them. */
static void say_farewell(struct intake *in)
{
	short events = 0;
	char rest[4096];
	ssize_t n;

	in->deadline_us = monotonic_now_us() + INTAKE_FAREWELL_US;
	do {
		line_clear_event(in->line);
		push_output(in);
		if (!line_is_started(in->line))
			line_pump(in->line, &events);
	} while (!is_all_said(in) && !wait_for_line(in, events));
	line_free(in->line);
	in->line = NULL;
	tls_free(in->tls);
	in->tls = NULL;
	(void)shutdown(in->o->socket_fd, SHUT_WR);
	do {
		n = recv(in->o->socket_fd, rest, sizeof(rest), 0);
		if (n < 0 && errno == EAGAIN)
			n = wait_for(in, in->o->socket_fd, POLLIN) ? 0 : 1;
	} while (n > 0 && monotonic_now_us() < in->deadline_us);
}

static int serve(struct intake *in)
{
	struct uuid peer;
	int err = tls_new(in->o->tls, in->o->socket_fd, true, &in->tls);

	if (err)
		return over(in, err, 0, "no memory for a connection");
	if (shake_hands(in, &peer))
		return -ECONNABORTED;
	err = session_new(&intake_ops, in, &peer, &in->session);
	if (!err)
		err = line_new(in->tls, in->o->socket_fd, &in->line);
	if (err)
		return over(in, err, 0, "no memory for a session");
	stream(in);
	return -ECONNABORTED;
}

int intake_run(const struct intake_options *o)
{
	struct intake *in = calloc(1, sizeof(*in));
	int err;

	if (!in)
		return 1;
	in->o = o;
	in->store_fd = in->probe_fd = -1;
	in->deadline_us = monotonic_now_us() + INTAKE_GREETING_US;
	err = confine_capabilities(NULL, 0);
	if (!err)
		err = confine_to(o->store_root);
	if (err)
		(void)over(in, err, 0, "the session's process cannot give up its rights");
	else
		(void)serve(in);

	/* The store first: it is what the next session of this machine waits for. */
	store_writer_close(in->writer);
	if (in->session)
		in->ended.figures = *session_get_figures(in->session);
	if (control_send(o->control_fd, &in->ended))
		return 1; /* the listener has died: the socket closes by itself */
	if (in->line)
		say_farewell(in);
	tls_free(in->tls);
	session_free(in->session);
	free(in);
	return 0;
}
