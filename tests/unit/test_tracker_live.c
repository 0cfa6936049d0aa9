// SPDX-License-Identifier: Apache-2.0
/* The live map against a model, with this test in BPF's part.  Needs root, for the map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "tracker-private.h"

#define REGIONS (3 * SHARED_PAGE_REGIONS + 1003) /* the last page is not full, nor its last word */

struct fixture {
	struct tracker t;
	bool model[REGIONS];
	uint64_t random;
};

static uint64_t next_random(struct fixture *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return f->random;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *s = getenv("GODWIT_SEED");
	int fd = -1;

	f->random = s ? strtoull(s, NULL, 0) | 1 : (uint64_t)random() << 20 | (uint64_t)getpid() << 1 | 1;
	printf("GODWIT_SEED=%llu\n", (unsigned long long)f->random);
	f->t.audit_fd = -1;
	*state = f;
	if (live_create(REGIONS, 12, &fd))
		return 0; /* the tests skip themselves */
	if (live_open(&f->t.disks[0].live, fd))
		return -1;
	f->t.disks[0].open = true;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->t.disks[0].open)
		live_close(&f->t.disks[0].live);
	free(f);
	return 0;
}

static struct fixture *begin(void **state)
{
	struct fixture *f = *state;

	if (!f->t.disks[0].open) {
		printf("no BPF maps here: not root?\n");
		skip();
	}
	return f;
}

/* As mark_range() in tracker/bpf/mark.h: the bytes first, then touched. */
static void bpf_mark(struct fixture *f, uint64_t region, uint64_t count)
{
	union shared_live_page *map = f->t.disks[0].live.map;

	for (uint64_t r = region; r < region + count && r < REGIONS; r++)
		f->model[r] = true;
	for (uint64_t r = region; r < region + count;) {
		uint64_t page = r / SHARED_PAGE_REGIONS;

		if (r % SHARED_PAGE_REGIONS == 0 && region + count - r >= SHARED_PAGE_REGIONS) {
			map[0].header.all[page] = 1;
			r += SHARED_PAGE_REGIONS;
		} else {
			map[1 + page].region[r % SHARED_PAGE_REGIONS] = 1; /* past the last region, too */
			r++;
		}
		map[0].header.touched[page] = 1;
	}
}

static uint64_t model_count(const struct fixture *f)
{
	uint64_t n = 0;

	for (uint64_t r = 0; r < REGIONS; r++)
		n += f->model[r];
	return n;
}

static void what_is_marked_is_found_taken_once_and_counted(void **state)
{
	struct fixture *f = begin(state);
	uint64_t region = 0;

	assert_int_equal(tracker_live_count(&f->t, 0), 0);
	bpf_mark(f, 10, 3);
	bpf_mark(f, SHARED_PAGE_REGIONS - 2, 4); /* over the end of a page */
	assert_int_equal(tracker_live_count(&f->t, 0), 7);
	assert_int_equal(tracker_live_next(&f->t, 0, &region, UINT64_MAX), 3);
	assert_int_equal(region, 10);
	assert_int_equal(tracker_live_count(&f->t, 0), 7);
	assert_int_equal(tracker_live_take(&f->t, 0, &region, 2), 2);
	assert_false(tracker_live_test(&f->t, 0, 11));
	assert_true(tracker_live_test(&f->t, 0, 12));
	region = 13;
	assert_int_equal(tracker_live_take(&f->t, 0, &region, UINT64_MAX), 4);
	assert_int_equal(region, SHARED_PAGE_REGIONS - 2);
	assert_int_equal(tracker_live_count(&f->t, 0), 1);
}

static void whole_pages_and_the_last_short_one(void **state)
{
	struct fixture *f = begin(state);
	uint64_t region = 0;

	bpf_mark(f, 0, REGIONS);
	bpf_mark(f, 3 * SHARED_PAGE_REGIONS, 1008); /* a word that reaches past the end */
	assert_int_equal(tracker_live_count(&f->t, 0), REGIONS);
	assert_int_equal(tracker_live_take(&f->t, 0, &region, UINT64_MAX), REGIONS);
	assert_int_equal(region, 0);
	assert_int_equal(tracker_live_count(&f->t, 0), 0);
	assert_int_equal(tracker_live_take(&f->t, 0, &region, UINT64_MAX), 0);
}

static void random_marks_and_takes_agree_with_the_model(void **state)
{
	struct fixture *f = begin(state);

	for (int step = 0; step < 20000; step++) {
		uint64_t region = next_random(f) % REGIONS, count = 1 + next_random(f) % 40, n;

		if (step % 500 == 0) {
			assert_int_equal(tracker_live_count(&f->t, 0), model_count(f));
			count = next_random(f) % REGIONS;
		}
		switch (next_random(f) % 4) {
		case 0:
			bpf_mark(f, region, MIN(count, REGIONS - region));
			break;
		case 1:
			tracker_live_set(&f->t, 0, region, count);
			for (uint64_t r = region; r < region + count && r < REGIONS; r++)
				f->model[r] = true;
			break;
		case 2:
			assert_int_equal(tracker_live_test(&f->t, 0, region), f->model[region]);
			break;
		default:
			n = tracker_live_take(&f->t, 0, &region, count);
			for (uint64_t r = region; r < region + n; r++) {
				assert_true(f->model[r]);
				f->model[r] = false;
			}
		}
	}
	assert_int_equal(tracker_live_count(&f->t, 0), model_count(f));
}

static void a_new_process_finds_what_was_marked_before_it(void **state)
{
	struct fixture *f = begin(state);
	int fd;

	bpf_mark(f, 100, 5);
	assert_int_equal(tracker_live_count(&f->t, 0), 5); /* touched is clear now */
	fd = dup(f->t.disks[0].live.fd);
	live_close(&f->t.disks[0].live);
	assert_int_equal(live_open(&f->t.disks[0].live, fd), 0);
	assert_int_equal(tracker_live_count(&f->t, 0), 5);
}

static void folded_into_larger_regions_nothing_is_missing(void **state)
{
	struct fixture *f = begin(state);
	struct live to;
	int fd;

	for (int i = 0; i < 300; i++)
		bpf_mark(f, next_random(f) % REGIONS, 1);
	bpf_mark(f, SHARED_PAGE_REGIONS, SHARED_PAGE_REGIONS);
	assert_int_equal(live_create((REGIONS + 1) / 2, 13, &fd), 0);
	assert_int_equal(live_open(&to, fd), 0);
	live_fold(&to, &f->t.disks[0].live, 1);
	for (uint64_t r = 0; r < (REGIONS + 1) / 2; r++) {
		bool expect = f->model[2 * r] || (2 * r + 1 < REGIONS && f->model[2 * r + 1]);

		assert_int_equal(to.map[1 + r / SHARED_PAGE_REGIONS].region[r % SHARED_PAGE_REGIONS] != 0, expect);
	}
	live_close(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_marked_is_found_taken_once_and_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_pages_and_the_last_short_one, setup, teardown),
		cmocka_unit_test_setup_teardown(random_marks_and_takes_agree_with_the_model, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_process_finds_what_was_marked_before_it, setup, teardown),
		cmocka_unit_test_setup_teardown(folded_into_larger_regions_nothing_is_missing, setup, teardown),
	};

	return cmocka_run_group_tests_name("tracker live map", tests, NULL, NULL);
}
