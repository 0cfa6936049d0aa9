/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own view of the point: a qcow2 over each disk, into which it writes, and
 * what has to be changed there before it starts.  The point itself is only read (L1).
 */
#include "launch-private.h"
#include "loader.h"
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

static int make_overlay(const struct launch *l, unsigned int i, struct fault *f)
{
	const struct target_disk *d = &l->target_disks[i];
	char base[160], file[PATH_MAX], size[24], said[192];
	const char *const argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, file, size, NULL };
	int err;

	snprintf(base, sizeof(base), "nbd+unix:///?socket=%s", d->socket);
	snprintf(file, sizeof(file), "%s/disk%u.qcow2", l->folder, i);
	snprintf(size, sizeof(size), "%llu", (unsigned long long)d->size_bytes);
	err = tool_run(argv, l->folder, said, sizeof(said));
	return err ? fault_set(f, err, MSG_LAUNCH_NOT_STARTED, "reason", said, NULL) : 0;
}

static int see_to_loader(struct launch *l, struct fault *f)
{
	char overlay[PATH_MAX], note[384];
	struct loader loader = { .folder = l->folder, .socket = l->target_disks[l->boot_disk].socket,
				 .overlay = overlay, .esp_offset = l->esp_offset, .esp_bytes = l->esp_bytes };
	int err;

	if (l->firmware != FIRMWARE_UEFI || l->esp_bytes == 0)
		return 0;
	snprintf(overlay, sizeof(overlay), "%s/disk%u.qcow2", l->folder, l->boot_disk);
	err = loader_ensure(&loader, note, sizeof(note));
	if (note[0])
		record_line(l->record, note);
	/* Whether it starts is for its firmware to say, unless there is nothing to start. */
	return err == -ENOENT ? fault_set(f, err, MSG_LAUNCH_NO_LOADER, "machine", l->spec.machine, NULL) : 0;
}

int launch_make_view(struct launch *l, struct fault *ret_fault)
{
	int err = 0;

	for (unsigned int i = 0; i < l->disk_count && !err; i++)
		err = make_overlay(l, i, ret_fault);
	return err ? err : see_to_loader(l, ret_fault);
}
