/* SPDX-License-Identifier: Apache-2.0 */
#include "keep.h"

#include <stdio.h>

static void start(struct keep *k);

static void finish(struct keep *k, const char *error)
{
	if (!k->wanted)
		return;
	k->wanted = k->again = false;
	k->done(k->context, error);
}

void keep_end(struct keep *k, const char *why)
{
	finish(k, why);
}

/* --- flushing ------------------------------------------------------------------------- */

static void flushed(void *context, const json_t *result, const char *error)
{
	struct keep *k = context;

	if (error && !k->again)
		finish(k, error);
	if (--k->flushing)
		return;
	if (k->again)
		start(k);
	else
		finish(k, NULL); /* K1 */
}

static void flush(struct keep *k)
{
	char disk[24], file[24];

	k->flushing = k->disks;
	for (unsigned int i = 0; i < k->disks; i++) {
		snprintf(disk, sizeof(disk), "disk%u", i);
		snprintf(file, sizeof(file), "file%u", i);
		/* As args.c has made it. */
		qmp_command(k->qmp, "blockdev-reopen",
			    json_pack("{s:[{s:s,s:s,s:s,s:s,s:s}]}", "options", "driver", "qcow2", "node-name", disk,
				      "discard", "unmap", "detect-zeroes", "unmap", "file", file), flushed, k);
	}
}

/* --- streaming ------------------------------------------------------------------------ */

static void streamed(struct keep *k, const char *error)
{
	if (k->streaming == 0)
		return;
	if (error && !k->again)
		finish(k, error);
	if (--k->streaming || !k->wanted)
		return;
	if (k->again)
		start(k);
	else
		flush(k);
}

static void stream_begun(void *context, const json_t *result, const char *error)
{
	if (error)
		streamed(context, error);
}

void keep_event(struct keep *k, const char *name, const json_t *data)
{
	const char *error = json_string_value(json_object_get(data, "error"));

	if (strcmp(name, "BLOCK_JOB_COMPLETED") == 0)
		streamed(k, error);
	else if (strcmp(name, "BLOCK_JOB_CANCELLED") == 0)
		streamed(k, "the copying was cancelled");
}

static void start(struct keep *k)
{
	char job[24];

	k->again = false;
	k->streaming = k->disks;
	for (unsigned int i = 0; i < k->disks; i++) {
		snprintf(job, sizeof(job), "keep%u", i);
		qmp_command(k->qmp, "block-stream", json_pack("{s:s,s:s++}", "job-id", job, "device", "disk", job + 4, ""),
			    stream_begun, k);
	}
}

void keep_cancel(struct keep *k, const char *why)
{
	char job[24];

	if (!k->wanted || !k->streaming || k->again)
		return;
	finish(k, why);
	for (unsigned int i = 0; i < k->disks; i++) {
		snprintf(job, sizeof(job), "keep%u", i);
		qmp_command(k->qmp, "block-job-cancel", json_pack("{s:s}", "device", job), NULL, NULL); /* K2: if there is one */
	}
}

void keep_begin(struct keep *k, struct qmp *qmp, unsigned int disks)
{
	if (k->wanted)
		return;
	k->wanted = true;
	k->qmp = qmp;
	k->disks = disks;
	if (k->streaming || k->flushing)
		k->again = true;
	else
		start(k);
}
