/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker - every completed write of chosen disks, in order of completion.
 *
 * The BPF programs (tracker.bpf.c) hang on block_rq_issue and
 * block_rq_complete.  They copy what was written into a ring buffer, and mark
 * what they could not carry in the live dirty map.  Programs, links and maps
 * are pinned in @pin_dir, so that they go on while no agent runs; the next
 * agent opens them where they are.
 *
 *	block_rq_issue ----> overlap table (I5)
 *	block_rq_complete -> ring:	record, record, record ...
 *			 \-> live map:	bytes, one for each region
 *
 * T1	Positions in the ring are the order: a write whose issuer has been told
 *	of its completion is in the ring before any position read later, or its
 *	regions are set in the live map before any look at it later.
 * T2	A record is in the ring whole or its range is marked live (I3).  Both
 *	may happen.
 * T3	A write that completes after another, with which it overlapped in flight, is
 *	marked live at its completion (I5).
 * T4	A region of the live map is cleared by tracker_live_take() alone.  Anybody may set
 *	one: BPF, and whoever is in doubt.
 * T5	Anything the programs could not see at all (a missed run of theirs, a
 *	passthrough command) makes the disk suspect; tracker_suspect() says so.
 *
 * T6	A completion that the kernel did not show to the programs is found by
 *	comparing what was issued and never seen to complete with what is really in
 *	flight, and marked live.  tracker_live_count() does so before it counts:
 *	called after tracker_position(), it makes T1 hold for such writes, too.
 *
 * T7	From the moment a record finds no room in the ring, or tracker_hold() is called,
 *	nothing is carried and everything is marked, until tracker_carry(): a load that
 *	the reader cannot follow does not pay for being copied.
 *
 * One thread.  Nothing here logs.  x86-64 carries payload; elsewhere, or where
 * tracker_prove() fails, the mode is dirty-map: no records, only live marks.
 */
#ifndef GODWIT_TRACKER_H
#define GODWIT_TRACKER_H

#include "base.h"
#include "message.h"
#include <sys/types.h>

struct tracker;

enum tracker_mode { TRACKER_PAYLOAD, TRACKER_DIRTY_MAP };

enum tracker_op {
	TRACKER_WRITE = 1,   /* payload follows */
	TRACKER_ZERO = 2,    /* discard, write-zeroes, secure erase: reads as zeroes in the replica */
};

#define TRACKER_RING_LEAST (64 * KIB)
#define TRACKER_RING_MOST  (1 * GIB)

/* Of a disk; one for which they would be more has larger ones. */
#define TRACKER_REGIONS_MAX (8u << 20)

struct tracker_options {
	uint64_t ring_bytes;	  /* power of two, TRACKER_RING_LEAST to _MOST; 0: 64 MiB */
	bool dirty_map_only;	  /* never carry payload */
};

struct tracker_disk {
	uint16_t disk;		  /* index within the machine, < DISKS_MAX */
	dev_t device;		  /* of the whole disk; 0: it is not there, and only what is known of it is wanted */
	uint64_t size_bytes;
	/* Set by tracker_add_disk() / tracker_disk(): */
	unsigned int region_shift; /* a region is 1 << region_shift bytes, 4 KiB at least */
	uint64_t region_count;
	uint64_t sequence;	  /* tracker_sequence() of the device */
	/* Its live map and planes were there before tracker_add_disk() and nothing
	 * since is missing from them.  False: new, or it was away in between, so that
	 * its number or its sequence is another; what was written meanwhile was not seen: rescan. */
	bool kept;
};

struct tracker_record {
	uint64_t position;	  /* of this record in the ring */
	uint64_t next;		  /* position just after it */
	uint64_t time_us;	  /* CLOCK_BOOTTIME of its completion, taken before its position was; see
				     tracker_clock_offset_us() for the wall clock */
	uint16_t disk;
	uint8_t op;		  /* enum tracker_op */
	bool request_end;	  /* last record of its completion; none has it if its end could not be carried.
				     For tests and for looking at rings: cuts do not go by it, so that a
				     point may hold part of a request (docs/capture.md, limits) */
	/*
	 * The disk may hold something else in this range, though a power cut could
	 * have left what the record says: a discard (later reads may return
	 * anything), or a page of the page cache that was changed while it was being
	 * written.  Points need not wait; read it again at leisure, so that source
	 * and replica become equal.
	 */
	bool reread;
	uint64_t offset_bytes;
	uint64_t length_bytes;	  /* of a WRITE: at most 64 KiB */
	const void *payload;	  /* in the ring, valid until tracker_consume() passes it; NULL for ZERO */
};

struct tracker_counters {
	uint64_t requests, bytes;		/* writes completed on the disk */
	uint64_t lost_ring_full_bytes;		/* marked live for want of room */
	uint64_t lost_unreadable_bytes;		/* page could not be read */
	uint64_t lost_overlap_bytes;		/* I5 */
	uint64_t lost_other_bytes;		/* failed writes, odd operations */
	uint64_t unseen_bytes;			/* issue seen, completion not; found by audit (T6) */
	uint64_t discarded_bytes;		/* carried as ZERO */
	uint64_t passthrough_commands;
	uint64_t marks;				/* grows with every store to the live map */
	uint64_t nested_runs;			/* of all disks: completions that hit a running program, and
						   were handled by a spare one (spare.c) */
};

/*
 * Attach, or take over what is pinned in @pin_dir (an absolute path below a
 * bpffs; mounted and created if missing).  *@ret_resumed: something was there
 * and had gone on running, so that its live maps, planes and ring tell of
 * every write since; false also when what was there is of another layout or
 * broken (it is then removed): every disk needs a rescan.
 *
 * -EPERM not root; -EOPNOTSUPP no BTF or too old a kernel; each with @ret_fault.
 */
_must_check_ int tracker_open(const char *pin_dir, const struct tracker_options *options, struct tracker **ret,
			      bool *ret_resumed, struct fault *ret_fault);

/* Forget the process's handles.  What is pinned runs on. */
void tracker_close(struct tracker *t);

/* Detach and unpin everything in @pin_dir.  0 also when nothing was there. */
int tracker_remove(const char *pin_dir);

/*
 * Begin to track a disk, or find it again after a resume (-EEXIST is never
 * returned: the same index with the same device and size is found; with
 * another device number or sequence, the old one is replaced and the planes kept).
 * The planes are zeroed when new.
 */
_must_check_ int tracker_add_disk(struct tracker *t, struct tracker_disk *disk, struct fault *ret_fault);

/*
 * The disk is gone, and so is what was followed under its number: another disk that
 * is given it is a stranger.  Maps and planes stay; tracker_add_disk() goes on with them.
 */
void tracker_lose_disk(struct tracker *t, uint16_t disk);

/* What the kernel gives a disk, and gives anew to another one of the same number (diskseq, since
 * 5.15); 0: it does not, or there is none. */
uint64_t tracker_sequence(dev_t device);

/* Is what has the disk's number still it? */
bool tracker_is_there(const struct tracker *t, uint16_t disk);

_must_check_ int tracker_remove_disk(struct tracker *t, uint16_t disk);

/*
 * The disk grew: the maps are made again, larger, with nothing lost; all of
 * what is new is set in the live map.  The region size does not change unless
 * the map would become too large; then every plane is carried over to larger
 * regions.  Pointers from tracker_plane() are void after it.
 */
_must_check_ int tracker_resize_disk(struct tracker *t, uint16_t disk, uint64_t size_bytes);

/* -ENOENT if not tracked. */
_must_check_ int tracker_disk(const struct tracker *t, uint16_t disk, struct tracker_disk *ret);

/*
 * Prove the arithmetic from struct page to its payload, on reads that this
 * process makes of tracked disk @disk: own pages of random content are seen
 * by the BPF program at issue and at completion and found equal.  Proves, too,
 * that requests of this disk are seen with the right sectors.  Until it has
 * succeeded for one disk the mode is TRACKER_DIRTY_MAP.  @disk_fd is open for
 * O_DIRECT reading.
 *
 * -ENXIO: requests of this disk are not seen at all (@ret_fault says what to
 * do): the disk must not be protected.  -EOPNOTSUPP: seen, but payloads
 * cannot be read: the mode stays TRACKER_DIRTY_MAP.
 */
_must_check_ int tracker_prove(struct tracker *t, uint16_t disk, int disk_fd, struct fault *ret_fault);

/*
 * Attach the spare completion programs, for a machine whose completions nest.  The tracker
 * does so itself once it sees that they do; what it misses until then is marked (T6).
 */
_must_check_ int tracker_attach_spares(struct tracker *t);

enum tracker_mode tracker_mode(const struct tracker *t);

/* A setting: carry no payload, or carry it again where it has been proved. */
void tracker_prefer_dirty_map(struct tracker *t, bool prefer);

/* Carry no more payload for as long as this is pinned: capture was found wrong. */
void tracker_force_dirty_map(struct tracker *t);

/* --- the ring ------------------------------------------------------------ */

/* For poll: becomes readable each time another eighth of the ring has filled
 * (not for every record: the source does not pay for wakeups), and stays so
 * until tracker_peek() has returned 0.  So look at the ring by a timer as well. */
int tracker_ring_fd(const struct tracker *t);
uint64_t tracker_ring_bytes(const struct tracker *t);

/* Where the next record will go: the position of "now" (T1). */
uint64_t tracker_position(const struct tracker *t);

/* Everything before it has been consumed. */
uint64_t tracker_consumed(const struct tracker *t);

/*
 * The first record at or after position @from (start with
 * tracker_consumed()), without consuming it.  1: *@ret is it; 0: none yet, and
 * @ret->next is then the position up to which there will be none (behind room
 * that was reserved and given up).
 * Reading ahead of what is consumed is allowed: the caller consumes when the
 * records are safe elsewhere.
 */
int tracker_peek(struct tracker *t, uint64_t from, struct tracker_record *ret);

/* Give the ring's bytes before @position back. */
void tracker_consume(struct tracker *t, uint64_t position);

/* Has a record found no room (T7)?  Then it is the reader's to say when to carry again. */
bool tracker_is_full(const struct tracker *t);
void tracker_hold(struct tracker *t); /* as if one had */
void tracker_carry(struct tracker *t);

/* Add to a record's time_us to get the wall clock. */
int64_t tracker_clock_offset_us(const struct tracker *t);

/* --- the live map -------------------------------------------------------- */

/*
 * Clear and report the first run of set regions at or after *@region: returns
 * the number of regions in the run, at most @max, and sets *@region to the first;
 * 0: none.  Whoever takes a region must see to it that it is read after this
 * call, or set it again.
 */
uint64_t tracker_live_take(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max);

/*
 * The same without clearing: for who must note the regions in a plane before
 * they leave the live map, so that a process killed at any instruction has them in
 * one or the other (I3; BPF only ever sets, so the run is still there for
 * tracker_live_take()).  An agent uses both.
 */
uint64_t tracker_live_next(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max);

/* Set regions, as BPF would. */
void tracker_live_set(struct tracker *t, uint16_t disk, uint64_t region, uint64_t count);
bool tracker_live_test(const struct tracker *t, uint16_t disk, uint64_t region);

/* Regions set now, after an audit (T6).  Cheap when nothing was marked since the last call. */
uint64_t tracker_live_count(struct tracker *t, uint16_t disk);

/* --- planes: the agent's own bitmaps, pinned beside the live map ---------- */

#define TRACKER_PLANES 6
/* Plane @plane of @disk: one bit for each region, in 64-bit words, zeroed when
 * new; its meaning is the agent's (dirtymap.h).  Survives the agent. */
uint64_t *tracker_plane(struct tracker *t, uint16_t disk, unsigned int plane, uint64_t *ret_words);

/* --- accounts ------------------------------------------------------------ */

_must_check_ int tracker_counters(struct tracker *t, uint16_t disk, struct tracker_counters *ret);

/*
 * Has anything happened that could have escaped both ring and live map (T5)?
 * 1: yes, the whole disk needs a rescan by hashes; *@ret_why is a static text.
 * -EAGAIN: it looks so, or another disk has its number; call again, at least 50 ms later.  0: no.  It stays 1, agent restarts included, until tracker_suspect_clear(),
 * which is called when the rescan is noted where a crash does not lose it; what
 * happens between the two calls makes it 1 again.
 */
int tracker_suspect(struct tracker *t, uint16_t disk, const char **ret_why);
void tracker_suspect_clear(struct tracker *t, uint16_t disk);

#endif
