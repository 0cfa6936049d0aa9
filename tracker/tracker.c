// SPDX-License-Identifier: Apache-2.0
/*
 * Opening and closing: fresh, or what the last process left pinned.
 *
 *	nothing pinned, or not all of it,	load, pin, attach	resumed = false
 *	or of another layout
 *	everything there			open it			resumed = true
 *
 * What is pinned is complete only when the last link is: links are pinned last,
 * so a process killed while loading leaves something that is taken down.
 */
#include "tracker-private.h"
#include "fileio.h"
#include "overlap.h"
#include <assert.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RING_BYTES_DEFAULT (64 * MIB)
#define BPFFS		   "/sys/fs/bpf"

char *pin_path(const struct tracker *t, const char *name, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/%s", t->pin_dir, name);
	return buf;
}

/* --- the folder --------------------------------------------------------------- */

static bool on_bpffs(const char *path)
{
	struct statfs s;

	return statfs(path, &s) == 0 && (unsigned long)s.f_type == BPF_FS_MAGIC;
}

static int make_pin_dir(const char *pin_dir)
{
	int err;

	if (strncmp(pin_dir, BPFFS "/", sizeof(BPFFS)) == 0 && !on_bpffs(BPFFS) &&
	    mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return -errno;
	err = fileio_mkdirs(pin_dir, 0700);
	if (err)
		return err;
	return on_bpffs(pin_dir) ? 0 : -EINVAL;
}

int tracker_remove(const char *pin_dir)
{
	DIR *d = opendir(pin_dir);
	struct dirent *e;
	int err = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	if (!on_bpffs(pin_dir)) {
		closedir(d);
		return -EINVAL;
	}
	for (int links = 1; links >= 0; links--) { /* detach first */
		rewinddir(d);
		while ((e = readdir(d)))
			if (e->d_name[0] != '.' && (!links || strncmp(e->d_name, "link_", 5) == 0) &&
			    unlinkat(dirfd(d), e->d_name, 0))
				err = -errno;
	}
	closedir(d);
	if (!err && rmdir(pin_dir))
		err = -errno;
	return err;
}

/* --- what is pinned ------------------------------------------------------------- */

static int get_pin(const struct tracker *t, const char *name, int *ret_fd)
{
	char path[PATH_MAX];
	int fd = bpf_obj_get(pin_path(t, name, path));

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int map_one_element(int fd, size_t bytes, void **ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	void *p;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.value_size != bytes || info.max_entries != 1)
		return -EBADMSG;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

static int open_config(struct tracker *t)
{
	int err = get_pin(t, PIN_CONFIG, &t->config_fd);

	if (!err)
		err = map_one_element(t->config_fd, sizeof(*t->config), (void **)&t->config);
	if (!err && t->config->layout != SHARED_LAYOUT)
		err = -EBADMSG;
	return err;
}

static int open_link(struct tracker *t, const char *program, int *ret_fd)
{
	char path[PATH_MAX];
	int fd = bpf_obj_get(link_path(t, program, path));

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int open_links(struct tracker *t)
{
	static const char *const payload[] = PROGRAMS_PAYLOAD, *const mark[] = PROGRAMS_MARK,
				 *const spare[] = PROGRAMS_SPARE;
	const char *const *names = t->config->payload_programs ? payload : mark;
	size_t count = t->config->payload_programs ? ARRAY_LEN(payload) : ARRAY_LEN(mark);
	int err = 0;

	_Static_assert(ARRAY_LEN(payload) + ARRAY_LEN(spare) <= TRACKER_LINKS_MAX, "room for each");
	_Static_assert(ARRAY_LEN(mark) <= TRACKER_LINKS_MAX, "room for each");
	for (size_t i = 0; i < count && !err; i++)
		err = open_link(t, names[i], &t->link_fds[i]);
	for (size_t i = 0; i < ARRAY_LEN(spare) && t->config->payload_programs && t->config->spares; i++)
		(void)open_link(t, spare[i], &t->link_fds[ARRAY_LEN(payload) + i]);
	return err;
}

static int open_pinned(struct tracker *t)
{
	int ring_fd = -1, err = open_config(t);

	if (!err)
		err = open_links(t);
	if (!err)
		err = get_pin(t, PIN_COUNTERS, &t->counters_fd);
	if (!err)
		err = get_pin(t, PIN_CPUS, &t->cpus_fd);
	if (!err)
		err = get_pin(t, PIN_LIVE, &t->outer_fd);
	if (!err)
		err = get_pin(t, PIN_PROOF, &t->proof_fd);
	if (!err)
		err = map_one_element(t->proof_fd, sizeof(*t->proof), (void **)&t->proof);
	if (!err)
		err = get_pin(t, PIN_PROVE_ISSUE, &t->prove_issue_fd);
	if (!err)
		err = get_pin(t, PIN_PROVE_COMPLETION, &t->prove_completion_fd);
	if (!err && t->config->payload_programs)
		err = get_pin(t, PIN_AUDIT, &t->audit_fd);
	if (!err && t->config->payload_programs)
		err = get_pin(t, PIN_FIRST, &t->first_fd);
	if (!err)
		err = get_pin(t, PIN_RING, &ring_fd);
	if (!err)
		err = ring_open(&t->ring, ring_fd, t->config->ring_bytes);
	return err;
}

/* --- the object -------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_pinned(struct tracker *t)
{
	for (size_t i = 0; i < DISKS_MAX; i++)
		disk_close(&t->disks[i]);
	ring_close(&t->ring);
	if (t->config)
		munmap(t->config, sizeof(*t->config));
	if (t->proof)
		munmap(t->proof, sizeof(*t->proof));
	t->config = NULL;
	t->proof = NULL;
	for (size_t i = 0; i < ARRAY_LEN(t->link_fds); i++)
		close_fd(&t->link_fds[i]);
	close_fd(&t->config_fd);
	close_fd(&t->counters_fd);
	close_fd(&t->cpus_fd);
	close_fd(&t->outer_fd);
	close_fd(&t->proof_fd);
	close_fd(&t->prove_issue_fd);
	close_fd(&t->prove_completion_fd);
	close_fd(&t->audit_fd);
	close_fd(&t->first_fd);
}

static struct tracker *tracker_new(const char *pin_dir, const struct tracker_options *options)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->pin_dir = strdup(pin_dir);
	if (!t->pin_dir) {
		free(t);
		return NULL;
	}
	t->options = *options;
	if (!t->options.ring_bytes)
		t->options.ring_bytes = RING_BYTES_DEFAULT;
	t->config_fd = t->counters_fd = t->cpus_fd = t->outer_fd = t->proof_fd = -1;
	t->prove_issue_fd = t->prove_completion_fd = t->audit_fd = t->first_fd = -1;
	t->ring.fd = t->ring.epoll_fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(t->link_fds); i++)
		t->link_fds[i] = -1;
	for (size_t i = 0; i < DISKS_MAX; i++)
		t->disks[i].live.fd = t->disks[i].planes_fd = -1;
	return t;
}

void tracker_close(struct tracker *t)
{
	if (!t)
		return;
	close_pinned(t);
	free(t->pin_dir);
	free(t);
}

static int unavailable(const struct tracker *t, int err, struct fault *f)
{
	return fault_set(f, err, MSG_CAPTURE_UNAVAILABLE, "folder", t->pin_dir, "reason", strerror(-err), NULL);
}

static int begin_afresh(struct tracker *t, struct fault *ret_fault)
{
	int err;

	close_pinned(t);
	err = tracker_remove(t->pin_dir);
	if (!err)
		err = make_pin_dir(t->pin_dir);
	if (err)
		return unavailable(t, err, ret_fault);
	err = load_pinned(t, ret_fault);
	if (!err) {
		err = open_pinned(t);
		if (err)
			(void)unavailable(t, err, ret_fault);
	}
	if (err)
		(void)tracker_remove(t->pin_dir);
	return err;
}

void choose_mode(struct tracker *t)
{
	bool payload = t->config->proved && t->config->payload_programs && !t->config->forced &&
		       !t->options.dirty_map_only;

	if (!payload)
		overlap_gate_close(&t->config->gate, SHARED_PAYLOAD_OFF);
	else if (tracker_mode(t) != TRACKER_PAYLOAD)
		overlap_gate_open(&t->config->gate, SHARED_PAYLOAD_OFF);
}

static int check_machine(struct fault *ret_fault)
{
	struct utsname u;

	if (geteuid() != 0)
		return fault_set(ret_fault, -EPERM, MSG_NOT_ROOT, NULL);
	uname(&u);
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		return fault_set(ret_fault, -EOPNOTSUPP, MSG_NO_BTF, "kernel", u.release, NULL);
	return 0;
}

int tracker_open(const char *pin_dir, const struct tracker_options *options, struct tracker **ret, bool *ret_resumed,
		 struct fault *ret_fault)
{
	uint64_t ring = options->ring_bytes ? options->ring_bytes : RING_BYTES_DEFAULT;
	struct tracker *t;
	bool resumed;
	int err = check_machine(ret_fault);

	assert(pin_dir[0] == '/');
	assert(ring >= TRACKER_RING_LEAST && ring <= TRACKER_RING_MOST && (ring & (ring - 1)) == 0);
	if (err)
		return err;
	t = tracker_new(pin_dir, options);
	if (!t)
		return -ENOMEM;
	err = make_pin_dir(pin_dir);
	if (err)
		err = unavailable(t, err, ret_fault);
	resumed = !err && open_pinned(t) == 0;
	if (!err && !resumed)
		err = begin_afresh(t, ret_fault);
	if (err) {
		tracker_close(t);
		return err;
	}
	choose_mode(t);
	*ret = t;
	*ret_resumed = resumed;
	return 0;
}

/* --- mode ------------------------------------------------------------------------------ */

enum tracker_mode tracker_mode(const struct tracker *t)
{
	return overlap_gate(&t->config->gate).reason[SHARED_PAYLOAD_OFF] ? TRACKER_DIRTY_MAP : TRACKER_PAYLOAD;
}

void tracker_prefer_dirty_map(struct tracker *t, bool prefer)
{
	t->options.dirty_map_only = prefer;
	choose_mode(t);
}

void tracker_force_dirty_map(struct tracker *t)
{
	__atomic_store_n(&t->config->forced, 1, __ATOMIC_SEQ_CST);
	choose_mode(t);
}
