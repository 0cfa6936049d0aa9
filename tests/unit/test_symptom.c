/* SPDX-License-Identifier: Apache-2.0 */
/* Why a machine does not boot, by the last words of its console. */
#include "symptom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void says(const char *text, enum message_code wanted, const char *wanted_line)
{
	enum message_code code = (enum message_code)-1;
	char line[128] = "";

	assert_true(symptom_find(text, &code, line, sizeof(line)));
	assert_int_equal(code, wanted);
	assert_string_equal(line, wanted_line);
}

static void test_what_boot_loader_firmware_and_kernel_say_is_known(void **state)
{
	says("error: file `/boot/vmlinuz' not found.\r\nerror: you need to load the kernel first.\r\n\r\nPress any key",
	     MSG_LAUNCH_NO_KERNEL, "error: you need to load the kernel first.");
	says("error: no such partition.\nEntering rescue mode...\ngrub rescue> ", MSG_LAUNCH_NO_KERNEL, "grub rescue> ");
	says("Gave up waiting for root file system device.  Common problems:\n - Boot args", MSG_LAUNCH_NO_ROOT,
	     "Gave up waiting for root file system device.  Common problems:");
	says("[    9.1] Kernel panic - not syncing: Attempted to kill init!\n", MSG_LAUNCH_PANICKED,
	     "[    9.1] Kernel panic - not syncing: Attempted to kill init!");
}

static void test_where_a_terminal_is_to_write_it_is_not_part_of_what_is_said(void **state)
{
	says("\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b(BUEFI \x1b[1mInteractive Shell\x1b[0m v2.2\r\n"
	     "\x1b[0m\x1b[37m\x1b[40mUEFI Interactive Shell\x1b[0m v2.2\r\n", MSG_LAUNCH_NO_KERNEL, "UEFI Interactive Shell v2.2");
	says("grub rescue> \x1b", MSG_LAUNCH_NO_KERNEL, "grub rescue> ");
	says("grub rescue> \x1b[", MSG_LAUNCH_NO_KERNEL, "grub rescue> ");
	says("grub rescue> \x1b[12;", MSG_LAUNCH_NO_KERNEL, "grub rescue> ");
}

static void test_a_panic_for_want_of_a_root_is_said_so(void **state)
{
	says("[ 2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n", MSG_LAUNCH_NO_ROOT,
	     "[ 2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)");
}

static void test_the_last_word_counts(void **state)
{
	says("error: you need to load the kernel first.\n[ 1.0] Linux version 6.1, and so much more of what it says that it\n"
	     "[ 9.0] Kernel panic - not syncing: Fatal exception\n", MSG_LAUNCH_PANICKED,
	     "[ 9.0] Kernel panic - not syncing: Fatal exception");
}

static void test_of_a_machine_that_boots_nothing_is_said(void **state)
{
	enum message_code code;
	char line[128];

	assert_false(symptom_find("", &code, line, sizeof(line)));
	assert_false(symptom_find("[    0.0] Linux version 6.1\nDebian GNU/Linux 12 web ttyS0\n\nweb login: ", &code, line,
				  sizeof(line)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_boot_loader_firmware_and_kernel_say_is_known),
		cmocka_unit_test(test_where_a_terminal_is_to_write_it_is_not_part_of_what_is_said),
		cmocka_unit_test(test_a_panic_for_want_of_a_root_is_said_so),
		cmocka_unit_test(test_the_last_word_counts),
		cmocka_unit_test(test_of_a_machine_that_boots_nothing_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
