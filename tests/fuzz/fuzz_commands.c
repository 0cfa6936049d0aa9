/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console against a server: what it wants and asks for, each a line of JSON as the link
 * gives it (common/link.h), against server/console.c.  Stores, exports and launches are
 * empty functions that hold what they are asked to what they promise; the process of a query ends
 * before the next line, with what stands behind a tab, which a worker may have said.
 */
#include "fuzz.h"
/* For a link without a child, and for what comes of one. */
#define take_message link_take_message /* both have one */
#include "../../common/link.c"
#undef take_message
#include "../../server/console.c"

#include <assert.h>

#define INPUT_MAX (16 * KIB)
#define LINES_MAX 32u

static struct worker_options worker; /* done: NULL when there is none */
static unsigned int asked, answered;

/* --- what surrounds it --------------------------------------------------------------------------- */

_Noreturn void link_child_run(const struct link_options *o, int fd)
{
	abort();
}

static void check_machine(const struct uuid *machine)
{
	char text[UUID_TEXT_LEN + 1];
	struct uuid again;

	assert(uuid_parse(uuid_format(machine, text), &again) == 0 && uuid_equal(&again, machine));
}

int worker_start(struct loop *loop, const struct worker_options *o, struct worker **ret)
{
	const struct work_request *q = o->argument;

	assert(o->argument_size == sizeof(*q) && o->work && o->timeout_us);
	check_machine(&q->machine);
	assert(memchr(q->at, 0, sizeof(q->at)) && memchr(q->label, 0, sizeof(q->label)) && q->limit <= LIMIT_MAX);
	worker = *o;
	return 0;
}

bool worker_asked_to_stop(void)
{
	return false;
}

bool stores_exists(const struct stores *st, const struct uuid *machine)
{
	return machine->bytes[0] != 0;
}

int stores_scrub(struct stores *st, const struct uuid *machine)
{
	return machine->bytes[0] ? 0 : -ENOENT;
}

void stores_check_room(struct stores *st)
{
}

int stores_status(struct stores *st, json_t *status)
{
	return 0;
}

void exports_start(struct exports *x, const struct export_request *q)
{
	struct fault f;

	check_machine(&q->machine);
	assert(q->at);
	(void)fault_set(&f, 0, MSG_EXPORT_UNKNOWN, "export", q->disk ? q->disk : q->at, NULL);
	q->done(q->context, NULL, &f);
}

int exports_stop(struct exports *x, const char *id)
{
	return strcmp(id, "1") == 0 ? 0 : -ENOENT;
}

json_t *exports_list(const struct exports *x)
{
	return json_array();
}

void launches_start(struct launches *l, const struct launch_request *q)
{
	struct fault f;

	assert(q->at && q->kind);
	check_machine(&q->machine);
	check_machine(&q->launch);
	(void)fault_set(&f, 0, MSG_LAUNCH_BAD_SPEC, "member", q->kind, NULL);
	q->done(q->context, NULL, &f);
}

int launches_keep(struct launches *l, const char *id, struct fault *ret_fault)
{
	return *id ? 0 : fault_set(ret_fault, -ENOENT, MSG_LAUNCH_BAD_SPEC, "member", id, NULL);
}

void launches_terminate(struct launches *l, const char *id)
{
	assert(id);
}

int launches_console_log(struct launches *l, const char *id, json_int_t from, json_t **ret, struct fault *ret_fault)
{
	*ret = json_pack("{s:s, s:I}", "text", "", "from", from);
	return 0;
}

int launches_screenshot(struct launches *l, const char *id, json_t **ret, struct fault *ret_fault)
{
	return fault_set(ret_fault, -ENOENT, MSG_LAUNCH_BAD_SPEC, "member", id, NULL);
}

void launches_look(struct launches *l)
{
}

json_t *launches_status(const struct launches *l)
{
	return json_array();
}

uint16_t listener_port(const struct listener *l)
{
	return 1500;
}

void server_set_registry(struct server *s, struct registry *r)
{
	assert(r->count <= REGISTRY_MACHINES_MAX);
	for (size_t i = 0; i < r->count; i++)
		assert(strlen(r->machines[i].name) <= REGISTRY_NAME_MAX && r->machines[i].state <= MACHINE_REMOVED);
	registry_done(r);
}

/* --- one course ---------------------------------------------------------------------------------- */

/* One answer to each command that has an id and a verb, of the same id. */
static void check_answers(int fd, const char *id)
{
	static char text[1 << 20];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	json_t *message, *reply;
	uint8_t head[4];
	uint32_t len;

	while (poll(&p, 1, 0) > 0) {
		assert(recv(fd, head, sizeof(head), MSG_WAITALL) == sizeof(head));
		len = get_le32(head);
		assert(len < sizeof(text) && recv(fd, text, len, MSG_WAITALL) == (ssize_t)len);
		message = json_loadb(text, len, 0, NULL);
		reply = json_object_get(message, "reply");
		assert(reply && strcmp(json_string_value(json_object_get(reply, "id")), id) == 0);
		assert(json_is_true(json_object_get(reply, "ok")) || json_object_get(reply, "fault"));
		json_decref(message);
		answered++;
	}
}

static void one_message(struct server *s, int fd, char *line)
{
	char *tab = strchr(line, '\t');
	json_t *m, *command;

	m = json_loadb(line, tab ? (size_t)(tab - line) : strlen(line), 0, NULL);
	command = json_object_get(m, "command");
	asked = json_is_string(json_object_get(command, "id")) && json_is_string(json_object_get(command, "verb"));
	answered = 0;
	worker.done = NULL;
	take_message(s, m);
	if (worker.done)
		worker.done(worker.context, tab ? 0 : -EIO, tab ? tab + 1 : "", tab ? strlen(tab + 1) : 0);
	check_answers(fd, json_string_value(json_object_get(command, "id")));
	assert(answered == asked);
	json_decref(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server s;
	char *text, *save = NULL;
	unsigned int n = 0;
	int ends[2];

	if (size > INPUT_MAX)
		return 0;
	log_init("fuzz", LOG_ERROR + 1);
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	text = malloc(size + 1);
	s.link = calloc(1, sizeof(*s.link));
	if (!text || !s.link)
		abort();
	*s.link = (struct link){ .fd = ends[0], .pidfd = -1 };
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line && n++ < LINES_MAX; line = strtok_r(NULL, "\n", &save))
		one_message(&s, ends[1], line);
	console_stop(&s);
	close(ends[1]);
	free(text);
	return 0;
}
