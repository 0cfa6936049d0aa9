/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store on a disk that gives back something else than was written to it.
 *
 * A small store is made once: runs, journals, names, compressed payloads.  Each
 * input damages a copy of its files:
 *
 *	0	switches, below; the upper bits choose every fourth point
 *	1	changes, each: file, operation, u16 place, length, bytes
 *
 * What is read successfully is what was written (S5), whatever was damaged; and
 * a store that cannot be right is refused, not crashed upon.  With CHECKSUMS
 * the checksums of what was changed are made to fit, to get at the checks behind
 * them; then nothing can be said about the contents any more.
 */
#include "fuzz.h"
#include "fileio.h"
#include "format.h"
#include "run.h"
#include "store.h"
#include "sys.h"
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKSUMS 1u
#define WRITE_ON 2u /* open a writer, commit, and do upkeep on what is there */

enum operation { CHANGE, CUT, GROW, REMOVE, SWAP, OPERATIONS };

#define EPOCHS 14u
#define DISK_BYTES (5 * CHUNK_BYTES)
#define FILES_MAX 32u
#define FILE_MAX (256 * KIB)
#define START_US 1795340467000000ULL
#define USEC_PER_EPOCH 500000ULL
#define NAMED_EPOCH 3u

struct file {
	char name[64];
	uint8_t *bytes;
	size_t len;
};

static char dir[64];
static struct store_sys sys;
static struct file whole[FILES_MAX], files[FILES_MAX];
static unsigned int file_count;
static uint8_t contents[EPOCHS + 1][DISK_BYTES]; /* by epoch */
static const struct uuid machine = { { 1, 2, 3 } };

static void must(int err)
{
	if (err < 0) {
		fprintf(stderr, "the store to be damaged cannot be made: %s\n", strerror(-err));
		abort();
	}
}

static int no_sync_file(const struct store_sys *s, int fd)
{
	return 0;
}

static int no_sync_dir(const struct store_sys *s, const char *path)
{
	return 0;
}

static void no_pause(const struct store_sys *s, uint64_t us)
{
}

static int much_space(const struct store_sys *s, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	*ret_free = *ret_total = 1024 * GIB;
	return 0;
}

/* --- the store as it should be ----------------------------------------------- */

static void put(struct store_writer *w, uint64_t epoch, uint32_t offset, uint32_t length, uint8_t codec)
{
	uint8_t *at = contents[epoch] + offset, stored[CHUNK_BYTES], used;
	uint32_t n;

	for (uint32_t i = 0; i < length; i++)
		at[i] = (uint8_t)(epoch * 16 + i / 512 % 16);
	n = payload_compress(codec, 1, at, length, stored, &used);
	must(store_put_data(w, 0, offset, length, used, stored, n, payload_checksum(at, length)));
}

static void put_epoch(struct store_writer *w, uint64_t epoch)
{
	struct store_epoch e = { .epoch = epoch, .time_us = START_US + epoch * USEC_PER_EPOCH, .flags = STORE_EPOCH_POINT };
	uint32_t chunk = (uint32_t)(epoch % 5) * CHUNK_BYTES;

	memcpy(contents[epoch], contents[epoch - 1], DISK_BYTES);
	put(w, epoch, chunk, 512, CODEC_RAW);
	put(w, epoch, chunk + 8192, 4096, epoch % 2 ? CODEC_LZ4 : CODEC_ZSTD);
	if (epoch % 4 == 0) {
		uint32_t from = chunk ? chunk - CHUNK_BYTES / 2 : 0;

		must(store_put_zero(w, 0, from, CHUNK_BYTES));
		memset(contents[epoch] + from, 0, CHUNK_BYTES);
	}
	if (epoch == NAMED_EPOCH) {
		e.flags |= STORE_EPOCH_LABELLED;
		strcpy(e.label, "named");
	}
	must(store_commit(w, &e));
}

static void make_store(void)
{
	struct store_disk disk = { .sector_bytes = 512, .size_bytes = DISK_BYTES, .id = { { 7 } }, .name = "/dev/sda" };
	struct store_upkeep_options o = { .now_us = START_US };
	struct store_upkeep_result result;
	struct store_writer *w;

	must(store_writer_open(dir, &machine, &sys, &w));
	must(store_put_disk(w, &disk));
	for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++)
		put_epoch(w, epoch);
	store_writer_close(w);
	must(store_policy_set(dir, &sys, &STORE_POLICY_DEFAULT));
	must(store_upkeep(dir, &sys, &o, &result));
	must(store_point_label(dir, &sys, 5, "later"));
}

static void each_name(void (*act)(const char *path, const char *name))
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	char path[512];

	if (!d)
		abort();
	while ((entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (entry->d_name[0] != '.')
			act(path, entry->d_name);
	}
	closedir(d);
}

static void keep(const char *path, const char *name)
{
	struct file *f = &whole[file_count++];

	assert(file_count < FILES_MAX && strlen(name) < sizeof(f->name));
	strcpy(f->name, name);
	must(fileio_slurp(path, FILE_MAX, (char **)&f->bytes, &f->len));
}

static void discard(const char *path, const char *name)
{
	unlink(path);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void remove_dir(void)
{
	each_name(discard);
	rmdir(dir);
}

/* --- damage ------------------------------------------------------------------ */

static void change(struct file *f, enum operation op, size_t at, const uint8_t *bytes, size_t len)
{
	struct file *other = &files[at % file_count], swapped;

	switch (op) {
	case CHANGE:
		if (f->len > 0)
			memcpy(f->bytes + at % f->len, bytes, MIN(len, f->len - at % f->len));
		break;
	case CUT:
		f->len = MIN(f->len, at);
		break;
	case GROW:
		memcpy(f->bytes + f->len, bytes, MIN(len, FILE_MAX - f->len));
		f->len += MIN(len, FILE_MAX - f->len);
		break;
	case REMOVE:
		f->len = SIZE_MAX;
		break;
	case SWAP:
		swapped = *f;
		f->bytes = other->bytes;
		f->len = other->len;
		other->bytes = swapped.bytes;
		other->len = swapped.len;
		break;
	case OPERATIONS:
		break;
	}
}

static void damage(const uint8_t *data, size_t size)
{
	while (size >= 5) {
		struct file *f = &files[data[0] % file_count];
		enum operation op = data[1] % OPERATIONS;
		size_t at = get_le16(data + 2), len = MIN((size_t)data[4], size - 5);

		if (f->len != SIZE_MAX)
			change(f, op, at, data + 5, len);
		data += 5 + len;
		size -= 5 + len;
	}
}

/* Of the records where the whole file has them. */
static void sum_data(struct file *f, const struct file *was)
{
	struct data_header h;
	struct record r;

	if (f->len < DATA_HEADER_BYTES || data_header_get(was->bytes, &h))
		return;
	h.salt = get_le64(f->bytes + 40);
	put_le64(f->bytes + 56, payload_checksum(f->bytes, 56));
	for (uint64_t at = DATA_HEADER_BYTES; at + RECORD_BYTES <= MIN(f->len, was->len);) {
		if (record_get(was->bytes + at, get_le64(was->bytes + 40), at, &r))
			break;
		put_le64(f->bytes + at + 40, run_checksum(f->bytes + at, RECORD_BYTES - 8, h.salt + at));
		at += record_total_bytes(r.stored_bytes);
	}
}

static void sum_run(struct file *f)
{
	uint64_t fences, tables;

	if (f->len < RUN_HEADER_BYTES)
		return;
	fences = get_le64(f->bytes + 72);
	tables = get_le64(f->bytes + 80);
	if (fences == 2 * RUN_BLOCK_BYTES && tables == fences + RUN_BLOCK_BYTES && tables + 8 <= f->len) {
		put_le64(f->bytes + fences + 16, run_checksum(f->bytes + RUN_HEADER_BYTES, RUN_BLOCK_BYTES, RUN_HEADER_BYTES));
		put_le64(f->bytes + tables, run_checksum(f->bytes + fences, RUN_BLOCK_BYTES, fences));
	}
	if (tables <= f->len)
		put_le64(f->bytes + 128, run_checksum(f->bytes + tables, f->len - tables, tables));
	put_le64(f->bytes + RUN_HEADER_BYTES - 8, run_checksum(f->bytes, RUN_HEADER_BYTES - 8, 0));
}

static void write_files(bool summed)
{
	char path[512];

	each_name(discard);
	for (unsigned int i = 0; i < file_count; i++) {
		struct file *f = &files[i];
		int fd;

		if (f->len == SIZE_MAX)
			continue;
		if (summed && strncmp(f->name, "dat-", 4) == 0)
			sum_data(f, &whole[i]);
		if (summed && strncmp(f->name, "run-", 4) == 0)
			sum_run(f);
		snprintf(path, sizeof(path), "%s/%.63s", dir, f->name);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert(fd >= 0 && fileio_write_full(fd, f->bytes, f->len) == 0);
		close(fd);
	}
}

/* --- looking ----------------------------------------------------------------- */

/* How many chunks could be read. */
static unsigned int read_point(uint64_t epoch, bool summed)
{
	unsigned int good = 0;
	static uint8_t buf[CHUNK_BYTES];
	struct store_disk disks[DISKS_MAX];
	struct store_reader *r;
	uint64_t length;
	bool zero;

	if (store_reader_open(dir, &sys, epoch, &r))
		return 0;
	if (!summed) {
		assert(epoch >= 1 && epoch <= EPOCHS);
		assert(store_reader_disks(r, disks, DISKS_MAX) == 1 && disks[0].size_bytes == DISK_BYTES);
	}
	for (uint32_t at = 0; at < DISK_BYTES; at += CHUNK_BYTES) {
		int err = store_read(r, 0, at, CHUNK_BYTES, buf);

		if (!err && !summed)
			assert(memcmp(buf, contents[epoch] + at, CHUNK_BYTES) == 0); /* S5 */
		good += !err;
		err = store_extent(r, 0, at, CHUNK_BYTES, &zero, &length);
		if (!err && !summed && zero)
			assert(is_zero(contents[epoch] + at, MIN(length, (uint64_t)CHUNK_BYTES)));
	}
	store_reader_close(r);
	return good;
}

static unsigned int read_points(bool summed, size_t first, size_t step)
{
	struct store_points *points;
	unsigned int good = 0;
	size_t count;

	if (store_points_open(dir, &sys, &points))
		return 0;
	count = store_points_count(points);
	for (size_t i = first; i < count && i < 2 * EPOCHS; i += step) {
		const struct store_epoch *e = store_points_get(points, i);

		if (!summed)
			assert(e->epoch <= EPOCHS && e->time_us == START_US + e->epoch * USEC_PER_EPOCH);
		good += read_point(e->epoch, summed);
	}
	store_points_close(points);
	return good;
}

static void write_on(bool summed)
{
	struct store_upkeep_options o = { .now_us = START_US };
	struct store_upkeep_result result;
	struct store_writer *w;
	struct store_epoch e = { .flags = STORE_EPOCH_POINT };
	uint8_t sector[SECTOR_BYTES] = { 42 };

	if (store_writer_open(dir, &machine, &sys, &w))
		return;
	assert(summed || store_writer_last_epoch(w) <= EPOCHS);
	e.epoch = store_writer_last_epoch(w) + 1;
	e.time_us = store_writer_last_time_us(w) + 1;
	if (store_put_data(w, 0, 0, sizeof(sector), CODEC_RAW, sector, sizeof(sector),
			   payload_checksum(sector, sizeof(sector))) == 0)
		(void)!store_commit(w, &e);
	store_writer_close(w);
	(void)!store_upkeep(dir, &sys, &o, &result);
	(void)!store_upkeep(dir, &sys, &o, &result);
}

static void prepare(void)
{
	snprintf(dir, sizeof(dir), "%s/godwit-fuzz-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		abort();
	atexit(remove_dir);
	sys = store_sys_default;
	sys.limits.data_file_epochs = 4;
	sys.limits.buffer_bytes = 4096;
	sys.limits.reserve_bytes = 0;
	sys.sync_file = no_sync_file;
	sys.sync_dir = no_sync_dir;
	sys.pause = no_pause;
	sys.space = much_space;
	make_store();
	if (read_points(false, 0, 1) != EPOCHS * DISK_BYTES / CHUNK_BYTES)
		abort();
	each_name(keep);
	qsort(whole, file_count, sizeof(*whole), by_name);
	for (unsigned int i = 0; i < file_count; i++) {
		strcpy(files[i].name, whole[i].name);
		files[i].bytes = malloc(FILE_MAX);
		if (!files[i].bytes)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_policy policy;
	struct store_usage usage;
	uint64_t bytes, damaged;
	bool summed;

	if (file_count == 0)
		prepare();
	if (size < 1)
		return 0;
	summed = data[0] & CHECKSUMS;
	for (unsigned int i = 0; i < file_count; i++) {
		files[i].len = whole[i].len;
		memcpy(files[i].bytes, whole[i].bytes, whole[i].len);
	}
	damage(data + 1, size - 1);
	write_files(summed);
	(void)read_points(summed, data[0] >> 2 & 3, 4);
	(void)!store_scrub(dir, &sys, &(struct store_scrub_options){ 0 }, &bytes, &damaged);
	(void)!store_usage(dir, &sys, &usage);
	(void)!store_policy_get(dir, &sys, &policy);
	if (data[0] & WRITE_ON) {
		write_on(summed);
		(void)!store_scrub(dir, &sys, &(struct store_scrub_options){ 0 }, &bytes, &damaged);
	}
	return 0;
}
