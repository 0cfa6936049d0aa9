/* SPDX-License-Identifier: Apache-2.0 */
/* name - what a machine or a replication server may be called. */
#ifndef GODWIT_NAME_H
#define GODWIT_NAME_H

#include "base.h"

/* Letters, digits, '.', '_' and '-', the first a letter or a digit; 1 to 63; not like an id. */
bool name_is_ok(const char *name);

#endif
