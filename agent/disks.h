/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks - what a path names, whether it can be protected, and how it is known
 * again when it comes back under another name.
 *
 * A disk's id is made at enrolment.  Its identity is what can be seen of it: the
 * world-wide name or serial number that the hardware reports, the file behind
 * a loop device, the partition table's UUID, the file system's UUID.  The first
 * of these that both sides have decides; the device name never does.
 */
#ifndef GODWIT_DISKS_H
#define GODWIT_DISKS_H

#include "base.h"
#include "message.h"
#include <sys/types.h>

#define DISK_LEAST_BYTES MIB

struct disk_identity {
	char wwid[160], serial[160], backing[512], table[64], content[64];
};

struct disk_info {
	char path[64];	       /* "/dev/sda", whatever the caller called it */
	dev_t device;
	uint64_t size_bytes;
	uint16_t sector_bytes; /* logical block */
	struct disk_identity identity;
};

/*
 * Look at @path.  @state is the agent's folder, or NULL: the store of its instance, if that is
 * on this machine, must not lie on the disk.
 * -errno with @ret_fault, a sentence with what to do instead.
 */
_must_check_ int disks_probe(const char *path, const char *state, struct disk_info *ret, struct fault *ret_fault);

/* -EFBIG: there is more of it than can be replicated. */
_must_check_ int disks_check_size(const char *path, uint64_t size_bytes, struct fault *ret_fault);
/* Is it one path of several?  -EOPNOTSUPP. */
_must_check_ int disks_judge_path(const char *path, dev_t device, struct fault *ret_fault);
/* The store in this folder, which is called @shown, must not lie on the disk, or it would replicate
 * its own replica.  -EDEADLK. */
_must_check_ int disks_check_store(const char *path, dev_t device, const char *store, const char *shown,
				   struct fault *ret_fault);

/* The same disk, as far as can be seen? */
bool disks_same(const struct disk_identity *a, const struct disk_identity *b);

/* Is it at @path?  -ENODEV: no.  Nothing is read from a disk that says by its name that it is another. */
_must_check_ int disks_match(const char *path, const struct disk_identity *identity, struct disk_info *ret);

/* Find a disk by identity among all there are.  -ENODEV. */
_must_check_ int disks_find(const struct disk_identity *identity, struct disk_info *ret);

/* A number that is another when a disk has come or gone; 0: that cannot be seen.  No disk is touched. */
uint64_t disks_present(void);

/* Size now, or -errno when it is gone or another. */
int disks_size_now(const char *path, dev_t device, uint64_t *ret_bytes);

/* May this process do what an agent does, on this kernel? */
_must_check_ int disks_check_machine(struct fault *ret_fault);

#endif
