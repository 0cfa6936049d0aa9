/* SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void chooses(const char *listing, const char *path)
{
	char chosen[64] = "";

	assert_int_equal(loader_choose(listing, chosen, sizeof(chosen)), 0);
	assert_string_equal(chosen, path);
}

static void test_a_loader_at_the_fallback_path_needs_nothing(void **state)
{
	char path[64];

	assert_int_equal(loader_choose("::/EFI/debian/\n::/EFI/debian/grubx64.efi\n::/EFI/BOOT/BOOTX64.EFI\n", path,
				       sizeof(path)), -EEXIST);
	assert_int_equal(loader_choose("::/efi/boot/bootx64.efi", path, sizeof(path)), -EEXIST);
}

static void test_grub_is_started_rather_than_its_shim(void **state)
{
	chooses("::/EFI/debian/shimx64.efi\r\n::/EFI/debian/grubx64.efi\r\n::/EFI/debian/mmx64.efi\r\n",
		"EFI/debian/grubx64.efi");
	chooses("::/EFI/redhat/mmx64.efi\n::/EFI/redhat/shimx64.efi\n", "EFI/redhat/shimx64.efi");
	chooses("::/EFI/systemd/systemd-bootx64.efi\n::/EFI/debian/shimx64.efi\n", "EFI/systemd/systemd-bootx64.efi");
	chooses("::/EFI/other/ownx64.efi\n", "EFI/other/ownx64.efi");
}

static void test_what_is_no_loader_is_not_started(void **state)
{
	static const char *const none[] = {
		"", "\n\n", "::/EFI/\n", "::/EFI/debian/\n", "::/EFI/debian/mmx64.efi\n::/EFI/debian/fbx64.efi\n",
		"::/EFI/debian/grub.cfg\n", "::/EFI/debian/grubia32.efi\n", "::/EFI/debian/grubaa64.efi\n", "x64.efi",
	};
	char path[64];

	for (unsigned int i = 0; i < ARRAY_LEN(none); i++)
		assert_int_equal(loader_choose(none[i], path, sizeof(path)), -ENOENT);
}

static void test_a_path_longer_than_there_is_room_for_is_passed_over(void **state)
{
	char path[12] = "";

	assert_int_equal(loader_choose("::/EFI/a-very-long-name/grubx64.efi\n", path, sizeof(path)), -ENOENT);
	assert_string_equal(path, "");
}

static void test_a_partition_too_large_to_be_copied_is_not_looked_into(void **state)
{
	struct loader l = { .folder = "/nonexistent", .socket = "/nonexistent/s", .overlay = "/nonexistent/d",
			    .esp_offset = MIB, .esp_bytes = 4 * GIB + 512 };
	char note[384];

	assert_int_equal(loader_ensure(&l, note, sizeof(note)), -EFBIG);
	assert_non_null(strstr(note, "4096 MiB"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_loader_at_the_fallback_path_needs_nothing),
		cmocka_unit_test(test_a_partition_too_large_to_be_copied_is_not_looked_into),
		cmocka_unit_test(test_grub_is_started_rather_than_its_shim),
		cmocka_unit_test(test_what_is_no_loader_is_not_started),
		cmocka_unit_test(test_a_path_longer_than_there_is_room_for_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
