/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbdkit-godwit-plugin - one disk of one machine, as it was at a point.
 *
 * The point is looked up once, when the plugin is configured, and one
 * struct store_reader serves all connections and threads: a reader is a
 * snapshot, so every connection sees the same disk (multi-conn) however the
 * store goes on.  Nothing is ever written; nbdkit's cow filter on top gives a
 * disk that can be.
 *
 *	nbdkit godwit store=DIR [at=latest|POINT|TIME|LABEL] [epoch=N] [disk=N|NAME|ID]
 */
#include "base.h"
#include "lookup.h"
#include "store.h"
#include "uuid.h"
#include "wallclock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#ifndef GODWIT_VERSION
#define GODWIT_VERSION "unknown"
#endif

/* Chunks are the unit of compression and checksums: reading one costs what
 * reading a sector of it costs. */
#define READ_BYTES_MAX (32u * 1024 * 1024)

static char *store_dir;
static const char *wanted_at, *wanted_disk;
static uint64_t wanted_epoch;
static struct store_reader *reader;
static struct store_disk disk;
static char point_text[UUID_TEXT_LEN + WALLCLOCK_TEXT_LEN + 64];

/* --- configuration --------------------------------------------------------------- */

static int config_epoch(const char *value)
{
	char *end;

	errno = 0;
	wanted_epoch = strtoull(value, &end, 10);
	if (errno || *end || end == value || wanted_epoch == 0) {
		nbdkit_error("epoch=%s: not the number of an epoch", value);
		return -1;
	}
	return 0;
}

static int plugin_config(const char *key, const char *value)
{
	if (strcmp(key, "store") == 0) {
		free(store_dir);
		store_dir = nbdkit_realpath(value);
		return store_dir ? 0 : -1;
	}
	if (strcmp(key, "at") == 0 || strcmp(key, "time") == 0) {
		wanted_at = value;
		return 0;
	}
	if (strcmp(key, "epoch") == 0)
		return config_epoch(value);
	if (strcmp(key, "disk") == 0) {
		wanted_disk = value;
		return 0;
	}
	nbdkit_error("unknown parameter '%s'", key);
	return -1;
}

#define CONFIG_HELP \
	"store=DIR       (required) the machine's store: .../server/store/MACHINE\n" \
	"at=WHEN         latest (default), a point's id, a label, or a time:\n" \
	"                the newest point at or before it\n" \
	"epoch=N         the point that is epoch N\n" \
	"disk=WHICH      number, id or device name; needed if there are several"

/* A store's folder is named for its machine. */
static int machine_of_store(struct uuid *ret)
{
	const char *slash = strrchr(store_dir, '/');

	return uuid_parse(slash ? slash + 1 : store_dir, ret);
}

static void explain_lookup(const struct store_points *points, int err)
{
	char first[WALLCLOCK_TEXT_LEN + 1], last[WALLCLOCK_TEXT_LEN + 1];
	size_t count = store_points_count(points);

	if (err == -EBADMSG)
		nbdkit_error("%s cannot be told: %s is damaged, and points after it are hidden; name one that is listed",
			     wanted_at, store_points_damaged(points));
	else if (err == -ENODATA)
		nbdkit_error("%s has no recovery point yet", store_dir);
	else if (err == -ERANGE)
		nbdkit_error("there is no recovery point at %s; those kept are from %s to %s", wanted_at,
			     wallclock_format(store_points_get(points, 0)->time_us, first),
			     wallclock_format(store_points_get(points, count - 1)->time_us, last));
	else if (err == -ETIME)
		nbdkit_error("which point is of %s cannot be told: the source's clock was ahead, and its points have times "
			     "up to %s; choose one by id or label",
			     wanted_at, wallclock_format(store_points_get(points, count - 1)->time_us, last));
	else
		nbdkit_error("%s is not a recovery point that is kept, nor a label, nor a time", wanted_at);
}

static int find_epoch(uint64_t *ret_epoch)
{
	struct store_points *points;
	struct uuid machine = { 0 };
	size_t index;
	int err;

	if (!wanted_at) {
		*ret_epoch = wanted_epoch; /* 0: the newest */
		return 0;
	}
	(void)!machine_of_store(&machine); /* without it no id can be looked up; all else can */
	err = store_points_open(store_dir, &store_sys_default, &points);
	if (err) {
		nbdkit_error("%s: %s", store_dir, err == -EBADMSG ? "damaged" : strerror(-err));
		return err;
	}
	err = lookup_point(points, &machine, wanted_at, &index);
	if (err)
		explain_lookup(points, err);
	else
		*ret_epoch = store_points_get(points, index)->epoch;
	store_points_close(points);
	return err;
}

static bool is_wanted(const struct store_disk *d)
{
	const char *slash = strrchr(d->name, '/');
	char number[16], id[UUID_TEXT_LEN + 1];

	snprintf(number, sizeof(number), "%u", d->disk);
	return strcmp(wanted_disk, number) == 0 || strcmp(wanted_disk, d->name) == 0 ||
	       strcmp(wanted_disk, uuid_format(&d->id, id)) == 0 || (slash && strcmp(wanted_disk, slash + 1) == 0);
}

static int choose_disk(void)
{
	struct store_disk disks[DISKS_MAX];
	size_t n = store_reader_disks(reader, disks, ARRAY_LEN(disks)), found = 0;

	for (size_t i = 0; i < n && i < ARRAY_LEN(disks); i++) {
		if (wanted_disk && !is_wanted(&disks[i]))
			continue;
		disk = disks[i];
		found++;
	}
	if (found == 1)
		return 0;
	if (wanted_disk)
		nbdkit_error("disk=%s: the machine has no such disk at this point", wanted_disk);
	else
		nbdkit_error("the machine has %zu disks at this point: choose one with disk=", n);
	return -1;
}

static void describe_point(void)
{
	const struct store_epoch *e = store_reader_point(reader);
	char time[WALLCLOCK_TEXT_LEN + 1], id[UUID_TEXT_LEN + 1] = "?";
	struct uuid machine, point;

	if (machine_of_store(&machine) == 0) {
		point = uuid_from_epoch(&machine, e->epoch);
		uuid_format(&point, id);
	}
	snprintf(point_text, sizeof(point_text), "point %s (epoch %llu) of %s", id, (unsigned long long)e->epoch,
		 wallclock_format(e->time_us, time));
}

static int plugin_config_complete(void)
{
	if (!store_dir) {
		nbdkit_error("store=DIR is needed");
		return -1;
	}
	if (wanted_at && wanted_epoch) {
		nbdkit_error("at= and epoch= are two ways to say the same: give one");
		return -1;
	}
	return 0;
}

/* Not in config_complete(): `nbdkit --dump-plugin` must not need a store. */
static int plugin_get_ready(void)
{
	uint64_t epoch;
	int err;

	if (find_epoch(&epoch))
		return -1;
	err = store_reader_open(store_dir, &store_sys_default, epoch, &reader);
	if (err) {
		nbdkit_error("%s: %s", store_dir,
			     err == -ENOENT ? "there is no such recovery point (any more)" :
			     err == -EBADMSG ? "damaged" :
					       strerror(-err));
		return -1;
	}
	describe_point();
	return choose_disk();
}

static void plugin_unload(void)
{
	store_reader_close(reader);
	free(store_dir);
}

/* --- serving ----------------------------------------------------------------------- */

static void *plugin_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
	return (int64_t)disk.size_bytes;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	*minimum = 1;
	*preferred = CHUNK_BYTES;
	*maximum = READ_BYTES_MAX;
	return 0;
}

static int plugin_yes(void *handle)
{
	return 1;
}

/* S5: a damaged place is an error for its reader, and for nobody else. */
static int fail(int err, uint64_t offset, uint64_t count)
{
	if (err == -EBADMSG)
		nbdkit_error("%s: disk %u is damaged within %llu bytes at %llu", point_text, disk.disk,
			     (unsigned long long)count, (unsigned long long)offset);
	else
		nbdkit_error("%s: disk %u cannot be read at %llu: %s", point_text, disk.disk,
			     (unsigned long long)offset, strerror(-err));
	nbdkit_set_error(err == -ENOMEM ? ENOMEM : EIO);
	return -1;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	int err = store_read(reader, disk.disk, offset, count, buf);

	return err ? fail(err, offset, count) : 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	bool one = flags & NBDKIT_FLAG_REQ_ONE;
	uint64_t end = offset + count;

	while (offset < end) {
		uint64_t length;
		bool zero;
		int err = store_extent(reader, disk.disk, offset, end - offset, &zero, &length);

		if (err)
			return fail(err, offset, end - offset);
		if (nbdkit_add_extent(extents, offset, length, zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0))
			return -1;
		if (one)
			return 0;
		offset += length;
	}
	return 0;
}

static int plugin_can_cache(void *handle)
{
	return NBDKIT_CACHE_EMULATE; /* reading brings it into the page cache */
}

static const char *name_of_disk(void)
{
	const char *slash = strrchr(disk.name, '/');

	return slash ? slash + 1 : disk.name;
}

static int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	return nbdkit_add_export(exports, name_of_disk(), point_text);
}

static const char *plugin_default_export(int readonly, int is_tls)
{
	return name_of_disk();
}

static const char *plugin_export_description(void *handle)
{
	return point_text;
}

static struct nbdkit_plugin plugin = {
	.name = "godwit",
	.longname = "godwit recovery points",
	.version = GODWIT_VERSION,
	.description = "A disk of a machine as it was at a recovery point, read-only",
	.unload = plugin_unload,
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.config_help = CONFIG_HELP,
	.magic_config_key = "store",
	.get_ready = plugin_get_ready,
	.list_exports = plugin_list_exports,
	.default_export = plugin_default_export,
	.export_description = plugin_export_description,
	.open = plugin_open,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_multi_conn = plugin_yes,
	.can_extents = plugin_yes,
	.can_cache = plugin_can_cache,
	.pread = plugin_pread,
	.extents = plugin_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
