/* SPDX-License-Identifier: Apache-2.0 */
/* What a server that starts makes of the launches' folders that it finds, above all of those that it
 * cannot read: they may be somebody's machine (server/launches.h, N5). */
#include "launches-private.h"
#include "launchfiles.h"
#include "fileio.h"
#include "server.h"
#include "stores.h"
#include "work.h"
#include "worker.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define LAUNCH "11111111-1111-4111-8111-111111111111"
#define MACHINE "22222222-2222-4222-8222-222222222222"
#define SPEC "{\"launch\":\"" LAUNCH "\",\"machine\":\"web\",\"machine_id\":\"" MACHINE "\",\"kind\":\"cutover\",\"epoch\":7}"
#define STANDING "{\"launch\":\"" LAUNCH "\",\"state\":\"standing\",\"point\":{\"epoch\":7}}"
#define BOOTED "{\"launch\":\"" LAUNCH "\",\"state\":\"booted\",\"point\":{\"epoch\":7}}"

static struct server server;
static struct launches *launches;
static unsigned int reports, scheduled;

/* --- the rest of the server -------------------------------------------------------------- */

void server_report(struct server *s, const struct uuid *machine, const struct fault *fault)
{
	assert_int_equal(fault->code, MSG_LAUNCH_UNREADABLE);
	reports++;
}

const char *server_machine_name(const struct server *s, const struct uuid *machine, char *buf)
{
	return "web";
}

void stores_schedule(struct stores *st)
{
	scheduled++;
}

bool stores_exists(const struct stores *st, const struct uuid *machine)
{
	return false;
}

int worker_start(struct loop *loop, const struct worker_options *o, struct worker **ret)
{
	return -EAGAIN;
}

int work_point(const void *request, size_t size, const char *dir, int out_fd)
{
	return -EIO;
}

int work_result(const struct uuid *machine, int err, const char *text, size_t len, json_t **ret, struct fault *ret_fault)
{
	return -EIO;
}

/* --- a folder ------------------------------------------------------------------------------- */

static char *in_folder(const char *name)
{
	static char path[SETTINGS_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/launches/" LAUNCH "/%s", server.settings.state, name);
	return path;
}

static void put(const char *name, const char *text)
{
	assert_int_equal(fileio_replace(in_folder(name), text, strlen(text), 0600), 0);
}

static bool is_there(const char *name)
{
	return access(in_folder(name), F_OK) == 0;
}

static int begin(void **state)
{
	server = (struct server){ .stores = (struct stores *)&server };
	reports = 0;
	strcpy(server.settings.state, "/tmp/godwit-launches-found.XXXXXX");
	return mkdtemp(server.settings.state) && fileio_mkdirs(in_folder(""), 0700) == 0 ? 0 : -1;
}

static int finish(void **state)
{
	launches_free(launches);
	launches = NULL;
	return fileio_remove_tree(server.settings.state);
}

static void find_and_look(unsigned int looks)
{
	assert_int_equal(launches_new(&server, &launches), 0);
	while (looks--)
		launches_look(launches);
}

/* The one launch, as the console sees it. */
static void expect(const char *state_wanted, const char *code)
{
	json_t *list = launches_status(launches), *record = json_array_get(list, 0);
	struct fault f;

	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(record, "launch")), LAUNCH);
	assert_string_equal(json_string_value(json_object_get(record, "state")), state_wanted);
	if (code) {
		assert_int_equal(fault_from_json(json_object_get(record, "fault"), &f), 0);
		assert_string_equal(message_name(f.code), code);
	}
	json_decref(list);
}

/* A child in the folder that calls itself a machine. */
static pid_t start_machine(void)
{
	int fds[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, "qemu-system-x86");
		if (chdir(in_folder("")) || write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

/* --- tests -------------------------------------------------------------------------------------- */

static void test_a_machine_that_stands_alone_survives_a_spec_that_cannot_be_read(void **state)
{
	for (int how = 0; how < 2; how++) {
		pid_t machine;
		int status;

		put("disk0.qcow2", "x");
		put("launch.json", STANDING);
		if (how == 0)
			put("spec.json", "{");
		else
			assert_int_equal(unlink(in_folder("spec.json")) || mkdir(in_folder("spec.json"), 0700), 0);
		machine = start_machine();
		find_and_look(3);
		assert_int_equal(waitpid(machine, &status, WNOHANG), 0);
		assert_true(is_there("disk0.qcow2"));
		assert_true(is_there("launch.json"));
		expect("failed", "LAUNCH_UNREADABLE");
		assert_int_equal(reports, how + 1);
		(void)kill(machine, SIGKILL);
		assert_int_equal(waitpid(machine, &status, 0), machine);
		launches_free(launches);
		launches = NULL;
	}
}

static void test_disks_without_a_spec_survive(void **state)
{
	put("disk0.qcow2", "x");
	find_and_look(3);
	assert_true(is_there("disk0.qcow2"));
	expect("failed", "LAUNCH_UNREADABLE");
}

static void test_a_folder_that_never_became_a_launch_goes(void **state)
{
	put("launch.log.0", "x");
	find_and_look(1);
	assert_false(is_there(""));
	assert_int_equal(reports, 0);
}

static void test_disks_survive_a_record_that_cannot_be_read(void **state)
{
	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", "{");
	find_and_look(3);
	assert_true(is_there("disk0.qcow2"));
	expect("failed", "LAUNCH_UNREADABLE");
	assert_int_equal(reports, 1);
}

static void test_disks_survive_a_record_that_is_gone(void **state)
{
	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	find_and_look(3);
	assert_true(is_there("disk0.qcow2"));
	expect("failed", "LAUNCH_KILLED");
}

static void test_a_record_that_stops_being_readable_is_not_written_over(void **state)
{
	char *text;
	size_t len;

	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", BOOTED);
	assert_int_equal(launches_new(&server, &launches), 0);
	put("launch.json", "{ spoiled");
	launches_look(launches);
	assert_true(is_there("disk0.qcow2"));
	assert_int_equal(fileio_slurp(in_folder("launch.json"), MIB, &text, &len), 0);
	assert_string_equal(text, "{ spoiled");
	free(text);
}

static void test_it_goes_on_when_it_can_be_read_again(void **state)
{
	put("disk0.qcow2", "x");
	put("launch.json", "{\"launch\":\"" LAUNCH "\",\"state\":\"ended\",\"disks_kept\":true}");
	put("spec.json", "{");
	find_and_look(1);
	expect("failed", "LAUNCH_UNREADABLE");
	put("spec.json", SPEC);
	launches_look(launches);
	expect("ended", NULL);
}

static void test_the_point_of_one_that_cannot_be_read_is_held(void **state)
{
	struct uuid machine;
	uint64_t epoch = 0;

	assert_int_equal(uuid_parse(MACHINE, &machine), 0);
	put("disk0.qcow2", "x");
	put("launch.json", BOOTED);
	put("spec.json", "{");
	find_and_look(2);
	assert_int_equal(launches_points(launches, &machine, &epoch, 1), 1);
	assert_int_equal(epoch, 7);
	launches_free(launches);
	put("launch.json", "{");
	put("spec.json", SPEC);
	find_and_look(2);
	assert_int_equal(launches_points(launches, &machine, &epoch, 1), 1);
	assert_int_equal(launches_of(launches, &machine), 1);
}

/* A cutover that was killed before it stood: `godwit keep` starts it again, over its point. */
static void test_the_point_under_disks_that_are_kept_is_held_until_it_is_terminated(void **state)
{
	struct uuid machine;
	uint64_t epoch = 0;

	assert_int_equal(uuid_parse(MACHINE, &machine), 0);
	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", "{\"launch\":\"" LAUNCH "\",\"state\":\"keeping\",\"to_be_kept\":true,\"log\":[]}");
	find_and_look(2);
	expect("failed", "LAUNCH_KILLED");
	assert_int_equal(launches_points(launches, &machine, &epoch, 1), 1);
	assert_int_equal(epoch, 7);
	launches_stop_machine(launches, &machine); /* it is unprotected */
	assert_int_equal(launches_of(launches, &machine), 1);
	scheduled = 0;
	launches_terminate(launches, LAUNCH);
	assert_int_equal(launches_points(launches, &machine, &epoch, 1), 0);
	assert_int_equal(launches_of(launches, &machine), 0);
	assert_int_not_equal(scheduled, 0);
}

static void test_the_point_under_disks_that_need_it_no_more_is_let_go_of(void **state)
{
	struct uuid machine;
	uint64_t epoch;

	assert_int_equal(uuid_parse(MACHINE, &machine), 0);
	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", "{\"launch\":\"" LAUNCH "\",\"state\":\"standing\",\"has_stood\":true,\"log\":[]}");
	find_and_look(2);
	expect("failed", "LAUNCH_KILLED");
	assert_int_equal(launches_points(launches, &machine, &epoch, 1), 0);
}

static void test_only_who_asks_for_its_end_ends_one_that_cannot_be_read(void **state)
{
	struct uuid machine;
	pid_t pid;
	int status;

	assert_int_equal(uuid_parse(MACHINE, &machine), 0);
	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", "{");
	pid = start_machine();
	find_and_look(2);
	launches_stop_machine(launches, &machine);
	assert_true(is_there("disk0.qcow2"));
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	launches_terminate(launches, LAUNCH);
	assert_false(is_there(""));
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_one_that_cannot_be_read_is_not_started_by_who_asks_to_keep_it(void **state)
{
	struct fault f;

	put("disk0.qcow2", "x");
	put("spec.json", "{");
	put("launch.json", STANDING);
	find_and_look(1);
	assert_int_not_equal(launches_keep(launches, LAUNCH, &f), 0);
	assert_int_equal(f.code, MSG_LAUNCH_UNREADABLE);
	assert_non_null(launches_find(launches, LAUNCH));
	assert_int_equal(launches_find(launches, LAUNCH)->stage, THERE);
}

/* LAUNCHES_OVER_OF_MACHINE newer ones than ours, all over. */
static void add_newer(unsigned int count)
{
	char path[SETTINGS_PATH_MAX + 128];

	for (unsigned int i = 0; i < count; i++) {
		static const char ended[] = "{\"state\":\"ended\",\"since\":\"2026-11-22T10:00:00Z\"}";
		int n = snprintf(path, sizeof(path), "%s/launches/33333333-3333-4333-8333-3333333333%02x", server.settings.state, i);

		assert_int_equal(fileio_mkdirs(path, 0700), 0);
		snprintf(path + n, sizeof(path) - (size_t)n, "/spec.json");
		assert_int_equal(fileio_replace(path, SPEC, strlen(SPEC), 0600), 0);
		snprintf(path + n, sizeof(path) - (size_t)n, "/launch.json");
		assert_int_equal(fileio_replace(path, ended, strlen(ended), 0600), 0);
	}
}

static void test_what_is_over_is_not_thinned_while_there_are_disks_in_it(void **state)
{
	for (int has_disks = 0; has_disks < 2; has_disks++) {
		assert_int_equal(fileio_mkdirs(in_folder(""), 0700), 0);
		put("spec.json", SPEC);
		put("launch.json", "{\"state\":\"failed\",\"since\":\"2026-11-21T10:00:00Z\"}");
		if (has_disks)
			put("disk0.qcow2", "x");
		add_newer(LAUNCHES_OVER_OF_MACHINE);
		find_and_look(1);
		assert_int_equal(is_there("launch.json"), has_disks);
		launches_free(launches);
		launches = NULL;
	}
}

/* Nobody can run it: it is tried again later, not every second, and its record stays as it is until it fails. */
static void test_one_that_cannot_be_started_again_is_tried_later(void **state)
{
	struct launch *e;

	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", "{\"launch\":\"" LAUNCH "\",\"state\":\"standing\",\"has_stood\":true,\"boot_id\":\"another\",\"disks\":[1],\"log\":[]}");
	assert_int_equal(launches_new(&server, &launches), 0);
	e = launches_find(launches, LAUNCH);
	for (unsigned int i = 0; i < 5; i++) {
		assert_false(e->over);
		assert_string_equal(json_string_value(json_object_get(e->record, "state")), "standing");
		e->start_at_us = 0;
		e->stage = SPAWNING;
		e->spawner = 1;
		e->again = true;
		assert_true(launches_reaped(launches, 1, 2 << 8));
		assert_int_equal(e->stage, THERE);
		launches_look(launches);
		assert_int_equal(e->stage, THERE); /* not at once again */
	}
	expect("failed", "LAUNCH_NOT_STARTED");
	assert_true(is_there("disk0.qcow2"));
	assert_true(json_is_true(json_object_get(e->record, "disks_kept")));
	assert_int_equal(json_array_size(json_object_get(e->record, "disks")), 1);
}

#define OTHER_LAUNCH "44444444-4444-4444-8444-444444444444"

/* Was it begun to be started again?  Then it is as if its process had ended with @status. */
static bool was_begun(const char *id, int status)
{
	struct launch *e = launches_find(launches, id);
	int ignored;

	if (e->stage != SPAWNING)
		return false;
	assert_int_equal(waitpid(e->spawner, &ignored, 0), e->spawner);
	assert_true(launches_reaped(launches, e->spawner, status << 8));
	return true;
}

static const char was_standing[] = "{\"launch\":\"" LAUNCH "\",\"state\":\"standing\",\"has_stood\":true,\"boot_id\":\"another\",\"log\":[]}";
static const char has_failed[] = "{\"launch\":\"" LAUNCH "\",\"state\":\"failed\",\"has_stood\":true,\"disks_kept\":true,\"log\":[]}";

static void test_after_a_restart_one_that_fails_before_it_runs_is_tried_again(void **state)
{
	unsigned int tries = 0;
	struct launch *e;

	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", was_standing);
	find_and_look(1);
	e = launches_find(launches, LAUNCH);
	while (e->stage == SPAWNING) {
		put("launch.json", has_failed);
		assert_true(was_begun(LAUNCH, 1));
		assert_true(++tries < 20);
		launches_look(launches);
		assert_int_equal(e->stage, THERE); /* not at once */
		e->start_at_us = 0;
		launches_look(launches);
	}
	assert_int_equal(tries, 5);
	expect("failed", NULL);
	assert_true(is_there("disk0.qcow2"));
}

static void test_one_that_has_run_after_the_restart_and_failed_since_is_left(void **state)
{
	struct launch *e;

	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", was_standing);
	find_and_look(1);
	e = launches_find(launches, LAUNCH);
	put("launch.json", "{\"launch\":\"" LAUNCH "\",\"state\":\"failed\",\"has_stood\":true,\"disks_kept\":true,"
	    "\"started_again\":\"2026-11-22T10:00:00Z\",\"log\":[]}");
	assert_true(was_begun(LAUNCH, 0));
	launches_look(launches);
	e->start_at_us = 0;
	launches_look(launches);
	assert_int_equal(e->stage, THERE);
}

static void test_after_a_restart_one_comes_up_after_the_other(void **state)
{
	char path[SETTINGS_PATH_MAX + 128];
	bool first, second;

	put("disk0.qcow2", "x");
	put("spec.json", SPEC);
	put("launch.json", was_standing);
	snprintf(path, sizeof(path), "%s/launches/" OTHER_LAUNCH, server.settings.state);
	assert_int_equal(fileio_mkdirs(path, 0700), 0);
	strcat(path, "/spec.json");
	assert_int_equal(fileio_replace(path, SPEC, strlen(SPEC), 0600), 0);
	strcpy(strrchr(path, '/'), "/launch.json");
	assert_int_equal(fileio_replace(path, was_standing, strlen(was_standing), 0600), 0);
	find_and_look(1);
	first = was_begun(LAUNCH, 2);
	second = was_begun(OTHER_LAUNCH, 2);
	assert_int_equal(first + second, 1);
	launches_look(launches);
	assert_int_equal(was_begun(first ? OTHER_LAUNCH : LAUNCH, 2), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_machine_that_stands_alone_survives_a_spec_that_cannot_be_read, begin, finish),
		cmocka_unit_test_setup_teardown(test_disks_without_a_spec_survive, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_folder_that_never_became_a_launch_goes, begin, finish),
		cmocka_unit_test_setup_teardown(test_disks_survive_a_record_that_cannot_be_read, begin, finish),
		cmocka_unit_test_setup_teardown(test_disks_survive_a_record_that_is_gone, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_record_that_stops_being_readable_is_not_written_over, begin, finish),
		cmocka_unit_test_setup_teardown(test_it_goes_on_when_it_can_be_read_again, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_point_of_one_that_cannot_be_read_is_held, begin, finish),
		cmocka_unit_test_setup_teardown(test_only_who_asks_for_its_end_ends_one_that_cannot_be_read, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_that_cannot_be_read_is_not_started_by_who_asks_to_keep_it, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_over_is_not_thinned_while_there_are_disks_in_it, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_that_cannot_be_started_again_is_tried_later, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_point_under_disks_that_are_kept_is_held_until_it_is_terminated, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_point_under_disks_that_need_it_no_more_is_let_go_of, begin, finish),
		cmocka_unit_test_setup_teardown(test_after_a_restart_one_that_fails_before_it_runs_is_tried_again, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_that_has_run_after_the_restart_and_failed_since_is_left, begin, finish),
		cmocka_unit_test_setup_teardown(test_after_a_restart_one_comes_up_after_the_other, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
