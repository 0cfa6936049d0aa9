/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk wants to be started with, on disks of a few sectors made here. */
#include "bootdisk.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SECTORS 64u
#define DISKS 2u

struct disks {
	unsigned int sector;
	uint8_t bytes[DISKS][SECTORS * 4096];
	int error;
};

static uint64_t size_of(void *context, unsigned int disk)
{
	const struct disks *d = context;

	return (uint64_t)SECTORS * d->sector;
}

static unsigned int sector_of(void *context, unsigned int disk)
{
	return ((const struct disks *)context)->sector;
}

static int read_of(void *context, unsigned int disk, uint64_t offset, uint32_t length, void *ret)
{
	const struct disks *d = context;

	assert_true(disk < DISKS && offset + length <= size_of(context, disk));
	memcpy(ret, d->bytes[disk] + offset, length);
	return d->error;
}

static struct bootdisk find_from(struct disks *d, unsigned int count, unsigned int likely,
				 enum bootdisk_firmware preferred)
{
	struct bootdisk_source s = { count, likely, size_of, sector_of, read_of, d };
	struct bootdisk b;

	assert_int_equal(bootdisk_find(&s, preferred, &b), 0);
	return b;
}

static struct bootdisk find(struct disks *d, unsigned int count, enum bootdisk_firmware preferred)
{
	return find_from(d, count, 0, preferred);
}

static struct disks *new_disks(unsigned int sector)
{
	struct disks *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->sector = sector;
	return d;
}

static void put_signature(uint8_t *disk)
{
	disk[510] = 0x55;
	disk[511] = 0xaa;
}

static void put_mbr_entry(uint8_t *disk, unsigned int n, bool active, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *e = disk + 446 + (size_t)n * 16;

	put_signature(disk);
	e[0] = active ? 0x80 : 0;
	e[4] = type;
	put_le32(e + 8, first);
	put_le32(e + 12, count);
}

static void put_gpt(uint8_t *disk, unsigned int sector)
{
	put_mbr_entry(disk, 0, false, 0xee, 1, SECTORS - 1);
	memcpy(disk + sector, "EFI PART", 8);
	put_le64(disk + sector + 72, 2);
	put_le32(disk + sector + 80, 4);
	put_le32(disk + sector + 84, 128);
}

/* The type's text, as tools show it, to its bytes on the disk. */
static void put_gpt_entry(uint8_t *disk, unsigned int sector, unsigned int n, const char *type, uint64_t first,
			  uint64_t last)
{
	uint8_t *e = disk + 2 * (size_t)sector + (size_t)n * 128;
	unsigned int b[16];

	assert_int_equal(sscanf(type, "%2x%2x%2x%2x-%2x%2x-%2x%2x-%2x%2x-%2x%2x%2x%2x%2x%2x", &b[3], &b[2], &b[1],
				&b[0], &b[5], &b[4], &b[7], &b[6], &b[8], &b[9], &b[10], &b[11], &b[12], &b[13],
				&b[14], &b[15]), 16);
	for (unsigned int i = 0; i < 16; i++)
		e[i] = (uint8_t)b[i];
	put_le64(e + 32, first);
	put_le64(e + 40, last);
}

#define EFI_SYSTEM "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
#define BIOS_BOOT  "21686148-6449-6E6F-744E-656564454649"

static void test_empty_disks_cannot_start(void **state)
{
	struct disks *d = new_disks(512);

	assert_int_equal(find(d, 2, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	put_signature(d->bytes[0]);
	assert_int_equal(find(d, 2, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	free(d);
}

static void test_boot_code_and_a_table_are_bios(void **state)
{
	struct disks *d = new_disks(512);
	struct bootdisk b;

	d->bytes[0][0] = 0xeb;
	put_mbr_entry(d->bytes[0], 0, true, 0x83, 8, 8);
	b = find(d, 1, FIRMWARE_UEFI);
	assert_int_equal(b.firmware, FIRMWARE_BIOS);
	assert_false(b.gpt);
	assert_false(b.has_uefi);
	free(d);
}

static void test_the_first_disk_that_can_start_starts(void **state)
{
	struct disks *d = new_disks(512);

	put_mbr_entry(d->bytes[0], 0, false, 0x83, 8, 8); /* a table, no code */
	d->bytes[1][0] = 0xeb;
	put_mbr_entry(d->bytes[1], 0, true, 0x83, 8, 8);
	assert_int_equal(find(d, 2, FIRMWARE_NONE).disk, 1);
	free(d);
}

/* The other one may have boot code of its earlier life. */
static void test_the_firmware_that_is_preferred_chooses_the_disk(void **state)
{
	struct disks *d = new_disks(512);

	d->bytes[0][0] = 0xeb;
	put_mbr_entry(d->bytes[0], 0, true, 0x83, 8, 8);
	put_mbr_entry(d->bytes[1], 0, false, 0xef, 8, 8);
	assert_int_equal(find(d, 2, FIRMWARE_NONE).disk, 0);
	assert_int_equal(find(d, 2, FIRMWARE_BIOS).disk, 0);
	assert_int_equal(find(d, 2, FIRMWARE_UEFI).disk, 1);
	assert_int_equal(find(d, 2, FIRMWARE_UEFI).firmware, FIRMWARE_UEFI);
	assert_false(find(d, 2, FIRMWARE_UEFI).has_code);
	assert_true(find(d, 2, FIRMWARE_BIOS).has_code);
	free(d);
}

/* The first has the system of its earlier life. */
static void test_the_disk_that_the_source_starts_from_is_before_the_others(void **state)
{
	struct disks *d = new_disks(512);

	for (unsigned int i = 0; i < 2; i++) {
		d->bytes[i][0] = 0xeb;
		put_mbr_entry(d->bytes[i], 0, true, 0x83, 8, 8);
	}
	assert_int_equal(find_from(d, 2, 0, FIRMWARE_BIOS).disk, 0);
	assert_int_equal(find_from(d, 2, 1, FIRMWARE_BIOS).disk, 1);
	assert_int_equal(find_from(d, 2, 7, FIRMWARE_BIOS).disk, 0); /* there is none */
	/* If it can: else it is as if nothing were said. */
	d->bytes[1][0] = 0;
	assert_int_equal(find_from(d, 2, 1, FIRMWARE_BIOS).disk, 0);
	free(d);
}

static void test_gpt_with_an_efi_system_partition_is_uefi(void **state)
{
	static const unsigned int sectors[] = { 512, 4096 };

	for (unsigned int i = 0; i < ARRAY_LEN(sectors); i++) {
		struct disks *d = new_disks(sectors[i]);
		struct bootdisk b;

		put_gpt(d->bytes[0], sectors[i]);
		put_gpt_entry(d->bytes[0], sectors[i], 1, EFI_SYSTEM, 40, 47);
		b = find(d, 1, FIRMWARE_NONE);
		assert_int_equal(b.firmware, FIRMWARE_UEFI);
		assert_true(b.gpt);
		assert_int_equal(b.esp_offset, 40 * sectors[i]);
		assert_int_equal(b.esp_bytes, 8 * sectors[i]);
		free(d);
	}
}

static void test_a_disk_that_can_do_both_does_as_its_source(void **state)
{
	struct disks *d = new_disks(512);

	d->bytes[0][0] = 0xeb;
	put_gpt(d->bytes[0], 512);
	put_gpt_entry(d->bytes[0], 512, 0, BIOS_BOOT, 34, 35);
	put_gpt_entry(d->bytes[0], 512, 1, EFI_SYSTEM, 40, 47);
	assert_int_equal(find(d, 1, FIRMWARE_UEFI).firmware, FIRMWARE_UEFI);
	assert_int_equal(find(d, 1, FIRMWARE_BIOS).firmware, FIRMWARE_BIOS);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_BIOS);
	free(d);
}

static void test_ranges_past_the_end_are_no_partitions(void **state)
{
	struct disks *d = new_disks(512);

	put_gpt(d->bytes[0], 512);
	put_gpt_entry(d->bytes[0], 512, 0, EFI_SYSTEM, 40, SECTORS);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	put_gpt_entry(d->bytes[0], 512, 0, EFI_SYSTEM, 40, UINT64_MAX);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	put_gpt_entry(d->bytes[0], 512, 0, EFI_SYSTEM, 47, 40);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	free(d);
}

static void test_absurd_tables_are_no_tables(void **state)
{
	struct disks *d = new_disks(512);

	put_gpt(d->bytes[0], 512);
	put_gpt_entry(d->bytes[0], 512, 0, EFI_SYSTEM, 40, 47);
	put_le32(d->bytes[0] + 512 + 80, UINT32_MAX);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	put_le32(d->bytes[0] + 512 + 80, 4);
	put_le64(d->bytes[0] + 512 + 72, UINT64_MAX / 512);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	put_le64(d->bytes[0] + 512 + 72, SECTORS - 1); /* four entries do not fit behind it */
	put_le32(d->bytes[0] + 512 + 84, 4096);
	assert_int_equal(find(d, 1, FIRMWARE_NONE).firmware, FIRMWARE_NONE);
	free(d);
}

static void test_a_disk_that_cannot_be_read_is_an_error(void **state)
{
	struct disks *d = new_disks(512);
	struct bootdisk_source s = { 1, 0, size_of, sector_of, read_of, d };
	struct bootdisk b;

	d->error = -EBADMSG;
	assert_int_equal(bootdisk_find(&s, FIRMWARE_NONE, &b), -EBADMSG);
	free(d);
}

/* Whatever the bytes are, nothing outside the disk is read (read_of() asserts it). */
static void test_random_bytes_do_no_harm(void **state)
{
	const char *given = getenv("GODWIT_SEED");
	unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 20261122;
	struct disks *d = new_disks(512);

	print_message("GODWIT_SEED=%u\n", seed);
	srand(seed);
	for (unsigned int i = 0; i < 2000; i++) {
		for (unsigned int k = 0; k < 4 * 512; k++)
			d->bytes[0][k] = (uint8_t)(rand() >> 7);
		put_signature(d->bytes[0]);
		if (i % 2)
			memcpy(d->bytes[0] + 512, "EFI PART", 8);
		if (i % 3)
			d->bytes[0][446 + 4] = 0xee;
		(void)find(d, 1, (enum bootdisk_firmware)(i % 3));
	}
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_disks_cannot_start),
		cmocka_unit_test(test_boot_code_and_a_table_are_bios),
		cmocka_unit_test(test_the_first_disk_that_can_start_starts),
		cmocka_unit_test(test_the_firmware_that_is_preferred_chooses_the_disk),
		cmocka_unit_test(test_the_disk_that_the_source_starts_from_is_before_the_others),
		cmocka_unit_test(test_gpt_with_an_efi_system_partition_is_uefi),
		cmocka_unit_test(test_a_disk_that_can_do_both_does_as_its_source),
		cmocka_unit_test(test_ranges_past_the_end_are_no_partitions),
		cmocka_unit_test(test_absurd_tables_are_no_tables),
		cmocka_unit_test(test_a_disk_that_cannot_be_read_is_an_error),
		cmocka_unit_test(test_random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
