/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link between a program and a real console, which is a process of its own
 * here, so that it can be stopped and killed.  GODWIT_CONSOLE names the program.
 */
#include "daemon.h"
#include "fileio.h"
#include "http.h"
#include "link.h"
#include "pki.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_US (40 * USEC_PER_SEC)

static char data[] = "/tmp/godwit-link-XXXXXX";
static char url[64], id[64];
static unsigned int port;
static struct http *admin;

static const char *in(const char *name)
{
	static char paths[8][128];
	static unsigned int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", data, name);
	return path;
}

/* --- the console ------------------------------------------------------------------------- */

static void find_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	port = ntohs(a.sin_port);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u", port);
	close(fd);
}

static void start_console(void)
{
	char command[512];

	snprintf(command, sizeof(command), "%s run --data %s --listen 127.0.0.1 --port %u --daemon 2>/dev/null",
		 getenv("GODWIT_CONSOLE"), data, port);
	assert_int_equal(system(command), 0);
}

static void stop_console(void)
{
	assert_int_equal(daemon_stop(in("console/console.pid"), 20000), 0);
}

static json_t *call(struct http *h, int status, const char *method, const char *path, json_t *body)
{
	char full[256], text[1024];
	struct fault f;
	json_t *answer = NULL;
	int got;

	snprintf(full, sizeof(full), "/api/godwit/v1%s", path);
	got = http_request(h, method, full, body, 30000, &answer, &f);
	if (got != status)
		print_error("%s %s: %d %s\n", method, path, got,
			    got < 0 ? fault_format(&f, LANGUAGE_EN, text, sizeof(text)) : json_dumps(answer, 0));
	assert_int_equal(got, status);
	json_decref(body);
	return answer;
}

static void connect_admin(void)
{
	char *token;
	size_t len;

	assert_int_equal(fileio_slurp(in("admin.token"), 4096, &token, &len), 0);
	token[PKI_TOKEN_TEXT_LEN] = '\0';
	assert_int_equal(http_new(&(struct http_options){ .base_url = url, .ca_path = in("console/ca.crt"), .bearer = token },
				  &admin),
			 0);
	free(token);
}

static void enrol(void)
{
	json_t *answer = call(admin, 201, "POST", "/tokens", json_pack("{s:s}", "role", "agent"));
	char *request;
	const char *cert;

	assert_int_equal(pki_make_key(in("agent.key")), 0);
	assert_int_equal(pki_make_request(in("agent.key"), "x", &request), 0);
	json_t *enrolled = call(admin, 201, "POST", "/enrol",
				json_pack("{s:O, s:s, s:s, s:s}", "token", json_object_get(answer, "token"), "role", "agent",
					  "request", request, "name", "linked"));

	cert = json_string_value(json_object_get(enrolled, "certificate"));
	snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(enrolled, "id")));
	assert_int_equal(fileio_replace(in("agent.crt"), cert, strlen(cert), 0600), 0);
	free(request);
	json_decref(answer);
	json_decref(enrolled);
}

/* --- the program's side --------------------------------------------------------------------- */

static struct link *start_link_to(const char *to, unsigned int stall_seconds)
{
	struct link_options o = { .console_url = to, .stall_seconds = stall_seconds, .ca_path = in("console/ca.crt"), .key_path = in("agent.key"),
				  .cert_path = in("agent.crt"), .state_path = in("desired.json") };
	struct link *l;

	assert_int_equal(link_start(&o, &l), 0);
	return l;
}

static struct link *start_link(void)
{
	return start_link_to(url, 0);
}

/* The next message with the member @name (NULL: whatever it is), or NULL when
 * the patience is over or the link has died. */
static json_t *next_of(struct link *l, const char *name)
{
	uint64_t deadline = monotonic_now_us() + PATIENCE_US;
	struct pollfd p = { .fd = link_fd(l), .events = POLLIN };
	json_t *m;

	while (monotonic_now_us() < deadline) {
		int err = link_receive(l, &m);

		if (err == -EAGAIN) {
			poll(&p, 1, 1000);
			continue;
		}
		if (err)
			return NULL;
		if (!name || json_object_get(m, name))
			return m;
		json_decref(m);
	}
	return NULL;
}

static json_t *wait_for_console(struct link *l, bool up)
{
	json_t *m;

	while ((m = next_of(l, "console"))) {
		if (json_is_true(json_object_get(json_object_get(m, "console"), "up")) == up)
			return m;
		json_decref(m);
	}
	fail();
	return NULL;
}

static bool has_epoch_ms(json_t *m, int ms)
{
	json_t *settings = json_object_get(json_object_get(m, "desired"), "settings");

	return json_integer_value(json_object_get(settings, "epoch_ms")) == ms;
}

static void wait_for_epoch_ms(struct link *l, int ms)
{
	json_t *m;

	while ((m = next_of(l, "desired"))) {
		bool that = has_epoch_ms(m, ms);

		json_decref(m);
		if (that)
			return;
	}
	fail();
}

/* The same, and not a message before it is dropped unseen: none is a command. */
static void wait_without_command(struct link *l, int ms)
{
	bool that = false;

	while (!that) {
		json_t *m = next_of(l, NULL);

		assert_non_null(m);
		assert_null(json_object_get(m, "command"));
		that = has_epoch_ms(m, ms);
		json_decref(m);
	}
}

static void set_epoch_ms(int ms)
{
	json_decref(call(admin, 200, "PATCH", "/machines/linked/settings", json_pack("{s:i}", "epoch_ms", ms)));
}

/* Ask until the answer has what is looked for; every asking is a round trip. */
static void wait_for_events(const char *code, size_t count)
{
	uint64_t deadline = monotonic_now_us() + PATIENCE_US;
	size_t found;

	do {
		json_t *answer = call(admin, 200, "GET", "/events?machine=linked&limit=1000", NULL), *e;
		size_t i;

		found = 0;
		json_array_foreach(json_object_get(answer, "events"), i, e)
			found += !strcmp(json_string_value(json_object_get(e, "code")), code);
		json_decref(answer);
	} while (found < count && monotonic_now_us() < deadline);
	assert_int_equal(found, count);
}

/* --- the tests ---------------------------------------------------------------------------------- */

static void test_the_desired_state_comes_and_every_change_of_it(void **state)
{
	struct link *l = start_link();
	json_t *m = next_of(l, "desired");

	assert_non_null(m);
	assert_string_equal(json_string_value(json_object_get(json_object_get(m, "desired"), "name")), "linked");
	json_decref(m);
	set_epoch_ms(222);
	wait_for_epoch_ms(l, 222);
	link_stop(l);
}

static void test_without_a_console_the_last_state_is_the_first_message(void **state)
{
	struct link *l = start_link();
	json_t *m;

	set_epoch_ms(223);
	wait_for_epoch_ms(l, 223);
	link_stop(l);
	stop_console();
	l = start_link();
	wait_for_epoch_ms(l, 223);
	m = wait_for_console(l, false);
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(json_object_get(m, "console"), "fault"), "code")),
			    "CONSOLE_REFUSED");
	json_decref(m);
	start_console();
	json_decref(wait_for_console(l, true));
	set_epoch_ms(224);
	wait_for_epoch_ms(l, 224);
	link_stop(l);
}

static void test_commands_are_answered_through_it(void **state)
{
	struct link *l = start_link();
	json_t *m, *command;

	json_decref(wait_for_console(l, true));
	json_decref(call(admin, 202, "POST", "/machines/linked/rescan", NULL));
	m = next_of(l, "command");
	assert_non_null(m);
	command = json_object_get(m, "command");
	assert_string_equal(json_string_value(json_object_get(command, "verb")), "rescan");
	link_reply(l, json_string_value(json_object_get(command, "id")), NULL);
	json_decref(m);
	link_stop(l);
	/* Answered, so nobody is told again. */
	l = start_link();
	set_epoch_ms(225);
	wait_without_command(l, 225);
	/* The commands of an answer come after its desired state. */
	set_epoch_ms(226);
	wait_without_command(l, 226);
	link_stop(l);
}

static void test_events_wait_for_the_console_in_their_order(void **state)
{
	struct link *l = start_link();
	struct fault f;

	stop_console();
	json_decref(wait_for_console(l, false));
	fault_set(&f, 0, MSG_DISK_READ_ONLY, "disk", "/dev/first", NULL);
	link_event(l, wallclock_now_us(), &f);
	fault_set(&f, 0, MSG_DISK_READ_ONLY, "disk", "/dev/second", NULL);
	link_event(l, wallclock_now_us(), &f);
	start_console();
	wait_for_events("DISK_READ_ONLY", 2);
	link_stop(l);
}

static void wait_for_backlog(json_int_t wanted)
{
	uint64_t deadline = monotonic_now_us() + PATIENCE_US;
	json_int_t backlog = -1;

	while (backlog != wanted && monotonic_now_us() < deadline) {
		json_t *m = call(admin, 200, "GET", "/machines/linked", NULL);

		backlog = json_integer_value(json_object_get(m, "backlog_bytes"));
		json_decref(m);
	}
	assert_int_equal(backlog, wanted);
}

static void test_the_newest_status_is_the_one_that_counts(void **state)
{
	struct link *l = start_link();

	for (int i = 1; i <= 500; i++) {
		json_t *status = json_pack("{s:s, s:i}", "stage", "continuous", "backlog_bytes", i);

		link_status(l, status);
		json_decref(status);
	}
	wait_for_backlog(500);
	link_stop(l);
}

/* More events than the console takes in a minute: they wait, and nobody seems to be away. */
static void test_a_status_does_not_wait_behind_too_many_events(void **state)
{
	uint64_t began = monotonic_now_us();
	struct link *l = start_link();
	struct fault f;

	json_decref(wait_for_console(l, true));
	fault_set(&f, 0, MSG_DISK_BACK, "disk", "/dev/often", NULL);
	for (int i = 0; i < 1000; i++)
		link_event(l, wallclock_now_us(), &f);
	for (int i = 1001; i <= 1003; i++) {
		json_t *status = json_pack("{s:s, s:i}", "stage", "continuous", "backlog_bytes", i);

		link_status(l, status);
		json_decref(status);
		wait_for_backlog(i);
	}
	assert_true(monotonic_now_us() - began < 40 * USEC_PER_SEC);
	link_stop(l);
}

static void test_what_is_queued_gets_out_before_the_link_ends(void **state)
{
	struct link *l = start_link();
	struct fault f;

	json_decref(wait_for_console(l, true));
	fault_set(&f, 0, MSG_NOT_ROOT, NULL);
	for (int i = 0; i < 50; i++)
		link_event(l, wallclock_now_us(), &f);
	link_stop(l);
	wait_for_events("NOT_ROOT", 50);
}

/* An answer to `mark` of about @count times 80 bytes.  It has no epoch number, so the console says that it was none. */
static json_t *large_result(int count)
{
	json_t *points = json_array();

	for (int i = 0; i < count; i++)
		json_array_append_new(points, json_pack("{s:i, s:s}", "epoch", i, "label",
							"a label that makes every one of them longer than needed"));
	return json_pack("{s:o, s:i}", "epoch", points, "x", 1);
}

/* A process that asks for a mark, and ends with 0 if the answer is @expected, with @code (NULL: any). */
static pid_t ask_for_mark(const char *label, int expected, const char *code)
{
	pid_t asker = fork();

	if (asker == 0) {
		json_t *answer = NULL;
		struct fault f;
		struct http *h;
		char *token;
		size_t len;

		if (fileio_slurp(in("admin.token"), 4096, &token, &len))
			_exit(1);
		token[PKI_TOKEN_TEXT_LEN] = '\0';
		if (http_new(&(struct http_options){ .base_url = url, .ca_path = in("console/ca.crt"), .bearer = token }, &h))
			_exit(2);
		json_t *body = json_pack("{s:s}", "label", label);
		int got = http_request(h, "POST", "/api/godwit/v1/machines/linked/mark", body, 90000, &answer, &f);
		const char *said = json_string_value(json_object_get(answer, "code"));

		if (got != expected || (code && (!said || strcmp(said, code) != 0)))
			fprintf(stderr, "mark %s: %d %s\n", label, got, said ? said : "");
		_exit(got != expected ? 3 : code && (!said || strcmp(said, code) != 0) ? 4 : 0);
	}
	return asker;
}

static void answer_command(struct link *l, json_t *result)
{
	json_t *m = next_of(l, "command");

	assert_non_null(m);
	link_reply(l, json_string_value(json_object_get(json_object_get(m, "command"), "id")), result);
	json_decref(m);
	json_decref(result);
}

static void expect_asked(pid_t asker)
{
	int status;

	assert_int_equal(waitpid(asker, &status, 0), asker);
	assert_int_equal(status, 0);
}

static void test_a_large_answer_goes_through(void **state)
{
	struct link *l = start_link();
	pid_t asker;

	json_decref(wait_for_console(l, true));
	asker = ask_for_mark("large", 504, NULL);
	answer_command(l, large_result(9000)); /* more than the pipe holds, less than the console takes of an agent */
	expect_asked(asker);
	link_stop(l);
}

/* --- a slow line ------------------------------------------------------------------------------- */

#define LINE_FREE_BYTES 50000 /* of a connection, that pass as they come */

/* One connection's bytes to the console, after the first at @rate a second, 0: not at all. */
static void carry(int from, unsigned int rate)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
	int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p[2] = { { .fd = from, .events = POLLIN }, { .fd = to, .events = POLLIN } };
	uint64_t carried = 0, began = 0;
	char buf[8192];

	if (connect(to, (const struct sockaddr *)&a, sizeof(a)) != 0)
		_exit(0);
	while (poll(p, 2, 10) >= 0) {
		bool slow = carried > LINE_FREE_BYTES;
		ssize_t n = 0;

		if (slow && !began)
			began = monotonic_now_us();
		if (p[1].revents) {
			n = read(to, buf, sizeof(buf));
			if (n <= 0 || fileio_write_full(from, buf, (size_t)n))
				_exit(0);
		}
		if (!p[0].revents || (slow && !rate) ||
		    (slow && (carried - LINE_FREE_BYTES) * USEC_PER_SEC > (monotonic_now_us() - began) * rate)) {
			p[0].events = slow && !rate ? 0 : POLLIN; /* the end is seen all the same */
			if (p[0].revents & (POLLHUP | POLLERR))
				_exit(0);
			continue;
		}
		n = read(from, buf, sizeof(buf));
		if (n <= 0 || fileio_write_full(to, buf, (size_t)n))
			_exit(0);
		carried += (uint64_t)n;
	}
	_exit(0);
}

/* Before the console; the process ends with all its connections' when it is killed as a group. */
static pid_t start_line(unsigned int rate, char ret_url[64])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 16384;
	pid_t pid;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(listen(fd, 16), 0);
	snprintf(ret_url, 64, "https://127.0.0.1:%u", ntohs(a.sin_port));
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		(void)signal(SIGCHLD, SIG_IGN);
		for (int one; (one = accept(fd, NULL, NULL)) >= 0; close(one))
			if (fork() == 0)
				carry(one, rate);
		_exit(1);
	}
	(void)setpgid(pid, pid);
	close(fd);
	return pid;
}

static void stop_line(pid_t pid)
{
	assert_int_equal(kill(-pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Longer than a post may get nowhere, and than one was given in all. */
static void test_a_large_answer_goes_through_a_slow_line(void **state)
{
	uint64_t began = monotonic_now_us();
	char to[64];
	pid_t line = start_line(45000, to), asker;
	struct link *l = start_link_to(to, 0);

	json_decref(wait_for_console(l, true));
	asker = ask_for_mark("slow", 504, NULL);
	answer_command(l, large_result(11000));
	expect_asked(asker);
	assert_true(monotonic_now_us() - began > 15 * USEC_PER_SEC); /* or it was not slow */
	assert_true(monotonic_now_us() - began < 50 * USEC_PER_SEC); /* the console has not given up */
	link_stop(l);
	stop_line(line);
}

static void say_backlog(struct link *l, int bytes)
{
	json_t *status = json_pack("{s:s, s:i}", "stage", "continuous", "backlog_bytes", bytes);

	link_status(l, status);
	json_decref(status);
	wait_for_backlog(bytes);
}

static void test_an_answer_that_does_not_get_through_silences_nobody(void **state)
{
	int statuses, ended;
	char to[64];
	pid_t line = start_line(0, to), asker;
	struct link *l = start_link_to(to, 2);

	json_decref(wait_for_console(l, true));
	say_backlog(l, 2000); /* it is there */
	asker = ask_for_mark("stuck", 409, "LINK_REPLY_LOST");
	answer_command(l, large_result(11000));
	for (statuses = 0; waitpid(asker, &ended, WNOHANG) == 0; statuses++)
		say_backlog(l, 2001 + statuses);
	assert_int_equal(ended, 0);
	assert_true(statuses >= 3);
	link_stop(l);
	stop_line(line);
}

static void test_a_killed_child_is_seen_and_another_can_be_started(void **state)
{
	struct link *l = start_link();
	char command[128], line[64], name[32];
	int pid = 0, child;
	FILE *f;
	json_t *m;

	json_decref(wait_for_console(l, true));
	snprintf(command, sizeof(command), "ps -o pid=,comm= --ppid %d", (int)getpid());
	f = popen(command, "r");
	/* One child is the link; the other is ps, and its number may be the smaller one. */
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%d %31s", &child, name) == 2 && strcmp(name, "ps") && strcmp(name, "sh"))
			pid = child;
	assert_true(pid > 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	pclose(f);
	while (next_of(l, "desired"))
		;
	assert_int_equal(link_receive(l, &m), -EPIPE);
	link_status(l, json_null());
	link_stop(l);
	l = start_link();
	json_decref(wait_for_console(l, true));
	link_stop(l);
}

static void test_a_damaged_state_file_is_ignored(void **state)
{
	struct link *l;

	assert_int_equal(fileio_replace(in("desired.json"), "{\"desired\": ", 12, 0600), 0);
	l = start_link();
	set_epoch_ms(226);
	wait_for_epoch_ms(l, 226);
	link_stop(l);
}

static void test_a_machine_that_was_removed_hears_why(void **state)
{
	struct link *l;
	json_t *m;

	json_decref(call(admin, 204, "DELETE", "/machines/linked?force=1", NULL));
	l = start_link();
	m = next_of(l, "command");
	assert_non_null(m);
	assert_string_equal(json_string_value(json_object_get(json_object_get(m, "command"), "verb")), "remove");
	link_reply(l, json_string_value(json_object_get(json_object_get(m, "command"), "id")), NULL);
	json_decref(m);
	m = wait_for_console(l, false);
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(json_object_get(m, "console"), "fault"), "code")),
			    "LINK_UNAUTHORISED");
	json_decref(m);
	link_stop(l);
}

static void test_faults_survive_json(void **state)
{
	struct fault f, back;
	json_t *j;

	fault_set(&f, 0, MSG_DISK_IS_PARTITION, "disk", "/dev/sda1", "whole", "/dev/sda", NULL);
	j = fault_to_json(&f);
	assert_int_equal(fault_from_json(j, &back), 0);
	assert_int_equal(back.code, f.code);
	assert_int_equal(back.arg_count, 2);
	assert_string_equal(back.args[1].value, "/dev/sda");
	json_decref(j);
	assert_int_equal(fault_from_json(NULL, &back), -EINVAL);
	j = json_pack("{s:s}", "code", "NO_SUCH_CODE");
	assert_int_equal(fault_from_json(j, &back), -EINVAL);
	json_decref(j);
	j = json_pack("{s:s, s:{s:i}}", "code", "NOT_ROOT", "args", "x", 1);
	assert_int_equal(fault_from_json(j, &back), -EINVAL);
	json_decref(j);
}

static int setup(void **state)
{
	if (!getenv("GODWIT_CONSOLE")) {
		print_message("GODWIT_CONSOLE is not set\n");
		return 1;
	}
	assert_non_null(mkdtemp(data));
	find_port();
	start_console();
	connect_admin();
	enrol();
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	http_free(admin);
	stop_console();
	snprintf(command, sizeof(command), "rm -rf %s", data);
	return system(command);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults_survive_json),
		cmocka_unit_test(test_the_desired_state_comes_and_every_change_of_it),
		cmocka_unit_test(test_without_a_console_the_last_state_is_the_first_message),
		cmocka_unit_test(test_commands_are_answered_through_it),
		cmocka_unit_test(test_events_wait_for_the_console_in_their_order),
		cmocka_unit_test(test_the_newest_status_is_the_one_that_counts),
		cmocka_unit_test(test_what_is_queued_gets_out_before_the_link_ends),
		cmocka_unit_test(test_a_large_answer_goes_through),
		cmocka_unit_test(test_a_large_answer_goes_through_a_slow_line),
		cmocka_unit_test(test_an_answer_that_does_not_get_through_silences_nobody),
		cmocka_unit_test(test_a_killed_child_is_seen_and_another_can_be_started),
		cmocka_unit_test(test_a_damaged_state_file_is_ignored),
		cmocka_unit_test(test_a_status_does_not_wait_behind_too_many_events),
		cmocka_unit_test(test_a_machine_that_was_removed_hears_why),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
