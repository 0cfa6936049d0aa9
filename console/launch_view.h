/* SPDX-License-Identifier: Apache-2.0 */
/* launch_view - launches and jobs as the API shows them. */
#ifndef GODWIT_CONSOLE_LAUNCH_VIEW_H
#define GODWIT_CONSOLE_LAUNCH_VIEW_H

#include "db_launches.h"
#include "db_work.h"
#include "request.h"

json_t *launch_view(const struct request *r, struct db *db, const struct launch_row *l, bool with_log);
json_t *job_view(const struct request *r, struct db *db, const struct job_row *j);

/* The id of the newest launch of @m that is there and is no drill, or null. */
json_t *launch_view_replica(struct db *db, const struct machine_row *m);
/* Dates of a machine's life, null while there is none. */
json_t *launch_view_life_cycle(struct db *db, const struct machine_row *m);

#endif
