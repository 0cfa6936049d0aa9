/* SPDX-License-Identifier: Apache-2.0 */
/* The agent reads its machine's files for what is bound to the hardware. */
#include "facts.h"
#include "fileio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* /dev/sda is protected, and its first partition's UUID known; /dev/sdb is not. */
static int find(void *context, const char *device, unsigned int *ret_disk, char *ret_uuid, size_t size)
{
	if (strstr(device, "sdb"))
		return -ENOENT;
	*ret_disk = 3;
	snprintf(ret_uuid, size, "%s", strcmp(device, "/dev/sda1") == 0 ? "1234-ABCD" : "");
	return 0;
}
static const struct facts_devices devices = { find, NULL };

static void modules_are_known_by_whatever_lists_them(void **state)
{
	struct hardware h = { 0 };

	hardware_take_modules(&h,
			   "kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko\n"
			   "kernel/drivers/block/virtio_blk.ko.xz:\n"
			   "kernel/drivers/ata/libahci.ko: kernel/drivers/ata/ahci.ko\n",
			   REACH_MODULE);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_NET], REACH_MODULE);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_BLK], REACH_MODULE);
	assert_int_equal(h.drivers[DRIVER_AHCI], REACH_NONE); /* only something that needs it */
	hardware_take_modules(&h, "kernel/drivers/scsi/sd_mod.ko\n", REACH_BOOT);
	hardware_take_modules(&h,
			   "early_cpio\nkernel\nusr/lib/modules/6.1.0/kernel/drivers/virtio/virtio-pci.ko\n"
			   "usr/lib/modules/6.1.0/kernel/drivers/virtio/virtio_pci_modern_dev.ko\n"
			   "-rw-r--r-- 1 root root 4711 Jan  1 12:30 usr/lib/modules/6.1.0/kernel/drivers/nvme/host/nvme.ko.zst\n"
			   "usr/lib/modules/6.1.0/kernel/drivers/nvme/host/nvme.kox",
			   REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_SD_MOD], REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_PCI], REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_NVME], REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_BLK], REACH_MODULE);
	/* What is nearer stays nearer. */
	hardware_take_modules(&h, "nvme.ko:\n", REACH_MODULE);
	assert_int_equal(h.drivers[DRIVER_NVME], REACH_BOOT);
}

static void fstab_s_names_of_hardware_are_found_and_no_others(void **state)
{
	struct hardware h = { 0 };

	facts_take_fstab(&h,
			 "# /dev/sda9 was there during installation\n"
			 "UUID=0f1e / ext4 defaults 0 1\n"
			 "/dev/mapper/vg-home /home xfs defaults 0 0\n"
			 "  /dev/sda1\t/boot ext2 defaults 0 2\n"
			 "/dev/sdb1 /scratch ext4 nofail 0 0\n"
			 "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part5 none swap sw 0 0\n"
			 "/dev/disk/by-uuid/0f1e /x ext4 defaults 0 0\n"
			 "tmpfs /tmp tmpfs defaults 0 0",
			 &devices);
	assert_int_equal(h.name_count, 2);
	assert_string_equal(h.names[0].device, "/dev/sda1");
	assert_string_equal(h.names[0].uuid, "1234-ABCD");
	assert_string_equal(h.names[0].file, "/etc/fstab");
	assert_int_equal(h.names[0].disk, 3);
	assert_string_equal(h.names[1].device, "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part5");
	assert_string_equal(h.names[1].uuid, "");
}

static void more_names_than_there_is_room_for_are_left_out(void **state)
{
	struct hardware h = { 0 };

	for (unsigned int i = 0; i < HARDWARE_NAMES_MAX + 5; i++)
		facts_take_fstab(&h, "/dev/sda1 / ext4 defaults 0 0\n", &devices);
	assert_int_equal(h.name_count, HARDWARE_NAMES_MAX);
}

static void root_and_resume_of_the_kernel_s_command_line_are_found(void **state)
{
	struct hardware h = { 0 };

	facts_take_command_line(&h, "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro resume=/dev/sda5 quiet nfsroot=/dev/sda7\n",
				&devices);
	assert_int_equal(h.name_count, 2);
	assert_string_equal(h.names[0].device, "/dev/sda1");
	assert_string_equal(h.names[0].file, "kernel command line");
	assert_string_equal(h.names[1].device, "/dev/sda5");
	h.name_count = 0;
	facts_take_command_line(&h, "root=UUID=0f1e resume=/dev/mapper/vg-swap", &devices);
	assert_int_equal(h.name_count, 0);
}

static void network_files_are_bound_by_address_or_by_name(void **state)
{
	static const struct {
		const char *text;
		bool by_mac, by_name;
	} t[] = {
		{ "auto ens3\niface ens3 inet static\n", false, true },
		{ "# ens3 was the old one\n", false, false },
		{ "auto ens33\niface ens3x inet dhcp\n", false, false },
		{ "vlan-raw-device ens3\nauto ens3.100\n", false, true },
		{ "[Match]\nName=en*\n", false, false },
		{ "[Match]\nMACAddress=52:54:00:AA:BB:CC\n", true, false },
		{ "      match: {macaddress: \"52:54:00:aa:bb:cc\"}\n      set-name: ens3\n", true, true },
		{ "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:aa:bb:cc\", NAME=\"ens3\"\n", true, true },
		{ "id: 00:52:54:00:aa:bb:cc\n", false, false },
		{ "    ens3:\n      dhcp4: true", false, true },
		{ "", false, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct hardware h = { .cards = { { "ens3", "52:54:00:aa:bb:cc" } }, .card_count = 1 };
		bool by_mac = false, by_name = false;

		facts_take_network_file(&h, "/etc/f", t[i].text);
		for (unsigned int b = 0; b < h.binding_count; b++)
			*(h.bindings[b].by_mac ? &by_mac : &by_name) = true;
		if (by_mac != t[i].by_mac || by_name != t[i].by_name || h.binding_count > 2)
			fail_msg("%s", t[i].text);
	}
}

static void the_interface_is_that_of_the_best_default_route(void **state)
{
	char name[16];

	assert_true(facts_default_interface(
		"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
		"eth1\t00000000\t0100A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"
		"ens3\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
		"ens9\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
		name, sizeof(name)));
	assert_string_equal(name, "ens3");
	assert_false(facts_default_interface("Iface\tDestination\n", name, sizeof(name)));
}

/* A machine whose address is its bridge's, with another machine's port and its own card in it. */
static void of_a_bridge_the_card_is_meant(void **state)
{
	static const char route[] = "Iface\tDestination\nbr0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
	static const char *const folders[] = { "proc/net", "sys/class/net/br0/lower_tap7", "sys/class/net/br0/lower_ens3",
					       "sys/class/net/br0/lower_vnet1", "sys/class/net/tap7",
					       "sys/class/net/ens3/device", "sys/class/net/vnet1" };
	char root[] = "/tmp/godwit-facts.XXXXXX", path[128];
	static struct settings s;
	struct hardware h;

	assert_non_null(mkdtemp(root));
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, folders[i]);
		assert_int_equal(fileio_mkdirs(path, 0700), 0);
	}
	snprintf(path, sizeof(path), "%s/proc/net/route", root);
	assert_int_equal(fileio_replace(path, route, strlen(route), 0600), 0);
	snprintf(path, sizeof(path), "%s/sys/class/net/ens3/address", root);
	assert_int_equal(fileio_replace(path, "52:54:00:aa:bb:cc\n", 18, 0600), 0);
	setenv("GODWIT_FACTS_ROOT", root, 1);
	assert_int_equal(facts_gather(&s, &h), 0);
	unsetenv("GODWIT_FACTS_ROOT");
	assert_int_equal(h.card_count, 1);
	assert_string_equal(h.cards[0].interface, "ens3");
	assert_string_equal(h.cards[0].mac, "52:54:00:aa:bb:cc");
	assert_int_equal(fileio_remove_tree(root), 0);
}

static void write_in(const char *root, const char *name, const char *text)
{
	char path[256], *slash;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	slash = strrchr(path, '/');
	*slash = 0;
	assert_int_equal(fileio_mkdirs(path, 0700), 0);
	*slash = '/';
	assert_int_equal(fileio_replace(path, text, strlen(text), 0600), 0);
}

static void add_card(const char *root, const char *name, unsigned int index, const char *mac)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "sys/class/net/%s/device/vendor", name);
	write_in(root, path, "0x8086");
	snprintf(path, sizeof(path), "sys/class/net/%s/ifindex", name);
	snprintf(text, sizeof(text), "%u\n", index);
	write_in(root, path, text);
	snprintf(path, sizeof(path), "sys/class/net/%s/address", name);
	snprintf(text, sizeof(text), "%s\n", mac);
	write_in(root, path, text);
}

/* In the kernel's order: two below a bond, of which one carries its address, one by name, one by
 * address; one that nobody has configured is not there, nor one that is no card. */
static void all_cards_that_are_configured_are_found_in_order(void **state)
{
	static const char *const wanted[] = { "eth0 52:54:00:00:00:10", "eth1 52:54:00:00:00:11", "eth3 52:54:00:00:00:13",
					      "eth10 52:54:00:00:00:1a" };
	char root[] = "/tmp/godwit-facts.XXXXXX", said[64];
	static struct settings s;
	struct hardware h;

	assert_non_null(mkdtemp(root));
	write_in(root, "proc/net/route", "Iface\tDestination\nbond0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
	add_card(root, "eth10", 12, "52:54:00:00:00:1a");
	add_card(root, "eth0", 2, "52:54:00:00:00:10");
	add_card(root, "eth1", 3, "52:54:00:00:00:10"); /* its bond's */
	write_in(root, "sys/class/net/eth1/bonding_slave/perm_hwaddr", "52:54:00:00:00:11\n");
	add_card(root, "eth2", 4, "52:54:00:00:00:12");
	add_card(root, "eth3", 5, "52:54:00:00:00:13");
	write_in(root, "sys/class/net/bond0/lower_eth0/x", "");
	write_in(root, "sys/class/net/bond0/lower_eth1/x", "");
	write_in(root, "sys/class/net/bond0/address", "52:54:00:00:00:10\n");
	write_in(root, "sys/class/net/veth9/address", "52:54:00:00:00:19\n");
	write_in(root, "etc/network/interfaces", "iface bond0 inet dhcp\n\tbond-slaves eth0 eth1\niface veth9 inet dhcp\n");
	write_in(root, "etc/netplan/a.yaml", "match: {macaddress: 52:54:00:00:00:1A}\n");
	write_in(root, "etc/systemd/network/b.network", "[Match]\nName=eth3\n");
	setenv("GODWIT_FACTS_ROOT", root, 1);
	assert_int_equal(facts_gather(&s, &h), 0);
	unsetenv("GODWIT_FACTS_ROOT");
	assert_int_equal(h.card_count, ARRAY_LEN(wanted));
	for (unsigned int i = 0; i < h.card_count; i++) {
		snprintf(said, sizeof(said), "%s %s", h.cards[i].interface, h.cards[i].mac);
		assert_string_equal(said, wanted[i]);
	}
	assert_int_equal(h.binding_count, 4);
	assert_int_equal(h.bindings[3].card, 3);
	assert_true(h.bindings[3].by_mac);
	assert_string_equal(h.bindings[2].file, "/etc/systemd/network/b.network");
	assert_int_equal(fileio_remove_tree(root), 0);
}

static void of_many_cards_so_many_are_found_and_that_of_the_default_route(void **state)
{
	char root[] = "/tmp/godwit-facts.XXXXXX", name[16], mac[18], text[1024] = "";
	static struct settings s;
	struct hardware h;

	assert_non_null(mkdtemp(root));
	for (unsigned int i = 0; i < HARDWARE_CARDS_MAX + 4; i++) {
		snprintf(name, sizeof(name), "ens%u", i);
		snprintf(mac, sizeof(mac), "52:54:00:00:01:%02x", i);
		add_card(root, name, i + 2, mac);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "iface %s inet dhcp\n", name);
	}
	write_in(root, "etc/network/interfaces", text);
	snprintf(text, sizeof(text), "Iface\tDestination\n%s\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", name);
	write_in(root, "proc/net/route", text);
	setenv("GODWIT_FACTS_ROOT", root, 1);
	assert_int_equal(facts_gather(&s, &h), 0);
	unsetenv("GODWIT_FACTS_ROOT");
	assert_int_equal(h.card_count, HARDWARE_CARDS_MAX);
	assert_string_equal(h.cards[HARDWARE_CARDS_MAX - 2].interface, "ens6");
	assert_string_equal(h.cards[HARDWARE_CARDS_MAX - 1].interface, name);
	assert_int_equal(fileio_remove_tree(root), 0);
}

/* lsinitramfs is a script that shows what is in the file. */
static void drivers_are_those_that_the_running_and_the_newest_kernel_have(void **state)
{
	static const char both[] = "x/ahci.ko\nx/virtio_blk.ko\nx/virtio_pci.ko\n", one[] = "x/ahci.ko\n";
	char root[] = "/tmp/godwit-facts.XXXXXX", path[256], was[4096];
	static struct settings s;
	struct hardware h;

	assert_non_null(mkdtemp(root));
	snprintf(was, sizeof(was), "%s", getenv("PATH") ?: "/usr/bin:/bin");
	snprintf(path, sizeof(path), "%s/lsinitramfs", root);
	assert_int_equal(fileio_replace(path, "#!/bin/sh\nexec cat \"$1\"\n", 24, 0700), 0);
	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", root);
	setenv("PATH", path, 1);
	setenv("GODWIT_FACTS_ROOT", root, 1);
	write_in(root, "proc/sys/kernel/osrelease", "6.1.0-9-amd64\n");
	write_in(root, "lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/drivers/scsi/sd_mod.ko\n");
	write_in(root, "lib/modules/6.1.0-10-amd64/modules.builtin", "kernel/drivers/scsi/sd_mod.ko\n");
	write_in(root, "lib/modules/6.1.0-11-amd64/modules.builtin", ""); /* left over: without an image it cannot boot */
	write_in(root, "boot/initrd.img-6.1.0-9-amd64", both);
	write_in(root, "boot/initrd.img-6.1.0-10-amd64", one);
	assert_int_equal(facts_gather(&s, &h), 0);
	assert_true(h.drivers_known);
	assert_string_equal(h.kernel, "6.1.0-9-amd64");
	assert_int_equal(h.drivers[DRIVER_SD_MOD], REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_AHCI], REACH_BOOT);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_BLK], REACH_NONE); /* the newest has it not */
	write_in(root, "boot/initrd.img-6.1.0-9-amd64", one);
	write_in(root, "boot/initrd.img-6.1.0-10-amd64", both);
	assert_int_equal(facts_gather(&s, &h), 0);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_BLK], REACH_NONE); /* the running one has it not */
	snprintf(path, sizeof(path), "%s/boot/initrd.img-6.1.0-9-amd64", root);
	assert_int_equal(remove(path), 0);
	assert_int_equal(facts_gather(&s, &h), 0);
	assert_true(h.drivers_known);
	assert_int_equal(h.drivers[DRIVER_VIRTIO_BLK], REACH_BOOT);
	unsetenv("GODWIT_FACTS_ROOT");
	setenv("PATH", was, 1);
	assert_int_equal(fileio_remove_tree(root), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modules_are_known_by_whatever_lists_them),
		cmocka_unit_test(fstab_s_names_of_hardware_are_found_and_no_others),
		cmocka_unit_test(more_names_than_there_is_room_for_are_left_out),
		cmocka_unit_test(root_and_resume_of_the_kernel_s_command_line_are_found),
		cmocka_unit_test(network_files_are_bound_by_address_or_by_name),
		cmocka_unit_test(of_a_bridge_the_card_is_meant),
		cmocka_unit_test(all_cards_that_are_configured_are_found_in_order),
		cmocka_unit_test(of_many_cards_so_many_are_found_and_that_of_the_default_route),
		cmocka_unit_test(the_interface_is_that_of_the_best_default_route),
		cmocka_unit_test(drivers_are_those_that_the_running_and_the_newest_kernel_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
