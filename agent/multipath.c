/* SPDX-License-Identifier: Apache-2.0 */
#include "multipath.h"
#include "fileio.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>

#define DEPTH_MAX 16u

static bool is_multipath(const char *folder, char ret_name[MULTIPATH_NAME_MAX])
{
	char path[PATH_MAX], line[256], name[MULTIPATH_NAME_MAX];

	snprintf(path, sizeof(path), "%s/dm/uuid", folder);
	if (fileio_read_line(path, line, sizeof(line)) < 0 || strncmp(line, "mpath-", 6) != 0)
		return false;
	snprintf(path, sizeof(path), "%s/dm/name", folder);
	if (fileio_read_line(path, name, sizeof(name)) < 0)
		snprintf(name, sizeof(name), "%s", "?");
	snprintf(ret_name, MULTIPATH_NAME_MAX, "%s", name);
	return true;
}

typedef bool judge(const char *folder, char *ret_name, unsigned int depth);

static bool any_of(const char *folder, const char *kin, judge *is, char *ret_name, unsigned int depth)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", folder, kin);
	d = opendir(path);
	while (d && !found && (entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s/%s", folder, kin, entry->d_name) < sizeof(path))
			found = is(path, ret_name, depth);
	}
	if (d)
		closedir(d);
	return found;
}

static bool judge_itself(const char *folder, char *ret_name, unsigned int depth)
{
	return is_multipath(folder, ret_name);
}

static bool judge_below(const char *folder, char *ret_name, unsigned int depth)
{
	if (depth > DEPTH_MAX)
		return false;
	return is_multipath(folder, ret_name) || any_of(folder, "slaves", judge_below, ret_name, depth + 1);
}

bool multipath_above(const char *folder, char ret_name[MULTIPATH_NAME_MAX])
{
	return any_of(folder, "holders", judge_itself, ret_name, 0);
}

bool multipath_below(const char *folder, char ret_name[MULTIPATH_NAME_MAX])
{
	return judge_below(folder, ret_name, 0);
}
