/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot - what is up is to be up after a reboot, too, as it was: where systemd runs
 * and the units are installed, for the default data folder (theirs).
 *
 * Console and server are only enabled: who runs now has been started by us, and
 * systemd finds its pid file locked.  An agent is started by systemd right away: what
 * started `godwit protect', a session or another unit, takes along all that is left of
 * it when it ends, and nobody else starts an agent again that has failed.  Quietly
 * nothing in all other cases.
 */
#ifndef GODWIT_BOOT_H
#define GODWIT_BOOT_H

#include "instance.h"

/* Ports and address for the units (EnvironmentFile in install/): "<data>/units.env".  0 or -errno. */
_must_check_ int boot_save(const struct cli *c, const struct instance *i);
void boot_instance(const struct cli *c, bool on);
void boot_agent(const struct cli *c, const char *name, bool on);

/* The installed @program, by its unit.  False: systemd has not started it, for whatever reason,
 * and will not; it is to be started by hand. */
_must_check_ bool boot_start_agent(const struct cli *c, const char *name, const char *program);

#endif
