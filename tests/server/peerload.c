/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peerload - how fast a server takes data: starts one, sends it a disk's worth
 * of raw chunks in epochs over TLS, and prints bytes a second, durable.
 *
 *	peerload [MiB [epoch MiB [record bytes [folder]]]]
 */
#include "fixture.h"
#include "wallclock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BATCH_BYTES (256 * KIB)
#define EPOCHS_AHEAD 4 /* sent before their predecessors are durable */

struct load {
	struct fixture server;
	struct peer peer;
	uint64_t size, epoch_bytes, epoch, acknowledged, staging_us, receive_us;
	uint32_t record_bytes;
	uint8_t payload[CHUNK_BYTES], batch[BATCH_BYTES + WIRE_HEADER_BYTES + WIRE_BODY_MAX];
	size_t filled;
};

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "peerload: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void flush(struct load *l)
{
	must(peer_send(&l->peer, l->batch, l->filled), "send");
	l->filled = 0;
}

static void put_record(struct load *l, uint64_t offset)
{
	struct wire_data d = { .offset_bytes = offset, .length_bytes = l->record_bytes,
			       .stored_bytes = l->record_bytes, .stored = l->payload };

	memcpy(l->payload, &offset, sizeof(offset));
	d.checksum = payload_checksum(l->payload, l->record_bytes);
	l->filled += wire_put_data(l->batch + l->filled, &d);
	l->peer.records++;
	if (l->filled >= BATCH_BYTES)
		flush(l);
}

static void take_durable(struct load *l)
{
	struct wire_durable d;

	must(peer_receive_type(&l->peer, WIRE_DURABLE), "DURABLE");
	must(wire_parse_durable(l->peer.body, l->peer.header.length, &d), "DURABLE");
	l->acknowledged = d.epoch;
	l->staging_us += d.staging_us;
	l->receive_us += d.receive_us;
}

static void run(struct load *l)
{
	uint64_t since_commit = 0;

	for (uint64_t at = 0; at < l->size; at += l->record_bytes) {
		put_record(l, at);
		since_commit += l->record_bytes;
		if (since_commit < l->epoch_bytes && at + l->record_bytes < l->size)
			continue;
		flush(l);
		must(peer_commit(&l->peer, ++l->epoch, wallclock_now_us(), WIRE_COMMIT_POINT, NULL), "COMMIT");
		since_commit = 0;
		while (l->epoch - l->acknowledged > EPOCHS_AHEAD)
			take_durable(l);
	}
	while (l->acknowledged < l->epoch)
		take_durable(l);
}

static void print_processor(const char *name, int who, uint64_t bytes)
{
	double gib = (double)bytes / (double)GIB;
	struct rusage r;

	(void)getrusage(who, &r);
	printf("%s: processor seconds for each GiB: %.2f user, %.2f system\n", name,
	       ((double)r.ru_utime.tv_sec + (double)r.ru_utime.tv_usec / 1e6) / gib,
	       ((double)r.ru_stime.tv_sec + (double)r.ru_stime.tv_usec / 1e6) / gib);
}

int main(int argc, char **argv)
{
	struct load *l = calloc(1, sizeof(*l));
	uint64_t since, us;
	int status;

	if (!l)
		return 1;
	l->size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 2048) * MIB;
	l->epoch_bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) * MIB;
	l->record_bytes = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : CHUNK_BYTES;
	for (size_t i = 0; i < sizeof(l->payload); i++)
		l->payload[i] = (uint8_t)(i * 131 >> 3);
	fixture_start(&l->server, argc > 4 ? argv[4] : NULL);
	must(peer_open(&l->peer, l->server.tls[0], l->server.port), "connect");
	must(peer_greet(&l->peer, &l->server.machines[0], l->size, &l->epoch), "greet");
	l->acknowledged = l->epoch;
	since = monotonic_now_us();
	run(l);
	us = monotonic_now_us() - since;
	printf("%llu MiB in records of %u bytes: %.1f MB/s durable; staging %.2f s, waited for the network %.2f s, of %.2f s\n",
	       (unsigned long long)(l->size / MIB), l->record_bytes, (double)l->size / (double)us,
	       (double)l->staging_us / 1e6, (double)l->receive_us / 1e6, (double)us / 1e6);
	peer_close(&l->peer);
	status = fixture_stop(&l->server);
	print_processor("server", RUSAGE_CHILDREN, l->size);
	print_processor("sender", RUSAGE_SELF, l->size);
	return status;
}
