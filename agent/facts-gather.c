/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at this machine.  Whatever cannot be read is not there.  GODWIT_FACTS_ROOT
 * names another folder to look at in place of / (tests); then its first disk is the
 * one that is protected.
 */
#include "facts.h"
#include "fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX_BYTES	  (256 * KIB)
#define MODULES_MAX_BYTES (4 * MIB)
#define LISTING_MAX_BYTES (8 * MIB)
#define FILES_MAX	  64u /* of a folder */
#define CARDS_LOOKED_MAX  32u

static const char *root(void)
{
	return getenv("GODWIT_FACTS_ROOT") ?: "";
}

static char *slurp(const char *path, size_t most)
{
	char full[PATH_MAX], *text;
	size_t len;

	snprintf(full, sizeof(full), "%s%s", root(), path);
	return fileio_slurp(full, most, &text, &len) == 0 ? text : NULL;
}

/* /proc and /sys files have no size. */
static char *slurp_stream(const char *path)
{
	char full[PATH_MAX], *text = malloc(16 * KIB);
	size_t n = 0;
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root(), path);
	f = text ? fopen(full, "re") : NULL;
	if (f) {
		n = fread(text, 1, 16 * KIB - 1, f);
		fclose(f);
		text[n] = 0;
		return text;
	}
	free(text);
	return NULL;
}

static bool line_of(const char *path, char *ret, size_t size)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root(), path);
	return fileio_read_line(full, ret, size) >= 0 && ret[0];
}

/* --- on which disk ---------------------------------------------------------------------------- */

/* Is one of the disks below device @number, a partition or a volume of any depth? */
static int disk_below(const struct settings *s, dev_t number, unsigned int depth)
{
	char path[PATH_MAX], text[32];
	unsigned int ma, mi;
	struct dirent *e;
	int found = -1;
	DIR *dir;

	for (unsigned int i = 0; i < s->disk_count; i++)
		if (s->disks[i].info.device == number)
			return (int)s->disks[i].disk;
	if (depth == 8)
		return -1;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(number), minor(number));
	if (access(path, F_OK) == 0) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(number), minor(number));
		if (fileio_read_line(path, text, sizeof(text)) >= 0 && sscanf(text, "%u:%u", &ma, &mi) == 2)
			return disk_below(s, makedev(ma, mi), depth + 1);
		return -1;
	}
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves", major(number), minor(number));
	dir = opendir(path);
	while (dir && found < 0 && (e = readdir(dir))) {
		char slave[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		snprintf(slave, sizeof(slave), "/sys/class/block/%s/dev", e->d_name);
		if (fileio_read_line(slave, text, sizeof(text)) >= 0 && sscanf(text, "%u:%u", &ma, &mi) == 2)
			found = disk_below(s, makedev(ma, mi), depth + 1);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* btrfs and others have a number of their own for what is mounted: then the source says more. */
static int disk_mounted_at(const struct settings *s, const char *mount_point)
{
	char line[4096], where[1024], source[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned int ma, mi;
	int found = -1;
	struct stat st;

	while (f && found < 0 && fgets(line, sizeof(line), f)) {
		const char *tail = strstr(line, " - ");

		if (sscanf(line, "%*s %*s %u:%u %*s %1023s", &ma, &mi, where) != 3 || strcmp(where, mount_point) != 0)
			continue;
		found = disk_below(s, makedev(ma, mi), 0);
		if (found < 0 && tail && sscanf(tail, " - %*s %1023s", source) == 1 && stat(source, &st) == 0 &&
		    S_ISBLK(st.st_mode))
			found = disk_below(s, st.st_rdev, 0);
	}
	if (f)
		fclose(f);
	return found;
}

/* Which of them the firmware starts is not seen from here; where the loader and its files are mounted is. */
static void find_boot_disk(const struct settings *s, struct hardware *h)
{
	static const char *const places[] = { "/boot/efi", "/efi", "/boot", "/" };
	int disk = -1;

	for (unsigned int i = 0; i < ARRAY_LEN(places) && disk < 0; i++)
		disk = disk_mounted_at(s, places[i]);
	h->boot_disk_known = disk >= 0;
	h->boot_disk = disk >= 0 ? (unsigned int)disk : 0;
}

/* The name behind a link of /dev/disk: "sda1". */
static bool link_name(const char *path, char *ret, size_t size)
{
	char full[PATH_MAX], target[PATH_MAX];
	const char *slash;
	ssize_t n;

	snprintf(full, sizeof(full), "%s%s", root(), path);
	n = readlink(full, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	slash = strrchr(target, '/');
	slash = slash ? slash + 1 : target;
	if (strlen(slash) >= size)
		return false;
	memcpy(ret, slash, strlen(slash) + 1);
	return true;
}

static void find_uuid(const char *name, char *ret, size_t size)
{
	char path[PATH_MAX], its[64];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/dev/disk/by-uuid", root());
	dir = opendir(path);
	while (dir && !ret[0] && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/dev/disk/by-uuid/%s", e->d_name);
		if (e->d_name[0] != '.' && link_name(path, its, sizeof(its)) && strcmp(its, name) == 0 &&
		    strlen(e->d_name) < size)
			snprintf(ret, size, "%s", e->d_name);
	}
	if (dir)
		closedir(dir);
}

static int find_device(void *context, const char *device, unsigned int *ret_disk, char *ret_uuid, size_t size)
{
	char name[64];
	struct stat st;
	int disk;

	if (!link_name(device, name, sizeof(name)))
		snprintf(name, sizeof(name), "%.63s", strrchr(device, '/') + 1);
	disk = *root() ? 0 : stat(device, &st) || !S_ISBLK(st.st_mode) ? -1 : disk_below(context, st.st_rdev, 0);
	if (disk < 0)
		return -ENOENT;
	*ret_disk = (unsigned int)disk;
	ret_uuid[0] = 0;
	find_uuid(name, ret_uuid, size);
	return 0;
}

/* --- drivers ------------------------------------------------------------------------------------ */

/* What `lsinitramfs FILE` or `lsinitrd FILE` prints; NULL when neither can. */
static char *list_initramfs(const char *file)
{
	char *text = malloc(LISTING_MAX_BYTES), full[PATH_MAX];
	size_t used = 0;
	int fds[2], status = -1;
	pid_t pid;

	snprintf(full, sizeof(full), "%s%s", root(), file);
	if (!text || pipe2(fds, O_CLOEXEC)) {
		free(text);
		return NULL;
	}
	pid = fork();
	if (pid == 0) {
		if (dup2(fds[1], 1) < 0)
			_exit(126);
		execlp("lsinitramfs", "lsinitramfs", full, (char *)NULL);
		execlp("lsinitrd", "lsinitrd", full, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && used < LISTING_MAX_BYTES - 1) {
		ssize_t got = read(fds[0], text + used, LISTING_MAX_BYTES - 1 - used);

		if (got <= 0)
			break;
		used += (size_t)got;
	}
	close(fds[0]);
	text[used] = 0;
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && used)
		return text;
	free(text);
	return NULL;
}

static bool find_initramfs(const char *kernel, char *ret, size_t size)
{
	char full[PATH_MAX];

	for (unsigned int form = 0; form < HARDWARE_INITRAMFS_FORMS; form++) {
		hardware_initramfs_path(form, kernel, ret, size);
		snprintf(full, sizeof(full), "%s%s", root(), ret);
		if (access(full, R_OK) == 0)
			return true;
	}
	return false;
}

static void take_module_file(struct hardware *h, const char *kernel, const char *name, enum hardware_reach reach)
{
	char path[PATH_MAX], *text;

	snprintf(path, sizeof(path), "/lib/modules/%s/%s", kernel, name);
	text = slurp(path, MODULES_MAX_BYTES);
	if (text)
		hardware_take_modules(h, text, reach);
	free(text);
}

/* Without its listing only what is built in is certain: false. */
static bool take_kernel(struct hardware *h, const char *kernel)
{
	char image[PATH_MAX], *listing = find_initramfs(kernel, image, sizeof(image)) ? list_initramfs(image) : NULL;
	bool known;

	take_module_file(h, kernel, "modules.dep", REACH_MODULE);
	take_module_file(h, kernel, "modules.builtin", REACH_BOOT);
	if (listing)
		hardware_take_modules(h, listing, REACH_BOOT);
	known = listing != NULL;
	free(listing);
	return known;
}

/* Of those with an initramfs. */
static bool find_newest_kernel(char *ret, size_t size)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *dir;

	ret[0] = 0;
	snprintf(path, sizeof(path), "%s/lib/modules", root());
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && strlen(e->d_name) < size && strverscmp(e->d_name, ret) > 0 &&
		    find_initramfs(e->d_name, path, sizeof(path)))
			snprintf(ret, size, "%s", e->d_name);
	if (dir)
		closedir(dir);
	return ret[0];
}

/* What boots next, and so in a copy, is the running kernel or one that was installed since: a driver
 * is within reach if it is in both. */
static void gather_drivers(struct hardware *h)
{
	char newest[sizeof(h->kernel)], image[PATH_MAX];
	struct hardware next = { .known = true };

	h->drivers_known = take_kernel(h, h->kernel);
	if (!find_newest_kernel(newest, sizeof(newest)) || strcmp(newest, h->kernel) == 0 || !take_kernel(&next, newest))
		return;
	if (!find_initramfs(h->kernel, image, sizeof(image))) { /* it was taken away: it cannot boot again */
		memcpy(h->drivers, next.drivers, sizeof(h->drivers));
		h->drivers_known = true;
		return;
	}
	for (unsigned int d = 0; d < DRIVERS; d++)
		h->drivers[d] = MIN(h->drivers[d], next.drivers[d]);
}

/* --- network -------------------------------------------------------------------------------------- */

static bool is_card(const char *interface)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/sys/class/net/%s/device", root(), interface);
	return access(path, F_OK) == 0;
}

/* Below a bridge, a bond or a VLAN.  A bridge may have machines' ports beside its card. */
static void find_card(char *interface, size_t size)
{
	for (unsigned int depth = 0; depth < 8 && !is_card(interface); depth++) {
		char path[PATH_MAX], lower[32] = "";
		struct dirent *e;
		DIR *dir;

		snprintf(path, sizeof(path), "%s/sys/class/net/%s", root(), interface);
		dir = opendir(path);
		while (dir && !(lower[0] && is_card(lower)) && (e = readdir(dir)))
			if (strncmp(e->d_name, "lower_", 6) == 0 && strlen(e->d_name) - 6 < size &&
			    (!lower[0] || is_card(e->d_name + 6)))
				snprintf(lower, sizeof(lower), "%.31s", e->d_name + 6);
		if (dir)
			closedir(dir);
		if (!lower[0])
			return;
		snprintf(interface, size, "%s", lower);
	}
}

static void take_folder(struct hardware *h, const char *folder)
{
	char path[PATH_MAX], full[PATH_MAX];
	unsigned int looked = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(full, sizeof(full), "%s%s", root(), folder);
	dir = opendir(full);
	while (dir && looked < FILES_MAX && (e = readdir(dir))) {
		char *text;

		if (e->d_name[0] == '.')
			continue;
		looked++;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		text = slurp(path, FILE_MAX_BYTES);
		if (text)
			facts_take_network_file(h, path, text);
		free(text);
	}
	if (dir)
		closedir(dir);
}

struct found_card {
	struct hardware_card card;
	long index; /* the kernel's, by which cards are in order */
};

/* A card below a bond has the bond's address; its own is what its configuration names. */
static bool look_at_card(const char *interface, struct found_card *ret)
{
	char path[160], number[24];
	struct hardware_card *c = &ret->card;

	if (strlen(interface) >= sizeof(c->interface))
		return false;
	snprintf(c->interface, sizeof(c->interface), "%s", interface);
	snprintf(path, sizeof(path), "/sys/class/net/%s/bonding_slave/perm_hwaddr", interface);
	if (!line_of(path, c->mac, sizeof(c->mac))) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/address", interface);
		if (!line_of(path, c->mac, sizeof(c->mac)))
			return false;
	}
	snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", interface);
	ret->index = line_of(path, number, sizeof(number)) ? strtol(number, NULL, 10) : 0;
	return strlen(c->mac) == 17 && strcmp(c->mac, "00:00:00:00:00:00") != 0;
}

static int compare_cards(const void *a, const void *b)
{
	const struct found_card *x = a, *y = b;

	return x->index != y->index ? (x->index > y->index) - (x->index < y->index) :
				      strcmp(x->card.interface, y->card.interface);
}

static unsigned int find_cards(struct found_card ret[CARDS_LOOKED_MAX], const char *of_route)
{
	char path[PATH_MAX];
	unsigned int n = 0;
	struct dirent *e;
	DIR *dir;

	/* It may have no device: a machine in a container, a card that is not on a bus. */
	if (of_route[0] && look_at_card(of_route, &ret[n]))
		n++;
	snprintf(path, sizeof(path), "%s/sys/class/net", root());
	dir = opendir(path);
	while (dir && n < CARDS_LOOKED_MAX && (e = readdir(dir)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, of_route) != 0 && is_card(e->d_name) &&
		    look_at_card(e->d_name, &ret[n]))
			n++;
	if (dir)
		closedir(dir);
	qsort(ret, n, sizeof(*ret), compare_cards);
	return n;
}

static bool is_known(const struct hardware *h, const char *mac)
{
	for (unsigned int i = 0; i < h->card_count; i++)
		if (strcasecmp(h->cards[i].mac, mac) == 0)
			return true;
	return false;
}

static void take_configuration(struct hardware *h)
{
	char *text = slurp("/etc/network/interfaces", FILE_MAX_BYTES);

	if (text)
		facts_take_network_file(h, "/etc/network/interfaces", text);
	free(text);
	for (unsigned int i = 0; hardware_network_folders[i]; i++)
		take_folder(h, hardware_network_folders[i]);
}

/* The card of the default route, and all that are configured: in the machine's order. */
static void gather_network(struct hardware *h)
{
	char *routes = slurp_stream("/proc/net/route"), of_route[16] = "";
	struct found_card found[CARDS_LOOKED_MAX];
	bool route_is_in = true;
	unsigned int n;

	if (routes && facts_default_interface(routes, of_route, sizeof(of_route)))
		find_card(of_route, sizeof(of_route));
	free(routes);
	n = find_cards(found, of_route);
	for (unsigned int i = 0; i < n; i++)
		route_is_in &= strcmp(found[i].card.interface, of_route) != 0; /* not yet */
	for (unsigned int i = 0; i < n && h->card_count < HARDWARE_CARDS_MAX; i++) {
		bool is_route = strcmp(found[i].card.interface, of_route) == 0;
		unsigned int bound = h->binding_count;

		if (is_known(h, found[i].card.mac) ||
		    (!is_route && !route_is_in && h->card_count == HARDWARE_CARDS_MAX - 1)) /* its place is kept */
			continue;
		h->cards[h->card_count++] = found[i].card;
		take_configuration(h);
		if (!is_route && h->binding_count == bound)
			h->card_count--; /* nobody asks for it */
		route_is_in |= is_route;
	}
}

/* --- all of it ----------------------------------------------------------------------------------------- */

int facts_gather(const struct settings *s, struct hardware *ret)
{
	struct facts_devices devices = { find_device, (void *)s };
	struct utsname u = { 0 };
	char *text;

	if (!*root() && disk_mounted_at(s, "/") < 0)
		return -ENXIO;
	(void)uname(&u);
	*ret = (struct hardware){ .known = true };
	if (!*root())
		find_boot_disk(s, ret);
	if (!*root() || !line_of("/proc/sys/kernel/osrelease", ret->kernel, sizeof(ret->kernel)))
		snprintf(ret->kernel, sizeof(ret->kernel), "%.64s", u.release);
	gather_drivers(ret);
	text = slurp_stream("/proc/cmdline");
	if (text)
		facts_take_command_line(ret, text, &devices);
	free(text);
	text = slurp("/etc/fstab", FILE_MAX_BYTES);
	if (text)
		facts_take_fstab(ret, text, &devices);
	free(text);
	gather_network(ret);
	return 0;
}
