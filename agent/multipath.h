/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multipath - what device-mapper multipath has made of a disk.
 *
 * Each path of a LUN is a disk of its own to the kernel, and sees only those writes that
 * go through it.  A replica of one path lacks the others'; so neither the paths nor
 * what lies on them can be protected.
 *
 * @folder is a block device's in /sys (/sys/dev/block/8:0), or one that is made like it.
 */
#ifndef GODWIT_MULTIPATH_H
#define GODWIT_MULTIPATH_H

#include "base.h"

#define MULTIPATH_NAME_MAX 128u

/* Is it a path?  @ret_name is the multipath device's ("mpatha"). */
bool multipath_above(const char *folder, char ret_name[MULTIPATH_NAME_MAX]);

/* Is it a multipath device, or does it lie on one? */
bool multipath_below(const char *folder, char ret_name[MULTIPATH_NAME_MAX]);

#endif
