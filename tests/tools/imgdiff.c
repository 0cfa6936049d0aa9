// SPDX-License-Identifier: Apache-2.0
/*
 * imgdiff - compare two disks or images; say where they differ, and how.
 *
 *	imgdiff A B	exit status 0: equal; 1: they differ
 *
 * Devices are read with O_DIRECT, past the page cache, which need not agree
 * with the disk.  Where a differing sector says which write it comes from
 * (sector.h), that is told.
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sector.h"

#define STEP (1u << 20)

static int open_disk(const char *path, uint64_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	struct stat st;

	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		err(2, "%s", path);
	*ret_bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret_bytes) != 0)
		err(2, "%s", path);
	return fd;
}

static void read_all(int fd, const char *path, char *buf, uint64_t pos, size_t len)
{
	size_t done = 0;

	while (done < len) {
		/* O_DIRECT wants whole blocks, also at the end of a file. */
		ssize_t n = pread(fd, buf + done, STEP - done, (off_t)(pos + done));

		if (n <= 0)
			err(2, "%s: read at %" PRIu64, path, pos + done);
		done += (size_t)n;
	}
}

static void describe(const char *buf, uint64_t sector)
{
	uint64_t number, start_us;

	switch (sector_look(buf, sector, &number, &start_us)) {
	case SECTOR_ZERO:
		printf("zeroes");
		break;
	case SECTOR_WRITTEN:
		printf("write %" PRIu64 " of %" PRIu64 ".%06" PRIu64, number, start_us / 1000000,
		       start_us % 1000000);
		break;
	case SECTOR_DAMAGED:
		for (int i = 0; i < 16; i++)
			printf("%02x", (unsigned char)buf[i]);
		break;
	}
}

int main(int argc, char **argv)
{
	uint64_t bytes[2], differing = 0, runs = 0, last = UINT64_MAX;
	char *buf[2];
	int fd[2];

	if (argc != 3)
		errx(2, "usage: imgdiff A B");
	for (int i = 0; i < 2; i++) {
		fd[i] = open_disk(argv[i + 1], &bytes[i]);
		if (posix_memalign((void **)&buf[i], 4096, STEP) != 0)
			err(2, "memory");
	}
	if (bytes[0] != bytes[1]) {
		printf("sizes differ: %" PRIu64 " and %" PRIu64 " bytes\n", bytes[0], bytes[1]);
		return 1;
	}
	for (uint64_t pos = 0; pos < bytes[0]; pos += STEP) {
		size_t len = bytes[0] - pos < STEP ? (size_t)(bytes[0] - pos) : STEP;

		read_all(fd[0], argv[1], buf[0], pos, len);
		read_all(fd[1], argv[2], buf[1], pos, len);
		if (memcmp(buf[0], buf[1], len) == 0)
			continue;
		for (size_t i = 0; i < len; i += CELL_BYTES) {
			uint64_t sector = (pos + i) / CELL_BYTES;

			if (memcmp(buf[0] + i, buf[1] + i, CELL_BYTES) == 0)
				continue;
			differing++;
			if (sector != last + 1 && runs++ < 8) {
				printf("sector %" PRIu64 ": ", sector);
				describe(buf[0] + i, sector);
				printf(" | ");
				describe(buf[1] + i, sector);
				printf("\n");
			}
			last = sector;
		}
	}
	if (differing)
		printf("%" PRIu64 " sectors differ, in %" PRIu64 " runs\n", differing, runs);
	return differing != 0;
}
