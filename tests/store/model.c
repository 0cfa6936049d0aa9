/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SECTORS_MAX 5000u
#define EPOCHS_MAX 4096u
#define HOUR_US (3600 * 1000000ULL)

struct state {
	uint32_t stamps[MODEL_DISKS][SECTORS_MAX]; /* which write; 0: zeroes */
	struct store_disk disks[MODEL_DISKS];
};

struct moment {
	struct store_epoch epoch;
	struct state *state;
	bool label_doubt; /* a naming was under way when a call failed */
};

struct model {
	uint64_t rng;
	struct uuid machine;
	struct store_policy policy;
	struct moment moments[EPOCHS_MAX]; /* [0] is the empty beginning */
	uint64_t last;			   /* newest acknowledged */
	bool under_way;			   /* moments[last + 1] may be there, too */
	struct state now;
	uint32_t stamp;
};

static uint64_t below(struct model *m, uint64_t n)
{
	return rng_below(&m->rng, n);
}

static struct state *copy_state(const struct state *s)
{
	struct state *c = malloc(sizeof(*c));

	assert_non_null(c);
	*c = *s;
	return c;
}

struct model *model_new(uint64_t seed, const struct store_policy *policy)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->rng = seed;
	m->policy = *policy;
	memcpy(m->machine.bytes, "a model's machine", 16);
	m->moments[0].epoch.time_us = 1700000000ULL * 1000000;
	m->moments[0].state = copy_state(&m->now);
	return m;
}

void model_free(struct model *m)
{
	uint64_t i;

	for (i = 0; m && i < EPOCHS_MAX; i++)
		free(m->moments[i].state);
	free(m);
}

const struct uuid *model_machine(const struct model *m)
{
	return &m->machine;
}

uint64_t model_now_us(const struct model *m)
{
	return m->moments[m->last].epoch.time_us;
}

uint64_t model_last_epoch(const struct model *m)
{
	return m->last;
}

/* --- contents ----------------------------------------------------------------------- */

static void fill_sector(uint8_t *buf, unsigned int disk, uint32_t sector, uint32_t stamp)
{
	uint64_t word = ((uint64_t)stamp << 32 | sector) + disk, i, state = word;

	memset(buf, 0, SECTOR_BYTES);
	if (stamp == 0)
		return;
	for (i = 0; i < SECTOR_BYTES / 8; i++)
		put_le64(buf + i * 8, stamp % 3 ? word : rng_next(&state)); /* some do not compress */
}

static void fill_sectors(const struct state *s, unsigned int disk, uint32_t first, uint32_t count, uint8_t *buf)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		fill_sector(buf + (size_t)i * SECTOR_BYTES, disk, first + i, s->stamps[disk][first + i]);
}

/* --- driving ------------------------------------------------------------------------- */

static int put_data(struct model *m, struct store_writer *w, unsigned int disk, uint32_t sectors)
{
	uint8_t plain[CHUNK_BYTES], stored[CHUNK_BYTES];
	/* Most of it again and again in one place, so that much of what is stored becomes unneeded. */
	uint32_t first = (uint32_t)below(m, below(m, 4) ? 400 : sectors), i, count, bytes;
	uint32_t room = MIN(CHUNK_SECTORS - first % CHUNK_SECTORS, sectors - first);
	uint8_t codec;

	count = below(m, 3) ? 1 + (uint32_t)below(m, MIN(room, 16u)) : 1 + (uint32_t)below(m, room);
	m->stamp++;
	for (i = 0; i < count; i++)
		m->now.stamps[disk][first + i] = m->stamp;
	fill_sectors(&m->now, disk, first, count, plain);
	bytes = payload_compress((enum payload_codec)below(m, 3), 1, plain, count * SECTOR_BYTES, stored, &codec);
	return store_put_data(w, (uint16_t)disk, (uint64_t)first * SECTOR_BYTES, count * SECTOR_BYTES, codec, stored,
			      bytes, payload_checksum(plain, count * SECTOR_BYTES));
}

static int put_zero(struct model *m, struct store_writer *w, unsigned int disk, uint32_t sectors)
{
	uint32_t first = (uint32_t)below(m, sectors), count, i;

	if (below(m, 3) == 0)
		first = first / (16 * CHUNK_SECTORS) * (16 * CHUNK_SECTORS);
	count = 1 + (uint32_t)below(m, below(m, 2) ? sectors - first : MIN(200u, sectors - first));
	for (i = 0; i < count; i++)
		m->now.stamps[disk][first + i] = 0;
	return store_put_zero(w, (uint16_t)disk, (uint64_t)first * SECTOR_BYTES, (uint64_t)count * SECTOR_BYTES);
}

/* Appears, grows, goes. */
static int put_disk(struct model *m, struct store_writer *w, unsigned int disk)
{
	struct store_disk d = m->now.disks[disk];
	uint64_t sectors = d.size_bytes / SECTOR_BYTES;

	if (sectors == 0) {
		d = (struct store_disk){ .disk = (uint16_t)disk, .sector_bytes = 512, .name = "/dev/model" };
		d.id.bytes[0] = (uint8_t)(disk + 1);
		sectors = 3000 + below(m, 500);
	} else if (below(m, 4) == 0) {
		sectors = 0;
		memset(m->now.stamps[disk], 0, sizeof(m->now.stamps[disk]));
	} else {
		sectors += below(m, 700);
		sectors = MIN(SECTORS_MAX, sectors);
	}
	d.size_bytes = sectors * SECTOR_BYTES;
	m->now.disks[disk] = d;
	return store_put_disk(w, &d);
}

int model_put(struct model *m, struct store_writer *w)
{
	unsigned int disk = (unsigned int)below(m, MODEL_DISKS);
	uint32_t sectors = (uint32_t)(m->now.disks[disk].size_bytes / SECTOR_BYTES);

	if (sectors == 0 || below(m, 200) == 0)
		return put_disk(m, w, disk);
	return below(m, 6) ? put_data(m, w, disk, sectors) : put_zero(m, w, disk, sectors);
}

int model_commit(struct model *m, struct store_writer *w)
{
	struct moment *next = &m->moments[m->last + 1];
	int err;

	assert_true(m->last + 2 < EPOCHS_MAX);
	free(next->state);
	*next = (struct moment){ .state = copy_state(&m->now) };
	next->epoch.epoch = m->last + 1;
	next->epoch.time_us = m->moments[m->last].epoch.time_us + 1 +
			      (below(m, 4) ? below(m, 1000000) : below(m, 3 * HOUR_US));
	next->epoch.flags = below(m, 8) ? STORE_EPOCH_POINT : 0;
	if (next->epoch.flags && below(m, 20) == 0) {
		next->epoch.flags |= STORE_EPOCH_LABELLED;
		snprintf(next->epoch.label, sizeof(next->epoch.label), "named %" PRIu64, next->epoch.epoch);
	}
	m->under_way = true;
	err = store_commit(w, &next->epoch);
	if (err == 0) {
		m->last++;
		m->under_way = false;
	}
	return err;
}

int model_label(struct model *m, const char *dir, const struct store_sys *sys)
{
	uint64_t epoch = m->last ? 1 + below(m, m->last) : 0;
	struct moment *at = &m->moments[epoch];
	bool name = below(m, 2);
	int err;

	if (epoch == 0)
		return 0;
	err = store_point_label(dir, sys, epoch, name ? "pinned afterwards" : NULL);
	if (err == -ENOENT)
		return 0; /* it is none, or not any more: model_check() looks after that */
	at->label_doubt = at->label_doubt || err < 0;
	if (err < 0)
		return err;
	assert_true(at->epoch.flags & STORE_EPOCH_POINT);
	at->label_doubt = false;
	at->epoch.flags &= ~STORE_EPOCH_LABELLED;
	memset(at->epoch.label, 0, sizeof(at->epoch.label));
	if (name) {
		at->epoch.flags |= STORE_EPOCH_LABELLED;
		strcpy(at->epoch.label, "pinned afterwards");
	}
	return 0;
}

void model_opened(struct model *m, const struct store_writer *w)
{
	uint64_t last = store_writer_last_epoch(w);

	if (m->under_way && last == m->last + 1)
		m->last++;
	m->under_way = false;
	assert_int_equal(last, m->last);
	if (last > 0)
		assert_int_equal(store_writer_last_time_us(w), m->moments[last].epoch.time_us);
	model_dropped(m);
}

void model_dropped(struct model *m)
{
	m->now = *m->moments[m->last].state;
}

/* --- comparing --------------------------------------------------------------------------- */

static void compare(const struct state *s, unsigned int disk, uint64_t offset, uint32_t length, const uint8_t *got,
		    uint64_t epoch)
{
	uint8_t want[4 * CHUNK_BYTES];
	uint32_t first = (uint32_t)(offset / SECTOR_BYTES);
	uint32_t last = (uint32_t)((offset + length + SECTOR_BYTES - 1) / SECTOR_BYTES), i;

	assert_true((size_t)(last - first) * SECTOR_BYTES <= sizeof(want));
	fill_sectors(s, disk, first, last - first, want);
	if (memcmp(want + offset % SECTOR_BYTES, got, length) == 0)
		return;
	for (i = 0; want[offset % SECTOR_BYTES + i] == got[i]; i++)
		;
	fail_msg("epoch %" PRIu64 " disk %u byte %" PRIu64 " (sector %" PRIu64 ", write %u) differs", epoch, disk,
		 offset + i, (offset + i) / SECTOR_BYTES, s->stamps[disk][(offset + i) / SECTOR_BYTES]);
}

/* Pieces of all sizes, most of them whole sectors. */
static uint32_t piece(struct model *m, uint64_t left)
{
	uint64_t n = below(m, 3) ? CHUNK_BYTES : below(m, 2) ? 1 + below(m, 3 * CHUNK_BYTES) :
							       SECTOR_BYTES * (1 + below(m, 300));

	return (uint32_t)MIN(n, left);
}

/* What a reader may be refused for, besides nothing. */
struct leave {
	bool damaged;
	const struct memsys *mem;
};

static bool may_refuse(const struct leave *l, int err)
{
	return (l->damaged && err == -EBADMSG) || (l->mem && memsys_is_cut(l->mem) && err < 0);
}

static unsigned int check_disk(struct model *m, struct store_reader *r, const struct state *s, unsigned int disk,
			       const struct leave *leave)
{
	uint8_t got[4 * CHUNK_BYTES];
	uint64_t size = s->disks[disk].size_bytes, at, epoch = store_reader_point(r)->epoch;
	unsigned int refused = 0;

	for (at = 0; at < size;) {
		uint32_t length = piece(m, size - at);
		int err = store_read(r, (uint16_t)disk, at, length, got);

		if (may_refuse(leave, err))
			refused++;
		else
			assert_int_equal(err, 0);
		if (err == 0)
			compare(s, disk, at, length, got, epoch);
		at += length;
	}
	return refused;
}

static unsigned int check_extents(struct model *m, struct store_reader *r, const struct state *s, unsigned int disk,
				  const struct leave *leave)
{
	uint64_t size = s->disks[disk].size_bytes, at, length, i;
	bool zero;

	for (at = 0; at < size; at += length) {
		int err = store_extent(r, (uint16_t)disk, at, size - at, &zero, &length);

		if (may_refuse(leave, err))
			return 1;
		assert_int_equal(err, 0);
		assert_true(length > 0 && length <= size - at);
		for (i = at / SECTOR_BYTES; zero && i < (at + length) / SECTOR_BYTES; i++)
			assert_int_equal(s->stamps[disk][i], 0);
	}
	return 0;
}

static void check_disks(const struct store_reader *r, const struct state *s)
{
	struct store_disk disks[MODEL_DISKS];
	size_t count = store_reader_disks(r, disks, MODEL_DISKS), i, want = 0;

	for (i = 0; i < MODEL_DISKS; i++) {
		if (s->disks[i].size_bytes == 0)
			continue;
		assert_true(want < count);
		assert_int_equal(disks[want].disk, i);
		assert_int_equal(disks[want].size_bytes, s->disks[i].size_bytes);
		assert_string_equal(disks[want].name, s->disks[i].name);
		want++;
	}
	assert_int_equal(count, want);
}

unsigned int model_check_reader(struct model *m, struct store_reader *r, bool damaged, const struct memsys *mem)
{
	const struct leave leave = { damaged, mem };
	uint64_t epoch = store_reader_point(r)->epoch;
	const struct state *s = m->moments[epoch].state;
	unsigned int disk, refused = 0;

	assert_true(epoch <= m->last + m->under_way);
	check_disks(r, s);
	for (disk = 0; disk < MODEL_DISKS; disk++) {
		refused += check_disk(m, r, s, disk, &leave);
		refused += check_extents(m, r, s, disk, &leave);
	}
	return refused;
}

void model_check_writer(struct model *m, struct store_writer *w)
{
	uint8_t got[CHUNK_BYTES];
	unsigned int disk;
	uint64_t at;

	for (disk = 0; disk < MODEL_DISKS; disk++) {
		uint64_t size = m->now.disks[disk].size_bytes;

		for (at = 0; at < size; at += CHUNK_BYTES) {
			uint32_t length = (uint32_t)MIN(size - at, CHUNK_BYTES);

			assert_int_equal(store_writer_read(w, (uint16_t)disk, at, length, got), 0);
			compare(&m->now, disk, at, length, got, 0);
		}
	}
}

/* --- points --------------------------------------------------------------------------------- */

static bool is_point(const struct moment *at)
{
	return at->epoch.flags & STORE_EPOCH_POINT;
}

/* The rule of retention, said another way than the store does. */
static bool must_be_kept(const struct model *m, uint64_t epoch)
{
	const struct moment *at = &m->moments[epoch];
	uint64_t newest = m->last, next, age, time = at->epoch.time_us, later;

	while (newest > 0 && !is_point(&m->moments[newest]))
		newest--;
	for (next = epoch + 1; next <= m->last && !is_point(&m->moments[next]);)
		next++;
	if (!is_point(at))
		return false;
	if (epoch == newest || ((at->epoch.flags & STORE_EPOCH_LABELLED) && !at->label_doubt))
		return true;
	age = (m->moments[newest].epoch.time_us - time) / 1000000;
	later = m->moments[next].epoch.time_us;
	return age < m->policy.every_s || (age < m->policy.hourly_s && time / HOUR_US != later / HOUR_US) ||
	       (age < m->policy.daily_s && time / (24 * HOUR_US) != later / (24 * HOUR_US));
}

static void check_list(struct model *m, const struct store_points *p)
{
	uint64_t epoch = 1;
	size_t i, found;

	for (i = 0; i < store_points_count(p); i++) {
		const struct store_epoch *e = store_points_get(p, i);
		const struct moment *at = &m->moments[e->epoch];

		for (; epoch < e->epoch; epoch++) {
			if (must_be_kept(m, epoch))
				fail_msg("point %" PRIu64 " is gone", epoch);
		}
		assert_true(e->epoch >= epoch && e->epoch <= m->last + m->under_way);
		epoch = e->epoch + 1;
		assert_true(is_point(at));
		assert_int_equal(e->time_us, at->epoch.time_us);
		if (!at->label_doubt) {
			assert_int_equal(e->flags, at->epoch.flags);
			assert_string_equal(e->label, at->epoch.label);
		}
		assert_int_equal(store_points_find(p, e->time_us, &found), 0);
		assert_int_equal(found, i);
	}
	for (; epoch <= m->last; epoch++) {
		if (must_be_kept(m, epoch))
			fail_msg("point %" PRIu64 " is gone", epoch);
	}
}

void model_check(struct model *m, const char *dir, const struct store_sys *sys, unsigned int samples)
{
	struct store_points *p;
	struct store_reader *r;
	size_t i, count;
	int err;

	assert_int_equal(store_points_open(dir, sys, &p), 0);
	check_list(m, p);
	count = store_points_count(p);
	for (i = 0; i < count; i++) {
		if (samples && i != count - 1 && below(m, count) >= samples)
			continue;
		err = store_reader_open(dir, sys, store_points_get(p, i)->epoch, &r);
		if (err == -ENOENT && !must_be_kept(m, store_points_get(p, i)->epoch))
			continue; /* upkeep came in between */
		assert_int_equal(err, 0);
		(void)model_check_reader(m, r, false, NULL);
		store_reader_close(r);
	}
	store_points_close(p);
}
