/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_printable_texts(void **state)
{
	static const char *const texts[] = { "", "plain", "naïve", "移行前", "\U0001F426", "\u00a0", "~", " ", "\U0010FFFF" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_true(utf8_is_printable(texts[i], strlen(texts[i])));
}

static void test_texts_that_are_not(void **state)
{
	static const char *const texts[] = {
		"\n", "a\tb", "\x1b[0m", "\x7f", "\xc2\x80", "\xc2\x9f", /* control characters */
		"\x80", "\xbf", "a\xff", "\xfe", "\xf8\x88\x80\x80\x80", /* no beginning of a character */
		"\xc3", "\xe7\xa7", "\xf0\x9f\x90", "\xe7 a",		 /* cut */
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf",		 /* longer than needed */
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80",	 /* no characters */
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_false(utf8_is_printable(texts[i], strlen(texts[i])));
	assert_false(utf8_is_printable("a\0b", 3));
}

static void test_fitting_cuts_between_characters(void **state)
{
	assert_int_equal(utf8_fitting("移行", 6, 7), 6);
	assert_int_equal(utf8_fitting("移行", 6, 6), 6);
	assert_int_equal(utf8_fitting("移行", 6, 5), 3);
	assert_int_equal(utf8_fitting("移行", 6, 3), 3);
	assert_int_equal(utf8_fitting("移行", 6, 2), 0);
	assert_int_equal(utf8_fitting("abc", 3, 2), 2);
}

static void test_cleaning(void **state)
{
	char buf[16];

	assert_string_equal(utf8_clean("plain", buf, sizeof(buf)), "plain");
	assert_string_equal(utf8_clean("a\nb\xff\x1b", buf, sizeof(buf)), "a?b??");
	assert_string_equal(utf8_clean("移\xe7\xa7行", buf, sizeof(buf)), "移??行");
	assert_string_equal(utf8_clean("移行前", buf, 9), "移行");
	assert_string_equal(utf8_clean("移行前", buf, 10), "移行前");
	assert_string_equal(utf8_clean("abc", buf, 1), "");
	assert_string_equal(utf8_clean("", buf, 1), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_printable_texts),
		cmocka_unit_test(test_texts_that_are_not),
		cmocka_unit_test(test_fitting_cuts_between_characters),
		cmocka_unit_test(test_cleaning),
	};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
