/* SPDX-License-Identifier: Apache-2.0 */
/* Whether hardware virtualisation runs a guest: a script in qemu's place answers, and counts. */
#include "kvm.h"
#include "fileio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PROBES 8

static char dir[64], qemu[128], cache[128];

/* There is one for this test. */
int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
	return strcmp(path, "/dev/kvm") == 0 ? 0 : __real_access(path, mode);
}

/* @end stands in place of the guest, whose image must be there from the beginning to the end. */
static void put_qemu(const char *end)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "#!/bin/sh\n"
		 "for word; do case $word in file=*) image=${word#file=} image=${image%%%%,*};; esac; done\n"
		 "echo ran >>%s/ran\n"
		 "[ -s \"$image\" ] || exit 1\n"
		 "%s\n",
		 dir, end);
	assert_int_equal(fileio_replace(qemu, text, strlen(text), 0700), 0);
}

static unsigned int times_run(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/ran", dir);
	return stat(path, &st) ? 0 : (unsigned int)st.st_size / 4;
}

static int begin(void **state)
{
	strcpy(dir, "/tmp/godwit-kvm.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(qemu, sizeof(qemu), "%s/qemu", dir);
	snprintf(cache, sizeof(cache), "%s/run/kvm", dir);
	return 0;
}

static int finish(void **state)
{
	return fileio_remove_tree(dir);
}

static void test_probes_side_by_side_are_one_and_all_hear_its_answer(void **state)
{
	pid_t pids[PROBES];
	int gate[2], status;
	unsigned int kvm = 0;
	char byte;

	/* Long enough that all are there; the image is looked for again at the end. */
	put_qemu("n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; [ -s \"$image\" ] || exit 1; exit 85");
	assert_int_equal(pipe(gate), 0);
	for (unsigned int i = 0; i < PROBES; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(gate[1]);
			(void)!read(gate[0], &byte, 1); /* all begin when it is closed */
			_exit(strcmp(kvm_accelerator(qemu, cache), "kvm") == 0 ? 0 : 1);
		}
		assert_true(pids[i] > 0);
	}
	close(gate[0]);
	close(gate[1]);
	for (unsigned int i = 0; i < PROBES; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		kvm += WIFEXITED(status) && WEXITSTATUS(status) == 0;
	}
	assert_int_equal(kvm, PROBES);
	assert_int_equal(times_run(), 1);
	assert_string_equal(kvm_accelerator(qemu, cache), "kvm");
	assert_int_equal(times_run(), 1);
}

static void test_what_qemu_refuses_is_kept_for_this_boot(void **state)
{
	put_qemu("exit 1");
	assert_string_equal(kvm_accelerator(qemu, cache), "tcg");
	put_qemu("exit 85");
	assert_string_equal(kvm_accelerator(qemu, cache), "tcg");
	assert_int_equal(times_run(), 1);
}

static void test_a_probe_that_said_nothing_is_made_again(void **state)
{
	assert_string_equal(kvm_accelerator(qemu, cache), "tcg"); /* it is not there */
	put_qemu("exec sleep 1000");				  /* too slow */
	assert_string_equal(kvm_accelerator(qemu, cache), "tcg");
	put_qemu("kill -9 $$");
	assert_string_equal(kvm_accelerator(qemu, cache), "tcg");
	put_qemu("exit 85");
	assert_string_equal(kvm_accelerator(qemu, cache), "kvm");
	assert_int_equal(times_run(), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_probes_side_by_side_are_one_and_all_hear_its_answer, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_qemu_refuses_is_kept_for_this_boot, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_probe_that_said_nothing_is_made_again, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
