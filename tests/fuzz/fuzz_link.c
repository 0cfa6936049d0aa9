/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console, or somebody in its place, against the line of an agent (common/link.h):
 * what it answers is read by the child, passed to the program and done there
 * (agent/control.c); engine, session and tracker are empty functions.
 *
 * The input is answers, each a line "STATUS JSON".  What the child takes the program must
 * be able to read: to it a message that is none means that the child has died.
 *
 * An input that begins with '!' is what a child that was taken over sends.
 */
#include "fuzz.h"
/* For their states, and for one poll to be called. */
#include "../../common/link.c"
#include "../../common/link_child.c"
#include "../../agent/control.c"

#include <assert.h>

#define INPUT_MAX  (16 * KIB) /* the socket takes all of it before it is read */
#define LINES_MAX  32u

static char folder[64], state_path[128];
static const char *answer_text;
static int answer_status;

/* --- what surrounds them ---------------------------------------------------------------------- */

int __wrap_http_request(struct http *h, const char *method, const char *path, const json_t *body,
			unsigned int timeout_ms, json_t **ret_body, struct fault *ret_fault);
int __wrap_http_request(struct http *h, const char *method, const char *path, const json_t *body,
			unsigned int timeout_ms, json_t **ret_body, struct fault *ret_fault)
{
	if (answer_status < 200 || answer_status > 599)
		return fault_set(ret_fault, -ETIMEDOUT, MSG_CONSOLE_UNCLEAR, "url", "u", "status", "0", NULL);
	*ret_body = json_loads(answer_text, 0, NULL);
	return answer_status;
}

void engine_set_codec(struct engine *e, enum payload_codec codec, int level)
{
	assert(codec <= CODEC_ZSTD);
}

void engine_set_epoch_us(struct engine *e, uint64_t epoch_us)
{
	assert(epoch_us >= 10000 && epoch_us <= 60 * USEC_PER_SEC);
}

int engine_mark(struct engine *e, const char *label)
{
	assert(*label && strlen(label) <= WIRE_LABEL_MAX && utf8_is_printable(label, strlen(label)));
	return 0;
}

void engine_unmark(struct engine *e)
{
}

int engine_verify(struct engine *e)
{
	return 0;
}

void engine_rescan(struct engine *e, uint16_t disk)
{
	assert(disk < DISKS_MAX);
}

void session_set_server(struct session *s, const char *address, uint16_t port)
{
	assert(port > 0 || !*address);
}

void session_expect_key(struct session *s, const uint8_t *key)
{
}

void session_set_enabled(struct session *s, bool enabled)
{
}

void session_set_throttle(struct session *s, uint64_t bytes_per_second)
{
}

enum tracker_mode tracker_mode(const struct tracker *t)
{
	return TRACKER_PAYLOAD;
}

void tracker_prefer_dirty_map(struct tracker *t, bool prefer)
{
}

void attach_let_session(struct agent *a)
{
}

char *settings_path(const struct settings *s, const char *name, char ret_path[SETTINGS_PATH_MAX])
{
	snprintf(ret_path, SETTINGS_PATH_MAX, "%s/%s", folder, name);
	return ret_path;
}

/* --- one course ---------------------------------------------------------------------------- */

static void clean_up(void)
{
	(void)!fileio_remove_tree(folder);
}

static void start(void)
{
	if (folder[0])
		return;
	log_init("fuzz", LOG_ERROR + 1);
	strcpy(folder, access("/dev/shm", W_OK) ? "/tmp/godwit-fuzz-XXXXXX" : "/dev/shm/godwit-fuzz-XXXXXX");
	assert(mkdtemp(folder));
	atexit(clean_up);
	snprintf(state_path, sizeof(state_path), "%s/desired.json", folder);
}

static struct link *open_line(struct child *c)
{
	struct link *l = calloc(1, sizeof(*l));
	int ends[2], room = 1 << 20;

	assert(l && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	assert(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	*l = (struct link){ .fd = ends[0], .pidfd = -1 };
	*c = (struct child){ .options = { .console_url = "https://console", .state_path = state_path }, .fd = ends[1],
			     .version = -1 };
	queue_init(&c->replies);
	queue_init(&c->events);
	init_sync(c);
	return l;
}

static void close_line(struct link *l, struct child *c)
{
	link_stop(l);
	close(c->fd);
	while (c->replies.count)
		json_decref(queue_pop(&c->replies));
	json_decref(c->desired);
	for (size_t i = 0; i < SEEN_MAX; i++)
		free(c->seen[i]);
}

/* What the program answered is good JSON for the child. */
static void read_replies(struct child *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	json_t *message;
	size_t bytes;

	while (poll(&p, 1, 0) > 0) {
		assert(read_message(c->fd, &message, &bytes) == 0);
		take_from_program(c, message, bytes);
	}
}

static void one_answer(struct agent *a, struct child *c, char *line)
{
	char *end;

	answer_status = (int)strtol(line, &end, 10);
	answer_text = end;
	(void)poll_once(c, NULL);
	control_receive(a);
	assert(a->link && a->mark_count <= MARKS_MAX);
	read_replies(c);
}

static void take_answers(struct agent *a, struct child *c, char *text)
{
	unsigned int n = 0;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line && n++ < LINES_MAX; line = strtok_r(NULL, "\n", &save))
		one_answer(a, c, line);
	control_tick(a, UINT64_MAX);
	assert(a->mark_count == 0);
	read_replies(c);
	/* After a restart it has what it had. */
	if (c->desired) {
		json_t *had = c->desired;

		c->desired = NULL;
		load_desired(c);
		assert(c->desired && json_equal(c->desired, had));
		json_decref(had);
	}
}

static void take_frames(struct agent *a, struct child *c, const char *text, size_t size)
{
	assert(fileio_write_full(c->fd, text, size) == 0);
	control_receive(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct agent a;
	static const struct agent_options options;
	struct child c;
	char *text;

	if (!size || size > INPUT_MAX)
		return 0;
	start();
	text = malloc(size + 1);
	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	a = (struct agent){ .o = &options, .link = open_line(&c) };
	a.settings.disk_count = 2;
	if (*text == '!')
		take_frames(&a, &c, text + 1, size - 1);
	else
		take_answers(&a, &c, text);
	control_done(&a);
	close_line(a.link, &c);
	free(text);
	return 0;
}
