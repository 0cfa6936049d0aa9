/* SPDX-License-Identifier: Apache-2.0 */
#include "disks.h"
#include "engine.h"
#include "fileio.h"
#include "multipath.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

/* --- /sys ------------------------------------------------------------------------ */

static char *sys_path(dev_t device, const char *rest, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "/sys/dev/block/%u:%u/%s", major(device), minor(device), rest);
	return ret;
}

static bool sys_line(dev_t device, const char *name, char *ret, size_t size)
{
	char path[PATH_MAX];

	ret[0] = '\0';
	return fileio_read_line(sys_path(device, name, path), ret, size) == 0 && ret[0];
}

static bool sys_has(dev_t device, const char *name)
{
	char path[PATH_MAX];

	return access(sys_path(device, name, path), F_OK) == 0;
}

/* "sda": the last part of where the link in /sys/dev/block leads. */
static bool kernel_name(dev_t device, char ret[64])
{
	char link[PATH_MAX], path[PATH_MAX];
	ssize_t n;
	char *last;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return false;
	link[n] = '\0';
	last = strrchr(link, '/');
	snprintf(ret, 64, "%.63s", last ? last + 1 : link);
	for (char *c = ret; *c; c++) /* "cciss!c0d0" */
		*c = *c == '!' ? '/' : *c;
	return true;
}

static bool read_device(const char *path, dev_t *ret)
{
	char line[32];
	unsigned int major_number, minor_number;

	if (fileio_read_line(path, line, sizeof(line)) < 0 || sscanf(line, "%u:%u", &major_number, &minor_number) != 2)
		return false;
	*ret = makedev(major_number, minor_number);
	return true;
}

static dev_t whole_of(dev_t device)
{
	char path[PATH_MAX];
	dev_t whole;

	if (sys_has(device, "partition") && read_device(sys_path(device, "../dev", path), &whole))
		return whole;
	return device;
}

/* --- what lies below ---------------------------------------------------------------- */

struct device_set {
	dev_t list[64];
	unsigned int count;
};

static bool set_has(const struct device_set *s, dev_t device)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (s->list[i] == device)
			return true;
	return false;
}

static void add_below(struct device_set *s, dev_t device, bool through_files, unsigned int depth);

static void add_folder(struct device_set *s, const char *folder, unsigned int depth);

static void add_slaves(struct device_set *s, dev_t device, bool through_files, unsigned int depth)
{
	char path[PATH_MAX], one[PATH_MAX + 300];
	DIR *d = opendir(sys_path(device, "slaves", path));
	struct dirent *entry;
	dev_t slave;

	while (d && (entry = readdir(d))) {
		snprintf(one, sizeof(one), "%s/%s/dev", path, entry->d_name);
		if (entry->d_name[0] != '.' && read_device(one, &slave))
			add_below(s, slave, through_files, depth + 1);
	}
	if (d)
		closedir(d);
}

/* Every device on which @device lies, itself included; with @through_files also
 * those below the files of loop devices. */
static void add_below(struct device_set *s, dev_t device, bool through_files, unsigned int depth)
{
	char backing[PATH_MAX];

	device = whole_of(device);
	if (depth > 16 || s->count == ARRAY_LEN(s->list) || set_has(s, device))
		return;
	s->list[s->count++] = device;
	add_slaves(s, device, through_files, depth);
	if (through_files && sys_line(device, "loop/backing_file", backing, sizeof(backing)))
		add_folder(s, backing, depth + 1);
}

/* The block device that the mount of @path names as its source: what stat(2)
 * says is not a disk's number for btrfs and its like. */
static bool mount_source(const char *path, dev_t *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, point[PATH_MAX], source[PATH_MAX];
	size_t room = 0, best = 0;
	bool found = false;
	struct stat st;

	while (f && getline(&line, &room, f) > 0) {
		char *tail = strstr(line, " - ");
		size_t n;

		if (!tail || sscanf(line, "%*d %*d %*s %*s %4095s", point) != 1 ||
		    sscanf(tail, " - %*s %4095s", source) != 1)
			continue;
		n = strcmp(point, "/") == 0 ? 0 : strlen(point);
		if (n < best || strncmp(path, point, n) != 0 || (path[n] != '/' && path[n] != '\0'))
			continue;
		best = n;
		found = stat(source, &st) == 0 && S_ISBLK(st.st_mode);
		if (found)
			*ret = st.st_rdev;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* A btrfs lies on several devices at once. */
static void add_btrfs(struct device_set *s, dev_t device, unsigned int depth)
{
	DIR *all = opendir("/sys/fs/btrfs"), *one;
	struct dirent *entry, *member;
	char path[PATH_MAX], name[64];

	while (all && kernel_name(device, name) && (entry = readdir(all))) {
		snprintf(path, sizeof(path), "/sys/fs/btrfs/%.255s/devices/%.63s", entry->d_name, name);
		if (entry->d_name[0] == '.' || access(path, F_OK) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/fs/btrfs/%.255s/devices", entry->d_name);
		one = opendir(path);
		while (one && (member = readdir(one))) {
			char dev[PATH_MAX + 300];
			dev_t other;

			snprintf(dev, sizeof(dev), "%s/%s/dev", path, member->d_name);
			if (member->d_name[0] != '.' && read_device(dev, &other))
				add_below(s, other, true, depth + 1);
		}
		if (one)
			closedir(one);
	}
	if (all)
		closedir(all);
}

static void add_folder(struct device_set *s, const char *path, unsigned int depth)
{
	char *full = realpath(path, NULL);
	struct stat st;
	dev_t device;

	if (stat(path, &st) == 0 && major(st.st_dev) != 0) {
		add_below(s, st.st_dev, true, depth + 1);
	} else if (full && mount_source(full, &device)) {
		add_btrfs(s, device, depth);
		add_below(s, device, true, depth + 1);
	}
	free(full);
}

/* Names of the whole disks at the bottom, "/dev/sda and /dev/sdb". */
static void name_bottom(dev_t device, char *ret, size_t size)
{
	struct device_set s = { 0 };
	size_t used = 0;

	add_slaves(&s, device, false, 0);
	ret[0] = '\0';
	for (unsigned int i = 0; i < s.count; i++) {
		struct device_set below = { 0 };
		char name[64];

		add_slaves(&below, s.list[i], false, 0);
		if (below.count || !kernel_name(s.list[i], name) || used >= size)
			continue;
		used += (size_t)snprintf(ret + used, size - used, "%s/dev/%s", used ? ", " : "", name);
	}
}

/* --- identity ------------------------------------------------------------------------- */

static void trim(char *text)
{
	size_t n = strlen(text);

	while (n && (text[n - 1] == ' ' || text[n - 1] == '\n'))
		text[--n] = '\0';
}

static void take_tag(blkid_probe probe, const char *name, char *ret, size_t size)
{
	const char *value;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0)
		snprintf(ret, size, "%s", value);
}

static void read_content(const char *path, struct disk_identity *id)
{
	blkid_probe probe = blkid_new_probe_from_filename(path);

	if (!probe)
		return;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID);
	blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_safeprobe(probe) == 0) {
		take_tag(probe, "PTUUID", id->table, sizeof(id->table));
		take_tag(probe, "UUID", id->content, sizeof(id->content));
	}
	blkid_free_probe(probe);
}

/* What /sys says: the disk itself is not asked. */
static void read_names(dev_t device, struct disk_identity *ret)
{
	if (!sys_line(device, "wwid", ret->wwid, sizeof(ret->wwid)))
		sys_line(device, "device/wwid", ret->wwid, sizeof(ret->wwid));
	if (!sys_line(device, "serial", ret->serial, sizeof(ret->serial)))
		sys_line(device, "device/serial", ret->serial, sizeof(ret->serial));
	sys_line(device, "loop/backing_file", ret->backing, sizeof(ret->backing));
	trim(ret->wwid);
	trim(ret->serial);
}

/* 1, 0: the first of the pairs that both sides have says so; -ENOENT: there is none. */
static int compare(const char *pairs[][2], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (pairs[i][0][0] && pairs[i][1][0])
			return strcmp(pairs[i][0], pairs[i][1]) == 0;
	return -ENOENT;
}

static int compare_names(const struct disk_identity *a, const struct disk_identity *b)
{
	const char *pairs[][2] = { { a->wwid, b->wwid }, { a->serial, b->serial }, { a->backing, b->backing } };

	return compare(pairs, ARRAY_LEN(pairs));
}

static int compare_content(const struct disk_identity *a, const struct disk_identity *b)
{
	const char *pairs[][2] = { { a->table, b->table }, { a->content, b->content } };

	return compare(pairs, ARRAY_LEN(pairs));
}

bool disks_same(const struct disk_identity *a, const struct disk_identity *b)
{
	int names = compare_names(a, b);

	return (names < 0 ? compare_content(a, b) : names) == 1;
}

/* --- judging a path --------------------------------------------------------------------- */

static int read_geometry(const char *path, struct disk_info *info)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), sector = 512, err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, BLKGETSIZE64, &info->size_bytes) < 0 || ioctl(fd, BLKSSZGET, &sector) < 0)
		err = -errno;
	close(fd);
	info->sector_bytes = (uint16_t)sector;
	return err;
}

static char *format_size(uint64_t bytes, char ret[32])
{
	const char *units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	unsigned int u = 0;

	while (u + 1 < ARRAY_LEN(units) && bytes >= 1024 && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	snprintf(ret, 32, "%llu %s", (unsigned long long)bytes, units[u]);
	return ret;
}

int disks_judge_path(const char *path, dev_t device, struct fault *ret_fault)
{
	char folder[PATH_MAX], name[MULTIPATH_NAME_MAX];

	if (multipath_above(sys_path(device, "", folder), name))
		return fault_set(ret_fault, -EOPNOTSUPP, MSG_DISK_IS_PATH, "disk", path, "multipath", name, NULL);
	return 0;
}

static int judge_kind(const char *path, dev_t device, const char *name, struct fault *f)
{
	char whole[64], below[160], zoned[32], folder[PATH_MAX], multipath[MULTIPATH_NAME_MAX];

	if (sys_has(device, "partition")) {
		dev_t disk = whole_of(device);

		snprintf(below, sizeof(below), "/dev/%s", kernel_name(disk, whole) ? whole : "?");
		return fault_set(f, -ENOTBLK, MSG_DISK_IS_PARTITION, "disk", path, "whole", below, NULL);
	}
	if (multipath_below(sys_path(device, "", folder), multipath))
		return fault_set(f, -EOPNOTSUPP, MSG_DISK_IS_MULTIPATH, "disk", path, "multipath", multipath, NULL);
	name_bottom(device, below, sizeof(below));
	if (below[0])
		return fault_set(f, -ENOTBLK, MSG_DISK_IS_VOLUME, "disk", path, "whole", below, NULL);
	/* Every driver that completes requests has hardware queues in /sys; the
	 * others (RAM disks, zram, persistent memory, ...) complete bios. */
	if (!sys_has(device, "mq"))
		return fault_set(f, -EOPNOTSUPP, MSG_DISK_NOT_CAPTURABLE, "disk", path, "driver", name, NULL);
	if (sys_line(device, "queue/zoned", zoned, sizeof(zoned)) && strcmp(zoned, "none") != 0)
		return fault_set(f, -EOPNOTSUPP, MSG_DISK_NOT_CAPTURABLE, "disk", path, "driver", "zoned", NULL);
	return 0;
}

/* The store of the instance that @state, <data>/agents/<name>, is part of; false: it has none,
 * the replica is elsewhere. */
static bool store_of(const char *state, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%s/../../server/store", state);
	char *full = n > 0 && (size_t)n < size ? realpath(ret, NULL) : NULL;

	if (full)
		snprintf(ret, size, "%s", full);
	free(full);
	return full != NULL;
}

int disks_check_size(const char *path, uint64_t size_bytes, struct fault *ret_fault)
{
	char size[24], most[24];

	if (size_bytes <= ENGINE_DISK_BYTES_MAX)
		return 0;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)size_bytes);
	snprintf(most, sizeof(most), "%llu", (unsigned long long)ENGINE_DISK_BYTES_MAX);
	return fault_set(ret_fault, -EFBIG, MSG_DISK_TOO_LARGE, "disk", path, "size", size, "most", most, NULL);
}

int disks_check_store(const char *path, dev_t device, const char *store, const char *shown, struct fault *ret_fault)
{
	struct device_set holds = { 0 };

	add_folder(&holds, store, 0);
	if (set_has(&holds, device))
		return fault_set(ret_fault, -EDEADLK, MSG_DISK_HOLDS_DATA, "disk", path, "data", shown, NULL);
	return 0;
}

static int judge_state(const char *path, const struct disk_info *info, const char *state, struct fault *f)
{
	char line[16], size[32], least[32], store[PATH_MAX];

	if (info->size_bytes < DISK_LEAST_BYTES)
		return fault_set(f, -ENOSPC, MSG_DISK_TOO_SMALL, "disk", path, "size", format_size(info->size_bytes, size),
				 "least", format_size(DISK_LEAST_BYTES, least), NULL);
	if (sys_line(info->device, "ro", line, sizeof(line)) && strcmp(line, "0") != 0)
		return fault_set(f, -EROFS, MSG_DISK_READ_ONLY, "disk", path, NULL);
	/* The agent's own folder may lie on it: a machine's only disk can be protected from inside. */
	if (state && store_of(state, store, sizeof(store)))
		return disks_check_store(path, info->device, store, store, f);
	return 0;
}

int disks_probe(const char *path, const char *state, struct disk_info *ret, struct fault *ret_fault)
{
	struct disk_info info = { 0 };
	struct stat st;
	char name[64];
	int err;

	if (stat(path, &st) < 0)
		return fault_set(ret_fault, -errno, MSG_DISK_NOT_FOUND, "disk", path, NULL);
	if (!S_ISBLK(st.st_mode))
		return fault_set(ret_fault, -ENOTBLK, MSG_DISK_NOT_BLOCK, "disk", path, NULL);
	info.device = st.st_rdev;
	if (!kernel_name(info.device, name))
		return fault_set(ret_fault, -ENOENT, MSG_DISK_NOT_FOUND, "disk", path, NULL);
	err = judge_kind(path, info.device, name, ret_fault);
	if (err)
		return err;
	snprintf(info.path, sizeof(info.path), "/dev/%.58s", name);
	if (stat(info.path, &st) < 0 || st.st_rdev != info.device)
		snprintf(info.path, sizeof(info.path), "%s", path);
	err = read_geometry(info.path, &info);
	if (err)
		return fault_set(ret_fault, err,
				 err == -EPERM || err == -EACCES ? MSG_DISK_OPEN_FORBIDDEN : MSG_DISK_BUSY_ELSEWHERE,
				 "disk", path, "reason", strerror(-err), NULL);
	err = judge_state(path, &info, state, ret_fault);
	if (err)
		return err;
	read_names(info.device, &info.identity);
	read_content(info.path, &info.identity);
	*ret = info;
	return 0;
}

int disks_match(const char *path, const struct disk_identity *identity, struct disk_info *ret)
{
	struct disk_identity names = { 0 };
	struct disk_info info;
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return -ENODEV;
	read_names(st.st_rdev, &names);
	if (compare_names(&names, identity) == 0 || disks_probe(path, NULL, &info, NULL) < 0 ||
	    !disks_same(&info.identity, identity))
		return -ENODEV;
	*ret = info;
	return 0;
}

int disks_find(const struct disk_identity *identity, struct disk_info *ret)
{
	DIR *d = opendir("/sys/block");
	struct dirent *entry;
	int err = -ENODEV;

	while (d && err && (entry = readdir(d))) {
		char path[300];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		for (char *c = path; *c; c++)
			*c = *c == '!' ? '/' : *c;
		err = disks_match(path, identity, ret);
	}
	if (d)
		closedir(d);
	return err;
}

uint64_t disks_present(void)
{
	DIR *d = opendir("/sys/block");
	struct dirent *entry;
	uint64_t sum = 0;

	while (d && (entry = readdir(d))) {
		char path[320], line[64] = "";
		uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/diskseq", entry->d_name);
		if (fileio_read_line(path, line, sizeof(line)) < 0) { /* before 5.15 */
			snprintf(path, sizeof(path), "/sys/block/%s/size", entry->d_name);
			(void)!fileio_read_line(path, line, sizeof(line));
		}
		for (const char *text = entry->d_name; *text; text++)
			hash = (hash ^ (uint8_t)*text) * 0x100000001b3ULL;
		for (const char *text = line; *text; text++)
			hash = (hash ^ (uint8_t)*text ^ 0x80) * 0x100000001b3ULL;
		sum += hash; /* in whatever order they are listed */
	}
	if (d)
		closedir(d);
	return sum;
}

int disks_size_now(const char *path, dev_t device, uint64_t *ret_bytes)
{
	char line[32];
	struct stat st;
	uint64_t sectors;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode) || st.st_rdev != device || !sys_line(device, "size", line, sizeof(line)))
		return -ENODEV;
	sectors = strtoull(line, NULL, 10);
	if (!sectors)
		return -ENODEV;
	*ret_bytes = sectors * SECTOR_BYTES;
	return 0;
}

int disks_check_machine(struct fault *ret_fault)
{
	struct utsname u = { 0 };

	if (geteuid() != 0)
		return fault_set(ret_fault, -EPERM, MSG_NOT_ROOT, NULL);
	(void)uname(&u);
	if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
		return fault_set(ret_fault, -EOPNOTSUPP, MSG_NO_BTF, "kernel", u.release, NULL);
	return 0;
}
