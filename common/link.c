/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's half: buffers, and a socket that is hardly waited for.
 *
 * The child always reads at once what it is sent, and keeps or throws away by
 * itself; so a full socket means that it is being started, that a message is
 * large, or that somebody has stopped it.  It is given SEND_PATIENCE_MS to make
 * room; then messages stay in `out`, at most LINK_MESSAGE_MAX bytes of them, and
 * go with the next call; of statuses only the newest is kept.
 */
#include "link.h"
#include "link_child.h"
#include "utf8.h"

#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_STEP (64 * KIB)
#define STOP_TIMEOUT_MS 4000
#define SEND_PATIENCE_MS 100 /* for a large reply that the child is just reading */

struct bytes {
	uint8_t *data;
	size_t len, room;
};

struct link {
	int fd, pidfd;
	pid_t pid;
	struct bytes in, out;
	size_t out_done;    /* bytes of `out` sent */
	json_t *status;	    /* waits until `out` is empty */
	bool broken;
};

static int bytes_reserve(struct bytes *b, size_t more)
{
	size_t room = b->room ? b->room : READ_STEP;
	uint8_t *data;

	while (room < b->len + more)
		room *= 2;
	if (room == b->room)
		return 0;
	data = realloc(b->data, room);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

static void bytes_drop_front(struct bytes *b, size_t n)
{
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}

/* --- starting and stopping ---------------------------------------------------- */

static _Noreturn void become_child(const struct link_options *o, int fd)
{
	/* Disks, maps and locks of the program are none of the child's business. */
	if (fd > 3)
		close_range(3, (unsigned int)fd - 1, 0);
	close_range((unsigned int)fd + 1, ~0U, 0);
	link_child_run(o, fd);
}

int link_start(const struct link_options *o, struct link **ret)
{
	struct link *l = calloc(1, sizeof(*l));
	int ends[2], err;

	if (!l)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		err = -errno;
		free(l);
		return err;
	}
	l->pid = fork();
	if (l->pid == 0)
		become_child(o, ends[1]);
	err = l->pid < 0 ? -errno : 0;
	close(ends[1]);
	if (!err && fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	if (err) {
		close(ends[0]);
		free(l);
		return err;
	}
	l->fd = ends[0];
	l->pidfd = pidfd_open(l->pid, 0);
	*ret = l;
	return 0;
}

/* The child sends what it still has when its line ends, and then goes; if it
 * does not, it is made to. */
void link_stop(struct link *l)
{
	struct pollfd p;

	if (!l)
		return;
	close(l->fd);
	p = (struct pollfd){ .fd = l->pidfd, .events = POLLIN };
	if (l->pidfd >= 0) {
		if (poll(&p, 1, STOP_TIMEOUT_MS) <= 0)
			pidfd_send_signal(l->pidfd, SIGKILL, NULL, 0);
		waitid(P_PIDFD, (id_t)l->pidfd, NULL, WEXITED);
		close(l->pidfd);
	}
	json_decref(l->status);
	free(l->in.data);
	free(l->out.data);
	free(l);
}

int link_fd(const struct link *l)
{
	return l->fd;
}

/* --- to the child --------------------------------------------------------------- */

/* 0 when `out` is empty, -EAGAIN, or -EPIPE. */
static int flush_out(struct link *l)
{
	while (l->out_done < l->out.len) {
		ssize_t n = send(l->fd, l->out.data + l->out_done, l->out.len - l->out_done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return -EAGAIN;
		if (n < 0) {
			l->broken = true;
			return -EPIPE;
		}
		l->out_done += (size_t)n;
	}
	l->out.len = l->out_done = 0;
	return 0;
}

static int add_out(struct link *l, const json_t *message)
{
	size_t len = json_dumpb(message, NULL, 0, JSON_COMPACT);
	uint8_t head[4];

	if (!len || len > LINK_MESSAGE_MAX)
		return -EMSGSIZE;
	if (l->out_done) {
		bytes_drop_front(&l->out, l->out_done);
		l->out_done = 0;
	}
	if (l->out.len + len > LINK_MESSAGE_MAX)
		return -ENOBUFS;
	if (bytes_reserve(&l->out, sizeof(head) + len))
		return -ENOMEM;
	put_le32(head, (uint32_t)len);
	memcpy(l->out.data + l->out.len, head, sizeof(head));
	json_dumpb(message, (char *)l->out.data + l->out.len + sizeof(head), len, JSON_COMPACT);
	l->out.len += sizeof(head) + len;
	return 0;
}

/* Everything out, if the child makes room soon. */
static void flush_soon(struct link *l)
{
	uint64_t deadline = monotonic_now_us() + SEND_PATIENCE_MS * USEC_PER_MSEC;
	struct pollfd p = { .fd = l->fd, .events = POLLOUT };

	while (!l->broken && flush_out(l) == -EAGAIN && monotonic_now_us() < deadline)
		if (poll(&p, 1, SEND_PATIENCE_MS) <= 0)
			break;
}

static void flush_all(struct link *l)
{
	json_t *message;

	flush_soon(l);
	if (l->broken || l->out.len || !l->status)
		return;
	message = json_pack("{s:o}", "status", l->status);
	l->status = NULL;
	if (message && add_out(l, message) == 0)
		flush_soon(l);
	json_decref(message);
}

/* Takes @message.  What does not fit is lost: the console will ask again, or
 * has been away for longer than is worth remembering. */
static void send_message(struct link *l, json_t *message)
{
	if (message && !l->broken)
		(void)!add_out(l, message);
	json_decref(message);
	flush_all(l);
}

void link_status(struct link *l, const json_t *status)
{
	json_decref(l->status);
	l->status = json_deep_copy(status);
	flush_all(l);
}

void link_event(struct link *l, uint64_t time_us, const struct fault *fault)
{
	char time[WALLCLOCK_TEXT_LEN + 1];
	json_t *event = fault_to_json(fault);

	json_object_set_new(event, "time", json_string(wallclock_format(time_us, time)));
	send_message(l, json_pack("{s:o}", "event", event));
}

void link_reply(struct link *l, const char *command_id, const json_t *result)
{
	json_t *copy = result ? json_deep_copy(result) : json_object();

	send_message(l, json_pack("{s:{s:s, s:b, s:o}}", "reply", "id", command_id, "ok", 1, "result", copy));
}

void link_reply_fault(struct link *l, const char *command_id, const struct fault *fault)
{
	send_message(l, json_pack("{s:{s:s, s:b, s:o}}", "reply", "id", command_id, "ok", 0, "fault",
				  fault_to_json(fault)));
}

/* --- from the child -------------------------------------------------------------- */

/* A whole message at the front of `in`: 0, -EAGAIN if there is none yet. */
static int take_message(struct link *l, json_t **ret)
{
	json_t *message;
	uint32_t len;

	if (l->in.len < 4)
		return -EAGAIN;
	len = get_le32(l->in.data);
	if (len > LINK_MESSAGE_MAX)
		return -EPIPE;
	if (l->in.len - 4 < len)
		return -EAGAIN;
	message = json_loadb((const char *)l->in.data + 4, len, 0, NULL);
	bytes_drop_front(&l->in, 4 + (size_t)len);
	if (!message)
		return -EPIPE;
	*ret = message;
	return 0;
}

int link_receive(struct link *l, json_t **ret)
{
	if (l->out.len && !l->broken)
		(void)!flush_out(l);
	for (;;) {
		int err = take_message(l, ret);
		ssize_t n;

		if (err != -EAGAIN)
			return err;
		if (bytes_reserve(&l->in, READ_STEP))
			return -ENOMEM;
		n = recv(l->fd, l->in.data + l->in.len, l->in.room - l->in.len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return -EAGAIN;
		if (n <= 0)
			return -EPIPE;
		l->in.len += (size_t)n;
	}
}

/* --- faults as JSON ---------------------------------------------------------------- */

json_t *fault_to_json(const struct fault *f)
{
	json_t *args = json_object();

	for (unsigned int i = 0; i < f->arg_count; i++)
		json_object_set_new(args, f->args[i].name, json_string(f->args[i].value));
	return json_pack("{s:s, s:o}", "code", message_name(f->code), "args", args);
}

int fault_from_json(const json_t *j, struct fault *ret)
{
	const char *code = json_string_value(json_object_get(j, "code")), *name;
	struct fault f = { 0 };
	json_t *value;

	if (!code || message_from_name(code, &f.code))
		return -EINVAL;
	json_object_foreach(json_object_get(j, "args"), name, value) {
		if (!json_is_string(value) || strlen(name) >= sizeof(f.args[0].name))
			return -EINVAL;
		if (f.arg_count == FAULT_ARGS_MAX)
			return -EINVAL;
		strcpy(f.args[f.arg_count].name, name);
		utf8_clean(json_string_value(value), f.args[f.arg_count].value, FAULT_VALUE_MAX);
		f.arg_count++;
	}
	*ret = f;
	return 0;
}
