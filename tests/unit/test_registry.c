/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define ID "41d1d946-fa1c-4ee0-958e-1ae27021df84"

static int parse(const char *text, struct registry *ret)
{
	json_t *j = json_loads(text, 0, NULL);
	int err;

	assert_non_null(j);
	err = registry_from_json(j, ret);
	json_decref(j);
	return err;
}

static void test_machines_are_read_with_their_retention(void **state)
{
	struct registry r;
	struct uuid id;

	assert_int_equal(parse("{\"machines\": [{\"id\": \"" ID "\", \"name\": \"web1\", \"state\": \"paused\","
			       " \"retention\": {\"every\": 60, \"hourly\": 0, \"daily\": 120}, \"later\": 1}]}",
			       &r),
			 0);
	assert_int_equal(uuid_parse(ID, &id), 0);
	assert_non_null(registry_find(&r, &id));
	assert_int_equal(r.machines[0].state, MACHINE_PAUSED);
	assert_string_equal(r.machines[0].name, "web1");
	assert_int_equal(r.machines[0].retention.every_s, 60);
	assert_int_equal(r.machines[0].retention.hourly_s, 0);
	assert_int_equal(r.machines[0].retention.daily_s, 120);
	id.bytes[0] ^= 1;
	assert_null(registry_find(&r, &id));
	registry_done(&r);
}

static void test_retention_that_is_not_given_is_the_default(void **state)
{
	struct registry r;

	assert_int_equal(parse("{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\"}]}", &r), 0);
	assert_int_equal(r.machines[0].retention.every_s, STORE_POLICY_DEFAULT.every_s);
	assert_string_equal(r.machines[0].name, ID);
	assert_false(r.machines[0].has_key);
	registry_done(&r);
}

static void test_a_machines_key_is_read(void **state)
{
	struct registry r;

	assert_int_equal(parse("{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\","
			       " \"key\": \"00112233445566778899aabbccddeeff\"}]}", &r), 0);
	assert_true(r.machines[0].has_key);
	assert_int_equal(r.machines[0].key[15], 0xff);
	registry_done(&r);
}

static void test_what_is_not_of_the_form_is_refused_whole(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"machines\": 3}",
		"{\"machines\": [3]}",
		"{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\", \"key\": \"00\"}]}",
		"{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\", \"key\": 3}]}",
		"{\"machines\": [{\"id\": \"x\", \"state\": \"started\"}]}",
		"{\"machines\": [{\"id\": \"" ID "\"}]}",
		"{\"machines\": [{\"id\": \"" ID "\", \"state\": \"running\"}]}",
		"{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\", \"retention\": {\"every\": -1}}]}",
		"{\"machines\": [{\"id\": \"" ID "\", \"state\": \"started\"}, {\"id\": 1}]}",
	};
	struct registry r;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse(bad[i], &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machines_are_read_with_their_retention),
		cmocka_unit_test(test_retention_that_is_not_given_is_the_default),
		cmocka_unit_test(test_a_machines_key_is_read),
		cmocka_unit_test(test_what_is_not_of_the_form_is_refused_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
