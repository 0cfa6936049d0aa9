/* SPDX-License-Identifier: Apache-2.0 */
#include "launchfiles.h"
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
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

static char folder[64];

static char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void put(const char *name, const void *bytes, size_t len)
{
	assert_int_equal(fileio_replace(in_folder(name), bytes, len, 0600), 0);
}

static bool is_there(const char *name)
{
	return access(in_folder(name), F_OK) == 0;
}

static int begin(void **state)
{
	strcpy(folder, "/tmp/godwit-launchfiles.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state)
{
	launchfiles_remove(folder);
	return access(folder, F_OK) == 0;
}

static json_t *text_of(const void *bytes, size_t len, json_int_t from, size_t max)
{
	json_t *j;

	put("serial.log", bytes, len);
	j = launchfiles_text(in_folder("serial.log"), from, max);
	assert_non_null(j);
	return j;
}

static void expect(json_t *j, const char *text, json_int_t from, json_int_t next, json_int_t size)
{
	assert_string_equal(json_string_value(json_object_get(j, "text")), text);
	assert_int_equal(json_integer_value(json_object_get(j, "from")), from);
	assert_int_equal(json_integer_value(json_object_get(j, "next")), next);
	assert_int_equal(json_integer_value(json_object_get(j, "size")), size);
	json_decref(j);
}

static void test_a_console_is_told_from_any_offset_and_at_most_so_much_of_it(void **state)
{
	expect(text_of("0123456789", 10, -1, 100), "0123456789", 0, 10, 10);
	expect(text_of("0123456789", 10, -1, 4), "6789", 6, 10, 10);
	expect(text_of("0123456789", 10, 2, 4), "2345", 2, 6, 10);
	expect(text_of("0123456789", 10, 10, 4), "", 10, 10, 10);
	expect(text_of("0123456789", 10, 99, 4), "", 10, 10, 10);
	expect(text_of("0123456789", 10, INT64_MAX, 4), "", 10, 10, 10);
	expect(launchfiles_text(in_folder("none"), -1, 10), "", 0, 0, 0);
}

static void test_of_a_console_whose_beginning_is_gone_the_rest_is_told(void **state)
{
	int fd;

	put("serial.log", "", 0);
	fd = open(in_folder("serial.log"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(fileio_pwrite_full(fd, "abc", 3, MIB), 0);
	close(fd);
	expect(launchfiles_text(in_folder("serial.log"), 5, 100), "abc", MIB, MIB + 3, MIB + 3);
	expect(launchfiles_text(in_folder("serial.log"), MIB + 3, 100), "", MIB + 3, MIB + 3, MIB + 3);
}

static void test_what_a_console_says_is_made_utf_8(void **state)
{
	expect(text_of("a\0b\xff" "c\xc3\xa4\r\n", 9, 0, 100), "a?b?c\xc3\xa4\r\n", 0, 9, 9);
	expect(text_of("\xed\xa0\x80", 3, 0, 100), "???", 0, 3, 3); /* a surrogate */
	expect(text_of("\xc0\xaf", 2, 0, 100), "??", 0, 2, 2);	    /* an overlong form */
	expect(text_of("\xa4" "x", 2, 0, 100), "?x", 0, 2, 2);
}

static void test_a_character_that_has_not_come_whole_is_waited_for(void **state)
{
	expect(text_of("a\xe2\x82", 3, 0, 100), "a", 0, 1, 3);
	expect(text_of("a\xe2\x82\xac", 4, 1, 100), "\xe2\x82\xac", 1, 4, 4);
	expect(text_of("a\xe2\x82\xac", 4, 0, 3), "a", 0, 1, 4);
	expect(text_of("a\xe2" "x", 3, 0, 100), "a?x", 0, 3, 3); /* it never will */
}

static void test_random_bytes_are_always_json_and_always_go_on(void **state)
{
	const char *seed_text = getenv("GODWIT_SEED");
	unsigned int seed = seed_text ? (unsigned int)atoi(seed_text) : (unsigned int)getpid();
	unsigned char bytes[3000];
	json_int_t at = 0;

	print_message("GODWIT_SEED=%u\n", seed);
	srandom(seed);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(random() % 3 ? random() : 0xc3);
	bytes[sizeof(bytes) - 1] = 'x';
	while (at < (json_int_t)sizeof(bytes)) {
		json_t *j = text_of(bytes, sizeof(bytes), at, 7);
		json_int_t next = json_integer_value(json_object_get(j, "next"));
		char *dumped = json_dumps(j, 0);

		assert_non_null(dumped);
		assert_true(next > at && next <= (json_int_t)sizeof(bytes));
		at = next;
		free(dumped);
		json_decref(j);
	}
}

static void test_a_buried_launch_has_failed_and_keeps_its_log(void **state)
{
	json_t *spec = json_pack("{s:s,s:s}", "launch", "x", "machine", "web"), *j;
	static const char record[] = "{\"launch\":\"x\",\"state\":\"booted\",\"log\":[{\"time\":\"t\",\"message\":\"m\"}]}";
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_KILLED, "machine", "web", NULL);
	put("launch.json", record, strlen(record));
	assert_int_equal(launchfiles_bury(in_folder("launch.json"), NULL, spec, &f, false), 0);
	assert_int_equal(launchfiles_read(in_folder("launch.json"), &j), 0);
	assert_string_equal(json_string_value(json_object_get(j, "state")), "failed");
	assert_int_equal(json_array_size(json_object_get(j, "log")), 2);
	assert_string_equal(json_string_value(json_object_get(json_object_get(j, "fault"), "code")), "LAUNCH_KILLED");
	assert_null(json_object_get(j, "disks_kept"));
	json_decref(j);
	json_decref(spec);
}

static void test_a_launch_without_a_usable_record_is_buried_with_a_new_one(void **state)
{
	json_t *spec = json_pack("{s:s,s:s,s:s}", "launch", "x", "machine", "web", "kind", "test"), *j;

	put("launch.json", "{", 1);
	assert_int_equal(launchfiles_bury(in_folder("launch.json"), NULL, spec, NULL, true), 0);
	assert_int_equal(launchfiles_read(in_folder("launch.json"), &j), 0);
	assert_string_equal(json_string_value(json_object_get(j, "state")), "ended");
	assert_string_equal(json_string_value(json_object_get(j, "kind")), "test");
	assert_true(json_is_true(json_object_get(j, "disks_kept")));
	json_decref(j);
	json_decref(spec);
}

static void test_why_a_record_cannot_be_read_is_told(void **state)
{
	json_t *j;

	assert_int_equal(launchfiles_read(in_folder("spec.json"), &j), -ENOENT);
	put("spec.json", "{", 1);
	assert_int_equal(launchfiles_read(in_folder("spec.json"), &j), -EBADMSG);
	put("spec.json", "[]", 2);
	assert_int_equal(launchfiles_read(in_folder("spec.json"), &j), -EBADMSG);
	assert_int_equal(mkdir(in_folder("launch.json"), 0700), 0);
	assert_int_equal(launchfiles_read(in_folder("launch.json"), &j), -EISDIR);
	assert_int_equal(launchfiles_has_disks(in_folder("none")), 0);
	assert_int_equal(launchfiles_has_disks(in_folder("spec.json")), -ENOTDIR);
	assert_int_equal(launchfiles_has_disks(folder), 0);
	put("disk0.qcow2", "x", 1);
	assert_int_equal(launchfiles_has_disks(folder), 1);
}

static void test_clearing_leaves_what_is_evidence_and_the_disks_if_they_are_to_stay(void **state)
{
	static const char *const names[] = { "control", "qmp.sock", "disk0.sock", "disk0.qcow2", "vars.fd",
					     "launch.json", "serial.log", "screenshot.png" };

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		put(names[i], "x", 1);
	launchfiles_clear(folder, true);
	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(is_there(names[i]), i > 2);
	launchfiles_clear(folder, false);
	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(is_there(names[i]), i > 4);
}

static void test_folders_go_with_the_rest_and_links_are_not_followed(void **state)
{
	char other[80], path[96];

	snprintf(other, sizeof(other), "%s.other", folder);
	snprintf(path, sizeof(path), "%s/data", other);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(fileio_replace(path, "x", 1, 0600), 0);
	assert_int_equal(mkdir(in_folder("convert"), 0700), 0);
	assert_int_equal(mkdir(in_folder("convert/deeper"), 0700), 0);
	put("convert/deeper/overlay", "x", 1);
	assert_int_equal(symlink(other, in_folder("convert/link")), 0);
	put("disk0.qcow2", "x", 1);
	launchfiles_clear(folder, true);
	assert_false(is_there("convert"));
	assert_true(is_there("disk0.qcow2"));
	/* of images: the name is known to others once it was there */
	assert_int_equal(symlink(other, in_folder("link")), 0);
	launchfiles_remove(in_folder("link"));
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(fileio_remove_tree(other), 0);
	assert_int_equal(fileio_remove_tree(other), 0);
}

/* A child in the folder that calls itself @name. */
static pid_t start_child(const char *name)
{
	int fds[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, name);
		if (chdir(folder) || write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static void test_what_runs_in_the_folder_is_ended_but_not_somebodys_shell(void **state)
{
	pid_t machine = start_child("qemu-system-x86"), converter = start_child("godwit-convert"), shell = start_child("bash");
	int status;

	launchfiles_end_processes(folder);
	assert_int_equal(waitpid(machine, &status, 0), machine);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(waitpid(converter, &status, 0), converter);
	assert_int_equal(waitpid(shell, &status, WNOHANG), 0);
	(void)kill(shell, SIGKILL);
	assert_int_equal(waitpid(shell, &status, 0), shell);
}

static void test_a_picture_is_told_in_base64_or_not_there(void **state)
{
	json_t *j;

	assert_null(launchfiles_picture(in_folder("screenshot.png")));
	put("screenshot.png", "\x89PNG", 4);
	j = launchfiles_picture(in_folder("screenshot.png"));
	assert_string_equal(json_string_value(json_object_get(j, "png")), "iVBORw==");
	json_decref(j);
	put("screenshot.png", "", 0);
	assert_null(launchfiles_picture(in_folder("screenshot.png")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_console_is_told_from_any_offset_and_at_most_so_much_of_it, begin, finish),
		cmocka_unit_test_setup_teardown(test_of_a_console_whose_beginning_is_gone_the_rest_is_told, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_a_console_says_is_made_utf_8, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_character_that_has_not_come_whole_is_waited_for, begin, finish),
		cmocka_unit_test_setup_teardown(test_random_bytes_are_always_json_and_always_go_on, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_buried_launch_has_failed_and_keeps_its_log, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_launch_without_a_usable_record_is_buried_with_a_new_one, begin, finish),
		cmocka_unit_test_setup_teardown(test_why_a_record_cannot_be_read_is_told, begin, finish),
		cmocka_unit_test_setup_teardown(test_clearing_leaves_what_is_evidence_and_the_disks_if_they_are_to_stay, begin, finish),
		cmocka_unit_test_setup_teardown(test_folders_go_with_the_rest_and_links_are_not_followed, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_runs_in_the_folder_is_ended_but_not_somebodys_shell, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_picture_is_told_in_base64_or_not_there, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
