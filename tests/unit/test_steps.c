/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of godwit-convert, in a guest that is a table of files: the functions of libguestfs'
 * that they use are here.  Of an initramfs the file is its listing, and update-initramfs writes the
 * drivers that were asked for into it.
 */
#include "convert-steps.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define FILES 32

static struct {
	char path[128], *text;
} files[FILES];
static char steps[4096], broken[64]; /* the kernel that update-initramfs fails for */

static char **text_at(const char *path)
{
	for (unsigned int i = 0; i < FILES; i++)
		if (strcmp(files[i].path, path) == 0)
			return &files[i].text;
	return NULL;
}

static void put(const char *path, const char *text)
{
	char **at = text_at(path);

	for (unsigned int i = 0; !at && i < FILES; i++)
		if (!files[i].path[0]) {
			snprintf(files[i].path, sizeof(files[i].path), "%s", path);
			at = &files[i].text;
		}
	assert_non_null(at);
	free(*at);
	*at = strdup(text);
}

static bool holds(const char *path, const char *text)
{
	char **at = text_at(path);

	return at && strstr(*at, text);
}

/* --- libguestfs ------------------------------------------------------------------------------- */

int guestfs_is_file_opts(guestfs_h *g, const char *path, ...)
{
	return text_at(path) != NULL;
}

int guestfs_is_file(guestfs_h *g, const char *path)
{
	return text_at(path) != NULL;
}

int guestfs_is_dir_opts(guestfs_h *g, const char *path, ...)
{
	for (unsigned int i = 0; i < FILES; i++)
		if (strncmp(files[i].path, path, strlen(path)) == 0 && files[i].path[strlen(path)] == '/')
			return 1;
	return 0;
}

int64_t guestfs_filesize(guestfs_h *g, const char *path)
{
	return (int64_t)strlen(*text_at(path));
}

char *guestfs_read_file(guestfs_h *g, const char *path, size_t *ret_size)
{
	*ret_size = strlen(*text_at(path));
	return strdup(*text_at(path));
}

int guestfs_write(guestfs_h *g, const char *path, const char *text, size_t size)
{
	put(path, text);
	return 0;
}

int guestfs_rm_f(guestfs_h *g, const char *path)
{
	return 0;
}

int guestfs_mkdir_p(guestfs_h *g, const char *path)
{
	return 0;
}

const char *guestfs_last_error(guestfs_h *g)
{
	return "broken";
}

char *guestfs_lgetxattr(guestfs_h *g, const char *path, const char *name, size_t *ret_size)
{
	return NULL;
}

int guestfs_lsetxattr(guestfs_h *g, const char *name, const char *value, int size, const char *path)
{
	return 0;
}

char *guestfs_vfs_uuid(guestfs_h *g, const char *device)
{
	return strdup("12-34");
}

char **guestfs_glob_expand(guestfs_h *g, const char *pattern)
{
	char **list = calloc(2, sizeof(*list));

	if (text_at(pattern))
		list[0] = strdup(pattern);
	return list;
}

/* The names below a folder, once each. */
char **guestfs_ls(guestfs_h *g, const char *folder)
{
	char **list = calloc(FILES + 1, sizeof(*list));
	size_t len = strlen(folder);

	for (unsigned int i = 0, n = 0; i < FILES; i++) {
		const char *name = files[i].path + len + 1;

		if (strncmp(files[i].path, folder, len) != 0 || files[i].path[len] != '/')
			continue;
		if (n && strncmp(list[n - 1], name, strcspn(name, "/")) == 0 && !list[n - 1][strcspn(name, "/")])
			continue;
		list[n++] = strndup(name, strcspn(name, "/"));
	}
	return list;
}

char *guestfs_sh(guestfs_h *g, const char *command)
{
	return strdup("most\n");
}

char *guestfs_command(guestfs_h *g, char *const *argv)
{
	char path[128];

	if (strcmp(argv[0], "lsinitramfs") == 0 || strcmp(argv[0], "lsinitrd") == 0)
		return strdup(*text_at(argv[1]));
	assert_string_equal(argv[0], "update-initramfs");
	if (strcmp(argv[3], broken) == 0)
		return NULL;
	for (unsigned int form = 0; form < HARDWARE_INITRAMFS_FORMS; form++) {
		hardware_initramfs_path(form, argv[3], path, sizeof(path));
		if (text_at(path))
			put(path, "x/virtio_pci.ko\nx/virtio_blk.ko\n");
	}
	return strdup("");
}

void step(const char *format, ...)
{
	size_t used = strlen(steps);
	va_list args;

	va_start(args, format);
	vsnprintf(steps + used, sizeof(steps) - used, format, args);
	va_end(args);
	strncat(steps, "\n", sizeof(steps) - strlen(steps) - 1);
}

/* --- what is changed ---------------------------------------------------------------------------- */

static struct launch_spec spec;
static struct guest t;

static void add_kernel(const char *kernel, const char *image)
{
	char path[128];

	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", kernel);
	put(path, "kernel/drivers/scsi/sd_mod.ko\n");
	if (image)
		put(image, "x/ahci.ko\n");
}

/* Its source said that it has no driver for virtio disks. */
static int begin(void **state)
{
	static char *none[] = { NULL };

	spec = (struct launch_spec){ .hardware = { .known = true, .drivers_known = true, .kernel = "6.1.0-9-amd64" } };
	t = (struct guest){ .spec = &spec, .bus = BUS_VIRTIO, .disk_count = 1, .filesystems = none };
	steps[0] = broken[0] = 0;
	put("/usr/bin/lsinitramfs", "");
	put("/usr/sbin/update-initramfs", "");
	return 0;
}

static int finish(void **state)
{
	for (unsigned int i = 0; i < FILES; i++) {
		free(files[i].text);
		files[i].text = NULL;
		files[i].path[0] = 0;
	}
	return 0;
}

static void test_a_kernel_that_was_installed_and_never_ran_gets_its_drivers_too(void **state)
{
	add_kernel("6.1.0-10-amd64", "/boot/initrd.img-6.1.0-10-amd64");
	add_kernel("6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64");
	assert_int_equal(steps_all(&t), 0);
	assert_true(holds("/boot/initrd.img-6.1.0-9-amd64", "virtio_blk"));
	assert_true(holds("/boot/initrd.img-6.1.0-10-amd64", "virtio_blk"));
	/* Done again, it says nothing. */
	steps[0] = 0;
	assert_int_equal(steps_all(&t), 0);
	assert_string_equal(steps, "");
}

static void test_an_old_kernel_that_cannot_be_seen_to_is_said_and_the_newest_fails(void **state)
{
	add_kernel("5.10.0-1-amd64", "/boot/initrd.img-5.10.0-1-amd64");
	add_kernel("6.1.0-10-amd64", "/boot/initrd.img-6.1.0-10-amd64");
	add_kernel("6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64");
	strcpy(broken, "5.10.0-1-amd64");
	assert_int_equal(steps_all(&t), 0);
	assert_non_null(strstr(steps, "/boot/initrd.img-5.10.0-1-amd64: could not be made anew"));
	assert_true(holds("/boot/initrd.img-6.1.0-10-amd64", "virtio_blk"));
	put("/boot/initrd.img-6.1.0-10-amd64", "x/ahci.ko\n");
	strcpy(broken, "6.1.0-10-amd64");
	assert_int_equal(steps_all(&t), -EIO);
}

static void test_an_initramfs_is_found_by_each_of_its_names(void **state)
{
	static const char *const names[] = { "/boot/initrd.img-6", "/boot/initramfs-6.img", "/boot/initrd-6",
					     "/boot/initramfs-6" };

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++) {
		(void)begin(state);
		add_kernel("6", names[i]);
		assert_int_equal(steps_all(&t), 0);
		assert_true(holds(names[i], "virtio_blk"));
		(void)finish(state);
	}
}

static void test_without_an_initramfs_drivers_that_are_needed_cannot_be_had(void **state)
{
	add_kernel("6.1.0-9-amd64", NULL);
	assert_int_equal(steps_all(&t), -ENOENT);
	/* One whose kernel has all that it needs in itself, maybe. */
	spec.convert = CONVERT_ALWAYS;
	spec.hardware.drivers_known = false;
	assert_int_equal(steps_all(&t), 0);
	assert_string_equal(steps, "");
}

static void test_forbidden_to_change_anything_it_changes_the_identity_if_asked_and_nothing_else(void **state)
{
	add_kernel("6.1.0-9-amd64", "/boot/initrd.img-6.1.0-9-amd64");
	put("/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n");
	put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
	spec.convert = CONVERT_NEVER;
	spec.new_identity = true;
	assert_int_equal(steps_all(&t), 0);
	assert_string_equal(*text_at("/etc/machine-id"), "");
	assert_true(holds("/etc/fstab", "/dev/sda1"));
	assert_false(holds("/boot/initrd.img-6.1.0-9-amd64", "virtio_blk"));
	spec.convert = CONVERT_AUTO;
	assert_int_equal(steps_all(&t), 0);
	assert_true(holds("/etc/fstab", "UUID=12-34"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_kernel_that_was_installed_and_never_ran_gets_its_drivers_too, begin,
						finish),
		cmocka_unit_test_setup_teardown(test_an_old_kernel_that_cannot_be_seen_to_is_said_and_the_newest_fails, begin,
						finish),
		cmocka_unit_test_setup_teardown(test_an_initramfs_is_found_by_each_of_its_names, begin, finish),
		cmocka_unit_test_setup_teardown(
			test_forbidden_to_change_anything_it_changes_the_identity_if_asked_and_nothing_else, begin, finish),
		cmocka_unit_test_setup_teardown(test_without_an_initramfs_drivers_that_are_needed_cannot_be_had, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
