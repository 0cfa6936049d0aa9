// SPDX-License-Identifier: Apache-2.0
/* What multipath has made of a disk, in a tree of the test's that is made like /sys. */
#include "multipath.h"
#include "fileio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-multipath-XXXXXX";

static char *in(const char *name, char ret[256])
{
	snprintf(ret, 256, "%s/%s", dir, name);
	return ret;
}

static void make(const char *device, const char *uuid, const char *name)
{
	char path[256], text[320];

	snprintf(path, sizeof(path), "%s/%s", dir, device);
	assert_int_equal(mkdir(path, 0755), 0);
	for (const char *const *sub = (const char *const[]){ "holders", "slaves", "dm", NULL }; *sub; sub++) {
		snprintf(text, sizeof(text), "%s/%s", path, *sub);
		if (uuid || strcmp(*sub, "dm") != 0)
			assert_int_equal(mkdir(text, 0755), 0);
	}
	if (!uuid)
		return;
	snprintf(text, sizeof(text), "%s/dm/uuid", path);
	assert_int_equal(fileio_replace(text, uuid, strlen(uuid), 0644), 0);
	snprintf(text, sizeof(text), "%s/dm/name", path);
	assert_int_equal(fileio_replace(text, name, strlen(name), 0644), 0);
}

static void lay(const char *upper, const char *lower)
{
	char link[256], target[64];

	snprintf(link, sizeof(link), "%s/%s/slaves/%s", dir, upper, lower);
	snprintf(target, sizeof(target), "../../%s", lower);
	assert_int_equal(symlink(target, link), 0);
	snprintf(link, sizeof(link), "%s/%s/holders/%s", dir, lower, upper);
	snprintf(target, sizeof(target), "../../%s", upper);
	assert_int_equal(symlink(target, link), 0);
}

/* sda and sdb are paths of mpatha, on which lies a volume; sdc has a volume of its own; sdd nothing. */
static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	for (const char *const *disk = (const char *const[]){ "sda", "sdb", "sdc", "sdd", NULL }; *disk; disk++)
		make(*disk, NULL, NULL);
	make("dm-0", "mpath-3600a098038304437415d4b6a59676d51\n", "mpatha\n");
	make("dm-1", "LVM-RrqiVQmvGbNuSjHVyuzmLZRKtCZ1qvYw\n", "vg-on_lun\n");
	make("dm-2", "LVM-ssqiVQmvGbNuSjHVyuzmLZRKtCZ1qvYw\n", "vg-own\n");
	lay("dm-0", "sda");
	lay("dm-0", "sdb");
	lay("dm-1", "dm-0");
	lay("dm-2", "sdc");
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void test_each_path_of_a_lun_is_told_with_the_name_of_the_multipath_device(void **state)
{
	char path[256], name[MULTIPATH_NAME_MAX] = "";

	assert_true(multipath_above(in("sda", path), name));
	assert_string_equal(name, "mpatha");
	assert_true(multipath_above(in("sdb", path), name));
}

static void test_a_disk_under_a_volume_of_its_own_or_under_nothing_is_no_path(void **state)
{
	char path[256], name[MULTIPATH_NAME_MAX];

	assert_false(multipath_above(in("sdc", path), name));
	assert_false(multipath_above(in("sdd", path), name));
	assert_false(multipath_above(in("none", path), name));
}

static void test_a_multipath_device_and_what_lies_on_it_are_told_and_other_volumes_are_not(void **state)
{
	char path[256], name[MULTIPATH_NAME_MAX] = "";

	assert_true(multipath_below(in("dm-0", path), name));
	assert_string_equal(name, "mpatha");
	name[0] = '\0';
	assert_true(multipath_below(in("dm-1", path), name));
	assert_string_equal(name, "mpatha");
	assert_false(multipath_below(in("dm-2", path), name));
	assert_false(multipath_below(in("sda", path), name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_path_of_a_lun_is_told_with_the_name_of_the_multipath_device),
		cmocka_unit_test(test_a_disk_under_a_volume_of_its_own_or_under_nothing_is_no_path),
		cmocka_unit_test(test_a_multipath_device_and_what_lies_on_it_are_told_and_other_volumes_are_not),
	};

	return cmocka_run_group_tests_name("multipath", tests, setup, teardown);
}
