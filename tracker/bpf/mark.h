/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mark - sectors into the live map (I3).
 */
#ifndef GODWIT_TRACKER_BPF_MARK_H
#define GODWIT_TRACKER_BPF_MARK_H

#include "maps.h"

#define MARK_BYTES 16 /* longer runs of regions are rounded out to words of eight */

/* Set regions @lo to @hi, both within page @page. */
static __noinline int mark_page(void *map, uint64_t page, uint64_t lo, uint64_t hi)
{
	uint32_t key = page + 1;
	union shared_live_page *p = bpf_map_lookup_elem(map, &key);

	if (!p)
		return 0;
	if (hi - lo < MARK_BYTES) {
		for (uint64_t k = 0; k < MARK_BYTES && lo + k <= hi; k++)
			p->region[(lo + k) & (SHARED_PAGE_REGIONS - 1)] = 1;
	} else {
		uint64_t from = lo / 8, to = hi / 8;

		for (uint64_t k = 0; k < SHARED_PAGE_REGIONS / 8 && from + k <= to; k++)
			p->word[(from + k) & (SHARED_PAGE_REGIONS / 8 - 1)] = 0x0101010101010101ULL;
	}
	return 1;
}

/* Mark sectors live (I3).  Whatever is in doubt is marked. */
__noinline int mark_range(uint32_t disk, uint64_t sector, uint64_t sectors)
{
	struct shared_counters *n = bpf_map_lookup_elem(&counters, &disk);
	void *map = bpf_map_lookup_elem(&live, &disk);
	uint64_t first, last, first_page, last_page;
	union shared_live_page *h;
	uint32_t zero = 0;

	if (!map || !sectors)
		return 0;
	h = bpf_map_lookup_elem(map, &zero);
	if (!h)
		return 0;
	first = sector >> (h->header.sector_shift & 31);
	last = (sector + sectors - 1) >> (h->header.sector_shift & 31);
	if (last >= h->header.regions) {
		h->header.beyond++;
		if (first >= h->header.regions)
			return 0;
		last = h->header.regions - 1;
	}
	first_page = first >> SHARED_PAGE_SHIFT;
	last_page = last >> SHARED_PAGE_SHIFT;
	first &= SHARED_PAGE_REGIONS - 1;
	last &= SHARED_PAGE_REGIONS - 1;
	if (first_page == last_page) {
		mark_page(map, first_page, first, last);
	} else {
		mark_page(map, first_page, first, SHARED_PAGE_REGIONS - 1);
		mark_page(map, last_page, 0, last);
		for (uint64_t k = 1; k < SHARED_PAGES_MAX && first_page + k < last_page; k++) {
			h->header.all[(first_page + k) & (SHARED_PAGES_MAX - 1)] = 1;
			h->header.touched[(first_page + k) & (SHARED_PAGES_MAX - 1)] = 1;
		}
	}
	h->header.touched[first_page & (SHARED_PAGES_MAX - 1)] = 1;
	h->header.touched[last_page & (SHARED_PAGES_MAX - 1)] = 1;
	if (n)
		n->marks++;
	return 1;
}

#endif
