/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine - the algorithm: scan a set, then follow the log until the set is empty.
 *
 *	tracker ring --merge--> open epoch --cut--> closed epoch --\
 *	tracker live map --> pending --read--> emit ---------------->-- outbox
 *	hash plane --read--> HASH -------------------------------->-/
 *
 * It knows no sockets, no io_uring and no clocks of its own: frames go into an
 * outbox that the session empties, reads and times come through engine_ops.  So
 * it runs as well against a tracker, a disk and a server that are simulated
 * from a seed (tests/sim).
 *
 * What it upholds, and where:
 *
 * I1	The caller attaches capture (tracker_add_disk()) before it adds the disk here.
 * I2	scanner.c: a read notes the position before it begins.  It is emitted only
 *	when all records before that position are merged; records from there on
 *	punch their sectors out of it; what older records left in the open epoch
 *	in its range is dropped, for the read is newer.
 * I4	cut.c: an epoch is a point only if no region was live, and no disk larger than
 *	it is known to be, when looked at after its position was taken, nothing was pending, hash-pending or
 *	unanswered, and the position is not before the end of any read in it.
 * I6	A region leaves `pending' for the generation of the epoch that carries it,
 *	and that only for DURABLE.  Records stay in the ring until their epoch
 *	is durable; where the ring needs the room, their regions are first
 *	set in their epoch's generation (merge.c, "retire").
 * I7	Nothing here makes the ring wait: when the epochs are full it fills, and BPF
 *	marks what does not fit.
 *
 * After a lost connection, or a killed agent, what is in the ring is merged
 * again from the last durable cut, so that the order of completion survives;
 * the generations tell what must be read again.
 *
 * One thread.  Nothing here logs or waits.
 */
#ifndef GODWIT_ENGINE_H
#define GODWIT_ENGINE_H

#include "base.h"
#include <sys/uio.h>
#include "outbox.h"
#include "payload.h"
#include "tracker.h"
#include "uuid.h"
#include "wire.h"

#define ENGINE_EPOCH_MAX   (WIRE_EPOCH_MAX / 2) /* of a WELCOME: epochs can be counted on from there */
#define ENGINE_FLIGHTS_MAX 2 /* epochs sent and not yet durable */
#define ENGINE_CUTS	   4 /* remembered: those, the last durable one, the open one */

/*
 * What must outlive the agent beside the tracker's planes, in memory that the
 * caller maps from a file of the state folder.  Everything about the ring is
 * worthless after a reboot: the caller then calls engine_memory_reset().
 *
 * The sums tell a damaged one (engine_memory_is_sound()).  They follow what they
 * are of by an instruction or two: an agent killed just there has lost it, and
 * everything is compared by hashes.
 */
struct engine_memory {
	uint64_t armed_disks;	/* bit n: the planes of disk n say what is to be done */
	uint64_t synced_disks;	/* bit n: the first scan of disk n went through once */
	uint64_t durable_epoch; /* newest DURABLE seen, or WELCOME */
	uint64_t durable_time_us;
	uint64_t last_time_us;	/* of the newest epoch sent */
	uint64_t horizon;	/* no point before this position: a scan read ended there */
	uint64_t point_epoch, point_time_us; /* newest point known to be durable; 0: none */
	uint64_t merged;	/* records before this position were taken once; for the figures only, no sum */
	struct engine_cut {
		uint64_t epoch, position, time_us; /* epoch 0: nothing here */
		uint64_t sum;
	} cuts[ENGINE_CUTS];
	uint64_t durable_sum, last_time_sum, horizon_sum, point_sum;
	uint64_t disks_sum; /* last: a file that was cut short lacks it */
};

enum engine_event {
	ENGINE_READ_ERROR,     /* value: offset in bytes */
	ENGINE_READ_HEALED,    /* value: offset in bytes */
	ENGINE_SUSPECT,	       /* text: why; the disk is compared by hashes */
	ENGINE_STORE_LOST,     /* the server has less than it said was durable; value: its epoch */
	ENGINE_STORE_FOREIGN,  /* the server has more than was ever sent; value: its epoch */
	ENGINE_SYNCED,	       /* the first scan of the disk went through */
	ENGINE_MISMATCH,       /* a sample read back differs from what was captured; value: offset */
	ENGINE_CAPTURE_WRONG,  /* so many that capture is not to be trusted any more */
	ENGINE_VERIFY_DONE,
	ENGINE_VERIFY_DIFFERS, /* value: offset in bytes */
};

struct engine_ops {
	/* Begin to read into @buffer (aligned to 4096); engine_read_done() with @slot is called
	 * later, never from inside.  -errno: it did not begin. */
	int (*read)(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot);
	/* How many bytes the disk has at this moment; 0: it is not there. */
	uint64_t (*size)(void *context, uint16_t disk);
	uint64_t (*boot_us)(void *context); /* CLOCK_BOOTTIME, that of the records; > 0 */
	uint64_t (*now_us)(void *context);  /* monotonic */
	void (*event)(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text);
	/* @cut is durable; @label is NULL or that of engine_mark(). */
	void (*durable)(void *context, const struct wire_commit *commit, const struct wire_durable *answer);
	/* Is every disk that is missing away still, so that it cannot be written to unseen?  NULL: that is
	 * not known. */
	bool (*still_gone)(void *context);
};

#define ENGINE_READS_MAX 16u

/* A disk beyond it has regions that cannot be read at once: it must not be given to the tracker. */
#define ENGINE_DISK_BYTES_MAX (32 * 1024 * GIB)

struct engine_options {
	struct tracker *tracker;
	struct engine_memory *memory;
	const struct engine_ops *ops;
	void *context;
	uint64_t arena_bytes;	/* 0: 32 MiB */
	uint64_t outbox_bytes;	/* 0: 1 MiB */
	uint32_t read_bytes;	/* the largest read, unless a disk's regions are larger; 0: 512 KiB */
	unsigned int reads;	/* at once; 0: 8 */
	uint64_t epoch_us;	/* 0: 500 ms */
	uint64_t idle_us;	/* a point at least this often when nothing is written; 0: 0.9 s, for
				 * every second to have one */
	uint64_t hash_seed;
};

struct engine;

_must_check_ int engine_new(const struct engine_options *o, struct engine **ret);
void engine_free(struct engine *e);

/* The buffers that ops->read() is given, by slot; how many.  Others when a disk was added or resized. */
unsigned int engine_read_buffers(const struct engine *e, struct iovec ret[ENGINE_READS_MAX]);

void engine_memory_reset(struct engine_memory *m);

/* false: it says what no engine wrote, and nothing in it may be believed. */
bool engine_memory_is_sound(const struct engine_memory *m);

/* What is known of a disk holds no more: all of it is compared when it is added. */
void engine_memory_disarm(struct engine_memory *m, uint16_t disk);

struct engine_disk_options {
	uint16_t disk;
	uint16_t sector_bytes;
	struct uuid id;
	char name[WIRE_NAME_MAX + 1];
};

/*
 * A disk that the tracker tracks already.  If it is not armed in the memory,
 * nothing is known about it: all of it is set to be compared by hashes (or
 * sent, if the server turns out to have nothing), and only then it is armed.
 * -EFBIG: it is larger than ENGINE_DISK_BYTES_MAX.
 */
_must_check_ int engine_add_disk(struct engine *e, const struct engine_disk_options *o);

/*
 * It is gone: no more reads of it for now, and what is marked stays marked.  While anything
 * is, what it was is not known, and no point is called (I4); else its replica is what it was,
 * and points go on for as long as ops->still_gone() says that it cannot have come back.  Where
 * it may have been written to unseen, engine_rescan() marks all of it.
 */
void engine_disk_missing(struct engine *e, uint16_t disk, bool missing);

/*
 * Around these two nothing may be connected: reads under way count in regions
 * that may have become larger, and the server must be told of the new size.
 * Nor may it be after one has failed, until it is called again and succeeds: the
 * maps that the engine has are gone.
 *
 * After tracker_resize_disk(): the new area is pending.
 */
_must_check_ int engine_disk_resized(struct engine *e, uint16_t disk);

/* It is there again, perhaps as another device: its maps are taken over anew,
 * and it is compared by hashes. */
_must_check_ int engine_disk_back(struct engine *e, uint16_t disk);

/* Compare all of it by hashes (only differences travel). */
void engine_rescan(struct engine *e, uint16_t disk);

/* --- the connection --------------------------------------------------------- */

struct outbox *engine_outbox(struct engine *e);

/* The frames that begin a connection, in front of everything else. */
void engine_greet(struct engine *e, const struct uuid *machine, uint64_t boot_time_us);
/* Its epoch is at most ENGINE_EPOCH_MAX. */
void engine_connected(struct engine *e, const struct wire_welcome *welcome);
void engine_disconnected(struct engine *e);

/* A DURABLE or DIFFER.  -EPROTO: it answers nothing that was sent. */
_must_check_ int engine_frame(struct engine *e, uint16_t type, const uint8_t *body, uint32_t length);

/* Do what can be done now.  Call after anything happened.  Returns the time
 * (now_us) at which to call again at the latest. */
uint64_t engine_run(struct engine *e);

void engine_read_done(struct engine *e, unsigned int slot, int error);

/* Is anything still to be read before a point can be called? */
bool engine_is_behind(const struct engine *e);

/* Is there a use in being woken when the ring fills? */
bool engine_wants_ring(const struct engine *e);

/* --- settings and wishes ---------------------------------------------------- */

void engine_set_epoch_us(struct engine *e, uint64_t epoch_us);
void engine_set_codec(struct engine *e, enum payload_codec codec, int level);

/* The next point of a moment after this one gets the label (points made while a
 * backlog is caught up are of earlier moments).  -EINVAL: it is empty, too long or
 * not printable, and no server would take it; -EBUSY: one is waiting already. */
_must_check_ int engine_mark(struct engine *e, const char *label);
void engine_unmark(struct engine *e); /* nobody waits any more */

struct engine_verify {
	bool running;
	/* unsettled: not compared, as it was written to all the while or could not be read; checked like the rest */
	uint64_t checked_bytes, total_bytes, differing_bytes, unsettled_bytes;
};

/* Compare all that is not dirty with the replica, beside everything else. */
_must_check_ int engine_verify(struct engine *e);
void engine_verify_status(const struct engine *e, struct engine_verify *ret);

/* --- figures ---------------------------------------------------------------- */

struct engine_figures {
	bool connected;
	bool clean;		       /* nothing live, pending or in doubt */
	bool rescanning;	       /* hashes are being compared */
	bool synced;		       /* every disk's first scan went through */
	bool point_sent;	       /* a point was sent and is not durable yet */
	uint64_t durable_epoch, open_epoch;
	uint64_t newest_point_epoch, newest_point_us; /* durable; 0: none */
	uint64_t newest_durable_us;
	uint64_t lag_us;	       /* since the cut of the newest durable point, whatever the wall clock does; 0: none */
	uint64_t ahead_until_us;       /* wall: points' times are ahead of the clock until then; 0: they are not */
	unsigned int flights;
	uint64_t epoch_us;
	uint64_t scan_in_flight_bytes; /* regions in generations: sent, not durable */
	uint64_t ring_used_bytes, ring_bytes;
	uint64_t merged_bytes;	       /* records taken from the ring */
	uint64_t skipped_bytes;	       /* of those, not sent because a scan will read them */
	uint64_t scanned_bytes;	       /* read and sent */
	uint64_t hashed_bytes;
	uint64_t differing_bytes;      /* found by comparing hashes */
	uint64_t sent_bytes;	       /* frames */
	uint64_t payload_bytes, stored_bytes; /* before and after compression */
	uint64_t zero_bytes;
	uint64_t resent_bytes;	       /* regions set pending because their epoch was not durable */
	uint64_t replayed_bytes;       /* taken from the ring again: no cut that had them was durable */
	uint64_t open_bytes;	       /* merged and not yet sent */
	uint64_t epochs, points;       /* sent */
	uint64_t read_errors, unreadable_regions;
	uint64_t samples, sample_mismatches;
	uint64_t staging_us, receive_us; /* sums of what the server said */
};
void engine_figures(struct engine *e, struct engine_figures *ret);

struct engine_disk_figures {
	uint64_t size_bytes, pending_bytes, live_bytes, hash_bytes, leisure_bytes;
	bool synced, missing;
};
_must_check_ int engine_disk_figures(struct engine *e, uint16_t disk, struct engine_disk_figures *ret);

#endif
