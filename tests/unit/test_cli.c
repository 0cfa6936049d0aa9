/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of godwit share: the command line, figures, ports. */
#include "assign.h"
#include "cli.h"
#include "launch-follow.h"
#include "port.h"
#include "show.h"
#include "when.h"
#include "words.h"
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* main.c has these for the program. */
bool cli_japanese(const struct cli *c)
{
	return c->language == LANGUAGE_JA;
}

static enum message_code said; /* the last */

int cli_fail_message(const struct cli *c, enum message_code code, ...)
{
	said = code;
	return CLI_FAILED;
}

int cli_fail_errno(const struct cli *c, const char *what, int err)
{
	return CLI_FAILED;
}

/* --- the command line ----------------------------------------------------------- */

static int parse(struct cli *c, const char *verb, ...)
{
	static char words[16][64];
	static char *argv[16];
	const char *word;
	int argc = 0;
	va_list ap;

	memset(c, 0, sizeof(*c));
	c->verb = verb_find(verb);
	assert_non_null(c->verb);
	va_start(ap, verb);
	while ((word = va_arg(ap, const char *))) {
		snprintf(words[argc], sizeof(words[argc]), "%s", word);
		argv[argc] = words[argc];
		argc++;
	}
	va_end(ap);
	return options_parse(c, argc, argv);
}

static void options_and_operands_may_be_mixed(void **state)
{
	struct cli c;

	assert_int_equal(parse(&c, "export", "web1", "--at", "10s ago", "disk.img", "--force", "--format=qcow2", NULL), 0);
	assert_int_equal(c.operand_count, 2);
	assert_string_equal(c.operands[0], "web1");
	assert_string_equal(c.operands[1], "disk.img");
	assert_string_equal(cli_option(&c, "at"), "10s ago");
	assert_string_equal(cli_option(&c, "format"), "qcow2");
	assert_true(cli_switch(&c, "force"));
	assert_false(cli_switch(&c, "json"));
}

static void after_two_dashes_all_are_operands(void **state)
{
	struct cli c;

	assert_int_equal(parse(&c, "mark", "--", "web1", "--json", NULL), 0);
	assert_string_equal(c.operands[1], "--json");
}

static void a_wrong_command_line_is_refused(void **state)
{
	struct cli c;

	assert_int_equal(parse(&c, "export", "web1", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "a", "b", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "--force", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "-x", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "--json=yes", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "--data", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "--data=", NULL), CLI_USAGE);
	/* --token $T --data X, and there is no T */
	assert_int_equal(parse(&c, "protect", "/dev/sdb", "--token", "--data", "x", NULL), CLI_USAGE);
	assert_int_equal(parse(&c, "status", "--data=--x", NULL), 0);
	assert_string_equal(cli_option(&c, "data"), "--x");
}

static void hints_name_the_instance_that_was_named(void **state)
{
	char text[WORDS_HINT_MAX];
	struct cli c;

	assert_int_equal(parse(&c, "status", "--data", "/srv/g", NULL), 0);
	c.data = (char *)"/srv/g";
	assert_string_equal(words_with_data(&c, "Start it with `godwit up`.", text), "Start it with `godwit up --data /srv/g`.");
	assert_string_equal(words_with_data(&c, "`godwit up --data /srv/g`, `lsblk`, `godwit status a`", text),
			    "`godwit up --data /srv/g`, `lsblk`, `godwit status a --data /srv/g`");
	assert_string_equal(words_with_data(&c, "odd ` one", text), "odd ` one");
	assert_int_equal(parse(&c, "status", NULL), 0);
	c.data = (char *)"/srv/g"; /* by GODWIT_DATA: the next command has it, too */
	assert_string_equal(words_with_data(&c, "`godwit up`", text), "`godwit up`");
}

static void numbers_have_limits(void **state)
{
	struct cli c;
	uint64_t port;

	assert_int_equal(parse(&c, "up", "--port", "1501", NULL), 0);
	assert_true(cli_option_number(&c, "port", 1, 65535, 1500, &port));
	assert_int_equal(port, 1501);
	assert_true(cli_option_number(&c, "console-port", 1, 65535, 8443, &port));
	assert_int_equal(port, 8443);
	for (const char *const *bad = (const char *const[]){ "0", "65536", "-1", "15x", " ", "1e3", NULL }; *bad; bad++) {
		assert_int_equal(parse(&c, "up", "--port", *bad, NULL), 0);
		assert_false(cli_option_number(&c, "port", 1, 65535, 1500, &port));
	}
}

static void every_verb_has_what_help_needs(void **state)
{
	for (size_t i = 0; verbs[i]; i++) {
		const struct verb *v = verbs[i];
		size_t n = 0;

		assert_non_null(v->name);
		assert_non_null(v->operands);
		assert_non_null(v->summary);
		assert_non_null(v->run);
		assert_ptr_equal(verb_find(v->name), v);
		assert_true(v->operands_min <= v->operands_max);
		while (verb_option_get(v, n))
			n++;
		assert_in_range(n, 2, OPTIONS_MAX);
	}
}

/* --- figures ------------------------------------------------------------------------ */

static void bytes_are_shown_with_a_unit(void **state)
{
	char t[SHOW_TEXT_MAX];

	assert_string_equal(show_bytes(0, t), "0 B");
	assert_string_equal(show_bytes(1023, t), "1023 B");
	assert_string_equal(show_bytes(1024, t), "1.0 KiB");
	assert_string_equal(show_bytes(1536 * 1024, t), "1.5 MiB");
	assert_string_equal(show_bytes(1048575, t), "1.0 MiB");
	assert_string_equal(show_bytes(100ULL << 30, t), "100 GiB");
	assert_string_equal(show_bytes(UINT64_MAX, t), "16.0 EiB");
}

static void durations_are_shown_with_a_unit(void **state)
{
	char t[SHOW_TEXT_MAX];

	assert_string_equal(show_duration(-3, t), "0.0 s");
	assert_string_equal(show_duration(0.55, t), "0.6 s");
	assert_string_equal(show_duration(59, t), "59 s");
	assert_string_equal(show_duration(240, t), "4 min");
	assert_string_equal(show_duration(7800, t), "2 h 10 min");
	assert_string_equal(show_duration(604800, t), "7 days");
}

static void percent_is_100_only_when_all_is_done(void **state)
{
	assert_int_equal(show_percent(0, 0), 0);
	assert_int_equal(show_percent(999999, 1000000), 99);
	assert_int_equal(show_percent(1000000, 1000000), 100);
	assert_int_equal(show_percent(UINT64_MAX - 1, UINT64_MAX) < 101, 1);
}

static void durations_are_understood_with_and_without_unit(void **state)
{
	uint64_t s = 7;

	assert_int_equal(when_duration("90", &s), 0);
	assert_int_equal(s, 90);
	assert_int_equal(when_duration("7d", &s), 0);
	assert_int_equal(s, 604800);
	assert_int_equal(when_duration("1min", &s), 0);
	assert_int_equal(s, 60);
	for (const char *const *bad = (const char *const[]){ "", "d", "-1d", "1y", "1 d x", "99999999999999999999", NULL };
	     *bad; bad++)
		assert_int_equal(when_duration(*bad, &s), -EINVAL);
	assert_int_equal(s, 60);
}

static void milliseconds_may_have_a_unit(void **state)
{
	uint64_t ms = 7;

	assert_int_equal(when_milliseconds("250", &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(when_milliseconds("300ms", &ms), 0);
	assert_int_equal(ms, 300);
	assert_int_equal(when_milliseconds("1s", &ms), 0);
	assert_int_equal(ms, 1000);
	for (const char *const *bad = (const char *const[]){ "", "ms", "-1", "1 ms", "1x", NULL }; *bad; bad++)
		assert_int_equal(when_milliseconds(*bad, &ms), -EINVAL);
	assert_int_equal(ms, 1000);
}

/* --- what is said of a machine ----------------------------------------------------------- */

static json_t *machine_in(const char *stage, json_int_t scanned)
{
	return json_pack("{s:s, s:I, s:[{s:s, s:I, s:I}], s:{s:b, s:f}}", "stage", stage, "backlog_bytes",
			 (json_int_t)(12 * MIB), "disks", "device", "/dev/sda", "size_bytes", (json_int_t)(2 * GIB),
			 "scanned_bytes", scanned, "forecast", "converges", 1, "eta_seconds", 240.0);
}

static void a_machine_is_never_at_a_bare_100_percent(void **state)
{
	static const char *const names[] = { "initial_sync", "flushing_backlog", "creating_first_snapshot", "rescan" };
	struct cli c = { .language = LANGUAGE_EN };
	char text[WORDS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		json_t *m = machine_in(names[i], (json_int_t)(2 * GIB));

		c.language = LANGUAGE_EN;
		assert_null(strstr(stage_progress(&c, m, text), "100"));
		assert_true(*text);
		c.language = LANGUAGE_JA;
		assert_null(strstr(stage_progress(&c, m, text), "100"));
		json_decref(m);
	}
}

static void progress_names_bytes_and_time_left(void **state)
{
	struct cli c = { .language = LANGUAGE_EN };
	json_t *m = machine_in("initial_sync", (json_int_t)GIB);
	char text[WORDS_MAX];

	assert_string_equal(stage_progress(&c, m, text), "50 %, 1.0 GiB left, about 4 min");
	json_decref(m);
}

static void stages_have_their_names_in_both_languages(void **state)
{
	struct cli c = { .language = LANGUAGE_EN };

	assert_string_equal(stage_words(&c, "creating_first_snapshot"),
			    "Finalizing initial sync: creating first launchable snapshot");
	assert_string_equal(stage_words(&c, "a_new_one"), "a_new_one");
	c.language = LANGUAGE_JA;
	assert_non_null(strstr(stage_words(&c, "flushing_backlog"), "バックログのフラッシュ中"));
	assert_non_null(strstr(stage_words(&c, "creating_first_snapshot"), "起動可能な最初のスナップショットの作成中"));
	for (unsigned int step = 1; step <= 5; step++)
		assert_int_equal(stage_step(stage_of_step(step)), step);
}

/* --- launches --------------------------------------------------------------------------------- */

static enum message_code refusal_of(const json_t *launches, const char *word)
{
	struct cli c = { .language = LANGUAGE_EN };

	said = MSG_COUNT;
	assert_null(launch_choose(&c, launches, word));
	return said;
}

static void a_launch_is_named_by_the_beginning_of_its_id(void **state)
{
	json_t *launches = json_pack("[{s:s}, {s:s}, {s:s}, {}, i]", "id", "1234abcd-0000", "id", "1234ff00-0000", "id",
				     "7f000000-0000", 5);
	struct cli c = { .language = LANGUAGE_EN };
	json_t *found = launch_choose(&c, launches, "1234a");

	assert_string_equal(json_string_value(json_object_get(found, "id")), "1234abcd-0000");
	json_decref(found);
	found = launch_choose(&c, launches, "7f000000-0000");
	assert_non_null(found);
	json_decref(found);
	assert_int_equal(refusal_of(launches, "1234"), MSG_LAUNCH_AMBIGUOUS);
	assert_int_equal(refusal_of(launches, "7f000000-00001"), MSG_LAUNCH_UNKNOWN);
	json_decref(launches);
}

static void a_slip_of_the_finger_names_no_launch_and_a_machine_shows_its_own(void **state)
{
	json_t *launches = json_pack("[{s:s, s:s}]", "id", "7f000000-0000", "machine", "web");

	/* also if there is only one that could be meant */
	assert_int_equal(refusal_of(launches, ""), MSG_LAUNCH_WORD_SHORT);
	assert_int_equal(refusal_of(launches, "7"), MSG_LAUNCH_WORD_SHORT);
	assert_int_equal(refusal_of(launches, "7f0"), MSG_LAUNCH_WORD_SHORT);
	assert_int_equal(refusal_of(launches, "web"), MSG_LAUNCH_IS_MACHINE);
	assert_int_equal(refusal_of(launches, "webs"), MSG_LAUNCH_UNKNOWN);
	json_decref(launches);
}

static void states_of_launches_have_their_words_in_both_languages(void **state)
{
	static const char *const names[] = { "asked", "preparing", "starting", "booting", "booted", "keeping", "standing",
					     "ended", "failed" };
	struct cli en = { .language = LANGUAGE_EN }, ja = { .language = LANGUAGE_JA };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_string_not_equal(launch_state_words(&en, names[i]), names[i]);
		assert_string_not_equal(launch_state_words(&ja, names[i]), launch_state_words(&en, names[i]));
	}
	assert_string_equal(launch_state_words(&en, "a_new_one"), "a_new_one");
}

static void words_with_an_equals_sign_become_members(void **state)
{
	json_t *body;
	struct cli c;

	assert_int_equal(parse(&c, "blueprint", "web", "cpus=4", "proof_text=a=b c", "proof_seconds=10m", "network=default",
			       NULL), 0);
	body = assign_read(&c);
	assert_non_null(body);
	assert_int_equal(json_object_size(body), 4);
	assert_string_equal(json_string_value(json_object_get(body, "cpus")), "4");
	assert_string_equal(json_string_value(json_object_get(body, "proof_text")), "a=b c");
	assert_int_equal(json_integer_value(json_object_get(body, "proof_seconds")), 600);
	assert_true(json_is_null(json_object_get(body, "network")));
	json_decref(body);
	for (const char *const *bad = (const char *const[]){ "cpus", "=4", "cpus=", "proof_text=\xff", "\xff=1", NULL }; *bad;
	     bad++) {
		assert_int_equal(parse(&c, "blueprint", "web", *bad, NULL), 0);
		assert_null(assign_read(&c));
	}
}

/* --- ports ----------------------------------------------------------------------------------- */

static void the_owner_of_a_port_is_named(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(to);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char owner[128], wanted[64];
	uint16_t port;

	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &length), 0);
	port = ntohs(to.sin_port);
	assert_int_equal(port_check("127.0.0.1", port), -EADDRINUSE);
	snprintf(wanted, sizeof(wanted), "test_cli (pid %d)", (int)getpid());
	assert_string_equal(port_owner(port, owner, sizeof(owner)), wanted);
	close(fd);
	assert_int_equal(port_check("127.0.0.1", port), 0);
	assert_int_equal(port_check("not an address", port), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_operands_may_be_mixed),
		cmocka_unit_test(after_two_dashes_all_are_operands),
		cmocka_unit_test(a_wrong_command_line_is_refused),
		cmocka_unit_test(hints_name_the_instance_that_was_named),
		cmocka_unit_test(numbers_have_limits),
		cmocka_unit_test(every_verb_has_what_help_needs),
		cmocka_unit_test(bytes_are_shown_with_a_unit),
		cmocka_unit_test(durations_are_shown_with_a_unit),
		cmocka_unit_test(milliseconds_may_have_a_unit),
		cmocka_unit_test(percent_is_100_only_when_all_is_done),
		cmocka_unit_test(durations_are_understood_with_and_without_unit),
		cmocka_unit_test(a_machine_is_never_at_a_bare_100_percent),
		cmocka_unit_test(progress_names_bytes_and_time_left),
		cmocka_unit_test(stages_have_their_names_in_both_languages),
		cmocka_unit_test(a_launch_is_named_by_the_beginning_of_its_id),
		cmocka_unit_test(a_slip_of_the_finger_names_no_launch_and_a_machine_shows_its_own),
		cmocka_unit_test(states_of_launches_have_their_words_in_both_languages),
		cmocka_unit_test(words_with_an_equals_sign_become_members),
		cmocka_unit_test(the_owner_of_a_port_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
