/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of a bridge, in a network namespace of the test's own. */
#include "bridge.h"
#include "confine.h"
#include "fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define BRIDGE "br-test_0.15abc"
#define OTHER  "br-other"

static const char *const macs[] = { "52:54:00:aa:bb:01", "52:54:00:aa:bb:02" };
static bool ours; /* the namespace */

static int begin(void **state)
{
	struct ifreq mtu = { .ifr_name = BRIDGE, .ifr_mtu = 9000 };
	int s;

	/* Its own /sys, which shows the interfaces of the namespace that it was mounted in. */
	ours = access("/dev/net/tun", R_OK | W_OK) == 0 && unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("none", "/sys", "sysfs", 0, NULL) == 0;
	s = ours ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
	ours = s >= 0 && ioctl(s, SIOCBRADDBR, BRIDGE) == 0 && ioctl(s, SIOCBRADDBR, OTHER) == 0 &&
	       ioctl(s, SIOCSIFMTU, &mtu) == 0;
	if (s >= 0)
		close(s);
	return 0;
}

static void need_namespace(void)
{
	if (!ours) {
		print_message("no namespace with a bridge and taps can be made here\n");
		skip();
	}
}

/* What /sys/class/net/@interface/@file says. */
static void assert_says(const char *interface, const char *file, const char *wanted)
{
	char path[160], *text;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", interface, file);
	assert_int_equal(fileio_slurp(path, KIB, &text, NULL), 0);
	text[strcspn(text, "\n")] = 0;
	assert_string_equal(text, wanted);
	free(text);
}

static bool is_port(const char *bridge, const char *interface)
{
	char path[160];

	snprintf(path, sizeof(path), "/sys/class/net/%s/brif/%s", bridge, interface);
	return access(path, F_OK) == 0;
}

static bool is_up(const char *interface)
{
	struct ifreq r = { .ifr_flags = 0 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
	assert_int_equal(ioctl(s, SIOCGIFFLAGS, &r), 0);
	close(s);
	return r.ifr_flags & IFF_UP;
}

static void assert_names(const struct fault *f, const char *what)
{
	char line[512];

	fault_format(f, LANGUAGE_EN, line, sizeof(line));
	if (!strstr(line, what))
		fail_msg("no \"%s\": %s", what, line);
}

static void test_each_card_has_a_port_until_its_descriptor_is_closed(void **state)
{
	struct bridge_ports p;
	struct fault f;

	need_namespace();
	assert_int_equal(bridge_open_ports(BRIDGE, macs, ARRAY_LEN(macs), "web", &p, &f), 0);
	assert_int_equal(p.count, ARRAY_LEN(macs));
	assert_true(is_port(BRIDGE, "gw0") && is_port(BRIDGE, "gw1"));
	assert_says("gw1", "address", "fe:54:00:aa:bb:02");
	assert_true(is_up("gw1"));
	assert_says("gw1", "mtu", "9000");
	assert_true(fcntl(p.fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(bridge_hand_on(&p), 0);
	assert_false(fcntl(p.fds[0], F_GETFD) & FD_CLOEXEC);
	bridge_close_ports(&p);
	assert_int_equal(p.count, 0);
	assert_int_equal(if_nametoindex("gw0"), 0);
	assert_int_equal(if_nametoindex("gw1"), 0);
}

static void test_each_card_is_on_its_bridge_and_those_left_over_are_on_the_last(void **state)
{
	static const char *const three[] = { "52:54:00:aa:bb:01", "52:54:00:aa:bb:02", "52:54:00:aa:bb:03" };
	struct bridge_ports p;
	struct fault f;

	need_namespace();
	assert_int_equal(bridge_check(BRIDGE "," OTHER, 3, "web", &f), 0);
	assert_int_equal(bridge_open_ports(BRIDGE "," OTHER, three, 3, "web", &p, &f), 0);
	assert_int_equal(p.count, 3);
	assert_true(is_port(BRIDGE, "gw0") && is_port(OTHER, "gw1") && is_port(OTHER, "gw2"));
	assert_says("gw0", "mtu", "9000");
	assert_says("gw1", "mtu", "1500");
	bridge_close_ports(&p);
	/* The one that is not there is named; one that no card is on need not be there. */
	assert_int_equal(bridge_check(BRIDGE ",nobody0", 2, "web", &f), -ENODEV);
	assert_int_equal(f.code, MSG_LAUNCH_NO_BRIDGE);
	assert_names(&f, "the bridge nobody0,");
	assert_true(bridge_open_ports(BRIDGE ",nobody0", macs, 2, "web", &p, &f) < 0);
	assert_int_equal(f.code, MSG_LAUNCH_NO_PORT);
	assert_names(&f, "the bridge nobody0 of");
	assert_int_equal(if_nametoindex("gw0"), 0);
	assert_int_equal(bridge_check(BRIDGE ",nobody0", 1, "web", &f), 0);
}

/* What hangs on it goes on by the address and in the packets that it had. */
static void test_a_bridge_keeps_its_address_and_mtu(void **state)
{
	struct bridge_ports first, second;
	struct fault f;
	struct ifreq card = { .ifr_name = "gw0", .ifr_hwaddr = { ARPHRD_ETHER, "\x06\x00\x00\x00\x00\x01" } };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	need_namespace();
	/* In the place of this machine's card: */
	assert_int_equal(bridge_open_ports(BRIDGE, macs, 1, "web", &first, &f), 0);
	assert_int_equal(ioctl(s, SIOCSIFHWADDR, &card), 0);
	assert_says(BRIDGE, "address", "06:00:00:00:00:01");
	assert_int_equal(bridge_open_ports(BRIDGE, (const char *const[]){ "02:00:00:00:00:01" }, 1, "web", &second, &f),
			 0);
	assert_says(BRIDGE, "address", "06:00:00:00:00:01");
	assert_says(BRIDGE, "mtu", "9000");
	close(s);
	bridge_close_ports(&second);
	bridge_close_ports(&first);
}

static void test_what_is_no_bridge_is_refused_and_leaves_no_tap(void **state)
{
	static const char *const none[] = { "lo", "nobody0" };
	struct bridge_ports p = { .count = 7 };
	struct fault f;

	need_namespace();
	for (unsigned int i = 0; i < ARRAY_LEN(none); i++) {
		assert_int_equal(bridge_check(none[i], 2, "web", &f), -ENODEV);
		assert_int_equal(f.code, MSG_LAUNCH_NO_BRIDGE);
		assert_true(bridge_open_ports(none[i], macs, ARRAY_LEN(macs), "web", &p, &f) < 0);
		assert_int_equal(p.count, 7); /* written on success only */
	}
	assert_int_equal(bridge_check(BRIDGE, 2, "web", &f), 0);
	assert_int_equal(if_nametoindex("gw0"), 0);
}

static void test_without_taps_it_is_said(void **state)
{
	struct fault f;

	need_namespace();
	assert_int_equal(mount("none", "/dev/net", "tmpfs", 0, NULL), 0);
	assert_int_equal(bridge_check(BRIDGE, 2, "web", &f), -ENOENT);
	assert_int_equal(f.code, MSG_LAUNCH_NO_PORT);
	assert_names(&f, "/dev/net/tun: No such file");
	assert_int_equal(umount("/dev/net"), 0);
}

/* For ever: the last one. */
static void test_without_rights_no_port_is_made(void **state)
{
	struct bridge_ports p;
	struct fault f;

	need_namespace();
	assert_int_equal(confine_capabilities(NULL, 0), 0);
	assert_int_equal(bridge_open_ports(BRIDGE, macs, ARRAY_LEN(macs), "web", &p, &f), -EPERM);
	assert_int_equal(f.code, MSG_LAUNCH_NO_PORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_card_has_a_port_until_its_descriptor_is_closed),
		cmocka_unit_test(test_each_card_is_on_its_bridge_and_those_left_over_are_on_the_last),
		cmocka_unit_test(test_a_bridge_keeps_its_address_and_mtu),
		cmocka_unit_test(test_what_is_no_bridge_is_refused_and_leaves_no_tap),
		cmocka_unit_test(test_without_taps_it_is_said),
		cmocka_unit_test(test_without_rights_no_port_is_made),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
