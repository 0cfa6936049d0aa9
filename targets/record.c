/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"
#include "daemon.h"
#include "fileio.h"
#include "link.h"
#include "log.h"
#include "utf8.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_LINES_MAX 500u
#define LINE_BYTES 1024u
#define RESERVE_BYTES ((off_t)(512 * KIB))
#define RESERVE_SUFFIX ".room"
#define ASKED_AGO_MAX_US (60 * USEC_PER_SEC)

static const struct {
	const char *name;
	unsigned int next; /* bits: the states that may follow */
} states[LAUNCH_STATES] = {
#define TO(state) (1u << LAUNCH_##state)
	[LAUNCH_PREPARING] = { "preparing", TO(STARTING) | TO(WRITING) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_STARTING] = { "starting", TO(BOOTING) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_BOOTING] = { "booting", TO(BOOTED) | TO(KEEPING) | TO(STOPPED) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_BOOTED] = { "booted", TO(KEEPING) | TO(STOPPED) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_KEEPING] = { "keeping", TO(STANDING) | TO(BOOTED) | TO(STOPPED) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_STANDING] = { "standing", TO(STOPPED) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_STOPPED] = { "stopped", TO(STANDING) | TO(BOOTED) | TO(FAILED) | TO(ENDED) },
	[LAUNCH_WRITING] = { "writing", TO(FAILED) | TO(ENDED) },
	[LAUNCH_ENDED] = { "ended", 0 },
	[LAUNCH_FAILED] = { "failed", 0 },
#undef TO
};

struct record {
	char path[PATH_MAX];
	enum launch_state state;
	uint64_t asked_us; /* monotonic */
	json_t *shown;
};

/* Room for the record, so that a machine that has filled the file system can still say so.
 * It is given away for a record that has none, and taken again with what is left after it. */
static void keep_reserve(const struct record *r)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s" RESERVE_SUFFIX, r->path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (posix_fallocate(fd, 0, RESERVE_BYTES))
		(void)unlink(path);
	close(fd);
}

static void give_reserve(const struct record *r)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s" RESERVE_SUFFIX, r->path);
	(void)unlink(path);
}

static void save(struct record *r)
{
	char *text = json_dumps(r->shown, JSON_INDENT(1));
	int err = text ? fileio_replace(r->path, text, strlen(text), 0600) : -ENOMEM;

	if (err == -ENOSPC) {
		give_reserve(r);
		err = fileio_replace(r->path, text, strlen(text), 0600);
	}
	if (!err && states[r->state].next)
		keep_reserve(r);
	else
		give_reserve(r);
	if (err)
		log_warn("%s: %s", r->path, strerror(-err));
	free(text);
}

static json_t *now_text(void)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	return json_string(wallclock_format(wallclock_now_us(), text));
}

/* What a machine, its disks or a tool said may be in it. */
static void add_line(struct record *r, const char *said)
{
	json_t *lines = json_object_get(r->shown, "log");
	char message[LINE_BYTES];

	utf8_clean(said, message, sizeof(message));
	log_info("%s", message);
	while (json_array_size(lines) >= LOG_LINES_MAX) /* what is older makes room */
		json_array_remove(lines, 0);
	json_array_append_new(lines, json_pack("{s:o,s:s}", "time", now_text(), "message", message));
}

static void set_boot_id(struct record *r)
{
	char boot[64];

	daemon_boot_id(boot);
	json_object_set_new(r->shown, "boot_id", json_string(boot));
}

int record_new(const char *folder, const struct launch_spec *spec, struct record **ret)
{
	static const char *const kinds[] = { "test", "cutover", "drill", "images" };
	char id[UUID_TEXT_LEN + 1], asked[WALLCLOCK_TEXT_LEN + 1];
	uint64_t ago_us;
	struct record *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	snprintf(r->path, sizeof(r->path), "%s/launch.json", folder);
	r->asked_us = monotonic_now_us();
	ago_us = spec->asked_us && spec->asked_us < r->asked_us ? r->asked_us - spec->asked_us : 0;
	if (ago_us > ASKED_AGO_MAX_US) /* of another boot of this machine */
		ago_us = 0;
	r->asked_us -= ago_us;
	wallclock_format(wallclock_now_us() - ago_us, asked);
	r->shown = json_pack("{s:s,s:s,s:s,s:s,s:o,s:{s:s},s:{},s:[]}", "launch", uuid_format(&spec->id, id), "machine",
			     spec->machine, "kind", kinds[spec->kind], "state", states[r->state].name, "since",
			     now_text(), "times", "asked", asked, "milliseconds", "log");
	if (!r->shown) {
		free(r);
		return -ENOMEM;
	}
	set_boot_id(r);
	*ret = r;
	return 0;
}

static int take_disks(const json_t *list, struct target_disk disks[DISKS_MAX], unsigned int *ret_count)
{
	const json_t *d;
	size_t i;

	if (json_array_size(list) == 0 || json_array_size(list) > DISKS_MAX)
		return -EINVAL;
	json_array_foreach(list, i, d)
		disks[i] = (struct target_disk){
			.disk = (unsigned int)json_integer_value(json_object_get(d, "disk")),
			.size_bytes = (uint64_t)json_integer_value(json_object_get(d, "size_bytes")),
			.sector_bytes = (unsigned int)json_integer_value(json_object_get(d, "sector_bytes")),
		};
	*ret_count = (unsigned int)json_array_size(list);
	return 0;
}

static bool is_in(const json_t *shown, enum launch_state state)
{
	return strcmp(json_string_value(json_object_get(shown, "state")) ?: "", states[state].name) == 0;
}

static bool is_true(const json_t *shown, const char *member)
{
	return json_is_true(json_object_get(shown, member));
}

static bool is_somebodys(const json_t *shown)
{
	const char *kind = json_string_value(json_object_get(shown, "kind")) ?: "";

	if (is_in(shown, LAUNCH_FAILED) || is_in(shown, LAUNCH_ENDED)) /* it is asked for again */
		return is_true(shown, "disks_kept");
	if (is_in(shown, LAUNCH_BOOTING) && json_object_get(shown, "not_proved"))
		return true;
	return is_in(shown, LAUNCH_STANDING) || is_in(shown, LAUNCH_STOPPED) || is_in(shown, LAUNCH_KEEPING) ||
	       (is_in(shown, LAUNCH_BOOTED) &&
		(strcmp(kind, "cutover") == 0 || is_true(shown, "to_be_kept")));
}

static bool has_stood(const json_t *shown)
{
	return is_in(shown, LAUNCH_STANDING) || is_true(shown, "has_stood") ||
	       (is_in(shown, LAUNCH_STOPPED) && !is_true(shown, "needs_store"));
}

static int take_machine(const json_t *shown, struct target_machine *m)
{
	const json_t *boot = json_object_get(shown, "boot");
	const char *bus = json_string_value(json_object_get(shown, "bus")) ?: "";
	const char *firmware = json_string_value(json_object_get(boot, "firmware")) ?: "";

	if (!is_somebodys(shown))
		return -ENOENT;
	m->firmware = strcmp(firmware, bootdisk_firmware_name(FIRMWARE_UEFI)) == 0 ? FIRMWARE_UEFI : FIRMWARE_BIOS;
	m->boot_disk = (unsigned int)json_integer_value(json_object_get(boot, "disk"));
	for (m->bus = 0; m->bus < BUSES; m->bus++)
		if (strcmp(bus, hardware_bus_name(m->bus)) == 0)
			return 0;
	return -EINVAL;
}

int record_resume(const char *folder, struct record **ret, struct target_machine *m,
		  struct target_disk disks[DISKS_MAX], unsigned int *ret_count, bool *ret_stands)
{
	struct record *r = calloc(1, sizeof(*r));
	bool stands, was_over;
	int err;

	if (!r)
		return -ENOMEM;
	snprintf(r->path, sizeof(r->path), "%s/launch.json", folder);
	r->asked_us = monotonic_now_us();
	r->state = LAUNCH_STOPPED;
	r->shown = json_load_file(r->path, JSON_REJECT_DUPLICATES, NULL);
	if (!r->shown && access(r->path, F_OK) && errno == ENOENT)
		err = -ENOENT;
	else if (!json_is_object(r->shown) || !json_is_array(json_object_get(r->shown, "log")))
		err = -EINVAL;
	else
		err = take_machine(r->shown, m) ?: take_disks(json_object_get(r->shown, "disks"), disks, ret_count);
	if (!err && m->boot_disk >= *ret_count)
		err = -EINVAL;
	if (err) {
		record_free(r);
		return err;
	}
	set_boot_id(r);
	stands = has_stood(r->shown);
	was_over = is_in(r->shown, LAUNCH_FAILED) || is_in(r->shown, LAUNCH_ENDED);
	json_object_del(r->shown, "fault");
	json_object_del(r->shown, "disks_kept");
	record_forwards(r, NULL);
	record_needs_store(r, !stands);
	record_state(r, LAUNCH_STOPPED, was_over ? "it was asked for again: starting it from its own disks" :
						   "the replication server's machine was restarted: starting it again");
	*ret_stands = stands;
	*ret = r;
	return 0;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	give_reserve(r);
	json_decref(r->shown);
	free(r);
}

static void enter(struct record *r, enum launch_state state)
{
	assert(state == r->state || (states[r->state].next & 1u << state));
	r->state = state;
	json_object_set_new(r->shown, "state", json_string(states[state].name));
	if (state == LAUNCH_STANDING)
		json_object_set_new(r->shown, "has_stood", json_true());
	json_object_set_new(r->shown, "since", now_text());
}

void record_state(struct record *r, enum launch_state state, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	enter(r, state);
	add_line(r, text);
	save(r);
}

enum launch_state record_current(const struct record *r)
{
	return r->state;
}

void record_line(struct record *r, const char *text)
{
	add_line(r, text);
	save(r);
}

void record_note(struct record *r, const struct fault *f)
{
	char text[512];

	record_line(r, fault_format(f, LANGUAGE_EN, text, sizeof(text)));
}

void record_fail(struct record *r, const struct fault *f)
{
	json_object_set_new(r->shown, "fault", fault_to_json(f));
	enter(r, LAUNCH_FAILED);
	record_note(r, f);
}

void record_not_proved(struct record *r, const struct fault *f)
{
	json_object_set_new(r->shown, "not_proved", fault_to_json(f));
	record_note(r, f);
}

void record_disks_kept(struct record *r)
{
	char folder[PATH_MAX] = "", text[512];
	struct fault f;

	(void)!getcwd(folder, sizeof(folder)); /* the launch's (main.c) */
	(void)fault_set(&f, 0, MSG_LAUNCH_DISKS_KEPT, "folder", folder, NULL);
	add_line(r, fault_format(&f, LANGUAGE_EN, text, sizeof(text)));
	json_object_set_new(r->shown, "disks_kept", json_true());
}

bool record_has_disks(const char *folder)
{
	char pattern[PATH_MAX];
	glob_t found;
	bool any;

	snprintf(pattern, sizeof(pattern), "%s/disk*.qcow2", folder);
	any = glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &found) != GLOB_NOMATCH; /* in doubt there are */
	globfree(&found);
	return any;
}

/* Of what is there nothing goes: with it a machine is started again. */
void record_refused(const char *folder, const struct fault *f)
{
	struct record *r = calloc(1, sizeof(*r));

	if (!r)
		return;
	snprintf(r->path, sizeof(r->path), "%s/launch.json", folder);
	r->state = LAUNCH_STOPPED;
	r->shown = json_load_file(r->path, JSON_REJECT_DUPLICATES, NULL);
	if (!r->shown && access(r->path, F_OK) && errno == ENOENT)
		r->shown = json_pack("{s:[]}", "log");
	if (json_is_object(r->shown)) { /* else it cannot be read, and is let alone */
		if (record_has_disks(folder))
			record_disks_kept(r);
		record_fail(r, f);
	}
	record_free(r);
}

void record_point(struct record *r, const struct store_epoch *point)
{
	char time[WALLCLOCK_TEXT_LEN + 1];

	json_object_set_new(r->shown, "point",
			    json_pack("{s:I,s:s}", "epoch", (json_int_t)point->epoch, "time",
				      wallclock_format(point->time_us, time)));
}

void record_boot(struct record *r, const char *firmware, unsigned int disk, bool gpt)
{
	json_object_set_new(r->shown, "boot",
			    json_pack("{s:s,s:i,s:b}", "firmware", firmware, "disk", (int)disk, "gpt", gpt));
}

/* When something happened first. */
static void note_time(struct record *r, const char *what)
{
	json_t *times = json_object_get(r->shown, "times");

	if (json_object_get(times, what))
		return;
	json_object_set_new(times, what, now_text());
	json_object_set_new(json_object_get(r->shown, "milliseconds"), what,
			    json_integer((json_int_t)((monotonic_now_us() - r->asked_us) / USEC_PER_MSEC)));
	save(r);
}

void record_started(struct record *r)
{
	note_time(r, "started");
}

void record_output(struct record *r)
{
	note_time(r, "output");
}

void record_kernel(struct record *r)
{
	note_time(r, "kernel");
}

void record_proof(struct record *r, const char *by)
{
	json_object_set_new(r->shown, "proof", json_string(by));
	json_object_del(r->shown, "not_proved"); /* it was only slow */
	note_time(r, "proof");
}

void record_progress(struct record *r, uint64_t done_bytes, uint64_t total_bytes)
{
	json_object_set_new(r->shown, "progress",
			    json_pack("{s:I,s:I}", "done_bytes", (json_int_t)done_bytes, "total_bytes",
				      (json_int_t)total_bytes));
	save(r);
}

void record_forwards(struct record *r, const struct forwards *made)
{
	json_t *list = json_array();
	char line[96];

	json_object_del(r->shown, "forwards");
	for (unsigned int i = 0; made && i < made->count; i++) {
		const struct forward *w = &made->list[i];

		json_array_append_new(list, json_pack("{s:s,s:i,s:i}", "address", w->address, "port", w->port,
						      "guest_port", w->guest_port));
		snprintf(line, sizeof(line), "its port %u is reached at %s:%u of this machine", w->guest_port, w->address,
			 w->port);
		add_line(r, line);
	}
	if (json_array_size(list)) {
		json_object_set(r->shown, "forwards", list);
		save(r);
	}
	json_decref(list);
}

void record_images(struct record *r, const char *folder, const char *format)
{
	json_object_set_new(r->shown, "images",
			    json_pack("{s:s,s:s,s:b}", "folder", folder, "format", format, "written", 0));
	save(r);
}

void record_written(struct record *r)
{
	json_object_set_new(json_object_get(r->shown, "images"), "written", json_true());
	save(r);
}

void record_command(struct record *r, const char *name, bool pending, int status, const char *output)
{
	json_t *j = json_pack("{s:b,s:s}", "pending", pending, "output", output);

	if (status >= 0)
		json_object_set_new(j, "status", json_integer(status));
	json_object_set_new(r->shown, name, j);
	save(r);
}

void record_machine(struct record *r, const struct target_machine *m)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < m->disk_count; i++)
		json_array_append_new(list, json_pack("{s:i,s:I,s:i}", "disk", (int)m->disks[i].disk, "size_bytes",
						      (json_int_t)m->disks[i].size_bytes, "sector_bytes",
						      (int)m->disks[i].sector_bytes));
	json_object_set_new(r->shown, "bus", json_string(hardware_bus_name(m->bus)));
	json_object_set_new(r->shown, "disks", list);
}

void record_to_be_kept(struct record *r)
{
	json_object_set_new(r->shown, "to_be_kept", json_true());
}

void record_needs_store(struct record *r, bool yes)
{
	if (yes)
		json_object_set_new(r->shown, "needs_store", json_true());
	else
		json_object_del(r->shown, "needs_store");
}

void record_started_again(struct record *r)
{
	json_object_set_new(r->shown, "started_again", now_text());
	json_object_del(r->shown, "not_kept"); /* of the attempt before that */
}

void record_power_off(struct record *r, bool by_itself, unsigned int seconds, const char *line)
{
	json_object_set_new(r->shown, "power_off", json_pack("{s:b,s:i}", "by_itself", by_itself, "seconds", (int)seconds));
	record_line(r, line);
}

void record_not_kept(struct record *r, const char *reason)
{
	char text[FAULT_VALUE_MAX];

	json_object_set_new(r->shown, "not_kept", json_string(utf8_clean(reason, text, sizeof(text))));
}
