/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as files, for people who run it elsewhere.
 *
 *	MEASURING (each disk) -> room? -> COPYING (each disk) -> described, put in place -> written()
 *
 * qemu-img copies the machine's own view of each disk, so that what was changed there for
 * other hardware is in the images, too.  All is written to TO.godwit-<launch>, beside the
 * folder that was asked for, and becomes it by one rename when it is complete and on disk:
 * whatever happens before that, nothing is at TO, and who finds TO.godwit-<launch> without
 * its launch may remove it (the server does).
 */
#include "base.h"
#include "describe.h"
#include "fileio.h"
#include "target.h"
#include "tool.h"
#include "utf8.h"
#include "wallclock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM_SPARE (16 * MIB)

enum state { MEASURING, COPYING, RESTING, STOPPING };

struct target {
	struct loop *loop;
	const struct target_events *events;
	void *context;
	struct target_machine m;
	enum state state;
	char work[PATH_MAX];
	bool work_is_ours;	  /* it is there, and not in its place yet */
	unsigned int disk;	  /* which is measured or copied */
	uint64_t needed, copied;  /* bytes: in all the images; of the disks before this one */
	pid_t pid;		  /* of qemu-img; 0: none */
	int pid_fd, out_fd;
	char said[4096];	  /* by qemu-img: all of it while MEASURING, else the end */
	size_t said_used;
	struct loop_timer stopper;
};

static void start_next(struct target *t);

/* --- the folder -------------------------------------------------------------------------------- */

static int refuse_folder(const char *folder, int err, struct fault *f)
{
	return fault_set(f, err, MSG_LAUNCH_FOLDER_BAD, "folder", folder, "reason", strerror(-err), NULL);
}

static bool is_empty(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	bool empty = true;

	while (d && empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	if (d)
		closedir(d);
	return empty;
}

/* A file system of its own cannot be replaced by a rename. */
static bool is_mount_point(const char *folder)
{
	struct statx x;

	return statx(AT_FDCWD, folder, AT_SYMLINK_NOFOLLOW, 0, &x) == 0 && (x.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int check_folder(const char *to, struct fault *f)
{
	char parent[PATH_MAX];
	struct stat st;

	if (!utf8_is_printable(to, strlen(to)) || to[strlen(to) - 1] == '/')
		return refuse_folder(to, -EINVAL, f);
	snprintf(parent, sizeof(parent), "%s", to);
	*strrchr(parent, '/') = 0;
	if (access(parent[0] ? parent : "/", W_OK | X_OK))
		return refuse_folder(to, -errno, f);
	if (lstat(to, &st))
		return errno == ENOENT ? 0 : refuse_folder(to, -errno, f);
	if (!S_ISDIR(st.st_mode))
		return refuse_folder(to, -ENOTDIR, f);
	if (!is_empty(to))
		return fault_set(f, -ENOTEMPTY, MSG_LAUNCH_FOLDER_NOT_EMPTY, "folder", to, NULL);
	return is_mount_point(to) ? refuse_folder(to, -EBUSY, f) : 0;
}

static int probe(const struct target_machine *m, struct fault *ret_fault)
{
	static const char *const programs[] = { "qemu-img", "nbdkit", NULL };

	return tool_need(programs, ret_fault) ?: check_folder(m->to, ret_fault);
}

/* --- the end ------------------------------------------------------------------------------------- */

static void stopped(void *context)
{
	struct target *t = context;

	t->events->stopped(t->context, NULL);
}

static void stop(struct target *t)
{
	if (t->state == STOPPING)
		return;
	t->state = STOPPING;
	if (t->pid > 0)
		(void)kill(t->pid, SIGKILL); /* then tool_ended() */
	t->stopper = (struct loop_timer){ .fire = stopped, .context = t };
	if (t->pid == 0)
		loop_set_timer(t->loop, &t->stopper, monotonic_now_us());
}

static void free_target(struct target *t)
{
	if (!t)
		return;
	loop_clear_timer(t->loop, &t->stopper);
	if (t->pid > 0) {
		(void)kill(t->pid, SIGKILL);
		(void)waitpid(t->pid, NULL, 0);
	}
	loop_close(t->loop, &t->pid_fd);
	loop_close(t->loop, &t->out_fd);
	if (t->work_is_ours)
		(void)!fileio_remove_tree(t->work);
	free(t);
}

static void failed(struct target *t, const struct fault *f)
{
	t->state = RESTING;
	t->events->failed(t->context, f);
}

static void failed_because(struct target *t, const char *reason)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_WRITTEN, "folder", t->m.to, "reason", reason, NULL);
	failed(t, &f);
}

/* --- in place -------------------------------------------------------------------------------------- */

/* Disks hold what they hold: they are for who asked, and on disk before they have their place. */
static int finish_disk(const struct target *t, unsigned int i)
{
	char path[PATH_MAX + 32];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/disk%u.%s", t->work, i, t->m.format);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchmod(fd, 0600) || fsync(fd))
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* It takes the place of one that was made for it, and is as that was.  Not before: qemu-img, which has no
 * rights, could not write into it.  Its mode while it is this process's own. */
static int finish_folder(const struct target *t)
{
	int fd = open(t->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), err = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(t->m.to, &st) == 0) {
		if (fchmod(fd, st.st_mode & 07777))
			err = -errno;
		else if (fchown(fd, st.st_uid, st.st_gid))
			t->events->note(t->context, "the folder is not its owner's any more: giving it away is not allowed here");
	}
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

static int put_in_place(struct target *t)
{
	char parent[PATH_MAX];
	int err = describe_machine(&t->m, t->work);

	for (unsigned int i = 0; i < t->m.disk_count && !err; i++)
		err = finish_disk(t, i);
	if (!err)
		err = finish_folder(t);
	if (!err && rename(t->work, t->m.to))
		err = -errno;
	t->work_is_ours = err;
	snprintf(parent, sizeof(parent), "%s", t->m.to);
	*strrchr(parent, '/') = 0;
	return err ? err : fileio_fsync_dir(parent[0] ? parent : "/");
}

/* --- qemu-img --------------------------------------------------------------------------------------- */

static void progressed(struct target *t)
{
	const char *open = strrchr(t->said, '(');
	uint64_t total = 0;
	double percent;

	if (!open || sscanf(open, "(%lf/100%%)", &percent) != 1 || percent < 0 || percent > 100)
		return;
	for (unsigned int i = 0; i < t->m.disk_count; i++)
		total += t->m.disks[i].size_bytes;
	t->events->progress(t->context,
			    t->copied + (uint64_t)((double)t->m.disks[t->disk].size_bytes * percent / 100), total);
}

static void tool_said(void *context, uint32_t events)
{
	struct target *t = context;
	ssize_t n;

	if (t->said_used > sizeof(t->said) / 2 && t->state != MEASURING) { /* the end is what matters */
		memmove(t->said, t->said + t->said_used - 256, 256);
		t->said_used = 256;
	}
	n = read(t->out_fd, t->said + t->said_used, sizeof(t->said) - 1 - t->said_used);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(t->loop, &t->out_fd);
		return;
	}
	t->said_used += (size_t)n;
	t->said[t->said_used] = 0;
	if (t->state == COPYING)
		progressed(t);
}

static void measured(struct target *t)
{
	json_t *j = json_loads(t->said, 0, NULL);

	t->needed += (uint64_t)json_integer_value(json_object_get(j, "required"));
	json_decref(j);
}

/* Known before anything is written. */
static int check_room(const struct target *t, struct fault *f)
{
	char needed[32], there[32];
	struct statvfs fs;
	uint64_t room, wanted = t->needed + t->needed / 128 + ROOM_SPARE;

	if (statvfs(t->work, &fs))
		return refuse_folder(t->m.to, -errno, f);
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room >= wanted)
		return 0;
	snprintf(needed, sizeof(needed), "%llu", (unsigned long long)(wanted / MIB));
	snprintf(there, sizeof(there), "%llu", (unsigned long long)(room / MIB));
	return fault_set(f, -ENOSPC, MSG_LAUNCH_NO_ROOM, "folder", t->m.to, "needed", needed, "available", there, NULL);
}

static void begin_copying(struct target *t)
{
	struct fault f;

	t->disk = 0;
	t->state = COPYING;
	if (check_room(t, &f))
		failed(t, &f);
	else
		start_next(t);
}

static void all_copied(struct target *t)
{
	int err = put_in_place(t);

	t->state = RESTING;
	if (err)
		failed_because(t, strerror(-err));
	else
		t->events->written(t->context);
}

static void tool_failed(struct target *t)
{
	char *line = strrchr(t->said, '\r');

	line = line ? line + 1 : t->said;
	line += strspn(line, " \n");
	if (strncmp(line, "qemu-img: ", 10) == 0)
		line += 10;
	line[strcspn(line, "\n")] = 0;
	failed_because(t, line[0] ? line : "qemu-img failed");
}

static void tool_ended(void *context, uint32_t events)
{
	struct target *t = context;
	int status = 0;

	while (t->out_fd >= 0 && t->said_used + 1 < sizeof(t->said)) { /* its last words */
		size_t before = t->said_used;

		tool_said(t, EPOLLIN);
		if (t->said_used == before)
			break;
	}
	(void)waitpid(t->pid, &status, 0);
	t->pid = 0;
	loop_close(t->loop, &t->pid_fd);
	loop_close(t->loop, &t->out_fd);
	if (t->state == STOPPING) {
		stopped(t);
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		tool_failed(t);
		return;
	}
	if (t->state == MEASURING)
		measured(t);
	else
		t->copied += t->m.disks[t->disk].size_bytes;
	if (++t->disk < t->m.disk_count)
		start_next(t);
	else if (t->state == MEASURING)
		begin_copying(t);
	else
		all_copied(t);
}

static int run_tool(struct target *t)
{
	char from[PATH_MAX], to[PATH_MAX + 32];
	/* Of what is to be written, qcow2 says best how much data there is. */
	const char *const measure[] = { "qemu-img", "measure", "--output", "json", "-f", "qcow2", "-O", "qcow2", from, NULL };
	const char *const copy[] = { "qemu-img", "convert", "-p", "-t", "writeback", "-W", "-m", "16", "-f", "qcow2",
				     "-O", t->m.format, from, to, NULL };
	int err;

	snprintf(from, sizeof(from), "%s/disk%u.qcow2", t->m.folder, t->disk);
	snprintf(to, sizeof(to), "%s/disk%u.%s", t->work, t->disk, t->m.format);
	t->said_used = 0;
	t->said[0] = 0;
	err = tool_start(t->state == MEASURING ? measure : copy, t->work, t->m.folder, &t->pid, &t->out_fd);
	if (err)
		return err;
	t->pid_fd = pidfd_open(t->pid, 0);
	if (t->pid_fd < 0)
		return -errno;
	return loop_watch(t->loop, t->pid_fd, EPOLLIN, tool_ended, t) ?:
	       loop_watch(t->loop, t->out_fd, EPOLLIN, tool_said, t);
}

static void start_next(struct target *t)
{
	int err = run_tool(t);

	if (err)
		failed_because(t, strerror(-err));
}

/* --- the table ---------------------------------------------------------------------------------------- */

static int make_work(struct target *t, struct fault *f)
{
	if (mkdir(t->work, 0700))
		return refuse_folder(t->m.to, -errno, f);
	t->work_is_ours = true;
	return 0;
}

static int start(struct loop *loop, const struct target_machine *m, const struct target_events *events, void *context,
		 struct target **ret, struct fault *ret_fault)
{
	struct target *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return fault_set(ret_fault, -ENOMEM, MSG_LAUNCH_NOT_STARTED, "reason", strerror(ENOMEM), NULL);
	*t = (struct target){ .loop = loop, .events = events, .context = context, .m = *m, .pid_fd = -1, .out_fd = -1 };
	snprintf(t->work, sizeof(t->work), "%s.godwit-%s", m->to, m->id);
	err = check_folder(m->to, ret_fault) ?: make_work(t, ret_fault);
	if (!err) {
		err = run_tool(t);
		if (err)
			(void)fault_set(ret_fault, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL);
	}
	if (err) {
		free_target(t);
		return err;
	}
	*ret = t;
	return 0;
}

static void screenshot(struct target *t, const char *png_path, void (*done)(void *context, const char *error),
		       void *context)
{
	done(context, "it has no screen");
}

static int run(struct target *t, const char *name, const char *command)
{
	return -ENOTSUP;
}

static void keep(struct target *t)
{
}

const struct target_ops target_images = {
	.name = "images",
	.only_writes = true,
	.probe = probe,
	.start = start,
	.screenshot = screenshot,
	.run = run,
	.keep = keep,
	.power_off = stop,
	.stop = stop,
	.free = free_target,
};
