/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runout - writing a run: entries stream through, tables are kept in memory
 * until the end.  The file has a temporary name until it is whole and durable.
 */
#ifndef GODWIT_STORE_RUNOUT_H
#define GODWIT_STORE_RUNOUT_H

#include "run.h"

struct runout;

/* @tmp is the temporary name.  @sys and @dir must outlive it. */
_must_check_ int runout_open(const struct store_sys *sys, const char *dir, const char *tmp, const struct uuid *machine,
			     struct runout **ret);
/* Closes; the temporary file is deleted unless it was published. */
void runout_close(struct runout *o);

/* In order: ascending by key, newest first; asserted. */
_must_check_ int runout_entry(struct runout *o, const struct entry *e);
_must_check_ int runout_point(struct runout *o, const struct run_point *p); /* ascending by epoch */
_must_check_ int runout_file(struct runout *o, const struct run_file *f);
_must_check_ int runout_disk(struct runout *o, const struct run_disk *d);

uint64_t runout_bytes(const struct runout *o); /* written so far */

/* Write the tables and the header, and make the file durable. */
_must_check_ int runout_finish(struct runout *o, uint64_t from, uint64_t to, uint32_t gen, uint64_t to_time_us);
/* Give it its name.  Durable when the folder is synced, which this does. */
_must_check_ int runout_publish(struct runout *o);

#endif
