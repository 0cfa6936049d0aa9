/* SPDX-License-Identifier: Apache-2.0 */
/* engine-private - what the files of the engine share: engine.c (life, connection),
 * merge.c (ring to epoch), cut.c (epochs), timeline.c (their times), scanner.c (reads), hashes.c (rescan and
 * verify), sample.c (re-reading what was captured). */
#ifndef GODWIT_ENGINE_PRIVATE_H
#define GODWIT_ENGINE_PRIVATE_H

#include "encoder.h"
#include "engine.h"
#include "epoch.h"
#include "plane.h"
#include <assert.h>
#include <stdlib.h>

#define READ_BYTES_MAX	 (4u * 1024u * 1024u)
#define READ_SECTORS_MAX (READ_BYTES_MAX / SECTOR_BYTES)
_Static_assert(ENGINE_DISK_BYTES_MAX == (uint64_t)READ_BYTES_MAX * TRACKER_REGIONS_MAX, "a region is read at once");
#define HASHES_MAX	 256u /* unanswered at once */
#define BAD_MAX		 1024u
#define SAMPLES_MAX	 8u

/* The tracker's planes of a disk. */
enum {
	PLANE_PENDING,	  /* to be read and sent; being read */
	PLANE_HASH,	  /* to be compared; asked and not answered */
	PLANE_LEISURE,	  /* to be read when there is nothing else to do: discards, for one */
	PLANE_GENERATION, /* + epoch % GENERATIONS: in an epoch that is not durable */
};
#define GENERATIONS 3u
_Static_assert(PLANE_GENERATION + GENERATIONS <= TRACKER_PLANES, "the tracker keeps too few planes");
_Static_assert(GENERATIONS > ENGINE_FLIGHTS_MAX, "each epoch in flight and the open one need a generation");

/* A region whose read failed. */
struct bad_region {
	uint64_t region, retry_us;
	unsigned int tries;
};

struct disk_state {
	bool present, missing;
	struct engine_disk_options o;
	struct tracker_disk track;
	struct plane planes[TRACKER_PLANES];
	/* The pass over `pending': goes on from the cursor, and takes from the live
	 * map only when it is through. */
	uint64_t cursor;
	bool in_pass;
	uint64_t pass_began_us;
	uint64_t careful_until; /* regions before it are read one by one: something there failed */
	uint64_t hash_cursor, leisure_cursor, leisure_next_us;
	struct bad_region *bad;
	unsigned int bad_count;
	uint64_t bad_hold_us;	/* so much of it fails that it is left alone until then */
};

enum read_purpose { READ_PENDING, READ_HASH, READ_LEISURE, READ_VERIFY, READ_SAMPLE };
enum read_state { READ_FREE, READ_FLYING, READ_READY };

struct sector_set {
	uint64_t words[READ_SECTORS_MAX / 64];
};

struct scan_read {
	enum read_state state;
	enum read_purpose purpose;
	bool stale;		/* of a connection that is gone: to be dropped when it ends */
	uint16_t disk;
	uint32_t length;
	uint64_t offset;
	uint64_t submitted_us;
	uint64_t begun, ended;	/* ring positions: before it was submitted, after it ended */
	uint32_t emitted;	/* bytes of it that are dealt with */
	int error;
	uint8_t *buffer;
	uint32_t buffer_bytes;
	uint8_t *larger;	/* of read_bytes, in its place as soon as nothing is being read into it */
	unsigned int sample;	/* READ_SAMPLE: which */
	struct sector_set punched; /* a record at or after `begun' has something newer */
	struct sector_set again;   /* marked since it was submitted: to be read once more */
};

/* One HASH that was sent and not answered. */
struct asked {
	uint16_t disk;
	bool verify;
	bool outdated; /* in doubt once more since: that it is the same says nothing */
	uint64_t offset;
	uint32_t length;
};

struct flight {
	struct wire_commit commit;
	uint64_t position;
	uint64_t boot_us; /* CLOCK_BOOTTIME of the cut */
	uint64_t ends_at; /* of all bytes ever put into the outbox */
};

/* A chunk that verify could not compare, or that differed: to be looked at again. */
struct doubt {
	uint16_t disk;
	unsigned int tries, differed; /* differed: so often in a row */
	uint64_t offset;
	bool flying;
	bool written; /* since it differed */
	uint64_t not_before_us;
};
#define DOUBTS_MAX 1024u

struct verify {
	bool running;
	uint16_t disk;
	uint64_t cursor;	/* bytes */
	struct engine_verify figures;
	struct doubt doubts[DOUBTS_MAX];
	unsigned int doubt_count;
};

enum sample_state { SAMPLE_FREE, SAMPLE_WAITING, SAMPLE_FLYING, SAMPLE_READY };
struct sample {
	enum sample_state state;
	uint16_t disk;
	unsigned int tries;
	uint32_t length;
	uint64_t offset, not_before_us;
	uint64_t checksum;
	bool overtaken; /* something was written there since */
};

struct overload {
	uint64_t carried_us; /* since when */
	uint64_t until_us;   /* the ring was full, and stays closed until then; 0: open */
	uint64_t looked_us, skipped_bytes, scanned_bytes; /* of the figures, then */
	uint64_t vain_bytes; /* carried, skipped and not made up for */
	uint64_t read_after_us;
};

struct timeline {
	bool begun;
	int64_t offset_us;	   /* of the times so far to CLOCK_BOOTTIME */
	bool waiting;		   /* the wall clock is far ahead of that: */
	int64_t waiting_us;	   /* by this offset */
	uint64_t waiting_since_us; /* now_us */
	bool unsure;
};

struct engine {
	struct engine_options o;
	struct tracker *tracker;
	struct engine_memory *memory;
	struct outbox outbox;
	struct encoder encoder;
	struct arena *arena;
	struct epoch *epochs[2];
	struct epoch *open, *closed;  /* closed: being sent; NULL: none */
	bool connected;

	/* the ring */
	uint64_t merged;	      /* records before it are in epochs */
	bool caught_up;		      /* there was none to merge */
	bool blocked;		      /* the next record does not fit, or must wait */
	uint64_t replay_until;	      /* what lies before it was merged once already */

	struct overload overload;

	/* the open epoch */
	uint64_t open_number;
	uint64_t open_since_us;	      /* boot_us: its first record, or the last cut */
	bool touched;		      /* something is in it, or was sent as part of it */
	uint64_t cut_at_us;	      /* now_us of the last cut */
	uint64_t look_again_us;	      /* the look before it found something dirty: not before then */
	bool live_seen;		      /* something was live when last looked at */
	struct {
		bool set, clean;
		uint64_t position, boot_us;
	} aim;
	struct timeline timeline;
	uint64_t begun_us;	      /* boot_us */
	uint64_t point_us;	      /* boot_us of the newest durable point; 0: it is from before this engine */
	struct flight closing;	      /* of `closed' */
	struct flight flights[ENGINE_FLIGHTS_MAX];
	unsigned int flight_count;
	char label[WIRE_LABEL_MAX + 1];
	bool label_wanted;
	uint64_t label_since_us;      /* boot_us: points before it are not what was asked for */

	struct disk_state disks[DISKS_MAX];
	unsigned int disk_limit;      /* one more than the highest present */
	unsigned int next_disk;	      /* round robin of the scanner */
	struct scan_read reads[ENGINE_READS_MAX];
	unsigned int read_count;      /* slots in use of `reads' */
	uint64_t submitted_us;	      /* now_us: what was due then was begun, or must wait for something else */

	struct asked asked[HASHES_MAX];
	unsigned int asked_first, asked_count;
	struct verify verify;
	struct sample samples[SAMPLES_MAX];
	uint64_t next_sample_us;
	uint64_t sample_seed;
	unsigned int recent_samples, recent_mismatches;

	struct engine_figures figures;
	uint8_t chunk[CHUNK_BYTES];
};

static inline uint64_t now_us(const struct engine *e)
{
	return e->o.ops->now_us(e->o.context);
}

static inline uint64_t boot_us(const struct engine *e)
{
	return e->o.ops->boot_us(e->o.context);
}

static inline void report(const struct engine *e, enum engine_event event, uint16_t disk, uint64_t value,
			  const char *text)
{
	e->o.ops->event(e->o.context, event, disk, value, text);
}

static inline uint64_t region_bytes(const struct disk_state *d)
{
	return 1ULL << d->track.region_shift;
}

static inline struct plane *generation(struct disk_state *d, uint64_t epoch)
{
	return &d->planes[PLANE_GENERATION + epoch % GENERATIONS];
}

/* The regions that a byte range touches. */
static inline uint64_t region_first(const struct disk_state *d, uint64_t offset)
{
	return offset >> d->track.region_shift;
}

static inline uint64_t region_end(const struct disk_state *d, uint64_t end)
{
	return (end + region_bytes(d) - 1) >> d->track.region_shift;
}

static inline void plane_set_bytes(struct disk_state *d, struct plane *p, uint64_t offset, uint64_t end)
{
	plane_set(p, region_first(d, offset), region_end(d, end) - region_first(d, offset));
}

/* memory.c */
void memory_arm(struct engine_memory *m, uint16_t disk);
void memory_set_synced(struct engine_memory *m, uint16_t disk, bool synced);
void memory_set_durable(struct engine_memory *m, uint64_t epoch);
void memory_raise_horizon(struct engine_memory *m, uint64_t position);
void memory_set_point(struct engine_memory *m, uint64_t epoch, uint64_t time_us);
void memory_set_cut(struct engine_memory *m, uint64_t epoch, uint64_t position, uint64_t time_us);
void memory_forget_cuts(struct engine_memory *m);

/* merge.c */
void merge_run(struct engine *e);
void merge_retire(struct engine *e, uint64_t target);

/* overload.c */
void overload_run(struct engine *e);
void overload_read_ended(struct engine *e, uint64_t submitted_us);
bool overload_may_read(const struct engine *e);
uint64_t overload_deadline(const struct engine *e);

/* cut.c */
void cut_begin_epoch(struct engine *e, uint64_t number);
bool cut_can_close(const struct engine *e);
bool cut_look_clean(struct engine *e);
bool cut_nothing_pending(const struct engine *e);
void cut_close(struct engine *e, uint64_t position, uint64_t cut_us, bool clean);
void cut_soon(struct engine *e);
void cut_run(struct engine *e);
bool cut_send(struct engine *e);
uint64_t cut_deadline(const struct engine *e);
int cut_durable(struct engine *e, const struct wire_durable *m);

/* timeline.c */
int64_t timeline_offset_us(struct engine *e);
bool timeline_is_sure(struct engine *e);

/* scanner.c */
void scanner_submit(struct engine *e);
bool scanner_emit(struct engine *e);
void scanner_mark_pending(struct engine *e, uint16_t disk, uint64_t first, uint64_t count);
void scanner_mark_leisure(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length);
unsigned int scanner_count_reads(const struct engine *e, enum read_purpose purpose);
bool scanner_covers(const struct engine *e, uint16_t disk, uint64_t first, uint64_t position);
void scanner_punch(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length, uint64_t position);
void scanner_stale(struct engine *e);
void scanner_take_larger(struct engine *e, struct scan_read *r);
void scanner_wrote(struct engine *e, uint16_t disk, uint64_t region);
struct scan_read *scanner_free_read(struct engine *e);
int scanner_begin(struct engine *e, struct scan_read *r, enum read_purpose purpose, uint16_t disk, uint64_t offset,
		  uint32_t length);
uint64_t scanner_deadline(const struct engine *e);
bool sectors_any(const struct sector_set *s, uint32_t first, uint32_t count);

/* hashes.c */
void hashes_doubt(struct engine *e, struct disk_state *d);
bool hashes_submit(struct engine *e);
void hashes_emit(struct engine *e, struct scan_read *r);
int hashes_differ(struct engine *e, const struct wire_differ *m);
void hashes_forget(struct engine *e);
bool hashes_have_room(const struct engine *e);
void verify_submit(struct engine *e);
void verify_wrote(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length);
uint64_t verify_deadline(const struct engine *e);

/* sample.c */
void sample_consider(struct engine *e, const struct tracker_record *rec);
void sample_overtaken(struct engine *e, uint16_t disk, uint64_t offset, uint64_t length);
void sample_submit(struct engine *e);
void sample_ready(struct engine *e, struct scan_read *r);
void sample_forget(struct engine *e);

#endif
