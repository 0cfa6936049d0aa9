/* SPDX-License-Identifier: Apache-2.0 */
#include "staging.h"
#include "sys.h"

#include <errno.h>
#include <sys/statvfs.h>

int staging_room(int dir_fd, struct staging_room *ret)
{
	const struct store_limits *limits = &store_sys_default.limits;
	struct statvfs v;

	if (fstatvfs(dir_fd, &v))
		return -errno;
	ret->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	ret->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	ret->reserve_bytes = MAX(limits->reserve_bytes, ret->total_bytes / 1000 * limits->reserve_permille);
	return 0;
}
