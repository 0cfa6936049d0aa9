// SPDX-License-Identifier: Apache-2.0
/*
 * fsload run - the operations (fsload.h).
 *
 * A thread knows of each of its files whether it exists, its generation and
 * its size; contents are known from the log alone.  Room is bounded: with 4
 * threads of 100 files of at most 512 KiB, on average half of them there and
 * a quarter full, about 25 MiB.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsload.h"
#include "sector.h"

#define BLOCK_CELLS 8u /* direct writes are of whole 4 KiB blocks */

struct file {
	bool exists, unknown;
	unsigned int generation;
	uint32_t cells;
};

struct worker {
	pthread_t thread;
	const struct fs_options *o;
	struct fs_log *log;
	unsigned int index;
	uint64_t random, begin_us;
	struct file *files;
	int dirfd;
	char *buf;
};

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
	stopping = sig;
}

static uint64_t op_begin(struct worker *w, uint32_t file, uint8_t op, uint32_t first, uint32_t count)
{
	uint64_t n = __atomic_fetch_add(&w->log->next, 1, __ATOMIC_SEQ_CST);

	if (n >= FSLOAD_OPS_MAX)
		errx(1, "the log is full");
	w->log->entries[n] = (struct fs_entry){
	    .slot = w->index * w->o->files + file,
	    .op = op,
	    .first = (uint16_t)first,
	    .count = (uint16_t)count,
	    .start_us = now_us(),
	};
	return n;
}

/* @result < 0 with ENOSPC spoils the file until it is deleted; other errors end the run. */
static void op_end(struct worker *w, struct file *f, uint64_t n, long result)
{
	struct fs_entry *e = &w->log->entries[n];

	if (result < 0 && errno != ENOSPC && errno != EDQUOT)
		err(1, "operation %u on slot %u", e->op, e->slot);
	if (result < 0) {
		e->op = OP_FAILED;
		f->unknown = true;
	}
	__atomic_store_n(&e->ack_us, now_us(), __ATOMIC_SEQ_CST);
}

static void file_name(const struct worker *w, uint32_t file, char *buf, size_t size)
{
	fs_file_name(buf, size, w->log, file, w->files[file].generation);
}

static int file_open(const struct worker *w, uint32_t file, int flags)
{
	char name[32];
	int fd;

	file_name(w, file, name, sizeof(name));
	fd = openat(w->dirfd, name, flags | O_CLOEXEC, 0644);
	if (fd < 0 && errno != ENOSPC)
		err(1, "open %s of thread %u", name, w->index);
	return fd;
}

static void do_create(struct worker *w, uint32_t file)
{
	struct file *f = &w->files[file];
	uint64_t n = op_begin(w, file, OP_CREATE, f->generation, 0);
	int fd = file_open(w, file, O_RDWR | O_CREAT | O_EXCL);

	op_end(w, f, n, fd);
	if (fd < 0) {
		f->unknown = false; /* it was not made; the next DELETE need not come */
		return;
	}
	close(fd);
	f->exists = true;
	f->cells = 0;
}

static void do_write(struct worker *w, uint32_t file)
{
	struct file *f = &w->files[file];
	bool direct = random_below(&w->random, 100) < w->o->direct_percent;
	uint32_t first = (uint32_t)random_below(
	    &w->random, f->cells + 16 < FILE_CELLS_MAX - 128 ? f->cells + 16 : FILE_CELLS_MAX - 128);
	uint32_t count = 1 + (uint32_t)random_below(&w->random, 128);
	int fd = file_open(w, file, direct ? O_RDWR | O_DIRECT : O_RDWR);
	uint64_t n;
	ssize_t done;

	if (direct) {
		first -= first % BLOCK_CELLS;
		count = (count + BLOCK_CELLS - 1) / BLOCK_CELLS * BLOCK_CELLS;
	}
	n = op_begin(w, file, OP_WRITE, first, count);
	for (uint32_t i = 0; i < count; i++)
		sector_fill(w->buf + (size_t)i * CELL_BYTES, n,
			    fs_cell_address(w->log->entries[n].slot, first + i), w->log->entries[n].start_us);
	done = pwrite(fd, w->buf, (size_t)count * CELL_BYTES, (off_t)first * CELL_BYTES);
	if (done >= 0 && done < (ssize_t)(count * CELL_BYTES)) {
		errno = ENOSPC;
		done = -1;
	}
	op_end(w, f, n, done);
	if (first + count > f->cells)
		f->cells = first + count;
	close(fd);
}

static void do_resize(struct worker *w, uint32_t file, uint8_t op)
{
	struct file *f = &w->files[file];
	int fd = file_open(w, file, O_RDWR);
	uint32_t a = (uint32_t)random_below(&w->random, f->cells + 1);
	uint32_t b = 1 + (uint32_t)random_below(&w->random, 64);
	uint64_t n = op_begin(w, file, op, a, b);
	off_t at = (off_t)a * CELL_BYTES, len = (off_t)b * CELL_BYTES;

	if (a + b > FILE_CELLS_MAX)
		op = w->log->entries[n].op = OP_TRUNCATE;
	switch (op) {
	case OP_TRUNCATE:
		op_end(w, f, n, ftruncate(fd, at));
		f->cells = a;
		break;
	case OP_PUNCH:
		op_end(w, f, n, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len));
		break;
	default:
		op_end(w, f, n, fallocate(fd, 0, at, len));
		if (a + b > f->cells)
			f->cells = a + b;
		break;
	}
	close(fd);
}

static void do_rename(struct worker *w, uint32_t file)
{
	struct file *f = &w->files[file];
	char from[32], to[32];
	uint64_t n;

	file_name(w, file, from, sizeof(from));
	f->generation++;
	file_name(w, file, to, sizeof(to));
	n = op_begin(w, file, OP_RENAME, f->generation & 0xffff, f->generation >> 16);
	op_end(w, f, n, renameat(w->dirfd, from, w->dirfd, to));
}

static void do_delete(struct worker *w, uint32_t file)
{
	struct file *f = &w->files[file];
	uint64_t n = op_begin(w, file, OP_DELETE, 0, 0);
	char name[32];

	file_name(w, file, name, sizeof(name));
	op_end(w, f, n, unlinkat(w->dirfd, name, 0));
	f->exists = f->unknown = false;
	f->cells = 0;
}

static void do_fsync(struct worker *w, uint32_t file)
{
	struct file *f = &w->files[file];
	int fd = f->exists ? file_open(w, file, O_RDWR) : -1;
	uint64_t n = op_begin(w, file, OP_FSYNC, 0, 0);
	long result = fd >= 0 ? fsync(fd) : 0;

	if (result == 0)
		result = fsync(w->dirfd);
	op_end(w, f, n, result);
	if (fd >= 0)
		close(fd);
}

static void do_something(struct worker *w)
{
	uint32_t file = (uint32_t)random_below(&w->random, w->o->files);
	struct file *f = &w->files[file];
	unsigned int dice = (unsigned int)random_below(&w->random, 100);

	if (f->unknown) {
		if (f->exists)
			do_delete(w, file);
		f->unknown = false;
	} else if (random_below(&w->random, 100) < w->o->fsync_percent) {
		do_fsync(w, file);
	} else if (!f->exists) {
		do_create(w, file);
	} else if (dice < 55) {
		do_write(w, file);
	} else if (dice < 65) {
		do_resize(w, file, OP_TRUNCATE);
	} else if (dice < 72) {
		do_resize(w, file, OP_PUNCH);
	} else if (dice < 78) {
		do_resize(w, file, OP_ALLOCATE);
	} else if (dice < 86) {
		do_rename(w, file);
	} else {
		do_delete(w, file);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	uint64_t end_us = w->o->seconds ? w->begin_us + w->o->seconds * 1000000ull : UINT64_MAX;

	for (uint64_t n = 1; !stopping && now_us() < end_us; n++) {
		uint64_t due, now;

		do_something(w);
		if (w->o->rate == 0)
			continue;
		due = w->begin_us + n * w->o->threads * 1000000u / w->o->rate;
		now = now_us();
		if (due > now)
			usleep((useconds_t)(due - now));
	}
	return NULL;
}

static void worker_start(struct worker *w, const struct fs_options *o, struct fs_log *log, unsigned int index)
{
	char path[4096];

	*w = (struct worker){.o = o,
			     .log = log,
			     .index = index,
			     .random = mix64(o->seed * 1000 + index),
			     .begin_us = now_us()};
	snprintf(path, sizeof(path), "%s/t%u", o->dir, index);
	if (mkdir(path, 0755) != 0)
		err(1, "%s", path);
	w->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->files = calloc(o->files, sizeof(*w->files));
	if (w->dirfd < 0 || !w->files || posix_memalign((void **)&w->buf, 4096, 256 * CELL_BYTES) != 0)
		err(1, "%s", path);
	errno = pthread_create(&w->thread, NULL, worker_main, w);
	if (errno)
		err(1, "thread");
}

int fsload_run(const struct fs_options *o)
{
	struct worker *workers = calloc(o->threads, sizeof(*workers));
	struct sigaction action = {.sa_handler = on_signal};
	struct fs_log *log = fs_log_map(o->log, true);

	if (!workers)
		err(2, "memory");
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	log->threads = o->threads;
	log->files = o->files;
	for (unsigned int i = 0; i < o->threads; i++)
		worker_start(&workers[i], o, log, i);
	for (unsigned int i = 0; i < o->threads; i++)
		pthread_join(workers[i].thread, NULL);
	printf("%llu operations\n", (unsigned long long)(log->next - 1));
	return 0;
}
