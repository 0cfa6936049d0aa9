// SPDX-License-Identifier: Apache-2.0
/*
 * ledger write - threads that write self-describing records and log each
 * before it is issued and after it was acknowledged (ledger.h).
 *
 * A signal stops it cleanly: every write issued is waited for.  Before the
 * threads start, the area is discarded or zeroed by whoever made the disk: the
 * ledger takes what it has not written itself to read as zeroes.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ledger.h"
#include "sector.h"

static volatile sig_atomic_t stopping;

struct shared {
	const struct ledger_options *o;
	struct ledger_log *log;
	int fd, twin_fd;
	uint64_t begin_us, issued;
};

struct writer {
	pthread_t thread;
	struct shared *s;
	unsigned int index;
	uint64_t random, turn;
	char *buf;
};

static void on_signal(int sig)
{
	stopping = sig;
}

/* Where the thread's next write goes: anywhere, or its own slots in turn. */
static void choose(struct writer *w, uint64_t *ret_sector, uint32_t *ret_sectors)
{
	const struct ledger_options *o = w->s->o;
	uint32_t unit = o->unit_bytes / CELL_BYTES;
	uint64_t units = w->s->log->area_sectors / unit;
	uint32_t n = 1 + (uint32_t)random_below(&w->random, o->max_units);
	uint64_t first;

	if (o->random) {
		first = random_below(&w->random, units - n + 1);
	} else {
		uint64_t slots = units / o->max_units / o->threads;

		first = (w->index * slots + w->turn++ % slots) * o->max_units;
	}
	*ret_sector = first * unit;
	*ret_sectors = n * unit;
}

static uint64_t entry_begin(struct writer *w, uint8_t disk, uint8_t op, uint64_t sector, uint32_t sectors)
{
	struct ledger_log *log = w->s->log;
	uint64_t n = __atomic_fetch_add(&log->next, 1, __ATOMIC_SEQ_CST);

	if (n >= LEDGER_ENTRIES_MAX)
		errx(1, "the log is full");
	log->entries[n] = (struct ledger_entry){
	    .first_sector = sector,
	    .sectors = sectors,
	    .op = op,
	    .disk = disk,
	    .start_us = now_us(),
	};
	return n;
}

static void record_write(struct writer *w, uint8_t disk, uint64_t sector, uint32_t sectors)
{
	int fd = disk ? w->s->twin_fd : w->s->fd;
	uint64_t n = entry_begin(w, disk, LEDGER_WRITE, sector, sectors);
	struct ledger_entry *e = &w->s->log->entries[n];
	size_t len = (size_t)sectors * CELL_BYTES;

	for (uint32_t i = 0; i < sectors; i++)
		sector_fill(w->buf + (size_t)i * CELL_BYTES, n, sector + i, e->start_us);
	if (pwrite(fd, w->buf, len, (off_t)(sector * CELL_BYTES)) != (ssize_t)len)
		err(1, "write of sector %llu", (unsigned long long)sector);
	/* Buffered and not synced: nobody was promised anything. */
	if (w->s->o->nosync && w->s->o->buffered)
		return;
	if (!w->s->o->nosync && fdatasync(fd) != 0)
		err(1, "sync");
	__atomic_store_n(&e->ack_us, now_us(), __ATOMIC_SEQ_CST);
}

static void record_discard(struct writer *w, uint64_t sector, uint32_t sectors)
{
	uint64_t n = entry_begin(w, 0, LEDGER_DISCARD, sector, sectors);
	uint64_t range[2] = {sector * CELL_BYTES, (uint64_t)sectors * CELL_BYTES};

	if (ioctl(w->s->fd, BLKDISCARD, range) != 0)
		err(1, "discard of sector %llu", (unsigned long long)sector);
	__atomic_store_n(&w->s->log->entries[n].ack_us, now_us(), __ATOMIC_SEQ_CST);
}

/* Keep to the rate over the whole run, all threads together. */
static void pace(struct shared *s)
{
	uint64_t n = __atomic_add_fetch(&s->issued, 1, __ATOMIC_RELAXED);
	uint64_t due, now = now_us();

	if (s->o->rate == 0)
		return;
	due = s->begin_us + n * 1000000u / s->o->rate;
	if (due > now)
		usleep((useconds_t)(due - now));
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct shared *s = w->s;
	uint64_t end_us = s->o->seconds ? s->begin_us + s->o->seconds * 1000000ull : UINT64_MAX;

	while (!stopping && now_us() < end_us) {
		uint64_t sector;
		uint32_t sectors;

		choose(w, &sector, &sectors);
		if (random_below(&w->random, 100) < s->o->discard_percent) {
			record_discard(w, sector, sectors);
		} else {
			record_write(w, 0, sector, sectors);
			if (s->twin_fd >= 0)
				record_write(w, 1, sector, sectors);
		}
		pace(s);
	}
	return NULL;
}

static void start_writers(struct shared *s, struct writer *writers)
{
	const struct ledger_options *o = s->o;

	for (unsigned int i = 0; i < o->threads; i++) {
		struct writer *w = &writers[i];

		*w = (struct writer){.s = s, .index = i, .random = mix64(o->seed * 1000 + i)};
		if (posix_memalign((void **)&w->buf, 4096, (size_t)o->unit_bytes * o->max_units) != 0)
			err(2, "memory");
		errno = pthread_create(&w->thread, NULL, writer_main, w);
		if (errno)
			err(2, "thread");
	}
}

int ledger_write(const struct ledger_options *o)
{
	struct shared s = {.o = o, .twin_fd = -1, .begin_us = now_us()};
	struct writer *writers = calloc(o->threads, sizeof(*writers));
	uint64_t bytes, twin_bytes = 0;
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	s.fd = ledger_open_disk(o->device, true, o->buffered, &bytes);
	if (o->twin) {
		s.twin_fd = ledger_open_disk(o->twin, true, o->buffered, &twin_bytes);
		if (twin_bytes < bytes)
			bytes = twin_bytes;
	}
	s.log = ledger_map(o->log, true);
	s.log->seed = o->seed;
	s.log->area_sectors = (o->area_bytes && o->area_bytes < bytes ? o->area_bytes : bytes) / CELL_BYTES;
	if (!writers ||
	    s.log->area_sectors * CELL_BYTES < (uint64_t)o->unit_bytes * o->max_units * o->threads)
		errx(2, "the disk is too small");
	start_writers(&s, writers);
	for (unsigned int i = 0; i < o->threads; i++)
		pthread_join(writers[i].thread, NULL);
	printf("%llu writes\n", (unsigned long long)(s.log->next - 1));
	return 0;
}
