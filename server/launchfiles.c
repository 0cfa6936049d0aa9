/* SPDX-License-Identifier: Apache-2.0 */
#include "launchfiles.h"
#include "fileio.h"
#include "link.h"
#include "log.h"
#include "utf8.h"
#include "uuid.h"
#include "wallclock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_BYTES_MAX  (4 * MIB)
#define PICTURE_BYTES_MAX (16 * MIB)

int launchfiles_read(const char *path, json_t **ret)
{
	char *text;
	size_t len;
	json_t *j;
	int err = fileio_slurp(path, RECORD_BYTES_MAX, &text, &len);

	if (err)
		return err;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (!json_is_object(j)) {
		json_decref(j);
		return -EBADMSG;
	}
	*ret = j;
	return 0;
}

void launchfiles_program(const char *name, char *ret, size_t size)
{
	static const char *const beside[] = { "/../targets/", "/" };
	char exe[PATH_MAX - 64], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[MAX(n, 0)] = 0;
	slash = strrchr(exe, '/');
	for (unsigned int i = 0; slash && i < ARRAY_LEN(beside); i++) {
		snprintf(ret, size, "%.*s%s%s", (int)(slash - exe), exe, beside[i], name);
		if (access(ret, X_OK) == 0)
			return;
	}
	snprintf(ret, size, "%s", name);
}

/* --- the end ------------------------------------------------------------------------------ */

/* godwit-launch and what it starts have the folder as their working folder.  Somebody's
 * shell may be there, too: only what could be a machine's is ended. */
static bool is_of_launch(const char *pid, const char *folder)
{
	static const char *const names[] = { "qemu", "nbdkit", "godwit-launch", "godwit-convert" };
	char path[64], cwd[PATH_MAX], comm[32] = "";
	size_t len = strlen(folder);
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.16s/cwd", pid);
	n = readlink(path, cwd, sizeof(cwd) - 1);
	cwd[MAX(n, 0)] = 0;
	if (strncmp(cwd, folder, len) != 0 || (cwd[len] && strcmp(cwd + len, " (deleted)") != 0))
		return false;
	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	(void)!fileio_read_line(path, comm, sizeof(comm));
	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		if (strncmp(comm, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

void launchfiles_end_processes(const char *folder)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int pid = atoi(e->d_name);

		if (pid > 1 && is_of_launch(e->d_name, folder))
			(void)kill(pid, SIGKILL);
	}
	if (d)
		closedir(d);
}

static bool is_disk(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && strcmp(dot, ".qcow2") == 0;
}

static bool is_to_go(const char *name, bool keep_disks)
{
	const char *dot = strrchr(name, '.');

	if (strcmp(name, "control") == 0 || strcmp(name, "convert") == 0 || (dot && (strcmp(dot, ".sock") == 0 || strcmp(dot, ".room") == 0)))
		return true;
	if (keep_disks)
		return false;
	return strcmp(name, "vars.fd") == 0 || is_disk(name);
}

int launchfiles_has_disks(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int found = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!found && (errno = 0, e = readdir(d)))
		found = is_disk(e->d_name);
	if (!found)
		found = -errno;
	closedir(d);
	return found;
}

void launchfiles_clear(const char *folder, bool keep_disks)
{
	DIR *d = opendir(folder);
	char path[PATH_MAX];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (!is_to_go(e->d_name, keep_disks))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		(void)!fileio_remove_tree(path);
	}
	if (d)
		closedir(d);
}

void launchfiles_remove(const char *folder)
{
	int err = fileio_remove_tree(folder);

	if (err)
		log_warn("%s cannot be removed: %s", folder, strerror(-err));
}

void launchfiles_clear_images(const json_t *spec)
{
	const char *to = json_string_value(json_object_get(spec, "to"));
	const char *id = json_string_value(json_object_get(spec, "launch"));
	char work[PATH_MAX];
	struct uuid u;

	if (!to || !id || uuid_parse(id, &u))
		return;
	snprintf(work, sizeof(work), "%s.godwit-%s", to, id);
	launchfiles_remove(work);
}

static json_t *now_text(void)
{
	char text[WALLCLOCK_TEXT_LEN + 1];

	return json_string(wallclock_format(wallclock_now_us(), text));
}

static void add_line(json_t *log, const char *message)
{
	(void)json_array_append_new(log, json_pack("{s:o, s:s}", "time", now_text(), "message", message));
}

int launchfiles_bury(const char *path, const json_t *known, const json_t *spec, const struct fault *f, bool disks_kept)
{
	json_t *record, *log;
	char line[512] = "the machine is gone", folder[FAULT_VALUE_MAX], *text;
	struct fault kept;
	int err;

	if (launchfiles_read(path, &record))
		record = known ? json_deep_copy(known) :
			 json_pack("{s:O*, s:O*, s:O*, s:O*, s:{}, s:{}}", "launch", json_object_get(spec, "launch"),
				   "machine", json_object_get(spec, "machine"), "kind", json_object_get(spec, "kind"),
				   "point", json_object_get(spec, "point"), "times", "milliseconds");
	log = json_object_get(record, "log");
	if (!json_is_array(log)) {
		log = json_array();
		(void)json_object_set_new(record, "log", log);
	}
	if (f) {
		(void)json_object_set_new(record, "fault", fault_to_json(f));
		(void)fault_format(f, LANGUAGE_EN, line, sizeof(line));
	}
	add_line(log, line);
	if (disks_kept) {
		(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
		(void)fault_set(&kept, 0, MSG_LAUNCH_DISKS_KEPT, "folder", folder, NULL);
		add_line(log, fault_format(&kept, LANGUAGE_EN, line, sizeof(line)));
		(void)json_object_set_new(record, "disks_kept", json_true());
	}
	(void)json_object_set_new(record, "state", json_string(f ? "failed" : "ended"));
	(void)json_object_set_new(record, "since", now_text());
	text = json_dumps(record, JSON_INDENT(1));
	json_decref(record);
	err = text ? fileio_replace(path, text, strlen(text), 0600) : -ENOMEM;
	free(text);
	return err;
}

/* --- what it left -------------------------------------------------------------------------------- */

static size_t character_bytes(unsigned char first)
{
	return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/* May the @len bytes be the beginning of a longer character? */
static bool may_go_on(const char *s, size_t len)
{
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return false;
	return true;
}

/* One character of what a console said: itself, or '?' for what is none.  Control
 * characters are part of what a terminal is told, but for NUL.  0: it is cut off. */
static size_t copy_character(const char *s, size_t len, char *out, size_t *out_len)
{
	size_t n = character_bytes((unsigned char)*s);

	if (n > len && may_go_on(s, len))
		return 0;
	if (n == 1 && *s) {
		out[(*out_len)++] = *s;
		return 1;
	}
	if (n < 2 || n > len || !utf8_is_printable(s, n)) {
		out[(*out_len)++] = '?';
		return 1;
	}
	memcpy(out + *out_len, s, n);
	*out_len += n;
	return n;
}

static size_t make_text(const char *s, size_t len, char *out, size_t *ret_used)
{
	size_t at = 0, n = 0;

	while (at < len) {
		size_t used = copy_character(s + at, len - at, out, &n);

		if (!used) /* the rest comes with the next call */
			break;
		at += used;
	}
	*ret_used = at;
	return n;
}

json_t *launchfiles_text(const char *path, json_int_t from, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *raw = malloc(max), *text = malloc(max);
	json_int_t size = 0;
	off_t data;
	size_t used = 0, n = 0;
	ssize_t got = 0;
	struct stat st;
	json_t *j = NULL;

	if (fd >= 0 && fstat(fd, &st) == 0)
		size = st.st_size;
	if (from < 0)
		from = size > (json_int_t)max ? size - (json_int_t)max : 0;
	from = MIN(from, size);
	data = fd >= 0 ? lseek(fd, from, SEEK_DATA) : -1;
	from = MAX(from, (json_int_t)data); /* what it said long ago may be gone */
	if (raw && text) {
		if (fd >= 0)
			got = pread(fd, raw, max, from);
		if (got > 0)
			n = make_text(raw, (size_t)got, text, &used);
		j = json_pack("{s:o, s:I, s:I, s:I}", "text", json_stringn(text, n), "from", from, "next",
			      from + (json_int_t)used, "size", size);
	}
	free(raw);
	free(text);
	if (fd >= 0)
		close(fd);
	return j;
}

json_t *launchfiles_picture(const char *path)
{
	unsigned char *coded;
	json_t *j = NULL;
	char *bytes;
	size_t len;

	if (fileio_slurp(path, PICTURE_BYTES_MAX, &bytes, &len))
		return NULL;
	coded = len ? malloc((len + 2) / 3 * 4 + 1) : NULL;
	if (coded) {
		(void)EVP_EncodeBlock(coded, (const unsigned char *)bytes, (int)len);
		j = json_pack("{s:s}", "png", coded);
	}
	free(coded);
	free(bytes);
	return j;
}
