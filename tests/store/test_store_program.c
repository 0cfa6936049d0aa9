/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-store upkeep, on a server's data folder: launches that are down keep their points. */
#include "fileio.h"
#include "store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define MACHINE "22222222-2222-4222-8222-222222222222"
#define OTHER "33333333-3333-4333-8333-333333333333"

static char data[64], store[160];

static void put_spec(const char *launch, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/launches/%s", data, launch);
	assert_int_equal(fileio_mkdirs(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/launches/%s/spec.json", data, launch);
	assert_int_equal(fileio_replace(path, text, strlen(text), 0600), 0);
}

/* Twelve points, of which the policy keeps the newest. */
static int begin(void **state)
{
	const struct store_disk d = { .sector_bytes = 512, .size_bytes = MIB };
	struct store_writer *w;
	struct uuid machine;

	strcpy(data, "/tmp/godwit-store-program.XXXXXX");
	if (!mkdtemp(data) || uuid_parse(MACHINE, &machine))
		return -1;
	snprintf(store, sizeof(store), "%s/store", data);
	if (fileio_mkdirs(store, 0700))
		return -1;
	snprintf(store, sizeof(store), "%s/store/%s", data, MACHINE);
	if (store_writer_open(store, &machine, &store_sys_default, &w) || store_put_disk(w, &d) ||
	    store_policy_set(store, &store_sys_default, &(struct store_policy){ 0, 0, 0 }))
		return -1;
	for (uint64_t i = 1; i <= 12; i++) {
		const struct store_epoch e = { .epoch = i, .time_us = i * 1000000, .flags = STORE_EPOCH_POINT };

		if (store_put_zero(w, 0, i * CHUNK_BYTES, CHUNK_BYTES) || store_commit(w, &e))
			return -1;
	}
	store_writer_close(w);
	return 0;
}

static int finish(void **state)
{
	return fileio_remove_tree(data);
}

static int upkeep(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl(GODWIT_STORE, "godwit-store", "upkeep", store, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* How many points there are, and of which epoch the oldest is. */
static size_t points(uint64_t *ret_oldest)
{
	struct store_points *p;
	size_t count;

	assert_int_equal(store_points_open(store, &store_sys_default, &p), 0);
	count = store_points_count(p);
	*ret_oldest = count ? store_points_get(p, 0)->epoch : 0;
	store_points_close(p);
	return count;
}

static void test_points_that_launches_need_are_kept(void **state)
{
	uint64_t oldest;

	put_spec("a", "{\"machine_id\": \"" MACHINE "\", \"epoch\": 3}");
	put_spec("b", "{\"machine_id\": \"" OTHER "\", \"epoch\": 5}");
	assert_int_equal(upkeep(), 0);
	assert_int_equal(points(&oldest), 2);
	assert_int_equal(oldest, 3);
}

static void test_nothing_is_done_when_a_launch_cannot_be_read(void **state)
{
	uint64_t oldest;

	put_spec("a", "{");
	assert_int_equal(upkeep(), 1);
	assert_int_equal(points(&oldest), 12);
}

static void test_a_store_without_launches_beside_it_is_thinned(void **state)
{
	uint64_t oldest;

	assert_int_equal(upkeep(), 0);
	assert_int_equal(points(&oldest), 1);
	assert_int_equal(oldest, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_points_that_launches_need_are_kept, begin, finish),
		cmocka_unit_test_setup_teardown(test_nothing_is_done_when_a_launch_cannot_be_read, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_store_without_launches_beside_it_is_thinned, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
