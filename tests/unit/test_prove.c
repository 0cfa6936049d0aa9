// SPDX-License-Identifier: Apache-2.0
/*
 * The self-test's verdict: the disk is a file, and what the BPF programs see of each
 * read of it is filled into the proof area here, rightly or wrongly.
 */
#include "tracker-private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_BYTES (256 * KIB)
#define VMEMMAP 0xffffea0000000000ULL
#define DIRECT	0xffff888000000000ULL

/* What the programs make of a read. */
enum sight { SIGHT_RIGHT, SIGHT_WRONG_AT_ISSUE, SIGHT_WRONG_AT_COMPLETION, SIGHT_UNREADABLE, SIGHT_NONE };

static struct {
	struct tracker t;
	struct shared_config config;
	struct shared_proof proof;
	int disk_fd;
	enum sight sights[4]; /* of the reads in turn, over and over */
	unsigned int reads;
} world;

static enum sight next_sight(void)
{
	return world.sights[world.reads++ % ARRAY_LEN(world.sights)];
}

static void see_issue(struct shared_proof *p, const void *buf, enum sight sight)
{
	p->issues++;
	p->pieces = 1;
	if (sight == SIGHT_UNREADABLE)
		return;
	p->at_issue_ok = 1;
	memcpy(p->at_issue, buf, SHARED_PROOF_BYTES);
	p->at_issue[100] ^= sight == SIGHT_WRONG_AT_ISSUE;
	if (!p->direct_base) { /* no address was known, and this one was found */
		p->found = 1;
		p->vmemmap_base = VMEMMAP;
		p->direct_base = DIRECT;
	}
}

static void see_completion(struct shared_proof *p, const void *buf, enum sight sight)
{
	p->completions++;
	if (sight == SIGHT_UNREADABLE)
		return;
	p->at_completion_ok = 1;
	memcpy(p->at_completion, buf, SHARED_PROOF_BYTES);
	p->at_completion[SHARED_PROOF_BYTES - 1] ^= sight == SIGHT_WRONG_AT_COMPLETION;
}

/* --- in the place of libbpf and the kernel ------------------------------------------------- */

int __wrap_bpf_raw_tracepoint_open(const char *name, int program_fd);
int __wrap_bpf_raw_tracepoint_open(const char *name, int program_fd)
{
	return dup(world.disk_fd);
}

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at)
{
	struct shared_proof *p = &world.proof;
	enum sight sight;
	ssize_t n;

	if (fd != world.disk_fd || !p->device)
		return __real_pread64(fd, buf, len, at);
	assert_int_equal(p->sector, (uint64_t)at / SECTOR_BYTES);
	sight = next_sight();
	if (sight != SIGHT_NONE)
		see_issue(p, buf, sight);
	n = __real_pread64(fd, buf, len, at);
	if (sight != SIGHT_NONE)
		see_completion(p, buf, sight);
	return n;
}

/* --- the tests ----------------------------------------------------------------------------- */

static int setup(void **state)
{
	static uint8_t content[DISK_BYTES];
	static char pin_dir[] = "/nowhere";

	memset(&world, 0, sizeof(world));
	world.t = (struct tracker){ .config = &world.config, .proof = &world.proof, .pin_dir = pin_dir };
	world.t.disks[0] = (struct disk){ .open = true, .info = { .device = makedev(7, 1), .size_bytes = DISK_BYTES } };
	world.config.payload_programs = 1;
	choose_mode(&world.t);
	world.disk_fd = memfd_create("disk", MFD_CLOEXEC);
	return world.disk_fd < 0 || getrandom(content, sizeof(content), 0) != sizeof(content) ||
	       write(world.disk_fd, content, sizeof(content)) != sizeof(content);
}

static int teardown(void **state)
{
	return close(world.disk_fd);
}

static int prove(enum sight first, enum sight second, enum sight third, enum sight fourth, struct fault *ret_fault)
{
	memcpy(world.sights, (const enum sight[]){ first, second, third, fourth }, sizeof(world.sights));
	world.reads = 0;
	return tracker_prove(&world.t, 0, world.disk_fd, ret_fault);
}

static int prove_always(enum sight sight, struct fault *ret_fault)
{
	return prove(sight, sight, sight, sight, ret_fault);
}

static void assert_unproved(enum sight sight)
{
	struct fault f = { 0 };
	char text[1024];

	assert_int_equal(prove_always(sight, &f), -EOPNOTSUPP);
	assert_int_equal(f.code, MSG_CAPTURE_UNPROVED);
	fault_format(&f, LANGUAGE_EN, text, sizeof(text));
	assert_non_null(strstr(text, "the self-test failed"));
	assert_int_equal(tracker_mode(&world.t), TRACKER_DIRTY_MAP);
	assert_int_equal(world.config.proved, 0);
}

static void test_payload_is_not_trusted_before_it_is_proved(void **state)
{
	assert_int_equal(tracker_mode(&world.t), TRACKER_DIRTY_MAP);
	assert_int_equal(prove_always(SIGHT_RIGHT, NULL), 0);
	assert_int_equal(tracker_mode(&world.t), TRACKER_PAYLOAD);
	assert_int_equal(world.config.vmemmap_base, VMEMMAP);
	assert_int_equal(world.config.direct_base, DIRECT);
}

static void test_what_is_read_wrong_at_issue_or_completion_proves_nothing(void **state)
{
	assert_unproved(SIGHT_WRONG_AT_ISSUE);
	assert_int_equal(world.config.direct_base, 0); /* nor are the addresses believed */
	assert_unproved(SIGHT_WRONG_AT_COMPLETION);
	assert_unproved(SIGHT_UNREADABLE);
}

static void test_what_is_right_three_times_of_four_proves_nothing(void **state)
{
	assert_int_equal(prove(SIGHT_RIGHT, SIGHT_RIGHT, SIGHT_RIGHT, SIGHT_WRONG_AT_COMPLETION, NULL), -EOPNOTSUPP);
	assert_int_equal(tracker_mode(&world.t), TRACKER_DIRTY_MAP);
}

static void test_what_fails_for_one_disk_is_believed_for_none(void **state)
{
	assert_int_equal(prove_always(SIGHT_RIGHT, NULL), 0);
	assert_unproved(SIGHT_WRONG_AT_COMPLETION);
	assert_int_equal(prove_always(SIGHT_RIGHT, NULL), 0);
	assert_int_equal(tracker_mode(&world.t), TRACKER_PAYLOAD);
}

static void test_a_disk_whose_reads_no_program_sees_is_refused(void **state)
{
	struct fault f = { 0 };

	assert_int_equal(prove_always(SIGHT_NONE, &f), -ENXIO);
	assert_int_equal(f.code, MSG_DISK_NOT_CAPTURABLE);
	assert_int_equal(tracker_mode(&world.t), TRACKER_DIRTY_MAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_payload_is_not_trusted_before_it_is_proved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_read_wrong_at_issue_or_completion_proves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_right_three_times_of_four_proves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_fails_for_one_disk_is_believed_for_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_whose_reads_no_program_sees_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests_name("prove", tests, NULL, NULL);
}
