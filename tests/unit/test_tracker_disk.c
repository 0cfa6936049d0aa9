// SPDX-License-Identifier: Apache-2.0
/* A tracked disk's maps when its size changes.  Needs root and a bpffs, for the maps and their pins. */
#include <bpf/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>
#include "tracker-private.h"

struct fixture {
	struct tracker t;
	struct shared_config config;
	char pin_dir[64];
	bool works;
};

/* What maps the disks' live maps, as in tracker/bpf/maps.h. */
static int make_outer(int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	int inner = -1, err = live_create(1, 12, &inner);

	if (err)
		return err;
	opts.inner_map_fd = (uint32_t)inner;
	*ret_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", sizeof(uint32_t), sizeof(uint32_t), SHARED_DISKS,
				 &opts);
	close(inner);
	return *ret_fd < 0 ? -1 : 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	snprintf(f->pin_dir, sizeof(f->pin_dir), "/sys/fs/bpf/godwit-unit-%d", (int)getpid());
	f->t.pin_dir = f->pin_dir;
	f->t.config = &f->config;
	f->t.audit_fd = f->t.counters_fd = -1;
	for (size_t i = 0; i < DISKS_MAX; i++)
		f->t.disks[i].live.fd = f->t.disks[i].planes_fd = -1;
	f->works = make_outer(&f->t.outer_fd) == 0 && mkdir(f->pin_dir, 0700) == 0;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->works) {
		disk_close(&f->t.disks[0]);
		(void)!tracker_remove(f->pin_dir);
		close(f->t.outer_fd);
	}
	free(f);
	return 0;
}

static struct fixture *begin(void **state, uint64_t size_bytes)
{
	struct fixture *f = *state;
	struct tracker_disk d = { .device = makedev(7, 1), .size_bytes = size_bytes };

	if (!f->works) {
		printf("no BPF maps or no bpffs here: not root?\n");
		skip();
	}
	assert_int_equal(tracker_add_disk(&f->t, &d, NULL), 0);
	return f;
}

static void set(struct fixture *f, unsigned int plane, uint64_t region)
{
	uint64_t words, *bits = tracker_plane(&f->t, 0, plane, &words);

	assert_true(region / 64 < words);
	bits[region / 64] |= 1ULL << region % 64;
}

static uint64_t count(struct fixture *f, unsigned int plane)
{
	uint64_t n = 0, words, *bits = tracker_plane(&f->t, 0, plane, &words);

	for (uint64_t i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(bits[i]);
	return n;
}

static void what_was_set_behind_the_end_of_a_disk_that_shrank_is_not_carried_over(void **state)
{
	struct fixture *f = begin(state, 96 * MIB);

	for (unsigned int plane = 0; plane < TRACKER_PLANES; plane++) {
		set(f, plane, 3 + plane);
		set(f, plane, 96 * MIB / BLOCK_BYTES - 1);
	}
	assert_int_equal(tracker_resize_disk(&f->t, 0, 32 * MIB), 0);
	assert_int_equal(tracker_resize_disk(&f->t, 0, 64 * MIB), 0);
	assert_int_equal(f->t.disks[0].info.region_count, 64 * MIB / BLOCK_BYTES);
	for (unsigned int plane = 0; plane < TRACKER_PLANES; plane++)
		assert_int_equal(count(f, plane), 1);
	assert_int_equal(tracker_live_count(&f->t, 0), 32 * MIB / BLOCK_BYTES);
}

static void a_disk_for_which_the_maps_would_become_too_large_has_larger_regions_and_loses_nothing(void **state)
{
	struct fixture *f = begin(state, 32 * GIB);

	set(f, 2, 5);
	set(f, 2, 32 * GIB / BLOCK_BYTES - 1);
	assert_int_equal(tracker_resize_disk(&f->t, 0, 65 * GIB), 0);
	assert_int_equal(f->t.disks[0].info.region_shift, 14);
	assert_int_equal(count(f, 2), 2);
	assert_int_equal(tracker_live_count(&f->t, 0), 33 * GIB >> 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_set_behind_the_end_of_a_disk_that_shrank_is_not_carried_over, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			a_disk_for_which_the_maps_would_become_too_large_has_larger_regions_and_loses_nothing, setup, teardown),
	};

	return cmocka_run_group_tests_name("tracker disk", tests, NULL, NULL);
}
