/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader - a UEFI machine whose boot loader is only in its firmware's variables.
 *
 * The variables stay with the old machine; a new firmware starts EFI/BOOT/BOOTX64.EFI
 * of the EFI system partition and nothing else (UEFI specification 2.10, 3.5.1.1).
 * Where that is missing, a loader that is there is put there, too, on the machine's own
 * copy-on-write disk.  A machine that has it is not touched.
 *
 * The partition's file system is a stranger's: mtools reads it, without rights.
 */
#ifndef GODWIT_LOADER_H
#define GODWIT_LOADER_H

#include "base.h"
#include "message.h"

struct loader {
	const char *folder;  /* of the launch */
	const char *socket;  /* NBD, of the disk at the point */
	const char *overlay; /* the machine's own qcow2 over it */
	uint64_t esp_offset, esp_bytes;
};

/*
 * 0, with a line of what was done in @note, or "" when nothing was.  -ENOENT: there is
 * no loader; other -errno: it could not be seen to, and @note says why.
 */
_must_check_ int loader_ensure(const struct loader *l, char *note, size_t size);

/* Of the lines of `mdir -b -/`, the loader to start: "EFI/debian/grubx64.efi".  -EEXIST:
 * the fallback is there; -ENOENT: there is none. */
_must_check_ int loader_choose(const char *listing, char *ret_path, size_t size);

#endif
