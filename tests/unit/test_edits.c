/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files with one thing in them called otherwise. */
#include "edits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

/* NULL: there was nothing to change. */
static void becomes(char *edited, const char *wanted)
{
	if (wanted)
		assert_non_null(edited);
	else
		assert_null(edited);
	if (wanted)
		assert_string_equal(edited, wanted);
	free(edited);
}

static void only_the_first_field_of_fstab_is_changed(void **state)
{
	static const char text[] = "# /dev/sda1 was / during installation\n"
				   "\t/dev/sda1\t/\text4 errors=remount-ro 0 1\n"
				   "/dev/sda10 /srv ext4 defaults 0 2\n"
				   "/dev/mapper/x /dev/sda1 none bind\n"
				   "\n"
				   "/dev/sda1 /again ext4 noauto";

	becomes(edits_fstab(text, "/dev/sda1", "UUID=12-34"),
		"# /dev/sda1 was / during installation\n"
		"\tUUID=12-34\t/\text4 errors=remount-ro 0 1\n"
		"/dev/sda10 /srv ext4 defaults 0 2\n"
		"/dev/mapper/x /dev/sda1 none bind\n"
		"\n"
		"UUID=12-34 /again ext4 noauto");
	becomes(edits_fstab(text, "/dev/sdb1", "UUID=12-34"), NULL);
	becomes(edits_fstab("", "/dev/sda1", "UUID=12-34"), NULL);
	becomes(edits_fstab("/dev/sda1", "/dev/sda1", "UUID=12-34"), NULL); /* no mount point */
}

static void a_kernel_argument_is_changed_wherever_it_is_a_word(void **state)
{
	becomes(edits_argument("linux /vmlinuz root=/dev/sda1 ro\nlinux /old nfsroot=/dev/sda1 root=/dev/sda1\n", "root=",
			       "/dev/sda1", "UUID=1"),
		"linux /vmlinuz root=UUID=1 ro\nlinux /old nfsroot=/dev/sda1 root=UUID=1\n");
	becomes(edits_argument("GRUB_CMDLINE_LINUX=\"root=/dev/sda1\"\n", "root=", "/dev/sda1", "UUID=1"),
		"GRUB_CMDLINE_LINUX=\"root=UUID=1\"\n");
	becomes(edits_argument("set root='hd0,msdos1'\nroot=/dev/sda11", "root=", "/dev/sda1", "UUID=1"), NULL);
	becomes(edits_argument("root=UUID=1 ro", "root=", "/dev/sda1", "UUID=1"), NULL);
}

static void a_device_that_is_called_like_an_argument_is_changed_once_for_each_place(void **state)
{
	becomes(edits_argument("root=a root=a root=a", "root=", "a root=a", "UUID=1"), "root=UUID=1 root=a");
}

static void an_address_is_changed_in_whatever_case_but_not_inside_another(void **state)
{
	static const char old[] = "52:54:00:aa:bb:cc", new[] = "52:54:00:11:22:33";

	becomes(edits_mac("HWADDR=52:54:00:AA:BB:CC\n", old, new), "HWADDR=52:54:00:11:22:33\n");
	becomes(edits_mac("address==\"52:54:00:aa:bb:cc\", \"52:54:00:aa:bb:cc\"", old, new),
		"address==\"52:54:00:11:22:33\", \"52:54:00:11:22:33\"");
	becomes(edits_mac("id 00:52:54:00:aa:bb:cc", old, new), NULL);
	becomes(edits_mac("id 52:54:00:aa:bb:cc:01", old, new), NULL);
	becomes(edits_mac("52:54:00:11:22:33", old, new), NULL);
	becomes(edits_mac("x", "", new), NULL);
	becomes(edits_mac(old, old, old), NULL);
}

static void what_was_changed_is_not_changed_again(void **state)
{
	char *once = edits_fstab("/dev/sda1 / ext4 defaults 0 1\n", "/dev/sda1", "UUID=12-34");

	becomes(edits_fstab(once, "/dev/sda1", "UUID=12-34"), NULL);
	free(once);
}

static void every_device_is_found_once_a_line(void **state)
{
	const char *fstab = "# x\n\n/dev/sda1 /\n   UUID=3 /x\n/dev/sdb2 /y", *at = fstab;
	const char *line = "root=/dev/sda1 nfsroot=/no root=\"x\" root=/dev/sdb";
	char device[32], small[8];

	assert_true(edits_next_fstab(&at, device, sizeof(device)));
	assert_string_equal(device, "/dev/sda1");
	assert_true(edits_next_fstab(&at, device, sizeof(device)));
	assert_string_equal(device, "UUID=3");
	assert_true(edits_next_fstab(&at, device, sizeof(device)));
	assert_string_equal(device, "/dev/sdb2");
	assert_false(edits_next_fstab(&at, device, sizeof(device)));
	at = fstab;
	assert_true(edits_next_fstab(&at, small, sizeof(small))); /* what is longer is left out */
	assert_string_equal(small, "UUID=3");

	at = line;
	assert_true(edits_next_argument(line, "root=", &at, device, sizeof(device)));
	assert_string_equal(device, "/dev/sda1");
	assert_true(edits_next_argument(line, "root=", &at, device, sizeof(device)));
	assert_string_equal(device, "/dev/sdb");
	assert_false(edits_next_argument(line, "root=", &at, device, sizeof(device)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_first_field_of_fstab_is_changed),
		cmocka_unit_test(a_kernel_argument_is_changed_wherever_it_is_a_word),
		cmocka_unit_test(a_device_that_is_called_like_an_argument_is_changed_once_for_each_place),
		cmocka_unit_test(an_address_is_changed_in_whatever_case_but_not_inside_another),
		cmocka_unit_test(what_was_changed_is_not_changed_again),
		cmocka_unit_test(every_device_is_found_once_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
