// SPDX-License-Identifier: Apache-2.0
/* fsload check - replay the log of each slot that was synced at the time, and
 * compare with what the mounted image has (fsload.h). */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsload.h"
#include "sector.h"

struct state {
	bool exists, unknown, synced;
	unsigned int generation;
	uint32_t cells;
	uint64_t number[FILE_CELLS_MAX]; /* of the write each cell comes from; 0: zeroes */
	uint64_t synced_us;
	bool seen;
};

struct checker {
	const struct fs_options *o;
	const struct fs_log *log;
	struct state *slots;
	uint64_t checked, absent, skipped, wrong;
};

static void set_size(struct state *s, uint32_t cells)
{
	if (cells < s->cells)
		memset(s->number + cells, 0, (s->cells - cells) * sizeof(s->number[0]));
	s->cells = cells;
}

static void apply(struct state *s, const struct fs_entry *e, uint64_t n)
{
	switch (e->op) {
	case OP_CREATE:
		s->exists = true;
		set_size(s, 0);
		break;
	case OP_WRITE:
		if (s->cells < (uint32_t)e->first + e->count)
			s->cells = (uint32_t)e->first + e->count;
		for (uint32_t i = 0; i < e->count; i++)
			s->number[e->first + i] = n;
		break;
	case OP_TRUNCATE:
		set_size(s, e->first);
		break;
	case OP_PUNCH:
		memset(s->number + e->first, 0, e->count * sizeof(s->number[0]));
		break;
	case OP_ALLOCATE:
		if (s->cells < (uint32_t)e->first + e->count)
			s->cells = (uint32_t)e->first + e->count;
		break;
	case OP_RENAME:
		s->generation = e->first | ((uint32_t)e->count << 16);
		break;
	case OP_DELETE:
		s->exists = s->unknown = false;
		set_size(s, 0);
		break;
	case OP_FAILED:
		s->unknown = true;
		break;
	}
}

/* The state of every slot just after its last operation begun before T. */
static void replay(struct checker *c)
{
	uint64_t horizon = c->o->at_us + c->o->slack_us;

	for (uint64_t n = 1; n < c->log->next && n < FSLOAD_OPS_MAX; n++) {
		const struct fs_entry *e = &c->log->entries[n];
		struct state *s;

		if (e->start_us == 0 || e->start_us > horizon)
			continue;
		s = &c->slots[e->slot];
		s->synced = e->op == OP_FSYNC && e->ack_us && e->ack_us <= c->o->at_us;
		s->synced_us = e->ack_us;
		if (e->op != OP_FSYNC)
			apply(s, e, n);
	}
}

static void __attribute__((format(printf, 3, 4)))
complain(struct checker *c, uint32_t slot, const char *format, ...)
{
	va_list args;

	if (c->wrong++ >= 8)
		return;
	printf("thread %u file %u, synced %+" PRId64 " us from the point: ", slot / c->log->files,
	       slot % c->log->files, (int64_t)(c->slots[slot].synced_us - c->o->at_us));
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static void check_cells(struct checker *c, uint32_t slot, int fd)
{
	static char buf[FILE_CELLS_MAX * CELL_BYTES];
	const struct state *s = &c->slots[slot];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	if (n != (ssize_t)(s->cells * CELL_BYTES)) {
		complain(c, slot, "has %zd bytes, should have %u%s%s", n, s->cells * CELL_BYTES,
			 n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
		return;
	}
	for (uint32_t i = 0; i < s->cells; i++) {
		uint64_t number = 0, start_us;
		enum sector_kind kind =
		    sector_look(buf + (size_t)i * CELL_BYTES, fs_cell_address(slot, i), &number, &start_us);

		if (kind == SECTOR_DAMAGED || number != s->number[i]) {
			complain(c, slot, "cell %u has %s %" PRIu64 ", should have write %" PRIu64, i,
				 kind == SECTOR_DAMAGED ? "damage" : "write", number, s->number[i]);
			return;
		}
	}
}

static void check_present(struct checker *c, uint32_t slot, int dirfd)
{
	char name[32];
	int fd;

	fs_file_name(name, sizeof(name), c->log, slot, c->slots[slot].generation);
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		complain(c, slot, "%s: %s", name, strerror(errno));
		return;
	}
	check_cells(c, slot, fd);
	close(fd);
}

/* Whatever the folder holds under another name of a synced slot should not be there. */
static void check_names(struct checker *c, unsigned int thread, DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir))) {
		unsigned int file, generation;
		const struct state *s;

		if (sscanf(d->d_name, "f%u.%u", &file, &generation) != 2)
			continue;
		s = &c->slots[thread * c->log->files + file];
		if (s->synced && !s->unknown && (!s->exists || generation != s->generation))
			complain(c, thread * c->log->files + file, "%s is there and should not be",
				 d->d_name);
	}
}

static void check_thread(struct checker *c, unsigned int thread)
{
	char path[4096];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/t%u", c->o->dir, thread);
	dir = opendir(path);
	for (uint32_t file = 0; file < c->log->files; file++) {
		uint32_t slot = thread * c->log->files + file;
		const struct state *s = &c->slots[slot];

		if (!s->synced || s->unknown) {
			c->skipped++;
		} else if (!dir) {
			complain(c, slot, "the folder %s is not there", path);
		} else if (s->exists) {
			check_present(c, slot, dirfd(dir));
			c->checked++;
		} else {
			c->absent++;
		}
	}
	if (dir) {
		check_names(c, thread, dir);
		closedir(dir);
	}
}

int fsload_check(const struct fs_options *o)
{
	struct checker c = {.o = o, .log = fs_log_map(o->log, false)};

	c.slots = calloc((size_t)c.log->threads * c.log->files, sizeof(*c.slots));
	if (!c.slots)
		err(2, "memory");
	replay(&c);
	for (unsigned int i = 0; i < c.log->threads; i++)
		check_thread(&c, i);
	printf("%" PRIu64 " files as they were synced, %" PRIu64 " gone as they should, %" PRIu64
	       " not to be judged, %" PRIu64 " wrong\n",
	       c.checked, c.absent, c.skipped, c.wrong);
	return c.wrong != 0;
}
