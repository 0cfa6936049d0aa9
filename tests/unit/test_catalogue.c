/* SPDX-License-Identifier: Apache-2.0 */
#include "catalogue.h"
#include "console.h"
#include "db_access.h"
#include "db_events.h"
#include "db_launches.h"
#include "db_machines.h"
#include "db_settings.h"
#include "db_work.h"
#include "schema.h"
#include "wallclock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64], path[96];

static struct catalogue *open_it(void)
{
	struct catalogue *c;

	assert_int_equal(catalogue_open(path, &c), 0);
	return c;
}

static void add_event(struct db *db, const char *who)
{
	struct fault f;

	fault_set(&f, 0, MSG_NOT_ROOT, NULL);
	db_event_add(db, &(struct event){ .who = who, .fault = &f });
}

static int64_t newest_event(struct catalogue *c)
{
	struct db *db = catalogue_read(c);
	int64_t id = db_event_newest(db);

	assert_int_equal(catalogue_read_end(c), 0);
	return id;
}

static void add_machine(struct db *db, const char *id, const char *name)
{
	struct machine_row m = { .state = "started", .enrolled_us = 1 };

	snprintf(m.id, sizeof(m.id), "%s", id);
	snprintf(m.name, sizeof(m.name), "%s", name);
	db_first_project(db, m.project_id);
	db_machine_add(db, &m);
}

static void test_a_new_file_has_an_account_a_user_and_a_project(void **state)
{
	struct catalogue *c = open_it();
	char first[ID_SIZE], again[ID_SIZE];
	struct db *db = catalogue_write(c);

	db_access_init(db);
	db_first_project(db, first);
	assert_int_equal(catalogue_commit(c), 0);
	assert_int_equal(strlen(first), 36);
	db = catalogue_write(c);
	db_access_init(db);
	db_first_project(db, again);
	assert_int_equal(catalogue_commit(c), 0);
	assert_string_equal(first, again);
	catalogue_close(c);
}

static void test_what_was_abandoned_is_not_there(void **state)
{
	struct catalogue *c = open_it();
	int64_t before = newest_event(c);

	add_event(catalogue_write(c), "x");
	catalogue_abandon(c);
	assert_int_equal(newest_event(c), before);
	catalogue_close(c);
}

static void test_an_error_sticks_until_the_end_and_nothing_is_kept(void **state)
{
	struct catalogue *c = open_it();
	int64_t before = newest_event(c);
	struct db *db = catalogue_write(c);

	db_access_init(db);
	add_event(db, "x");
	add_machine(db, "m1", "same");
	add_machine(db, "m2", "same");
	assert_int_equal(db_error(db), -EEXIST);
	add_event(db, "y");
	assert_int_equal(catalogue_commit(c), -EEXIST);
	assert_int_equal(newest_event(c), before);
	catalogue_close(c);
}

static void test_a_name_is_free_again_when_its_machine_is_removed(void **state)
{
	struct catalogue *c = open_it();
	struct machine_row m;
	struct db *db = catalogue_write(c);

	db_access_init(db);
	add_machine(db, "m1", "same");
	db_machine_remove(db, "m1");
	add_machine(db, "m2", "same");
	assert_int_equal(catalogue_commit(c), 0);
	db = catalogue_read(c);
	assert_true(db_machine_find(db, "same", &m));
	assert_string_equal(m.id, "m2");
	assert_false(db_machine_find(db, "m1", &m));
	assert_true(db_machine_by_id(db, "m1", &m));
	assert_true(m.removed);
	assert_int_equal(catalogue_read_end(c), 0);
	catalogue_close(c);
}

static void test_a_machines_setting_wins_over_its_projects(void **state)
{
	struct catalogue *c = open_it();
	struct db *db = catalogue_write(c);
	json_t *s;

	db_access_init(db);
	add_machine(db, "m1", "one");
	db_run(db, "INSERT INTO settings(configuration_id, name, value) SELECT configuration_id, 'epoch_ms', '700' FROM projects",
	       "");
	s = db_settings(db, "m1");
	assert_string_equal(json_string_value(json_object_get(s, "epoch_ms")), "700");
	json_decref(s);
	db_setting_put(db, "m1", "epoch_ms", "800");
	s = db_settings(db, "m1");
	assert_string_equal(json_string_value(json_object_get(s, "epoch_ms")), "800");
	json_decref(s);
	db_setting_put(db, "m1", "epoch_ms", NULL);
	s = db_settings(db, "m1");
	assert_string_equal(json_string_value(json_object_get(s, "epoch_ms")), "700");
	json_decref(s);
	assert_int_equal(catalogue_commit(c), 0);
	catalogue_close(c);
}

static void test_a_file_of_a_newer_version_is_left_alone(void **state)
{
	struct catalogue *c = open_it();
	sqlite3 *raw;

	catalogue_close(c);
	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, "PRAGMA user_version = 999", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
	assert_int_equal(catalogue_open(path, &c), -EPROTONOSUPPORT);
}

/* A file as the first version wrote it, with what it had. */
static void make_version_1(void)
{
	static const char rows[] =
		"BEGIN; INSERT INTO accounts VALUES('a', 'a', 1);"
		"INSERT INTO projects(id, account_id, name, type, created_us) VALUES('p', 'a', 'p', 'DR', 1);"
		"INSERT INTO machines(id, project_id, name, key_sha256, state, enrolled_us, last_seen_us) VALUES"
		"('m1', 'p', 'old', x'00', 'started', 100, 900), ('m2', 'p', 'quiet', x'00', 'started', 200, 900),"
		"('m3', 'p', 'never', x'00', 'started', 300, NULL);"
		"UPDATE machines SET facts = '{\"hardware\": {\"kernel\": \"6.1\"}}' WHERE id = 'm2';"
		"INSERT INTO events(time_us, recorded_us, code, severity, machine_id, who, args) VALUES"
		"(170, 170, 'AGENT_CONNECTED', 'info', 'm1', 'console', '{}'), (150, 160, 'AGENT_CONNECTED', 'info', 'm1', 'console', '{}');"
		"INSERT INTO jobs VALUES('j', 'p', 'VERIFY', 'COMPLETED', 'admin', NULL, 5, 6);"
		"INSERT INTO job_machines VALUES('m1', 'j'); COMMIT; PRAGMA user_version = 1;";
	char application[64];
	sqlite3 *raw;

	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	snprintf(application, sizeof(application), "PRAGMA application_id = %d", SCHEMA_APPLICATION_ID);
	assert_int_equal(sqlite3_exec(raw, application, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, schema_steps[0], NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, rows, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
}

static void test_a_file_of_the_first_version_is_brought_forward_with_all_it_has(void **state)
{
	struct launch_row l = { .id = "l", .project_id = "p", .machine_id = "m1", .server_id = "s", .job_id = "j",
				.machine_name = "old", .kind = "test", .at = "latest", .state = "asked", .created_us = 7 };
	json_t *empty = json_object(), *result = NULL;
	struct machine_row m;
	struct catalogue *c;
	struct launch_row *rows;
	struct job_row j;
	struct db *db;

	make_version_1();
	c = open_it();
	db = catalogue_write(c);
	assert_true(db_machine_find(db, "old", &m));
	assert_int_equal(m.connection_us, 150);
	assert_int_equal(m.first_byte_us, 0);
	assert_true(db_machine_find(db, "quiet", &m));
	assert_int_equal(m.connection_us, 200);
	result = db_machine_hardware(db, m.id);
	assert_int_equal(json_array_size(result), 1);
	assert_string_equal(json_string_value(json_object_get(json_object_get(json_array_get(result, 0), "hardware"), "kernel")),
			    "6.1");
	json_decref(result);
	result = NULL;
	assert_true(db_machine_find(db, "never", &m));
	assert_int_equal(m.connection_us, 0);
	assert_true(db_job_newest(db, "m1", "VERIFY", &j, &result));
	assert_string_equal(j.launch_id, "");
	assert_int_equal(j.ended_us, 6);
	db_launch_add(db, &l, empty);
	assert_int_equal(db_launch_list(db, "old", 10, &rows), 1);
	free(rows);
	assert_int_equal(catalogue_commit(c), 0);
	catalogue_close(c);
	c = open_it(); /* and it is not done twice */
	db = catalogue_read(c);
	assert_true(db_launch_find(db, "l", &l));
	assert_int_equal(l.created_us, 7);
	assert_int_equal(catalogue_read_end(c), 0);
	catalogue_close(c);
	json_decref(empty);
}

static void test_a_file_that_cannot_be_brought_forward_is_left_as_it_was(void **state)
{
	struct catalogue *c = NULL;
	sqlite3_stmt *s;
	sqlite3 *raw;

	make_version_1();
	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, "CREATE TABLE blueprints(x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
	assert_int_not_equal(catalogue_open(path, &c), 0);
	assert_null(c);
	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(raw, "SELECT connection_us FROM machines", -1, &s, NULL), SQLITE_ERROR);
	assert_int_equal(sqlite3_exec(raw, "DROP TABLE blueprints", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
	catalogue_close(open_it());
}

static void test_what_is_not_a_catalogue_is_refused(void **state)
{
	struct catalogue *c = NULL;
	sqlite3 *raw;
	FILE *f = fopen(path, "w");

	for (int i = 0; i < 1000; i++)
		fputs("this is not a database. ", f);
	fclose(f);
	assert_int_equal(catalogue_open(path, &c), -EBADMSG);
	unlink(path);
	assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
	assert_int_equal(sqlite3_exec(raw, "CREATE TABLE x(y); PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(raw);
	assert_int_equal(catalogue_open(path, &c), -EBADMSG);
	assert_null(c);
}

/* A child commits and says how far it has come; it is killed at some moment;
 * all that it said is there, and the file is whole. */
static void test_what_was_committed_survives_kill_9(void **state)
{
	unsigned int seed = getenv("GODWIT_SEED") ? (unsigned int)atoi(getenv("GODWIT_SEED")) : (unsigned int)getpid();

	print_message("GODWIT_SEED=%u\n", seed);
	for (int round = 0; round < 8; round++) {
		int ends[2], count = 1 + rand_r(&seed) % 40;
		int64_t said = 0, id;
		struct catalogue *c;
		pid_t child;

		assert_int_equal(pipe(ends), 0);
		child = fork();
		if (child == 0) {
			c = open_it();
			for (;;) {
				struct db *db = catalogue_write(c);

				add_event(db, "child");
				id = db_last_id(db);
				if (catalogue_commit(c) || write(ends[1], &id, sizeof(id)) != sizeof(id))
					_exit(1);
			}
		}
		close(ends[1]);
		while (count-- && read(ends[0], &id, sizeof(id)) == sizeof(id))
			said = id;
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		while (read(ends[0], &id, sizeof(id)) == sizeof(id))
			said = id;
		close(ends[0]);
		c = open_it();
		assert_true(newest_event(c) >= said);
		assert_true(said > 0);
		catalogue_close(c);
	}
}

struct hammer {
	struct catalogue *catalogue;
	unsigned int number;
};

static void *write_events(void *arg)
{
	struct hammer *h = arg;

	for (int i = 0; i < 50; i++) {
		add_event(catalogue_write(h->catalogue), "writer");
		assert_int_equal(catalogue_commit(h->catalogue), 0);
	}
	return NULL;
}

static void *read_events(void *arg)
{
	struct hammer *h = arg;
	int64_t last = 0;

	for (int i = 0; i < 200; i++) {
		int64_t id = newest_event(h->catalogue);

		assert_true(id >= last);
		last = id;
	}
	return NULL;
}

static void test_readers_and_writers_at_once(void **state)
{
	struct hammer h = { .catalogue = open_it() };
	pthread_t threads[6];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? read_events : write_events, &h), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(newest_event(h.catalogue), 150);
	catalogue_close(h.catalogue);
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/godwit-catalogue-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/catalogue.sqlite", dir);
	return 0;
}

static int64_t count_of(struct catalogue *c, const char *sql)
{
	sqlite3_stmt *s;
	struct db *db = catalogue_read(c);
	int64_t n = -1;

	s = db_query(db, sql, "");
	if (db_next(db, s)) {
		n = sqlite3_column_int64(s, 0);
		db_done(db, s);
	}
	assert_int_equal(catalogue_read_end(c), 0);
	return n;
}

static void test_an_agent_that_says_much_does_not_push_out_who_changed_what(void **state)
{
	struct catalogue *c = open_it();
	struct db *db = catalogue_write(c);

	for (int i = 0; i < 5; i++)
		add_event(db, "admin");
	for (int i = 0; i < 100; i++)
		add_event(db, i % 2 ? "agent:web1" : "server:store");
	db_event_drop_old(db, 10);
	assert_int_equal(catalogue_commit(c), 0);
	assert_int_equal(count_of(c, "SELECT count(*) FROM events WHERE who = 'admin'"), 5);
	assert_int_equal(count_of(c, "SELECT count(*) FROM events WHERE who GLOB '*:*'"), 10);
	db = catalogue_write(c);
	db_event_drop_old(db, 3);
	assert_int_equal(catalogue_commit(c), 0);
	assert_int_equal(count_of(c, "SELECT count(*) FROM events WHERE who = 'admin'"), 3);
	assert_int_equal(count_of(c, "SELECT count(*) FROM events"), 6);
	catalogue_close(c);
}

static void test_of_jobs_that_are_over_the_newest_stay_and_of_open_ones_all(void **state)
{
	struct catalogue *c = open_it();
	struct db *db = catalogue_write(c);
	char project[ID_SIZE], id[ID_SIZE];

	db_access_init(db);
	db_first_project(db, project);
	for (int i = 0; i < JOBS_KEPT + 20; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		db_job_add(db, id, project, "m1", "VERIFY", "admin", NULL);
		if (i)
			db_job_set(db, id, "COMPLETED", NULL, 1);
	}
	db_job_add(db, "other", project, "m2", "VERIFY", "admin", NULL);
	db_job_add(db, "last", project, "m1", "VERIFY", "admin", NULL);
	assert_int_equal(catalogue_commit(c), 0);
	assert_int_equal(count_of(c, "SELECT count(*) FROM jobs WHERE status = 'COMPLETED'"), JOBS_KEPT);
	assert_int_equal(count_of(c, "SELECT count(*) FROM jobs WHERE status = 'PENDING'"), 3);
	catalogue_close(c);
}

static void test_of_removed_machines_the_newest_stay(void **state)
{
	struct catalogue *c = open_it();
	struct db *db = catalogue_write(c);
	char id[ID_SIZE], job[ID_SIZE], project[ID_SIZE];

	db_access_init(db);
	db_first_project(db, project);
	for (int i = 0; i < 5; i++) {
		snprintf(id, sizeof(id), "m%d", i);
		add_machine(db, id, id);
		snprintf(job, sizeof(job), "j%d", i);
		db_job_add(db, job, project, id, "VERIFY", "admin", NULL);
		if (i == 4)
			continue;
		db_machine_remove(db, id);
		db_run(db, "UPDATE machines SET removed_us = ? WHERE id = ?", "it", (int64_t)i + 1, id);
		db_machine_set_told(db, id);
		if (i)
			db_machine_set_store_gone(db, id);
	}
	db_machine_drop_removed(db, 1);
	assert_int_equal(catalogue_commit(c), 0);
	/* m0's store is there, m3 is the newest that was removed, m4 was not. */
	assert_int_equal(count_of(c, "SELECT count(*) FROM machines"), 3);
	assert_int_equal(count_of(c, "SELECT count(*) FROM machines WHERE id IN ('m0', 'm3', 'm4')"), 3);
	assert_int_equal(count_of(c, "SELECT count(*) FROM jobs"), 3);
	catalogue_close(c);
}

static void *open_and_close(void *arg)
{
	struct catalogue *c;
	int err = catalogue_open(path, &c);

	if (!err)
		catalogue_close(c);
	return (void *)(intptr_t)err;
}

/* Each reads the old version, and waits for the others' steps. */
static void test_a_file_that_several_bring_forward_at_once_is_brought_forward_once(void **state)
{
	pthread_t threads[8];
	void *err;

	for (int round = 0; round < 20; round++) {
		make_version_1();
		for (size_t i = 0; i < ARRAY_LEN(threads); i++)
			assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
		for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
			assert_int_equal(pthread_join(threads[i], &err), 0);
			assert_int_equal((intptr_t)err, 0);
		}
		assert_int_equal(unlink(path), 0);
	}
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_new_file_has_an_account_a_user_and_a_project),
		TEST(test_what_was_abandoned_is_not_there),
		TEST(test_an_error_sticks_until_the_end_and_nothing_is_kept),
		TEST(test_a_name_is_free_again_when_its_machine_is_removed),
		TEST(test_a_machines_setting_wins_over_its_projects),
		TEST(test_a_file_of_a_newer_version_is_left_alone),
		TEST(test_a_file_of_the_first_version_is_brought_forward_with_all_it_has),
		TEST(test_a_file_that_cannot_be_brought_forward_is_left_as_it_was),
		TEST(test_what_is_not_a_catalogue_is_refused),
		TEST(test_what_was_committed_survives_kill_9),
		TEST(test_readers_and_writers_at_once),
		TEST(test_an_agent_that_says_much_does_not_push_out_who_changed_what),
		TEST(test_of_jobs_that_are_over_the_newest_stay_and_of_open_ones_all),
		TEST(test_of_removed_machines_the_newest_stay),
		TEST(test_a_file_that_several_bring_forward_at_once_is_brought_forward_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
