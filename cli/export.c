/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit export - a disk at a point, as an image file.
 *
 * The server shows the disk over NBD; qemu-img copies it into a file of this
 * command's own, FILE.part-XXXXXX, which becomes FILE when it is complete and on
 * disk.  So two exports to one name cannot mix: the second to end is refused, or
 * replaces the first whole (--force).  Whatever happens, export and FILE.part-XXXXXX
 * are gone in the end.
 *
 * Where FILE is a block device, its bytes are replaced in place, with --force only
 * and claimed, so that nothing that is mounted or otherwise in use is overwritten.
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
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct job {
	struct cli *c;
	const char *machine, *format, *file;
	char *part, *folder; /* part: NULL until it is made, and onto a disk */
	int disk_fd;	     /* the disk that is overwritten, or -1 */
	const char *disk_name, *uri; /* borrowed from the export's answer */
	uint64_t size_bytes;
};

static bool known_format(const char *format)
{
	return strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 || strcmp(format, "vmdk") == 0 ||
	       strcmp(format, "vhdx") == 0;
}

/* --- before anything is made ------------------------------------------------------------ */

/* Nothing else uses it, and nothing else can until we end. */
static int claim_disk(struct job *j)
{
	j->disk_fd = open(j->file, O_RDWR | O_EXCL | O_CLOEXEC);
	if (j->disk_fd < 0)
		return cli_fail_message(j->c, MSG_EXPORT_DISK_IN_USE, "disk", j->file, "reason", strerror(errno), NULL);
	return CLI_DONE;
}

static int check_disk(struct job *j)
{
	if (strcmp(j->format, "raw") != 0)
		return cli_usage(j->c, "onto a disk --format is raw, not \"%s\"", j->format);
	if (!cli_switch(j->c, "force"))
		return cli_fail_message(j->c, MSG_EXPORT_ONTO_DISK, "disk", j->file, NULL);
	return claim_disk(j);
}

static int check_regular(const struct job *j, bool there)
{
	if (there && !cli_switch(j->c, "force"))
		return cli_fail_message(j->c, MSG_FILE_THERE, "file", j->file, NULL);
	if (access(j->folder, W_OK) < 0)
		return cli_fail_message(j->c, MSG_FOLDER_UNUSABLE, "folder", j->folder, "reason", strerror(errno), NULL);
	return CLI_DONE;
}

static int check_file(struct job *j)
{
	struct stat st = { 0 };
	bool there = stat(j->file, &st) == 0 || lstat(j->file, &st) == 0;
	int r;

	if (there && S_ISBLK(st.st_mode))
		r = check_disk(j);
	else if (there && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		r = cli_fail_message(j->c, S_ISDIR(st.st_mode) ? MSG_EXPORT_IS_FOLDER : MSG_EXPORT_NOT_A_FILE, "file",
				     j->file, NULL);
	else
		r = check_regular(j, there);
	if (r == CLI_DONE && !program_in_path("qemu-img"))
		return cli_fail_message(j->c, MSG_TOOL_MISSING, "tool", "qemu-img", "package", "qemu-utils", NULL);
	return r;
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
	const char *const argv[] = { "qemu-img", "convert", "-p", "-W", "-m", "16", "-f", "raw", "-O", j->format };
	const char *words[ARRAY_LEN(argv) + 4];
	size_t n = ARRAY_LEN(argv);
	pid_t pid;
	int fd, r;

	memcpy(words, argv, sizeof(argv));
	if (!j->part)
		words[n++] = "-n"; /* it is there */
	words[n++] = j->uri;
	words[n++] = j->part ? j->part : j->file;
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

/* With the rights that a file has which the user makes. */
static int make_part(struct job *j)
{
	char *part = text_format("%s.part-XXXXXX", j->file);
	int fd = mkostemp(part, O_CLOEXEC), err = errno;
	mode_t mask = umask(0);

	(void)umask(mask);
	if (fd < 0) {
		free(part);
		return cli_fail_message(j->c, MSG_FOLDER_UNUSABLE, "folder", j->folder, "reason", strerror(err), NULL);
	}
	(void)fchmod(fd, 0666 & ~mask);
	close(fd);
	j->part = part;
	return CLI_DONE;
}

/* Without --force never over a file that has come meanwhile, such as another export's. */
static int take_name(const struct job *j)
{
	bool force = cli_switch(j->c, "force");

	if (renameat2(AT_FDCWD, j->part, AT_FDCWD, j->file, force ? 0 : RENAME_NOREPLACE) == 0)
		return 0;
	if (force || errno != EINVAL)
		return -errno;
	/* A file system that has no such thing, NFS for one. */
	if (access(j->file, F_OK) == 0)
		return -EEXIST;
	return rename(j->part, j->file) < 0 ? -errno : 0;
}

/* The image is on disk before it has its name. */
static int put_in_place(const struct job *j)
{
	int fd = open(j->part, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0 || fsync(fd) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	if (r == 0)
		r = take_name(j);
	if (r == 0)
		r = fileio_fsync_dir(j->folder);
	if (r == -EEXIST)
		return cli_fail_message(j->c, MSG_FILE_THERE, "file", j->file, NULL);
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

static int check_disk_room(const struct job *j)
{
	uint64_t room = 0;
	char have[SHOW_TEXT_MAX], want[SHOW_TEXT_MAX];

	if (ioctl(j->disk_fd, BLKGETSIZE64, &room) < 0)
		return cli_fail_errno(j->c, j->file, -errno);
	if (room >= j->size_bytes)
		return CLI_DONE;
	return cli_fail_message(j->c, MSG_EXPORT_DISK_TOO_SMALL, "disk", j->file, "size", show_bytes(room, have),
				"needed", show_bytes(j->size_bytes, want), NULL);
}

static int fill_disk(const struct job *j)
{
	int r = check_disk_room(j);

	if (r == CLI_DONE && interrupted())
		r = interrupt_status();
	if (r == CLI_DONE)
		r = copy(j);
	if (r == CLI_DONE && fsync(j->disk_fd) < 0)
		r = cli_fail_errno(j->c, j->file, -errno);
	return r;
}

static int make_file(struct job *j)
{
	int r = check_room(j);

	if (r == CLI_DONE && interrupted())
		r = interrupt_status();
	if (r == CLI_DONE)
		r = make_part(j);
	if (r == CLI_DONE)
		r = copy(j);
	if (r == CLI_DONE)
		r = put_in_place(j);
	if (j->part)
		(void)unlink(j->part);
	return r;
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
		r = j->disk_fd >= 0 ? fill_disk(j) : make_file(j);
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
	struct job j = { .c = c, .machine = c->operands[0], .file = c->operands[1], .format = cli_option(c, "format"),
			 .disk_fd = -1 };
	int r;

	if (!j.format)
		j.format = "raw";
	if (!known_format(j.format))
		return cli_usage(c, "--format is raw, qcow2, vmdk or vhdx, not \"%s\"", j.format);
	j.folder = folder_of(j.file);
	r = run_job(&j);
	if (j.disk_fd >= 0)
		close(j.disk_fd);
	free(j.part);
	free(j.folder);
	return r;
}

static const struct verb_option options[] = {
	{ "disk", "DISK", "which disk: device, name or id; not needed if there is one" },
	{ "at", "latest|POINT|TIME", "the moment: a point's id or label, or a time (latest)", "latest" },
	{ "format", "raw|qcow2|vmdk|vhdx", "of the image (raw)", "raw qcow2 vmdk vhdx" },
	{ "force", NULL, "replace the file if it is there; overwrite the disk" },
	{ "listen", "ADDRESS", "where the replication server offers the disk, if it is another machine" },
	{ NULL },
};

const struct verb verb_export = {
	.name = "export",
	.operands = "NAME FILE",
	.summary = "Write a disk, as it was at some moment, into an image file or onto a disk",
	.details = "The file appears when it is complete. Where FILE is an unused disk, such as /dev/sdb, it is\n"
		   "overwritten with --force. `godwit points NAME` lists the moments; a TIME takes the newest point\n"
		   "at or before it, `now` the newest there is; of times before the first point and\n"
		   "after the last one there is none.",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 2,
	.operands_max = 2,
	.first = OPERAND_MACHINE,
	.others = OPERAND_FILE,
	.run = run_export,
};
