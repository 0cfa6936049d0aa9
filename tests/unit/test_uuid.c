/* SPDX-License-Identifier: Apache-2.0 */
#include "uuid.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_text_and_back(void **state)
{
	static const char text[] = "0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5";
	char again[UUID_TEXT_LEN + 1];
	struct uuid u;

	assert_int_equal(uuid_parse(text, &u), 0);
	assert_int_equal(u.bytes[0], 0x0b);
	assert_int_equal(u.bytes[15], 0xe5);
	assert_string_equal(uuid_format(&u, again), text);
	assert_int_equal(uuid_parse("0B6AD6D8-3B4E-4F1F-9A67-D1C6B7A8C2E5", &u), 0);
	assert_string_equal(uuid_format(&u, again), text);
}

static void test_other_texts_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"0",
		"0b6ad6d8",
		"0b6ad6d83b4e4f1f9a67d1c6b7a8c2e5",
		"0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e",
		"0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5 ",
		"0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e50",
		" b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5",
		"0b6ad6d8_3b4e-4f1f-9a67-d1c6b7a8c2e5",
		"0b6ad6d83-b4e-4f1f-9a67-d1c6b7a8c2e5",
		"gb6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5",
		"{0b6ad6d8-3b4e-4f1f-9a67-d1c6b7a8c2e5}",
	};
	struct uuid u = { { 7 } }, untouched = u;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_int_equal(uuid_parse(texts[i], &u), -EINVAL);
	assert_true(uuid_equal(&u, &untouched));
}

static void test_random_ones_differ_and_say_what_they_are(void **state)
{
	struct uuid before = uuid_random();

	for (unsigned int i = 0; i < 1000; i++) {
		struct uuid u = uuid_random();

		assert_int_equal(u.bytes[6] >> 4, 4);
		assert_int_equal(u.bytes[8] >> 6, 2);
		assert_false(uuid_is_null(&u));
		assert_false(uuid_equal(&u, &before));
		before = u;
	}
}

static void test_a_points_id_gives_its_epoch_back(void **state)
{
	static const uint64_t epochs[] = { 0, 1, 255, 256, 1ULL << 31, 1ULL << 32, (1ULL << 56) - 1, (1ULL << 62) - 1 };
	struct uuid machine = uuid_random(), other = uuid_random();

	for (size_t i = 0; i < ARRAY_LEN(epochs); i++) {
		struct uuid point = uuid_from_epoch(&machine, epochs[i]);
		uint64_t epoch = 77;

		assert_int_equal(point.bytes[6] >> 4, 8);
		assert_int_equal(point.bytes[8] >> 6, 2);
		assert_int_equal(uuid_to_epoch(&other, &point, &epoch), -EINVAL);
		assert_int_equal(epoch, 77);
		assert_int_equal(uuid_to_epoch(&machine, &point, &epoch), 0);
		assert_true(epoch == epochs[i]);
	}
	assert_int_equal(uuid_to_epoch(&machine, &machine, &(uint64_t){ 0 }), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_and_back),
		cmocka_unit_test(test_other_texts_are_refused),
		cmocka_unit_test(test_random_ones_differ_and_say_what_they_are),
		cmocka_unit_test(test_a_points_id_gives_its_epoch_back),
	};

	return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
