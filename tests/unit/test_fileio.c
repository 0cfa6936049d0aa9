/* SPDX-License-Identifier: Apache-2.0 */
#include "fileio.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/godwit-test-fileio-XXXXXX";

static int make_dir(void **state)
{
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return chdir("/") == 0 ? system(command) : -1;
}

static void test_a_file_that_ends_early_is_an_error(void **state)
{
	char buf[8];
	int fd = open("short", O_RDWR | O_CREAT, 0600);

	assert_int_equal(fileio_write_full(fd, "abcd", 4), 0);
	assert_int_equal(fileio_pread_full(fd, buf, 4, 0), 0);
	assert_memory_equal(buf, "abcd", 4);
	assert_int_equal(fileio_pread_full(fd, buf, 2, 2), 0);
	assert_memory_equal(buf, "cd", 2);
	assert_int_equal(fileio_pread_full(fd, buf, 5, 0), -EIO);
	assert_int_equal(fileio_pread_full(fd, buf, 0, 100), 0);
	assert_int_equal(lseek(fd, 1, SEEK_SET), 1);
	assert_int_equal(fileio_read_full(fd, buf, 3), 0);
	assert_memory_equal(buf, "bcd", 3);
	assert_int_equal(fileio_read_full(fd, buf, 1), -EIO);
	assert_int_equal(fileio_pwrite_full(fd, "XY", 2, 6), 0);
	assert_int_equal(fileio_pread_full(fd, buf, 8, 0), 0);
	assert_memory_equal(buf, "abcd\0\0XY", 8);
	close(fd);
	assert_int_equal(fileio_write_full(fd, "x", 1), -EBADF);
	assert_int_equal(fileio_read_full(fd, buf, 1), -EBADF);
	assert_int_equal(fileio_pwrite_full(fd, "x", 1, 0), -EBADF);
}

static void test_a_pipe_gives_its_bytes_in_pieces(void **state)
{
	int fds[2];
	char buf[6];

	assert_int_equal(pipe(fds), 0);
	if (fork() == 0) {
		for (const char *p = "pieces"; *p; p++)
			if (write(fds[1], p, 1) != 1)
				_exit(1);
		_exit(0);
	}
	assert_int_equal(fileio_read_full(fds[0], buf, 6), 0);
	assert_memory_equal(buf, "pieces", 6);
	close(fds[0]);
	close(fds[1]);
}

static void test_slurping(void **state)
{
	char *text = NULL;
	size_t len = 0;

	assert_int_equal(fileio_replace("text", "one\ntwo\n", 8, 0600), 0);
	assert_int_equal(fileio_slurp("text", 8, &text, &len), 0);
	assert_int_equal(len, 8);
	assert_string_equal(text, "one\ntwo\n");
	free(text);
	text = NULL;
	assert_int_equal(fileio_slurp("text", 7, &text, &len), -EFBIG);
	assert_int_equal(fileio_slurp("none", 8, &text, &len), -ENOENT);
	assert_int_equal(fileio_slurp(".", 8, &text, &len), -EISDIR);
	assert_null(text);
	assert_int_equal(fileio_slurp("/proc/self/status", 65536, &text, NULL), 0);
	assert_memory_equal(text, "Name:", 5);
	free(text);
	assert_int_equal(fileio_replace("empty", "", 0, 0600), 0);
	assert_int_equal(fileio_slurp("empty", 0, &text, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(text, "");
	free(text);
}

static void test_the_first_line(void **state)
{
	char buf[4];

	assert_int_equal(fileio_replace("line", "one\ntwo\n", 8, 0600), 0);
	assert_int_equal(fileio_read_line("line", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "one");
	assert_int_equal(fileio_replace("line", "abc", 3, 0600), 0);
	assert_int_equal(fileio_read_line("line", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "abc");
	assert_int_equal(fileio_replace("line", "abcd\n", 5, 0600), 0);
	assert_int_equal(fileio_read_line("line", buf, sizeof(buf)), -EFBIG);
	assert_int_equal(fileio_replace("line", "", 0, 0600), 0);
	assert_int_equal(fileio_read_line("line", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(fileio_read_line("none", buf, sizeof(buf)), -ENOENT);
}

static unsigned int count_entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_replacing_leaves_one_file_with_the_mode_asked_for(void **state)
{
	struct stat st;
	char *text;

	assert_int_equal(fileio_mkdirs("replace", 0700), 0);
	assert_int_equal(fileio_replace("replace/f", "old", 3, 0644), 0);
	assert_int_equal(fileio_replace("replace/f", "newer", 5, 0600), 0);
	assert_int_equal(fileio_slurp("replace/f", 100, &text, NULL), 0);
	assert_string_equal(text, "newer");
	free(text);
	assert_int_equal(stat("replace/f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(count_entries("replace"), 1);
}

static void test_replacing_that_fails_leaves_the_old_one_alone(void **state)
{
	assert_int_equal(fileio_mkdirs("busy/f", 0700), 0);
	assert_int_equal(fileio_replace("busy/f", "x", 1, 0600), -EISDIR); /* a folder is in the way */
	assert_int_equal(count_entries("busy"), 1);
	assert_int_equal(fileio_replace("none/f", "x", 1, 0600), -ENOENT);
}

static void test_a_full_disk_leaves_the_old_file(void **state)
{
	char *text;

	assert_int_equal(fileio_mkdirs("full", 0700), 0);
	if (system("mount -t tmpfs -o size=64k none full 2>/dev/null") != 0) {
		print_message("skipped: no right to mount a small file system\n");
		skip();
	}
	{
		char *big = calloc(1, 128 * KIB);
		int made = fileio_replace("full/f", "old", 3, 0600);
		int err = fileio_replace("full/f", big, 128 * KIB, 0600);
		unsigned int entries = count_entries("full");
		int slurped = fileio_slurp("full/f", 100, &text, NULL);

		free(big);
		assert_int_equal(system("umount full"), 0);
		assert_int_equal(made, 0);
		assert_int_equal(err, -ENOSPC);
		assert_int_equal(entries, 1);
		assert_int_equal(slurped, 0);
	}
	assert_string_equal(text, "old");
	free(text);
}

static void test_folders_are_made_with_those_above_them(void **state)
{
	char *path = malloc(5000);

	assert_int_equal(fileio_mkdirs("a/b//c/", 0700), 0);
	assert_int_equal(access("a/b/c", F_OK), 0);
	assert_int_equal(fileio_mkdirs("a/b/c", 0700), 0);
	assert_int_equal(fileio_mkdirs("/", 0700), 0);
	assert_int_equal(fileio_mkdirs("", 0700), -ENOENT);
	assert_int_equal(fileio_replace("a/file", "", 0, 0600), 0);
	assert_int_equal(fileio_mkdirs("a/file", 0700), -ENOTDIR);
	assert_int_equal(fileio_mkdirs("a/file/b", 0700), -ENOTDIR);
	memset(path, 'x', 4999);
	path[4999] = '\0';
	assert_int_equal(fileio_mkdirs(path, 0700), -ENAMETOOLONG);
	assert_int_equal(fileio_replace(path, "", 0, 0600), -ENAMETOOLONG);
	free(path);
}

static void test_syncing_a_folder(void **state)
{
	assert_int_equal(fileio_fsync_dir("."), 0);
	assert_int_equal(fileio_fsync_dir("none"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_that_ends_early_is_an_error),
		cmocka_unit_test(test_a_pipe_gives_its_bytes_in_pieces),
		cmocka_unit_test(test_slurping),
		cmocka_unit_test(test_the_first_line),
		cmocka_unit_test(test_replacing_leaves_one_file_with_the_mode_asked_for),
		cmocka_unit_test(test_replacing_that_fails_leaves_the_old_one_alone),
		cmocka_unit_test(test_a_full_disk_leaves_the_old_file),
		cmocka_unit_test(test_folders_are_made_with_those_above_them),
		cmocka_unit_test(test_syncing_a_folder),
	};

	return cmocka_run_group_tests_name("fileio", tests, make_dir, remove_dir);
}
