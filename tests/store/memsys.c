/* SPDX-License-Identifier: Apache-2.0 */
#include "memsys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define NAMES_MAX 512
#define FDS_MAX 1024
#define LOCKS_MAX 128

struct inode {
	uint8_t *now, *disk;
	size_t now_size, disk_size, room;
	uint8_t *dirty; /* a byte for each page */
	unsigned int links; /* names, now or on the disk, and descriptors */
};

struct name {
	char text[64];
	struct inode *now, *disk;
};

struct lock_held {
	struct inode *inode;
	int fd;
	uint64_t byte;
	enum sys_lock kind;
};

struct memsys {
	struct store_sys sys;
	struct name names[NAMES_MAX];
	size_t name_count;
	struct inode *fds[FDS_MAX];
	struct lock_held locks[LOCKS_MAX];
	size_t lock_count;
	uint64_t calls, changes, fail_at, cut_at, capacity, clock, rng;
	int fail_error;
	const char *failed;
	bool short_io, in_hook;
	const struct inode *bad; /* ... whose bytes from bad_at to bad_end cannot be read */
	uint64_t bad_at, bad_end;
	void (*hook)(void *context, const char *call);
	void *hook_context;
};

uint64_t rng_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static struct memsys *self(const struct store_sys *sys)
{
	return sys->context;
}

/* Every call comes by here first: 0, or what it must return.  @changes: it
 * makes a difference to what a power cut leaves. */
static int arrive(struct memsys *m, const char *what, bool changes)
{
	if (m->hook && !m->in_hook) {
		m->in_hook = true;
		m->hook(m->hook_context, what);
		m->in_hook = false;
	}
	m->calls++;
	m->changes += changes;
	if (memsys_is_cut(m))
		return -EIO;
	if (m->calls == m->fail_at) {
		m->failed = what;
		return -m->fail_error;
	}
	return 0;
}

/* --- inodes and names ------------------------------------------------------------- */

static void inode_put(struct inode *i)
{
	if (!i || --i->links > 0)
		return;
	free(i->now);
	free(i->disk);
	free(i->dirty);
	free(i);
}

static struct inode *inode_get(struct inode *i)
{
	if (i)
		i->links++;
	return i;
}

static void inode_grow(struct inode *i, size_t size)
{
	size_t room = (size + PAGE) * 2 / PAGE * PAGE;

	if (size <= i->room)
		return;
	i->now = realloc(i->now, room);
	i->disk = realloc(i->disk, room);
	i->dirty = realloc(i->dirty, room / PAGE);
	assert(i->now && i->disk && i->dirty);
	memset(i->now + i->room, 0, room - i->room);
	memset(i->disk + i->room, 0, room - i->room);
	memset(i->dirty + i->room / PAGE, 0, (room - i->room) / PAGE);
	i->room = room;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static struct name *find_name(struct memsys *m, const char *path, bool make)
{
	const char *text = base_name(path);
	size_t i, empty = m->name_count;

	for (i = 0; i < m->name_count; i++) {
		if (!m->names[i].now && !m->names[i].disk)
			empty = i;
		else if (strcmp(m->names[i].text, text) == 0)
			return &m->names[i];
	}
	if (!make)
		return NULL;
	assert(empty < NAMES_MAX && strlen(text) < sizeof(m->names[0].text));
	if (empty == m->name_count)
		m->name_count++;
	strcpy(m->names[empty].text, text);
	return &m->names[empty];
}

static void set_now(struct name *n, struct inode *i)
{
	struct inode *old = n->now;

	n->now = inode_get(i);
	inode_put(old);
}

static void set_disk(struct name *n, struct inode *i)
{
	struct inode *old = n->disk;

	n->disk = inode_get(i);
	inode_put(old);
}

/* --- calls --------------------------------------------------------------------------- */

static int mem_open(const struct store_sys *sys, const char *path, int flags, unsigned int mode)
{
	struct memsys *m = self(sys);
	struct name *n;
	int fd, err = arrive(m, "open", flags & (O_CREAT | O_TRUNC));

	if (err < 0)
		return err;
	n = find_name(m, path, flags & O_CREAT);
	if (!n || (!n->now && !(flags & O_CREAT)))
		return -ENOENT;
	if (n->now && (flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (!n->now) {
		struct inode *i = calloc(1, sizeof(*i));

		assert(i);
		set_now(n, i);
	} else if ((flags & O_TRUNC) && n->now->room) {
		memset(n->now->now, 0, n->now->now_size);
		memset(n->now->dirty, 1, n->now->room / PAGE);
		n->now->now_size = 0;
	}
	for (fd = 3; fd < FDS_MAX && m->fds[fd]; fd++)
		;
	assert(fd < FDS_MAX);
	m->fds[fd] = inode_get(n->now);
	return fd;
}

static void mem_close(const struct store_sys *sys, int fd)
{
	struct memsys *m = self(sys);
	size_t i;

	assert(fd >= 3 && fd < FDS_MAX && m->fds[fd]);
	for (i = m->lock_count; i-- > 0;) {
		if (m->locks[i].fd == fd)
			m->locks[i] = m->locks[--m->lock_count];
	}
	inode_put(m->fds[fd]);
	m->fds[fd] = NULL;
}

static size_t shorten(struct memsys *m, size_t length)
{
	return m->short_io && length > 1 && rng_below(&m->rng, 4) == 0 ? 1 + rng_below(&m->rng, length - 1) : length;
}

static ssize_t mem_preadv(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	struct memsys *m = self(sys);
	struct inode *n = m->fds[fd];
	ssize_t done = 0;
	int i, err = arrive(m, "preadv", false);

	if (err < 0)
		return err;
	for (i = 0; i < count; i++) {
		size_t have = offset < n->now_size ? n->now_size - offset : 0;
		size_t want = MIN(iov[i].iov_len, have), part;

		if (n == m->bad && offset < m->bad_end && offset + want > m->bad_at) {
			if (offset >= m->bad_at)
				return done ? done : -EIO;
			want = m->bad_at - offset;
		}
		part = want ? shorten(m, want) : 0;
		if (part)
			memcpy(iov[i].iov_base, n->now + offset, part);
		offset += part;
		done += (ssize_t)part;
		if (part < iov[i].iov_len)
			break;
	}
	return done;
}

static ssize_t mem_pwritev(const struct store_sys *sys, int fd, const struct iovec *iov, int count, uint64_t offset)
{
	struct memsys *m = self(sys);
	struct inode *n = m->fds[fd];
	ssize_t done = 0;
	int i, err = arrive(m, "pwritev", true);

	if (err < 0)
		return err;
	for (i = 0; i < count; i++) {
		size_t part = shorten(m, iov[i].iov_len);

		if (part == 0)
			continue;
		if (offset + part > n->now_size && memsys_total_bytes(m) + (offset + part - n->now_size) > m->capacity)
			return done ? done : -ENOSPC;
		inode_grow(n, offset + part);
		memcpy(n->now + offset, iov[i].iov_base, part);
		memset(n->dirty + offset / PAGE, 1, (offset + part - 1) / PAGE - offset / PAGE + 1);
		n->now_size = MAX(n->now_size, offset + part);
		offset += part;
		done += (ssize_t)part;
		if (part < iov[i].iov_len)
			break;
	}
	return done;
}

static int mem_size(const struct store_sys *sys, int fd, uint64_t *ret)
{
	int err = arrive(self(sys), "size", false);

	if (err == 0)
		*ret = self(sys)->fds[fd]->now_size;
	return err;
}

static int mem_truncate(const struct store_sys *sys, int fd, uint64_t bytes)
{
	struct memsys *m = self(sys);
	struct inode *n = m->fds[fd];
	int err = arrive(m, "truncate", true);

	if (err < 0)
		return err;
	assert(bytes > 0 && bytes <= n->now_size);
	memset(n->now + bytes, 0, n->room - bytes);
	memset(n->dirty + bytes / PAGE, 1, (n->now_size + PAGE - 1) / PAGE - bytes / PAGE);
	n->now_size = bytes;
	return 0;
}

static int mem_sync_file(const struct store_sys *sys, int fd)
{
	struct memsys *m = self(sys);
	struct inode *n = m->fds[fd];
	size_t i;
	int err = arrive(m, "sync_file", true);

	if (memsys_is_cut(m))
		return err;
	for (i = 0; i < n->room / PAGE; i++) {
		if (err == 0 && n->dirty[i])
			memcpy(n->disk + i * PAGE, n->now + i * PAGE, PAGE);
		n->dirty[i] = 0; /* also when it failed: what the disk does not have is forgotten */
	}
	if (err == 0)
		n->disk_size = n->now_size;
	return err;
}

static int mem_sync_dir(const struct store_sys *sys, const char *dir)
{
	struct memsys *m = self(sys);
	size_t i;
	int err = arrive(m, "sync_dir", true);

	if (err < 0 || strcmp(base_name(dir), "..") == 0)
		return err;
	for (i = 0; i < m->name_count; i++)
		set_disk(&m->names[i], m->names[i].now);
	return 0;
}

static int mem_rename(const struct store_sys *sys, const char *from, const char *to)
{
	struct memsys *m = self(sys);
	struct name *a, *b;
	int err = arrive(m, "rename", true);

	if (err < 0)
		return err;
	a = find_name(m, from, false);
	if (!a || !a->now)
		return -ENOENT;
	b = find_name(m, to, true);
	set_now(b, a->now);
	set_now(a, NULL);
	return 0;
}

static int mem_link(const struct store_sys *sys, const char *from, const char *to)
{
	struct memsys *m = self(sys);
	struct name *a, *b;
	int err = arrive(m, "link", true);

	if (err < 0)
		return err;
	a = find_name(m, from, false);
	if (!a || !a->now)
		return -ENOENT;
	b = find_name(m, to, true);
	if (b->now)
		return -EEXIST;
	set_now(b, a->now);
	return 0;
}

static int mem_unlink(const struct store_sys *sys, const char *path)
{
	struct memsys *m = self(sys);
	struct name *n;
	int err = arrive(m, "unlink", true);

	if (err < 0)
		return err;
	n = find_name(m, path, false);
	if (!n || !n->now)
		return -ENOENT;
	set_now(n, NULL);
	return 0;
}

static int mem_mkdir(const struct store_sys *sys, const char *path)
{
	return arrive(self(sys), "mkdir", false);
}

static int mem_list(const struct store_sys *sys, const char *dir, int (*each)(void *context, const char *name),
		    void *context)
{
	struct memsys *m = self(sys);
	size_t i;
	int err = arrive(m, "list", false);

	for (i = 0; i < m->name_count && err == 0; i++) {
		if (m->names[i].now)
			err = each(context, m->names[i].text);
	}
	return err;
}

/* A copy: files that are mapped do not change. */
static int mem_map(const struct store_sys *sys, int fd, size_t length, const void **ret)
{
	struct memsys *m = self(sys);
	struct inode *n = m->fds[fd];
	void *copy;
	int err = arrive(m, "map", false);

	if (err < 0)
		return err;
	assert(length > 0 && length <= n->now_size);
	copy = malloc(length);
	assert(copy);
	memcpy(copy, n->now, length);
	*ret = copy;
	return 0;
}

static void mem_unmap(const struct store_sys *sys, const void *map, size_t length)
{
	free((void *)(uintptr_t)map);
}

static int mem_populate(const struct store_sys *sys, const void *at, size_t length)
{
	return arrive(self(sys), "populate", false);
}

static void mem_start_writeback(const struct store_sys *sys, int fd, uint64_t offset, uint64_t length)
{
}

/* Clean pages are read again from the disk. */
static void mem_forget(const struct store_sys *sys, int fd)
{
	struct inode *n = self(sys)->fds[fd];
	size_t i;

	for (i = 0; i < n->room / PAGE; i++) {
		if (!n->dirty[i])
			memcpy(n->now + i * PAGE, n->disk + i * PAGE, PAGE);
	}
}

static bool lock_conflicts(const struct lock_held *l, const struct inode *inode, int fd, enum sys_lock kind)
{
	return l->inode == inode && l->fd != fd && (l->kind == SYS_EXCLUSIVE || kind == SYS_EXCLUSIVE);
}

static int mem_lock(const struct store_sys *sys, int fd, uint64_t byte, enum sys_lock kind)
{
	struct memsys *m = self(sys);
	size_t i;
	int err = arrive(m, "lock", false);

	if (err < 0)
		return err;
	for (i = 0; kind != SYS_UNLOCK && i < m->lock_count; i++) {
		if (m->locks[i].byte == byte && lock_conflicts(&m->locks[i], m->fds[fd], fd, kind))
			return -EAGAIN;
	}
	for (i = m->lock_count; i-- > 0;) {
		if (m->locks[i].fd == fd && m->locks[i].byte == byte)
			m->locks[i] = m->locks[--m->lock_count];
	}
	assert(m->lock_count < LOCKS_MAX);
	if (kind != SYS_UNLOCK)
		m->locks[m->lock_count++] = (struct lock_held){ m->fds[fd], fd, byte, kind };
	return 0;
}

static int mem_locked(const struct store_sys *sys, int fd, uint64_t first, uint64_t last, uint64_t *ret)
{
	struct memsys *m = self(sys);
	size_t i;
	int err = arrive(m, "locked", false);

	if (err < 0)
		return err;
	for (i = 0; i < m->lock_count; i++) {
		if (m->locks[i].byte >= first && m->locks[i].byte <= last &&
		    lock_conflicts(&m->locks[i], m->fds[fd], fd, SYS_EXCLUSIVE)) {
			*ret = m->locks[i].byte;
			return 1;
		}
	}
	return 0;
}

static int mem_space(const struct store_sys *sys, const char *dir, uint64_t *ret_free, uint64_t *ret_total)
{
	struct memsys *m = self(sys);
	uint64_t used = memsys_total_bytes(m);
	int err = arrive(m, "space", false);

	if (err == 0) {
		*ret_total = m->capacity;
		*ret_free = used < m->capacity ? m->capacity - used : 0;
	}
	return err;
}

static void mem_pause(const struct store_sys *sys, uint64_t us)
{
	self(sys)->clock += us;
}

static uint64_t mem_now_us(const struct store_sys *sys)
{
	return self(sys)->clock;
}

/* --- for the tests ----------------------------------------------------------------------- */

struct memsys *memsys_new(uint64_t seed)
{
	struct memsys *m = calloc(1, sizeof(*m));

	assert(m);
	m->fail_at = m->cut_at = UINT64_MAX;
	m->capacity = 1ULL << 40;
	m->rng = seed;
	m->sys = (struct store_sys){
		.context = m, .limits = store_sys_default.limits,
		.open = mem_open, .close = mem_close, .preadv = mem_preadv, .pwritev = mem_pwritev,
		.size = mem_size, .truncate = mem_truncate, .sync_file = mem_sync_file, .sync_dir = mem_sync_dir, .rename = mem_rename,
		.link = mem_link, .unlink = mem_unlink, .mkdir = mem_mkdir, .list = mem_list, .map = mem_map, .unmap = mem_unmap, .populate = mem_populate,
		.start_writeback = mem_start_writeback, .forget = mem_forget, .lock = mem_lock,
		.locked = mem_locked, .space = mem_space, .pause = mem_pause, .now_us = mem_now_us,
	};
	return m;
}

void memsys_kill(struct memsys *m)
{
	int fd;

	for (fd = 3; fd < FDS_MAX; fd++) {
		if (m->fds[fd])
			mem_close(&m->sys, fd);
	}
	assert(m->lock_count == 0);
}

void memsys_free(struct memsys *m)
{
	size_t i;

	if (!m)
		return;
	memsys_kill(m);
	for (i = 0; i < m->name_count; i++) {
		set_now(&m->names[i], NULL);
		set_disk(&m->names[i], NULL);
	}
	free(m);
}

struct store_sys *memsys_sys(struct memsys *m)
{
	return &m->sys;
}

uint64_t memsys_calls(const struct memsys *m)
{
	return m->calls;
}

uint64_t memsys_changes(const struct memsys *m)
{
	return m->changes;
}

void memsys_fail(struct memsys *m, uint64_t call, int error)
{
	m->fail_at = call;
	m->fail_error = error;
	m->failed = NULL;
}

const char *memsys_failed(const struct memsys *m)
{
	return m->failed;
}

void memsys_cut(struct memsys *m, uint64_t change)
{
	m->cut_at = change;
}

bool memsys_is_cut(const struct memsys *m)
{
	return m->changes >= m->cut_at;
}

/* One page, in sectors of 512. */
static void settle_page(struct inode *n, size_t page, enum memsys_cut how, uint64_t *rng)
{
	uint8_t *now = n->now + page * PAGE, *disk = n->disk + page * PAGE;
	uint64_t fate = how == CUT_TEAR ? rng_below(rng, 3) : how == CUT_KEEP;
	size_t s;

	for (s = 0; s < PAGE; s += 512) {
		if (fate == 1 || (fate == 2 && (rng_next(rng) & 1)))
			memcpy(disk + s, now + s, 512);
	}
	if (fate != 0)
		n->disk_size = MAX(n->disk_size, MIN(n->now_size, (page + 1) * PAGE));
}

static void settle_inode(struct inode *n, enum memsys_cut how, uint64_t *rng)
{
	size_t i;

	for (i = 0; i < n->room / PAGE; i++) {
		if (n->dirty[i])
			settle_page(n, i, how, rng);
		n->dirty[i] = 0;
	}
	if (how == CUT_TEAR && n->disk_size < n->now_size && rng_below(rng, 2))
		n->disk_size = n->now_size;
	if (n->disk_size > n->now_size && (how == CUT_KEEP || (how == CUT_TEAR && rng_below(rng, 2))))
		n->disk_size = n->now_size;
	if (n->room)
		memcpy(n->now, n->disk, n->room);
	if (n->room > n->disk_size)
		memset(n->now + n->disk_size, 0, n->room - n->disk_size);
	n->now_size = n->disk_size;
}

void memsys_restore(struct memsys *m, enum memsys_cut how, uint64_t seed)
{
	uint64_t rng = seed;
	size_t i;

	memsys_kill(m);
	m->fail_at = m->cut_at = UINT64_MAX;
	m->hook = NULL;
	for (i = 0; i < m->name_count; i++) {
		struct name *n = &m->names[i];
		bool new = how == CUT_KEEP || (how == CUT_TEAR && (rng_next(&rng) & 1));

		if (new)
			set_disk(n, n->now);
		else
			set_now(n, n->disk);
	}
	for (i = 0; i < m->name_count; i++) {
		if (m->names[i].now)
			settle_inode(m->names[i].now, how, &rng);
	}
}

void memsys_short(struct memsys *m, bool on)
{
	m->short_io = on;
}

void memsys_capacity(struct memsys *m, uint64_t bytes)
{
	m->capacity = bytes;
}

void memsys_hook(struct memsys *m, void (*hook)(void *context, const char *call), void *context)
{
	m->hook = hook;
	m->hook_context = context;
}

size_t memsys_count(const struct memsys *m)
{
	return m->name_count;
}

const char *memsys_name(const struct memsys *m, size_t index)
{
	return m->names[index].now ? m->names[index].text : NULL;
}

uint8_t *memsys_bytes(struct memsys *m, const char *name, size_t *ret_size)
{
	struct name *n = find_name(m, name, false);

	if (!n || !n->now)
		return NULL;
	*ret_size = n->now->now_size;
	return n->now->now;
}

void memsys_changed(struct memsys *m, const char *name)
{
	struct inode *n = find_name(m, name, false)->now;

	memcpy(n->disk, n->now, n->room);
	n->disk_size = n->now_size;
}

void memsys_unreadable(struct memsys *m, const char *name, uint64_t at, uint64_t length)
{
	m->bad = name ? find_name(m, name, false)->now : NULL;
	m->bad_at = at;
	m->bad_end = at + length;
}

uint64_t memsys_total_bytes(const struct memsys *m)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < m->name_count; i++) {
		if (m->names[i].now)
			total += m->names[i].now->now_size;
	}
	return total;
}
