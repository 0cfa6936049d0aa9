/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target - where a machine can be started, behind one table of functions.
 *
 * A launch (launch.h) makes ready what every target needs, the disks of a point as NBD
 * sockets and over each the machine's own disk<n>.qcow2, and the target makes a machine
 * of them:
 *
 *	start() -> started() ... output() ... stopped()
 *	keep()  -> kept()		all data is its own from then on
 *	power_off() -> stopped()	if the machine does as it is asked
 *	start() -> written()		of a target that only writes
 *
 * Everything is asynchronous, on the launch's loop; the callbacks, but for note(), are
 * never called from inside the functions.
 */
#ifndef GODWIT_TARGET_H
#define GODWIT_TARGET_H

#include "base.h"
#include "bootdisk.h"
#include "forward.h"
#include "hardware.h"
#include "loop.h"
#include "message.h"

struct target_disk {
	unsigned int disk;		/* index within the machine */
	uint64_t size_bytes;
	unsigned int sector_bytes;
	char socket[108];		/* NBD, read-only */
};

enum target_network { NETWORK_NONE, NETWORK_ISOLATED, NETWORK_USER, NETWORK_BRIDGE };

struct target_machine {
	const char *folder;		/* of the launch: the target's files live there, too */
	const char *id, *name;		/* of the launch; of the source machine */
	const char *time;		/* of the point; "" until the disks were looked at */
	bool wants_login; /* a prompt on its serial console is waited for */
	bool is_beside_store;		/* its folder is on the store's file system */
	bool is_somebodys;		/* not only a test */
	bool again;			/* its disks and firmware's variables are there from before */
	const char *to, *format;	/* where a target that only writes is to write, and how */
	unsigned int cpus;
	uint64_t memory_bytes;
	enum bootdisk_firmware firmware;
	unsigned int boot_disk;		/* index into disks */
	enum target_network network;
	const char *bridge;		/* its name, for NETWORK_BRIDGE, or several (hardware_bridge_of()) */
	const struct forwards *forwards; /* to the first card, of NETWORK_ISOLATED and NETWORK_USER; NULL: none */
	const char *card;		/* of its network: "virtio-net-pci" or "e1000e" ... */
	const char *const *macs;	/* ... and one of these for each of */
	unsigned int card_count;	/* its cards: at least one, also if it has no network */
	enum target_bus bus;		/* never BUS_AUTO */
	const struct target_disk *disks;
	unsigned int disk_count;
};

struct target_events {
	void (*note)(void *context, const char *text); /* something was done; also from inside start() */
	void (*forwarded)(void *context, const struct forwards *made); /* each with its port, before started() */
	void (*started)(void *context);	  /* its processors run */
	void (*output)(void *context, const char *text, size_t len); /* of the serial console */
	void (*agent)(void *context);	  /* the guest agent has answered */
	void (*ready)(void *context);	  /* run() can be used; again when what runs there began anew */
	void (*ran)(void *context, const char *name, int status, const char *output); /* see run() */
	void (*kept)(void *context, const char *error); /* NULL: all is its own */
	void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes); /* of keeping */
	/* A disk could not be read or written; @full: no room, and the machine waits for it. */
	void (*disk_trouble)(void *context, const char *disk, const char *reason, bool full);
	void (*written)(void *context);	  /* a target that only writes has written it all */
	void (*failed)(void *context, const struct fault *f); /* it cannot go on, and waits to be stopped */
	void (*stopped)(void *context, const char *why); /* it ended; NULL: it was asked to */
};

struct target; /* one started machine */

struct target_ops {
	const char *name;
	bool only_writes; /* written() in place of started(), and never a proof */
	/* Can it be started, as far as is known before its disks are?  -errno with what is missing. */
	int (*probe)(const struct target_machine *m, struct fault *ret_fault);
	int (*start)(struct loop *loop, const struct target_machine *m, const struct target_events *events,
		     void *context, struct target **ret, struct fault *ret_fault);
	void (*screenshot)(struct target *t, const char *png_path, void (*done)(void *context, const char *error),
			   void *context);
	/* Run @command in the machine; then ran(), unless the machine does not get so far. */
	int (*run)(struct target *t, const char *name, const char *command);
	void (*keep)(struct target *t);
	/* Ask the machine to power itself off, again and again; then stopped(), if it does. */
	void (*power_off)(struct target *t);
	void (*stop)(struct target *t); /* then stopped(); what was started here is gone by then */
	void (*free)(struct target *t); /* after stopped(), or to end it at once */
};

extern const struct target_ops target_qemu;   /* a machine on this one */
extern const struct target_ops target_images; /* files, for people who run it elsewhere */

#endif
