/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwards - ports of this machine that qemu's user network leads to its machine.
 *
 * qemu itself listens on them, also where the machine has no way out (restrict=on), and chooses the free ones, so
 * that nobody else can have taken them in between.  Which ones it tells when it is asked.  A port that is taken is
 * found before anything is begun, and, if it was taken in between, looked for when qemu has ended at once.
 */
#ifndef GODWIT_QEMU_FORWARDS_H
#define GODWIT_QEMU_FORWARDS_H

#include "base.h"
#include "forward.h"
#include "message.h"

/* Each may be NULL for none. */

#define FORWARDS_ARGS_SIZE (1 + FORWARDS_MAX * sizeof(",hostfwd=tcp:255.255.255.255:65535-:65535"))
/* What a user network's option takes: ",hostfwd=...", "" for none.  Returns @ret. */
const char *forwards_args(const struct forwards *wanted, char ret[FORWARDS_ARGS_SIZE]);

/* Can they be listened on now?  -errno with what cannot for @machine, a name for people. */
_must_check_ int forwards_check(const struct forwards *wanted, const char *machine, struct fault *ret_fault);

/* With the ports that were chosen, of what qemu's monitor says (`info usernet`).  -ENOENT: not all are there. */
_must_check_ int forwards_find(const char *info, const struct forwards *wanted, struct forwards *ret);

#endif
