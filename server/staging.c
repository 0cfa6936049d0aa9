/* SPDX-License-Identifier: Apache-2.0 */
#include "staging.h"
#include "sys.h"

#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>

int staging_room(int dir_fd, struct staging_room *ret)
{
	const struct store_limits *limits = &store_sys_default.limits;
	struct statvfs v;

	if (fstatvfs(dir_fd, &v))
		return -errno;
	ret->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	ret->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	ret->reserve_bytes = store_limits_reserve_bytes(limits, ret->total_bytes);
	return 0;
}

char *staging_full_text(int dir_fd, char ret_text[STAGING_TEXT_MAX])
{
	struct staging_room room;

	if (staging_room(dir_fd, &room))
		snprintf(ret_text, STAGING_TEXT_MAX, "the staging disk is full; what was acknowledged is safe");
	else
		snprintf(ret_text, STAGING_TEXT_MAX,
			 "the staging disk has %llu MiB free, and %llu MiB are kept back for its upkeep; what was "
			 "acknowledged is safe",
			 (unsigned long long)(room.free_bytes / MIB), (unsigned long long)(room.reserve_bytes / MIB));
	return ret_text;
}
