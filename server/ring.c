/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_twice(struct ring *r, int fd)
{
	uint8_t *base = mmap(NULL, 2 * r->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	for (int i = 0; i < 2; i++) {
		if (mmap(base + (size_t)i * r->size, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED) {
			int err = -errno;

			(void)munmap(base, 2 * r->size);
			return err;
		}
	}
	r->base = base;
	return 0;
}

int ring_init(struct ring *r, size_t size)
{
	int fd, err = 0;

	assert(size && (size & (size - 1)) == 0 && size % (size_t)sysconf(_SC_PAGESIZE) == 0);
	*r = (struct ring){ .size = size };
	fd = memfd_create("ring", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size))
		err = -errno;
	if (!err)
		err = map_twice(r, fd);
	close(fd);
	return err;
}

void ring_done(struct ring *r)
{
	if (r->base)
		(void)munmap(r->base, 2 * r->size);
	r->base = NULL;
}
