/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempts - how often an address has shown a wrong secret of late.
 *
 * Secrets have 128 bits, so guessing is hopeless anyway; what is limited is the
 * load and the noise.  A right secret is always accepted: nobody can lock out
 * others who come from the same address.
 */
#ifndef GODWIT_CONSOLE_ATTEMPTS_H
#define GODWIT_CONSOLE_ATTEMPTS_H

#include "base.h"

#define ATTEMPTS_MOST 10u	  /* wrong ones ... */
#define ATTEMPTS_PERIOD_S 60u /* ... in so long */

struct attempts;

struct attempts *attempts_new(void);
void attempts_free(struct attempts *a);

/* Count a wrong one; true when there have been too many. @now_us: monotonic. */
bool attempts_failed(struct attempts *a, const char *address, uint64_t now_us);

#endif
