/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardware - what of a source machine is bound to the hardware that it runs on.
 *
 * The agent finds it out inside the machine (agent/facts.c), the console keeps and
 * shows it, a launch decides by it: nothing has to be mounted to decide.
 *
 *	{"kernel": "6.1.0-50-amd64",
 *	 "drivers": {"virtio_blk": "boot" | "module" | "none", ...} | null (not known),
 *	 "names": [{"file", "device": "/dev/sda1", "uuid": text | null, "disk": index}],
 *	 "network": {"interface", "mac", "bound": [{"file", "by": "name" | "mac"}],
 *		     "more": [{"interface", "mac", "bound"}]} | null,
 *	 "boot_disk": index, left out if it is not known}
 *
 * "boot": built in, or in the initramfs; "module": only in /lib/modules, which is not
 * there yet when the root disk is looked for.  "network": the cards that a launched machine is to
 * have, in the order in which the machine has them; "more" when there are several.
 */
#ifndef GODWIT_HARDWARE_H
#define GODWIT_HARDWARE_H

#include "base.h"
#include <jansson.h>

#define HARDWARE_NAMES_MAX    24u
#define HARDWARE_BINDINGS_MAX 48u
#define HARDWARE_CARDS_MAX    8u

enum hardware_driver {
	DRIVER_VIRTIO_PCI,
	DRIVER_VIRTIO_BLK,
	DRIVER_VIRTIO_SCSI,
	DRIVER_VIRTIO_NET,
	DRIVER_AHCI,
	DRIVER_NVME,
	DRIVER_SD_MOD,
	DRIVER_E1000E,
	DRIVERS
};
enum hardware_reach { REACH_NONE, REACH_MODULE, REACH_BOOT };

/* How a launched machine's disks are attached. */
enum target_bus { BUS_VIRTIO, BUS_SCSI, BUS_SATA, BUS_NVME, BUSES, BUS_AUTO = BUSES };

/* A place that names a disk or partition as the hardware has it called. */
struct hardware_name {
	char file[64], device[96], uuid[64]; /* uuid "": not known */
	unsigned int disk;		     /* on which of the machine's disks */
};

struct hardware_card {
	char interface[16], mac[18];
};

/* A place that names a card. */
struct hardware_binding {
	char file[160];
	unsigned int card;
	bool by_mac; /* otherwise by the interface's name */
};

struct hardware {
	bool known, drivers_known, boot_disk_known;
	unsigned int boot_disk; /* of the machine's disks, that /boot is on, or else / */
	char kernel[65];
	enum hardware_reach drivers[DRIVERS];
	struct hardware_name names[HARDWARE_NAMES_MAX];
	unsigned int name_count;
	struct hardware_card cards[HARDWARE_CARDS_MAX];
	unsigned int card_count;
	struct hardware_binding bindings[HARDWARE_BINDINGS_MAX];
	unsigned int binding_count;
};

const char *hardware_driver_name(enum hardware_driver d);
const char *hardware_bus_name(enum target_bus bus); /* "virtio" ... */

json_t *hardware_to_json(const struct hardware *h);

/* What a stranger says: -EINVAL unless every member is as above, printable and within its room. */
_must_check_ int hardware_from_json(const json_t *j, struct hardware *ret);

/*
 * What a machine was bound to at a time: of @history, [{"since": RFC 3339, "hardware": as above}]
 * with the newest first, the newest that is not later, or the oldest when all are (*@ret_later).
 * Borrowed; NULL: there is none, or no sense in it.
 */
const json_t *hardware_at(const json_t *history, uint64_t time_us, bool *ret_later);

/* Lines of modules.builtin, modules.dep, or of an initramfs' listing: the drivers named
 * there are within @reach. */
void hardware_take_modules(struct hardware *h, const char *text, enum hardware_reach reach);

#define HARDWARE_INITRAMFS_FORMS 4u
/* Where the initramfs of @kernel lies if its distribution calls it after form @form: "/boot/initrd.img-6.1". */
void hardware_initramfs_path(unsigned int form, const char *kernel, char *ret, size_t size);

/* "/dev/sda1": from hardware or its place, not a volume's name, not a file system's. */
bool hardware_is_name(const char *device);

#define HARDWARE_BRIDGE_SIZE  16u
#define HARDWARE_BRIDGES_SIZE (HARDWARE_CARDS_MAX * HARDWARE_BRIDGE_SIZE)

/* "br0,br1": the names of bridges, the first for the first card and so on, the last one for those that are left, too.
 * Each is of at most 15 letters, digits and ._-; no more of them than there can be cards. */
bool hardware_are_bridges(const char *list);
unsigned int hardware_count_bridges(const char *list);
/* The name of that of card @card, which is counted from 0.  Returns @ret. */
const char *hardware_bridge_of(const char *list, unsigned int card, char ret[HARDWARE_BRIDGE_SIZE]);

/* Where network configuration lies, beside /etc/network/interfaces; ends with NULL. */
extern const char *const hardware_network_folders[];

/* Are the drivers for disks on @bus there when the root disk is looked for?  Yes, too, when it is
 * not known. */
bool hardware_bus_boots(const struct hardware *h, enum target_bus bus);

/* The device is called so with this bus, too. */
bool hardware_name_fits(const struct hardware_name *n, enum target_bus bus);

/* The disks that a bus is to hold. */
struct hardware_disks {
	unsigned int count, sector_bytes; /* the largest logical sector of one */
};

/* Can qemu attach them by it?  A q35 has six SATA ports, whose disks have sectors of 512 bytes; and a slot
 * for each virtio or NVMe disk as far as they go, beside those of the cards and other devices. */
bool hardware_bus_holds(enum target_bus bus, const struct hardware_disks *disks);

/*
 * The bus to take when it is free to choose: the first of virtio, SATA, NVMe, SCSI that holds @disks
 * (NULL: not known, any does), boots and, unless what is in files is going to be converted, leaves the
 * names in them right.  When none boots, BUS_VIRTIO, or BUS_SCSI if that does not hold them.
 */
enum target_bus hardware_choose_bus(const struct hardware *h, bool converted, const struct hardware_disks *disks);

struct hardware_needs {
	bool drivers;	    /* the initramfs must be made anew */
	unsigned int names; /* that do not fit */
	bool network;	    /* the interface would be called otherwise, or its address is asked for */
};
struct hardware_needs hardware_needs(const struct hardware *h, enum target_bus bus);

/* A driver for the network card is there, or becomes there: otherwise an e1000e is tried. */
bool hardware_has_virtio_net(const struct hardware *h);

#endif
