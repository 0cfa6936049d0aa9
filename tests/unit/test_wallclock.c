/* SPDX-License-Identifier: Apache-2.0 */
#include "wallclock.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define AT 1795340467123456ULL /* 2026-11-22T09:41:07.123456Z */

static void test_formatting(void **state)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	assert_string_equal(wallclock_format(AT, text), "2026-11-22T09:41:07.123456Z");
	assert_string_equal(wallclock_format(0, text), "1970-01-01T00:00:00.000000Z");
	assert_string_equal(wallclock_format(1, text), "1970-01-01T00:00:00.000001Z");
	assert_string_equal(wallclock_format(UINT64_MAX, text), "9999-12-31T23:59:59.999999Z");
}

static void check(const char *text, uint64_t expected)
{
	uint64_t got = 0;

	if (wallclock_parse(text, &got) != 0 || got != expected)
		fail_msg("\"%s\": %llu, not %llu", text, (unsigned long long)got, (unsigned long long)expected);
}

static void test_rfc_3339_with_any_offset_and_fraction(void **state)
{
	check("2026-11-22T09:41:07.123456Z", AT);
	check("2026-11-22t09:41:07.123456z", AT);
	check("2026-11-22 09:41:07.123456Z", AT);
	check("2026-11-22T18:41:07.123456+09:00", AT);
	check("2026-11-22T04:11:07.123456-05:30", AT);
	check("2026-11-22T09:41:07.123456789Z", AT);
	check("2026-11-22T09:41:07.1Z", AT - 23456);
	check("2026-11-22T09:41:07Z", AT - 123456);
	check("2026-11-23T00:00:07Z", AT - 123456 + (14 * 3600 + 19 * 60) * USEC_PER_SEC);
	check("1970-01-01T00:00:00Z", 0);
	check("1970-01-01T09:00:00+09:00", 0);
	check("2024-02-29T00:00:00Z", 1709164800 * USEC_PER_SEC);
	check("2016-12-31T23:59:60Z", 1483228800 * USEC_PER_SEC);
	check("9999-12-31T23:59:59.999999Z", 253402300799ULL * USEC_PER_SEC + 999999);
}

static void test_formatted_times_are_read_back(void **state)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	for (uint64_t us = 1; us < 253402300799999999ULL; us = us * 3 + 12345)
		check(wallclock_format(us, text), us);
}

static void test_local_times(void **state)
{
	setenv("TZ", "JST-9", 1);
	tzset();
	check("2026-11-22 18:41:07", AT - 123456);
	check("2026-11-22 18:41:07.123456", AT);
	check("2026-11-22T18:41:07", AT - 123456);
	check("2026-11-22", AT - 123456 - (18 * 3600 + 41 * 60 + 7) * USEC_PER_SEC);
	check("2026-11-22 18:41", AT - 123456 - 7 * USEC_PER_SEC);
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	check("2026-07-01 12:00", 1782900000 * USEC_PER_SEC);
	check("2026-12-01 12:00", 1796122800 * USEC_PER_SEC);
	unsetenv("TZ");
	tzset();
}

static void test_a_time_without_a_date_is_today(void **state)
{
	time_t now = time(NULL);
	struct tm tm;
	uint64_t got;

	localtime_r(&now, &tm);
	tm.tm_hour = 13;
	tm.tm_min = 45;
	tm.tm_sec = 10;
	tm.tm_isdst = -1;
	assert_int_equal(wallclock_parse("13:45:10", &got), 0);
	/* Midnight may have passed in between. */
	assert_true(got == (uint64_t)mktime(&tm) * USEC_PER_SEC || time(NULL) / 86400 != now / 86400);
	assert_int_equal(wallclock_parse("13:45", &got), 0);
	assert_int_equal(wallclock_parse("13:45:10.5", &got), 0);
}

static void test_times_ago(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} cases[] = { { "now", 0 }, { "0s ago", 0 }, { "10s ago", 10 }, { "5m ago", 300 }, { "2h ago", 7200 }, { "1d ago", 86400 },
		      { "10 seconds ago", 10 }, { "1 second ago", 1 }, { "5 minutes ago", 300 }, { "5 m ago", 300 },
		      { "90sec ago", 90 }, { "2 min ago", 120 }, { "3 hours ago", 10800 }, { "1 day ago", 86400 } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t before = wallclock_now_us(), got, after;

		assert_int_equal(wallclock_parse(cases[i].text, &got), 0);
		after = wallclock_now_us();
		assert_in_range(got + cases[i].seconds * USEC_PER_SEC, before, after);
	}
}

static void test_this_moment_is_told_from_other_times(void **state)
{
	static const char *const now[] = { "now", "0s ago", "0m ago", "00h ago", "0d ago" };
	static const char *const others[] = { "", "0", "0s", "s ago", " ago", "0x ago", "1s ago", "10s ago", "0s  ago",
					      "now ", "00:00", "latest" };

	for (size_t i = 0; i < ARRAY_LEN(now); i++)
		if (!wallclock_is_now(now[i]))
			fail_msg("not this moment: \"%s\"", now[i]);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (wallclock_is_now(others[i]))
			fail_msg("this moment: \"%s\"", others[i]);
}

static void test_other_texts_are_refused(void **state)
{
	static const char *const texts[] = {
		"", " ", "nows", "NOW", "yesterday", "12", "-5m ago", "5  m ago", "5m", "5 ago", "5  ago", "5 month ago", "5 ms ago", "5 second", "5m  ago", "5w ago", "s ago",
		"99999999999999999999s ago", "18446744073709551615d ago", "99999d ago", "2026", "2026-11-2",
		"2026-11-22T", "2026-11-22T09", "2026-11-22T09:41Z", "2026-11-22T09:41:07.Z", "2026-11-22T09:41:07.",
		"2026-11-22T09:41:07.1234567890Z", "2026-11-22T09:41:07+0900", "2026-11-22T09:41:07+24:00",
		"2026-11-22T09:41:07+09:60", "2026-11-22T09:41:07Zx", "2026-11-22T09:41:61Z", "2026-11-22T09:60:07Z",
		"2026-11-22T24:00:00Z", "2026-00-22T09:41:07Z", "2026-13-22T09:41:07Z", "2026-11-00T09:41:07Z",
		"2026-11-31T09:41:07Z", "2025-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "1969-12-31T23:59:59Z",
		"1970-01-01T00:00:00+00:01", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-00:01", "24:00", "09:60",
		"9:41", "09:41:61", "09:41 ", "+09:41", "2026-11-22  09:41",
	};
	uint64_t got = 77;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (wallclock_parse(texts[i], &got) != -EINVAL)
			fail_msg("accepted: \"%s\"", texts[i]);
	}
	assert_int_equal(got, 77);
}

static void test_clocks_go_forward(void **state)
{
	uint64_t monotonic = monotonic_now_us(), boot = boottime_now_us();

	assert_true(monotonic_now_us() >= monotonic);
	assert_true(boottime_now_us() >= boot);
	assert_true(wallclock_now_us() > AT - 365ULL * 86400 * USEC_PER_SEC * 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formatting),
		cmocka_unit_test(test_rfc_3339_with_any_offset_and_fraction),
		cmocka_unit_test(test_formatted_times_are_read_back),
		cmocka_unit_test(test_local_times),
		cmocka_unit_test(test_a_time_without_a_date_is_today),
		cmocka_unit_test(test_times_ago),
		cmocka_unit_test(test_this_moment_is_told_from_other_times),
		cmocka_unit_test(test_other_texts_are_refused),
		cmocka_unit_test(test_clocks_go_forward),
	};

	return cmocka_run_group_tests_name("wallclock", tests, NULL, NULL);
}
