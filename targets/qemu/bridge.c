/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN "/dev/net/tun"

static int open_tun(void)
{
	int fd = open(TUN, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int no_port(const char *bridge, int err, const char *reason, const char *machine, struct fault *f)
{
	return fault_set(f, err, MSG_LAUNCH_NO_PORT, "machine", machine, "bridge", bridge, "reason", reason, NULL);
}

static int check_one(const char *bridge, const char *machine, struct fault *f)
{
	char path[128], host[HOST_NAME_MAX + 1] = "";

	snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", bridge);
	if (access(path, F_OK) == 0)
		return 0;
	(void)gethostname(host, sizeof(host) - 1);
	return fault_set(f, -ENODEV, MSG_LAUNCH_NO_BRIDGE, "machine", machine, "bridge", bridge, "server", host, NULL);
}

int bridge_check(const char *bridges, unsigned int count, const char *machine, struct fault *ret_fault)
{
	char name[HARDWARE_BRIDGE_SIZE], reason[128];
	int fd, err;

	for (unsigned int i = 0; i < count; i++) {
		err = check_one(hardware_bridge_of(bridges, i, name), machine, ret_fault);
		if (err)
			return err;
	}
	fd = open_tun();
	if (fd < 0) {
		snprintf(reason, sizeof(reason), TUN ": %s", strerror(-fd));
		return no_port(hardware_bridge_of(bridges, 0, name), fd, reason, machine, ret_fault);
	}
	close(fd);
	return 0;
}

static int ask(int fd, unsigned long request, struct ifreq *r)
{
	return ioctl(fd, request, r) < 0 ? -errno : 0;
}

static struct ifreq request_for(const char *name)
{
	struct ifreq r = { .ifr_ifindex = 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return r;
}

/* A bridge takes the lowest address of its ports for its own, and the smallest MTU, unless it was told one: the
 * network of this machine would change under it.  So a port has a high one, made of its card's, and the bridge's MTU. */
static int fit_to(const char *bridge, const char *mac, const char *name, int s)
{
	struct ifreq mtu = request_for(bridge), r = request_for(name);
	unsigned char *a = (unsigned char *)r.ifr_hwaddr.sa_data;
	int err = ask(s, SIOCGIFMTU, &mtu);

	if (err)
		return err;
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]) != 6)
		return -EINVAL;
	a[0] = 0xfe;
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	snprintf(mtu.ifr_name, sizeof(mtu.ifr_name), "%s", name);
	return ask(s, SIOCSIFHWADDR, &r) ?: ask(s, SIOCSIFMTU, &mtu);
}

/* Up only when it is a port: nothing of this machine is to be said on it by itself. */
static int join(const char *bridge, const char *name, int s)
{
	struct ifreq add = request_for(bridge), up = request_for(name), index = request_for(name);
	int err = ask(s, SIOCGIFINDEX, &index);

	add.ifr_ifindex = index.ifr_ifindex;
	err = err ?: ask(s, SIOCBRADDIF, &add) ?: ask(s, SIOCGIFFLAGS, &up);
	up.ifr_flags |= IFF_UP;
	return err ?: ask(s, SIOCSIFFLAGS, &up);
}

static int open_port(const char *bridge, const char *mac, int s, int *ret_fd)
{
	struct ifreq r = request_for("gw%d");
	int fd = open_tun(), err;

	if (fd < 0)
		return fd;
	r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	err = ask(fd, TUNSETIFF, &r) ?: fit_to(bridge, mac, r.ifr_name, s) ?: join(bridge, r.ifr_name, s);
	if (err)
		close(fd); /* and with it goes the tap */
	else
		*ret_fd = fd;
	return err;
}

int bridge_open_ports(const char *bridges, const char *const *macs, unsigned int count, const char *machine,
		      struct bridge_ports *ret, struct fault *ret_fault)
{
	struct bridge_ports p = { .count = 0 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = s < 0 ? -errno : 0;
	char name[HARDWARE_BRIDGE_SIZE];

	(void)hardware_bridge_of(bridges, 0, name);
	for (unsigned int i = 0; i < count && !err; i++) {
		err = open_port(hardware_bridge_of(bridges, i, name), macs[i], s, &p.fds[i]);
		p.count += !err;
	}
	if (s >= 0)
		close(s);
	if (err) {
		bridge_close_ports(&p);
		return no_port(name, err, strerror(-err), machine, ret_fault);
	}
	*ret = p;
	return 0;
}

int bridge_hand_on(const struct bridge_ports *p)
{
	for (unsigned int i = 0; i < p->count; i++)
		if (fcntl(p->fds[i], F_SETFD, 0))
			return -errno;
	return 0;
}

void bridge_close_ports(struct bridge_ports *p)
{
	for (unsigned int i = 0; i < p->count; i++)
		close(p->fds[i]);
	p->count = 0;
}
