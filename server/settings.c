/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"
#include "fileio.h"
#include "wire.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

char *settings_path(const struct settings *s, const char *name, char *ret_path)
{
	snprintf(ret_path, SETTINGS_PATH_MAX, "%.*s/%s", SETTINGS_PATH_MAX - 256, s->state, name);
	return ret_path;
}

int settings_open(const char *state, struct settings *ret)
{
	struct settings s = { .port = WIRE_PORT };
	char path[SETTINGS_PATH_MAX], *full;
	int err = fileio_mkdirs(state, 0700);

	if (err)
		return err;
	full = realpath(state, NULL);
	if (!full)
		return -errno;
	if (strlen(full) >= sizeof(s.state) - 256)
		err = -ENAMETOOLONG;
	else
		strcpy(s.state, full);
	free(full);
	if (!err)
		err = fileio_mkdirs(settings_path(&s, "store", path), 0700);
	if (!err)
		err = fileio_mkdirs(settings_path(&s, "exports", path), 0700);
	if (!err)
		*ret = s;
	return err;
}

static int copy_text(const json_t *j, const char *name, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(j, name));

	if (!text)
		return 0;
	if (strlen(text) >= size)
		return -EINVAL;
	strcpy(to, text);
	return 0;
}

static int from_json(const json_t *j, struct settings *s)
{
	const char *id = json_string_value(json_object_get(j, "id"));
	json_int_t port = json_integer_value(json_object_get(j, "port"));

	if (!id || uuid_parse(id, &s->id) || port < 0 || port > UINT16_MAX)
		return -EINVAL;
	if (port)
		s->port = (uint16_t)port;
	if (copy_text(j, "console", s->console, sizeof(s->console)) ||
	    copy_text(j, "address", s->address, sizeof(s->address)))
		return -EINVAL;
	return 0;
}

int settings_load(struct settings *s)
{
	char path[SETTINGS_PATH_MAX], *text;
	size_t len;
	json_t *j;
	int err = fileio_slurp(settings_path(s, "server.json", path), 64 * KIB, &text, &len);

	if (err)
		return err;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	err = j ? from_json(j, s) : -EINVAL;
	json_decref(j);
	return err;
}

int settings_save(const struct settings *s)
{
	char path[SETTINGS_PATH_MAX], id[UUID_TEXT_LEN + 1], *text;
	json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "id", uuid_format(&s->id, id), "console", s->console, "address",
			      s->address, "port", s->port);
	int err;

	text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
	json_decref(j);
	if (!text)
		return -ENOMEM;
	err = fileio_replace(settings_path(s, "server.json", path), text, strlen(text), 0600);
	free(text);
	return err;
}
