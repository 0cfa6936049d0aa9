/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"
#include "wallclock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int peer_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int err = -errno;

		close(fd);
		return err;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int wait_for(struct peer *p, uint64_t deadline_us)
{
	struct pollfd f = { .fd = p->fd, .events = tls_events(p->tls) };
	uint64_t now = monotonic_now_us();

	if (now >= deadline_us || poll(&f, 1, (int)((deadline_us - now) / 1000 + 1)) == 0)
		return -ETIMEDOUT;
	return 0;
}

int peer_open(struct peer *p, struct tls_context *tls, uint16_t port)
{
	uint64_t deadline = monotonic_now_us() + PEER_WAIT_MS * 1000ULL;
	int err;

	*p = (struct peer){ .fd = peer_connect(port) };
	if (p->fd < 0)
		return p->fd;
	(void)fcntl(p->fd, F_SETFL, O_NONBLOCK);
	err = tls_new(tls, p->fd, false, &p->tls);
	while (!err && (err = tls_handshake(p->tls)) == -EAGAIN)
		err = wait_for(p, deadline);
	if (err)
		peer_abandon(p);
	return err;
}

void peer_close(struct peer *p)
{
	if (p->fd < 0)
		return;
	tls_free(p->tls);
	close(p->fd);
	*p = (struct peer){ .fd = -1 };
}

void peer_abandon(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	tls_free(p->tls);
	p->tls = NULL;
}

int peer_send(struct peer *p, const void *bytes, size_t len)
{
	uint64_t deadline = monotonic_now_us() + PEER_WAIT_MS * 1000ULL;
	const uint8_t *at = bytes;

	while (len) {
		ssize_t n = tls_write(p->tls, at, len);
		int err = n == -EAGAIN ? wait_for(p, deadline) : n < 0 ? (int)n : 0;

		if (err)
			return err;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int receive_bytes(struct peer *p, uint8_t *at, size_t len)
{
	uint64_t deadline = monotonic_now_us() + PEER_WAIT_MS * 1000ULL;

	while (len) {
		ssize_t n = tls_read(p->tls, at, len);
		int err = n == -EAGAIN ? wait_for(p, deadline) : n == 0 ? -EPIPE : n < 0 ? (int)n : 0;

		if (err)
			return err;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int peer_receive(struct peer *p)
{
	int err = receive_bytes(p, p->frame, WIRE_HEADER_BYTES);

	if (!err)
		err = wire_parse_frame(p->frame, &p->header);
	if (!err)
		err = receive_bytes(p, p->frame + WIRE_HEADER_BYTES, p->header.length);
	p->body = p->frame + WIRE_HEADER_BYTES;
	return err ? err : wire_check_frame(p->frame, p->body, p->header.length);
}

int peer_receive_type(struct peer *p, enum wire_type type)
{
	struct wire_refuse r;
	int err = peer_receive(p);

	if (err)
		return err;
	if (p->header.type == type)
		return 0;
	if (p->header.type == WIRE_REFUSE && wire_parse_refuse(p->body, p->header.length, &r) == 0)
		fprintf(stderr, "peer: refused: %s: %s\n", wire_refusal_name(r.reason), r.text);
	else
		fprintf(stderr, "peer: got %s\n", wire_type_name(p->header.type));
	return -EPROTO;
}

int peer_expect_refusal(struct peer *p, enum wire_refusal reason)
{
	struct wire_refuse r;
	int err;

	do
		err = peer_receive(p);
	while (!err && p->header.type != WIRE_REFUSE);
	if (!err)
		err = wire_parse_refuse(p->body, p->header.length, &r);
	if (!err && r.reason != reason) {
		fprintf(stderr, "peer: refused: %s: %s\n", wire_refusal_name(r.reason), r.text);
		err = -EPROTO;
	}
	return err ? err : peer_receive(p) == -EPIPE ? 0 : -ENOTCONN;
}

struct uuid peer_disk_id(uint16_t index)
{
	struct uuid id = { { 0xd1, 0x5c } };

	id.bytes[15] = (uint8_t)index;
	return id;
}

int peer_hello(struct peer *p, const struct uuid *machine, uint16_t disks)
{
	struct wire_hello h = { .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX,
				.machine = *machine, .disk_count = disks, .boot_time_us = 1 };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	return peer_send(p, frame, wire_put_hello(frame, &h));
}

int peer_disk(struct peer *p, uint16_t index, uint64_t size_bytes)
{
	struct wire_disk d = { .disk = index, .sector_bytes = 512, .size_bytes = size_bytes,
			       .id = peer_disk_id(index) };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	snprintf(d.name, sizeof(d.name), "/dev/test%u", index);
	return peer_send(p, frame, wire_put_disk(frame, &d));
}

int peer_data(struct peer *p, uint16_t disk, uint64_t offset, const void *payload, uint32_t len, uint8_t codec)
{
	struct wire_data d = { .disk = disk, .offset_bytes = offset, .length_bytes = len,
			       .checksum = payload_checksum(payload, len) };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX], stored[CHUNK_BYTES];

	d.stored_bytes = payload_compress((enum payload_codec)codec, 1, payload, len, stored, &d.codec);
	d.stored = stored;
	p->records++;
	return peer_send(p, frame, wire_put_data(frame, &d));
}

int peer_zero(struct peer *p, uint16_t disk, uint64_t offset, uint64_t len)
{
	struct wire_zero z = { disk, offset, len };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	p->records++;
	return peer_send(p, frame, wire_put_zero(frame, &z));
}

int peer_hash(struct peer *p, uint16_t disk, uint64_t offset, const void *payload, uint32_t len)
{
	struct wire_hash h = { .disk = disk, .offset_bytes = offset, .length_bytes = len, .seed = 0x5eed };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	payload_hash(payload, len, h.seed, h.hash);
	return peer_send(p, frame, wire_put_hash(frame, &h));
}

int peer_commit(struct peer *p, uint64_t epoch, uint64_t time_us, uint32_t flags, const char *label)
{
	struct wire_commit c = { .epoch = epoch, .time_us = time_us, .flags = flags, .record_count = p->records };
	uint8_t frame[WIRE_HEADER_BYTES + WIRE_BODY_MAX];

	snprintf(c.label, sizeof(c.label), "%s", label ? label : "");
	p->records = 0;
	return peer_send(p, frame, wire_put_commit(frame, &c));
}

int peer_greet(struct peer *p, const struct uuid *machine, uint64_t size_bytes, uint64_t *ret_epoch)
{
	struct wire_welcome w;
	int err = peer_hello(p, machine, 1);

	if (!err)
		err = peer_disk(p, 0, size_bytes);
	if (!err)
		err = peer_receive_type(p, WIRE_WELCOME);
	if (!err)
		err = wire_parse_welcome(p->body, p->header.length, &w);
	if (!err && ret_epoch)
		*ret_epoch = w.durable_epoch;
	return err;
}

int peer_commit_durable(struct peer *p, uint64_t epoch, uint64_t time_us)
{
	struct wire_durable d;
	int err = peer_commit(p, epoch, time_us, WIRE_COMMIT_POINT, NULL);

	if (!err)
		err = peer_receive_type(p, WIRE_DURABLE);
	if (!err)
		err = wire_parse_durable(p->body, p->header.length, &d);
	return err ? err : d.epoch == epoch ? 0 : -EPROTO;
}
