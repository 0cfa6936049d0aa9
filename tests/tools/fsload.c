// SPDX-License-Identifier: Apache-2.0
/* fsload - the program: options, and what its verbs share (fsload.h). */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsload.h"
#include "sector.h"

static const char usage[] =
    "fsload run --log FILE --dir DIR [options]	load a mounted file system\n"
    "	--threads N (4), --files N (100) for each thread, --seconds N (0: until told to stop), --seed N\n"
    "	--direct PERCENT (30)	so many of the writes past the page cache\n"
    "	--fsync PERCENT (25)	so many of the operations are fsync\n"
    "	--rate N	operations a second (0: as fast as it goes)\n"
    "fsload check --log FILE --dir DIR --at TIME_US [--slack-us N]	is "
    "everything there that was synced by then?\n";

struct fs_log *fs_log_map(const char *path, bool create)
{
	size_t size = sizeof(struct fs_log) + (size_t)FSLOAD_OPS_MAX * sizeof(struct fs_entry);
	int fd = open(path, create ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, 0644);
	struct fs_log *log;

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
		err(2, "%s", path);
	log = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED)
		err(2, "%s", path);
	close(fd);
	if (create)
		*log = (struct fs_log){.magic = FSLOAD_MAGIC, .next = 1};
	else if (log->magic != FSLOAD_MAGIC)
		errx(2, "%s: not a log of fsload", path);
	return log;
}

void fs_file_name(char *buf, unsigned long size, const struct fs_log *log, uint32_t slot,
		  unsigned int generation)
{
	snprintf(buf, size, "f%04u.%u", slot % log->files, generation);
}

static const struct option options[] = {
    {"log", 1, NULL, 'l'},     {"dir", 1, NULL, 'd'},  {"threads", 1, NULL, 't'},  {"files", 1, NULL, 'f'},
    {"seconds", 1, NULL, 's'}, {"seed", 1, NULL, 'S'}, {"direct", 1, NULL, 'D'},   {"fsync", 1, NULL, 'F'},
    {"rate", 1, NULL, 'r'},    {"at", 1, NULL, 'T'},   {"slack-us", 1, NULL, 'k'}, {NULL, 0, NULL, 0},
};

static void set_option(struct fs_options *o, int c)
{
	uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

	if (c == 'l')
		o->log = optarg;
	else if (c == 'd')
		o->dir = optarg;
	else if (c == 't')
		o->threads = (unsigned int)v;
	else if (c == 'f')
		o->files = (unsigned int)v;
	else if (c == 's')
		o->seconds = (unsigned int)v;
	else if (c == 'S')
		o->seed = v;
	else if (c == 'D')
		o->direct_percent = (unsigned int)v;
	else if (c == 'F')
		o->fsync_percent = (unsigned int)v;
	else if (c == 'r')
		o->rate = v;
	else if (c == 'T')
		o->at_us = v;
	else if (c == 'k')
		o->slack_us = v;
	else
		errx(2, "%s", usage);
}

int main(int argc, char **argv)
{
	struct fs_options o = {.threads = 4,
			       .files = 100,

			       .direct_percent = 30,
			       .fsync_percent = 25,
			       .seed = 1,
			       .slack_us = 50000};
	const char *verb = argc > 1 ? argv[1] : "";
	int c;

	if (argc > 1) {
		argc--;
		argv++;
	}
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(&o, c);
	if (strcmp(verb, "run") == 0 && o.log && o.dir)
		return fsload_run(&o);
	if (strcmp(verb, "check") == 0 && o.log && o.dir && o.at_us)
		return fsload_check(&o);
	fputs(usage, stderr);
	return 2;
}
