/* SPDX-License-Identifier: Apache-2.0 */
#include "hardware.h"
#include "utf8.h"
#include "wallclock.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const driver_names[DRIVERS] = {
	[DRIVER_VIRTIO_PCI] = "virtio_pci",   [DRIVER_VIRTIO_BLK] = "virtio_blk", [DRIVER_VIRTIO_SCSI] = "virtio_scsi",
	[DRIVER_VIRTIO_NET] = "virtio_net",   [DRIVER_AHCI] = "ahci",		  [DRIVER_NVME] = "nvme",
	[DRIVER_SD_MOD] = "sd_mod",	      [DRIVER_E1000E] = "e1000e",
};
static const char *const reach_names[] = { "none", "module", "boot" };
static const char *const bus_names[] = { "virtio", "scsi", "sata", "nvme", "auto" };

const char *hardware_driver_name(enum hardware_driver d)
{
	return driver_names[d];
}

const char *hardware_bus_name(enum target_bus bus)
{
	return bus_names[bus];
}

/* --- JSON -------------------------------------------------------------------------------- */

static json_t *drivers_json(const struct hardware *h)
{
	json_t *j = json_object();

	if (!h->drivers_known) {
		json_decref(j);
		return json_null();
	}
	for (unsigned int i = 0; i < DRIVERS; i++)
		json_object_set_new(j, driver_names[i], json_string(reach_names[h->drivers[i]]));
	return j;
}

static json_t *names_json(const struct hardware *h)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < h->name_count; i++) {
		const struct hardware_name *n = &h->names[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:i}", "file", n->file, "device", n->device,
						      "uuid", n->uuid[0] ? n->uuid : NULL, "disk", (int)n->disk));
	}
	return list;
}

static json_t *card_json(const struct hardware *h, unsigned int card)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < h->binding_count; i++)
		if (h->bindings[i].card == card)
			json_array_append_new(list, json_pack("{s:s, s:s}", "file", h->bindings[i].file, "by",
							      h->bindings[i].by_mac ? "mac" : "name"));
	return json_pack("{s:s, s:s, s:o}", "interface", h->cards[card].interface, "mac", h->cards[card].mac, "bound", list);
}

static json_t *network_json(const struct hardware *h)
{
	json_t *first, *more;

	if (!h->card_count)
		return json_null();
	first = card_json(h, 0);
	more = json_array();
	for (unsigned int i = 1; i < h->card_count; i++)
		json_array_append_new(more, card_json(h, i));
	if (json_array_size(more))
		json_object_set(first, "more", more);
	json_decref(more);
	return first;
}

json_t *hardware_to_json(const struct hardware *h)
{
	json_t *j = json_pack("{s:s, s:o, s:o, s:o}", "kernel", h->kernel, "drivers", drivers_json(h), "names",
			      names_json(h), "network", network_json(h));

	if (h->boot_disk_known)
		json_object_set_new(j, "boot_disk", json_integer(h->boot_disk));
	return j;
}

static bool take_text(const json_t *o, const char *name, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(o, name));
	size_t len = text ? strlen(text) : 0;

	if (!text || len >= size || !utf8_is_printable(text, len))
		return false;
	memcpy(ret, text, len + 1);
	return true;
}

static bool take_drivers(const json_t *j, struct hardware *h)
{
	if (json_is_null(j))
		return true;
	if (!json_is_object(j))
		return false;
	h->drivers_known = true;
	for (unsigned int i = 0; i < DRIVERS; i++) {
		const char *reach = json_string_value(json_object_get(j, driver_names[i])) ?: "none";
		unsigned int r = 0;

		while (r < ARRAY_LEN(reach_names) && strcmp(reach, reach_names[r]) != 0)
			r++;
		if (r == ARRAY_LEN(reach_names))
			return false;
		h->drivers[i] = (enum hardware_reach)r;
	}
	return true;
}

static bool take_names(const json_t *list, struct hardware *h)
{
	const json_t *j;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > HARDWARE_NAMES_MAX)
		return false;
	json_array_foreach(list, i, j) {
		struct hardware_name *n = &h->names[h->name_count++];
		json_int_t disk = json_integer_value(json_object_get(j, "disk"));

		if (!take_text(j, "file", n->file, sizeof(n->file)) ||
		    !take_text(j, "device", n->device, sizeof(n->device)) || disk < 0 || disk >= DISKS_MAX)
			return false;
		if (!json_is_null(json_object_get(j, "uuid")) && !take_text(j, "uuid", n->uuid, sizeof(n->uuid)))
			return false;
		n->disk = (unsigned int)disk;
	}
	return true;
}

static bool is_mac(const char *s)
{
	for (unsigned int i = 0; i < 17; i++)
		if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char)s[i]))
			return false;
	return s[17] == 0;
}

static bool is_interface(const char *s)
{
	return s[0] && !strchr(s, '/') && strspn(s, ".") < strlen(s) && !strpbrk(s, " \t\"'=[]");
}

static bool is_bridge_name(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return is_interface(name) && strlen(name) < HARDWARE_BRIDGE_SIZE && !name[strspn(name, letters)];
}

/* Behind the comma that ends the name at @name; NULL: it is the last one. */
static const char *next_bridge(const char *name)
{
	const char *comma = strchr(name, ',');

	return comma ? comma + 1 : NULL;
}

unsigned int hardware_count_bridges(const char *list)
{
	unsigned int count = 0;

	for (const char *b = list; b; b = next_bridge(b))
		count++;
	return count;
}

const char *hardware_bridge_of(const char *list, unsigned int card, char ret[HARDWARE_BRIDGE_SIZE])
{
	for (const char *next = next_bridge(list); next && card > 0; next = next_bridge(list), card--)
		list = next;
	snprintf(ret, HARDWARE_BRIDGE_SIZE, "%.*s", (int)strcspn(list, ","), list);
	return ret;
}

bool hardware_are_bridges(const char *list)
{
	unsigned int count = 0;

	for (const char *b = list; b; b = next_bridge(b)) {
		size_t length = strcspn(b, ",");
		char name[HARDWARE_BRIDGE_SIZE];

		snprintf(name, sizeof(name), "%.*s", (int)length, b);
		if (count++ == HARDWARE_CARDS_MAX || length >= sizeof(name) || !is_bridge_name(name))
			return false;
	}
	return true;
}

/* No two of one name or address: nothing could be told apart by them. */
static bool is_another(const struct hardware *h, const struct hardware_card *c)
{
	for (unsigned int i = 0; i < h->card_count; i++)
		if (strcmp(h->cards[i].interface, c->interface) == 0 || strcasecmp(h->cards[i].mac, c->mac) == 0)
			return false;
	return true;
}

static bool take_card(const json_t *j, struct hardware *h)
{
	const json_t *list = json_object_get(j, "bound"), *b;
	struct hardware_card *c = &h->cards[h->card_count];
	size_t i;

	if (h->card_count == HARDWARE_CARDS_MAX || !take_text(j, "interface", c->interface, sizeof(c->interface)) ||
	    !is_interface(c->interface) || !take_text(j, "mac", c->mac, sizeof(c->mac)) || !is_mac(c->mac) ||
	    !is_another(h, c) || !json_is_array(list) ||
	    json_array_size(list) > HARDWARE_BINDINGS_MAX - h->binding_count)
		return false;
	json_array_foreach(list, i, b) {
		const char *by = json_string_value(json_object_get(b, "by")) ?: "";
		struct hardware_binding *to = &h->bindings[h->binding_count++];

		if (!take_text(b, "file", to->file, sizeof(to->file)) || (strcmp(by, "mac") && strcmp(by, "name")))
			return false;
		to->by_mac = strcmp(by, "mac") == 0;
		to->card = h->card_count;
	}
	h->card_count++;
	return true;
}

static bool take_network(const json_t *j, struct hardware *h)
{
	const json_t *more = json_object_get(j, "more"), *card;
	size_t i;

	if (json_is_null(j))
		return true;
	if (!take_card(j, h) || (more && !json_is_array(more)))
		return false;
	json_array_foreach(more, i, card)
		if (!take_card(card, h))
			return false;
	return true;
}

static bool take_boot_disk(const json_t *j, struct hardware *h)
{
	json_int_t disk = json_integer_value(j);

	if (!j)
		return true;
	h->boot_disk_known = true;
	h->boot_disk = (unsigned int)disk;
	return json_is_integer(j) && disk >= 0 && disk < DISKS_MAX;
}

int hardware_from_json(const json_t *j, struct hardware *ret)
{
	struct hardware *h = calloc(1, sizeof(*h));
	bool good;

	if (!h)
		return -ENOMEM;
	h->known = true;
	good = json_is_object(j) && take_text(j, "kernel", h->kernel, sizeof(h->kernel)) && !strchr(h->kernel, '/') &&
	       take_drivers(json_object_get(j, "drivers"), h) && take_names(json_object_get(j, "names"), h) &&
	       take_network(json_object_get(j, "network"), h) && take_boot_disk(json_object_get(j, "boot_disk"), h);
	if (good)
		*ret = *h;
	free(h);
	return good ? 0 : -EINVAL;
}

const json_t *hardware_at(const json_t *history, uint64_t time_us, bool *ret_later)
{
	const json_t *j, *oldest = NULL;
	uint64_t since_us;
	size_t i;

	json_array_foreach(history, i, j) {
		const char *since = json_string_value(json_object_get(j, "since"));

		if (!since || wallclock_parse(since, &since_us) || !json_is_object(json_object_get(j, "hardware")))
			continue;
		oldest = j;
		if (since_us > time_us)
			continue;
		*ret_later = false;
		return j;
	}
	*ret_later = oldest != NULL;
	return oldest;
}

/* --- reading ------------------------------------------------------------------------------ */

/* "kernel/drivers/block/virtio-blk.ko.xz" is virtio_blk. */
static bool is_module(const char *path, size_t len, const char *name)
{
	size_t i = 0;

	while (len > i && path[len - 1 - i] != '/')
		i++;
	path += len - i;
	len = strlen(name);
	if (i < len + 3 || strncmp(path + len, ".ko", 3) != 0 || (i > len + 3 && path[len + 3] != '.'))
		return false;
	for (i = 0; i < len; i++)
		if ((path[i] == '-' ? '_' : path[i]) != name[i])
			return false;
	return true;
}

void hardware_take_modules(struct hardware *h, const char *text, enum hardware_reach reach)
{
	for (size_t line; *text; text += line + (text[line] == '\n')) {
		size_t len, start;

		line = strcspn(text, "\n");
		/* "a/b.ko: what it depends on"; a listing's path is the last word. */
		for (len = 0; len < line && text[len] != ':'; len++)
			;
		if (len < line && len > 3 && strncmp(text + len - 3, ".ko", 3) != 0 && !memmem(text, len, ".ko.", 4))
			len = line; /* the time of `ls -l' */
		for (start = len; start > 0 && !isspace((unsigned char)text[start - 1]); start--)
			;
		for (unsigned int d = 0; d < DRIVERS; d++)
			if (is_module(text + start, len - start, hardware_driver_name(d)))
				h->drivers[d] = MAX(h->drivers[d], reach);
	}
}

/* Debian; Red Hat; SUSE; without dracut's suffix. */
void hardware_initramfs_path(unsigned int form, const char *kernel, char *ret, size_t size)
{
	static const struct {
		const char *before, *after;
	} forms[HARDWARE_INITRAMFS_FORMS] = {
		{ "/boot/initrd.img-", "" }, { "/boot/initramfs-", ".img" }, { "/boot/initrd-", "" }, { "/boot/initramfs-", "" },
	};

	assert(form < HARDWARE_INITRAMFS_FORMS);
	snprintf(ret, size, "%s%s%s", forms[form].before, kernel, forms[form].after);
}

bool hardware_is_name(const char *device)
{
	static const char *const prefixes[] = { "/dev/sd", "/dev/hd", "/dev/vd", "/dev/xvd", "/dev/nvme",
						"/dev/mmcblk", "/dev/disk/by-id/", "/dev/disk/by-path/" };

	for (unsigned int i = 0; i < ARRAY_LEN(prefixes); i++)
		if (strncmp(device, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

const char *const hardware_network_folders[] = {
	"/etc/network/interfaces.d", "/etc/netplan", "/etc/systemd/network", "/etc/NetworkManager/system-connections",
	"/etc/sysconfig/network-scripts", "/etc/sysconfig/network", "/etc/udev/rules.d", NULL,
};

/* --- deciding ----------------------------------------------------------------------------- */

static bool at_boot(const struct hardware *h, enum hardware_driver d)
{
	return h->drivers[d] == REACH_BOOT;
}

bool hardware_bus_boots(const struct hardware *h, enum target_bus bus)
{
	if (!h->known || !h->drivers_known)
		return true;
	switch (bus) {
	case BUS_VIRTIO:
		return at_boot(h, DRIVER_VIRTIO_PCI) && at_boot(h, DRIVER_VIRTIO_BLK);
	case BUS_SCSI:
		return at_boot(h, DRIVER_VIRTIO_PCI) && at_boot(h, DRIVER_VIRTIO_SCSI) && at_boot(h, DRIVER_SD_MOD);
	case BUS_SATA:
		return at_boot(h, DRIVER_AHCI) && at_boot(h, DRIVER_SD_MOD);
	case BUS_NVME:
		return at_boot(h, DRIVER_NVME);
	default:
		return true;
	}
}

/* "/dev/sdc1" is the third disk's; -1: it is not called like that. */
static int letter_index(const char *device, const char *prefix)
{
	size_t len = strlen(prefix);
	const char *p = device + len;

	if (strncmp(device, prefix, len) != 0 || *p < 'a' || *p > 'z')
		return -1;
	p++;
	return p[strspn(p, "0123456789")] ? -1 : p[-1] - 'a';
}

static int nvme_index(const char *device)
{
	unsigned int controller, name_space;
	int n = 0;

	if (sscanf(device, "/dev/nvme%3un%3u%n", &controller, &name_space, &n) != 2 || name_space != 1)
		return -1;
	if (device[n] == 'p')
		n++;
	return device[n + (int)strspn(device + n, "0123456789")] ? -1 : (int)controller;
}

bool hardware_name_fits(const struct hardware_name *n, enum target_bus bus)
{
	int index = bus == BUS_VIRTIO ? letter_index(n->device, "/dev/vd") :
		    bus == BUS_NVME   ? nvme_index(n->device) :
					letter_index(n->device, "/dev/sd");

	return index >= 0 && (unsigned int)index == n->disk;
}

static unsigned int names_that_do_not_fit(const struct hardware *h, enum target_bus bus)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < h->name_count; i++)
		n += !hardware_name_fits(&h->names[i], bus);
	return n;
}

#define SATA_PORTS 6u
#define PCI_SLOTS  19u /* for disks, with eight network cards */

bool hardware_bus_holds(enum target_bus bus, const struct hardware_disks *disks)
{
	if (!disks || bus == BUS_SCSI)
		return true;
	if (bus == BUS_SATA)
		return disks->count <= SATA_PORTS && disks->sector_bytes == SECTOR_BYTES;
	return disks->count <= PCI_SLOTS;
}

enum target_bus hardware_choose_bus(const struct hardware *h, bool converted, const struct hardware_disks *disks)
{
	static const enum target_bus order[] = { BUS_VIRTIO, BUS_SATA, BUS_NVME, BUS_SCSI };
	enum target_bus best = BUS_AUTO;

	for (unsigned int i = 0; i < ARRAY_LEN(order); i++) {
		if (!hardware_bus_holds(order[i], disks) || !hardware_bus_boots(h, order[i]))
			continue;
		if (converted || names_that_do_not_fit(h, order[i]) == 0)
			return order[i];
		if (best == BUS_AUTO)
			best = order[i];
	}
	if (best != BUS_AUTO)
		return best;
	return hardware_bus_holds(BUS_VIRTIO, disks) ? BUS_VIRTIO : BUS_SCSI;
}

/* The kernel calls cards eth0, eth1 ... in their order, whatever they are; udev after their places. */
static bool network_is_bound(const struct hardware *h)
{
	char usual[16];

	for (unsigned int i = 0; i < h->binding_count; i++) {
		const struct hardware_binding *b = &h->bindings[i];

		snprintf(usual, sizeof(usual), "eth%u", b->card);
		if (b->by_mac || strcmp(h->cards[b->card].interface, usual) != 0)
			return true;
	}
	return false;
}

struct hardware_needs hardware_needs(const struct hardware *h, enum target_bus bus)
{
	if (!h->known)
		return (struct hardware_needs){ 0 };
	return (struct hardware_needs){
		.drivers = !hardware_bus_boots(h, bus),
		.names = names_that_do_not_fit(h, bus),
		.network = network_is_bound(h),
	};
}

bool hardware_has_virtio_net(const struct hardware *h)
{
	return !h->known || !h->drivers_known || h->drivers[DRIVER_VIRTIO_NET] != REACH_NONE ||
	       h->drivers[DRIVER_E1000E] == REACH_NONE;
}
