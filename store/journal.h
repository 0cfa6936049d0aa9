/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal - the epochs of data files that no run names yet.
 *
 * A journal is valid up to its last good commit:
 *
 * J1	Records follow each other without a gap; sequence numbers within an
 *	epoch count from 0; epochs follow each other.
 * J2	A commit record counts all records of its epoch.
 * J3	The writer puts the first record of an epoch only after the epoch
 *	before was synced.  So of the newest commit alone it is not known
 *	whether it was: a power cut may have kept the commit and lost some
 *	payload.  It counts if every payload of its epoch has its checksum.
 */
#ifndef GODWIT_STORE_JOURNAL_H
#define GODWIT_STORE_JOURNAL_H

#include "bytes.h"
#include "folder.h"

struct journal {
	uint32_t number;
	uint64_t first_epoch, last_epoch; /* last < first: no valid commit */
	uint64_t last_time_us;
	uint64_t size_bytes;	/* up to the end of the last commit */
	struct bytes entries;	/* encoded, in order of writing */
	struct bytes epochs;	/* struct store_epoch, each one */
	struct bytes disks;	/* struct run_disk */

	bool keeps_rest; /* what stands behind its end is damaged, not unfinished: it is not cut off */
	int read_error; /* -EIO: it ends where the disk cannot be read back; what follows is not known */
	bool followed; /* a record of a later epoch stands behind the last one: that was synced (J3) */

	/* To take the last epoch back. */
	size_t entries_before, disks_before;
	uint64_t size_before;
};

/*
 * Read journal @number up to @upto (or all of it: EPOCH_MAX), or to where it
 * cannot be read (@read_error).  -EBADMSG: no valid header.  @forget: as the disk has it; after a failed sync memory may
 * hold what the disk never got.
 */
_must_check_ int journal_read(const struct store_sys *sys, const char *dir, uint32_t number, uint64_t upto,
			      bool forget, struct journal *ret);
void journal_done(struct journal *j);

/*
 * The newest epoch that @j once held, if that is one that must have been
 * synced (J3) and yet is not valid: so it was lost to damage.  0: none was.
 */
_must_check_ int journal_lost_epochs(const struct store_sys *sys, const char *dir, const struct journal *j,
				     uint64_t *ret_newest);

/* J3: if it is not known to have been synced, check the newest epoch's payloads
 * and take it back if one is wrong. */
_must_check_ int journal_settle(const struct store_sys *sys, const char *dir, struct journal *j);

/*
 * The journals of @f's tail that hold commits, oldest first, epochs without a
 * gap, settled, to @upto.  Files that do not follow are left out.
 *
 * Where the disk cannot be read back the tail ends, as where it is damaged; not
 * with @forget, for the writer, which goes on behind the tail and deletes what
 * is not in it: -EIO.
 */
struct tail_journals {
	struct journal *list;
	size_t count;
	uint32_t unreadable; /* the journal in which it ends because of that; 0: none */
};
_must_check_ int journal_read_tail(const struct folder *f, uint64_t upto, bool forget, struct tail_journals *ret);
void journal_tail_done(struct tail_journals *t);

/*
 * Folder and tail as one picture, with the gate entered if there is one: both
 * are looked at again when a journal is gone, as the writer deletes those
 * without a commit and needs no gate for it.  @readable: as
 * folder_open_readable().
 */
_must_check_ int journal_look(const struct store_sys *sys, const char *dir, bool readable, uint64_t upto,
			      struct folder **ret_folder, struct tail_journals *ret_tail);

/* The last epoch that such a picture has; and whether runs had more. */
uint64_t journal_last_epoch(const struct folder *f, const struct tail_journals *t);
bool journal_look_is_short(const struct folder *f, const struct tail_journals *t);

/* Leave the newest epoch out of the lists of epochs: whether it is durable is
 * not known (J3), so nothing may go because of it. */
void journal_tail_distrust(struct tail_journals *t);

static inline size_t journal_epoch_count(const struct journal *j)
{
	return j->epochs.len / sizeof(struct store_epoch);
}

static inline const struct store_epoch *journal_epoch(const struct journal *j, size_t index)
{
	return (const struct store_epoch *)(const void *)j->epochs.data + index;
}

/*
 * Write and publish the run of a closed journal.  Sorts @j's entries.  @tmp is
 * the temporary name.
 *
 * What was put after the last commit is in no account, so it is cut off: after
 * the run is durable, because until then a record behind a commit proves that
 * this was synced (J3); and at the end of the block in which the last commit
 * ends, so that no block of what counts is ever written again (S2).  A crash
 * before, or a power cut that loses it, leaves bytes that mean nothing.
 */
_must_check_ int journal_seal(const struct store_sys *sys, const char *dir, const struct uuid *machine, const char *tmp,
			      struct journal *j);

/* Sorts encoded entries as a run has them. */
void entries_sort(uint8_t *entries, size_t count);

#endif
