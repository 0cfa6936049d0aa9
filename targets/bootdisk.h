/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootdisk - how a set of disks wants to be started, read from the disks.
 *
 * Nothing is mounted: the master boot record and the GUID partition table are
 * looked at (UEFI specification 2.10, chapter 5), through whatever reads.  The
 * disk that starts is the first, of the likely one and then the others in order, that can
 * with the firmware that the caller prefers, or else the first that can at all; its firmware is
 *
 *	BIOS	it has boot code in its first sector, and the code has something
 *		to go on: an active partition, or a BIOS boot partition on GPT
 *	UEFI	it has an EFI system partition
 *
 * and where both are there, what the caller prefers (the source knows how it
 * was started itself).
 */
#ifndef GODWIT_BOOTDISK_H
#define GODWIT_BOOTDISK_H

#include "base.h"

enum bootdisk_firmware { FIRMWARE_NONE, FIRMWARE_BIOS, FIRMWARE_UEFI };

struct bootdisk_source {
	unsigned int count;  /* of disks */
	unsigned int likely; /* the source says that it starts from this: it is looked at first */
	uint64_t (*size_bytes)(void *context, unsigned int disk);
	unsigned int (*sector_bytes)(void *context, unsigned int disk); /* logical: 512 or 4096 */
	/* 0 or -errno */
	int (*read)(void *context, unsigned int disk, uint64_t offset, uint32_t length, void *ret);
	void *context;
};

struct bootdisk {
	enum bootdisk_firmware firmware; /* NONE: no disk can start */
	unsigned int disk;		 /* which starts */
	bool gpt;
	bool has_bios, has_uefi;	 /* what that disk could do */
	bool has_code;			 /* in its first sector, whether it has something to go on or not */
	uint64_t esp_offset, esp_bytes;	 /* of its EFI system partition; 0: none */
};

/* -errno only when a disk cannot be read; a damaged table is no table. */
_must_check_ int bootdisk_find(const struct bootdisk_source *s, enum bootdisk_firmware preferred,
			       struct bootdisk *ret);

const char *bootdisk_firmware_name(enum bootdisk_firmware f); /* "bios", "uefi", "none" */

#endif
