/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of a launch's qemu: qemu itself says whether it starts with it. */
#include "args.h"
#include "fileio.h"
#include "tool.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];
static const struct bridge_ports no_ports;

static int begin(void **state)
{
	strcpy(folder, "/tmp/godwit-args.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state)
{
	return fileio_remove_tree(folder);
}

static void make_disks(void)
{
	for (unsigned int i = 0; i < DISKS_MAX; i++) {
		char path[128];
		const char *const argv[] = { "qemu-img", "create", "-q", "-f", "qcow2", path, "1M", NULL };
		char said[256];

		snprintf(path, sizeof(path), "%s/disk%u.qcow2", folder, i);
		assert_int_equal(tool_run(argv, folder, said, sizeof(said)), 0);
	}
}

/* It is told to end as soon as it listens; what is wrong with its devices it says before that. */
static bool qemu_starts(const struct target_machine *m)
{
	struct qemu_args a = { .n = 0 };
	int order[2], status = -1;
	pid_t pid;

	qemu_args_build(&a, m, &no_ports);
	assert_false(a.failed);
	assert_true(a.n + 2 <= QEMU_ARGS_MAX);
	a.v[a.n++] = strdup("-monitor");
	a.v[a.n++] = strdup("stdio");
	a.v[a.n] = NULL;
	assert_int_equal(pipe2(order, O_CLOEXEC), 0);
	assert_int_equal(write(order[1], "quit\n", 5), 5);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		if (dup2(order[0], 0) < 0 || dup2(null, 1) < 0)
			_exit(126);
		execvp(a.v[0], a.v);
		_exit(127);
	}
	close(order[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(order[1]);
	qemu_args_free(&a);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_qemu_starts_with_as_many_disks_as_a_bus_is_chosen_for(void **state)
{
	static const struct {
		enum target_bus bus;
		unsigned int disks, sector_bytes;
	} cases[] = {
		{ BUS_SATA, 2, 512 },	 { BUS_SATA, 6, 512 },	 { BUS_VIRTIO, 19, 4096 },
		{ BUS_VIRTIO, 19, 512 }, { BUS_NVME, 19, 4096 }, { BUS_SCSI, 64, 4096 },
	};
	static const char *const macs[HARDWARE_CARDS_MAX] = {
		"52:54:00:00:00:00", "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03",
		"52:54:00:00:00:04", "52:54:00:00:00:05", "52:54:00:00:00:06", "52:54:00:00:00:07",
	};
	static struct target_disk disks[DISKS_MAX];
	struct target_machine m = { .folder = folder, .id = "0a0b0c0d-0000-4000-8000-000000000001", .name = "m", .cpus = 1,
				    .memory_bytes = 64 * MIB, .firmware = FIRMWARE_BIOS, .network = NETWORK_ISOLATED,
				    .card = "virtio-net-pci", .macs = macs, .card_count = HARDWARE_CARDS_MAX,
				    .disks = disks };

	if (!tool_is_there(QEMU) || !tool_is_there("qemu-img")) {
		print_message("skipped: needs qemu and qemu-img\n");
		skip();
	}
	make_disks();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct hardware_disks held = { cases[i].disks, cases[i].sector_bytes };

		assert_true(hardware_bus_holds(cases[i].bus, &held));
		for (unsigned int d = 0; d < cases[i].disks; d++)
			disks[d] = (struct target_disk){ .disk = d, .size_bytes = MIB, .sector_bytes = cases[i].sector_bytes };
		m.bus = cases[i].bus;
		m.disk_count = cases[i].disks;
		if (!qemu_starts(&m))
			fail_msg("%u disks on %s, sectors of %u bytes", cases[i].disks, hardware_bus_name(cases[i].bus),
				 cases[i].sector_bytes);
	}
}

static void test_each_card_has_its_port_of_the_bridge(void **state)
{
	static const char *const macs[] = { "52:54:00:00:00:00", "52:54:00:00:00:01" };
	const struct target_machine m = { .folder = folder, .id = "0a0b0c0d-0000-4000-8000-000000000001", .name = "m",
					  .cpus = 1, .memory_bytes = 64 * MIB, .firmware = FIRMWARE_BIOS,
					  .network = NETWORK_BRIDGE, .bridge = "br0", .card = "e1000e", .macs = macs,
					  .card_count = 2 };
	const struct bridge_ports ports = { .fds = { 7, 9 }, .count = 2 };
	struct qemu_args a = { .n = 0 };
	unsigned int cards = 0;

	qemu_args_build(&a, &m, &ports);
	for (unsigned int i = 0; i < a.n; i++) {
		static const char *const wanted[] = { "tap,fd=7,model=e1000e,mac=52:54:00:00:00:00",
						      "tap,fd=9,model=e1000e,mac=52:54:00:00:00:01" };

		if (strcmp(a.v[i], "-nic") == 0)
			assert_string_equal(a.v[i + 1], wanted[cards++]);
	}
	assert_int_equal(cards, 2);
	qemu_args_free(&a);
}

static void test_ports_lead_to_the_first_card_and_qemu_starts_with_as_many_as_there_can_be(void **state)
{
	static const char *const macs[] = { "52:54:00:00:00:00", "52:54:00:00:00:01" };
	struct forwards forwards = { .count = FORWARDS_MAX };
	struct target_machine m = { .folder = folder, .id = "0a0b0c0d-0000-4000-8000-000000000001", .name = "m",
				    .cpus = 1, .memory_bytes = 64 * MIB, .firmware = FIRMWARE_BIOS, .forwards = &forwards,
				    .network = NETWORK_ISOLATED, .card = "e1000e", .macs = macs, .card_count = 2 };
	struct qemu_args a = { .n = 0 };
	unsigned int cards = 0;

	for (unsigned int i = 0; i < FORWARDS_MAX; i++)
		forwards.list[i] = (struct forward){ "127.0.0.1", 0, (uint16_t)(i + 1) };
	if (tool_is_there(QEMU))
		assert_true(qemu_starts(&m));
	forwards.count = 2;
	qemu_args_build(&a, &m, &no_ports);
	for (unsigned int i = 0; i < a.n; i++) {
		static const char *const wanted[] = {
			"user,model=e1000e,restrict=on,mac=52:54:00:00:00:00,hostfwd=tcp:127.0.0.1:0-:1,hostfwd=tcp:127.0.0.1:0-:2",
			"user,model=e1000e,restrict=on,mac=52:54:00:00:00:01"
		};

		if (strcmp(a.v[i], "-nic") == 0)
			assert_string_equal(a.v[i + 1], wanted[cards++]);
	}
	assert_int_equal(cards, 2);
	qemu_args_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_qemu_starts_with_as_many_disks_as_a_bus_is_chosen_for, begin, finish),
		cmocka_unit_test_setup_teardown(test_each_card_has_its_port_of_the_bridge, begin, finish),
		cmocka_unit_test_setup_teardown(test_ports_lead_to_the_first_card_and_qemu_starts_with_as_many_as_there_can_be,
						begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
