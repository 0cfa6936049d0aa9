// SPDX-License-Identifier: Apache-2.0
/*
 * The live map, seen from the agent: bytes that BPF sets and only this file
 * clears (T4).  Layout and order of stores: tracker_shared.h.
 *
 * touched[page] says that a page was stored to since somebody looked.  It is
 * cleared before the page is looked at, so a store that the look missed sets it
 * again.  What was seen in a page is remembered here (maybe, page_count), and
 * after a restart every page counts as touched.
 *
 * all[page] stands for a whole page: its bytes are set first and it is cleared
 * after, so that a process killed in between has lost nothing.
 */
#include "tracker-private.h"
#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORD_SET 0x0101010101010101ULL

static uint32_t page_of(uint64_t region)
{
	return (uint32_t)(region >> SHARED_PAGE_SHIFT);
}

static uint32_t within_page(uint64_t region)
{
	return region & (SHARED_PAGE_REGIONS - 1);
}

static struct shared_live_header *header_of(const struct live *l)
{
	return &l->map[0].header;
}

static union shared_live_page *bytes_of(const struct live *l, uint32_t page)
{
	return &l->map[1 + page];
}

static uint32_t regions_in(const struct live *l, uint32_t page)
{
	uint64_t left = header_of(l)->regions - ((uint64_t)page << SHARED_PAGE_SHIFT);

	return (uint32_t)MIN(left, SHARED_PAGE_REGIONS);
}

/* --- making and mapping ---------------------------------------------------- */

static size_t live_bytes(uint64_t pages)
{
	return (size_t)(1 + pages) * sizeof(union shared_live_page);
}

static int live_map(int fd, size_t bytes, union shared_live_page **ret)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int live_create(uint64_t regions, unsigned int region_shift, int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	uint64_t pages = (regions + SHARED_PAGE_REGIONS - 1) / SHARED_PAGE_REGIONS;
	union shared_live_page *map = NULL;
	int fd, err;

	assert(regions > 0 && pages <= SHARED_PAGES_MAX && region_shift >= 9);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "godwit_live", sizeof(uint32_t), sizeof(union shared_live_page),
			    (uint32_t)(1 + pages), &opts);
	if (fd < 0)
		return -errno;
	err = live_map(fd, live_bytes(pages), &map);
	if (err) {
		close(fd);
		return err;
	}
	map[0].header.regions = regions;
	map[0].header.sector_shift = region_shift - 9;
	map[0].header.pages = (uint32_t)pages;
	munmap(map, live_bytes(pages));
	*ret_fd = fd;
	return 0;
}

int live_open(struct live *l, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = 0;

	*l = (struct live){ .fd = fd };
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		err = -errno;
	else if (info.value_size != sizeof(union shared_live_page) || info.max_entries < 2)
		err = -EBADMSG;
	l->map_bytes = (size_t)info.max_entries * sizeof(union shared_live_page);
	if (!err)
		err = live_map(fd, l->map_bytes, &l->map);
	if (!err && (header_of(l)->pages != info.max_entries - 1 || header_of(l)->regions == 0 ||
		     page_of(header_of(l)->regions - 1) + 1 != header_of(l)->pages))
		err = -EBADMSG;
	if (err) {
		live_close(l);
		return err;
	}
	memset(header_of(l)->touched, 1, header_of(l)->pages);
	return 0;
}

void live_close(struct live *l)
{
	if (l->map)
		munmap(l->map, l->map_bytes);
	if (l->fd >= 0)
		close(l->fd);
	*l = (struct live){ .fd = -1 };
}

/* --- looking ---------------------------------------------------------------- */

/* Turn all[page] into the bytes it stands for. */
static void expand(struct live *l, uint32_t page)
{
	uint8_t *all = &header_of(l)->all[page];

	if (!__atomic_load_n(all, __ATOMIC_ACQUIRE))
		return;
	memset(bytes_of(l, page)->region, 1, regions_in(l, page));
	__atomic_exchange_n(all, 0, __ATOMIC_SEQ_CST);
}

/* Learn which pages were stored to. */
static void refresh(struct live *l)
{
	struct shared_live_header *h = header_of(l);

	for (uint32_t at = 0; at < h->pages; at += 8) {
		if (!__atomic_load_n((uint64_t *)(void *)&h->touched[at], __ATOMIC_ACQUIRE))
			continue;
		for (uint32_t page = at; page < at + 8 && page < h->pages; page++) {
			if (!__atomic_exchange_n(&h->touched[page], 0, __ATOMIC_SEQ_CST))
				continue;
			expand(l, page);
			l->maybe[page] = true;
			l->recount[page] = true;
		}
	}
}

static bool is_set(const struct live *l, uint64_t region)
{
	return __atomic_load_n(&bytes_of(l, page_of(region))->region[within_page(region)], __ATOMIC_ACQUIRE) != 0;
}

/* First set region of @page at or after @from (within the page), or its end. */
static uint32_t first_set(const struct live *l, uint32_t page, uint32_t from)
{
	union shared_live_page *p = bytes_of(l, page);
	uint32_t end = regions_in(l, page);

	while (from < end) {
		if (from % 8 == 0 && !__atomic_load_n(&p->word[from / 8], __ATOMIC_ACQUIRE)) {
			from += 8;
			continue;
		}
		if (__atomic_load_n(&p->region[from], __ATOMIC_ACQUIRE))
			return from;
		from++;
	}
	return end;
}

/* First set region at or after @region, or the number of regions. */
static uint64_t find_set(struct live *l, uint64_t region)
{
	uint64_t regions = header_of(l)->regions;

	for (uint32_t page = page_of(region); region < regions; region = (uint64_t)++page << SHARED_PAGE_SHIFT) {
		uint32_t from = within_page(region), at;

		if (!l->maybe[page])
			continue;
		at = first_set(l, page, from);
		if (at < regions_in(l, page))
			return ((uint64_t)page << SHARED_PAGE_SHIFT) + at;
		if (from == 0)
			l->maybe[page] = false;
	}
	return regions;
}

/* Length of the run of set regions at @region, at most @max. */
static uint64_t run_at(const struct live *l, uint64_t region, uint64_t max)
{
	uint64_t n = 0;

	while (n < max && region + n < header_of(l)->regions && is_set(l, region + n))
		n++;
	return n;
}

static void clear_run(struct live *l, uint64_t region, uint64_t count)
{
	uint64_t end = region + count;

	while (region < end) {
		uint32_t page = page_of(region), at = within_page(region);

		l->recount[page] = true;
		if (at % 8 == 0 && region + 8 <= end) {
			__atomic_exchange_n(&bytes_of(l, page)->word[at / 8], 0, __ATOMIC_SEQ_CST);
			region += 8;
		} else {
			__atomic_exchange_n(&bytes_of(l, page)->region[at], 0, __ATOMIC_SEQ_CST);
			region++;
		}
	}
}

static uint32_t count_page(const struct live *l, uint32_t page)
{
	union shared_live_page *p = bytes_of(l, page);
	uint32_t end = regions_in(l, page), n = 0;

	/* Each byte is 0 or 1; BPF may have set some past the last region. */
	for (uint32_t i = 0; i < end / 8; i++)
		n += (uint32_t)__builtin_popcountll(__atomic_load_n(&p->word[i], __ATOMIC_RELAXED) & WORD_SET);
	for (uint32_t i = end & ~7u; i < end; i++)
		n += p->region[i] != 0;
	return n;
}

void live_set(struct live *l, uint64_t region, uint64_t count)
{
	uint64_t regions = header_of(l)->regions;
	uint64_t end = count > regions || region > regions - count ? regions : region + count;

	for (; region < end; region++) {
		uint32_t page = page_of(region);

		__atomic_store_n(&bytes_of(l, page)->region[within_page(region)], 1, __ATOMIC_SEQ_CST);
		l->maybe[page] = true;
		l->recount[page] = true;
	}
}

void live_fold(struct live *to, const struct live *from, unsigned int shift)
{
	for (uint64_t region = 0; region < header_of(from)->regions; region++)
		if (is_set(from, region) || header_of(from)->all[page_of(region)])
			live_set(to, region >> shift, 1);
}

/* --- tracker.h ---------------------------------------------------------------- */

static struct live *live_of(const struct tracker *t, uint16_t disk)
{
	assert(disk < DISKS_MAX && t->disks[disk].open);
	return (struct live *)&t->disks[disk].live;
}

uint64_t tracker_live_next(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	struct live *l = live_of(t, disk);
	uint64_t at;

	refresh(l);
	at = find_set(l, *region);
	if (at >= header_of(l)->regions || max == 0)
		return 0;
	*region = at;
	return run_at(l, at, max);
}

uint64_t tracker_live_take(struct tracker *t, uint16_t disk, uint64_t *region, uint64_t max)
{
	uint64_t n = tracker_live_next(t, disk, region, max);

	clear_run(live_of(t, disk), *region, n);
	return n;
}

void tracker_live_set(struct tracker *t, uint16_t disk, uint64_t region, uint64_t count)
{
	live_set(live_of(t, disk), region, count);
}

bool tracker_live_test(const struct tracker *t, uint16_t disk, uint64_t region)
{
	const struct live *l = live_of(t, disk);

	assert(region < header_of(l)->regions);
	return is_set(l, region) || __atomic_load_n(&header_of(l)->all[page_of(region)], __ATOMIC_ACQUIRE);
}

uint64_t tracker_live_count(struct tracker *t, uint16_t disk)
{
	struct live *l = live_of(t, disk);
	bool unknown = audit(t) != 0;

	refresh(l);
	for (uint32_t page = 0; page < header_of(l)->pages; page++) {
		uint32_t n;

		if (!l->recount[page])
			continue;
		l->recount[page] = false;
		n = count_page(l, page);
		l->count += n;
		l->count -= l->page_count[page];
		l->page_count[page] = (uint16_t)n;
		if (n)
			l->maybe[page] = true;
	}
	return l->count + unknown; /* what cannot be looked at is not clean */
}
