/* SPDX-License-Identifier: Apache-2.0 */
/* writer - what writer.c (the journal) and recover.c (opening) share. */
#ifndef GODWIT_STORE_WRITER_H
#define GODWIT_STORE_WRITER_H

#include "bytes.h"
#include "index.h"
#include "journal.h"
#include "lock.h"
#include "view.h"

struct store_writer {
	const struct store_sys *sys;
	char *dir;
	struct uuid machine;
	struct lock lock;
	bool poisoned; /* S4 */
	uint64_t last_epoch, last_time_us;
	struct store_disk disks[DISKS_MAX]; /* by index; size 0: not there */
	uint32_t next_journal;
	uint64_t lost_first, lost_last; /* epochs that recovery found to be lost to damage; 0: none */
	struct view *view; /* the runs, for reading; NULL: not opened, or out of date */

	/* The open journal. */
	int fd; /* -1: none */
	bool named;   /* its name is durable */
	bool finished; /* large enough: closed before the next record */
	struct data_header header;
	uint64_t flushed; /* up to here the file is written ... */
	uint8_t *buffer;  /* ... and from there on it is here */
	size_t buffered;
	uint64_t hinted; /* up to here writing to the disk was begun */
	uint32_t seq;	 /* of the next record */
	struct index index;
	struct bytes epochs; /* struct store_epoch */
	struct bytes disk_events; /* struct run_disk */
	size_t committed_entries, committed_disk_events;
	uint64_t committed_bytes;
};

/* What a crash left; sets last epoch and time, disks, and the next number. */
_must_check_ int writer_recover(struct store_writer *w);

#define WRITER_TMP_NAME "tmp-writer.gwr"

#endif
