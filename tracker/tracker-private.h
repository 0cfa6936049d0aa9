/* SPDX-License-Identifier: Apache-2.0 */
/* tracker-private - what the files of this folder share behind struct tracker. */
#ifndef GODWIT_TRACKER_PRIVATE_H
#define GODWIT_TRACKER_PRIVATE_H

#include "tracker.h"
#include "tracker_shared.h"

_Static_assert(SHARED_DISKS == DISKS_MAX, "one slot for each disk of a machine");
_Static_assert(SHARED_CARRY_MAX == CHUNK_BYTES, "a record carries a chunk at most");
_Static_assert(sizeof(struct shared_live_header) <= sizeof(union shared_live_page), "the header is one element");
_Static_assert(sizeof(union shared_live_page) == SHARED_PAGE_REGIONS, "a page is nothing but its regions");
_Static_assert(sizeof(struct shared_record) == 24, "header of a record");
_Static_assert(sizeof(struct shared_bucket) == 64, "a bucket is a cache line");

/* A live map as this process sees it (live.c). */
struct live {
	int fd;
	union shared_live_page *map; /* element 0 is the header */
	size_t map_bytes;
	uint64_t count;			     /* regions set, where not to be counted again */
	uint16_t page_count[SHARED_PAGES_MAX];
	bool maybe[SHARED_PAGES_MAX];   /* may have a region set */
	bool recount[SHARED_PAGES_MAX]; /* page_count is old */
};

/* The last readings of a disk's excess (books.c). */
struct books {
	int64_t excess;
	bool above;	       /* the base */
	unsigned int readings; /* that said so */
	uint64_t at_us;
};

struct disk {
	bool open;
	struct tracker_disk info;
	struct live live;
	int planes_fd;
	uint64_t *planes; /* TRACKER_PLANES times plane_words */
	size_t planes_bytes;
	uint64_t plane_words;
	uint64_t passthrough_told, blind_told; /* by tracker_suspect() */
	struct books books;
};

struct ring {
	int fd, epoll_fd;
	uint64_t bytes;
	uint64_t *consumer;	  /* page */
	const uint64_t *producer; /* page, then the data, twice */
	const uint8_t *data;
};

/* How often a completion was kept from a running program, when last looked (spare.c). */
struct nesting {
	uint64_t at_us, misses;
};

#define TRACKER_LINKS_MAX 4

struct tracker {
	char *pin_dir;
	struct tracker_options options;
	int config_fd, counters_fd, cpus_fd, outer_fd, proof_fd;
	int prove_issue_fd, prove_completion_fd, audit_fd, first_fd;
	int link_fds[TRACKER_LINKS_MAX]; /* of the attached programs, then of the spare ones, so that they hold
					    even if somebody removes the pins */
	struct nesting nesting;
	struct shared_config *config;
	struct shared_proof *proof;
	struct ring ring;
	struct disk disks[DISKS_MAX];
};

/* "@pin_dir/@name" into @buf of PATH_MAX.  Returns @buf. */
char *pin_path(const struct tracker *t, const char *name, char *buf);

/* tracker.c: payload, if it is wanted, proved, and was not found wrong. */
void choose_mode(struct tracker *t);

/* ring.c */
_must_check_ int ring_open(struct ring *r, int fd, uint64_t bytes); /* owns @fd from now on */
void ring_close(struct ring *r);

/* live.c */
_must_check_ int live_create(uint64_t regions, unsigned int region_shift, int *ret_fd);
_must_check_ int live_open(struct live *l, int fd); /* owns @fd from now on, whatever it returns */
void live_close(struct live *l);
void live_set(struct live *l, uint64_t region, uint64_t count);
/* Everything set in @from is set in @to, whose regions are 1 << @shift as large. */
void live_fold(struct live *to, const struct live *from, unsigned int shift);

/* disk.c */
void disk_close(struct disk *d);
uint32_t disk_kernel_device(dev_t device);

/* account.c: over all processors. */
_must_check_ int counters_sum(const struct tracker *t, uint16_t disk, struct shared_counters *ret);

/* books.c: has the kernel written what nobody here saw?  Settle: that is known now.  Begin: a new count. */
enum books_word { BOOKS_AGREE, BOOKS_DOUBT, BOOKS_DISAGREE };
enum books_word books_look(struct tracker *t, uint16_t disk);
void books_settle(struct tracker *t, uint16_t disk);
void books_begin(struct tracker *t, uint16_t disk);

/* account.c: mark what is in flight by our books and not in fact (T6). */
_must_check_ int audit(struct tracker *t);

/* load.c: programs and maps into the kernel, attached and pinned in t->pin_dir. */
_must_check_ int load_pinned(const struct tracker *t, struct fault *ret_fault);
/* Attach and pin: it runs on when this process is gone. */
_must_check_ int load_attach(const struct tracker *t, int program_fd, const char *program);

/* spare.c: @misses so far, at @now_us: do completions nest here so often that the spare programs pay? */
bool spare_is_wanted(struct nesting *n, uint64_t misses, uint64_t now_us);
/* Look, and attach them if so. */
void spare_look(struct tracker *t);

/* The names that everything is pinned under. */
#define PIN_CONFIG	     "config"
#define PIN_COUNTERS	     "counters"
#define PIN_CPUS	     "cpus"
#define PIN_OVERLAP	     "overlap"
#define PIN_RING	     "ring"
#define PIN_LIVE	     "live"
#define PIN_PROOF	     "proof"
#define PIN_PROVE_ISSUE	     "prove_issue"
#define PIN_PROVE_COMPLETION "prove_completion"

/* The programs, by class.  Those that are attached have a link, pinned as "link_" and the name; those that are
 * asked for later are pinned under their own names. */
#define PROGRAMS_PAYLOAD { "first", "issue" } /* in order of attachment */
#define PROGRAMS_SPARE	 { "second", "third" } /* attached where completions nest */
#define PROGRAMS_MARK	 { "mark", "mark_second", "mark_third" }
#define PIN_PAYLOAD	 { "audit", "first", "second", "third" } /* with payload programs only */
#define PIN_AUDIT	 "audit"
#define PIN_FIRST	 "first"

/* "@pin_dir/link_@program" into @buf of PATH_MAX.  Returns @buf. */
char *link_path(const struct tracker *t, const char *program, char *buf);

#endif
