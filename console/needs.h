/* SPDX-License-Identifier: Apache-2.0 */
/* needs - what a launched copy of a machine needs changed, said before it is needed. */
#ifndef GODWIT_NEEDS_H
#define GODWIT_NEEDS_H

#include "db_machines.h"
#include "request.h"

/* A new array of {code, severity, text, remedy, args, since: null}, by the machine's
 * facts and blueprint. */
json_t *needs_view(const struct request *r, const json_t *facts, const json_t *blueprint);

#endif
