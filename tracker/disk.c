// SPDX-License-Identifier: Apache-2.0
/*
 * Tracked disks: their live map, their planes, and the table by which BPF knows
 * them.
 *
 * A disk's maps are pinned as "disk<N>_<generation>_live" and "_planes".  The
 * generation is in the pinned configuration, and is stored when everything of
 * it is in place; so a process killed while it makes larger maps leaves the old
 * ones valid.  BPF, though, may already be storing to the new live map by then:
 * it is found out at the next opening (the map that BPF has is not the one
 * named), and everything is marked.
 */
#include "tracker-private.h"
#include "fileio.h"
#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define REGION_SHIFT_LEAST 12

_Static_assert(TRACKER_REGIONS_MAX == SHARED_PAGES_MAX << SHARED_PAGE_SHIFT, "so many the live map has room for");

uint32_t disk_kernel_device(dev_t device)
{
	return (uint32_t)major(device) << 20 | (uint32_t)minor(device);
}

uint64_t tracker_sequence(dev_t device)
{
	char path[64], line[32];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/diskseq", major(device), minor(device));
	return fileio_read_line(path, line, sizeof(line)) == 0 ? strtoull(line, NULL, 10) : 0;
}

void disk_close(struct disk *d)
{
	live_close(&d->live);
	if (d->planes)
		munmap(d->planes, d->planes_bytes);
	if (d->planes_fd >= 0)
		close(d->planes_fd);
	*d = (struct disk){ .live.fd = -1, .planes_fd = -1 };
}

static uint64_t regions_of(uint64_t size_bytes, unsigned int shift)
{
	return (size_bytes + (1ULL << shift) - 1) >> shift;
}

static unsigned int shift_for(uint64_t size_bytes, unsigned int least)
{
	unsigned int shift = least;

	while (regions_of(size_bytes, shift) > TRACKER_REGIONS_MAX)
		shift++;
	return shift;
}

/* --- the table of devices ------------------------------------------------------ */

static void slot_remove(struct shared_config *c, uint16_t disk)
{
	for (size_t i = 0; i < ARRAY_LEN(c->slots); i++)
		if (c->slots[i].disk_plus_1 == disk + 1u) {
			__atomic_store_n(&c->slots[i].device, 0, __ATOMIC_SEQ_CST);
			__atomic_store_n(&c->slots[i].disk_plus_1, 0, __ATOMIC_SEQ_CST);
		}
}

/* From the moment the second store is seen, BPF tracks the disk (I1). */
static int slot_add(struct shared_config *c, uint32_t device, uint64_t sequence, uint16_t disk)
{
	struct shared_slot *s = &c->slots[shared_slot_of(device)];

	for (int i = 0; i < SHARED_PROBES; i++) {
		if (s[i].disk_plus_1)
			continue;
		s[i].sequence = sequence;
		__atomic_store_n(&s[i].disk_plus_1, disk + 1u, __ATOMIC_SEQ_CST);
		__atomic_store_n(&s[i].device, device, __ATOMIC_SEQ_CST);
		return 0;
	}
	return -ENOSPC;
}

/* --- maps ------------------------------------------------------------------------ */

static char *disk_pin(const struct tracker *t, uint16_t disk, uint32_t generation, const char *what, char *buf)
{
	char name[64];

	snprintf(name, sizeof(name), "disk%u_%u_%s", disk, generation, what);
	return pin_path(t, name, buf);
}

static int planes_create(uint64_t regions, int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	uint64_t words = (regions + 63) / 64 * TRACKER_PLANES;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "godwit_planes", sizeof(uint32_t), sizeof(uint64_t),
				(uint32_t)words, &opts);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int planes_open(struct disk *d, int fd, uint64_t regions)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	void *p;

	d->planes_fd = fd;
	d->plane_words = (regions + 63) / 64;
	d->planes_bytes = d->plane_words * TRACKER_PLANES * sizeof(uint64_t);
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.value_size != sizeof(uint64_t) || info.max_entries != d->plane_words * TRACKER_PLANES)
		return -EBADMSG;
	p = mmap(NULL, d->planes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	d->planes = p;
	return 0;
}

/* Both maps from their descriptors, which belong to *@d from now on. */
static int disk_open_fds(struct disk *d, int live_fd, int planes_fd)
{
	const struct shared_live_header *h;
	int err = live_open(&d->live, live_fd);

	if (err) {
		close(planes_fd);
		return err;
	}
	h = &d->live.map[0].header;
	err = planes_open(d, planes_fd, h->regions);
	if (err) {
		disk_close(d);
		return err;
	}
	d->info.region_shift = h->sector_shift + 9;
	d->info.region_count = h->regions;
	d->open = true;
	return 0;
}

static int disk_create(struct disk *ret, uint64_t size_bytes, unsigned int shift)
{
	uint64_t regions = regions_of(size_bytes, shift);
	int live_fd = -1, planes_fd = -1, err = live_create(regions, shift, &live_fd);

	if (err)
		return err;
	err = planes_create(regions, &planes_fd);
	if (err) {
		close(live_fd);
		return err;
	}
	return disk_open_fds(ret, live_fd, planes_fd);
}

static int disk_open_pins(const struct tracker *t, uint16_t disk, uint32_t generation, struct disk *ret)
{
	char path[PATH_MAX];
	int live_fd, planes_fd;

	live_fd = bpf_obj_get(disk_pin(t, disk, generation, "live", path));
	if (live_fd < 0)
		return -errno;
	planes_fd = bpf_obj_get(disk_pin(t, disk, generation, "planes", path));
	if (planes_fd < 0) {
		int err = -errno;

		close(live_fd);
		return err;
	}
	return disk_open_fds(ret, live_fd, planes_fd);
}

static void unpin(const struct tracker *t, uint16_t disk, uint32_t generation)
{
	char path[PATH_MAX];

	(void)unlink(disk_pin(t, disk, generation, "live", path));
	(void)unlink(disk_pin(t, disk, generation, "planes", path));
}

static int pin(const struct tracker *t, uint16_t disk, uint32_t generation, const struct disk *d)
{
	char path[PATH_MAX];

	unpin(t, disk, generation);
	if (bpf_obj_pin(d->live.fd, disk_pin(t, disk, generation, "live", path)) ||
	    bpf_obj_pin(d->planes_fd, disk_pin(t, disk, generation, "planes", path)))
		return -errno;
	return 0;
}

/* BPF stores to @d's live map from now on, and nobody is storing to another
 * one any more: the kernel waits for running programs before it returns. */
static int expose(const struct tracker *t, uint16_t disk, const struct disk *d)
{
	uint32_t key = disk;

	return bpf_map_update_elem(t->outer_fd, &key, &d->live.fd, BPF_ANY) ? -errno : 0;
}

/* Is @d's live map the one that BPF stores to? */
static bool exposed(const struct tracker *t, uint16_t disk, const struct disk *d)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), key = disk, id;

	return bpf_obj_get_info_by_fd(d->live.fd, &info, &len) == 0 &&
	       bpf_map_lookup_elem(t->outer_fd, &key, &id) == 0 && id == info.id;
}

/* --- adding, growing, removing ------------------------------------------------------ */

static void fold_plane(struct disk *to, const struct disk *from, unsigned int plane, unsigned int shift)
{
	const uint64_t *old = from->planes + plane * from->plane_words;
	uint64_t *bits = to->planes + plane * to->plane_words;

	/* The maps of a disk that had shrunk before may be the longer ones. */
	for (uint64_t r = 0; r < from->info.region_count && r >> shift < to->info.region_count; r++)
		if (old[r / 64] >> r % 64 & 1)
			bits[(r >> shift) / 64] |= 1ULL << (r >> shift) % 64;
}

/* All that @old knows, in @d's regions, which may be larger. */
static void take_over(struct disk *d, const struct disk *old)
{
	unsigned int shift = d->info.region_shift - old->info.region_shift;

	for (unsigned int plane = 0; plane < TRACKER_PLANES; plane++)
		fold_plane(d, old, plane, shift);
	live_fold(&d->live, &old->live, shift);
}

/*
 * The maps of @d are the disk's from now on, in place of @old's, if there are
 * any, whose planes and marks are taken over.  BPF stores to one live map at any
 * time, and a process killed in here leaves a generation that is either whole or
 * known not to be what BPF stores to.
 */
static int commit(struct tracker *t, uint16_t disk, struct disk *d, struct disk *old, uint64_t size_bytes)
{
	struct shared_disk *s = &t->config->disks[disk];
	uint32_t before = s->generation;
	int err = expose(t, disk, d);

	if (err)
		return err;
	if (old)
		take_over(d, old);
	err = pin(t, disk, before + 1, d);
	if (err) {
		unpin(t, disk, before + 1);
		if (old && expose(t, disk, old) == 0)
			live_set(&old->live, 0, UINT64_MAX);
		return err;
	}
	s->size_bytes = size_bytes;
	__atomic_store_n(&s->generation, before + 1, __ATOMIC_SEQ_CST);
	unpin(t, disk, before);
	return 0;
}

static int add_new(struct tracker *t, uint16_t disk, uint64_t size_bytes)
{
	struct shared_disk *s = &t->config->disks[disk];
	struct shared_counters n;
	struct disk d = { .live.fd = -1, .planes_fd = -1 };
	int err = disk_create(&d, size_bytes, shift_for(size_bytes, REGION_SHIFT_LEAST));

	if (err)
		return err;
	if (counters_sum(t, disk, &n) == 0) {
		s->passthrough_seen = n.passthrough;
		s->blind_seen = n.blind;
	}
	err = commit(t, disk, &d, NULL, size_bytes);
	if (err) {
		disk_close(&d);
		return err;
	}
	t->disks[disk] = d;
	return 0;
}

/* What the last process left. */
static int add_pinned(struct tracker *t, uint16_t disk)
{
	struct shared_disk *s = &t->config->disks[disk];
	struct disk d = { .live.fd = -1, .planes_fd = -1 };
	int err;

	if (!s->generation)
		return -ENOENT;
	err = disk_open_pins(t, disk, s->generation, &d);
	if (err)
		return err;
	if (!exposed(t, disk, &d)) {
		err = expose(t, disk, &d);
		if (err) {
			disk_close(&d);
			return err;
		}
		live_set(&d.live, 0, UINT64_MAX);
	}
	t->disks[disk] = d;
	return 0;
}

int tracker_resize_disk(struct tracker *t, uint16_t disk, uint64_t size_bytes)
{
	struct disk *old, d = { .live.fd = -1, .planes_fd = -1 };
	uint64_t old_bytes;
	unsigned int shift;
	int err;

	if (disk >= DISKS_MAX || !t->disks[disk].open)
		return -ENOENT;
	old = &t->disks[disk];
	old_bytes = t->config->disks[disk].size_bytes;
	if (size_bytes <= old_bytes) { /* a shorter disk has maps that are too long */
		t->config->disks[disk].size_bytes = size_bytes;
		old->info.size_bytes = size_bytes;
		return 0;
	}
	shift = shift_for(size_bytes, old->info.region_shift);
	err = disk_create(&d, size_bytes, shift);
	if (err)
		return err;
	d.info.disk = disk;
	d.info.device = old->info.device;
	d.info.sequence = old->info.sequence;
	d.info.size_bytes = size_bytes;
	d.info.kept = old->info.kept;
	live_set(&d.live, old_bytes >> shift, UINT64_MAX); /* what is new, and what was marked "beyond" */
	err = commit(t, disk, &d, old, size_bytes);
	if (err) {
		disk_close(&d);
		return err;
	}
	disk_close(old);
	*old = d;
	return 0;
}

/* Follow nothing under the number that it has had, and this one from now on; 0: none. */
static int renumber(struct tracker *t, uint16_t disk, uint32_t device, uint64_t sequence)
{
	struct shared_disk *s = &t->config->disks[disk];

	slot_remove(t->config, disk);
	s->device = device;
	s->sequence = sequence;
	books_begin(t, disk);
	return device ? slot_add(t->config, device, sequence, disk) : 0;
}

int tracker_add_disk(struct tracker *t, struct tracker_disk *disk, struct fault *ret_fault)
{
	struct shared_disk *s = &t->config->disks[disk->disk];
	uint32_t device = disk_kernel_device(disk->device);
	struct disk *d = &t->disks[disk->disk];
	bool there, followed;
	int err;

	assert(disk->disk < DISKS_MAX && disk->size_bytes > 0);
	disk->sequence = device ? tracker_sequence(disk->device) : 0;
	there = d->open || add_pinned(t, disk->disk) == 0;
	followed = there && s->device == device && s->sequence == disk->sequence;
	err = there ? tracker_resize_disk(t, disk->disk, disk->size_bytes) : add_new(t, disk->disk, disk->size_bytes);
	if (!err && !followed)
		err = renumber(t, disk->disk, device, disk->sequence);
	if (err)
		return fault_set(ret_fault, err, MSG_CAPTURE_UNAVAILABLE, "folder", t->pin_dir, "reason", strerror(-err),
				 NULL);
	disk->region_shift = d->info.region_shift;
	disk->region_count = d->info.region_count;
	disk->kept = followed || (there && !device);
	d->info = *disk;
	return 0;
}

void tracker_lose_disk(struct tracker *t, uint16_t disk)
{
	int err;

	assert(disk < DISKS_MAX && t->disks[disk].open);
	err = renumber(t, disk, 0, 0);
	assert(err == 0);
	t->disks[disk].info.device = 0;
	t->disks[disk].info.sequence = 0;
}

bool tracker_is_there(const struct tracker *t, uint16_t disk)
{
	const struct tracker_disk *d = &t->disks[disk].info;

	assert(disk < DISKS_MAX && t->disks[disk].open);
	return d->device && tracker_sequence(d->device) == d->sequence;
}

int tracker_remove_disk(struct tracker *t, uint16_t disk)
{
	struct shared_disk *s;
	uint32_t key = disk;

	if (disk >= DISKS_MAX)
		return -ENOENT;
	s = &t->config->disks[disk];
	if (!s->generation)
		return -ENOENT;
	slot_remove(t->config, disk);
	(void)bpf_map_delete_elem(t->outer_fd, &key);
	unpin(t, disk, s->generation);
	disk_close(&t->disks[disk]);
	*s = (struct shared_disk){ 0 };
	return 0;
}

int tracker_disk(const struct tracker *t, uint16_t disk, struct tracker_disk *ret)
{
	if (disk >= DISKS_MAX || !t->disks[disk].open)
		return -ENOENT;
	*ret = t->disks[disk].info;
	return 0;
}

uint64_t *tracker_plane(struct tracker *t, uint16_t disk, unsigned int plane, uint64_t *ret_words)
{
	struct disk *d = &t->disks[disk];

	assert(disk < DISKS_MAX && d->open && plane < TRACKER_PLANES);
	*ret_words = d->plane_words;
	return d->planes + plane * d->plane_words;
}
