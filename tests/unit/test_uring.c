// SPDX-License-Identifier: Apache-2.0
/* Reads through io_uring, also when the kernel has no memory for a moment. */
#include "base.h"
#include "uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define READS 4u
#define BYTES 4096u

static int failures; /* so many calls fail */
static bool works;   /* the kernel allows io_uring */
static struct uring *uring;
static int file;
static uint8_t buffers[READS][BYTES];

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (failures > 0) {
		failures--;
		return -EAGAIN;
	}
	return __real_io_uring_submit(ring);
}

static int begin(void **state)
{
	char path[] = "/tmp/godwit-uring.XXXXXX";
	struct io_uring probe;

	file = mkstemp(path);
	if (file < 0 || unlink(path) < 0)
		return -1;
	for (unsigned int i = 0; i < READS; i++) {
		memset(buffers[i], 'a' + (int)i, BYTES);
		if (write(file, buffers[i], BYTES) != BYTES)
			return -1;
	}
	memset(buffers, 0, sizeof(buffers));
	failures = 0;
	works = io_uring_queue_init(1, &probe, 0) == 0;
	if (works)
		io_uring_queue_exit(&probe);
	else
		print_message("the kernel allows no io_uring: reads are made at once\n");
	return uring_new(READS, &uring);
}

static int end(void **state)
{
	uring_free(uring);
	close(file);
	return 0;
}

/* All of them, each once, each with its own content. */
static void all_end(unsigned int count)
{
	unsigned int seen[READS] = { 0 }, tag, ended = 0;
	int error;

	while (ended < count) {
		struct pollfd p = { .fd = uring_fd(uring), .events = POLLIN };

		assert_int_equal(poll(&p, 1, 10000), 1);
		while (uring_ended(uring, &tag, &error) == 1) {
			assert_int_equal(error, 0);
			assert_true(tag < count && !seen[tag]++);
			assert_true(buffers[tag][0] == 'a' + (int)tag && memcmp(buffers[tag], buffers[tag] + 1, BYTES - 1) == 0);
			ended++;
		}
	}
	assert_int_equal(uring_ended(uring, &tag, &error), 0);
}

static void reads_end_each_with_its_own_content(void **state)
{
	for (unsigned int i = 0; i < READS; i++)
		assert_int_equal(uring_read(uring, file, buffers[i], BYTES, i * BYTES, i), 0);
	all_end(READS);
}

static void a_read_that_the_kernel_did_not_take_at_once_is_taken_later_and_once(void **state)
{
	failures = 3;
	for (unsigned int i = 0; i < READS; i++)
		assert_int_equal(uring_read(uring, file, buffers[i], BYTES, i * BYTES, i), 0);
	all_end(READS);
	assert_true(failures == 0 || !works);
}

static void the_only_read_is_handed_over_although_no_other_follows(void **state)
{
	failures = 5;
	assert_int_equal(uring_read(uring, file, buffers[0], BYTES, 0, 0), 0);
	all_end(1);
	assert_true(failures == 0 || !works);
}

static void a_read_past_the_end_is_an_error_of_its_own(void **state)
{
	unsigned int tag;
	int error;
	struct pollfd p = { .fd = uring_fd(uring), .events = POLLIN };

	assert_int_equal(uring_read(uring, file, buffers[0], BYTES, READS * BYTES - 512, 2), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(uring_ended(uring, &tag, &error), 1);
	assert_int_equal(tag, 2);
	assert_int_equal(error, -EIO);
}

static void reads_into_registered_buffers_and_into_others_end_alike(void **state)
{
	struct iovec iov[READS];
	static uint8_t other[BYTES];
	unsigned int tag;
	int error;
	struct pollfd p = { .fd = uring_fd(uring), .events = POLLIN };

	for (unsigned int i = 0; i < READS; i++)
		iov[i] = (struct iovec){ buffers[i], BYTES };
	uring_register(uring, iov, READS);
	reads_end_each_with_its_own_content(state);
	assert_int_equal(uring_read(uring, file, other, BYTES, BYTES, 2), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(uring_ended(uring, &tag, &error), 1);
	assert_true(tag == 2 && error == 0 && other[0] == 'b' && buffers[2][0] == 'c');
	a_read_past_the_end_is_an_error_of_its_own(state);
}

/* The new ones lie where the first did, as after free() and malloc(), in other pages. */
static void buffers_registered_anew_while_reads_are_under_way_are_read_into(void **state)
{
	struct iovec iov[READS];
	uint8_t *place = mmap(NULL, READS * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(place != MAP_FAILED);
	for (unsigned int i = 0; i < READS; i++)
		iov[i] = (struct iovec){ place + i * BYTES, BYTES };
	uring_register(uring, iov, READS);
	assert_int_equal(uring_read(uring, file, buffers[0], BYTES, 0, 0), 0);
	assert_true(mmap(place, READS * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		    place);
	iov[READS - 1].iov_len = BYTES / 2;
	uring_register(uring, iov, READS);
	for (int round = 0; round < 3; round++) {
		memset(place, 0, READS * BYTES);
		for (unsigned int i = 1; i < READS; i++)
			assert_int_equal(uring_read(uring, file, place + i * BYTES, BYTES, i * BYTES, i), 0);
		for (unsigned int ended = round ? 1 : 0, tag; ended < READS;) {
			struct pollfd p = { .fd = uring_fd(uring), .events = POLLIN };
			int error;

			assert_int_equal(poll(&p, 1, 10000), 1);
			while (uring_ended(uring, &tag, &error) == 1) {
				assert_int_equal(error, 0);
				ended++;
			}
		}
		for (unsigned int i = 1; i < READS; i++)
			assert_int_equal(place[i * BYTES], 'a' + (int)i);
	}
	assert_int_equal(buffers[0][0], 'a');
	uring_free(uring);
	uring = NULL;
	munmap(place, READS * BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_end_each_with_its_own_content, begin, end),
		cmocka_unit_test_setup_teardown(a_read_that_the_kernel_did_not_take_at_once_is_taken_later_and_once, begin, end),
		cmocka_unit_test_setup_teardown(the_only_read_is_handed_over_although_no_other_follows, begin, end),
		cmocka_unit_test_setup_teardown(a_read_past_the_end_is_an_error_of_its_own, begin, end),
		cmocka_unit_test_setup_teardown(reads_into_registered_buffers_and_into_others_end_alike, begin, end),
		cmocka_unit_test_setup_teardown(buffers_registered_anew_while_reads_are_under_way_are_read_into, begin, end),
	};

	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
