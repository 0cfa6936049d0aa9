/* SPDX-License-Identifier: Apache-2.0 */
/* Drills, blueprints, and what a machine keeps of its launches: its dates, what it needs. */
#include "db_launches.h"
#include "db_work.h"
#include "launches.h"
#include "launches_fixture.h"
#include "ticks.h"
#include "wallclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* The blueprint that a launch of this kind is started with; the caller's. */
static json_t *launched_with(const char *kind)
{
	char launch[ID_SIZE], job[ID_SIZE];
	struct fake f;
	json_t *c, *b;

	fake_start(&f, all_well);
	ask(kind, launch, job);
	c = command_of(&f, "launch");
	b = json_incref(json_object_get(c, "blueprint"));
	json_decref(c);
	fake_stop(&f);
	return b;
}

static void test_a_blueprint_has_defaults_and_its_changes_are_events(void **state)
{
	json_t *table = ADMIN(200, "GET", "/blueprint", NULL), *b = ADMIN(200, "GET", "/machines/m/blueprint", NULL),
	       *e, *m;
	size_t i;

	json_array_foreach(json_object_get(table, "members"), i, m)
		assert_true(json_equal(json_object_get(m, "default"), json_object_get(b, text_in(m, "name"))));
	assert_int_equal(i, json_object_size(b));
	json_decref(b);
	json_decref(table);
	b = ADMIN(200, "PATCH", "/machines/m/blueprint",
		  json_pack("{s:i, s:s, s:s, s:s}", "cpus", 3, "memory_mib", "2048", "proof", "text", "proof_text",
			    "準備完了"));
	assert_int_equal(number_in(b, "cpus"), 3);
	assert_int_equal(number_in(b, "memory_mib"), 2048);
	json_decref(b);
	e = ADMIN(200, "GET", "/events?limit=4", NULL);
	m = json_array_get(json_object_get(e, "events"), 0);
	assert_string_equal(text_in(m, "code"), "BLUEPRINT_CHANGED");
	assert_string_equal(text_in(m, "who"), "admin");
	m = json_array_get(json_object_get(m, "changes"), 0);
	assert_string_equal(text_in(m, "name"), "cpus");
	assert_string_equal(text_in(m, "old"), "2");
	assert_string_equal(text_in(m, "new"), "3");
	json_decref(e);
	/* All or nothing. */
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:i, s:s}", "cpus", 4, "network", "wifi")),
		"SETTING_NOT_A_CHOICE");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:n}", "proof_text")), "BLUEPRINT_NO_TEXT");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "proof_text", "a\nb")), "VALUE_BAD");
	refused(ADMIN(422, "PATCH", "/machines/m/blueprint", json_array()), "API_NOT_UNDERSTOOD");
	b = launched_with("test");
	assert_int_equal(number_in(b, "cpus"), 3);
	assert_string_equal(text_in(b, "proof_text"), "準備完了");
	assert_string_equal(text_in(b, "network"), "isolated");
	json_decref(b);
	post_status(json_array());
	b = ADMIN(200, "PATCH", "/machines/m/blueprint",
		  json_pack("{s:n, s:n, s:n, s:n}", "cpus", "memory_mib", "proof", "proof_text"));
	assert_int_equal(number_in(b, "cpus"), 2);
	json_decref(b);
}

static void test_a_network_on_a_bridge_names_one_and_a_drill_is_not_on_it(void **state)
{
	static const char *const bad[] = { "br 0", "br/0", "..", "sixteen-letters0", "br0,x/y", "br0,", "br0, br1" };
	json_t *b;

	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "network", "bridge")),
		"BLUEPRINT_NO_BRIDGE");
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:{s:s}}", "blueprint", "network", "bridge")),
		"BLUEPRINT_NO_BRIDGE");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(ADMIN(400, "PATCH", "/machines/m/blueprint",
			      json_pack("{s:s, s:s}", "network", "bridge", "bridge", bad[i])),
			"VALUE_BAD");
	b = ADMIN(200, "PATCH", "/machines/m/blueprint",
		  json_pack("{s:s, s:s}", "network", "bridge", "bridge", "br-lan_0.15ab,br1"));
	assert_string_equal(text_in(b, "bridge"), "br-lan_0.15ab,br1");
	json_decref(b);
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:n}", "bridge")), "BLUEPRINT_NO_BRIDGE");
	b = launched_with("cutover");
	assert_string_equal(text_in(b, "network"), "bridge");
	assert_string_equal(text_in(b, "bridge"), "br-lan_0.15ab,br1");
	json_decref(b);
	b = launched_with("drill");
	assert_string_equal(text_in(b, "network"), "isolated");
	json_decref(b);
	post_status(json_array());
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:n, s:n}", "network", "bridge")));
}

static void test_ports_are_forwarded_where_they_can_be_and_never_to_a_drill(void **state)
{
	static const struct {
		const char *text, *code;
	} bad[] = { { "22", "FORWARD_NO_GUEST_PORT" }, { "host:2222:22", "FORWARD_NOT_ADDRESS" },
		    { "80:80", "FORWARD_LOW_PORT" } };
	json_t *b;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "forward", bad[i].text)),
			bad[i].code);
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint", json_pack("{s:i}", "forward", 22)), "VALUE_BAD");
	refused(ADMIN(400, "PATCH", "/machines/m/blueprint",
		      json_pack("{s:s, s:s}", "network", "none", "forward", "2222:22")),
		"BLUEPRINT_NO_FORWARD");
	b = ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "forward", "0:22,192.0.2.1:8080:80"));
	assert_string_equal(text_in(b, "forward"), "0:22,192.0.2.1:8080:80");
	json_decref(b);
	refused(ADMIN(400, "POST", "/machines/m/launches", json_pack("{s:{s:s}}", "blueprint", "network", "none")),
		"BLUEPRINT_NO_FORWARD");
	b = launched_with("test");
	assert_string_equal(text_in(b, "forward"), "0:22,192.0.2.1:8080:80");
	json_decref(b);
	b = launched_with("drill");
	assert_string_equal(text_in(b, "forward"), "");
	json_decref(b);
	post_status(json_array());
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:n}", "forward")));
}

static json_t *newest_job(void)
{
	json_t *answer = ADMIN(200, "GET", "/jobs?limit=1", NULL);
	json_t *job = json_incref(json_array_get(json_object_get(answer, "jobs"), 0));

	json_decref(answer);
	return job;
}

static size_t count_where(const json_t *list, const char *name, const char *value)
{
	size_t i, n = 0;
	json_t *v;

	json_array_foreach(list, i, v)
		n += !strcmp(text_in(v, name), value);
	return n;
}

static void test_what_many_drills_leave_does_not_pile_up(void **state)
{
	json_t *answer, *life, *m, *oldest = NULL;
	struct fake f;
	size_t n;

	fake_start(&f, all_well);
	for (int i = 0; i < JOBS_KEPT + 5; i++) {
		char launch[ID_SIZE], job[ID_SIZE];
		json_t *record;

		ask("drill", launch, job);
		if (!oldest)
			oldest = newest_launch();
		record = new_record(launch, "drill");
		if (!i)
			boot(record);
		move(record, i ? "failed" : "ended", "gone");
		json_decref(record);
	}
	answer = ADMIN(200, "GET", "/launches?limit=1000", NULL);
	n = count_where(json_object_get(answer, "launches"), "kind", "drill");
	json_decref(answer);
	assert_in_range(n, LAUNCH_DRILLS_KEPT, LAUNCH_DRILLS_KEPT + 2);
	refused(call(404, "GET", text_in(oldest, "id"), ""), "LAUNCH_UNKNOWN");
	answer = ADMIN(200, "GET", "/jobs?limit=1000&machine=m", NULL);
	n = count_where(json_object_get(answer, "jobs"), "type", "DRILL");
	json_decref(answer);
	assert_in_range(n, JOBS_KEPT, JOBS_KEPT + 2);
	/* When one succeeded last is known all the same. */
	m = get("machines", "m");
	life = json_object_get(m, "life_cycle");
	assert_string_equal(text_in(life, "last_drill_job"), text_in(oldest, "job"));
	json_decref(m);
	json_decref(oldest);
	fake_stop(&f);
}

static void set_drills(int seconds)
{
	json_decref(ADMIN(200, "PATCH", "/machines/m/settings", json_pack("{s:i}", "drill_every_seconds", seconds)));
}

static size_t count_commands(struct fake *f, const char *verb)
{
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = count_where(f->commands, "verb", verb);
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* Its server never says that it is over. */
static void test_a_drill_that_does_not_end_is_ended(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record, *c;
	struct fake f;

	fake_start(&f, all_well);
	ask("drill", launch, job);
	record = new_record(launch, "drill");
	boot(record);
	db_run(catalogue_write(con.console.catalogue),
	       "UPDATE launches SET created_us = created_us - 7199000000 WHERE id = ?", "t", launch);
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	assert_int_equal(count_commands(&f, "terminate"), 0); /* its proof has time, too */
	db_run(catalogue_write(con.console.catalogue),
	       "UPDATE launches SET created_us = created_us - 3600000000 WHERE id = ?", "t", launch);
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	move(record, "ended", "the machine is gone");
	ticks_launches(&con.console);
	json_decref(record);
	fake_stop(&f);
}

static void test_drills_are_started_by_the_console_one_at_a_time(void **state)
{
	char launch[ID_SIZE];
	json_t *job, *again, *record, *c;
	struct caller other;
	struct fake f;

	fake_start(&f, all_well);
	post_status(json_array());
	ticks_launches(&con.console);
	job = newest_job();
	assert_string_not_equal(text_in(job, "type"), "DRILL");
	json_decref(job);
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "network", "user")));
	set_drills(3600);
	/* Without a point there is nothing to show. */
	has_points = false;
	post_status(json_array());
	ticks_launches(&con.console);
	job = newest_job();
	assert_string_not_equal(text_in(job, "type"), "DRILL");
	json_decref(job);
	has_points = true;
	fixture_enrol(&con, &other, "agent", "m2");
	strcpy(second, other.id);
	json_decref(ADMIN(200, "PATCH", "/machines/m2/settings", json_pack("{s:i}", "drill_every_seconds", 3600)));
	post_status(json_array());
	ticks_launches(&con.console);
	ticks_launches(&con.console);
	c = ADMIN(200, "GET", "/launches?limit=2", NULL);
	assert_string_equal(text_in(json_array_get(json_object_get(c, "launches"), 0), "kind"), "drill");
	assert_string_not_equal(text_in(json_array_get(json_object_get(c, "launches"), 1), "kind"), "drill");
	json_decref(c);
	json_decref(ADMIN(204, "DELETE", "/machines/m2?force=1", NULL));
	*second = '\0';
	caller_done(&other);
	post_status(json_array());
	ticks_launches(&con.console);
	c = command_of(&f, "launch");
	assert_string_equal(text_in(c, "kind"), "drill");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "network"), "isolated");
	json_decref(c);
	job = newest_job();
	assert_string_equal(text_in(job, "type"), "DRILL");
	assert_string_equal(text_in(job, "initiated_by"), "console");
	snprintf(launch, sizeof(launch), "%s", text_in(job, "launch"));
	record = new_record(launch, "drill");
	boot(record);
	expect_job(text_in(job, "id"), "DRILL", "STARTED", 1);
	refused(call(409, "POST", launch, "/keep"), "LAUNCH_IS_DRILL");
	move(record, "ended", "the machine is gone");
	expect_job(text_in(job, "id"), "DRILL", "COMPLETED", 2);
	assert_true(has_event("DRILL_SUCCEEDED", launch));
	assert_false(has_event("DRILL_FAILED", launch));
	/* Not again before its time. */
	ticks_launches(&con.console);
	again = newest_job();
	assert_string_equal(text_in(again, "id"), text_in(job, "id"));
	json_decref(again);
	db_run(catalogue_write(con.console.catalogue),
	       "UPDATE jobs SET created_us = created_us - 3600000000 WHERE id = ?", "t", text_in(job, "id"));
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	ticks_launches(&con.console);
	again = newest_job();
	assert_string_not_equal(text_in(again, "id"), text_in(job, "id"));
	json_decref(record);
	record = new_record(text_in(again, "launch"), "drill");
	fault_of(record, "LAUNCH_NOT_BOOTABLE");
	move(record, "failed", "none of the disks can start a machine");
	expect_job(text_in(again, "id"), "DRILL", "FAILED", 1);
	assert_true(has_event("DRILL_FAILED", text_in(again, "launch")));
	set_drills(0);
	json_decref(again);
	json_decref(job);
	json_decref(record);
	fake_stop(&f);
}

static void launch_once(const char *kind)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *record;
	struct fake f;

	fake_start(&f, all_well);
	ask(kind, launch, job);
	record = new_record(launch, kind);
	boot(record);
	move(record, "ended", "the machine is gone");
	json_decref(record);
	fake_stop(&f);
}

static void test_the_life_of_a_machine_has_its_dates(void **state)
{
	json_t *m, *life;
	struct caller a;

	launch_once("test");
	fixture_enrol(&con, &a, "agent", "young");
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "agent_installation"));
	assert_true(is_null_in(life, "connection_established"));
	assert_true(is_null_in(life, "first_byte"));
	assert_true(is_null_in(life, "last_test_launch"));
	json_decref(m);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status", json_pack("{s:i}", "sent_bytes", 0)));
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "connection_established"));
	assert_true(is_null_in(life, "first_byte"));
	json_decref(m);
	json_decref(caller_call(&con, &a, 204, "POST", "/link/status",
				json_pack("{s:i, s:{s:i, s:s}}", "sent_bytes", 10, "newest_point", "epoch", 1, "time",
					  "2026-11-22T09:41:07Z")));
	m = get("machines", "young");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "first_byte"));
	assert_false(is_null_in(life, "first_point"));
	json_decref(m);
	m = get("machines", "m");
	life = json_object_get(m, "life_cycle");
	assert_false(is_null_in(life, "last_test_launch"));
	assert_false(is_null_in(life, "last_test_launch_job"));
	assert_true(is_null_in(life, "last_cutover"));
	assert_false(is_null_in(life, "last_drill"));
	json_decref(m);
	caller_done(&a);
}

static bool was_told(struct fake *f, const char *verb, const char *launch)
{
	bool found = false;
	size_t i;
	json_t *c;

	pthread_mutex_lock(&f->lock);
	json_array_foreach(f->commands, i, c)
		found |= !strcmp(text_in(c, "verb"), verb) && !strcmp(text_in(c, "launch"), launch);
	pthread_mutex_unlock(&f->lock);
	return found;
}

static void test_a_machine_is_not_removed_under_its_launches(void **state)
{
	char launch[ID_SIZE], kept[ID_SIZE], job[ID_SIZE];
	json_t *record, *other, *c;
	struct fake f;

	fake_start(&f, all_well);
	ask("test", launch, job);
	ask("cutover", kept, job);
	record = new_record(launch, "test");
	other = new_record(kept, "cutover");
	json_object_set_new(other, "state", json_string("standing"));
	json_object_set_new(record, "state", json_string("booting"));
	post_status(json_pack("[O, O]", record, other));
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_object()));
	refused(ADMIN(409, "DELETE", "/machines/m", NULL), "MACHINE_HAS_LAUNCHES");
	/* Nor does it need the machine when it is off with its server's. */
	json_object_set_new(other, "state", json_string("stopped"));
	post_status(json_pack("[O, O]", record, other));
	json_decref(ADMIN(204, "DELETE", "/machines/m?force=1", NULL));
	c = command_of(&f, "terminate");
	assert_string_equal(text_in(c, "launch"), launch);
	json_decref(c);
	/* What stands on its own outlives it. */
	expect_state(kept, "stopped");
	c = call(200, "GET", kept, "");
	assert_true(is_null_in(c, "ended"));
	json_decref(c);
	assert_false(was_told(&f, "terminate", kept));
	json_object_set_new(other, "state", json_string("standing"));
	post_status(json_pack("[O, O]", record, other));
	c = ADMIN(200, "GET", "/launches?machine=m&limit=1000", NULL);
	assert_true(json_array_size(json_object_get(c, "launches")) >= 2);
	json_decref(c);
	json_decref(ADMIN(204, "DELETE", "/machines/young?force=1", NULL));
	refused(ADMIN(409, "DELETE", "/servers/s", NULL), "SERVER_HAS_LAUNCHES");
	json_decref(call(202, "DELETE", kept, ""));
	json_object_set_new(record, "state", json_string("ended"));
	json_object_set_new(other, "state", json_string("ended"));
	post_status(json_pack("[O, O]", record, other));
	expect_state(kept, "ended");
	json_decref(record);
	json_decref(other);
	/* Those of earlier tests that were taken and never shown. */
	db_run(catalogue_write(con.console.catalogue), "UPDATE launches SET created_us = created_us - 61000000", "");
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
	ticks_launches(&con.console);
	fake_stop(&f);
	json_decref(ADMIN(204, "DELETE", "/servers/s", NULL));
	json_decref(call(200, "GET", kept, ""));
	refused(call(409, "GET", kept, "/console-log"), "NO_SERVER");
	ticks_launches(&con.console);
}

/* What the agent says of its hardware, @drivers in it, and what the console makes of it. */
static json_t *machine_says_hardware(const char *drivers)
{
	char text[512];
	json_t *hardware;

	snprintf(text, sizeof(text),
		 "{\"kernel\": \"6.1.0\", \"drivers\": %s, \"names\": [{\"file\": \"/etc/fstab\", \"device\": \"/dev/sda1\", "
		 "\"uuid\": null, \"disk\": 0}], \"network\": {\"interface\": \"ens3\", \"mac\": \"52:54:00:00:00:01\", \"bound\": "
		 "[{\"file\": \"/etc/n\", \"by\": \"mac\"}, {\"file\": \"/etc/n\", \"by\": \"name\"}]}}",
		 drivers);
	hardware = json_loads(text, 0, NULL);
	assert_non_null(hardware);
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_pack("{s:o}", "hardware", hardware)));
	return ADMIN(200, "GET", "/machines/m", NULL);
}

static void expect_needs(json_t *machine, const char *codes)
{
	char text[256] = "";
	json_t *need;
	size_t i;

	json_array_foreach(json_object_get(machine, "launch_needs"), i, need) {
		assert_non_null(strstr(text_in(need, "text"), text_in(json_object_get(need, "args"), "file") ?: "6.1.0"));
		strcat(strcat(text, i ? " " : ""), text_in(need, "code"));
	}
	assert_string_equal(text, codes);
	json_decref(machine);
}

static void test_what_a_machine_is_bound_to_is_kept_shown_and_told_to_its_launches(void **state)
{
	char launch[ID_SIZE], job[ID_SIZE];
	json_t *c, *hardware, *history;
	struct fake f;

	expect_needs(ADMIN(200, "GET", "/machines/m", NULL), "");
	expect_needs(machine_says_hardware("{\"virtio_pci\": \"boot\", \"virtio_blk\": \"boot\"}"), "NEEDS_NAME NEEDS_NETWORK");
	expect_needs(machine_says_hardware("{\"ahci\": \"boot\", \"sd_mod\": \"boot\"}"), "NEEDS_OTHER_BUS NEEDS_NETWORK");
	/* The kernel is that which runs now, not that of the enrolment. */
	c = ADMIN(200, "GET", "/machines/m", NULL);
	assert_string_equal(text_in(json_object_get(c, "facts"), "kernel"), "6.1.0");
	json_decref(c);
	/* What is not understood changes nothing. */
	expect_needs(machine_says_hardware("{\"ahci\": \"perhaps\"}"), "NEEDS_OTHER_BUS NEEDS_NETWORK");
	json_decref(caller_call(&con, &agent, 204, "POST", "/link/status", json_pack("{s:s}", "hardware", "none")));
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint", json_pack("{s:s}", "disk_bus", "nvme")));
	expect_needs(ADMIN(200, "GET", "/machines/m", NULL), "NEEDS_INITRAMFS NEEDS_NAME NEEDS_NETWORK");
	json_decref(ADMIN(200, "PATCH", "/machines/m/blueprint",
			  json_pack("{s:n, s:s, s:s}", "disk_bus", "convert", "never", "new_identity", "yes")));
	fake_start(&f, all_well);
	ask("test", launch, job);
	c = command_of(&f, "launch");
	hardware = json_object_get(c, "hardware");
	assert_string_equal(text_in(hardware, "kernel"), "6.1.0");
	assert_string_equal(text_in(json_object_get(hardware, "drivers"), "ahci"), "boot");
	/* And what it was before, for older points: each change once, the newest first. */
	history = json_object_get(c, "hardware_history");
	assert_int_equal(json_array_size(history), 2);
	assert_true(json_equal(json_object_get(json_array_get(history, 0), "hardware"), hardware));
	hardware = json_object_get(json_array_get(history, 1), "hardware");
	assert_string_equal(text_in(json_object_get(hardware, "drivers"), "virtio_blk"), "boot");
	assert_true(strcmp(text_in(json_array_get(history, 0), "since"), text_in(json_array_get(history, 1), "since")) > 0);
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "disk_bus"), "auto");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "convert"), "never");
	assert_string_equal(text_in(json_object_get(c, "blueprint"), "new_identity"), "yes");
	json_decref(c);
	fake_stop(&f);
}

static void test_of_what_a_machine_was_bound_to_the_newest_changes_are_kept(void **state)
{
	struct db *db = catalogue_write(con.console.catalogue);
	json_t *history, *newest;

	for (int i = 1; i <= MACHINE_HARDWARE_KEPT + 10; i++) {
		newest = json_pack("{s:i}", "kernel", i);
		db_machine_add_hardware(db, agent.id, 4102444800000000LL + i, newest); /* later than those of other tests */
		json_decref(newest);
	}
	history = db_machine_hardware(db, agent.id);
	assert_int_equal(json_array_size(history), MACHINE_HARDWARE_KEPT);
	newest = json_object_get(json_array_get(history, 0), "hardware");
	assert_int_equal(number_in(newest, "kernel"), MACHINE_HARDWARE_KEPT + 10);
	json_decref(history);
	assert_int_equal(catalogue_commit(con.console.catalogue), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_blueprint_has_defaults_and_its_changes_are_events),
		cmocka_unit_test(test_drills_are_started_by_the_console_one_at_a_time),
		cmocka_unit_test(test_a_drill_that_does_not_end_is_ended),
		cmocka_unit_test(test_the_life_of_a_machine_has_its_dates),
		cmocka_unit_test(test_what_many_drills_leave_does_not_pile_up),
		cmocka_unit_test(test_what_a_machine_is_bound_to_is_kept_shown_and_told_to_its_launches),
		cmocka_unit_test(test_of_what_a_machine_was_bound_to_the_newest_changes_are_kept),
		cmocka_unit_test(test_a_network_on_a_bridge_names_one_and_a_drill_is_not_on_it),
		cmocka_unit_test(test_ports_are_forwarded_where_they_can_be_and_never_to_a_drill),
		cmocka_unit_test(test_a_machine_is_not_removed_under_its_launches),
	};

	return cmocka_run_group_tests(tests, launches_setup, launches_teardown);
}
