/* SPDX-License-Identifier: Apache-2.0 */
/* What of a machine is bound to its hardware: said, read back, and decided by. */
#include "hardware.h"
#include "wallclock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct hardware machine(void)
{
	struct hardware h = { .known = true, .drivers_known = true, .kernel = "6.1.0-50-amd64" };

	for (unsigned int i = 0; i < DRIVERS; i++)
		h.drivers[i] = REACH_BOOT;
	return h;
}

static void name(struct hardware *h, const char *device, unsigned int disk)
{
	struct hardware_name *n = &h->names[h->name_count++];

	snprintf(n->file, sizeof(n->file), "/etc/fstab");
	snprintf(n->device, sizeof(n->device), "%s", device);
	n->disk = disk;
}

static void bind_to(struct hardware *h, const char *interface, bool by_mac)
{
	unsigned int card = 0;

	while (card < h->card_count && strcmp(h->cards[card].interface, interface) != 0)
		card++;
	if (card == h->card_count) {
		snprintf(h->cards[card].interface, sizeof(h->cards[card].interface), "%s", interface);
		snprintf(h->cards[card].mac, sizeof(h->cards[card].mac), "52:54:00:aa:bb:%02x", 0xcc + card);
		h->card_count++;
	}
	snprintf(h->bindings[h->binding_count].file, sizeof(h->bindings[0].file), "/etc/netplan/a.yaml");
	h->bindings[h->binding_count].card = card;
	h->bindings[h->binding_count++].by_mac = by_mac;
}

static void what_is_said_is_read_back_the_same(void **state)
{
	struct hardware h = machine(), back;
	json_t *j, *again;

	h.drivers[DRIVER_NVME] = REACH_NONE;
	h.drivers[DRIVER_AHCI] = REACH_MODULE;
	name(&h, "/dev/sda1", 0);
	snprintf(h.names[0].uuid, sizeof(h.names[0].uuid), "be08e997-524f-45d1-877b-7b573057b22b");
	name(&h, "/dev/nvme1n1p2", 1);
	bind_to(&h, "ens18", true);
	j = hardware_to_json(&h);
	assert_null(json_object_get(json_object_get(j, "network"), "more")); /* as versions before this one say it */
	json_decref(j);
	bind_to(&h, "ens19", false);
	bind_to(&h, "ens18", false);
	bind_to(&h, "ens20", true);
	h.boot_disk_known = true;
	h.boot_disk = 5;
	j = hardware_to_json(&h);
	assert_int_equal(hardware_from_json(j, &back), 0);
	again = hardware_to_json(&back);
	assert_true(json_equal(j, again));
	assert_int_equal(back.card_count, 3);
	assert_true(back.boot_disk_known);
	assert_int_equal(back.boot_disk, 5);
	assert_string_equal(back.cards[2].interface, "ens20");
	assert_int_equal(back.bindings[3].card, 2);
	json_decref(again);
	/* Nothing known of the drivers, no network. */
	h.drivers_known = false;
	h.card_count = h.binding_count = 0;
	json_decref(j);
	j = hardware_to_json(&h);
	assert_true(json_is_null(json_object_get(j, "drivers")));
	assert_true(json_is_null(json_object_get(j, "network")));
	assert_int_equal(hardware_from_json(j, &back), 0);
	assert_false(back.drivers_known);
	json_decref(j);
}

static void what_a_stranger_says_otherwise_is_refused(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"kernel\":\"../../x\",\"drivers\":null,\"names\":[],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":{\"ahci\":\"sometimes\"},\"names\":[],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":7,\"names\":[],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[{\"file\":\"f\",\"device\":\"d\",\"uuid\":null,\"disk\":64}],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[{\"file\":\"f\\u001b\",\"device\":\"d\",\"uuid\":null,\"disk\":0}],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[7],\"network\":null}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"a/b\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[]}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"a b\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[]}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"e\",\"mac\":\"52:54:00:aa:bb:cg\",\"bound\":[]}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"e\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[{\"file\":\"f\",\"by\":\"luck\"}]}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"e\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[],\"more\":7}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"e\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[],\"more\":[{}]}}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":null,\"boot_disk\":64}",
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":null,\"boot_disk\":\"0\"}",
		/* none could be told from the other by it */
		"{\"kernel\":\"6\",\"drivers\":null,\"names\":[],\"network\":{\"interface\":\"e\",\"mac\":\"52:54:00:aa:bb:cc\",\"bound\":[],\"more\":[{\"interface\":\"f\",\"mac\":\"52:54:00:AA:bb:cc\",\"bound\":[]}]}}",
	};
	json_t *many = json_array();
	struct hardware h;

	for (unsigned int i = 0; i < HARDWARE_CARDS_MAX; i++) { /* one too many, with the first */
		char name[16], mac[18];

		snprintf(name, sizeof(name), "ens%u", i);
		snprintf(mac, sizeof(mac), "52:54:00:00:00:%02x", i);
		json_array_append_new(many, json_pack("{s:s, s:s, s:[]}", "interface", name, "mac", mac, "bound"));
	}
	many = json_pack("{s:s, s:n, s:[], s:{s:s, s:s, s:[], s:o}}", "kernel", "6", "drivers", "names", "network", "interface",
			 "e", "mac", "52:54:00:aa:bb:cc", "bound", "more", many);
	assert_int_equal(hardware_from_json(many, &h), -EINVAL);
	json_array_remove(json_object_get(json_object_get(many, "network"), "more"), 0);
	assert_int_equal(hardware_from_json(many, &h), 0);
	assert_int_equal(h.card_count, HARDWARE_CARDS_MAX);
	json_decref(many);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		json_t *j = json_loads(bad[i], 0, NULL);

		assert_non_null(j);
		if (hardware_from_json(j, &h) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		json_decref(j);
	}
}

static void the_bus_is_one_whose_driver_the_initramfs_has(void **state)
{
	struct hardware h = machine(), unknown = { 0 };

	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_VIRTIO);
	assert_int_equal(hardware_choose_bus(&unknown, false, NULL), BUS_VIRTIO);
	h.drivers[DRIVER_VIRTIO_BLK] = REACH_MODULE;
	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_SATA);
	h.drivers[DRIVER_SD_MOD] = REACH_NONE;
	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_NVME);
	h.drivers[DRIVER_NVME] = REACH_MODULE;
	assert_false(hardware_bus_boots(&h, BUS_SCSI));
	h.drivers[DRIVER_SD_MOD] = REACH_BOOT;
	h.drivers[DRIVER_AHCI] = REACH_NONE;
	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_SCSI);
	/* None: then its initramfs must be made anew, and that is done for virtio. */
	h.drivers[DRIVER_VIRTIO_PCI] = REACH_NONE;
	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_VIRTIO);
	assert_true(hardware_needs(&h, BUS_VIRTIO).drivers);
	h.drivers_known = false;
	assert_false(hardware_needs(&h, BUS_VIRTIO).drivers);
}

static void where_names_cannot_be_changed_the_bus_is_one_that_keeps_them(void **state)
{
	struct hardware h = machine();

	name(&h, "/dev/sda1", 0);
	name(&h, "/dev/sdb", 1);
	assert_int_equal(hardware_choose_bus(&h, true, NULL), BUS_VIRTIO);
	assert_int_equal(hardware_choose_bus(&h, false, NULL), BUS_SATA);
	assert_int_equal(hardware_needs(&h, BUS_VIRTIO).names, 2);
	assert_int_equal(hardware_needs(&h, BUS_SATA).names, 0);
	h.name_count = 0;
	name(&h, "/dev/nvme0n1p2", 0);
	assert_int_equal(hardware_choose_bus(&h, false, NULL), BUS_NVME);
	/* No bus calls it so: the first that boots. */
	name(&h, "/dev/disk/by-id/ata-X-part1", 0);
	assert_int_equal(hardware_choose_bus(&h, false, NULL), BUS_VIRTIO);
}

static void the_bus_holds_all_the_disks(void **state)
{
	static const struct {
		struct hardware_disks disks;
		enum target_bus first, without_virtio;
	} cases[] = {
		{ { 1, 512 }, BUS_VIRTIO, BUS_SATA },  { { 6, 512 }, BUS_VIRTIO, BUS_SATA },
		{ { 7, 512 }, BUS_VIRTIO, BUS_NVME },  { { 1, 4096 }, BUS_VIRTIO, BUS_NVME },
		{ { 19, 4096 }, BUS_VIRTIO, BUS_NVME }, { { 20, 512 }, BUS_SCSI, BUS_SCSI },
		{ { 64, 4096 }, BUS_SCSI, BUS_SCSI },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct hardware h = machine();

		assert_int_equal(hardware_choose_bus(&h, true, &cases[i].disks), cases[i].first);
		h.drivers[DRIVER_VIRTIO_BLK] = REACH_NONE;
		assert_int_equal(hardware_choose_bus(&h, true, &cases[i].disks), cases[i].without_virtio);
		memset(h.drivers, 0, sizeof(h.drivers)); /* its initramfs is made anew for it */
		assert_int_equal(hardware_choose_bus(&h, true, &cases[i].disks), cases[i].first);
	}
}

static void a_name_fits_only_in_the_disk_s_own_place(void **state)
{
	static const struct {
		const char *device;
		unsigned int disk;
		enum target_bus bus;
		bool fits;
	} t[] = {
		{ "/dev/vda1", 0, BUS_VIRTIO, true },	{ "/dev/vdb", 1, BUS_VIRTIO, true },
		{ "/dev/vdb1", 0, BUS_VIRTIO, false },	{ "/dev/sda1", 0, BUS_VIRTIO, false },
		{ "/dev/sda1", 0, BUS_SCSI, true },	{ "/dev/sdaa1", 0, BUS_SATA, false },
		{ "/dev/nvme1n1p3", 1, BUS_NVME, true }, { "/dev/nvme0n2", 0, BUS_NVME, false },
		{ "/dev/nvme0n1", 0, BUS_SATA, false }, { "/dev/hda1", 0, BUS_SATA, false },
		{ "/dev/sd", 0, BUS_SATA, false },	{ "/dev/nvme0", 0, BUS_NVME, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct hardware_name n = { .disk = t[i].disk };

		snprintf(n.device, sizeof(n.device), "%s", t[i].device);
		if (hardware_name_fits(&n, t[i].bus) != t[i].fits)
			fail_msg("%s as disk %u on %s", t[i].device, t[i].disk, hardware_bus_name(t[i].bus));
	}
}

static void an_interface_that_is_called_so_anyway_needs_nothing(void **state)
{
	struct hardware h = machine();

	assert_false(hardware_needs(&h, BUS_VIRTIO).network);
	bind_to(&h, "eth0", false);
	assert_false(hardware_needs(&h, BUS_VIRTIO).network);
	bind_to(&h, "eth0", true);
	assert_true(hardware_needs(&h, BUS_VIRTIO).network);
	h.binding_count = h.card_count = 0;
	bind_to(&h, "ens18", false);
	assert_true(hardware_needs(&h, BUS_VIRTIO).network);
	/* Several are called so in their order. */
	h.binding_count = h.card_count = 0;
	bind_to(&h, "eth0", false);
	bind_to(&h, "eth1", false);
	assert_false(hardware_needs(&h, BUS_VIRTIO).network);
	bind_to(&h, "eth3", false);
	assert_true(hardware_needs(&h, BUS_VIRTIO).network);
	h.known = false;
	assert_false(hardware_needs(&h, BUS_VIRTIO).network);
}

static void the_card_is_one_that_there_is_a_driver_for(void **state)
{
	struct hardware h = machine();

	h.drivers[DRIVER_VIRTIO_NET] = REACH_MODULE;
	assert_true(hardware_has_virtio_net(&h));
	h.drivers[DRIVER_VIRTIO_NET] = REACH_NONE;
	assert_false(hardware_has_virtio_net(&h));
	h.drivers[DRIVER_E1000E] = REACH_NONE;
	assert_true(hardware_has_virtio_net(&h));
}

static void what_it_was_at_a_time_is_what_was_known_last_by_then(void **state)
{
	json_t *history = json_pack("[{s:s, s:{s:s}}, {s:s, s:{s:s}}, {s:s}, {s:s, s:{}}]", "since", "2026-11-22T12:00:00Z",
				    "hardware", "kernel", "new", "since", "2026-11-22T10:00:00Z", "hardware", "kernel", "old",
				    "since", "2026-11-22T09:00:00Z", "since", "never", "hardware");
	static const struct {
		const char *time, *kernel;
		bool later;
	} cases[] = {
		{ "2026-11-22T12:00:01Z", "new", false }, { "2026-11-22T12:00:00Z", "new", false },
		{ "2026-11-22T11:59:59Z", "old", false }, { "2026-11-22T10:00:00Z", "old", false },
		{ "2026-11-22T09:59:59Z", "old", true },  { "2001-01-01T00:00:00Z", "old", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const json_t *was;
		uint64_t time_us;
		bool later;

		assert_int_equal(wallclock_parse(cases[i].time, &time_us), 0);
		was = json_object_get(hardware_at(history, time_us, &later), "hardware");
		assert_string_equal(json_string_value(json_object_get(was, "kernel")), cases[i].kernel);
		assert_int_equal(later, cases[i].later);
	}
	json_array_clear(history);
	for (int i = 0; i < 2; i++) {
		bool later = true;

		assert_null(hardware_at(i ? NULL : history, 0, &later));
		assert_false(later);
	}
	json_decref(history);
}

static void bridges_are_named_in_the_order_of_the_cards_and_the_last_one_is_for_the_rest(void **state)
{
	static const char *const bad[] = { "", ",", "br0,", ",br0", "br0,,br1", "br0, br1", "br0,..", "br0,sixteen-letters0",
					   "sixteen-letters0,br0", "1,2,3,4,5,6,7,8,9" };
	static const char all[] = "fifteen.letters,fifteen_letters,fifteen-letters,abcdefghijklmno,br4,br5,br6,br7";
	char b[HARDWARE_BRIDGE_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (hardware_are_bridges(bad[i]))
			fail_msg("\"%s\"", bad[i]);
	assert_true(hardware_are_bridges("br0"));
	assert_true(hardware_are_bridges("br0,br0,br-lan.9")); /* two cards may be on one */
	assert_true(hardware_are_bridges(all));
	assert_int_equal(hardware_count_bridges("br0"), 1);
	assert_int_equal(hardware_count_bridges(all), HARDWARE_CARDS_MAX);
	assert_string_equal(hardware_bridge_of(all, 0, b), "fifteen.letters");
	assert_string_equal(hardware_bridge_of(all, 3, b), "abcdefghijklmno");
	assert_string_equal(hardware_bridge_of(all, 7, b), "br7");
	assert_string_equal(hardware_bridge_of("br0,br1", 1, b), "br1");
	assert_string_equal(hardware_bridge_of("br0,br1", 7, b), "br1");
	assert_string_equal(hardware_bridge_of("br0", 7, b), "br0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_said_is_read_back_the_same),
		cmocka_unit_test(bridges_are_named_in_the_order_of_the_cards_and_the_last_one_is_for_the_rest),
		cmocka_unit_test(what_a_stranger_says_otherwise_is_refused),
		cmocka_unit_test(the_bus_is_one_whose_driver_the_initramfs_has),
		cmocka_unit_test(where_names_cannot_be_changed_the_bus_is_one_that_keeps_them),
		cmocka_unit_test(the_bus_holds_all_the_disks),
		cmocka_unit_test(a_name_fits_only_in_the_disk_s_own_place),
		cmocka_unit_test(an_interface_that_is_called_so_anyway_needs_nothing),
		cmocka_unit_test(the_card_is_one_that_there_is_a_driver_for),
		cmocka_unit_test(what_it_was_at_a_time_is_what_was_known_last_by_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
