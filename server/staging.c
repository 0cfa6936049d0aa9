/* SPDX-License-Identifier: Apache-2.0 */
#include "staging.h"

#include <errno.h>
#include <sys/statvfs.h>

int staging_room(int dir_fd, struct staging_room *ret)
{
	struct statvfs v;

	if (fstatvfs(dir_fd, &v))
		return -errno;
	ret->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	ret->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	ret->reserve_bytes = MIN(STAGING_RESERVE_BYTES_MAX, ret->total_bytes / STAGING_RESERVE_FRACTION);
	return 0;
}
