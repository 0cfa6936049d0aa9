/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit-store - look into a store's folder, without the server: for people who
 * want to know what is there, and for the day on which nothing else works.
 * Only "upkeep" changes anything.
 */
#include "dat.h"
#include "folder.h"
#include "held.h"
#include "journal.h"
#include "wallclock.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct store_sys *const sys = &store_sys_default;

static int fail(const char *what, int err)
{
	fprintf(stderr, "godwit-store: %s: %s\n", what,
		err == -EBADMSG ? "damaged, or not a store" : strerror(-err));
	return 1;
}

/* What is shown is not all there was. */
static int warn_damaged(const char *file)
{
	if (file)
		fprintf(stderr, "godwit-store: %s is damaged or cannot be read back; what follows it is left out\n", file);
	return file != NULL;
}

static int fail_dir(const char *dir, int err)
{
	char file[STORE_FILE_NAME_BYTES];

	if ((err != -EBADMSG && err != -EIO) || store_damaged_file(dir, sys, file) < 0)
		return fail(dir, err);
	fprintf(stderr, "godwit-store: %s/%s: damaged or cannot be read back\n", dir, file);
	return 1;
}

/* --- points, disks, files ---------------------------------------------------------- */

static int verb_points(const char *dir)
{
	struct store_points *p;
	char time[WALLCLOCK_TEXT_LEN + 1];
	size_t i;
	int err = store_points_open(dir, sys, &p);

	if (err < 0)
		return fail_dir(dir, err);
	for (i = 0; i < store_points_count(p); i++) {
		const struct store_epoch *e = store_points_get(p, i);

		printf("%10" PRIu64 "  %s%s%s\n", e->epoch, wallclock_format(e->time_us, time),
		       e->flags & STORE_EPOCH_LABELLED ? "  " : "", e->label);
	}
	err = warn_damaged(store_points_damaged(p));
	store_points_close(p);
	return err;
}

static void print_run(const struct run *r)
{
	struct run_file f;
	size_t i;

	printf("run %" PRIu64 "-%" PRIu64 " generation %" PRIu32 ": %" PRIu64 " entries, %zu points, %" PRIu64 " bytes\n",
	       r->from, r->to, r->gen, r->entry_count, r->point_count, r->file_bytes);
	for (i = 0; i < r->file_count; i++) {
		run_file(r, i, &f);
		printf("    dat-%08" PRIx32 ": %" PRIu64 " bytes, %.1f %% needed, to epoch %" PRIu64 "\n", f.number,
		       f.size_bytes, 100.0 * (double)f.live_bytes / (double)f.size_bytes, f.last_epoch);
	}
}

static int verb_files(const char *dir)
{
	struct tail_journals tail;
	struct folder *f;
	size_t i;
	int err = journal_look(sys, dir, true, EPOCH_MAX, &f, &tail);

	if (err < 0)
		return fail_dir(dir, err);
	for (i = 0; i < f->run_count; i++)
		print_run(f->runs[i]);
	for (i = 0; i < tail.count; i++)
		printf("journal dat-%08" PRIx32 ": epochs %" PRIu64 "-%" PRIu64 ", %zu entries, %" PRIu64 " bytes\n",
		       tail.list[i].number, tail.list[i].first_epoch, tail.list[i].last_epoch,
		       tail.list[i].entries.len / ENTRY_BYTES, tail.list[i].size_bytes);
	printf("%zu superseded runs, %zu dead and %zu headless data files\n", f->superseded_count, f->dead_count,
	       f->broken_count);
	err = warn_damaged(f->damaged[0] ? f->damaged : NULL);
	journal_tail_done(&tail);
	folder_close(f);
	return err;
}

static int verb_disks(const char *dir)
{
	struct store_disk disks[DISKS_MAX];
	struct store_reader *r;
	char id[UUID_TEXT_LEN + 1];
	size_t i, count;
	int err = store_reader_open(dir, sys, 0, &r);

	if (err < 0)
		return fail_dir(dir, err);
	count = store_reader_disks(r, disks, DISKS_MAX);
	for (i = 0; i < count; i++)
		printf("%3u  %s  %" PRIu64 " bytes, sectors of %u, %s\n", disks[i].disk, uuid_format(&disks[i].id, id),
		       disks[i].size_bytes, disks[i].sector_bytes, disks[i].name);
	store_reader_close(r);
	return 0;
}

/* --- dump ---------------------------------------------------------------------------- */

static void print_record(const struct record *r, uint64_t position)
{
	static const char *const types[] = { "?", "data", "zero", "disk", "commit" };

	printf("%12" PRIu64 "  %-6s  %" PRIu64 ".%" PRIu64 "  ", position, types[r->type], version_epoch(r->version),
	       r->version & VERSION_SEQ_MAX);
	if (r->type == RECORD_COMMIT)
		printf("%" PRIu64 " records, time %" PRIu64 ", flags %u\n", r->length_bytes, r->offset_bytes, r->codec);
	else
		printf("disk %u, %" PRIu64 " + %" PRIu64 ", codec %u, %" PRIu32 " stored, %016" PRIx64 "\n", r->disk,
		       r->offset_bytes, r->length_bytes, r->codec, r->stored_bytes, r->checksum);
}

static int dump_data(const char *dir, uint32_t number)
{
	struct dat_walk w;
	struct record r;
	struct dat d;
	uint64_t position, size = 0;
	const uint8_t *payload;
	int err = dat_open(sys, dir, number, &d);

	if (err < 0)
		return fail("data file", err);
	printf("data file %08" PRIx32 ", first epoch %" PRIu64 "\n", number, d.header.first_epoch);
	err = dat_walk_begin(&d, &w);
	while (err == 0 && (err = dat_walk_next(&w, false, &r, &position, &payload)) > 0) {
		print_record(&r, position);
		err = 0;
	}
	if (err == 0)
		err = sys->size(sys, d.fd, &size);
	if (size > w.position)
		printf("%12" PRIu64 "  %" PRIu64 " bytes that are no record\n", w.position, size - w.position);
	dat_walk_end(&w);
	dat_close(&d);
	return err < 0 ? fail("data file", err) : 0;
}

static int dump_run(const char *dir, const char *name)
{
	struct entry e;
	struct run *r;
	uint64_t i, damaged = 0;
	int err = run_open(sys, dir, name, &r);

	if (err < 0)
		return fail(name, err);
	print_run(r);
	for (i = 0; i < r->entry_count; i++) {
		if (run_entry(r, i, &e) < 0) {
			damaged++;
			continue;
		}
		printf("level %u disk %u block %" PRIu64 " sectors %u+%u  %" PRIu64 ".%" PRIu64 "  ", key_level(e.key),
		       key_disk(e.key), key_index(e.key), e.first, e.count, version_epoch(e.version),
		       e.version & VERSION_SEQ_MAX);
		if (e.flags & ENTRY_ZERO)
			printf("zero\n");
		else
			printf("dat-%08" PRIx32 " at %" PRIu64 ", %" PRIu32 " stored, codec %u\n", e.file,
			       (uint64_t)e.position << POSITION_SHIFT, e.stored_bytes, e.codec);
	}
	run_close(r);
	if (damaged)
		fprintf(stderr, "godwit-store: %" PRIu64 " entries lie in damaged blocks\n", damaged);
	return damaged != 0;
}

static int verb_dump(const char *path)
{
	char *for_dir = strdup(path), *for_name = strdup(path);
	const char *dir, *name;
	uint32_t number;
	int status;

	if (!for_dir || !for_name)
		abort();
	dir = dirname(for_dir);
	name = basename(for_name);
	status = data_name_parse(name, &number) ? dump_data(dir, number) : dump_run(dir, name);
	free(for_dir);
	free(for_name);
	return status;
}

/* --- check, upkeep, read ----------------------------------------------------------------- */

static void print_damage(void *context, const struct store_damage *d)
{
	printf("%s: disk %u, %" PRIu64 " + %" PRIu32 ", seen by the points from epoch %" PRIu64 " to %" PRIu64 "\n",
	       d->file, d->disk, d->offset_bytes, d->length_bytes, d->first_epoch, d->last_epoch);
}

static int verb_check(const char *dir)
{
	uint64_t bytes, damaged;
	int err = store_scrub(dir, sys, &(struct store_scrub_options){ .report = print_damage }, &bytes, &damaged);

	if (err < 0)
		return fail_dir(dir, err);
	printf("%" PRIu64 " bytes read, %" PRIu64 " places damaged\n", bytes, damaged);
	return damaged != 0;
}

static int verb_upkeep(const char *dir)
{
	struct store_upkeep_options o = { .now_us = wallclock_now_us() };
	struct bytes held = { 0 };
	struct store_upkeep_result r;
	char unreadable[PATH_MAX];
	int err = held_by_launches(dir, &held, unreadable, sizeof(unreadable));

	if (err < 0) {
		bytes_done(&held);
		fprintf(stderr, "godwit-store: %s: %s: which point this launch needs cannot be told, so nothing is done\n",
			unreadable, err == -EBADMSG ? "damaged" : strerror(-err));
		return 1;
	}
	o.held = (const void *)held.data;
	o.held_count = held.len / sizeof(*o.held);
	err = store_upkeep(dir, sys, &o, &r);
	bytes_done(&held);
	if (err < 0)
		return fail_dir(dir, err);
	printf("%" PRIu64 " runs merged, %" PRIu64 " points expired, %" PRIu64 " bytes freed, %" PRIu64
	       " rewritten%s\n", r.runs_merged, r.points_expired, r.bytes_freed, r.bytes_rewritten,
	       r.more ? ", more to do" : "");
	return 0;
}

static int copy_out(struct store_reader *r, uint16_t disk, uint64_t size)
{
	static uint8_t buf[4 * MIB];
	uint64_t at;

	for (at = 0; at < size;) {
		uint32_t part = (uint32_t)MIN(size - at, sizeof(buf));
		int err = store_read(r, disk, at, part, buf);

		if (err < 0)
			return fail("read", err);
		if (fwrite(buf, 1, part, stdout) != part)
			return fail("standard output", -errno);
		at += part;
	}
	return fflush(stdout) == 0 ? 0 : fail("standard output", -errno);
}

static int verb_read(const char *dir, const char *epoch, const char *disk)
{
	struct store_disk disks[DISKS_MAX];
	struct store_reader *r;
	size_t i, count;
	int status = 1, err = store_reader_open(dir, sys, strtoull(epoch, NULL, 10), &r);

	if (err < 0)
		return fail_dir(dir, err);
	count = store_reader_disks(r, disks, DISKS_MAX);
	for (i = 0; i < count && disks[i].disk != strtoul(disk, NULL, 10); i++)
		;
	if (i < count)
		status = copy_out(r, disks[i].disk, disks[i].size_bytes);
	else
		fprintf(stderr, "godwit-store: there is no disk %s at this point\n", disk);
	store_reader_close(r);
	return status;
}

static int usage(FILE *to)
{
	fprintf(to, "godwit-store points|disks|files|check|upkeep FOLDER\n"
		    "godwit-store dump FILE\n"
		    "godwit-store read FOLDER EPOCH DISK >IMAGE      (epoch 0: the newest point)\n");
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const char *path);
	} verbs[] = {
		{ "points", verb_points }, { "disks", verb_disks },   { "files", verb_files },
		{ "check", verb_check },   { "upkeep", verb_upkeep }, { "dump", verb_dump },
	};
	size_t i;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	if (argc == 5 && strcmp(argv[1], "read") == 0)
		return verb_read(argv[2], argv[3], argv[4]);
	for (i = 0; argc == 3 && i < ARRAY_LEN(verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argv[2]);
	}
	return usage(stderr);
}
