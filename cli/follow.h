/* SPDX-License-Identifier: Apache-2.0 */
/* follow - a machine on its way to continuous protection, stage by stage. */
#ifndef GODWIT_FOLLOW_H
#define GODWIT_FOLLOW_H

#include "cli.h"

/* Show the progress until it is continuous.  An interruption ends the showing
 * only; the protection goes on. */
_must_check_ int follow_to_continuous(struct cli *c, const char *machine);

#endif
