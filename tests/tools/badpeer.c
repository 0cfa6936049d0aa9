// SPDX-License-Identifier: Apache-2.0
/*
 * badpeer - connects to a replication server as an agent and misbehaves.
 *
 *	badpeer ADDRESS PORT STATE MACHINE DISK SIZE MODE
 *
 * STATE has ca.crt, agent.crt and agent.key.  Says what the server did about it
 * in one line: "WELCOME epoch", "DURABLE epoch", "REFUSE NAME text", "closed",
 * "TLS reason", "silent".  Exit status 0 unless it could not even begin.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "frame.h"
#include "wire.h"

struct peer {
	SSL *ssl;
	struct uuid machine, disk;
	uint64_t size_bytes, epoch;
	uint8_t out[WIRE_HEADER_BYTES + WIRE_BODY_MAX], in[WIRE_HEADER_BYTES + WIRE_BODY_MAX];
};

static void finish(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void finish(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(0);
}

static void finish_tls(const SSL *ssl, int r)
{
	unsigned long code = ERR_get_error();

	if (code)
		finish("TLS %s", ERR_reason_error_string(code));
	if (SSL_get_error(ssl, r) == SSL_ERROR_SYSCALL && (errno == EAGAIN || errno == EWOULDBLOCK))
		finish("silent");
	finish("closed");
}

static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	struct timeval patience = {.tv_sec = 40};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		err(2, "%s:%s", address, port);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void tls_begin(struct peer *p, int fd, const char *state, bool certificate)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char path[4096];
	int r;

	if (certificate) {
		snprintf(path, sizeof(path), "%s/agent.crt", state);
		if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
			errx(2, "%s", path);
		snprintf(path, sizeof(path), "%s/agent.key", state);
		if (SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1)
			errx(2, "%s", path);
	}
	p->ssl = SSL_new(ctx);
	SSL_set_fd(p->ssl, fd);
	r = SSL_connect(p->ssl);
	if (r != 1)
		finish_tls(p->ssl, r);
}

static void send_bytes(struct peer *p, const void *data, size_t len)
{
	int r = SSL_write(p->ssl, data, (int)len);

	if (r != (int)len)
		finish_tls(p->ssl, r);
}

static void receive_bytes(struct peer *p, uint8_t *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		int r = SSL_read(p->ssl, buf + done, (int)(len - done));

		if (r <= 0)
			finish_tls(p->ssl, r);
		done += (size_t)r;
	}
}

/* The next frame; a refusal is the end.  Returns its type. */
static uint16_t receive(struct peer *p)
{
	struct wire_refuse refuse;
	struct wire_welcome welcome;
	struct wire_durable durable;
	struct wire_frame frame;

	receive_bytes(p, p->in, WIRE_HEADER_BYTES);
	if (wire_parse_frame(p->in, &frame) != 0)
		finish("nonsense");
	receive_bytes(p, p->in + WIRE_HEADER_BYTES, frame.length);
	if (frame.type == WIRE_REFUSE &&
	    wire_parse_refuse(p->in + WIRE_HEADER_BYTES, frame.length, &refuse) == 0)
		finish("REFUSE %s %s", wire_refusal_name(refuse.reason), refuse.text);
	if (frame.type == WIRE_WELCOME &&
	    wire_parse_welcome(p->in + WIRE_HEADER_BYTES, frame.length, &welcome) == 0)
		p->epoch = welcome.durable_epoch;
	if (frame.type == WIRE_DURABLE &&
	    wire_parse_durable(p->in + WIRE_HEADER_BYTES, frame.length, &durable) == 0)
		p->epoch = durable.epoch;
	return frame.type;
}

static void send_hello(struct peer *p, uint16_t version, struct uuid machine)
{
	struct wire_hello hello = {.version_min = version,
				   .version_max = version,
				   .machine = machine,
				   .disk_count = 1,
				   .boot_time_us = 1};
	struct wire_disk disk = {
	    .sector_bytes = 512, .size_bytes = p->size_bytes, .id = p->disk, .name = "/dev/bad"};

	send_bytes(p, p->out, wire_put_hello(p->out, &hello));
	send_bytes(p, p->out, wire_put_disk(p->out, &disk));
}

static void welcome(struct peer *p)
{
	send_hello(p, WIRE_VERSION_MAX, p->machine);
	while (receive(p) != WIRE_WELCOME)
		;
}

/* One chunk of data, as the frame; @spoil the payload after its checksum was made. */
static size_t put_data(struct peer *p, bool spoil)
{
	static uint8_t chunk[CHUNK_BYTES];
	struct wire_data data = {
	    .codec = CODEC_RAW, .length_bytes = CHUNK_BYTES, .stored_bytes = CHUNK_BYTES, .stored = chunk};

	memset(chunk, 0x5a, sizeof(chunk));
	data.checksum = payload_checksum(chunk, sizeof(chunk));
	if (spoil)
		chunk[1234] ^= 1;
	return wire_put_data(p->out, &data);
}

static void send_commit(struct peer *p)
{
	struct timeval now;
	struct wire_commit commit = {.epoch = p->epoch + 1, .record_count = 1};

	gettimeofday(&now, NULL);
	commit.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_usec;
	send_bytes(p, p->out, wire_put_commit(p->out, &commit));
}

/* --- the modes: each ends with what the server says to it --------------------- */

static void mode_honest(struct peer *p)
{
	welcome(p);
	finish("WELCOME %" PRIu64, p->epoch);
}

static void mode_version(struct peer *p)
{
	send_hello(p, WIRE_VERSION_MAX + 1, p->machine);
}

/* A version before all that there are: wire_put_hello() would not, so it is made of a good one. */
static void mode_older(struct peer *p)
{
	struct wire_hello hello = {.version_min = WIRE_VERSION_MIN,
				   .version_max = WIRE_VERSION_MIN,
				   .machine = p->machine,
				   .disk_count = 1,
				   .boot_time_us = 1};
	size_t len = wire_put_hello(p->out, &hello);
	uint8_t *body = p->out + WIRE_HEADER_BYTES;

	put_le16(body, WIRE_VERSION_MIN - 1);
	put_le16(body + 2, WIRE_VERSION_MIN - 1);
	put_le64(p->out + 8, frame_checksum(p->out, body, (uint32_t)(len - WIRE_HEADER_BYTES)));
	send_bytes(p, p->out, len);
}

static void mode_identity(struct peer *p)
{
	struct uuid other = p->machine;

	other.bytes[15] ^= 1;
	send_hello(p, WIRE_VERSION_MAX, other);
}

static void mode_length(struct peer *p)
{
	uint8_t header[WIRE_HEADER_BYTES] = {WIRE_DATA, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};

	welcome(p);
	send_bytes(p, header, sizeof(header));
}

static void mode_length_first(struct peer *p)
{
	uint8_t header[WIRE_HEADER_BYTES] = {WIRE_HELLO, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f};

	send_bytes(p, header, sizeof(header));
}

static void mode_garbage(struct peer *p)
{
	for (size_t i = 0; i < sizeof(p->out); i++)
		p->out[i] = (uint8_t)(i * 2654435761u >> 13);
	send_bytes(p, p->out, sizeof(p->out));
}

static void mode_order(struct peer *p)
{
	send_bytes(p, p->out, put_data(p, false)); /* before HELLO */
}

static void mode_range(struct peer *p)
{
	struct wire_zero zero = {.offset_bytes = p->size_bytes, .length_bytes = 4096}; /* past the end */

	welcome(p);
	send_bytes(p, p->out, wire_put_zero(p->out, &zero));
	send_commit(p);
}

static void mode_epoch(struct peer *p)
{
	welcome(p);
	p->epoch += 5;
	send_bytes(p, p->out, put_data(p, false));
	send_commit(p);
}

static void mode_corrupt(struct peer *p)
{
	welcome(p);
	send_bytes(p, p->out, put_data(p, true));
	send_commit(p);
}

static void mode_tampered(struct peer *p)
{
	size_t len;

	welcome(p);
	len = put_data(p, false);
	p->out[len - 7] ^= 1; /* the frame's own checksum does not hold */
	send_bytes(p, p->out, len);
}

static void mode_stop(struct peer *p)
{
	welcome(p);
	send_bytes(p, p->out, put_data(p, false) / 2);
	printf("half a frame sent\n");
	fflush(stdout);
}

static void mode_vanish(struct peer *p)
{
	mode_stop(p);
	_exit(0);
}

static void mode_nothing(struct peer *p)
{
	(void)p;
}

static const struct {
	const char *name;
	bool certificate;
	void (*run)(struct peer *p);
} modes[] = {
    {"honest", true, mode_honest},   {"nocert", false, mode_honest},
    {"version", true, mode_version}, {"older", true, mode_older},
    {"identity", true, mode_identity}, {"length", true, mode_length},
    {"length-first", true, mode_length_first}, {"garbage", true, mode_garbage},
    {"order", true, mode_order},     {"range", true, mode_range},
    {"epoch", true, mode_epoch},     {"corrupt", true, mode_corrupt},
    {"tampered", true, mode_tampered}, {"stop", true, mode_stop},
    {"vanish", true, mode_vanish},   {"nothing", true, mode_nothing},
};

int main(int argc, char **argv)
{
	static struct peer p;

	signal(SIGPIPE, SIG_IGN);
	if (argc != 8 || uuid_parse(argv[4], &p.machine) || uuid_parse(argv[5], &p.disk))
		errx(2, "usage: badpeer ADDRESS PORT STATE MACHINE DISK SIZE MODE");
	p.size_bytes = strtoull(argv[6], NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(modes[i].name, argv[7]) != 0)
			continue;
		tls_begin(&p, connect_to(argv[1], argv[2]), argv[3], modes[i].certificate);
		modes[i].run(&p);
		for (;;)
			(void)receive(&p);
	}
	errx(2, "%s: no such mode", argv[7]);
}
