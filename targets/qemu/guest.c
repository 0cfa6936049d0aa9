/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"
#include "base64.h"
#include "utf8.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES (4 + GUEST_OUTPUT_MAX * 2)
#define NAME_BYTES 32

struct guest {
	struct loop *loop;
	const struct guest_ops *ops;
	void *context;
	int fd;
	size_t used;
	bool too_long; /* the rest of this line is not heard */
	char line[LINE_BYTES];
};

/* Lines of printable characters, whatever it was. */
static void clean(char *text, size_t len, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++)
		if (!text[i] || text[i] == '\r')
			text[i] = ' ';
	text[len] = 0;
	out[0] = 0;
	for (char *line = text, *next; line && *line && used + 2 < size; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		utf8_clean(line, out + used, size - used - 1);
		used += strlen(out + used);
		out[used++] = '\n';
		out[used] = 0;
	}
}

static bool decode(const char *coded, char *out, size_t size)
{
	size_t n;
	uint8_t *raw = base64_decode(coded, strlen(coded), &n);

	if (raw)
		clean((char *)raw, n, out, size);
	free(raw);
	return raw;
}

bool guest_take_line(const struct guest_ops *ops, void *context, const char *line)
{
	char name[NAME_BYTES + 1], output[GUEST_OUTPUT_MAX + 2];
	int status, at = 0;

	if (strcmp(line, "ready") == 0) {
		ops->ready(context);
		return true;
	}
	if (sscanf(line, "ran %32[a-z_] %d%n", name, &status, &at) != 2 || status < 0 || status > 255)
		return false;
	if (line[at] && line[at] != ' ')
		return false;
	if (!decode(line + at + (line[at] == ' '), output, sizeof(output)))
		return false;
	ops->ran(context, name, status, output);
	return true;
}

static void take_byte(struct guest *g, char c)
{
	if (c != '\n') {
		if (g->used + 1 < sizeof(g->line))
			g->line[g->used++] = c;
		else
			g->too_long = true;
		return;
	}
	g->line[g->used] = 0;
	if (!g->too_long && strlen(g->line) == g->used)
		(void)guest_take_line(g->ops, g->context, g->line);
	g->used = 0;
	g->too_long = false;
}

static void read_line(void *context, uint32_t events)
{
	struct guest *g = context;
	char text[4096];
	ssize_t n = read(g->fd, text, sizeof(text));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(g->loop, &g->fd);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		take_byte(g, text[i]);
}

int guest_connect(struct loop *loop, const char *path, const struct guest_ops *ops, void *context, struct guest **ret)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct guest *g;
	int err = 0;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, path);
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	*g = (struct guest){ .loop = loop, .ops = ops, .context = context };
	g->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->fd < 0 || connect(g->fd, (struct sockaddr *)&a, sizeof(a)))
		err = -errno;
	if (!err)
		err = loop_watch(loop, g->fd, EPOLLIN, read_line, g);
	if (err) {
		if (g->fd >= 0)
			close(g->fd);
		free(g);
		return err;
	}
	*ret = g;
	return 0;
}

void guest_free(struct guest *g)
{
	if (!g)
		return;
	loop_close(g->loop, &g->fd);
	free(g);
}

int guest_run(struct guest *g, const char *name, const char *command)
{
	size_t len = strlen(command);
	unsigned char *coded = malloc((len + 2) / 3 * 4 + 1);
	char *line = NULL;
	int n = -1, err = -ENOMEM;

	if (coded) {
		(void)EVP_EncodeBlock(coded, (const unsigned char *)command, (int)len);
		n = asprintf(&line, "run %s %s\n", name, (char *)coded);
		if (n > 0) /* far less than a socket holds */
			err = g->fd >= 0 && send(g->fd, line, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EPIPE;
	}
	if (n > 0)
		free(line);
	free(coded);
	return err;
}
