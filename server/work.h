/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work - what workers do in their own process with one store, and the JSON
 * that they leave: {"result": {...}} or {"fault": {code, args}}.
 */
#ifndef GODWIT_WORK_H
#define GODWIT_WORK_H

#include "base.h"
#include "message.h"
#include "store.h"
#include "uuid.h"
#include <jansson.h>

#define WORK_AT_MAX 255u
#define WORK_HELD_MAX 192u /* launches that are there, and unreadable ones */

struct work_request {
	struct uuid machine;
	char at[WORK_AT_MAX + 1];	   /* point, disks */
	uint64_t from_us, to_us;	   /* points; both included */
	uint32_t limit;
	bool newest;
	uint64_t epoch;			   /* label */
	bool unlabel;
	char label[STORE_LABEL_MAX + 1];
	bool has_policy;		   /* upkeep */
	struct store_policy policy;
	uint64_t held[WORK_HELD_MAX];	   /* upkeep: epochs that stay, whatever the policy says */
	size_t held_count;
	uint64_t io_bytes_per_second;	   /* scrub */
};

/* A round of upkeep that has jobs left after so long leaves them to the next one (`more`). */
#define WORK_UPKEEP_SLICE_US (5 * 60 * 1000000ULL)

/* As worker_options.work; the argument is a struct work_request. */
int work_points(const void *request, size_t size, const char *dir, int out_fd);
int work_point(const void *request, size_t size, const char *dir, int out_fd);  /* {point} */
int work_disks(const void *request, size_t size, const char *dir, int out_fd);  /* {point, disks: [...]} */
int work_label(const void *request, size_t size, const char *dir, int out_fd);  /* {point} */
int work_summary(const void *request, size_t size, const char *dir, int out_fd);
int work_upkeep(const void *request, size_t size, const char *dir, int out_fd); /* {summary, more, freed_bytes ...} */
int work_scrub(const void *request, size_t size, const char *dir, int out_fd);  /* {bytes, damaged, damage: [...]},
										 * or {stopped} */
int work_remove(const void *request, size_t size, const char *dir, int out_fd);

/*
 * In the main process: what a worker has left.  0 and the result, to be
 * json_decref'ed; or -errno, with the fault; a worker that died or wrote
 * nonsense is STORE_UNREADABLE.
 */
_must_check_ int work_result(const struct uuid *machine, int err, const char *text, size_t len, json_t **ret,
			     struct fault *ret_fault);

#endif
