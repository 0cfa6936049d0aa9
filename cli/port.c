/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner is found as ss(8) does: the listening socket's inode from
 * /proc/net/tcp, then the process that has that inode open.
 */
#include "port.h"
#include "fileio.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATE_LISTEN 0x0a

static int make_address(const char *address, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_length)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		*ret_length = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*ret_length = sizeof(*v6);
		return 0;
	}
	return -EINVAL;
}

int port_check(const char *address, uint16_t port)
{
	struct sockaddr_storage to;
	socklen_t length;
	int one = 1, fd, r = make_address(address, port, &to, &length);

	if (r < 0)
		return r;
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	r = bind(fd, (struct sockaddr *)&to, length) < 0 || listen(fd, 1) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* The inode of a socket that listens on @port; 0: none in this table. */
static unsigned long listening_inode(const char *table, uint16_t port)
{
	FILE *file = fopen(table, "re");
	unsigned long inode = 0, seen;
	unsigned int local, state;
	char line[512];

	if (!file)
		return 0;
	while (!inode && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu", &local, &state,
			   &seen) == 3 &&
		    state == STATE_LISTEN && local == port)
			inode = seen;
	}
	fclose(file);
	return inode;
}

static bool has_open(const char *pid, const char *wanted)
{
	char folder[300], target[64], path[600];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
	dir = opendir(folder);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found = strcmp(target, wanted) == 0;
	}
	closedir(dir);
	return found;
}

static bool describe_owner(unsigned long inode, char *ret_text, size_t size)
{
	char wanted[64], path[300], name[64] = "?";
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	if (!proc)
		return false;
	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	while (!found && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !has_open(entry->d_name, wanted))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (fileio_read_line(path, name, sizeof(name)) < 0)
			strcpy(name, "?");
		snprintf(ret_text, size, "%s (pid %s)", name, entry->d_name);
		found = true;
	}
	closedir(proc);
	return found;
}

char *port_owner(uint16_t port, char *ret_text, size_t size)
{
	unsigned long inode = listening_inode("/proc/net/tcp", port);

	if (!inode)
		inode = listening_inode("/proc/net/tcp6", port);
	if (!inode || !describe_owner(inode, ret_text, size))
		snprintf(ret_text, size, "another program");
	return ret_text;
}
