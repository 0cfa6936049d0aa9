/* SPDX-License-Identifier: Apache-2.0 */
#include "bootdisk.h"

#include <errno.h>

/* The master boot record. */
#define MBR_BYTES	  512u
#define MBR_CODE_BYTES	  440u
#define MBR_TABLE	  446u
#define MBR_ENTRY_BYTES	  16u
#define MBR_ENTRIES	  4u
#define MBR_SIGNATURE	  510u
#define MBR_ACTIVE	  0x80
#define MBR_TYPE_EFI	  0xef
#define MBR_TYPE_PROTECTS 0xee /* a GPT follows */

/* The header of a GUID partition table, and its entries. */
#define GPT_HEADER_MIN	92u
#define GPT_TABLE_LBA	72u
#define GPT_ENTRIES	80u
#define GPT_ENTRY_BYTES 84u
#define GPT_ENTRIES_MAX 1024u
#define GPT_ENTRY_MIN	128u
#define GPT_ENTRY_MAX	4096u

/* As they stand on the disk: the first three groups of the text are little-endian. */
static const uint8_t type_efi_system[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
					     0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
static const uint8_t type_bios_boot[16] = { 0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e,
					    0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49 };

struct seen {
	bool code, active, bios_boot, gpt;
	uint64_t esp_offset, esp_bytes;
};

/* Sectors to bytes, if the range lies on the disk. */
static bool range_on_disk(uint64_t first, uint64_t count, uint64_t sector, uint64_t size, uint64_t *ret_offset,
			  uint64_t *ret_bytes)
{
	if (first == 0 || count == 0 || first > size / sector || count > size / sector - first)
		return false;
	*ret_offset = first * sector;
	*ret_bytes = count * sector;
	return true;
}

static void look_at_mbr_entry(const uint8_t *e, uint64_t sector, uint64_t size, struct seen *seen)
{
	uint8_t type = e[4];

	if (type == 0)
		return;
	if (type == MBR_TYPE_PROTECTS)
		seen->gpt = true;
	if (e[0] == MBR_ACTIVE)
		seen->active = true;
	if (type == MBR_TYPE_EFI && !seen->esp_bytes)
		(void)range_on_disk(get_le32(e + 8), get_le32(e + 12), sector, size, &seen->esp_offset,
				    &seen->esp_bytes);
}

static void look_at_gpt_entry(const uint8_t *e, uint64_t sector, uint64_t size, struct seen *seen)
{
	uint64_t first = get_le64(e + 32), last = get_le64(e + 40);

	if (memcmp(e, type_bios_boot, sizeof(type_bios_boot)) == 0)
		seen->bios_boot = true;
	if (memcmp(e, type_efi_system, sizeof(type_efi_system)) == 0 && !seen->esp_bytes && last >= first)
		(void)range_on_disk(first, last - first + 1, sector, size, &seen->esp_offset, &seen->esp_bytes);
}

static int look_at_gpt(const struct bootdisk_source *s, unsigned int disk, uint64_t sector, struct seen *seen)
{
	uint64_t size = s->size_bytes(s->context, disk), table, bytes;
	uint8_t header[GPT_HEADER_MIN], entry[GPT_ENTRY_MIN];
	uint32_t count, entry_bytes;
	int err;

	if (size < 3 * sector)
		return 0;
	err = s->read(s->context, disk, sector, sizeof(header), header);
	if (err)
		return err;
	if (memcmp(header, "EFI PART", 8) != 0) {
		seen->gpt = false;
		return 0;
	}
	count = get_le32(header + GPT_ENTRIES);
	entry_bytes = get_le32(header + GPT_ENTRY_BYTES);
	if (count > GPT_ENTRIES_MAX || entry_bytes < GPT_ENTRY_MIN || entry_bytes > GPT_ENTRY_MAX ||
	    !range_on_disk(get_le64(header + GPT_TABLE_LBA), 1, sector, size, &table, &bytes) ||
	    (uint64_t)count * entry_bytes > size - table)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		err = s->read(s->context, disk, table + (uint64_t)i * entry_bytes, sizeof(entry), entry);
		if (err)
			return err;
		look_at_gpt_entry(entry, sector, size, seen);
	}
	return 0;
}

static int look_at_disk(const struct bootdisk_source *s, unsigned int disk, struct seen *seen)
{
	uint64_t size = s->size_bytes(s->context, disk);
	uint64_t sector = s->sector_bytes(s->context, disk);
	uint8_t mbr[MBR_BYTES];
	int err;

	*seen = (struct seen){ 0 };
	if (size < MBR_BYTES)
		return 0;
	err = s->read(s->context, disk, 0, sizeof(mbr), mbr);
	if (err)
		return err;
	if (mbr[MBR_SIGNATURE] != 0x55 || mbr[MBR_SIGNATURE + 1] != 0xaa)
		return 0;
	seen->code = !is_zero(mbr, MBR_CODE_BYTES);
	for (unsigned int i = 0; i < MBR_ENTRIES; i++)
		look_at_mbr_entry(mbr + MBR_TABLE + (size_t)i * MBR_ENTRY_BYTES, sector, size, seen);
	return seen->gpt ? look_at_gpt(s, disk, sector, seen) : 0;
}

static bool can(const struct bootdisk *b, enum bootdisk_firmware f)
{
	return f == FIRMWARE_NONE || (f == FIRMWARE_UEFI ? b->has_uefi : b->has_bios);
}

int bootdisk_find(const struct bootdisk_source *s, enum bootdisk_firmware preferred, struct bootdisk *ret)
{
	struct bootdisk first = { .firmware = FIRMWARE_NONE };
	unsigned int likely = s->likely < s->count ? s->likely : 0;

	for (unsigned int turn = 0; turn < s->count; turn++) {
		unsigned int disk = turn == 0 ? likely : turn <= likely ? turn - 1 : turn;
		struct seen seen;
		struct bootdisk b;
		bool bios, uefi;
		int err = look_at_disk(s, disk, &seen);

		if (err)
			return err;
		/* GRUB's first sector finds the rest by itself: an active partition is a
		 * custom of others, and is asked for only where nothing else speaks for it. */
		bios = seen.code && (seen.active || seen.bios_boot || !seen.esp_bytes);
		uefi = seen.esp_bytes > 0;
		if (!bios && !uefi)
			continue;
		b = (struct bootdisk){
			.firmware = uefi && (preferred == FIRMWARE_UEFI || !bios) ? FIRMWARE_UEFI : FIRMWARE_BIOS,
			.disk = disk,
			.gpt = seen.gpt,
			.has_code = seen.code,
			.has_bios = bios,
			.has_uefi = uefi,
			.esp_offset = seen.esp_offset,
			.esp_bytes = seen.esp_bytes,
		};
		if (can(&b, preferred)) {
			*ret = b;
			return 0;
		}
		if (first.firmware == FIRMWARE_NONE)
			first = b;
	}
	*ret = first;
	return 0;
}

const char *bootdisk_firmware_name(enum bootdisk_firmware f)
{
	return f == FIRMWARE_BIOS ? "bios" : f == FIRMWARE_UEFI ? "uefi" : "none";
}
