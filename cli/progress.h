/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress - long work as one redrawn line on a terminal, as plain lines
 * elsewhere: one when the label changes, then one every 5 s or 10 %.
 * Goes to standard error, so that the result alone is on standard output.
 */
#ifndef GODWIT_PROGRESS_H
#define GODWIT_PROGRESS_H

#include "base.h"

struct progress {
	bool terminal, shown; /* shown: there is an unfinished line on the terminal */
	char label[160];
	uint64_t line_us;     /* when the last plain line was written */
	unsigned int percent; /* of the last plain line */
};

void progress_begin(struct progress *p);

/* @total 0: no bar.  @note: what is left, how fast; may be empty. */
void progress_update(struct progress *p, const char *label, uint64_t done, uint64_t total, const char *note);

/* The work named by the label is over: a line that stays. */
void progress_finish(struct progress *p, const char *label, const char *note);

/* Wipe an unfinished line; before anything else is written. */
void progress_clear(struct progress *p);

#endif
