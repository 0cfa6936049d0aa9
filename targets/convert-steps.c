/* SPDX-License-Identifier: Apache-2.0 */
#include "convert-steps.h"
#include "edits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define FILE_MAX  (1 * MIB)
#define SELINUX	  "security.selinux"
#define HOST_KEYS "/etc/ssh/ssh_host_*_key*"

/* --- files ------------------------------------------------------------------------------- */

static void free_list(char **list)
{
	for (unsigned int i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static bool is_there(const struct guest *t, const char *path)
{
	return guestfs_is_file_opts(t->g, path, GUESTFS_IS_FILE_OPTS_FOLLOWSYMLINKS, 1, -1) == 1;
}

static bool is_folder(const struct guest *t, const char *path)
{
	return guestfs_is_dir_opts(t->g, path, GUESTFS_IS_DIR_OPTS_FOLLOWSYMLINKS, 1, -1) == 1;
}

char *steps_read(const struct guest *t, const char *path)
{
	int64_t size = is_there(t, path) ? guestfs_filesize(t->g, path) : -1;
	size_t len = 0;
	char *text = size >= 0 && size <= (int64_t)FILE_MAX ? guestfs_read_file(t->g, path, &len) : NULL;

	if (!text || strlen(text) == len)
		return text;
	free(text); /* what follows its NUL would be lost */
	return NULL;
}

/* A program's last line says why it failed; libguestfs' own first line does, and advice follows. */
static void complain(const struct guest *t, const char *what)
{
	const char *error = guestfs_last_error(t->g) ?: "it failed";
	const char *advice = strstr(error, "\nThis usually means");

	fprintf(stderr, "%s: %.*s\n", what, (int)(advice ? (size_t)(advice - error) : strlen(error)), error);
}

/* What is made here gets its folder's label, as root would give it in the system itself; libguestfs'
 * machine knows of no policy.  A system without SELinux has none. */
static int label(const struct guest *t, const char *path)
{
	char folder[256];
	const char *slash = strrchr(path, '/');
	size_t size;
	char *is, *wanted;
	int err;

	snprintf(folder, sizeof(folder), "%.*s", slash > path ? (int)(slash - path) : 1, path);
	is = guestfs_lgetxattr(t->g, path, SELINUX, &size);
	wanted = is ? NULL : guestfs_lgetxattr(t->g, folder, SELINUX, &size);
	err = wanted ? guestfs_lsetxattr(t->g, SELINUX, wanted, (int)size, path) : 0;
	if (err)
		complain(t, path);
	free(is);
	free(wanted);
	return err ? -EIO : 0;
}

int steps_write(const struct guest *t, const char *path, char *text)
{
	int err = guestfs_write(t->g, path, text, strlen(text));

	free(text);
	if (err)
		complain(t, path);
	return err ? -EIO : label(t, path);
}

/* --- fstab, and the kernel's command line ---------------------------------------------------- */

static bool has_uuid(const struct guest *t, const char *uuid)
{
	bool found = false;

	for (unsigned int i = 0; t->filesystems[i] && !found; i += 2) {
		char *its = guestfs_vfs_uuid(t->g, t->filesystems[i]);

		found = its && strcasecmp(its, uuid) == 0;
		free(its);
	}
	return found;
}

/* The partition's number at the end of its name; 0: the whole disk. */
static unsigned int part_of(const char *device)
{
	const char *end = device + strlen(device), *p = end;

	while (p > device && p[-1] >= '0' && p[-1] <= '9')
		p--;
	/* nvme0n1 is a whole disk */
	if (strncmp(device, "/dev/nvme", 9) == 0 && p > device && p[-1] != 'p')
		return 0;
	return (unsigned int)atoi(p);
}

/*
 * As the source said it, if such a file system is on the disks; else that of the partition
 * with that number on the disk that would have that name.
 */
static bool find_uuid(const struct guest *t, const char *device, char *ret, size_t size)
{
	const struct hardware *h = &t->spec->hardware;
	unsigned int disk = UINT32_MAX, controller;
	char name[64], *uuid;

	for (unsigned int i = 0; i < h->name_count; i++) {
		if (strcmp(h->names[i].device, device) != 0)
			continue;
		disk = h->names[i].disk;
		if (h->names[i].uuid[0] && has_uuid(t, h->names[i].uuid)) {
			snprintf(ret, size, "%s", h->names[i].uuid);
			return true;
		}
	}
	if (disk == UINT32_MAX && sscanf(device, "/dev/nvme%3un1", &controller) == 1)
		disk = controller;
	else if (disk == UINT32_MAX && (strncmp(device, "/dev/sd", 7) == 0 || strncmp(device, "/dev/vd", 7) == 0 ||
					strncmp(device, "/dev/hd", 7) == 0))
		disk = (unsigned int)(device[7] - 'a');
	if (disk >= t->disk_count || disk >= 26)
		return false;
	snprintf(name, sizeof(name), part_of(device) ? "/dev/sd%c%u" : "/dev/sd%c", 'a' + (int)disk, part_of(device));
	uuid = guestfs_vfs_uuid(t->g, name);
	snprintf(ret, size, "%s", uuid ? uuid : "");
	free(uuid);
	return ret[0];
}

static bool fits(const struct guest *t, const char *device)
{
	const struct hardware *h = &t->spec->hardware;

	for (unsigned int i = 0; i < h->name_count; i++)
		if (strcmp(h->names[i].device, device) == 0)
			return hardware_name_fits(&h->names[i], t->bus);
	for (unsigned int disk = 0; disk < t->disk_count; disk++) {
		struct hardware_name n = { .disk = disk };

		snprintf(n.device, sizeof(n.device), "%s", device);
		if (hardware_name_fits(&n, t->bus))
			return true;
	}
	return false;
}

/* "UUID=..." for @device in @path, if it needs and has one. */
static bool find_replacement(const struct guest *t, const char *path, const char *device, char *ret, size_t size)
{
	char uuid[80];

	if (!hardware_is_name(device) || fits(t, device))
		return false;
	if (!find_uuid(t, device, uuid, sizeof(uuid))) {
		step("%s: %s is left as it is, what it was is not on the disks", path, device);
		return false;
	}
	snprintf(ret, size, "UUID=%s", uuid);
	return true;
}

/* Each device is a change of its own; what is changed is not found again. */
static int change_fstab(const struct guest *t)
{
	char *text = steps_read(t, "/etc/fstab"), device[256], with[96];
	bool changed = false;
	const char *at = text;

	while (at && edits_next_fstab(&at, device, sizeof(device))) {
		char *edited;

		if (!find_replacement(t, "/etc/fstab", device, with, sizeof(with)))
			continue;
		edited = edits_fstab(text, device, with);
		if (!edited)
			continue;
		step("/etc/fstab: %s is %s now", device, with);
		free(text);
		at = text = edited;
		changed = true;
	}
	if (changed)
		return steps_write(t, "/etc/fstab", text);
	free(text);
	return 0;
}

static int change_arguments(const struct guest *t, const char *path)
{
	static const char *const names[] = { "root=", "resume=", "RESUME=" };
	char *text = steps_read(t, path), device[256], with[96];
	bool changed = false;

	for (unsigned int i = 0; text && i < ARRAY_LEN(names); i++) {
		const char *at = text;

		while (edits_next_argument(text, names[i], &at, device, sizeof(device))) {
			char *edited;

			if (!find_replacement(t, path, device, with, sizeof(with)))
				continue;
			edited = edits_argument(text, names[i], device, with);
			if (!edited)
				continue;
			step("%s: %s%s is %s%s now", path, names[i], device, names[i], with);
			free(text);
			at = text = edited;
			changed = true;
		}
	}
	if (changed)
		return steps_write(t, path, text);
	free(text);
	return 0;
}

static int steps_names(const struct guest *t)
{
	static const char *const patterns[] = {
		"/boot/grub/grub.cfg",	 "/boot/grub2/grub.cfg",   "/boot/grub/menu.lst",
		"/boot/grub/grub.conf",	 "/boot/efi/EFI/*/grub.cfg", "/boot/loader/entries/*.conf",
		"/boot/extlinux/*.conf", "/etc/default/grub",	   "/etc/kernel/cmdline",
		"/etc/initramfs-tools/conf.d/resume",
	};
	int err = change_fstab(t);

	for (unsigned int i = 0; i < ARRAY_LEN(patterns) && !err; i++) {
		char **paths = guestfs_glob_expand(t->g, patterns[i]);

		for (unsigned int k = 0; paths && paths[k] && !err; k++)
			err = change_arguments(t, paths[k]);
		free_list(paths);
	}
	return err;
}

/* --- network --------------------------------------------------------------------------------- */

static int change_mac(const struct guest *t, const char *path, unsigned int card)
{
	const char *mac = t->spec->hardware.cards[card].mac;
	char *text = steps_read(t, path), *edited = text ? edits_mac(text, mac, t->macs[card]) : NULL;

	free(text);
	if (!edited)
		return 0;
	step("%s: the address %s is %s now", path, mac, t->macs[card]);
	return steps_write(t, path, edited);
}

static int change_macs(const struct guest *t, const char *path)
{
	int err = 0;

	for (unsigned int i = 0; i < t->spec->hardware.card_count && !err; i++)
		err = change_mac(t, path, i);
	return err;
}

static int change_folder(const struct guest *t, const char *folder)
{
	char **names = is_folder(t, folder) ? guestfs_ls(t->g, folder) : NULL, path[1024];
	int err = 0;

	for (unsigned int i = 0; names && names[i] && !err; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		err = change_macs(t, path);
	}
	free_list(names);
	return err;
}

/* The card is called as the old one was (systemd.link(5)), wherever it is. */
static int keep_interface_name(const struct guest *t, unsigned int card)
{
	const char *interface = t->spec->hardware.cards[card].interface;
	char *wanted, *there, path[64] = "/etc/systemd/network/10-godwit-launch.link";
	int err = 0;

	if (card)
		snprintf(path, sizeof(path), "/etc/systemd/network/10-godwit-launch-%u.link", card);
	if (!is_folder(t, "/lib/systemd") && !is_folder(t, "/usr/lib/systemd")) {
		step("no systemd: the network interface may be called otherwise than %s", interface);
		return 0;
	}
	if (asprintf(&wanted, "# Written by godwit when this machine was launched.\n[Match]\nMACAddress=%s\n\n[Link]\nName=%s\n",
		     t->macs[card], interface) < 0)
		return -ENOMEM;
	there = steps_read(t, path);
	if (there && strcmp(there, wanted) == 0) {
		free(wanted);
	} else if (guestfs_mkdir_p(t->g, "/etc/systemd/network") || label(t, "/etc/systemd/network")) {
		free(wanted);
		err = -EIO;
	} else {
		step("%s: the card with the address %s is called %s", path, t->macs[card], interface);
		err = steps_write(t, path, wanted);
	}
	free(there);
	return err;
}

static int steps_network(const struct guest *t)
{
	int err;

	if (!t->spec->hardware.card_count || !hardware_needs(&t->spec->hardware, t->bus).network)
		return 0;
	err = change_macs(t, "/etc/network/interfaces");
	for (unsigned int i = 0; hardware_network_folders[i] && !err; i++)
		err = change_folder(t, hardware_network_folders[i]);
	for (unsigned int i = 0; i < t->spec->hardware.card_count && !err; i++)
		err = keep_interface_name(t, i);
	return err;
}

/* --- initramfs ---------------------------------------------------------------------------------- */

struct image {
	char kernel[65], path[160];
	struct hardware has;
};

static bool find_image(const struct guest *t, const char *kernel, struct image *ret)
{
	if (strlen(kernel) >= sizeof(ret->kernel))
		return false;
	snprintf(ret->kernel, sizeof(ret->kernel), "%s", kernel);
	for (unsigned int form = 0; form < HARDWARE_INITRAMFS_FORMS; form++) {
		hardware_initramfs_path(form, kernel, ret->path, sizeof(ret->path));
		if (is_there(t, ret->path))
			return true;
	}
	return false;
}

static void take(struct hardware *h, char *text, enum hardware_reach reach)
{
	if (text)
		hardware_take_modules(h, text, reach);
	free(text);
}

/* What is in it, told by the guest's own program; built-in drivers count, too. */
static void look_into(const struct guest *t, struct image *image)
{
	char path[160];
	char *list[] = { (char *)"lsinitramfs", image->path, NULL };

	image->has = (struct hardware){ .known = true, .drivers_known = true };
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", image->kernel);
	take(&image->has, steps_read(t, path), REACH_BOOT);
	if (!is_there(t, "/usr/bin/lsinitramfs"))
		list[0] = (char *)"lsinitrd";
	take(&image->has, guestfs_command(t->g, list), REACH_BOOT);
}

static int run(const struct guest *t, const char *const command[])
{
	char *said = guestfs_command(t->g, (char *const *)command);

	free(said);
	if (said)
		return 0;
	complain(t, command[0]);
	return -EIO;
}

static int put(const struct guest *t, const char *path, const char *text)
{
	char *there = steps_read(t, path);
	bool same = there && strcmp(there, text) == 0;

	free(there);
	if (same)
		return 0;
	step("%s: written", path);
	return steps_write(t, path, strdup(text));
}

/* Debian and its kin.  Drivers of its own choice (MODULES=dep) would be those of libguestfs'
 * machine; otherwise its configuration stays as it is, and ours are added. */
static int make_by_initramfs_tools(const struct guest *t, const struct image *image)
{
	static const char ask[] = "cd /etc/initramfs-tools; . ./initramfs.conf; for f in conf.d/*; do "
				  "[ ! -f \"$f\" ] || . \"./$f\"; done; echo \"$MODULES\"";
	const char *const command[] = { "update-initramfs", "-u", "-k", image->kernel, NULL };
	char *modules = guestfs_sh(t->g, ask);
	bool all = !modules || strncmp(modules, "dep", 3) == 0;
	int err;

	free(modules);
	err = put(t, "/usr/share/initramfs-tools/modules.d/godwit-launch",
		  "# Written by godwit when this machine was launched on other hardware.\n"
		  "virtio_pci\nvirtio_blk\nvirtio_scsi\nvirtio_net\nahci\nnvme\nsd_mod\n");
	if (!err && all)
		err = put(t, "/etc/initramfs-tools/conf.d/zz-godwit-launch",
			  "# Written by godwit when this machine was launched on other hardware.\nMODULES=most\n");
	return err ? err : run(t, command);
}

static int make_by_dracut(const struct guest *t, const struct image *image)
{
	const char *const command[] = { "dracut", "--force", image->path, image->kernel, NULL };

	return put(t, "/etc/dracut.conf.d/99-godwit-launch.conf",
		   "# Written by godwit when this machine was launched on other hardware.\n"
		   "add_drivers+=\" virtio_pci virtio_blk virtio_scsi virtio_net ahci nvme sd_mod \"\n") ?:
	       run(t, command);
}

static int make_anew(const struct guest *t, struct image *image)
{
	int err;

	step("%s: has no driver for %s disks, it is made anew", image->path, hardware_bus_name(t->bus));
	if (is_there(t, "/usr/sbin/update-initramfs")) {
		err = make_by_initramfs_tools(t, image);
	} else if (is_there(t, "/usr/bin/dracut") || is_there(t, "/sbin/dracut")) {
		err = make_by_dracut(t, image);
	} else {
		fprintf(stderr, "%s: the machine has neither update-initramfs nor dracut to make it anew\n", image->path);
		return -ENOPKG;
	}
	if (err)
		return err;
	look_into(t, image);
	if (!hardware_bus_boots(&image->has, t->bus)) {
		fprintf(stderr, "%s: was made anew and has no driver for %s disks still\n", image->path,
			hardware_bus_name(t->bus));
		return -EIO;
	}
	step("%s: has drivers for %s disks now", image->path, hardware_bus_name(t->bus));
	return label(t, image->path);
}

static int see_to_image(const struct guest *t, struct image *image)
{
	look_into(t, image);
	return hardware_bus_boots(&image->has, t->bus) ? 0 : make_anew(t, image);
}

/* Which kernel boots is the boot loader's to say: the newest as a rule, the one that the source ran, any
 * other that somebody chose.  So all are seen to; one of the others that cannot be is only a pity. */
static int see_to_images(const struct guest *t, char *const kernels[], unsigned int *ret_seen)
{
	const char *newest = "";
	static struct image image;
	int err = 0;

	for (unsigned int i = 0; kernels[i]; i++)
		if (strverscmp(kernels[i], newest) > 0 && find_image(t, kernels[i], &image))
			newest = kernels[i];
	*ret_seen = 0;
	for (unsigned int i = 0; kernels[i] && !err; i++) {
		if (!find_image(t, kernels[i], &image))
			continue;
		++*ret_seen;
		err = see_to_image(t, &image);
		if (!err || strcmp(kernels[i], newest) == 0 || strcmp(kernels[i], t->spec->hardware.kernel) == 0)
			continue;
		step("%s: could not be made anew; its kernel is neither the newest nor the one that ran", image.path);
		err = 0;
	}
	return err;
}

static int steps_initramfs(const struct guest *t)
{
	const struct hardware *h = &t->spec->hardware;
	unsigned int seen = 0;
	char **kernels;
	int err;

	if (h->drivers_known && hardware_bus_boots(h, t->bus) && t->spec->convert != CONVERT_ALWAYS)
		return 0; /* listing them takes a while */
	kernels = guestfs_ls(t->g, "/lib/modules");
	err = kernels ? see_to_images(t, kernels, &seen) : 0;
	free_list(kernels);
	if (err || seen || hardware_bus_boots(h, t->bus)) /* its kernel may have all in itself */
		return err;
	fprintf(stderr, "/boot: no initramfs of a kernel in /lib/modules is there, and one needs drivers for %s disks\n",
		hardware_bus_name(t->bus));
	return -ENOENT;
}

/* --- identity ------------------------------------------------------------------------------------ */

struct label {
	char *is; /* NULL: it has none */
	size_t size;
};

/* A policy has a type for these keys, which is not their folder's: each gets the label of the old one, and
 * one of a kind that was not there its folder's. */
static int make_keys(const struct guest *t, char *const keys[], const struct label *labels)
{
	const char *const keygen[] = { "ssh-keygen", "-A", NULL };
	char **made;
	int err;

	step("/etc/ssh: new host keys in place of the old ones");
	err = run(t, keygen);
	for (unsigned int i = 0; keys[i] && !err; i++) {
		if (!labels[i].is || !is_there(t, keys[i]))
			continue;
		if (guestfs_lsetxattr(t->g, SELINUX, labels[i].is, (int)labels[i].size, keys[i])) {
			complain(t, keys[i]);
			err = -EIO;
		}
	}
	made = guestfs_glob_expand(t->g, HOST_KEYS);
	for (unsigned int i = 0; made && made[i] && !err; i++)
		err = label(t, made[i]);
	free_list(made);
	return err;
}

static int replace_keys(const struct guest *t)
{
	char **keys = guestfs_glob_expand(t->g, HOST_KEYS);
	struct label *labels;
	unsigned int n = 0;
	int err = 0;

	while (keys && keys[n])
		n++;
	labels = calloc(n + 1, sizeof(*labels));
	if (!labels)
		err = -ENOMEM;
	for (unsigned int i = 0; i < n && !err; i++) {
		labels[i].is = guestfs_lgetxattr(t->g, keys[i], SELINUX, &labels[i].size);
		err = guestfs_rm_f(t->g, keys[i]) ? -EIO : 0;
	}
	if (!err && n && is_there(t, "/usr/bin/ssh-keygen"))
		err = make_keys(t, keys, labels);
	else if (!err && n)
		step("/etc/ssh: the host keys are gone, and there is no ssh-keygen to make new ones");
	for (unsigned int i = 0; labels && i < n; i++)
		free(labels[i].is);
	free(labels);
	free_list(keys);
	return err;
}

/* By a mark with the launch's id it is known that it was done. */
static int steps_identity(const struct guest *t)
{
	static const char mark[] = "/etc/.godwit-new-identity";
	char id[UUID_TEXT_LEN + 1], *there;
	int err = 0;

	if (!t->spec->new_identity)
		return 0;
	uuid_format(&t->spec->id, id);
	there = steps_read(t, mark);
	if (there && strcmp(there, id) == 0) {
		free(there);
		return 0;
	}
	free(there);
	if (is_there(t, "/etc/machine-id")) {
		step("/etc/machine-id: emptied, a new one is made when it starts");
		err = steps_write(t, "/etc/machine-id", strdup(""));
		if (!err && guestfs_is_file(t->g, "/var/lib/dbus/machine-id") == 1) /* not if it is a link to it */
			err = guestfs_rm_f(t->g, "/var/lib/dbus/machine-id") ? -EIO : 0;
	}
	err = err ?: replace_keys(t);
	return err ? err : steps_write(t, mark, strdup(id));
}

int steps_all(const struct guest *t)
{
	if (t->spec->convert == CONVERT_NEVER) /* a new identity is not of the hardware, and was asked for */
		return steps_identity(t);
	return steps_names(t) ?: steps_network(t) ?: steps_initramfs(t) ?: steps_identity(t);
}
