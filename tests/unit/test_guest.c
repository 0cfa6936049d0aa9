/* SPDX-License-Identifier: Apache-2.0 */
/* What a launched machine says on the line to godwit-launched: it is a stranger. */
#include "guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static char heard[GUEST_OUTPUT_MAX + 128];

static void ready(void *context)
{
	snprintf(heard, sizeof(heard), "ready");
}

static void ran(void *context, const char *name, int status, const char *output)
{
	snprintf(heard, sizeof(heard), "%s %d %s", name, status, output);
}

static bool take(const char *line)
{
	static const struct guest_ops ops = { .ready = ready, .ran = ran };

	heard[0] = 0;
	return guest_take_line(&ops, NULL, line);
}

static void test_what_a_command_said_is_told_with_its_status(void **state)
{
	assert_true(take("ready"));
	assert_string_equal(heard, "ready");
	assert_true(take("ran proof_command 3 YQpiCg=="));
	assert_string_equal(heard, "proof_command 3 a\nb\n");
	assert_true(take("ran post_launch 0 "));
	assert_string_equal(heard, "post_launch 0 ");
	assert_true(take("ran post_launch 0"));
	assert_string_equal(heard, "post_launch 0 ");
	assert_true(take("ran x 0 w7w="));
	assert_string_equal(heard, "x 0 ü\n");
}

static void test_what_is_not_printable_is_made_so(void **state)
{
	assert_true(take("ran x 0 G1szMW0AYQ0K")); /* ESC [31m NUL a CR LF */
	assert_string_equal(heard, "x 0 ?[31m a \n");
	assert_true(take("ran x 0 ////"));
	assert_string_equal(heard, "x 0 ???\n");
}

static void test_what_is_not_of_the_protocol_is_not_heard(void **state)
{
	static const char *const lines[] = {
		"", "read", "ready ", "ran", "ran x", "ran x -1 YQ==", "ran x 256 YQ==", "ran x 99999999999 YQ==",
		"ran X 0 YQ==", "ran ../x 0 YQ==", "ran x 0YQ==", "ran x 0 YQ=", "ran x 0 Y?==",
		"ran aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0 YQ==",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (take(lines[i]))
			fail_msg("heard: %s", lines[i]);
		assert_string_equal(heard, "");
	}
}

static void test_of_too_much_output_no_more_is_taken_than_there_is_room(void **state)
{
	char line[GUEST_OUTPUT_MAX * 3];
	size_t n = (size_t)snprintf(line, sizeof(line), "ran x 0 ");

	for (size_t i = 0; i < GUEST_OUTPUT_MAX / 2; i++, n += 4)
		memcpy(line + n, "YWFh", 5);
	assert_true(take(line));
	assert_true(strlen(heard) > GUEST_OUTPUT_MAX - 8 && strlen(heard) <= GUEST_OUTPUT_MAX + 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_command_said_is_told_with_its_status),
		cmocka_unit_test(test_what_is_not_printable_is_made_so),
		cmocka_unit_test(test_what_is_not_of_the_protocol_is_not_heard),
		cmocka_unit_test(test_of_too_much_output_no_more_is_taken_than_there_is_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
