/* SPDX-License-Identifier: Apache-2.0 */
#include "db_work.h"
#include "handlers.h"
#include "launch_view.h"
#include "resource.h"

#include <stdlib.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MOST 1000

int handle_job_list(struct request *r)
{
	const char *machine = request_query(r, "machine");
	uint64_t limit = LIMIT_DEFAULT;
	int status = request_query_number(r, "limit", 1, LIMIT_MOST, &limit), err;
	struct job_row *rows;
	struct db *db;
	json_t *list;
	size_t count;

	if (status)
		return status;
	list = json_array();
	db = catalogue_read(r->console->catalogue);
	count = db_job_list(db, machine, (int64_t)limit, &rows);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, job_view(r, db, &rows[i]));
	/* A machine that is removed is still known by what it left. */
	if (!count && machine)
		status = resource_need_machine(r, db, machine);
	err = catalogue_read_end(r->console->catalogue);
	free(rows);
	if (err || status) {
		json_decref(list);
		return err ? request_catalogue_failed(r, "listing jobs", err) : status;
	}
	return request_answer(r, 200, json_pack("{s:o}", "jobs", list));
}

int handle_job_get(struct request *r)
{
	struct db *db = catalogue_read(r->console->catalogue);
	struct job_row j;
	json_t *view = db_job_find(db, r->params[0], &j) ? job_view(r, db, &j) : NULL;
	int err = catalogue_read_end(r->console->catalogue);

	if (err || !view) {
		json_decref(view);
		return err ? request_catalogue_failed(r, "reading a job", err)
			   : request_refuse(r, 404, MSG_JOB_UNKNOWN, "job", r->params[0], NULL);
	}
	return request_answer(r, 200, view);
}
