/* SPDX-License-Identifier: Apache-2.0 */
/* names - what labels and lists of disks may be. */
#ifndef GODWIT_CONSOLE_NAMES_H
#define GODWIT_CONSOLE_NAMES_H

#include "request.h"

/* Of a point: printable, 1 to 127 bytes; not a time, an id or "latest", which
 * stand for points themselves. */
bool names_label_ok(const char *label);

/* A list of disks as an agent sends it, checked and with all members: 0, or a
 * status. */
_must_check_ int names_check_disks(struct request *r, json_t *disks, json_t **ret);

#endif
