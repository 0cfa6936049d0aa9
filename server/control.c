/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

int control_pair(int ret_fds[2])
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}

int control_send(int fd, const struct control_message *m)
{
	ssize_t n;

	do
		n = send(fd, m, sizeof(*m), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void make_printable(char *text, size_t size)
{
	text[size - 1] = 0;
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
}

int control_receive(int fd, struct control_message *ret)
{
	struct control_message m;
	ssize_t n;

	do
		n = recv(fd, &m, sizeof(m), MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	if (n != sizeof(m) || m.type < CONTROL_ADMIT || m.type > CONTROL_END)
		return -EPROTO;
	make_printable(m.text, sizeof(m.text));
	*ret = m;
	return 0;
}
