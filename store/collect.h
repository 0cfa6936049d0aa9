/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect - copying the live records of data files into new data files, so
 * that the old ones can go.
 *
 * C1	A record is copied with version, place and checksum as they are.  Its
 *	payload may be compressed on the way, if it was raw, after it has been
 *	checked.
 * C2	A damaged record is copied as it is and stays damaged: whoever reads it
 *	is told.  Nothing is turned into zeroes.
 * C3	The new files are durable, names and all, before a run names them.
 */
#ifndef GODWIT_STORE_COLLECT_H
#define GODWIT_STORE_COLLECT_H

#include "bytes.h"
#include "files.h"
#include "run.h"

struct collector {
	const struct store_sys *sys;
	const char *dir;
	struct uuid machine;
	struct files *files;
	uint32_t next_number;

	int fd; /* -1: none */
	struct data_header header;
	uint64_t flushed;
	uint8_t *buffer;
	size_t buffered;
	uint64_t last_epoch;
	struct bytes made; /* struct run_file: what was written */
	uint64_t bytes;	   /* copied */
};

_must_check_ int collector_init(struct collector *c, const struct store_sys *sys, const char *dir,
				const struct uuid *machine, uint32_t next_number);
void collector_done(struct collector *c);

/* Copy @e's record; @e then tells of the copy. */
_must_check_ int collector_move(struct collector *c, struct entry *e);
/* C3. */
_must_check_ int collector_finish(struct collector *c);
/* Delete what was made. */
void collector_undo(struct collector *c);

#endif
