/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit-convert FOLDER DISKS BUS - change what is bound to other hardware on the disks
 * of a launch (convert.h): disk0.qcow2 ... in FOLDER, for disks on BUS, as its spec.json says.
 *
 * libguestfs does it in a small machine of its own (its "appliance"), whose kernel mounts
 * the file systems; programs of the guest, as for its initramfs, run in there, too.  This
 * process has no capabilities, and may write to FOLDER and where libguestfs keeps its own.
 */
#include "convert-steps.h"
#include "convert.h"
#include "kvm.h"
#include "log.h"
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t appliance, told_to_end;

void step(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("step ");
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
}

/* Without its machine every call fails, and what was made is taken away on the way out.  While
 * it is being made or started only libguestfs knows its processes: those of this group, then. */
static void end_came(int number)
{
	if (told_to_end)
		return;
	told_to_end = 1;
	if (appliance > 0)
		(void)kill((pid_t)appliance, SIGKILL);
	else if (getpgrp() == getpid())
		(void)kill(0, SIGTERM);
}

static int complain(const struct guest *t, const char *what)
{
	const char *error = t && t->g ? guestfs_last_error(t->g) : NULL;

	error = error ? error : strerror(errno);
	fprintf(stderr, "%s: %.*s\n", what, (int)strcspn(error, "\n"), error); /* advice follows */
	return -EIO;
}

/* libguestfs makes its machine of this one's packages and their kernel. */
static int confine(const char *folder)
{
	const struct confine_path paths[] = { { folder, true },
					      { getenv("LIBGUESTFS_CACHEDIR"), true },
					      { "/tmp", true }, /* its sockets */
					      { "/boot", false },
					      { "/var/lib/dpkg", false },
					      { "/var/lib/rpm", false },
					      { getenv("SUPERMIN_KERNEL") ?: "/boot", false },
					      { getenv("SUPERMIN_MODULES") ?: "/boot", false },
					      { NULL, false } };

	return tool_confine(paths);
}

static int launch_appliance(struct guest *t, const char *folder)
{
	char path[PATH_MAX + 32];

	(void)setenv("LIBGUESTFS_BACKEND", "direct", 1);
	if (strcmp(kvm_accelerator(QEMU, KVM_CACHE), "kvm") != 0)
		(void)setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg", 1);
	snprintf(path, sizeof(path), "%s/" CONVERT_FOLDER, folder);
	if (mkdir(path, 0700) && errno != EEXIST)
		return complain(NULL, path);
	(void)setenv("LIBGUESTFS_TMPDIR", path, 1);
	(void)setenv("TMPDIR", path, 1);
	(void)setenv("TAR_OPTIONS", "--no-same-owner", 1); /* of supermin's: who has no rights gives no files away */
	(void)setenv("LIBGUESTFS_CACHEDIR", "/var/tmp", 0); /* it is made once, and takes a while */
	if (confine(folder))
		return complain(NULL, "rights cannot be given up");
	t->g = guestfs_create();
	if (!t->g)
		return complain(NULL, "libguestfs");
	guestfs_set_error_handler(t->g, NULL, NULL);
	for (unsigned int i = 0; i < t->disk_count; i++) {
		snprintf(path, sizeof(path), "%s/disk%u.qcow2", folder, i);
		if (guestfs_add_drive_opts(t->g, path, GUESTFS_ADD_DRIVE_OPTS_FORMAT, "qcow2",
					   GUESTFS_ADD_DRIVE_OPTS_DISCARD, "besteffort", -1))
			return complain(t, path);
	}
	if (guestfs_launch(t->g))
		return complain(t, "libguestfs' own machine does not start");
	appliance = guestfs_get_pid(t->g);
	return told_to_end ? -EINTR : 0;
}

static int compare_lengths(const void *a, const void *b)
{
	size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);

	return (x > y) - (x < y);
}

/* What is not mounted there is not changed, and what lies below it is not the machine's. */
static bool must_be_mounted(const char *where)
{
	return strcmp(where, "/") == 0 || strcmp(where, "/boot") == 0 || strcmp(where, "/usr") == 0;
}

/* Mountpoints as "mountpoint, device, ..."; the shortest first. */
static int mount_all(struct guest *t, const char *root)
{
	char **points = guestfs_inspect_get_mountpoints(t->g, root);
	char *order[64], *device = NULL;
	unsigned int n = 0;
	int err = 0;

	if (!points)
		return complain(t, "its file systems");
	for (unsigned int i = 0; points[i] && points[i + 1] && n < ARRAY_LEN(order); i += 2)
		order[n++] = points[i];
	qsort(order, n, sizeof(order[0]), compare_lengths);
	for (unsigned int i = 0; i < n && !err; i++) {
		for (unsigned int k = 0; points[k]; k += 2)
			if (points[k] == order[i])
				device = points[k + 1];
		if (guestfs_mount(t->g, device, order[i]) && must_be_mounted(order[i]))
			err = complain(t, strcmp(order[i], "/") == 0 ? "its root file system" : order[i]);
	}
	for (unsigned int i = 0; points[i]; i++)
		free(points[i]);
	free(points);
	return err;
}

static int mount_guest(struct guest *t)
{
	char **roots = guestfs_inspect_os(t->g);
	int err;

	if (!roots)
		return complain(t, "its systems");
	if (!roots[0] || roots[1]) {
		fprintf(stderr, "%s\n", roots[0] ? "there are several systems on its disks" :
						   "no system that libguestfs knows is on its disks");
		err = -ENOEXEC;
	} else {
		err = mount_all(t, roots[0]);
	}
	for (unsigned int i = 0; roots[i]; i++)
		free(roots[i]);
	free(roots);
	t->filesystems = err ? NULL : guestfs_list_filesystems(t->g);
	return err || t->filesystems ? err : complain(t, "its file systems");
}

static int convert(struct guest *t, const char *folder)
{
	char path[PATH_MAX + 32];
	int err = launch_appliance(t, folder) ?: mount_guest(t);

	err = err ?: steps_all(t);
	/* All of it is on the disks, or it was not done. */
	if (!err && (guestfs_umount_all(t->g) || guestfs_shutdown(t->g)))
		err = complain(t, "writing it down");
	appliance = 0;
	for (unsigned int i = 0; t->filesystems && t->filesystems[i]; i++)
		free(t->filesystems[i]);
	free(t->filesystems);
	if (t->g)
		guestfs_close(t->g);
	snprintf(path, sizeof(path), "%s/" CONVERT_FOLDER, folder);
	(void)rmdir(path);
	return err;
}

static int read_bus(const char *name, enum target_bus *ret)
{
	for (unsigned int b = 0; b < BUSES; b++)
		if (strcmp(name, hardware_bus_name((enum target_bus)b)) == 0) {
			*ret = (enum target_bus)b;
			return 0;
		}
	return -EINVAL;
}

int main(int argc, char **argv)
{
	static struct launch_spec spec;
	struct guest t = { .spec = &spec };
	char path[PATH_MAX + 16], folder[PATH_MAX], line[1024];
	struct fault f = { 0 };

	if (argc != 4 || (t.disk_count = (unsigned int)atoi(argv[2])) < 1 || t.disk_count > DISKS_MAX ||
	    read_bus(argv[3], &t.bus)) {
		fprintf(stderr, "Usage: godwit-convert FOLDER DISKS virtio|scsi|sata|nvme\n");
		return 2;
	}
	log_init("godwit-convert", LOG_INFO);
	if (!realpath(argv[1], folder)) { /* supermin wants full paths */
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	snprintf(path, sizeof(path), "%s/spec.json", folder);
	if (spec_read(path, &spec, &f)) {
		fprintf(stderr, "%s\n", fault_format(&f, LANGUAGE_EN, line, sizeof(line)));
		return 2;
	}
	for (unsigned int i = 0; i < HARDWARE_CARDS_MAX; i++)
		convert_mac(&spec.id, i, t.macs[i]);
	(void)signal(SIGTERM, end_came);
	(void)signal(SIGINT, end_came);
	return convert(&t, folder) ? 1 : 0;
}
