/* SPDX-License-Identifier: Apache-2.0 */
#include "db_work.h"
#include "handlers.h"
#include "launch_view.h"
#include "listing.h"

#include <stdlib.h>

static json_t *list_jobs(const struct request *r, struct db *db, const char *machine, int64_t limit)
{
	struct job_row *rows;
	size_t count = db_job_list(db, machine, limit, &rows);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, job_view(r, db, &rows[i]));
	free(rows);
	return list;
}

int handle_job_list(struct request *r)
{
	return listing_of_machine(r, "jobs", list_jobs);
}

static json_t *view_job(const struct request *r, struct db *db, const char *id)
{
	struct job_row j;

	return db_job_find(db, id, &j) ? job_view(r, db, &j) : NULL;
}

int handle_job_get(struct request *r)
{
	return listing_one(r, "job", MSG_JOB_UNKNOWN, view_job);
}
