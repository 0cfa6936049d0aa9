/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit export - a disk at a point, as an image file.
 *
 * The server shows the disk over NBD; qemu-img (or nbdcopy, for raw) copies it
 * into FILE.part, which becomes FILE when it is complete and on disk.  Whatever
 * happens, export and FILE.part are gone in the end.
 */
#include "api.h"
#include "exports.h"
#include "fileio.h"
#include "instance.h"
#include "output.h"
#include "program.h"
#include "progress.h"
#include "show.h"
#include "when.h"
#include "words.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct job {
	struct cli *c;
	const char *machine, *format, *file;
	char *part, *folder;
	const char *disk_name, *uri; /* borrowed from the export's answer */
	uint64_t size_bytes;
};

static bool known_format(const char *format)
{
	return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 || strcmp(format, "vmdk") == 0 ||
	       strcmp(format, "vhdx") == 0;
}

/* --- before anything is made ------------------------------------------------------------ */

static int check_file(const struct job *j)
{
	struct stat st;

	if (lstat(j->file, &st) == 0 && !S_ISREG(st.st_mode))
		return cli_fail_errno(j->c, j->file, S_ISDIR(st.st_mode) ? -EISDIR : -EEXIST);
	if (access(j->file, F_OK) == 0 && !cli_switch(j->c, "force"))
		return cli_fail_message(j->c, MSG_FILE_THERE, "file", j->file, NULL);
	if (access(j->folder, W_OK) < 0)
		return cli_fail_message(j->c, MSG_FOLDER_UNUSABLE, "folder", j->folder, "reason", strerror(errno), NULL);
	if (!program_in_path("qemu-img"))
		return cli_fail_message(j->c, MSG_TOOL_MISSING, "tool", "qemu-img", "package", "qemu-utils", NULL);
	return CLI_DONE;
}

/* --- the copy --------------------------------------------------------------------------------- */

/* The last "(12.34/100%)" of @text, in hundredths of a percent; -1: none. */
static int parse_progress(const char *text)
{
	const char *open = strrchr(text, '(');
	double percent;

	if (!open || sscanf(open, "(%lf/100%%)", &percent) != 1 || percent < 0 || percent > 100)
		return -1;
	return (int)(percent * 100);
}

static void show_progress(const struct job *j, struct progress *p, int hundredths)
{
	uint64_t done = (uint64_t)((double)j->size_bytes * hundredths / 10000);
	char note[WORDS_MAX], left[SHOW_TEXT_MAX];

	snprintf(note, sizeof(note), say(j->c, "%u %%, %s left", "%u %%、残り %s"),
		 MIN((unsigned int)hundredths / 100, 99), show_bytes(j->size_bytes - done, left));
	progress_update(p, basename(j->file), done, j->size_bytes, note);
}

static void watch_copy(const struct job *j, int fd)
{
	char text[512];
	struct progress p;
	size_t used = 0;

	progress_begin(&p);
	for (;;) {
		ssize_t n = read(fd, text + used, sizeof(text) - 1 - used);
		int hundredths;

		if (n < 0 && errno == EINTR && !interrupted())
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
		text[used] = '\0';
		hundredths = parse_progress(text);
		if (hundredths >= 0 && hundredths < 10000)
			show_progress(j, &p, hundredths);
		/* The beginning of the next one may be there already. */
		if (used > sizeof(text) / 2) {
			memmove(text, text + used - 32, 32);
			used = 32;
		}
	}
	progress_clear(&p);
}

static int copy(const struct job *j)
{
	const char *const argv[] = { "qemu-img", "convert", "-p", "-W", "-m", "16", "-f", "raw", "-O", j->format,
				     "--image-opts", NULL, NULL, NULL };
	const char *words[ARRAY_LEN(argv)];
	size_t n = 10; /* without --image-opts: the source is a plain URI */
	pid_t pid;
	int fd, r;

	memcpy(words, argv, sizeof(argv));
	words[n++] = j->uri;
	words[n++] = j->part;
	words[n] = NULL;
	r = program_start(words, &pid, &fd);
	if (r < 0)
		return cli_fail_errno(j->c, "qemu-img", r);
	watch_copy(j, fd);
	close(fd);
	if (interrupted()) /* while it was watched: it does not know */
		(void)kill(pid, SIGTERM);
	r = program_wait(pid);
	return interrupted() ? interrupt_status() : r == 0 ? CLI_DONE : CLI_FAILED;
}

/* The image is on disk before it has its name. */
static int put_in_place(const struct job *j)
{
	int fd = open(j->part, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	if (r == 0 && rename(j->part, j->file) < 0)
		r = -errno;
	if (r == 0)
		r = fileio_fsync_dir(j->folder);
	return r < 0 ? cli_fail_errno(j->c, j->file, r) : CLI_DONE;
}

static void show_result(const struct job *j, const json_t *served)
{
	json_t *image = json_pack("{s:s, s:s, s:s, s:s, s:I, s:O}", "machine", j->machine, "disk", j->disk_name, "file",
				  j->file, "format", j->format, "size_bytes", (json_int_t)j->size_bytes, "point",
				  json_object_get(served, "point"));

	j->c->output->image(j->c, image);
	json_decref(image);
}

static int check_room(const struct job *j)
{
	struct statvfs fs;
	uint64_t needed = exports_data_bytes(j->uri, j->size_bytes), room;
	char have[SHOW_TEXT_MAX], want[SHOW_TEXT_MAX];

	if (statvfs(j->folder, &fs) < 0)
		return CLI_DONE;
	needed += needed / 128; /* the formats' own tables */
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room >= needed)
		return CLI_DONE;
	return cli_fail_message(j->c, MSG_FILE_NO_ROOM, "folder", j->folder, "free", show_bytes(room, have), "needed",
				show_bytes(needed, want), NULL);
}

static int copy_served(struct job *j, const json_t *served)
{
	const json_t *disk = json_array_get(get_array(served, "disks"), 0);
	int r;

	j->disk_name = get_text(disk, "name", "?");
	j->uri = get_text(disk, "uri", "");
	j->size_bytes = get_u64(disk, "size_bytes");
	r = exports_reachable(j->c, j->uri);
	if (r == CLI_DONE)
		r = check_room(j);
	if (r == CLI_DONE && interrupted())
		r = interrupt_status();
	if (r == CLI_DONE)
		r = copy(j);
	if (r == CLI_DONE)
		r = put_in_place(j);
	if (r == CLI_DONE)
		show_result(j, served);
	return r;
}

static int run_job(struct job *j)
{
	char *disk = NULL, *at;
	json_t *served;
	int r = check_file(j);

	if (r != CLI_DONE)
		return r;
	r = exports_choose_disk(j->c, j->machine, cli_option(j->c, "disk"), &disk);
	if (r != CLI_DONE)
		return r;
	interrupt_catch();
	at = when_at(j->c);
	served = exports_start(j->c, j->machine, at, disk, false);
	free(at);
	free(disk);
	if (!served)
		return CLI_FAILED;
	r = copy_served(j, served);
	(void)unlink(j->part);
	exports_stop(j->c, get_text(served, "export", ""));
	json_decref(served);
	return r;
}

static char *folder_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	if (!slash)
		return text_copy(".");
	return slash == file ? text_copy("/") : text_format("%.*s", (int)(slash - file), file);
}

static int run_export(struct cli *c)
{
	struct job j = { .c = c, .machine = c->operands[0], .file = c->operands[1], .format = cli_option(c, "format") };
	int r;

	if (!j.format)
		j.format = "raw";
	if (!known_format(j.format))
		return cli_usage(c, "--format is raw, qcow2, vmdk or vhdx, not \"%s\"", j.format);
	j.part = text_format("%s.part", j.file);
	j.folder = folder_of(j.file);
	r = run_job(&j);
	free(j.part);
	free(j.folder);
	return r;
}

static const struct verb_option options[] = {
	{ "disk", "DISK", "which disk: device, name or id; not needed if there is one" },
	{ "at", "latest|POINT|TIME", "the moment: a point's id or label, or a time (latest)", "latest" },
	{ "format", "raw|qcow2|vmdk|vhdx", "of the image (raw)", "raw qcow2 vmdk vhdx" },
	{ "force", NULL, "replace the file if it is there" },
	{ "listen", "ADDRESS", "where the replication server offers the disk, if it is another machine" },
	{ NULL },
};

const struct verb verb_export = {
	.name = "export",
	.operands = "NAME FILE",
	.summary = "Write a disk, as it was at some moment, into an image file",
	.details = "The file appears when it is complete. `godwit points NAME` lists the moments; a TIME takes the\n"
		   "newest point at or before it, `now` the newest there is; of times before the first point and\n"
		   "after the last one there is none.",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 2,
	.operands_max = 2,
	.first = OPERAND_MACHINE,
	.others = OPERAND_FILE,
	.run = run_export,
};
