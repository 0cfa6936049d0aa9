/* SPDX-License-Identifier: Apache-2.0 */
/* When work on stores is done: the workers and the clock are the test's. */
#include "exports.h"
#include "fileio.h"
#include "launches.h"
#include "server.h"
#include "stores.h"
#include "wallclock.h"
#include "work.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define MINUTE_US (60 * USEC_PER_SEC)

enum { SUMMARY, UPKEEP, SCRUB, REMOVAL, KINDS };

static struct server server;
static uint64_t now_us;
static struct fault reported[16];
static unsigned int reports;
static struct worker {
	struct worker_options options;
	struct work_request request;
	bool runs, asked_to_stop;
	unsigned int starts;
} workers[KINDS];

uint64_t __wrap_monotonic_now_us(void);

uint64_t __wrap_monotonic_now_us(void)
{
	return now_us;
}

/* --- the rest of the server -------------------------------------------------------------- */

#define WORK(name)                                                                       \
	int work_##name(const void *request, size_t size, const char *dir, int out_fd)   \
	{                                                                                \
		return -EIO;                                                             \
	}
WORK(summary)
WORK(upkeep)
WORK(scrub)
WORK(remove)

int worker_start(struct loop *loop, const struct worker_options *o, struct worker **ret)
{
	struct worker *w = &workers[o->work == work_summary ? SUMMARY : o->work == work_upkeep ? UPKEEP :
				    o->work == work_scrub   ? SCRUB : REMOVAL];

	assert_false(w->runs);
	w->options = *o;
	memcpy(&w->request, o->argument, sizeof(w->request));
	w->runs = true;
	w->asked_to_stop = false;
	w->starts++;
	*ret = w;
	return 0;
}

void worker_stop(struct worker *w)
{
	w->asked_to_stop = true;
}

void worker_kill(struct worker *w)
{
}

/* What a test ends a worker with is its result, or its fault. */
int work_result(const struct uuid *machine, int err, const char *text, size_t len, json_t **ret, struct fault *ret_fault)
{
	if (err)
		return fault_set(ret_fault, err, MSG_STORE_UNREADABLE, "machine", "m", "reason", strerror(-err), NULL);
	*ret = json_loadb(text, len, 0, NULL);
	return 0;
}

void server_report(struct server *s, const struct uuid *machine, const struct fault *fault)
{
	assert_true(reports < ARRAY_LEN(reported));
	reported[reports++] = *fault;
}

const char *server_machine_name(const struct server *s, const struct uuid *machine, char *buf)
{
	return "m";
}

bool listener_is_inside(const struct listener *l, const struct uuid *machine)
{
	return false;
}

size_t exports_of(const struct exports *x, const struct uuid *machine)
{
	return 0;
}

void exports_stop_machine(struct exports *x, const struct uuid *machine)
{
}

size_t launches_of(const struct launches *l, const struct uuid *machine)
{
	return 0;
}

size_t launches_points(const struct launches *l, const struct uuid *machine, uint64_t *ret_epochs, size_t max)
{
	return 0;
}

void launches_stop_machine(struct launches *l, const struct uuid *machine)
{
}

/* --- two machines ------------------------------------------------------------------------------ */

static struct uuid ids[2];

static int begin(void **state)
{
	char path[SETTINGS_PATH_MAX], id[UUID_TEXT_LEN + 1];

	server = (struct server){ 0 };
	memset(workers, 0, sizeof(workers));
	reports = 0;
	now_us = 1000 * USEC_PER_SEC;
	strcpy(server.settings.state, "/tmp/godwit-stores.XXXXXX");
	if (!mkdtemp(server.settings.state) || loop_new(&server.loop))
		return -1;
	snprintf(server.store_root, sizeof(server.store_root), "%.4000s/store", server.settings.state);
	for (int i = 0; i < 2; i++) {
		ids[i] = uuid_random();
		snprintf(path, sizeof(path), "%.4000s/%s", server.store_root, uuid_format(&ids[i], id));
		if (fileio_mkdirs(path, 0700))
			return -1;
	}
	return stores_new(&server, &server.stores);
}

static int finish(void **state)
{
	stores_free(server.stores);
	loop_free(server.loop);
	return fileio_remove_tree(server.settings.state);
}

static void pass(uint64_t us)
{
	now_us += us;
	stores_schedule(server.stores);
}

static void end(int kind, int err, const char *result)
{
	struct worker *w = &workers[kind];

	assert_true(w->runs);
	w->runs = false;
	w->options.done(w->options.context, err, result, result ? strlen(result) : 0);
}

/* Other work is done at once, as often as it is started. */
static void end_all_but(int kind)
{
	bool again = true;

	while (again) {
		again = false;
		for (int k = 0; k < KINDS; k++) {
			if (k != kind && workers[k].runs) {
				end(k, 0, "{}");
				again = true;
			}
		}
	}
}

static bool works_on(int kind, int machine)
{
	return workers[kind].runs && uuid_equal(&workers[kind].request.machine, &ids[machine]);
}

static unsigned int reports_of(enum message_code code)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < reports; i++)
		n += reported[i].code == code;
	return n;
}

/* Until the weekly scrub of some machine runs; which. */
static int begin_weekly(void)
{
	pass(STORES_SCRUB_EVERY_S * USEC_PER_SEC + 1);
	assert_true(workers[SCRUB].runs);
	assert_int_equal(workers[SCRUB].request.io_bytes_per_second, STORES_SCRUB_BYTES_PER_SECOND);
	return works_on(SCRUB, 1);
}

/* --- scrubs -------------------------------------------------------------------------------------- */

static void test_a_scrub_asked_for_while_the_weekly_one_runs_takes_its_place(void **state)
{
	int m = begin_weekly();

	assert_int_equal(stores_scrub(server.stores, &ids[m]), 0);
	assert_true(workers[SCRUB].asked_to_stop);
	end(SCRUB, 0, "{\"stopped\": true}");
	assert_int_equal(reports, 0);
	assert_true(works_on(SCRUB, m));
	assert_int_equal(workers[SCRUB].request.io_bytes_per_second, 0);
	end(SCRUB, 0, "{\"bytes\": 1, \"damaged\": 0}");
	assert_int_equal(reports_of(MSG_SCRUB_DONE), 1);
}

static void test_a_scrub_asked_for_as_the_weekly_one_ends_is_done_nevertheless(void **state)
{
	int m = begin_weekly();

	assert_int_equal(stores_scrub(server.stores, &ids[m]), 0);
	end(SCRUB, 0, "{\"bytes\": 1, \"damaged\": 0}");
	assert_true(works_on(SCRUB, m));
	assert_int_equal(workers[SCRUB].request.io_bytes_per_second, 0);
}

static void test_a_scrub_asked_for_does_not_wait_for_another_machines_weekly_one(void **state)
{
	int m = begin_weekly();

	assert_int_equal(stores_scrub(server.stores, &ids[!m]), 0);
	assert_true(workers[SCRUB].asked_to_stop);
	end(SCRUB, 0, "{\"stopped\": true}");
	assert_true(works_on(SCRUB, !m));
	assert_int_equal(stores_scrub(server.stores, &ids[!m]), 0);
	assert_false(workers[SCRUB].asked_to_stop);
	end(SCRUB, 0, "{\"bytes\": 1, \"damaged\": 0}");
	assert_int_equal(reports_of(MSG_SCRUB_DONE), 1);
}

static void test_a_scrub_that_fails_is_said_once_and_tried_less_and_less_often(void **state)
{
	int m = begin_weekly();
	unsigned int starts;

	end(SCRUB, -EBADMSG, NULL);
	if (workers[SCRUB].runs) /* the other machine's */
		end(SCRUB, 0, "{\"bytes\": 1, \"damaged\": 0}");
	assert_int_equal(reports_of(MSG_SCRUB_FAILED), 1);
	for (int i = 0; i < 3; i++) {
		pass((MINUTE_US << i) - 1);
		assert_false(works_on(SCRUB, m));
		pass(1);
		assert_true(works_on(SCRUB, m));
		end(SCRUB, -ECHILD, NULL);
	}
	assert_int_equal(reports_of(MSG_SCRUB_FAILED), 1);
	/* who asks is told, each time */
	starts = workers[SCRUB].starts;
	assert_int_equal(stores_scrub(server.stores, &ids[m]), 0);
	assert_int_equal(workers[SCRUB].starts, starts + 1);
	end(SCRUB, -EIO, NULL);
	assert_int_equal(reports_of(MSG_SCRUB_FAILED), 2);
}

/* --- upkeep --------------------------------------------------------------------------------------- */

static void test_upkeep_that_fails_is_said_once_and_tried_less_and_less_often(void **state)
{
	const struct session_figures much = { .received_bytes = STORES_UPKEEP_AFTER_BYTES };
	unsigned int summaries;
	int m;

	end_all_but(UPKEEP);
	pass(STORES_UPKEEP_EVERY_US);
	assert_true(workers[UPKEEP].runs);
	end_all_but(UPKEEP);
	m = works_on(UPKEEP, 1);
	summaries = workers[SUMMARY].starts;
	end(UPKEEP, -EIO, NULL);
	assert_true(workers[SUMMARY].starts > summaries); /* what it freed is seen */
	end_all_but(KINDS);
	pass(MINUTE_US);
	for (int i = 1; i < 4; i++) {
		end_all_but(UPKEEP);
		while (workers[UPKEEP].runs && !works_on(UPKEEP, m))
			end(UPKEEP, 0, "{}");
		assert_true(works_on(UPKEEP, m));
		end(UPKEEP, -EIO, NULL);
		stores_progress(server.stores, &ids[m], &much); /* nor because much has come */
		pass((MINUTE_US << i) - 1);
		while (workers[UPKEEP].runs && !works_on(UPKEEP, m))
			end(UPKEEP, 0, "{}");
		assert_false(works_on(UPKEEP, m));
		pass(1);
	}
	assert_int_equal(reports_of(MSG_UPKEEP_FAILED), 1);
}

static void test_a_round_that_is_not_done_makes_way_for_the_other_machine(void **state)
{
	int m;

	pass(STORES_UPKEEP_EVERY_US);
	end_all_but(UPKEEP);
	m = works_on(UPKEEP, 1);
	now_us += WORK_UPKEEP_SLICE_US;
	end(UPKEEP, 0, "{\"more\": true}");
	assert_true(works_on(UPKEEP, !m));
	end(UPKEEP, 0, "{}");
	assert_true(works_on(UPKEEP, m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_scrub_asked_for_while_the_weekly_one_runs_takes_its_place, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_scrub_asked_for_as_the_weekly_one_ends_is_done_nevertheless, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_scrub_asked_for_does_not_wait_for_another_machines_weekly_one, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_scrub_that_fails_is_said_once_and_tried_less_and_less_often, begin, finish),
		cmocka_unit_test_setup_teardown(test_upkeep_that_fails_is_said_once_and_tried_less_and_less_often, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_round_that_is_not_done_makes_way_for_the_other_machine, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
