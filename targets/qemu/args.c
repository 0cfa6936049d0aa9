/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"
#include "forwards.h"
#include "guest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* An ordinary machine has no login prompt there.  systemd (254 and newer) takes this word
 * for a getty from the firmware's tables, and nothing on its disks has to be changed. */
#define LOGIN_WANTED ",value=io.systemd.credential:getty.ttys.serial=ttyS0"

static void add(struct qemu_args *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct qemu_args *a, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (a->n == QEMU_ARGS_MAX || vasprintf(&a->v[a->n], format, args) < 0)
		a->failed = true;
	else
		a->n++;
	va_end(args);
}

void qemu_args_free(struct qemu_args *a)
{
	for (unsigned int i = 0; i < a->n; i++)
		free(a->v[i]);
}

/* A disk's physical sector is 512 bytes to qemu unless it is told, and must not be less than the logical
 * one.  Each SATA port is a bus for one disk, and qemu does not look for a free one. */
const char *qemu_args_device(const struct target_machine *m, unsigned int index, char ret[QEMU_DEVICE_SIZE])
{
	static const char *const devices[] = { [BUS_VIRTIO] = "virtio-blk-pci",
					       [BUS_SCSI] = "scsi-hd,bus=scsi.0",
					       [BUS_SATA] = "ide-hd",
					       [BUS_NVME] = "nvme" };
	const struct target_disk *d = &m->disks[index];
	char port[24] = "";

	if (m->bus == BUS_SATA)
		snprintf(port, sizeof(port), ",bus=ide.%u", index);
	snprintf(ret, QEMU_DEVICE_SIZE,
		 "%s,drive=disk%u,bootindex=%u,serial=godwit-%u,logical_block_size=%u,physical_block_size=%u%s",
		 devices[m->bus], index, index == m->boot_disk ? 1 : index + 2, d->disk, d->sector_bytes, d->sector_bytes,
		 port);
	return ret;
}

static void add_disks(struct qemu_args *a, const struct target_machine *m)
{
	char device[QEMU_DEVICE_SIZE];

	if (m->bus == BUS_SCSI) {
		add(a, "-device");
		add(a, QEMU_SCSI_CONTROLLER);
	}
	for (unsigned int i = 0; i < m->disk_count; i++) {
		add(a, "-blockdev");
		add(a,
		    "driver=qcow2,node-name=disk%u,discard=unmap,detect-zeroes=unmap,"
		    "file.driver=file,file.node-name=file%u,file.filename=%s/disk%u.qcow2",
		    i, i, m->folder, i);
		add(a, "-device");
		add(a, "%s", qemu_args_device(m, i, device));
	}
}

static void add_channels(struct qemu_args *a, const struct target_machine *m)
{
	add(a, "-qmp");
	add(a, "unix:%s/qmp.sock,server=on,wait=off", m->folder);
	add(a, "-chardev");
	add(a, "socket,id=serial,path=%s/serial.sock,server=on,wait=off,logfile=%s/serial.log,logappend=on", m->folder,
	    m->folder);
	add(a, "-serial");
	add(a, "chardev:serial");
	add(a, "-device");
	add(a, "virtio-serial-pci");
	add(a, "-chardev");
	add(a, "socket,id=agent,path=%s/agent.sock,server=on,wait=off", m->folder);
	add(a, "-device");
	add(a, "virtserialport,chardev=agent,name=org.qemu.guest_agent.0");
	add(a, "-chardev");
	add(a, "socket,id=guest,path=%s/guest.sock,server=on,wait=off", m->folder);
	add(a, "-device");
	add(a, "virtserialport,chardev=guest,name=" GUEST_PORT);
}

static void add_network(struct qemu_args *a, const struct target_machine *m, const struct bridge_ports *ports)
{
	char forwards[FORWARDS_ARGS_SIZE];

	if (m->network == NETWORK_NONE) {
		add(a, "-nic");
		add(a, "none");
		return;
	}
	for (unsigned int i = 0; i < m->card_count; i++) {
		add(a, "-nic");
		if (m->network == NETWORK_BRIDGE) {
			add(a, "tap,fd=%d,model=%s,mac=%s", ports->fds[i], m->card, m->macs[i]);
			continue;
		}
		add(a, "user,model=%s%s,mac=%s%s", m->card, m->network == NETWORK_ISOLATED ? ",restrict=on" : "",
		    m->macs[i], i ? "" : forwards_args(m->forwards, forwards));
	}
}

void qemu_args_build(struct qemu_args *a, const struct target_machine *m, const struct bridge_ports *ports)
{
	a->accelerator = kvm_accelerator(QEMU, KVM_CACHE);
	add(a, QEMU);
	add(a, "-name");
	add(a, "%s", m->name);
	add(a, "-nodefaults");
	add(a, "-S");
	add(a, "-machine");
	add(a, "q35,accel=%s", a->accelerator);
	add(a, "-cpu");
	add(a, "max");
	add(a, "-smp");
	add(a, "%u", m->cpus);
	add(a, "-m");
	add(a, "%lluM", (unsigned long long)(m->memory_bytes / MIB));
	add(a, "-display");
	add(a, "none");
	add(a, "-vga");
	add(a, "std");
	add(a, "-sandbox");
	add(a, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(a, "-device");
	add(a, "virtio-rng-pci");
	/* By this the machine knows that it is a copy: godwit-agent.service does not start in it. */
	add(a, "-smbios");
	add(a, "type=11,value=godwit:launch=%s%s", m->id, m->wants_login ? LOGIN_WANTED : "");
	if (m->firmware == FIRMWARE_UEFI) {
		add(a, "-drive");
		add(a, "if=pflash,unit=0,format=raw,readonly=on,file=" FIRMWARE_CODE);
		add(a, "-drive");
		add(a, "if=pflash,unit=1,format=raw,file=%s/vars.fd", m->folder);
	}
	add_disks(a, m);
	add_channels(a, m);
	add_network(a, m, ports);
	a->v[a->n] = NULL;
}
