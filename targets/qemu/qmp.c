/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp.h"
#include "fileio.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES (1u << 20)
#define SEND_DEADLINE_MS 5000

struct waiting {
	struct waiting *next;
	void (*done)(void *context, const json_t *result, const char *error);
	void *context;
};

struct qmp {
	int fd;
	const struct qmp_ops *ops;
	void *context;
	struct waiting *first, **last;
	char *line;
	size_t used;
	bool closed;
};

int qmp_connect(const char *path, const struct qmp_ops *ops, void *context, struct qmp **ret)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct qmp *q;
	int fd, err;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		err = -errno;
		close(fd);
		return err;
	}
	q = calloc(1, sizeof(*q));
	if (q)
		q->line = malloc(LINE_MAX_BYTES);
	if (!q || !q->line) {
		close(fd);
		free(q);
		return -ENOMEM;
	}
	q->fd = fd;
	q->ops = ops;
	q->context = context;
	q->last = &q->first;
	*ret = q;
	qmp_command(q, "qmp_capabilities", NULL, NULL, NULL);
	return 0;
}

static void answer_first(struct qmp *q, const json_t *result, const char *error)
{
	struct waiting *w = q->first;

	if (!w)
		return;
	q->first = w->next;
	if (!q->first)
		q->last = &q->first;
	if (w->done)
		w->done(w->context, result, error);
	free(w);
}

static void close_line(struct qmp *q)
{
	if (q->closed)
		return;
	q->closed = true;
	while (q->first)
		answer_first(q, NULL, "qemu is gone");
	q->ops->closed(q->context);
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	q->closed = true;
	while (q->first)
		answer_first(q, NULL, "the line is closed");
	close(q->fd);
	free(q->line);
	free(q);
}

int qmp_fd(const struct qmp *q)
{
	return q->fd;
}

static void take_object(struct qmp *q, const json_t *o)
{
	const char *event = json_string_value(json_object_get(o, "event"));
	const json_t *error = json_object_get(o, "error"), *result = json_object_get(o, "return");

	if (event) {
		q->ops->event(q->context, event, json_object_get(o, "data"));
	} else if (error) {
		const char *text = json_string_value(json_object_get(error, "desc"));

		answer_first(q, NULL, text ? text : "an error without words");
	} else if (result) {
		answer_first(q, result, NULL);
	} /* else the greeting */
}

static void take_lines(struct qmp *q)
{
	char *newline;

	while (!q->closed && (newline = memchr(q->line, '\n', q->used))) {
		size_t len = (size_t)(newline + 1 - q->line);
		json_t *o = json_loadb(q->line, len, 0, NULL);

		memmove(q->line, q->line + len, q->used - len);
		q->used -= len;
		if (o)
			take_object(q, o);
		else
			close_line(q);
		json_decref(o);
	}
}

void qmp_read(struct qmp *q)
{
	ssize_t n;

	if (q->closed)
		return;
	if (q->used == LINE_MAX_BYTES) {
		close_line(q);
		return;
	}
	n = read(q->fd, q->line + q->used, LINE_MAX_BYTES - q->used);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_line(q);
		return;
	}
	q->used += (size_t)n;
	take_lines(q);
}

/* Commands are short and qemu reads them at once; one that does not within the
 * deadline is as good as gone. */
static bool send_text(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (poll(&p, 1, SEND_DEADLINE_MS) <= 0)
				return false;
		} else if (n == 0 || errno != EINTR) {
			return false;
		}
	}
	return true;
}

void qmp_command(struct qmp *q, const char *name, json_t *arguments,
		 void (*done)(void *context, const json_t *result, const char *error), void *context)
{
	struct waiting *w = calloc(1, sizeof(*w));
	json_t *o = json_pack("{s:s,s:o*}", "execute", name, "arguments", arguments);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	if (!w || !text || q->closed) {
		free(w);
		free(text);
		if (done)
			done(context, NULL, q->closed ? "qemu is gone" : "out of memory");
		return;
	}
	w->done = done;
	w->context = context;
	*q->last = w;
	q->last = &w->next;
	if (!send_text(q->fd, text, strlen(text)) || !send_text(q->fd, "\n", 1))
		close_line(q);
	free(text);
}
