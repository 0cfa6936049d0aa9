// SPDX-License-Identifier: Apache-2.0
/* ledger - the program: options, and what its verbs share (ledger.h). */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger.h"
#include "sector.h"

static const char usage[] =
    "ledger write --log FILE [options] DISK [TWIN]	write self-describing records until told to stop\n"
    "	--threads N	so many writes in flight (1)\n"
    "	--random	anywhere in the area, overlapping; otherwise each thread its own slots in turn\n"
    "	--unit BYTES, --max-units N	size of a write: 1 to N units (4096, 1)\n"
    "	--area BYTES	the first bytes of the disk only (all)\n"
    "	--discard PERCENT	so many of the operations are discards (0)\n"
    "	--rate N	writes a second (0: as fast as it goes)\n"
    "	--seconds N, --seed N, --buffered, --nosync\n"
    "	TWIN		each record goes there, too, once it has been synced to DISK\n"
    "ledger check --log FILE --at TIME_US [--slack-us N] DISK [TWIN]	is this what it was at that time?\n"
    "ledger tail DISK	the newest record: its number and time\n"
    "ledger acked --log FILE [--at TIME_US]	how many writes were acknowledged (until then)\n"
    "ledger unique --log FILE	bytes of the disk that were written at least once\n"
    "ledger lag --log FILE POINTS	from acknowledged to durable, for points as pointwatch lists them\n";

struct ledger_log *ledger_map(const char *path, bool create)
{
	size_t size = sizeof(struct ledger_log) + (size_t)LEDGER_ENTRIES_MAX * sizeof(struct ledger_entry);
	int fd = open(path, create ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, 0644);
	struct ledger_log *log;

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
		err(2, "%s", path);
	log = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED)
		err(2, "%s", path);
	close(fd);
	if (create)
		*log = (struct ledger_log){.magic = LEDGER_MAGIC, .next = 1};
	else if (log->magic != LEDGER_MAGIC)
		errx(2, "%s: not a ledger's log", path);
	return log;
}

int ledger_open_disk(const char *path, bool write, bool buffered, uint64_t *ret_bytes)
{
	int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC;
	int fd = open(path, flags | (buffered ? 0 : O_DIRECT));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(2, "%s", path);
	*ret_bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret_bytes) != 0)
		err(2, "%s", path);
	return fd;
}

static int ledger_acked(const struct ledger_options *o)
{
	const struct ledger_log *log = ledger_map(o->log, false);
	uint64_t count = 0;

	for (uint64_t n = 1; n < log->next && n < LEDGER_ENTRIES_MAX; n++)
		count += log->entries[n].ack_us != 0 && (o->at_us == 0 || log->entries[n].ack_us <= o->at_us);
	printf("%llu\n", (unsigned long long)count);
	return 0;
}

static int ledger_unique(const struct ledger_options *o)
{
	const struct ledger_log *log = ledger_map(o->log, false);
	bool *seen = calloc(log->area_sectors, sizeof(*seen));
	uint64_t count = 0;

	if (!seen)
		err(2, "memory");
	for (uint64_t n = 1; n < log->next && n < LEDGER_ENTRIES_MAX; n++) {
		const struct ledger_entry *e = &log->entries[n];

		for (uint64_t s = e->first_sector; s < e->first_sector + e->sectors; s++) {
			count += !seen[s];
			seen[s] = true;
		}
	}
	free(seen);
	printf("%llu\n", (unsigned long long)count * CELL_BYTES);
	return 0;
}

static const struct option options[] = {
    {"log", 1, NULL, 'l'},     {"threads", 1, NULL, 't'},   {"random", 0, NULL, 'r'},
    {"unit", 1, NULL, 'u'},    {"max-units", 1, NULL, 'm'}, {"area", 1, NULL, 'a'},
    {"discard", 1, NULL, 'd'}, {"rate", 1, NULL, 'R'},	    {"seconds", 1, NULL, 's'},
    {"seed", 1, NULL, 'S'},    {"buffered", 0, NULL, 'b'},  {"nosync", 0, NULL, 'n'},
    {"at", 1, NULL, 'T'},      {"slack-us", 1, NULL, 'k'},  {NULL, 0, NULL, 0},
};

static void set_option(struct ledger_options *o, int c)
{
	uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

	switch (c) {
	case 'l':
		o->log = optarg;
		break;
	case 't':
		o->threads = (unsigned int)v;
		break;
	case 'r':
		o->random = true;
		break;
	case 'u':
		o->unit_bytes = (unsigned int)v;
		break;
	case 'm':
		o->max_units = (unsigned int)v;
		break;
	case 'a':
		o->area_bytes = v;
		break;
	case 'd':
		o->discard_percent = (unsigned int)v;
		break;
	case 'R':
		o->rate = v;
		break;
	case 's':
		o->seconds = (unsigned int)v;
		break;
	case 'S':
		o->seed = v;
		break;
	case 'b':
		o->buffered = true;
		break;
	case 'n':
		o->nosync = true;
		break;
	case 'T':
		o->at_us = v;
		break;
	case 'k':
		o->slack_us = v;
		break;
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct ledger_options o = {
	    .threads = 1, .unit_bytes = 4096, .max_units = 1, .slack_us = 50000, .seed = 1};
	const char *verb = argc > 1 ? argv[1] : "";
	int c;

	if (argc > 1) {
		argc--;
		argv++;
	}
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(&o, c);
	o.device = optind < argc ? argv[optind] : NULL;
	o.twin = optind + 1 < argc ? argv[optind + 1] : NULL;

	if (strcmp(verb, "write") == 0 && o.log && o.device)
		return ledger_write(&o);
	if (strcmp(verb, "check") == 0 && o.log && o.device && o.at_us)
		return ledger_check(&o);
	if (strcmp(verb, "tail") == 0 && o.device)
		return ledger_tail(o.device);
	if (strcmp(verb, "unique") == 0 && o.log)
		return ledger_unique(&o);
	if (strcmp(verb, "lag") == 0 && o.log && o.device)
		return ledger_lag(&o, o.device);
	if (strcmp(verb, "acked") == 0 && o.log)
		return ledger_acked(&o);
	fputs(usage, stderr);
	return 2;
}
