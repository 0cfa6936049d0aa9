/* SPDX-License-Identifier: Apache-2.0 */
/* A launch's spec.json and launch.json, read and taken up again. */
#include "fileio.h"
#include "launch.h"
#include "record.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int begin(void **state)
{
	strcpy(folder, "/tmp/godwit-record.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state)
{
	return fileio_remove_tree(folder);
}

/* --- the record of a machine that stands on its own ------------------------------------------ */

static void stand(void)
{
	static const struct target_disk disks[] = { { .disk = 3, .size_bytes = MIB, .sector_bytes = 512 },
						    { .disk = 4, .size_bytes = GIB, .sector_bytes = 4096 } };
	struct target_machine m = { .bus = BUS_SATA, .disks = disks, .disk_count = 2 };
	struct launch_spec spec = { .machine = "web" };
	struct record *r;

	assert_int_equal(record_new(folder, &spec, &r), 0);
	record_boot(r, "uefi", 1, true);
	record_state(r, LAUNCH_STARTING, "starting");
	record_machine(r, &m);
	record_state(r, LAUNCH_BOOTING, "its processors run");
	record_state(r, LAUNCH_BOOTED, "it runs");
	record_state(r, LAUNCH_KEEPING, "copying");
	record_state(r, LAUNCH_STANDING, "alone");
	record_free(r);
}

/* The record with @member as @value (NULL: without it). */
static void change(const char *member, json_t *value)
{
	json_t *j = json_load_file(in_folder("launch.json"), 0, NULL);
	char *text;

	if (value)
		json_object_set_new(j, member, value);
	else
		json_object_del(j, member);
	text = json_dumps(j, 0);
	assert_int_equal(fileio_replace(in_folder("launch.json"), text, strlen(text), 0600), 0);
	free(text);
	json_decref(j);
}

static bool stands;

static int resume(struct target_machine *m, struct target_disk disks[DISKS_MAX])
{
	unsigned int count = 0;
	struct record *r;
	int err = record_resume(folder, &r, m, disks, &count, &stands);

	if (err)
		return err;
	assert_int_equal(record_current(r), LAUNCH_STOPPED);
	record_free(r);
	return (int)count;
}

static void test_a_machine_that_stood_is_taken_up_as_it_was(void **state)
{
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };

	stand();
	assert_int_equal(resume(&m, disks), 2);
	assert_int_equal(m.bus, BUS_SATA);
	assert_int_equal(m.firmware, FIRMWARE_UEFI);
	assert_int_equal(m.boot_disk, 1);
	assert_int_equal(disks[1].disk, 4);
	assert_int_equal(disks[1].size_bytes, GIB);
	assert_int_equal(disks[1].sector_bytes, 4096);
}

static void test_what_is_somebodys_is_taken_up_over_its_point_until_it_stands(void **state)
{
	static const struct {
		const char *state, *kind;
		bool needs_store, to_be_kept, taken, stands;
	} cases[] = {
		{ "standing", "test", false, true, true, true },    { "stopped", "cutover", false, true, true, true },
		{ "stopped", "cutover", true, true, true, false },  { "booted", "cutover", false, false, true, false },
		{ "keeping", "cutover", false, true, true, false }, { "keeping", "test", false, true, true, false },
		{ "booted", "test", false, true, true, false },	    { "booted", "test", false, false, false, false },
		{ "booting", "cutover", false, false, false, false },
	};
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		stand();
		change("state", json_string(cases[i].state));
		change("has_stood", NULL); /* as one that has never */
		change("kind", json_string(cases[i].kind));
		change("needs_store", cases[i].needs_store ? json_true() : NULL);
		change("to_be_kept", cases[i].to_be_kept ? json_true() : NULL);
		assert_int_equal(resume(&m, disks), cases[i].taken ? 2 : -ENOENT);
		if (!cases[i].taken)
			continue;
		assert_int_equal(stands, cases[i].stands);
		/* the next process, if this one is killed before it runs */
		assert_int_equal(resume(&m, disks), 2);
		assert_int_equal(stands, cases[i].stands);
	}
}

/* Somebody asks for it: nothing of how it ended before is left in its record. */
static void test_what_is_over_and_left_its_disks_is_taken_up_again(void **state)
{
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };
	json_t *j;

	stand();
	change("state", json_string("failed"));
	change("fault", json_pack("{s:s}", "code", "LAUNCH_KILLED"));
	change("disks_kept", json_true());
	assert_int_equal(resume(&m, disks), 2);
	assert_true(stands);
	j = json_load_file(in_folder("launch.json"), 0, NULL);
	assert_null(json_object_get(j, "fault"));
	assert_null(json_object_get(j, "disks_kept"));
	json_decref(j);
	/* one that never stood needs its point, still */
	stand();
	change("has_stood", NULL);
	change("state", json_string("ended"));
	change("disks_kept", json_true());
	assert_int_equal(resume(&m, disks), 2);
	assert_false(stands);
}

static void test_a_cutover_that_runs_unproved_is_taken_up(void **state)
{
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };

	stand();
	change("has_stood", NULL);
	change("state", json_string("booting"));
	change("not_proved", json_pack("{s:s}", "code", "LAUNCH_UNPROVED"));
	assert_int_equal(resume(&m, disks), 2);
	assert_false(stands);
}

static void test_what_does_not_stand_is_not_taken_up(void **state)
{
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };

	assert_int_equal(resume(&m, disks), -ENOENT);
	stand();
	change("state", json_string("failed"));
	assert_int_equal(resume(&m, disks), -ENOENT);
}

static void test_the_disks_of_a_record_that_is_not_understood_are_let_alone(void **state)
{
	struct target_disk disks[DISKS_MAX];
	struct target_machine m = { 0 };

	stand();
	change("bus", json_string("of another version"));
	assert_int_equal(resume(&m, disks), -EINVAL);
	stand();
	change("disks", NULL);
	assert_int_equal(resume(&m, disks), -EINVAL);
	stand();
	change("boot", json_pack("{s:i}", "disk", 2));
	assert_int_equal(resume(&m, disks), -EINVAL);
	assert_int_equal(fileio_replace(in_folder("launch.json"), "{", 1, 0600), 0);
	assert_int_equal(resume(&m, disks), -EINVAL);
}

static void test_in_a_log_that_is_full_what_is_older_makes_room(void **state)
{
	struct launch_spec spec = { .machine = "web" };
	struct record *r;
	char line[32];
	json_t *j, *log;

	assert_int_equal(record_new(folder, &spec, &r), 0);
	for (unsigned int i = 0; i < 501; i++) {
		snprintf(line, sizeof(line), "line %u", i);
		record_line(r, line);
	}
	record_free(r);
	j = json_load_file(in_folder("launch.json"), 0, NULL);
	log = json_object_get(j, "log");
	assert_int_equal(json_array_size(log), 500);
	assert_string_equal(json_string_value(json_object_get(json_array_get(log, 0), "message")), "line 1");
	assert_string_equal(json_string_value(json_object_get(json_array_get(log, 499), "message")), "line 500");
	json_decref(j);
}

/* --- what cannot be begun ---------------------------------------------------------------------- */

static void put(const char *name, const char *text)
{
	assert_int_equal(fileio_replace(in_folder(name), text, strlen(text), 0600), 0);
}

/* Once by another version's spec.json, once by one that cannot be read at all. */
static void test_a_machine_that_stood_survives_a_process_that_refuses_its_spec(void **state)
{
	for (int how = 0; how < 2; how++) {
		struct target_disk disks[DISKS_MAX];
		struct target_machine m = { 0 };
		json_t *j;

		stand();
		put("disk0.qcow2", "x");
		if (how == 0)
			put("spec.json", "{\"launch\":\"of another version\"}");
		else
			assert_int_equal(unlink(in_folder("spec.json")) || mkdir(in_folder("spec.json"), 0700), 0);
		assert_int_equal(launch_run(folder), 2);
		j = json_load_file(in_folder("launch.json"), 0, NULL);
		assert_string_equal(json_string_value(json_object_get(j, "state")), how == 0 ? "failed" : "standing");
		assert_int_equal(json_is_true(json_object_get(j, "disks_kept")), how == 0);
		assert_int_equal(json_array_size(json_object_get(j, "disks")), 2);
		json_decref(j);
		assert_int_equal(resume(&m, disks), 2);
		assert_true(stands);
		assert_int_equal(m.bus, BUS_SATA);
		assert_int_equal(m.boot_disk, 1);
	}
}

static void test_disks_that_no_record_describes_are_not_made_anew(void **state)
{
	char *text;

	put("disk0.qcow2", "somebody's");
	put("spec.json", "{\"launch\":\"6f6ff1e0-0000-4000-8000-000000000001\",\"machine\":\"web\",\"store\":\"/none\",\"epoch\":7}");
	assert_int_equal(launch_run(folder), 2);
	assert_int_equal(fileio_slurp(in_folder("disk0.qcow2"), MIB, &text, NULL), 0);
	assert_string_equal(text, "somebody's");
	free(text);
}

static void test_a_record_that_cannot_be_read_is_not_written_over(void **state)
{
	struct fault f;
	char *text;

	put("launch.json", "{ spoiled");
	(void)fault_set(&f, -EINVAL, MSG_LAUNCH_BAD_SPEC, "member", "cpus", NULL);
	record_refused(folder, &f);
	assert_int_equal(fileio_slurp(in_folder("launch.json"), MIB, &text, NULL), 0);
	assert_string_equal(text, "{ spoiled");
	free(text);
}

/* --- the spec ------------------------------------------------------------------------------- */

static int read_spec(const char *member, json_t *value, struct launch_spec *ret)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s}", "launch", "6f6ff1e0-0000-4000-8000-000000000001", "machine",
			      "web", "store", "/store", "epoch", 7, "proof", "text");
	struct fault f;
	char *text;
	int err;

	if (member)
		json_object_set_new(j, member, value);
	text = json_dumps(j, 0);
	assert_int_equal(fileio_replace(in_folder("spec.json"), text, strlen(text), 0600), 0);
	free(text);
	json_decref(j);
	err = spec_read(in_folder("spec.json"), ret, &f);
	if (err)
		assert_int_equal(f.code, MSG_LAUNCH_BAD_SPEC);
	return err;
}

static void test_a_proof_that_anything_would_be_is_refused(void **state)
{
	static struct launch_spec s;

	assert_int_equal(read_spec(NULL, NULL, &s), -EINVAL); /* by a text, and none is there */
	assert_int_equal(read_spec("proof_text", json_string(""), &s), -EINVAL);
	assert_int_equal(read_spec("proof_text", json_integer(1), &s), -EINVAL);
	assert_int_equal(read_spec("proof_text", json_string("up"), &s), 0);
	assert_string_equal(s.proof_text, "up");
	assert_int_equal(read_spec("proof", json_string("command"), &s), -EINVAL);
	assert_int_equal(read_spec("proof", json_string("login"), &s), 0);
}

static void test_ports_are_led_only_where_the_network_can(void **state)
{
	static const struct {
		const char *network, *forward;
		int count; /* or -EINVAL */
	} cases[] = {
		{ "isolated", "0:22,8080:80", 2 }, { "user", "2222:22", 1 },	    { "isolated", "", 0 },
		{ "none", "", 0 },		   { "none", "2222:22", -EINVAL },  { "isolated", "22", -EINVAL },
	};
	static struct launch_spec s;
	struct fault f;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "launch", "6f6ff1e0-0000-4000-8000-000000000001",
				      "machine", "web", "store", "/store", "epoch", 7, "network", cases[i].network, "forward",
				      cases[i].forward);
		char *text = json_dumps(j, 0);

		json_decref(j);
		assert_int_equal(fileio_replace(in_folder("spec.json"), text, strlen(text), 0600), 0);
		free(text);
		assert_int_equal(spec_read(in_folder("spec.json"), &s, &f), MIN(cases[i].count, 0));
		if (cases[i].count >= 0)
			assert_int_equal(s.forwards.count, cases[i].count);
		else
			assert_int_equal(f.code, MSG_LAUNCH_BAD_SPEC);
	}
}

static void test_the_ports_that_lead_to_it_are_on_record_as_long_as_it_runs(void **state)
{
	static const struct forwards made = { .list = { { "127.0.0.1", 40001, 22 }, { "0.0.0.0", 8080, 80 } }, .count = 2 };
	struct launch_spec spec = { .machine = "web" };
	struct record *r;
	json_t *j, *list;

	assert_int_equal(record_new(folder, &spec, &r), 0);
	record_forwards(r, &made);
	j = json_load_file(in_folder("launch.json"), 0, NULL);
	list = json_object_get(j, "forwards");
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "port")), 40001);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "guest_port")), 22);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "address")), "0.0.0.0");
	json_decref(j);
	record_forwards(r, NULL);
	record_line(r, "it is over");
	record_free(r);
	j = json_load_file(in_folder("launch.json"), 0, NULL);
	assert_null(json_object_get(j, "forwards"));
	json_decref(j);
}

static int read_on_bridge(const char *name, struct launch_spec *ret)
{
	struct fault f;
	json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "launch", "6f6ff1e0-0000-4000-8000-000000000001",
			      "machine", "web", "store", "/store", "epoch", 7, "network", "bridge", "bridge", name);
	char *text = json_dumps(j, 0);

	assert_int_equal(fileio_replace(in_folder("spec.json"), text, strlen(text), 0600), 0);
	free(text);
	json_decref(j);
	return spec_read(in_folder("spec.json"), ret, &f);
}

static void test_a_network_on_a_bridge_needs_its_name(void **state)
{
	static const char *const bad[] = { "", "..", "br 0", "br/0", "br0,fd=3", "sixteen-letters0", "br0,", "br0,..",
					   "1,2,3,4,5,6,7,8,9" };
	static struct launch_spec s;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(read_on_bridge(bad[i], &s), -EINVAL);
	assert_int_equal(read_on_bridge("fifteen.letters", &s), 0);
	assert_int_equal(s.network, NETWORK_BRIDGE);
	assert_string_equal(s.bridge, "fifteen.letters");
	assert_int_equal(read_on_bridge("fifteen.letters,br0", &s), 0);
	assert_string_equal(s.bridge, "fifteen.letters,br0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_machine_that_stood_is_taken_up_as_it_was, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_somebodys_is_taken_up_over_its_point_until_it_stands, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_over_and_left_its_disks_is_taken_up_again, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_cutover_that_runs_unproved_is_taken_up, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_does_not_stand_is_not_taken_up, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_disks_of_a_record_that_is_not_understood_are_let_alone, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_machine_that_stood_survives_a_process_that_refuses_its_spec, begin, finish),
		cmocka_unit_test_setup_teardown(test_in_a_log_that_is_full_what_is_older_makes_room, begin, finish),
		cmocka_unit_test_setup_teardown(test_disks_that_no_record_describes_are_not_made_anew, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_record_that_cannot_be_read_is_not_written_over, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_proof_that_anything_would_be_is_refused, begin, finish),
		cmocka_unit_test_setup_teardown(test_ports_are_led_only_where_the_network_can, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_ports_that_lead_to_it_are_on_record_as_long_as_it_runs, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_network_on_a_bridge_needs_its_name, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
