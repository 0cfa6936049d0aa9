/* SPDX-License-Identifier: Apache-2.0 */
/* What libvirt is told of a machine with as many disks as a bus is chosen for; that it starts one is tried in
 * tests/integration/launch-images.bats. */
#include "describe.h"
#include "fileio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char folder[64];
static struct target_disk disks[DISKS_MAX];

static int begin(void **state)
{
	strcpy(folder, "/tmp/godwit-describe.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state)
{
	return fileio_remove_tree(folder);
}

static char *text_of(const char *name)
{
	char path[128], *text;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(fileio_slurp(path, MIB, &text, NULL), 0);
	return text;
}

static struct forwards forwards;

static char *domain_of(enum target_bus bus, enum target_network network, unsigned int disk_count)
{
	static const char *const macs[HARDWARE_CARDS_MAX] = {
		"52:54:00:00:00:00", "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03",
		"52:54:00:00:00:04", "52:54:00:00:00:05", "52:54:00:00:00:06", "52:54:00:00:00:07",
	};
	const struct target_machine m = {
		.folder = folder, .id = "0a0b0c0d-0000-4000-8000-000000000001", .name = "m", .time = "2026-11-28T00:00:00Z",
		.to = folder, .format = "qcow2", .cpus = 1, .memory_bytes = 64 * MIB, .firmware = FIRMWARE_BIOS,
		.network = network, .bridge = "br-lan,br.9,br-lan,br_rest", .forwards = &forwards,
		.card = "virtio-net-pci", .macs = macs, .card_count = HARDWARE_CARDS_MAX,
		.bus = bus, .disks = disks, .disk_count = disk_count,
	};

	for (unsigned int d = 0; d < disk_count; d++)
		disks[d] = (struct target_disk){ .disk = d, .size_bytes = MIB, .sector_bytes = 512 };
	assert_int_equal(describe_machine(&m, folder), 0);
	return text_of("machine.xml");
}

static void assert_has(const char *text, const char *format, unsigned int i)
{
	char wanted[128];

	snprintf(wanted, sizeof(wanted), format, i);
	if (!strstr(text, wanted))
		fail_msg("no %s", wanted);
}

static void test_all_scsi_disks_are_on_the_controller_that_has_a_driver(void **state)
{
	char *domain = domain_of(BUS_SCSI, NETWORK_ISOLATED, DISKS_MAX);

	for (unsigned int i = 0; i < DISKS_MAX; i++)
		assert_has(domain, "<address type='drive' controller='0' bus='0' target='%u' unit='0'/>", i);
	free(domain);
}

static void test_nvme_disks_are_where_libvirt_puts_nothing(void **state)
{
	char *domain = domain_of(BUS_NVME, NETWORK_ISOLATED, 19);

	for (unsigned int i = 0; i < 19; i++)
		assert_has(domain, ",addr=0x%x'", 8 + i);
	free(domain);
}

static void test_each_card_is_described_on_its_bridge(void **state)
{
	static const char *const on[HARDWARE_CARDS_MAX] = { "br-lan",  "br.9",	  "br-lan",  "br_rest",
							    "br_rest", "br_rest", "br_rest", "br_rest" };
	char *domain = domain_of(BUS_VIRTIO, NETWORK_BRIDGE, 1), *script = text_of("start.sh");
	char *text = text_of("README.txt");

	for (unsigned int i = 0; i < HARDWARE_CARDS_MAX; i++) {
		char form[160];

		snprintf(form, sizeof(form), "<mac address='52:54:00:00:00:0%%u'/>\n      <model type='virtio'/>\n"
			 "      <source bridge='%s'/>", on[i]);
		assert_has(domain, form, i);
		snprintf(form, sizeof(form), "-nic bridge,br=%s,model=virtio-net-pci,mac=52:54:00:00:00:0%%u", on[i]);
		assert_has(script, form, i);
		snprintf(form, sizeof(form), "\t52:54:00:00:00:0%%u\t%s\n", on[i]);
		assert_has(text, form, i);
	}
	assert_has(domain, "<interface type='bridge'>", 0);
	assert_null(strstr(domain, "type='user'"));
	assert_null(strstr(domain, "<link state='down'/>"));
	assert_has(text, "\n\tallow br-lan\n\tallow br.9\n\tallow br_rest\n\n", 0); /* each once */
	free(domain);
	free(script);
	free(text);
}

static void test_ports_that_are_not_forwarded_elsewhere_are_said(void **state)
{
	static const struct forward one = { "127.0.0.1", 2222, 8022 };
	char *text;

	free(domain_of(BUS_VIRTIO, NETWORK_ISOLATED, 1));
	text = text_of("README.txt");
	assert_null(strstr(text, "hostfwd"));
	free(text);
	forwards = (struct forwards){ .list = { one }, .count = 1 };
	free(domain_of(BUS_VIRTIO, NETWORK_ISOLATED, 1));
	forwards.count = 0;
	text = text_of("README.txt");
	assert_has(text, ",hostfwd=tcp:127.0.0.1:PORT-:%u", 8022);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_scsi_disks_are_on_the_controller_that_has_a_driver, begin, finish),
		cmocka_unit_test_setup_teardown(test_nvme_disks_are_where_libvirt_puts_nothing, begin, finish),
		cmocka_unit_test_setup_teardown(test_each_card_is_described_on_its_bridge, begin, finish),
		cmocka_unit_test_setup_teardown(test_ports_that_are_not_forwarded_elsewhere_are_said, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
