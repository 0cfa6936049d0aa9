/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"
#include "daemon.h"
#include "fileio.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MEMORY_MAGIC 0x32304d4557444f47ULL /* GODWEM02 */

struct memory_file {
	uint64_t magic, bytes;
	char boot_id[64];
	struct engine_memory engine;
};

char *settings_path(const struct settings *s, const char *name, char ret_path[SETTINGS_PATH_MAX])
{
	snprintf(ret_path, SETTINGS_PATH_MAX, "%s/%.200s", s->folder, name);
	return ret_path;
}

int settings_open(const char *folder, struct settings *ret)
{
	struct settings s = { .server_port = WIRE_PORT };
	int err = fileio_mkdirs(folder, 0700);
	char *full;

	if (err)
		return err;
	full = realpath(folder, NULL);
	if (!full)
		return -errno;
	if (strlen(full) >= sizeof(s.folder))
		err = -ENAMETOOLONG;
	else
		strcpy(s.folder, full);
	free(full);
	if (!err)
		*ret = s;
	return err;
}

int settings_forget_but_key(const struct settings *s)
{
	/* agent.memory above all: it would be taken for the next machine's. */
	static const char *const names[] = { "agent.json", "agent.memory", "desired.json", "agent.crt",
					     "ca.crt",	   "launch" };
	char path[SETTINGS_PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (unlink(settings_path(s, names[i], path)) < 0 && errno != ENOENT)
			return -errno;
	return fileio_fsync_dir(s->folder);
}

int settings_forget(const struct settings *s)
{
	char path[SETTINGS_PATH_MAX];
	int err = settings_forget_but_key(s);

	if (!err && unlink(settings_path(s, "agent.key", path)) < 0 && errno != ENOENT)
		err = -errno;
	return err ? err : fileio_fsync_dir(s->folder);
}

/* --- a launched machine ---------------------------------------------------------- */

#define TABLES_MAX_BYTES (256 * KIB)
#define LAUNCH_MARK	 "godwit:launch="

/* As godwit-launched does: "" if this machine was not launched. */
static void find_launch(char ret[UUID_TEXT_LEN + 1])
{
	char *tables = malloc(TABLES_MAX_BYTES), *mark;
	FILE *f = fopen(getenv("GODWIT_DMI_TABLES") ?: "/sys/firmware/dmi/tables/DMI", "re");
	size_t n = tables && f ? fread(tables, 1, TABLES_MAX_BYTES, f) : 0;
	struct uuid id;

	ret[0] = 0;
	mark = n ? memmem(tables, n, LAUNCH_MARK, sizeof(LAUNCH_MARK) - 1) : NULL;
	if (mark && (size_t)(tables + n - mark) >= sizeof(LAUNCH_MARK) - 1 + UUID_TEXT_LEN) {
		snprintf(ret, UUID_TEXT_LEN + 1, "%.*s", UUID_TEXT_LEN, mark + sizeof(LAUNCH_MARK) - 1);
		if (uuid_parse(ret, &id))
			ret[0] = 0;
	}
	if (f)
		fclose(f);
	free(tables);
}

int settings_note_launch(const struct settings *s)
{
	char id[UUID_TEXT_LEN + 1], path[SETTINGS_PATH_MAX];

	find_launch(id);
	settings_path(s, "launch", path);
	if (!id[0])
		return unlink(path) && errno != ENOENT ? -errno : 0;
	return fileio_replace(path, id, strlen(id), 0644);
}

/* --- agent.json ---------------------------------------------------------------- */

static json_t *disk_to_json(const struct settings_disk *d)
{
	const struct disk_identity *id = &d->info.identity;
	char text[UUID_TEXT_LEN + 1];

	return json_pack("{s:s, s:i, s:s, s:I, s:i, s:{s:s, s:s, s:s, s:s, s:s}}", "id", uuid_format(&d->id, text),
			 "disk", d->disk, "device", d->info.path, "size_bytes", (json_int_t)d->info.size_bytes,
			 "sector_bytes", d->info.sector_bytes, "identity", "wwid", id->wwid, "serial", id->serial,
			 "backing_file", id->backing, "partition_table", id->table, "content", id->content);
}

int settings_save(const struct settings *s)
{
	char id[UUID_TEXT_LEN + 1], path[SETTINGS_PATH_MAX], *text;
	json_t *disks = json_array(), *all;
	int err;

	for (unsigned int i = 0; i < s->disk_count; i++)
		json_array_append_new(disks, disk_to_json(&s->disks[i]));
	all = json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:i, s:s}, s:o}", "id", uuid_format(&s->machine, id), "name",
			s->name, "console", s->console, "proxy", s->proxy, "server", "address", s->server_address, "port",
			s->server_port, "key", s->server_key, "disks", disks);
	text = all ? json_dumps(all, JSON_INDENT(8)) : NULL;
	json_decref(all);
	if (!text)
		return -ENOMEM;
	err = fileio_replace(settings_path(s, "agent.json", path), text, strlen(text), 0600);
	free(text);
	return err;
}

static bool take(const json_t *j, const char *name, char *to, size_t size)
{
	const char *text = json_string_value(json_object_get(j, name));

	if (!text || strlen(text) >= size)
		return false;
	strcpy(to, text);
	return true;
}

static bool disk_from_json(const json_t *j, struct settings_disk *d)
{
	const json_t *id = json_object_get(j, "identity");
	char uuid[64];
	json_int_t disk = json_integer_value(json_object_get(j, "disk"));
	json_int_t size_bytes = json_integer_value(json_object_get(j, "size_bytes"));
	json_int_t sector_bytes = json_integer_value(json_object_get(j, "sector_bytes"));

	d->disk = (uint16_t)disk;
	d->info.size_bytes = (uint64_t)size_bytes;
	d->info.sector_bytes = (uint16_t)sector_bytes;
	return take(j, "id", uuid, sizeof(uuid)) && uuid_parse(uuid, &d->id) == 0 && disk >= 0 && disk < DISKS_MAX &&
	       json_is_integer(json_object_get(j, "disk")) && size_bytes > 0 && sector_bytes > 0 &&
	       sector_bytes <= UINT16_MAX &&
	       take(j, "device", d->info.path, sizeof(d->info.path)) &&
	       take(id, "wwid", d->info.identity.wwid, sizeof(d->info.identity.wwid)) &&
	       take(id, "serial", d->info.identity.serial, sizeof(d->info.identity.serial)) &&
	       take(id, "backing_file", d->info.identity.backing, sizeof(d->info.identity.backing)) &&
	       take(id, "partition_table", d->info.identity.table, sizeof(d->info.identity.table)) &&
	       take(id, "content", d->info.identity.content, sizeof(d->info.identity.content));
}

/* Its number is what planes, wire and store know a disk by. */
static bool disk_is_twice(const struct settings *s, const struct settings_disk *d)
{
	for (unsigned int i = 0; i < s->disk_count; i++)
		if (s->disks[i].disk == d->disk || uuid_equal(&s->disks[i].id, &d->id))
			return true;
	return false;
}

static void server_from_json(const json_t *server, struct settings *s)
{
	json_int_t port = json_integer_value(json_object_get(server, "port"));

	if (take(server, "address", s->server_address, sizeof(s->server_address)) && port > 0 && port <= UINT16_MAX)
		s->server_port = (uint16_t)port;
	(void)take(server, "key", s->server_key, sizeof(s->server_key)); /* an older file has none */
}

static int from_json(const json_t *j, struct settings *s)
{
	const json_t *disks = json_object_get(j, "disks"), *d;
	char uuid[64];
	size_t i;

	if (!take(j, "id", uuid, sizeof(uuid)) || uuid_parse(uuid, &s->machine) || !take(j, "name", s->name, sizeof(s->name)) ||
	    !take(j, "console", s->console, sizeof(s->console)) || !take(j, "proxy", s->proxy, sizeof(s->proxy)) ||
	    !json_is_array(disks) || json_array_size(disks) > DISKS_MAX)
		return -EBADMSG;
	server_from_json(json_object_get(j, "server"), s);
	s->disk_count = 0;
	json_array_foreach(disks, i, d) {
		if (!disk_from_json(d, &s->disks[i]) || disk_is_twice(s, &s->disks[i]))
			return -EBADMSG;
		s->disk_count++;
	}
	return 0;
}

int settings_load(struct settings *s)
{
	char path[SETTINGS_PATH_MAX], *text;
	size_t length;
	json_t *j;
	int err = fileio_slurp(settings_path(s, "agent.json", path), MIB, &text, &length);

	if (err)
		return err;
	j = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	err = j ? from_json(j, s) : -EBADMSG;
	json_decref(j);
	return err;
}

/* --- agent.memory ---------------------------------------------------------------- */

/* @ret_whole: it has the length that it should have. */
static int map_memory(const char *path, struct memory_file **ret, bool *ret_whole)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), err = 0;
	struct memory_file *m = NULL;
	struct stat st;

	if (fd < 0)
		return -errno;
	/* Allocated, so that a full disk is an error here and not a signal later. */
	if (fstat(fd, &st) < 0 || ftruncate(fd, sizeof(*m)) < 0)
		err = -errno;
	if (!err)
		err = -posix_fallocate(fd, 0, sizeof(*m));
	if (!err)
		m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		err = -errno;
	close(fd);
	if (err)
		return err;
	*ret = m;
	*ret_whole = st.st_size == sizeof(*m);
	return 0;
}

static bool memory_is_sound(const struct memory_file *m)
{
	return m->magic == MEMORY_MAGIC && m->bytes == sizeof(*m) && engine_memory_is_sound(&m->engine);
}

int settings_memory(const struct settings *s, struct engine_memory **ret, bool *ret_same_boot)
{
	char path[SETTINGS_PATH_MAX], boot_id[64];
	struct memory_file *m = NULL;
	bool whole = false;
	int err = map_memory(settings_path(s, "agent.memory", path), &m, &whole);

	if (err)
		return err;
	daemon_boot_id(boot_id);
	if (!whole || !memory_is_sound(m)) /* damaged, or not ours: it is of no boot */
		*m = (struct memory_file){ .magic = MEMORY_MAGIC, .bytes = sizeof(*m) };
	*ret_same_boot = boot_id[0] && memcmp(m->boot_id, boot_id, sizeof(boot_id)) == 0;
	if (!*ret_same_boot) {
		engine_memory_reset(&m->engine);
		memcpy(m->boot_id, boot_id, sizeof(boot_id));
	}
	*ret = &m->engine;
	return 0;
}
