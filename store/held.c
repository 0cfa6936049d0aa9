/* SPDX-License-Identifier: Apache-2.0 */
#include "held.h"
#include "fileio.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SPEC_BYTES_MAX (4 * MIB)

/* The epoch of the launch that @path describes, if it is of @machine. */
static int take_spec(const char *path, const char *machine, struct bytes *ret)
{
	const char *of;
	char *text;
	size_t len;
	uint64_t epoch;
	json_t *spec;
	int err = fileio_slurp(path, SPEC_BYTES_MAX, &text, &len);

	if (err)
		return err == -ENOENT || err == -ENOTDIR ? 0 : err; /* no launch; or nothing of ours */
	spec = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	of = json_string_value(json_object_get(spec, "machine_id"));
	epoch = (uint64_t)json_integer_value(json_object_get(spec, "epoch"));
	if (!of)
		err = -EBADMSG;
	else if (strcmp(of, machine) == 0)
		err = bytes_append(ret, &epoch, sizeof(epoch));
	json_decref(spec);
	return err;
}

static int take_launches(const char *launches, const char *machine, struct bytes *ret, char *ret_path, size_t size)
{
	DIR *d = opendir(launches);
	struct dirent *e;
	int err = 0;

	snprintf(ret_path, size, "%s", launches);
	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	while (!err && (errno = 0, e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(ret_path, size, "%s/%s/spec.json", launches, e->d_name);
		err = take_spec(ret_path, machine, ret);
	}
	if (!err)
		err = -errno;
	closedir(d);
	return err;
}

int held_by_launches(const char *dir, struct bytes *ret, char *ret_path, size_t size)
{
	char path[PATH_MAX], launches[PATH_MAX + 16], *machine, *store;

	if (!realpath(dir, path))
		return 0; /* the store itself will say so */
	machine = strrchr(path, '/');
	*machine++ = '\0';
	store = strrchr(path, '/');
	if (!store)
		return 0;
	*store = '\0';
	snprintf(launches, sizeof(launches), "%s/launches", path);
	return take_launches(launches, machine, ret, ret_path, size);
}
