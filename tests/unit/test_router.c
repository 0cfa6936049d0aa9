/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"
#include "name.h"
#include "names.h"
#include "router.h"
#include "settings.h"
#include "wallclock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static char params[PARAMS_MAX][PARAM_MAX], allowed[64];

static const struct route *find(const char *method, const char *path)
{
	static const struct route table[] = {
		{ "GET", "/things", WHO_ADMIN, NULL, NULL, 0 },
		{ "POST", "/things", WHO_ADMIN, NULL, NULL, 0 },
		{ "GET", "/things/{}", WHO_ADMIN, NULL, NULL, 0 },
		{ "DELETE", "/things/{}/parts/{}", WHO_ADMIN, NULL, NULL, 0 },
		{ "GET", "/things/{}/rest/{*}", WHO_ADMIN, NULL, NULL, 0 },
		{ NULL },
	};

	return router_find(table, method, path, params, allowed, sizeof(allowed));
}

static void test_paths_and_their_parts(void **state)
{
	assert_string_equal(find("GET", "/things")->method, "GET");
	assert_string_equal(find("POST", "/things")->method, "POST");
	assert_non_null(find("GET", "/things/a.b-c"));
	assert_string_equal(params[0], "a.b-c");
	assert_non_null(find("DELETE", "/things/one/parts/two"));
	assert_string_equal(params[0], "one");
	assert_string_equal(params[1], "two");
	assert_non_null(find("GET", "/things/one/rest/a/b//c"));
	assert_string_equal(params[1], "a/b//c");
}

static void test_what_does_not_fit_is_not_found(void **state)
{
	static const char *const paths[] = { "", "/", "/thing", "/things/", "/things//parts/two", "/things/one/parts",
					     "/things/one/parts/", "/things/one/rest/", "/thingsx", "//things" };
	char longest[PARAM_MAX + 32];

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_null(find("GET", paths[i]));
		assert_string_equal(allowed, "");
	}
	snprintf(longest, sizeof(longest), "/things/%0*d", (int)PARAM_MAX - 1, 7);
	assert_non_null(find("GET", longest));
	snprintf(longest, sizeof(longest), "/things/%0*d", (int)PARAM_MAX, 7);
	assert_null(find("GET", longest));
}

static void test_another_method_names_those_that_there_are(void **state)
{
	assert_null(find("PUT", "/things"));
	assert_string_equal(allowed, "GET, POST");
	assert_null(find("GET", "/things/one/parts/two"));
	assert_string_equal(allowed, "DELETE");
}

static void test_every_route_says_who_may_use_it(void **state)
{
	for (const struct route *r = router_table; r->method; r++) {
		assert_non_null(r->handle);
		assert_true(r->who != 0);
		assert_true(r->path[0] == '/');
		for (const struct route *other = router_table; other < r; other++)
			assert_false(!strcmp(r->method, other->method) && !strcmp(r->path, other->path));
	}
}

static void test_names(void **state)
{
	assert_true(name_is_ok("a"));
	assert_true(name_is_ok("Web-1.example_com"));
	assert_true(name_is_ok("012345678901234567890123456789012345678901234567890123456789012"));
	assert_false(name_is_ok("0123456789012345678901234567890123456789012345678901234567890123"));
	assert_false(name_is_ok(""));
	assert_false(name_is_ok(".x"));
	assert_false(name_is_ok("a b"));
	assert_false(name_is_ok("a\n"));
	assert_false(name_is_ok("75c95ae8-e911-488a-9bae-11584e2e7bb3"));
}

static void test_labels_are_not_taken_for_something_else(void **state)
{
	assert_true(names_label_ok("before the upgrade"));
	assert_true(names_label_ok("vor/nach: Ümläute"));
	assert_false(names_label_ok(""));
	assert_false(names_label_ok("latest"));
	assert_false(names_label_ok("now"));
	assert_false(names_label_ok("5m ago"));
	assert_false(names_label_ok("2026-11-22T09:41:07Z"));
	assert_false(names_label_ok("75c95ae8-e911-488a-9bae-11584e2e7bb3"));
	assert_false(names_label_ok("a\033[31m"));
	assert_false(names_label_ok("\xff"));
}

static void test_wrong_attempts_are_counted_by_address_and_forgotten(void **state)
{
	struct attempts *a = attempts_new();
	uint64_t now = 1000 * USEC_PER_SEC;

	for (unsigned int i = 0; i < ATTEMPTS_MOST; i++)
		assert_false(attempts_failed(a, "10.0.0.1", now));
	assert_true(attempts_failed(a, "10.0.0.1", now));
	assert_false(attempts_failed(a, "10.0.0.2", now));
	assert_true(attempts_failed(a, "10.0.0.1", now + ATTEMPTS_PERIOD_S * USEC_PER_SEC));
	assert_false(attempts_failed(a, "10.0.0.1", now + (ATTEMPTS_PERIOD_S + 1) * USEC_PER_SEC));
	attempts_free(a);
}

static int check(const char *name, json_t *value, char *ret)
{
	struct fault f;
	int err = settings_check(name, value, ret, &f);

	json_decref(value);
	return err;
}

static void test_settings_at_the_edges_of_their_ranges(void **state)
{
	char kept[VALUE_SIZE];

	assert_int_equal(check("epoch_ms", json_integer(100), kept), 0);
	assert_string_equal(kept, "100");
	assert_int_equal(check("epoch_ms", json_string("60000"), kept), 0);
	assert_string_equal(kept, "60000");
	assert_int_equal(check("epoch_ms", json_null(), kept), 0);
	assert_string_equal(kept, "");
	assert_int_equal(check("epoch_ms", json_integer(99), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_string("60001"), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_string(""), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_string(" 200"), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_string("200 "), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_string("0x100"), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_real(200), kept), -EINVAL);
	assert_int_equal(check("epoch_ms", json_array(), kept), -EINVAL);
	assert_int_equal(check("compression", json_string("zstd"), kept), 0);
	assert_int_equal(check("compression", json_string("ZSTD"), kept), -EINVAL);
	assert_int_equal(check("", json_string("x"), kept), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_and_their_parts),
		cmocka_unit_test(test_what_does_not_fit_is_not_found),
		cmocka_unit_test(test_another_method_names_those_that_there_are),
		cmocka_unit_test(test_every_route_says_who_may_use_it),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_labels_are_not_taken_for_something_else),
		cmocka_unit_test(test_wrong_attempts_are_counted_by_address_and_forgotten),
		cmocka_unit_test(test_settings_at_the_edges_of_their_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
