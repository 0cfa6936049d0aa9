/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that lead to a launched machine: as people write them, as qemu takes and tells them, and one that is taken. */
#include "fileio.h"
#include "forward.h"
#include "forwards.h"
#include "kvm.h"
#include "loop.h"
#include "target.h"
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void test_what_is_understood(void **state)
{
	static const struct {
		const char *text;
		struct forwards wanted;
	} cases[] = {
		{ "", { .count = 0 } },
		{ "2222:22", { { { "127.0.0.1", 2222, 22 } }, 1 } },
		{ "0:65535", { { { "127.0.0.1", 0, 65535 } }, 1 } },
		{ "192.0.2.5:8080:80", { { { "192.0.2.5", 8080, 80 } }, 1 } },
		{ "0.0.0.0:1024:1,0:22,65535:22",
		  { { { "0.0.0.0", 1024, 1 }, { "127.0.0.1", 0, 22 }, { "127.0.0.1", 65535, 22 } }, 3 } },
		/* free ones are different ones, and an address has ports of its own */
		{ "0:22,0:22", { { { "127.0.0.1", 0, 22 }, { "127.0.0.1", 0, 22 } }, 2 } },
		{ "2222:22,127.0.0.2:2222:22", { { { "127.0.0.1", 2222, 22 }, { "127.0.0.2", 2222, 22 } }, 2 } },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct forwards got;
		struct fault f;

		if (forward_parse(cases[i].text, &got, &f))
			fail_msg("\"%s\" is refused", cases[i].text);
		assert_int_equal(got.count, cases[i].wanted.count);
		for (unsigned int n = 0; n < got.count; n++) {
			assert_string_equal(got.list[n].address, cases[i].wanted.list[n].address);
			assert_int_equal(got.list[n].port, cases[i].wanted.list[n].port);
			assert_int_equal(got.list[n].guest_port, cases[i].wanted.list[n].guest_port);
		}
	}
}

static void test_each_mistake_is_said(void **state)
{
	static const struct {
		const char *text;
		enum message_code code;
	} cases[] = {
		{ "22", MSG_FORWARD_NO_GUEST_PORT },
		{ "2222:", MSG_FORWARD_NO_GUEST_PORT },
		{ ",2222:22", MSG_FORWARD_NO_GUEST_PORT },
		{ "2222:22,", MSG_FORWARD_NO_GUEST_PORT },
		{ "2222:22,,3333:33", MSG_FORWARD_NO_GUEST_PORT },
		{ ":22", MSG_FORWARD_BAD_PORT },
		{ "2222:0", MSG_FORWARD_BAD_PORT },
		{ "2222:65536", MSG_FORWARD_BAD_PORT },
		{ "65536:22", MSG_FORWARD_BAD_PORT },
		{ "-1:22", MSG_FORWARD_BAD_PORT },
		{ "+1:22", MSG_FORWARD_BAD_PORT },
		{ " 2222:22", MSG_FORWARD_BAD_PORT },
		{ "2222:ssh", MSG_FORWARD_BAD_PORT },
		{ "2222:22 ", MSG_FORWARD_BAD_PORT },
		{ "99999999999999999999:22", MSG_FORWARD_BAD_PORT },
		{ "1023:22", MSG_FORWARD_LOW_PORT },
		{ "127.0.0.1:80:80", MSG_FORWARD_LOW_PORT },
		{ "localhost:2222:22", MSG_FORWARD_NOT_ADDRESS },
		{ ":2222:22", MSG_FORWARD_NOT_ADDRESS },
		{ "127.1:2222:22", MSG_FORWARD_NOT_ADDRESS },
		{ "256.0.0.1:2222:22", MSG_FORWARD_NOT_ADDRESS },
		{ "127.0.0.1-:2222:22", MSG_FORWARD_NOT_ADDRESS },
		{ "[::1]:2222:22", MSG_FORWARD_IPV6 },
		{ "::1:2222:22", MSG_FORWARD_IPV6 },
		{ "2222:22,2222:23", MSG_FORWARD_TWICE },
		{ "0.0.0.0:2222:22,192.0.2.1:2222:22", MSG_FORWARD_TWICE },
		{ "2222:22,0.0.0.0:2222:80", MSG_FORWARD_TWICE },
		{ "0:1,0:2,0:3,0:4,0:5,0:6,0:7,0:8,0:9,0:10,0:11,0:12,0:13,0:14,0:15,0:16,0:17", MSG_FORWARD_TOO_MANY },
		{ "1111111111111111111111111111111111111111111111111111111111111111111111111111111:22", MSG_FORWARD_NO_GUEST_PORT },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct forwards got = { .count = 99 };
		struct fault f;

		if (forward_parse(cases[i].text, &got, &f) != -EINVAL || f.code != cases[i].code)
			fail_msg("\"%s\" is not refused as it should be", cases[i].text);
		assert_int_equal(got.count, 99);
	}
}

static void test_as_many_and_as_long_as_there_can_be_are_taken(void **state)
{
	char text[FORWARD_TEXT_MAX + 2] = "", args[FORWARDS_ARGS_SIZE];
	struct forwards got;
	struct fault f;

	for (unsigned int i = 0; i < FORWARDS_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s255.255.255.255:%u:65535", i ? "," : "",
			 65520 + i);
	assert_int_equal(strlen(text), FORWARD_TEXT_MAX);
	assert_int_equal(forward_parse(text, &got, &f), 0);
	forwards_args(&got, args);
	assert_int_equal(got.count, FORWARDS_MAX);
	assert_string_equal(args + strlen(args) - strlen("255.255.255.255:65535-:65535"), "255.255.255.255:65535-:65535");
	got.count = 0;
	assert_string_equal(forwards_args(&got, args), "");
	assert_string_equal(forwards_args(NULL, args), "");
}

/* As qemu 7.2 says it, the newest first. */
static const char info[] = "Hub -1 (#net044):\r\n"
			   "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
			   "  TCP[ESTABLISHED]   31       127.0.0.1 40005       10.0.2.15    22     0     0\r\n"
			   "  TCP[HOST_FORWARD]  12       127.0.0.1 40003       10.0.2.15    22     0     0\r\n"
			   "  TCP[HOST_FORWARD]  11       127.0.0.1 40002       10.0.2.15    22     0     0\r\n"
			   "  TCP[HOST_FORWARD]  10               *  8080       10.0.2.15    80     0     0\r\n"
			   "  TCP[HOST_FORWARD]   9 255.255.255.255 40001       10.0.2.15    80     0     0\r\n";

static void test_the_ports_that_qemu_chose_are_found(void **state)
{
	struct forwards got, wanted;
	struct fault f;

	assert_int_equal(forward_parse("255.255.255.255:0:80,0.0.0.0:8080:80,0:22,40003:22", &wanted, &f), 0);
	assert_int_equal(forwards_find(info, &wanted, &got), 0);
	assert_int_equal(got.list[0].port, 40001);
	assert_int_equal(got.list[1].port, 8080);
	assert_int_equal(got.list[2].port, 40002); /* not that which another has for its own */
	assert_int_equal(got.list[3].port, 40003);
	assert_int_equal(forward_parse("0:22,0:22", &wanted, &f), 0);
	assert_int_equal(forwards_find(info, &wanted, &got), 0);
	assert_int_not_equal(got.list[0].port, got.list[1].port);
	assert_int_equal(forward_parse("0:22,0:22,0:22", &wanted, &f), 0);
	assert_int_equal(forwards_find(info, &wanted, &got), -ENOENT);
	assert_int_equal(forward_parse("40005:22", &wanted, &f), 0); /* a connection is none */
	assert_int_equal(forwards_find(info, &wanted, &got), -ENOENT);
	assert_int_equal(forwards_find("", &wanted, &got), -ENOENT);
}

static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void test_a_port_that_is_taken_is_said_and_one_that_is_not_is_free_again(void **state)
{
	struct forwards wanted = { .list = { { "127.0.0.1", 0, 22 }, { "127.0.0.1", 0, 80 } }, .count = 2 };
	int fd = listen_somewhere(&wanted.list[1].port);
	char said[160], port[8];
	struct fault f;

	snprintf(port, sizeof(port), "%u", wanted.list[1].port);
	assert_int_equal(forwards_check(&wanted, "web", &f), -EADDRINUSE);
	assert_int_equal(f.code, MSG_LAUNCH_PORT_TAKEN);
	assert_non_null(strstr(fault_format(&f, LANGUAGE_EN, said, sizeof(said)), port));
	close(fd);
	assert_int_equal(forwards_check(&wanted, "web", &f), 0);
	assert_int_equal(forwards_check(&wanted, "web", &f), 0);
	assert_int_equal(forwards_check(NULL, "web", &f), 0);
}

/* --- with qemu itself, which is told nothing of it before ------------------------------------- */

static struct fault failed_with;
static bool stopped;

static void machine_failed(void *context, const struct fault *f)
{
	assert_false(stopped);
	failed_with = *f;
}

static void machine_stopped(void *context, const char *why)
{
	assert_non_null(why);
	stopped = true;
}

static void machine_noted(void *context, const char *text)
{
}

static void test_a_port_that_is_taken_in_between_is_said(void **state)
{
	static const struct target_events events = { .note = machine_noted, .failed = machine_failed,
						     .stopped = machine_stopped };
	static const char *const macs[] = { "52:54:00:00:00:00" };
	struct forwards wanted = { .list = { { "127.0.0.1", 0, 22 }, { "127.0.0.1", 0, 80 }, { "127.0.0.1", 0, 81 } },
				   .count = 3 };
	int fd = listen_somewhere(&wanted.list[1].port);
	char folder[] = "/tmp/godwit-forward.XXXXXX";
	struct target_machine m = { .folder = folder, .id = "0a0b0c0d-0000-4000-8000-000000000001", .name = "web",
				    .cpus = 1, .memory_bytes = 64 * MIB, .firmware = FIRMWARE_BIOS,
				    .network = NETWORK_ISOLATED, .forwards = &wanted, .card = "virtio-net-pci",
				    .macs = macs, .card_count = 1 };
	struct target *t;
	struct loop *loop;
	struct fault f;

	if (!tool_is_there(QEMU)) {
		print_message("skipped: needs qemu\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(target_qemu.start(loop, &m, &events, NULL, &t, &f), 0);
	while (!stopped) /* within qemu.c's own deadline */
		assert_int_equal(loop_turn(loop), 0);
	assert_int_equal(failed_with.code, MSG_LAUNCH_PORT_TAKEN);
	target_qemu.free(t);
	loop_free(loop);
	close(fd);
	assert_int_equal(fileio_remove_tree(folder), 0);
}

static void test_an_address_of_another_machine_is_said(void **state)
{
	const struct forwards wanted = { .list = { { "192.0.2.1", 0, 22 } }, .count = 1 };
	struct fault f;

	assert_int_equal(forwards_check(&wanted, "web", &f), -EADDRNOTAVAIL);
	assert_int_equal(f.code, MSG_LAUNCH_PORT_NOT_OPENED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_understood),
		cmocka_unit_test(test_each_mistake_is_said),
		cmocka_unit_test(test_as_many_and_as_long_as_there_can_be_are_taken),
		cmocka_unit_test(test_the_ports_that_qemu_chose_are_found),
		cmocka_unit_test(test_a_port_that_is_taken_is_said_and_one_that_is_not_is_free_again),
		cmocka_unit_test(test_a_port_that_is_taken_in_between_is_said),
		cmocka_unit_test(test_an_address_of_another_machine_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
