// SPDX-License-Identifier: Apache-2.0
/*
 * The self-test: is what BPF reads as a page's content the page's content?
 *
 * The kernel keeps all memory mapped in one piece (the direct map), and an array
 * with a struct page for each page (vmemmap).  With the addresses of both, a
 * struct page gives its content.  Neither address is exported; they are found,
 * and then proved, with reads of the disk into pages of our own, full of random
 * bytes, that BPF looks at when the read is issued:
 *
 *	vmemmap		the struct page that BPF sees in the bio, less the page's
 *			number, which /proc/self/pagemap tells
 *	direct map	starts at a multiple of 1 GiB at or below the address of any
 *			object of the kernel; each candidate is tried until the random
 *			bytes are found behind it (a read of an address where nothing
 *			is mapped fails, and harms nothing)
 *
 * Then, on fresh pages: at issue BPF must read what we put there, at completion
 * what the disk returned.  Nothing is written to the disk.
 */
#include "tracker-private.h"
#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PROVE_READS    32 /* at most */
#define PROVE_GOOD     4  /* in a row are a proof */
#define SEARCH_TRIES   16384 /* GiB of direct map */
#define PAGEMAP_PFN    ((1ULL << 55) - 1)
#define PAGEMAP_THERE  (1ULL << 63)

struct attempt {
	int disk_fd;
	uint32_t bytes;
	uint64_t size_bytes;
	uint8_t *buf;			   /* one that moves to a fresh page each time */
	uint8_t sent[SHARED_PROOF_BYTES];  /* what was in it at issue */
};

static int page_number(const void *p, uint64_t *ret)
{
	long page = sysconf(_SC_PAGESIZE);
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)p / (uintptr_t)page * sizeof(entry)));
	close(fd);
	if (n != sizeof(entry) || !(entry & PAGEMAP_THERE) || !(entry & PAGEMAP_PFN))
		return -ENODATA;
	*ret = entry & PAGEMAP_PFN;
	return 0;
}

static int fill_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int fresh_buffer(struct attempt *a)
{
	size_t bytes = MAX(a->bytes, (size_t)sysconf(_SC_PAGESIZE));
	int err;

	if (a->buf)
		munmap(a->buf, bytes);
	a->buf = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->buf == MAP_FAILED) {
		a->buf = NULL;
		return -errno;
	}
	(void)madvise(a->buf, bytes, MADV_NOHUGEPAGE);
	err = fill_random(a->buf, a->bytes);
	if (!err)
		memcpy(a->sent, a->buf, sizeof(a->sent));
	return err;
}

/* Read one place of the disk, with BPF looking on.  What it saw is in t->proof. */
static int watched_read(struct tracker *t, struct attempt *a, uint32_t device)
{
	struct shared_proof *p = t->proof;
	uint64_t place;
	ssize_t n;
	int err = fresh_buffer(a);

	if (!err)
		err = fill_random(&place, sizeof(place));
	if (err)
		return err;
	place = place % (a->size_bytes / a->bytes) * a->bytes;
	memset(p, 0, sizeof(*p));
	p->bytes = a->bytes;
	p->sector = place / SECTOR_BYTES;
	p->vmemmap_base = t->config->vmemmap_base;
	p->direct_base = t->config->direct_base;
	p->tries = SEARCH_TRIES;
	memcpy(p->magic, a->sent, sizeof(p->magic));
	if (!p->direct_base && page_number(a->buf, &p->pfn))
		p->pfn = 0;
	__atomic_store_n(&p->device, device, __ATOMIC_SEQ_CST);
	n = pread(a->disk_fd, a->buf, a->bytes, (off_t)place);
	err = n < 0 ? -errno : n != (ssize_t)a->bytes ? -EIO : 0;
	__atomic_store_n(&p->device, 0, __ATOMIC_SEQ_CST);
	return err;
}

/* Did BPF read the right content, before and after? */
static bool good(const struct tracker *t, const struct attempt *a)
{
	const struct shared_proof *p = t->proof;

	return p->at_issue_ok && p->at_completion_ok &&
	       memcmp(p->at_issue, a->sent, sizeof(a->sent)) == 0 &&
	       memcmp(p->at_completion, a->buf, sizeof(a->sent)) == 0 &&
	       memcmp(a->buf, a->sent, sizeof(a->sent)) != 0;
}

struct verdict {
	unsigned int reads, seen, good_in_a_row;
	int err;
};

static struct verdict run_reads(struct tracker *t, struct attempt *a, uint32_t device, bool payload)
{
	uint64_t vmemmap = t->config->vmemmap_base, direct = t->config->direct_base;
	struct verdict v = { 0 };

	for (int i = 0; i < PROVE_READS && v.good_in_a_row < PROVE_GOOD; i++) {
		int err = watched_read(t, a, device);

		if (err) {
			v.err = err;
			continue;
		}
		v.reads++;
		v.seen += t->proof->issues > 0 && t->proof->completions > 0;
		if (t->proof->found) { /* believed when it has proved itself */
			t->config->vmemmap_base = t->proof->vmemmap_base;
			t->config->direct_base = t->proof->direct_base;
			continue;
		}
		if (payload ? good(t, a) : t->proof->completions > 0) {
			v.good_in_a_row++;
			continue;
		}
		v.good_in_a_row = 0;
		if (!t->config->proved)
			t->config->vmemmap_base = t->config->direct_base = 0;
	}
	if (v.good_in_a_row < PROVE_GOOD && t->config->proved) {
		t->config->vmemmap_base = vmemmap;
		t->config->direct_base = direct;
	}
	return v;
}

static int attach_both(const struct tracker *t, int ret_fds[2])
{
	int issue, completion;

	issue = bpf_raw_tracepoint_open(NULL, t->prove_issue_fd);
	if (issue < 0)
		return -errno;
	completion = bpf_raw_tracepoint_open(NULL, t->prove_completion_fd);
	if (completion < 0) {
		int err = -errno;

		close(issue);
		return err;
	}
	ret_fds[0] = issue;
	ret_fds[1] = completion;
	return 0;
}

static void describe(dev_t device, char *name, size_t name_size, char *driver, size_t driver_size)
{
	char path[64], link[128];
	ssize_t n;
	FILE *f;

	snprintf(name, name_size, "%u:%u", major(device), minor(device));
	snprintf(driver, driver_size, "unknown");
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
	n = readlink(path, link, sizeof(link) - 1);
	if (n > 0) {
		const char *slash;

		link[n] = '\0';
		slash = strrchr(link, '/');
		snprintf(name, name_size, "/dev/%s", slash ? slash + 1 : link);
	}
	f = fopen("/proc/devices", "re");
	if (!f)
		return;
	for (bool block = false; fgets(link, sizeof(link), f);) {
		unsigned int number;
		char word[64];

		block = block || strncmp(link, "Block", 5) == 0;
		if (block && sscanf(link, "%u %63s", &number, word) == 2 && number == major(device))
			snprintf(driver, driver_size, "%s", word);
	}
	fclose(f);
}

static int conclude(struct tracker *t, const struct tracker_disk *disk, const struct verdict *v, bool payload,
		    struct fault *ret_fault)
{
	char name[192], driver[64];

	if (v->good_in_a_row >= PROVE_GOOD) {
		if (payload)
			t->config->proved = 1;
		return 0;
	}
	describe(disk->device, name, sizeof(name), driver, sizeof(driver));
	if (v->reads == 0)
		return fault_set(ret_fault, v->err, MSG_CAPTURE_UNAVAILABLE, "folder", name, "reason",
				 strerror(-v->err), NULL);
	if (v->seen == 0)
		return fault_set(ret_fault, -ENXIO, MSG_DISK_NOT_CAPTURABLE, "disk", name, "driver", driver, NULL);
	t->config->proved = 0; /* what fails for one disk is believed for none */
	return fault_set(ret_fault, -EOPNOTSUPP, MSG_CAPTURE_UNPROVED, "reason",
			 t->proof->pieces ? "the self-test failed" : "unknown layout of requests", NULL);
}

int tracker_prove(struct tracker *t, uint16_t disk, int disk_fd, struct fault *ret_fault)
{
	const struct tracker_disk *d = &t->disks[disk].info;
	bool payload = t->config->payload_programs;
	struct attempt a = { .disk_fd = disk_fd, .bytes = SHARED_PROOF_BYTES };
	struct verdict v;
	int fds[2] = { -1, -1 }, sector, err;

	assert(disk < DISKS_MAX && t->disks[disk].open);
	if (ioctl(disk_fd, BLKSSZGET, &sector) == 0 && sector > (int)a.bytes)
		a.bytes = (uint32_t)sector;
	a.size_bytes = d->size_bytes;
	if (a.size_bytes < a.bytes)
		return -EINVAL;
	err = attach_both(t, fds);
	if (err)
		return fault_set(ret_fault, err, MSG_CAPTURE_UNAVAILABLE, "folder", t->pin_dir, "reason", strerror(-err),
				 NULL);
	v = run_reads(t, &a, disk_kernel_device(d->device), payload);
	close(fds[0]);
	close(fds[1]);
	if (a.buf)
		munmap(a.buf, MAX(a.bytes, (size_t)sysconf(_SC_PAGESIZE)));
	err = conclude(t, d, &v, payload, ret_fault);
	if (!err && !payload)
		err = fault_set(ret_fault, -EOPNOTSUPP, MSG_CAPTURE_UNPROVED, "reason",
				"this kernel or processor cannot run the programs for it", NULL);
	choose_mode(t);
	return err == -EOPNOTSUPP && t->options.dirty_map_only ? 0 : err; /* nobody asked for payload */
}
