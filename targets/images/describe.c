/* SPDX-License-Identifier: Apache-2.0 */
#include "describe.h"
#include "args.h"
#include "fileio.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define MANUFACTURER_TEXT "godwit:launch="

/* Of the PCI bus; libvirt has its own devices and ports before it, and the chipset's behind the last of 19 disks. */
#define NVME_FIRST_SLOT 8u

const char *describe_name(const struct target_machine *m, char *ret, size_t size)
{
	snprintf(ret, size, "%s-%.8s", m->name, m->id);
	return ret;
}

bool describe_has_domain(const struct target_machine *m)
{
	return strcmp(m->format, "vhdx") != 0;
}

/* --- the domain file (libvirt's "Domain XML format") ------------------------------------------ */

static void put_escaped(FILE *f, const char *text)
{
	static const char *const entities[] = {
		['<'] = "&lt;", ['>'] = "&gt;", ['&'] = "&amp;", ['\''] = "&apos;", ['"'] = "&quot;",
	};

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ARRAY_LEN(entities) && entities[c])
			fputs(entities[c], f);
		else
			fputc(c, f);
	}
}

static unsigned int boot_order(const struct target_machine *m, unsigned int i)
{
	return i == m->boot_disk ? 1 : i < m->boot_disk ? i + 2 : i + 1;
}

/* @prefix and a letter: vda, vdb ... */
static const char *device_name(const char *prefix, unsigned int i, char ret[16])
{
	if (i < 26)
		snprintf(ret, 16, "%s%c", prefix, 'a' + i);
	else
		snprintf(ret, 16, "%s%c%c", prefix, 'a' + i / 26 - 1, 'a' + i % 26);
	return ret;
}

static void put_disk(FILE *f, const struct target_machine *m, unsigned int i)
{
	static const char *const buses[] = { [BUS_VIRTIO] = "virtio", [BUS_SCSI] = "scsi", [BUS_SATA] = "sata" };
	char device[16];

	fprintf(f, "    <disk type='file' device='disk'>\n"
		   "      <driver name='qemu' type='%s' discard='unmap'/>\n"
		   "      <source file='", m->format);
	put_escaped(f, m->to);
	fprintf(f, "/disk%u.%s'/>\n", i, m->format);
	if (m->disks[i].sector_bytes != 512)
		fprintf(f, "      <blockio logical_block_size='%u' physical_block_size='%u'/>\n",
			m->disks[i].sector_bytes, m->disks[i].sector_bytes);
	fprintf(f, "      <target dev='%s' bus='%s'/>\n"
		   "      <serial>godwit-%u</serial>\n"
		   "      <boot order='%u'/>\n",
		device_name(m->bus == BUS_VIRTIO ? "vd" : "sd", i, device), buses[m->bus], m->disks[i].disk,
		boot_order(m, i));
	/* By itself libvirt puts seven on the controller, and the others on LSI's, for which there may be no driver. */
	if (m->bus == BUS_SCSI)
		fprintf(f, "      <address type='drive' controller='0' bus='0' target='%u' unit='0'/>\n", i);
	fputs("    </disk>\n", f);
}

/* libvirt has no emulated NVMe disks before its version 11; qemu has.  It makes them before all that libvirt has given
 * a place, so they would be in those places. */
static void put_nvme(FILE *f, const struct target_machine *m)
{
	char device[QEMU_DEVICE_SIZE];

	fputs("  <qemu:commandline>\n", f);
	for (unsigned int i = 0; i < m->disk_count; i++) {
		fprintf(f, "    <qemu:arg value='-drive'/>\n    <qemu:arg value='if=none,id=disk%u,format=%s,file=", i,
			m->format);
		for (const char *c = m->to; *c; c++) { /* qemu's own way of saying a comma */
			const char letter[] = { *c, 0 };

			put_escaped(f, *c == ',' ? ",," : letter);
		}
		fprintf(f, "/disk%u.%s'/>\n    <qemu:arg value='-device'/>\n    <qemu:arg value='%s,addr=0x%x'/>\n", i,
			m->format, qemu_args_device(m, i, device), NVME_FIRST_SLOT + i);
	}
	fputs("  </qemu:commandline>\n", f);
}

static void put_card(FILE *f, const struct target_machine *m, unsigned int i)
{
	char bridge[HARDWARE_BRIDGE_SIZE];

	fprintf(f, "    <interface type='%s'>\n      <mac address='%s'/>\n      <model type='%s'/>\n",
		m->network == NETWORK_BRIDGE ? "bridge" : "user", m->macs[i],
		strcmp(m->card, "virtio-net-pci") == 0 ? "virtio" : m->card);
	if (m->network == NETWORK_BRIDGE)
		fprintf(f, "      <source bridge='%s'/>\n", hardware_bridge_of(m->bridge, i, bridge));
	/* No way out: libvirt's user network knows none of its own, so the cable is out. */
	if (m->network == NETWORK_ISOLATED)
		fputs("      <link state='down'/>\n", f);
	fputs("    </interface>\n", f);
}

static void put_devices(FILE *f, const struct target_machine *m)
{
	fputs("  <devices>\n", f);
	for (unsigned int i = 0; i < m->disk_count && m->bus != BUS_NVME; i++)
		put_disk(f, m, i);
	if (m->bus == BUS_SCSI)
		fputs("    <controller type='scsi' model='virtio-scsi'/>\n", f);
	for (unsigned int i = 0; i < m->card_count && m->network != NETWORK_NONE; i++)
		put_card(f, m, i);
	fputs("    <serial type='pty'>\n      <target type='isa-serial' port='0'/>\n    </serial>\n"
	      "    <console type='pty'>\n      <target type='serial' port='0'/>\n    </console>\n"
	      "    <channel type='unix'>\n      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n"
	      "    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>\n"
	      "    <video>\n      <model type='vga'/>\n    </video>\n"
	      "    <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n    </rng>\n"
	      "  </devices>\n", f);
}

static void put_domain(FILE *f, const struct target_machine *m)
{
	char name[128];

	fprintf(f, "<?xml version='1.0' encoding='UTF-8'?>\n<domain type='kvm'%s>\n  <name>",
		m->bus == BUS_NVME ? " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'" : "");
	put_escaped(f, describe_name(m, name, sizeof(name)));
	fprintf(f, "</name>\n  <uuid>%s</uuid>\n  <title>", m->id);
	put_escaped(f, m->name);
	fprintf(f, " as of %s</title>\n  <memory unit='MiB'>%llu</memory>\n  <vcpu>%u</vcpu>\n", m->time,
		(unsigned long long)(m->memory_bytes / MIB), m->cpus);
	/* By this the machine knows that it is a copy: godwit-agent.service does not start in it. */
	fprintf(f, "  <sysinfo type='smbios'>\n    <oemStrings>\n      <entry>" MANUFACTURER_TEXT
		   "%s</entry>\n    </oemStrings>\n  </sysinfo>\n", m->id);
	fprintf(f, "  <os%s>\n    <type arch='x86_64' machine='q35'>hvm</type>\n",
		m->firmware == FIRMWARE_UEFI ? " firmware='efi'" : "");
	if (m->firmware == FIRMWARE_UEFI)
		fputs("    <firmware>\n      <feature enabled='no' name='secure-boot'/>\n    </firmware>\n", f);
	fputs("    <smbios mode='sysinfo'/>\n  </os>\n"
	      "  <features>\n    <acpi/>\n    <apic/>\n  </features>\n"
	      "  <cpu mode='maximum'/>\n"
	      "  <clock offset='utc'/>\n", f);
	put_devices(f, m);
	if (m->bus == BUS_NVME)
		put_nvme(f, m);
	fputs("</domain>\n", f);
}

/* --- the script, for plain qemu ------------------------------------------------------------------ */

static void put_qemu_disks(FILE *f, const struct target_machine *m)
{
	char device[QEMU_DEVICE_SIZE];

	if (m->bus == BUS_SCSI)
		fputs("\t-device " QEMU_SCSI_CONTROLLER " \\\n", f);
	for (unsigned int i = 0; i < m->disk_count; i++)
		fprintf(f, "\t-blockdev driver=%s,node-name=disk%u,discard=unmap,file.driver=file,"
			   "file.filename=disk%u.%s \\\n"
			   "\t-device %s \\\n",
			m->format, i, i, m->format, qemu_args_device(m, i, device));
}

/* Each distribution has its firmware elsewhere. */
static const char uefi[] =
	"while read -r code vars; do\n"
	"\t[ -r \"$code\" ] && [ -r \"$vars\" ] && break\n"
	"\tcode=\n"
	"done <<FIRMWARE\n"
	"/usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_VARS_4M.fd\n"
	"/usr/share/OVMF/OVMF_CODE.fd /usr/share/OVMF/OVMF_VARS.fd\n"
	"/usr/share/edk2/ovmf/OVMF_CODE.fd /usr/share/edk2/ovmf/OVMF_VARS.fd\n"
	"/usr/share/edk2/x64/OVMF_CODE.4m.fd /usr/share/edk2/x64/OVMF_VARS.4m.fd\n"
	"/usr/share/qemu/ovmf-x86_64-code.bin /usr/share/qemu/ovmf-x86_64-vars.bin\n"
	"FIRMWARE\n"
	"[ -n \"$code\" ] || { echo 'There is no UEFI firmware for qemu here: install the package ovmf.' >&2; exit 1; }\n"
	"[ -e vars.fd ] || cp \"$vars\" vars.fd || exit\n";

static void put_qemu_card(FILE *f, const struct target_machine *m, unsigned int i)
{
	char bridge[HARDWARE_BRIDGE_SIZE];

	fputs(i ? " \\\n\t-nic " : "\t-nic ", f);
	if (m->network == NETWORK_BRIDGE)
		fprintf(f, "bridge,br=%s,model=%s", hardware_bridge_of(m->bridge, i, bridge), m->card);
	else
		fprintf(f, "user,model=%s%s", m->card, m->network == NETWORK_ISOLATED ? ",restrict=on" : "");
	fprintf(f, ",mac=%s", m->macs[i]);
}

static void put_script(FILE *f, const struct target_machine *m)
{
	fputs("#!/bin/sh\n"
	      "# Starts the machine with plain qemu; README.txt says more.  What is given to this\n"
	      "# script goes to qemu, too: start.sh -display none -serial stdio\n"
	      "cd \"$(dirname \"$0\")\" || exit\n", f);
	if (m->firmware == FIRMWARE_UEFI)
		fputs(uefi, f);
	fprintf(f, "exec qemu-system-x86_64 -nodefaults -name '%s' -machine q35,accel=\"${ACCEL:-kvm:tcg}\" -cpu max -smp %u -m %lluM \\\n",
		m->name, m->cpus, (unsigned long long)(m->memory_bytes / MIB));
	fprintf(f, "\t-smbios type=11,value=" MANUFACTURER_TEXT "%s -vga std -device virtio-rng-pci \\\n", m->id);
	if (m->firmware == FIRMWARE_UEFI)
		fputs("\t-drive \"if=pflash,unit=0,format=raw,readonly=on,file=$code\" \\\n"
		      "\t-drive if=pflash,unit=1,format=raw,file=vars.fd \\\n", f);
	put_qemu_disks(f, m);
	if (m->network == NETWORK_NONE)
		fputs("\t-nic none", f);
	for (unsigned int i = 0; i < m->card_count && m->network != NETWORK_NONE; i++)
		put_qemu_card(f, m, i);
	fputs(" \"$@\"\n", f);
}

/* --- the text ---------------------------------------------------------------------------------- */

static void put_virsh(FILE *f, const struct target_machine *m)
{
	char name[128];

	if (!describe_has_domain(m)) {
		fputs("There is no libvirt domain file, since libvirt does not know this format; for libvirt write\n"
		      "the machine as qcow2.\n", f);
		return;
	}
	fprintf(f, "With libvirt:\n\n"
		   "\tchmod a+x .\n"
		   "\tvirsh define machine.xml\n"
		   "\tvirsh start --console %s\n\n"
		   "The first is for the user that libvirt runs machines as (libvirt-qemu, or qemu): it gives him\n"
		   "the disks, but he has to get through this folder and through those above it.\n",
		describe_name(m, name, sizeof(name)));
	if (m->bus == BUS_NVME)
		fputs("Not these, since it knows no NVMe disks: `chown libvirt-qemu disk*` before the start. AppArmor\n"
		      "and SELinux may keep them from him all the same: then write it with another disk_bus.\n", f);
	fprintf(f, "\nmachine.xml names its disks by where they are, %s; after moving them, to\n"
		   "a path that needs no quoting:\n\n"
		   "\tsed -i \"s|file=\\('\\{0,1\\}\\)/[^']*/disk|file=\\1$PWD/disk|\" machine.xml\n\n"
		   "Without hardware virtualisation, `sed -i \"s|type='kvm'|type='qemu'|\" machine.xml` as well.\n",
		m->to);
	if (m->network == NETWORK_ISOLATED)
		fprintf(f, "Its network cable is out, so that it does not meet the machine that it is a copy of:\n"
			   "`virsh domiflist %s` shows each card, `virsh domif-setlink %s CARD up` puts it in.\n", name,
			name);
}

static bool is_first_on_its_bridge(const struct target_machine *m, unsigned int card)
{
	char name[HARDWARE_BRIDGE_SIZE], other[HARDWARE_BRIDGE_SIZE];

	(void)hardware_bridge_of(m->bridge, card, name);
	for (unsigned int i = 0; i < card; i++)
		if (strcmp(hardware_bridge_of(m->bridge, i, other), name) == 0)
			return false;
	return true;
}

static void put_bridges(FILE *f, const struct target_machine *m)
{
	char name[HARDWARE_BRIDGE_SIZE];

	fputs("\nEach of its cards is on a bridge of the machine that runs it, which has to be there:\n\n", f);
	for (unsigned int i = 0; i < m->card_count; i++)
		fprintf(f, "\t%s\t%s\n", m->macs[i], hardware_bridge_of(m->bridge, i, name));
	fputs("\nstart.sh needs qemu's bridge helper for that, root or a helper that is setuid, and in\n"
	      "/etc/qemu/bridge.conf:\n\n", f);
	for (unsigned int i = 0; i < m->card_count; i++)
		if (is_first_on_its_bridge(m, i))
			fprintf(f, "\tallow %s\n", hardware_bridge_of(m->bridge, i, name));
	fputs("\nIt has the addresses of the machine that it is a copy of: do not start it on a network\n"
	      "where that one lives.\n", f);
}

static void put_forwards(FILE *f, const struct forwards *w)
{
	fputs("No port of the machine that runs it leads to it, as the blueprint's forward asks for where godwit runs\n"
	      "it: libvirt's user network has none. For that, write in start.sh behind the first mac=...:\n\n\t", f);
	for (unsigned int i = 0; i < w->count; i++)
		fprintf(f, ",hostfwd=tcp:%s:PORT-:%u", w->list[i].address, w->list[i].guest_port);
	fputs("\n\nPORT is one of that machine that is free.\n", f);
}

static void put_text(FILE *f, const struct target_machine *m)
{
	fprintf(f, "This is the machine %s as it was at %s, written by godwit to be run elsewhere.\n\n", m->name,
		m->time);
	for (unsigned int i = 0; i < m->disk_count; i++)
		fprintf(f, "disk%u.%s\t%llu MiB%s\n", i, m->format, (unsigned long long)(m->disks[i].size_bytes / MIB),
			i == m->boot_disk ? ", it starts from this one" : "");
	if (describe_has_domain(m))
		fputs("machine.xml\tthe same as a libvirt domain\n", f);
	fprintf(f, "start.sh\tstarts it with plain qemu\n\n"
		   "It has %u processors, %llu MiB of memory and %s firmware.\n\n",
		m->cpus, (unsigned long long)(m->memory_bytes / MIB), m->firmware == FIRMWARE_UEFI ? "UEFI" : "BIOS");
	put_virsh(f, m);
	fputs("\nWith plain qemu, its serial console on this terminal (Ctrl-A X ends it):\n\n"
	      "\tsh start.sh -display none -serial mon:stdio\n\n"
	      "Where hardware virtualisation is there but does not work, `ACCEL=tcg sh start.sh ...`.\n", f);
	if (m->network == NETWORK_ISOLATED)
		fputs("It has no way out to the network then; take ,restrict=on out of start.sh to let it out.\n", f);
	if (m->forwards && m->forwards->count)
		put_forwards(f, m->forwards);
	if (m->network == NETWORK_BRIDGE)
		put_bridges(f, m);
	fprintf(f, "\nBoth tell the machine that it is a copy (SMBIOS type 11: " MANUFACTURER_TEXT "%s).\n"
		   "The agent does not start in a copy, and the executables in /boot/post_launch run at its\n"
		   "first boot. Started any other way it takes itself for its original: then turn the agent off\n"
		   "first (systemctl disable 'godwit-agent@*'), or it replicates into its original's place.\n", m->id);
}

/* --- all of it ------------------------------------------------------------------------------------ */

static int write_one(const struct target_machine *m, const char *folder, const char *name, mode_t mode,
		     void (*put)(FILE *f, const struct target_machine *m))
{
	char path[PATH_MAX], *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int err;

	if (!f)
		return -ENOMEM;
	put(f, m);
	if (fclose(f)) {
		free(text);
		return -ENOMEM;
	}
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	err = fileio_replace(path, text, len, mode);
	free(text);
	return err;
}

int describe_machine(const struct target_machine *m, const char *folder)
{
	int err = write_one(m, folder, "README.txt", 0644, put_text);

	if (!err && describe_has_domain(m))
		err = write_one(m, folder, "machine.xml", 0644, put_domain);
	return err ? err : write_one(m, folder, "start.sh", 0755, put_script);
}
