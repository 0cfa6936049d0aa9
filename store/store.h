/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store - one machine's disks at every kept moment, in one folder.
 *
 *	dat-<number>.gwd	data files: records as they came, epochs closed
 *				by commit records; or records copied together
 *				by collection.  Append-only, then immutable.
 *	run-<from>-<to>-<gen>.gwr
 *				sorted indexes over the epochs from..to: where
 *				every needed version of every chunk lies.
 *	pins			what people named or unpinned afterwards
 *	policy			how long points are kept
 *	identity		whose store it is
 *	lock			locks on its bytes: one writer, one upkeep, points in use
 *
 * docs/store-format.md is normative.
 *
 * S1	What store_commit() has returned 0 for is there after kill -9 and after
 *	power loss; what is there is valid: epochs are there whole or not at all.
 * S2	Written once, never modified, but that what a journal has behind its
 *	last commit is cut off when it has its run; files are replaced by files
 *	that say the same of every kept point, and deleted after that.
 * S3	A record is needed if, for one of its sectors, it is the newest at or
 *	before some kept point.  Retention drops what is not needed, nothing else.
 * S4	After a failed write or sync the writer is poisoned: -ESTALE until it
 *	is opened again.
 * S5	Every payload read back is checked against the checksum it had when it
 *	was captured; -EBADMSG otherwise, never wrong bytes.
 *
 * Writer, maintenance and readers may be different processes.  No threads
 * here; a reader may be used by several threads at once.  Nothing logs.
 */
#ifndef GODWIT_STORE_H
#define GODWIT_STORE_H

#include "base.h"
#include "payload.h"
#include "uuid.h"

#define STORE_LABEL_MAX 127u

/* --- what both sides speak of --------------------------------------------- */

struct store_disk {
	uint16_t disk;		/* index within the machine */
	uint16_t sector_bytes;
	uint64_t size_bytes;	/* 0: removed at this epoch */
	struct uuid id;
	char name[33];
};

#define STORE_EPOCH_POINT 1u	/* the disks were exactly this at time_us */
#define STORE_EPOCH_LABELLED 2u /* a person asked for it */
struct store_epoch {
	uint64_t epoch, time_us;
	uint32_t flags;
	char label[STORE_LABEL_MAX + 1];
};

/* Windows in seconds; each kind keeps the last point of its period. */
struct store_policy {
	uint32_t every_s;  /* every point younger than this: 86400 */
	uint32_t hourly_s; /* then one an hour until this age: 7 days */
	uint32_t daily_s;  /* then one a day until this age: 30 days */
};
#define STORE_POLICY_DEFAULT ((struct store_policy){ 86400, 7 * 86400, 30 * 86400 })

/* System calls, so that tests can fail the n-th and lose what was not synced.
 * store_sys_default is libc's. */
struct store_sys;
extern const struct store_sys store_sys_default;

/* --- writing ---------------------------------------------------------------- */

struct store_writer;

/*
 * Open, or create, the store of @machine in @dir; finishes what a crash left
 * half done.  -EBUSY: another writer; -EBADMSG: not a store of ours, or
 * @machine is another; -errno of a system call.
 */
_must_check_ int store_writer_open(const char *dir, const struct uuid *machine, const struct store_sys *sys,
				   struct store_writer **ret);

/* Drops what was not committed. NULL is allowed. */
void store_writer_close(struct store_writer *w);

uint64_t store_writer_last_epoch(const struct store_writer *w); /* 0: none */
uint64_t store_writer_last_time_us(const struct store_writer *w);

/*
 * Epochs that had been acknowledged and that opening found to be lost to damage
 * of the newest data file, of which "bad-..." has been kept: false if none was.
 * All of them are behind the last epoch, and their numbers are given again.
 */
bool store_writer_lost(const struct store_writer *w, uint64_t *ret_first, uint64_t *ret_last);

/* From the next commit on, the disk is this.  Growing and removing are
 * allowed, shrinking or becoming another (its id) is -EINVAL. */
_must_check_ int store_put_disk(struct store_writer *w, const struct store_disk *disk);

/*
 * A payload of @length_bytes at @offset_bytes (multiples of 512, within one
 * chunk), stored as @stored_bytes in @codec, whose
 * uncompressed XXH3-64 is @checksum; the caller has verified it.  -ENOSPC:
 * staging full; nothing acknowledged is lost, but the writer is poisoned.
 * -EFBIG: the epoch is full (16 million records, 32 GiB): commit it first.
 */
_must_check_ int store_put_data(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes,
				uint8_t codec, const void *stored, uint32_t stored_bytes, uint64_t checksum);
_must_check_ int store_put_zero(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint64_t length_bytes);

/* How many entries a zero of this range takes until its epoch is closed, and after. */
uint64_t store_zero_entries(uint64_t offset_bytes, uint64_t length_bytes);

/* Close the epoch: durable when it returns 0.  @epoch->epoch must be the last
 * plus one, its time later than the last's, its label printable UTF-8: -EINVAL
 * otherwise. */
_must_check_ int store_commit(struct store_writer *w, const struct store_epoch *epoch);

/* The disk as it is now, with everything put, committed or not. */
_must_check_ int store_writer_read(struct store_writer *w, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes,
				   void *ret_buf);

/* --- points ----------------------------------------------------------------- */

struct store_points; /* a snapshot of the list of kept epochs */

_must_check_ int store_points_open(const char *dir, const struct store_sys *sys, struct store_points **ret);
void store_points_close(struct store_points *p);

/*
 * The name of a file that is damaged or cannot be read back, so that points
 * after those of the list may be missing from it; NULL: none.
 */
const char *store_points_damaged(const struct store_points *p);

/*
 * For a message, after -EBADMSG or -EIO of anything but reading: the name of the
 * file in the store's folder that stands in the way, one of 51 bytes at most.
 * -ENOENT: none is found.
 */
#define STORE_FILE_NAME_BYTES 64u
_must_check_ int store_damaged_file(const char *dir, const struct store_sys *sys,
				    char ret_name[STORE_FILE_NAME_BYTES]);

/* Points only (not every epoch is one), oldest first. */
size_t store_points_count(const struct store_points *p);
const struct store_epoch *store_points_get(const struct store_points *p, size_t index);

/* Index of the newest point at or before @time_us; -ENOENT before the first. */
_must_check_ int store_points_find(const struct store_points *p, uint64_t time_us, size_t *ret_index);

/* Give a kept point a label, which keeps it for ever, or take it away (NULL). */
_must_check_ int store_point_label(const char *dir, const struct store_sys *sys, uint64_t epoch, const char *label);

/* --- reading ---------------------------------------------------------------- */

struct store_reader;

/* The machine at the point that is epoch @epoch; 0: the newest point.
 * -ENOENT: no such point (any more).  -EBADMSG, -EIO: it is, or may be, behind
 * something that cannot be read; points before that can be opened. */
_must_check_ int store_reader_open(const char *dir, const struct store_sys *sys, uint64_t epoch,
				   struct store_reader **ret);
void store_reader_close(struct store_reader *r);

const struct store_epoch *store_reader_point(const struct store_reader *r);
size_t store_reader_disks(const struct store_reader *r, struct store_disk *ret_disks, size_t max);

/* @offset and @length in bytes, any alignment.  -EBADMSG: damaged (S5).
 * -ESTALE: the point has gone, and a file that it needs; only where locks do
 * not work, or waited for too long. */
_must_check_ int store_read(struct store_reader *r, uint16_t disk, uint64_t offset_bytes, uint32_t length_bytes,
			    void *ret_buf);

/* The run of bytes from @offset on that are alike: *@ret_zero says whether
 * they are known to read as zeroes without being looked at; *@ret_length > 0. */
_must_check_ int store_extent(struct store_reader *r, uint16_t disk, uint64_t offset_bytes, uint64_t length_bytes,
			      bool *ret_zero, uint64_t *ret_length);

/* --- upkeep ----------------------------------------------------------------- */

_must_check_ int store_policy_set(const char *dir, const struct store_sys *sys, const struct store_policy *policy);
_must_check_ int store_policy_get(const char *dir, const struct store_sys *sys, struct store_policy *ret);

struct store_upkeep_options {
	uint64_t now_us;		/* decides which points have expired */
	uint64_t io_bytes_per_second;	/* 0: no limit */
	/* Asked between steps, with the bytes moved so far: true stops early, cleanly. */
	bool (*stop)(void *context, uint64_t bytes_done);
	/* Asked between jobs, of which none is lost then: true leaves the rest to the next
	 * round, which `more` says.  May be NULL. */
	bool (*enough)(void *context);
	void *context;
	const uint64_t *held;		/* epochs: points that somebody comes back for are kept, too */
	size_t held_count;
};

struct store_upkeep_result {
	uint64_t runs_merged, points_expired, bytes_freed, bytes_rewritten;
	bool more;			/* there is more to do at once */
};

/*
 * One round: merge runs, thin points by the policy, collect data files that
 * are mostly unneeded, delete what nothing names.  Safe beside a writer and
 * readers; one at a time (-EBUSY).  Takes 20 MiB of memory and 60 bytes for
 * each point, whatever the store's size.  When something is damaged or does
 * not fit on the disk, all else is done first; then -EBADMSG, -EIO, -ENOSPC.
 */
_must_check_ int store_upkeep(const char *dir, const struct store_sys *sys, const struct store_upkeep_options *options,
			      struct store_upkeep_result *ret);

struct store_damage {
	uint16_t disk;
	uint64_t offset_bytes;
	uint32_t length_bytes;
	uint64_t first_epoch, last_epoch; /* the points that show it */
	char file[64];
};

struct store_scrub_options {
	uint64_t io_bytes_per_second;	/* 0: no limit */
	/* Asked between steps, with the bytes read so far: true ends it with -ECANCELED. */
	bool (*stop)(void *context, uint64_t bytes_done);
	void (*report)(void *context, const struct store_damage *damage); /* for each damaged record */
	void *context;			/* of both; either may be NULL */
};

/* Read everything back.  0 when the reading went through, damaged or not, and
 * counts in *@ret_bytes. */
_must_check_ int store_scrub(const char *dir, const struct store_sys *sys, const struct store_scrub_options *options,
			     uint64_t *ret_bytes, uint64_t *ret_damaged);

struct store_usage {
	uint64_t data_bytes, run_bytes, file_count;
	uint64_t point_count, first_point_us, last_point_us;
};
_must_check_ int store_usage(const char *dir, const struct store_sys *sys, struct store_usage *ret);

#endif
