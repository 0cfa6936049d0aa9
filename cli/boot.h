/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot - what is up is to be up after a reboot, too: where systemd runs and
 * the units are installed, for the default data folder (theirs).
 *
 * Only enabling: who runs now has been started by us, and systemd finds its
 * pid file locked.  Quietly nothing in all other cases.
 */
#ifndef GODWIT_BOOT_H
#define GODWIT_BOOT_H

#include "cli.h"

void boot_instance(const struct cli *c, bool on);
void boot_agent(const struct cli *c, const char *name, bool on);

#endif
