/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of a machine, whose tables are a stranger's: how they want to be started.
 *
 * One byte says how they are, the rest is the first disk's beginning:
 *
 *	1	sectors of 4096 bytes, not of 512
 *	2, 4	the firmware that is preferred (3: none)
 *	8	two disks: the second half is the second one's beginning
 *	16	the disk ends where its bytes end; otherwise zeros follow, up to 64 GiB
 *
 * Nothing is read outside of a disk, and what is found lies on it.
 */
#include "fuzz.h"
#include "bootdisk.h"
#include <assert.h>

#define DISKS 2u
#define READS_MAX (DISKS * 2000u) /* a table has at most 1024 entries */

struct disks {
	const uint8_t *bytes[DISKS];
	uint64_t given[DISKS], size[DISKS];
	unsigned int sector, reads;
};

static uint64_t size_of(void *context, unsigned int disk)
{
	return ((const struct disks *)context)->size[disk];
}

static unsigned int sector_of(void *context, unsigned int disk)
{
	return ((const struct disks *)context)->sector;
}

static int read_of(void *context, unsigned int disk, uint64_t offset, uint32_t length, void *ret)
{
	struct disks *d = context;
	uint64_t given = offset < d->given[disk] ? MIN(d->given[disk] - offset, (uint64_t)length) : 0;

	assert(offset <= d->size[disk] && length <= d->size[disk] - offset && d->reads++ < READS_MAX);
	memset(ret, 0, length);
	if (given)
		memcpy(ret, d->bytes[disk] + offset, given);
	return 0;
}

static void check(const struct disks *d, unsigned int count, enum bootdisk_firmware preferred, const struct bootdisk *b)
{
	if (b->firmware == FIRMWARE_NONE)
		return;
	assert(b->disk < count && (b->has_bios || b->has_uefi));
	assert(b->firmware == FIRMWARE_UEFI ? b->has_uefi : b->has_bios);
	assert(!b->has_bios || b->has_code);
	assert(b->has_uefi == (b->esp_bytes > 0));
	assert(b->esp_offset <= d->size[b->disk] && b->esp_bytes <= d->size[b->disk] - b->esp_offset);
	assert(b->esp_offset % d->sector == 0 && b->esp_bytes % d->sector == 0);
	if (preferred != FIRMWARE_NONE && b->firmware != preferred)
		assert(preferred == FIRMWARE_UEFI ? !b->has_uefi : !b->has_bios);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bootdisk_source s = { .size_bytes = size_of, .sector_bytes = sector_of, .read = read_of };
	enum bootdisk_firmware preferred;
	struct disks d = { 0 };
	struct bootdisk b;
	uint64_t each;

	if (!size)
		return 0;
	d.sector = data[0] & 1 ? 4096 : 512;
	preferred = (enum bootdisk_firmware)((data[0] >> 1) % 4 % 3);
	s.count = data[0] & 8 ? 2 : 1;
	s.context = &d;
	each = (size - 1) / s.count;
	for (unsigned int i = 0; i < s.count; i++) {
		d.bytes[i] = data + 1 + i * each;
		d.given[i] = each;
		d.size[i] = data[0] & 16 ? each : 64 * 1024 * MIB;
	}
	assert(bootdisk_find(&s, preferred, &b) == 0);
	check(&d, s.count, preferred, &b);
	return 0;
}
