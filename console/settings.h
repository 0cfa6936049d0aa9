/* SPDX-License-Identifier: Apache-2.0 */
/* settings - what a person can set for a machine: the table, and what is in force. */
#ifndef GODWIT_CONSOLE_SETTINGS_H
#define GODWIT_CONSOLE_SETTINGS_H

#include "catalogue.h"
#include "message.h"
#include "value.h"

/* {name: value} of all settings in force. */
json_t *settings_in_force(struct db *db, const char *machine_id);

/*
 * Check one value as it came; the text that is kept for it in @ret, ""
 * for null: back to the default.  -EINVAL with the fault.
 */
_must_check_ int settings_check(const char *name, const json_t *value, char ret[VALUE_SIZE],
				struct fault *ret_fault);

#endif
