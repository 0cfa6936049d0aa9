/* SPDX-License-Identifier: Apache-2.0 */
/* args - the command line of a launch's qemu. */
#ifndef GODWIT_QEMU_ARGS_H
#define GODWIT_QEMU_ARGS_H

#include "bridge.h"
#include "kvm.h"
#include "target.h"

#define QEMU_ARGS_MAX (64u + 4 * DISKS_MAX + 2 * HARDWARE_CARDS_MAX)

/* Debian's package ovmf; the variables' file is copied, as the machine writes it. */
#define FIRMWARE_CODE "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define FIRMWARE_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"

struct qemu_args {
	char *v[QEMU_ARGS_MAX + 1];
	unsigned int n;
	bool failed; /* no memory, or too many */
	const char *accelerator;
};

/* What attaches a machine's disk, whose node is called "disk<index>". */
#define QEMU_DEVICE_SIZE 192
const char *qemu_args_device(const struct target_machine *m, unsigned int index, char ret[QEMU_DEVICE_SIZE]);
/* Before them. */
#define QEMU_SCSI_CONTROLLER "virtio-scsi-pci,id=scsi"

/* @ports: of its cards, for NETWORK_BRIDGE. */
void qemu_args_build(struct qemu_args *a, const struct target_machine *m, const struct bridge_ports *ports);
void qemu_args_free(struct qemu_args *a);

#endif
