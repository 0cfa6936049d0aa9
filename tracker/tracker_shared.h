/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * tracker_shared - what the BPF programs and the agent both look at: the
 * records in the ring, the live map, configuration, counters, the self-test.
 *
 * A change of anything here is a new SHARED_LAYOUT: the next agent then takes
 * down what the last one left pinned.
 */
#ifndef GODWIT_TRACKER_SHARED_H
#define GODWIT_TRACKER_SHARED_H

#define SHARED_LAYOUT 9
#define SHARED_DISKS 64 /* DISKS_MAX */

/* --- the ring: a header, then the payload, in the room of its size class --- */

#define SHARED_CARRY_MAX 65536

enum shared_op { SHARED_WRITE = 1, SHARED_ZERO = 2 };

enum shared_record_flags {
	SHARED_END = 1,	   /* last of its completion; for tests, see struct tracker_record */
	SHARED_REREAD = 2, /* the disk may hold something else */
};

struct shared_record {
	uint64_t time_ns; /* CLOCK_BOOTTIME, taken before the room in the ring */
	uint64_t sector;
	uint32_t sectors;
	uint16_t disk;
	uint8_t op;
	uint8_t flags;
};

/* --- the live map ---------------------------------------------------------- */

/*
 * One array map for each disk; element 0 is the header, element 1 + n holds the
 * bytes of the regions from n * SHARED_PAGE_REGIONS.  A byte that is not zero
 * is set.  BPF stores bytes of a page first and touched[page] after it; the
 * agent clears touched[page] first and looks at the bytes after it.  all[page]
 * stands for every region of the page.
 */
#define SHARED_PAGE_SHIFT   13
#define SHARED_PAGE_REGIONS (1u << SHARED_PAGE_SHIFT)
#define SHARED_PAGES_MAX    1024 /* 8 Mi regions */

struct shared_live_header {
	uint64_t regions;
	uint32_t sector_shift; /* a region is 1 << sector_shift sectors */
	uint32_t pages;
	uint64_t beyond; /* marks past the end: the disk grew, and what is new is read anyway */
	uint64_t reserved[5];
	uint8_t touched[SHARED_PAGES_MAX];
	uint8_t all[SHARED_PAGES_MAX];
};

union shared_live_page {
	struct shared_live_header header;
	uint8_t region[SHARED_PAGE_REGIONS];
	uint64_t word[SHARED_PAGE_REGIONS / 8];
};

/* --- configuration: one element, mapped by the agent ------------------------ */

#define SHARED_SLOTS 256 /* of the table of devices; probed SHARED_PROBES deep */
#define SHARED_PROBES 4

struct shared_slot {
	uint32_t device; /* major << 20 | minor, as the kernel has it */
	uint32_t disk_plus_1;
	uint64_t sequence; /* the kernel's diskseq: another disk of that number has another; 0: not known */
};

struct shared_disk {
	uint64_t size_bytes;
	uint64_t sequence; /* as in its slot */
	uint32_t device;   /* 0: it is not there */
	uint32_t generation; /* of its maps: the number in their names; 0: not tracked */
	uint64_t passthrough_seen, blind_seen; /* what tracker_suspect_clear() has settled */
	int64_t base_excess;		       /* books.c */
	uint64_t base_known;
};

/* Why nothing is carried and everything marked; only the agent takes one back. */
enum shared_reason {
	SHARED_RING_FULL,   /* until it has caught up (T7) */
	SHARED_PAYLOAD_OFF, /* not proved, not wished, or found wrong */
};

/* Read in one piece. */
union shared_gate {
	uint64_t word;
	struct {
		union {
			uint32_t closed;    /* for any reason */
			uint16_t reason[2]; /* each set by a store of its own: before 5.12 BPF has no atomic "or" */
		};
		uint32_t salt; /* of the overlap table; grows when a reason goes, and else as overlap.h says */
	};
};

struct shared_config {
	uint32_t layout;
	uint32_t forced; /* SHARED_PAYLOAD_OFF for good */
	uint32_t proved;
	uint32_t payload_programs; /* which class of programs is attached */
	uint32_t wake_shift;	   /* log2 of an eighth of the ring */
	uint32_t flights_left_out; /* requests for which the table of flights had no room */
	uint32_t spares;	   /* truth: more than one completion program may be attached */
	uint32_t unused;
	union shared_gate gate;
	uint64_t vmemmap_base, direct_base;
	uint64_t ring_bytes;
	uint64_t number_base; /* the address of a request, less its number */
	struct shared_slot slots[SHARED_SLOTS + SHARED_PROBES];
	struct shared_disk disks[SHARED_DISKS];
};

static inline uint32_t shared_slot_of(uint32_t device)
{
	return (device ^ device >> 20) & (SHARED_SLOTS - 1);
}

/* --- counters: one per disk and CPU ----------------------------------------- */

struct shared_counters {
	uint64_t requests, bytes;
	uint64_t lost_full, lost_unreadable, lost_overlap, lost_other;
	uint64_t discarded, passthrough, marks;
	uint64_t blind;	 /* completions whose range is not known */
	uint64_t unseen; /* bytes whose completion was not seen (flights) */
};

/* One per CPU: which completions have been handled in these moments. */
#define SHARED_TOKENS 16

struct shared_cpu {
	uint64_t spare_runs; /* completions that an earlier program missed and a later one handled */
	uint32_t next, unused;
	uint64_t token[SHARED_TOKENS];
};

/* --- overlap in flight: overlap.h -------------------------------------------- */

#define SHARED_BUCKETS 16384 /* power of two */
#define SHARED_WAYS    8

struct shared_bucket {
	uint64_t entry[SHARED_WAYS];
};

/* --- requests in flight -------------------------------------------------------- */

#define SHARED_FLIGHT_BUCKETS 2048 /* power of two */
#define SHARED_FLIGHT_WAYS    8

struct shared_flight {
	uint64_t sector; /* what is left of it */
	uint64_t bio;	 /* its first; 0: not known any more */
	uint32_t sectors;
	uint16_t disk;
	uint16_t several; /* truth: ranges, of which only the first begins at sector */
	uint64_t stamp;	  /* when it was begun */
	uint64_t gate;	  /* what shared_gate was then */
	uint64_t use;	  /* counts; odd: it is being begun at this moment */
	uint64_t told;	  /* the use that audit has marked already; written by audit alone */
};

struct shared_flights {
	uint64_t number[SHARED_FLIGHT_WAYS]; /* of the request; 0: free */
	struct shared_flight flight[SHARED_FLIGHT_WAYS];
};

/* --- the self-test: one element, mapped by the agent ------------------------- */

#define SHARED_PROOF_BYTES 4096
#define SHARED_PROOF_WORDS 8

struct shared_proof {
	uint32_t device; /* reads of this disk ... */
	uint32_t bytes;	 /* ... of this length ... */
	uint64_t sector; /* ... here are ours */
	uint64_t pfn;	 /* of our page; 0: no search */
	uint64_t magic[SHARED_PROOF_WORDS]; /* how its content starts */
	uint32_t tries;			    /* candidates to look at */
	/* What was seen: */
	uint32_t issues, completions;
	uint32_t page_struct_bytes;
	uint32_t found, at_issue_ok, at_completion_ok, pieces;
	uint64_t vmemmap_base, direct_base; /* found, or to be used */
	uint8_t at_issue[SHARED_PROOF_BYTES];
	uint8_t at_completion[SHARED_PROOF_BYTES];
};

#endif
