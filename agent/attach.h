/* SPDX-License-Identifier: Apache-2.0 */
/* attach - who has claimed a disk on this host. */
#ifndef GODWIT_ATTACH_H
#define GODWIT_ATTACH_H

#include "base.h"
#include <sys/types.h>

/* -EBUSY: an agent with another state folder has; *@ret_name is its machine. */
_must_check_ int attach_claimed(dev_t device, const char *own_folder, char *ret_name, size_t size);

#endif
