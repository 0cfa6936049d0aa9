/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is what the server calls a point a state in which a power cut could have left
 * the disks, between the two moments that the cut lies between?  For each
 * sector: what was there at one of them, or what a write then in flight carried,
 * or zeroes if it had been discarded.  And across disks: no record of the
 * ordered pair without its twin.
 */
#include "world.h"

static bool was_there(const struct sim_sector *s, uint64_t stamp, uint64_t from, uint64_t to)
{
	uint64_t until = UINT64_MAX;

	for (uint32_t i = s->version_count; i-- > 0;) {
		const struct sim_version *v = &s->versions[i];

		if (v->time <= to && v->stamp == stamp && until > from)
			return true;
		until = v->time;
		if (until <= from)
			return false;
	}
	return stamp == 0 && until > from; /* before its first version it was zero */
}

static bool is_possible(const struct sim_world *w, const struct sim_sector *s, uint64_t stamp, uint64_t from, uint64_t to)
{
	uint64_t earliest = from;
	bool overwritten = false;

	for (uint32_t i = s->write_count; i-- > 0;) {
		const struct sim_write *x = &w->writes[s->writes[i]];

		if (x->issued > to)
			continue;
		if (!x->completed || x->completed >= from) { /* in flight at some moment between */
			if (x->stamp == stamp)
				return true;
			earliest = MIN(earliest, x->issued);
		}
		if (x->op == SIM_DISCARD && !overwritten && stamp == 0)
			return true;
		if (x->op != SIM_DISCARD && x->completed && x->completed < from)
			overwritten = true;
		if (overwritten && x->issued + 20000 < from)
			break;
	}
	return was_there(s, stamp, earliest, to);
}

static uint32_t pair_at(struct sim_world *w, const uint8_t *image, uint64_t sector)
{
	uint64_t stamp = sector_stamp(w, image + sector * SECTOR_BYTES, "pair");

	return stamp < w->write_count ? w->writes[stamp].pair : 0;
}

static void explain(const struct sim_world *w, unsigned int disk, uint32_t sector, uint64_t stamp, uint64_t from, uint64_t to)
{
	const struct sim_sector *s = &w->disks[disk].at[sector];

	fprintf(stderr, "  the point lies between %llu and %llu, the replica has %llx\n", (unsigned long long)from,
		(unsigned long long)to, (unsigned long long)stamp);
	for (uint32_t i = s->version_count > 24 ? s->version_count - 24 : 0; i < s->version_count; i++)
		fprintf(stderr, "  version %llx from %llu\n", (unsigned long long)s->versions[i].stamp,
			(unsigned long long)s->versions[i].time);
	for (uint32_t i = s->write_count > 24 ? s->write_count - 24 : 0; i < s->write_count; i++) {
		const struct sim_write *x = &w->writes[s->writes[i]];

		fprintf(stderr, "  write %x op %d issued %llu completed %llu acked %llu%s\n", s->writes[i], x->op,
			(unsigned long long)x->issued, (unsigned long long)x->completed, (unsigned long long)x->acked,
			x->overlapped ? " overlapped" : "");
	}
}

void checker_point(struct sim_world *w, const struct wire_commit *m, uint64_t from, uint64_t to,
		   const uint8_t *const images[])
{
	unsigned int last = w->s.disks - 1;
	uint32_t first_twin, second_twin;

	w->stats.points++;
	if (w->s.wrong_percent)
		return; /* that it is noticed is what is tested then */
	for (unsigned int i = 0; i < w->s.disks; i++) {
		for (uint32_t s = 0; s < w->disks[i].sectors; s++) {
			uint64_t stamp = sector_stamp(w, images[i] + (uint64_t)s * SECTOR_BYTES, "point");

			w->stats.checked_sectors++;
			if (is_possible(w, &w->disks[i].at[s], stamp, from, to))
				continue;
			explain(w, i, s, stamp, from, to);
			world_fail(w, "point %llu: sector %u of disk %u was not that", (unsigned long long)m->epoch, s, i);
		}
	}
	first_twin = pair_at(w, images[0], w->disks[0].pair_sector);
	second_twin = pair_at(w, images[last], w->disks[last].pair_sector + 8);
	if (second_twin > first_twin)
		world_fail(w, "point %llu: record %u is on the second disk, its twin is not on the first (%u)",
			   (unsigned long long)m->epoch, second_twin, first_twin);
}

void checker_equal(struct sim_world *w, const uint8_t *const images[])
{
	if (w->s.wrong_percent && tracker_mode(w->tracker) == TRACKER_PAYLOAD)
		return; /* too few samples yet */
	for (unsigned int i = 0; i < w->s.disks; i++) {
		for (uint32_t s = 0; s < w->disks[i].sectors; s++) {
			uint64_t stamp = sector_stamp(w, images[i] + (uint64_t)s * SECTOR_BYTES, "end");

			if (stamp == disk_stamp(w, i, s))
				continue;
			explain(w, i, s, stamp, w->now, w->now);
			world_fail(w, "when all was quiet, sector %u of disk %u was %llx, the replica has %llx", s, i,
				   (unsigned long long)disk_stamp(w, i, s), (unsigned long long)stamp);
		}
	}
}
