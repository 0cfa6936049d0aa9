/* SPDX-License-Identifier: Apache-2.0 */
#include "forwards.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

const char *forwards_args(const struct forwards *wanted, char ret[FORWARDS_ARGS_SIZE])
{
	size_t used = 0;

	ret[0] = 0;
	for (unsigned int i = 0; wanted && i < wanted->count; i++)
		used += (size_t)snprintf(ret + used, FORWARDS_ARGS_SIZE - used, ",hostfwd=tcp:%s:%u-:%u",
					 wanted->list[i].address, wanted->list[i].port, wanted->list[i].guest_port);
	return ret;
}

static int refuse(const struct forward *w, int err, const char *machine, struct fault *f)
{
	char host[HOST_NAME_MAX + 1] = "", port[8];

	(void)gethostname(host, sizeof(host) - 1);
	snprintf(port, sizeof(port), "%u", w->port);
	if (err == -EADDRINUSE)
		return fault_set(f, err, MSG_LAUNCH_PORT_TAKEN, "machine", machine, "port", port, "address", w->address,
				 "server", host, NULL);
	return fault_set(f, err, MSG_LAUNCH_PORT_NOT_OPENED, "machine", machine, "port", port, "address", w->address,
			 "server", host, "reason", strerror(-err), NULL);
}

/* As qemu does it: a port of connections that are over is free. */
static int try_to_listen(const struct forward *w)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(w->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, err = 0;

	if (fd < 0)
		return -errno;
	if (inet_pton(AF_INET, w->address, &a.sin_addr) != 1)
		err = -EINVAL;
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
		 bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
		err = -errno;
	close(fd);
	return err;
}

int forwards_check(const struct forwards *wanted, const char *machine, struct fault *ret_fault)
{
	for (unsigned int i = 0; wanted && i < wanted->count; i++) {
		int err = try_to_listen(&wanted->list[i]);

		if (err)
			return refuse(&wanted->list[i], err, machine, ret_fault);
	}
	return 0;
}

/* One line: "  TCP[HOST_FORWARD]   8       127.0.0.1 45203       10.0.2.15    80     0     0"; "*" is any address. */
static bool read_line(const char *line, struct forward *ret)
{
	unsigned int port, guest_port;
	char address[FORWARD_ADDRESS_SIZE];

	if (sscanf(line, " TCP[HOST_FORWARD] %*d %15s %u %*s %u", address, &port, &guest_port) != 3 ||
	    port > UINT16_MAX || guest_port > UINT16_MAX)
		return false;
	*ret = (struct forward){ .port = (uint16_t)port, .guest_port = (uint16_t)guest_port };
	snprintf(ret->address, sizeof(ret->address), "%s", strcmp(address, "*") == 0 ? "0.0.0.0" : address);
	return true;
}

static bool is_for(const struct forward *made, const struct forward *wanted)
{
	return made->port && (!wanted->port || wanted->port == made->port) && wanted->guest_port == made->guest_port &&
	       strcmp(wanted->address, made->address) == 0;
}

static bool is_taken(const struct forwards *all, const struct forward *made)
{
	for (unsigned int i = 0; i < all->count; i++)
		if (all->list[i].port == made->port && strcmp(all->list[i].address, made->address) == 0)
			return true;
	return false;
}

static int find_one(const char *info, const struct forward *wanted, const struct forwards *before, struct forward *ret)
{
	for (const char *line = info; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		struct forward made;

		if (read_line(line, &made) && is_for(&made, wanted) && !is_taken(before, &made)) {
			*ret = made;
			return 0;
		}
	}
	return -ENOENT;
}

/* Those with a port of their own first: no other is to be given theirs. */
int forwards_find(const char *info, const struct forwards *wanted, struct forwards *ret)
{
	struct forwards all = { .count = wanted->count }; /* without a port as long as it is not found */

	for (int free_ones = 0; free_ones < 2; free_ones++)
		for (unsigned int i = 0; i < wanted->count; i++)
			if ((wanted->list[i].port == 0) == free_ones &&
			    find_one(info, &wanted->list[i], &all, &all.list[i]))
				return -ENOENT;
	*ret = all;
	return 0;
}
