/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin under the real nbdkit, read by nbdcopy and qemu: every point of a
 * small store against what was put into it.
 */
#include "fileio.h"
#include "store.h"
#include "uuid.h"
#include "wallclock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_BYTES (8 * MIB + 512 * 5) /* not a whole number of chunks */
#define OTHER_BYTES (1 * MIB)
#define EPOCHS 12u
#define FIRST_TIME_US 1700000000000000ULL

static char dir[] = "/tmp/godwit-test-nbd-XXXXXX";
static char store[128];
static struct uuid machine;
static uint8_t model[EPOCHS + 1][DISK_BYTES];
static unsigned int seed;

/* --- the store and its model --------------------------------------------------------- */

static uint64_t time_of(uint64_t epoch)
{
	return FIRST_TIME_US + epoch * USEC_PER_SEC;
}

static void put_random(struct store_writer *w, uint8_t *disk)
{
	uint64_t chunk = (uint64_t)rand_r(&seed) % (DISK_BYTES / CHUNK_BYTES + 1);
	uint64_t room = MIN(CHUNK_BYTES, DISK_BYTES - chunk * CHUNK_BYTES) / SECTOR_BYTES;
	uint64_t from = (uint64_t)rand_r(&seed) % room, n = 1 + (uint64_t)rand_r(&seed) % (room - from);
	uint64_t offset = chunk * CHUNK_BYTES + from * SECTOR_BYTES;
	uint32_t length = (uint32_t)(n * SECTOR_BYTES), stored_bytes;
	uint8_t stored[CHUNK_BYTES], codec;

	if (rand_r(&seed) % 5 == 0) {
		memset(disk + offset, 0, length);
		assert_int_equal(store_put_zero(w, 0, offset, length), 0);
		return;
	}
	for (uint32_t i = 0; i < length; i++)
		disk[offset + i] = (uint8_t)(rand_r(&seed) % 7);
	stored_bytes = payload_compress((enum payload_codec)(rand_r(&seed) % 3), 1, disk + offset, length, stored,
					&codec);
	assert_int_equal(store_put_data(w, 0, offset, length, codec, stored, stored_bytes,
					payload_checksum(disk + offset, length)),
			 0);
}

static void fill_store(void)
{
	struct store_disk disks[] = {
		{ .disk = 0, .sector_bytes = 512, .size_bytes = DISK_BYTES, .id = { { 1 } }, .name = "/dev/sda" },
		{ .disk = 1, .sector_bytes = 512, .size_bytes = OTHER_BYTES, .id = { { 2 } }, .name = "/dev/sdb" },
	};
	struct store_writer *w;

	assert_int_equal(store_writer_open(store, &machine, &store_sys_default, &w), 0);
	for (unsigned int i = 0; i < ARRAY_LEN(disks); i++)
		assert_int_equal(store_put_disk(w, &disks[i]), 0);
	for (uint64_t e = 1; e <= EPOCHS; e++) {
		struct store_epoch epoch = { .epoch = e, .time_us = time_of(e), .flags = STORE_EPOCH_POINT };

		memcpy(model[e], model[e - 1], DISK_BYTES);
		for (int i = 0; i < 12; i++)
			put_random(w, model[e]);
		if (e == 7) {
			epoch.flags |= STORE_EPOCH_LABELLED;
			strcpy(epoch.label, "before the upgrade");
		}
		assert_int_equal(store_commit(w, &epoch), 0);
	}
	store_writer_close(w);
}

static int start(void **state)
{
	char id[UUID_TEXT_LEN + 1];

	seed = (unsigned int)(getenv("GODWIT_SEED") ? atoi(getenv("GODWIT_SEED")) : getpid());
	print_message("GODWIT_SEED=%u\n", seed);
	assert_non_null(mkdtemp(dir));
	machine = uuid_random();
	snprintf(store, sizeof(store), "%s/%s", dir, uuid_format(&machine, id));
	fill_store();
	return 0;
}

static int stop(void **state)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* --- running nbdkit -------------------------------------------------------------------- */

/* `nbdkit PLUGIN store=... ARGUMENTS --run 'COMMAND'`; its exit status.  What
 * it said on standard error is in @dir/err. */
static int nbdkit(const char *filter, const char *arguments, const char *command)
{
	char line[2048];
	int status;

	snprintf(line, sizeof(line), "cd %s && nbdkit -U - %s %s store=%s %s --run '%s' >out 2>err", dir, filter,
		 GODWIT_PLUGIN, store, arguments, command);
	status = system(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool said(const char *text)
{
	char path[256], *all;
	size_t len;
	bool found;

	snprintf(path, sizeof(path), "%s/err", dir);
	assert_int_equal(fileio_slurp(path, MIB, &all, &len), 0);
	found = strstr(all, text) != NULL;
	if (!found)
		print_message("it said: %s\n", all);
	free(all);
	return found;
}

static void check_image(const char *name, const uint8_t *want, size_t want_len)
{
	char path[256], *all;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(fileio_slurp(path, 64 * MIB, &all, &len), 0);
	assert_int_equal(len, want_len);
	assert_memory_equal(all, want, want_len);
	free(all);
	assert_int_equal(unlink(path), 0);
}

/* --- tests ------------------------------------------------------------------------------- */

static void test_every_point_copied_by_nbdcopy_is_what_it_was(void **state)
{
	char arguments[64];

	for (uint64_t e = 1; e <= EPOCHS; e++) {
		snprintf(arguments, sizeof(arguments), "epoch=%llu disk=0", (unsigned long long)e);
		assert_int_equal(nbdkit("", arguments, "nbdcopy --connections=4 --requests=64 $uri image"), 0);
		check_image("image", model[e], DISK_BYTES);
	}
}

static void test_qemu_img_reads_the_same(void **state)
{
	assert_int_equal(nbdkit("", "disk=sda", "qemu-img convert -f raw -O qcow2 $uri q && "
						"qemu-img convert -f qcow2 -O raw q image"),
			 0);
	check_image("image", model[EPOCHS], DISK_BYTES);
}

static void test_holes_are_shown_and_are_zeroes(void **state)
{
	/* The second disk was never written. */
	assert_int_equal(nbdkit("", "disk=sdb", "nbdinfo --map --totals $uri | grep -q \"100.0%.*hole,zero\""), 0);
	assert_int_equal(nbdkit("", "disk=1", "nbdcopy $uri image"), 0);
	check_image("image", (const uint8_t[OTHER_BYTES]){ 0 }, OTHER_BYTES);
}

static void test_a_point_is_found_by_id_label_and_time(void **state)
{
	struct uuid point = uuid_from_epoch(&machine, 5);
	char arguments[128], text[64];

	snprintf(arguments, sizeof(arguments), "disk=0 at=%s", uuid_format(&point, text));
	assert_int_equal(nbdkit("", arguments, "nbdcopy $uri image"), 0);
	check_image("image", model[5], DISK_BYTES);
	assert_int_equal(nbdkit("", "disk=0 at=\"before the upgrade\"", "nbdcopy $uri image"), 0);
	check_image("image", model[7], DISK_BYTES);
	snprintf(arguments, sizeof(arguments), "disk=0 time=%s", wallclock_format(time_of(9) + 999999, text));
	assert_int_equal(nbdkit("", arguments, "nbdcopy $uri image"), 0);
	check_image("image", model[9], DISK_BYTES);
}

static void test_a_time_out_of_range_is_told_with_the_range(void **state)
{
	char first[WALLCLOCK_TEXT_LEN + 1], last[WALLCLOCK_TEXT_LEN + 1];

	wallclock_format(time_of(1), first);
	wallclock_format(time_of(EPOCHS), last);
	assert_int_not_equal(nbdkit("", "disk=0 at=2001-01-01T00:00:00Z", "true"), 0);
	assert_true(said(first) && said(last));
	assert_int_not_equal(nbdkit("", "disk=0 at=now", "true"), 0);
	assert_true(said(first) && said(last));
}

static void test_what_is_not_there_is_told(void **state)
{
	assert_int_not_equal(nbdkit("", "disk=0 at=nonsense", "true"), 0);
	assert_true(said("nonsense is not a recovery point"));
	assert_int_not_equal(nbdkit("", "disk=0 epoch=99", "true"), 0);
	assert_true(said("no such recovery point"));
	assert_int_not_equal(nbdkit("", "", "true"), 0);
	assert_true(said("choose one with disk="));
	assert_int_not_equal(nbdkit("", "disk=sdz", "true"), 0);
	assert_true(said("no such disk"));
	assert_int_not_equal(nbdkit("", "disk=0 epoch=x", "true"), 0);
	assert_int_not_equal(nbdkit("", "disk=0 epoch=1 at=latest", "true"), 0);
	assert_int_not_equal(nbdkit("", "dsk=0", "true"), 0);
}

static void test_it_cannot_be_written_to(void **state)
{
	assert_int_not_equal(nbdkit("", "disk=0", "qemu-io -f raw -c \"write -P 1 0 4k\" $uri"), 0);
}

static void test_with_the_cow_filter_it_can_and_the_store_stays(void **state)
{
	static uint8_t want[DISK_BYTES];

	memcpy(want, model[EPOCHS], DISK_BYTES);
	memset(want + 70000, 0xaa, 5000);
	assert_int_equal(nbdkit("--filter=cow", "disk=0",
				"qemu-io -f raw -c \"write -P 170 70000 5000\" $uri && nbdcopy $uri image"),
			 0);
	check_image("image", want, DISK_BYTES);
	assert_int_equal(nbdkit("", "disk=0", "nbdcopy $uri image"), 0);
	check_image("image", model[EPOCHS], DISK_BYTES);
}

static void test_many_readers_at_once_get_the_same(void **state)
{
	assert_int_equal(nbdkit("", "disk=0",
				"for i in 1 2 3 4 5 6 7 8; do nbdcopy --connections=4 --requests=16 --request-size=4096 "
				"$uri image$i & done; wait; for i in 2 3 4 5 6 7 8; do cmp image1 image$i && "
				"rm image$i || exit 1; done"),
			 0);
	check_image("image1", model[EPOCHS], DISK_BYTES);
}

/* Offset of the stored payload of the newest version of @chunk: by searching. */
static bool damage_payload_of(const uint8_t *payload, size_t len)
{
	char command[512], path[256], *all;
	bool found = false;
	size_t size;
	FILE *list;

	snprintf(command, sizeof(command), "ls %s/dat-*", store);
	list = popen(command, "r");
	assert_non_null(list);
	while (!found && fgets(path, sizeof(path), list)) {
		uint8_t *at;

		path[strcspn(path, "\n")] = 0;
		assert_int_equal(fileio_slurp(path, 64 * MIB, &all, &size), 0);
		at = memmem(all, size, payload, len);
		if (at) {
			int fd = open(path, O_WRONLY | O_CLOEXEC);

			assert_int_equal(fileio_pwrite_full(fd, "damage!", 7, (uint64_t)(at - (uint8_t *)all)), 0);
			close(fd);
			found = true;
		}
		free(all);
	}
	pclose(list);
	return found;
}

static void test_damage_is_an_error_there_and_nowhere_else(void **state)
{
	struct store_epoch epoch = { .epoch = EPOCHS + 1, .time_us = time_of(EPOCHS + 1), .flags = STORE_EPOCH_POINT };
	uint8_t chunk[CHUNK_BYTES];
	struct store_writer *w;

	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (uint8_t)(i * 167 + (i >> 8));
	assert_int_equal(store_writer_open(store, &machine, &store_sys_default, &w), 0);
	assert_int_equal(store_put_data(w, 0, 10 * CHUNK_BYTES, CHUNK_BYTES, CODEC_RAW, chunk, CHUNK_BYTES,
					payload_checksum(chunk, CHUNK_BYTES)),
			 0);
	assert_int_equal(store_commit(w, &epoch), 0);
	store_writer_close(w);
	assert_true(damage_payload_of(chunk, sizeof(chunk)));

	assert_int_not_equal(nbdkit("--threads=1", "disk=0", "nbdcopy $uri image"), 0);
	assert_true(said("is damaged"));
	(void)nbdkit("--threads=1", "disk=0", "qemu-io -r -f raw -c \"read 0 655360\" -c \"read 720896 1M\" $uri");
	assert_int_equal(nbdkit("--threads=1", "disk=0",
				"qemu-io -r -f raw -c \"read 0 655360\" -c \"read 720896 1M\" $uri"),
			 0);
	/* An older point does not have it. */
	assert_int_equal(nbdkit("", "disk=0 epoch=12", "nbdcopy $uri image"), 0);
	check_image("image", model[EPOCHS], DISK_BYTES);
}

static void test_an_open_point_stays_readable_when_upkeep_has_dropped_it(void **state)
{
	struct store_policy policy = { 1, 0, 0 };
	struct store_upkeep_options o = { .now_us = time_of(EPOCHS) + 3600 * USEC_PER_SEC };
	struct store_upkeep_result r;
	char path[256], line[1024];
	int status;

	snprintf(line, sizeof(line),
		 "cd %s && nbdkit -U sock -P pid %s store=%s disk=0 epoch=3 && nbdcopy --connections=1 "
		 "'nbd+unix:///?socket=sock' image",
		 dir, GODWIT_PLUGIN, store);
	assert_int_equal(system(line), 0);
	check_image("image", model[3], DISK_BYTES);
	assert_int_equal(store_policy_set(store, &store_sys_default, &policy), 0);
	do
		assert_int_equal(store_upkeep(store, &store_sys_default, &o, &r), 0);
	while (r.more);
	assert_int_not_equal(nbdkit("", "disk=0 epoch=2", "true"), 0); /* nobody held that */
	snprintf(line, sizeof(line), "cd %s && nbdcopy 'nbd+unix:///?socket=sock' image; s=$?; kill $(cat pid); exit $s",
		 dir);
	status = system(line);
	assert_int_equal(status, 0);
	snprintf(path, sizeof(path), "image");
	check_image(path, model[3], DISK_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_point_copied_by_nbdcopy_is_what_it_was),
		cmocka_unit_test(test_qemu_img_reads_the_same),
		cmocka_unit_test(test_holes_are_shown_and_are_zeroes),
		cmocka_unit_test(test_a_point_is_found_by_id_label_and_time),
		cmocka_unit_test(test_a_time_out_of_range_is_told_with_the_range),
		cmocka_unit_test(test_what_is_not_there_is_told),
		cmocka_unit_test(test_it_cannot_be_written_to),
		cmocka_unit_test(test_with_the_cow_filter_it_can_and_the_store_stays),
		cmocka_unit_test(test_many_readers_at_once_get_the_same),
		cmocka_unit_test(test_an_open_point_stays_readable_when_upkeep_has_dropped_it),
		cmocka_unit_test(test_damage_is_an_error_there_and_nowhere_else),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
