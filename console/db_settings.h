/* SPDX-License-Identifier: Apache-2.0 */
/* db_settings - the table settings: what differs from the defaults. */
#ifndef GODWIT_CONSOLE_DB_SETTINGS_H
#define GODWIT_CONSOLE_DB_SETTINGS_H

#include "catalogue.h"

/* {name: text} of the machine, over those of its project's configuration. */
json_t *db_settings(struct db *db, const char *machine_id);

/* @value NULL: back to the project's, or to the default. */
void db_setting_put(struct db *db, const char *machine_id, const char *name, const char *value);

#endif
