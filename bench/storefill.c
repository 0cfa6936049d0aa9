// SPDX-License-Identifier: Apache-2.0
/*
 * storefill - a store as replication would have left it after a while.
 *
 *	storefill DIR DISK_BYTES DATA_BYTES EPOCHS BLOCKS_PER_EPOCH
 *
 * A first epoch with so much data, spread evenly over the disk, then EPOCHS of
 * so many random 4 KiB blocks, half a second apart by their times, the newest now.  Upkeep runs as
 * it would have.  Through the store's own functions: what is here is what the
 * server writes.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store.h"

#define EPOCH_US     500000ull
#define UPKEEP_EVERY 240 /* epochs: two minutes */

struct filler {
	const char *dir;
	struct store_writer *w;
	uint64_t disk_bytes, data_bytes, epoch, time_us, random;
	uint8_t chunk[CHUNK_BYTES];
};

static uint64_t next(struct filler *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return f->random;
}

static void check(int r, const char *what)
{
	if (r < 0)
		errx(1, "%s: %s", what, strerror(-r));
}

static void put(struct filler *f, uint64_t offset, uint32_t length)
{
	for (uint32_t i = 0; i < length; i += 8)
		put_le64(f->chunk + i, next(f));
	check(store_put_data(f->w, 0, offset, length, CODEC_RAW, f->chunk, length,
			     payload_checksum(f->chunk, length)),
	      "put");
}

static void commit(struct filler *f)
{
	struct store_epoch epoch = {.epoch = ++f->epoch, .time_us = f->time_us, .flags = STORE_EPOCH_POINT};

	check(store_commit(f->w, &epoch), "commit");
	f->time_us += EPOCH_US;
}

static void upkeep(struct filler *f)
{
	struct store_upkeep_result result = {.more = true};

	while (result.more) {
		struct store_upkeep_options o = {.now_us = f->time_us};

		check(store_upkeep(f->dir, &store_sys_default, &o, &result), "upkeep");
	}
}

static void fill(struct filler *f, uint64_t epochs, uint64_t blocks)
{
	struct store_disk disk = {
	    .sector_bytes = 512, .size_bytes = f->disk_bytes, .id = uuid_random(), .name = "/dev/bench"};

	check(store_put_disk(f->w, &disk), "disk");
	for (uint64_t i = 0, chunks = f->data_bytes / CHUNK_BYTES; i < chunks; i++)
		put(f, f->disk_bytes / CHUNK_BYTES / chunks * i * CHUNK_BYTES, CHUNK_BYTES);
	commit(f);
	for (uint64_t e = 0; e < epochs; e++) {
		for (uint64_t b = 0; b < blocks; b++)
			put(f, next(f) % (f->disk_bytes / BLOCK_BYTES) * BLOCK_BYTES, BLOCK_BYTES);
		commit(f);
		if (e % UPKEEP_EVERY == UPKEEP_EVERY - 1)
			upkeep(f);
	}
}

int main(int argc, char **argv)
{
	static struct filler f;
	struct uuid machine = uuid_random();
	uint64_t epochs, blocks;

	if (argc != 6)
		errx(2, "usage: storefill DIR DISK_BYTES DATA_BYTES EPOCHS BLOCKS_PER_EPOCH");
	f.dir = argv[1];
	f.disk_bytes = strtoull(argv[2], NULL, 0) / CHUNK_BYTES * CHUNK_BYTES;
	f.data_bytes = strtoull(argv[3], NULL, 0);
	if (f.data_bytes < CHUNK_BYTES || f.data_bytes > f.disk_bytes)
		errx(2, "so much data is not on a disk of that size");
	epochs = strtoull(argv[4], NULL, 0);
	blocks = strtoull(argv[5], NULL, 0);
	f.random = 0x9e3779b97f4a7c15ull;
	f.time_us = (uint64_t)time(NULL) * 1000000u - (epochs + 1) * EPOCH_US;
	check(store_writer_open(f.dir, &machine, &store_sys_default, &f.w), f.dir);
	fill(&f, epochs, blocks);
	store_writer_close(f.w);
	return 0;
}
