// SPDX-License-Identifier: Apache-2.0
/*
 * follow - keep an image equal to a disk, with nothing but the tracker: what an
 * agent and a server do, in one process and without a network.
 *
 *	follow [--ring BYTES] [--dirty-map] [--no-base] [--spares] [--without N]... PIN_DIR DISK=IMAGE...
 *
 * Each disk is read once (base copy) unless a former follow, killed or gone, left
 * the tracker running; from then on the log is applied.  Plane 0 holds the regions
 * still to be read, plane 1 those to be read again at leisure.  --no-base leaves the
 * base copy out; --spares attaches the spare completion programs, --without takes the
 * Nth of all away (first, issue, second, third), for its successor to do its work.
 *
 * Standard input takes commands, one a line; each is answered by one line:
 *	settle		when ring, live map and both planes are empty	settled
 *	point FOLDER	copy the images as they are at a cut (I4)	point POSITION TIME_US
 *	stop, go	stop and go on consuming			ok
 *	counters	of all disks, as JSON				{...}
 *	suspect INDEX	and clear it					suspect WHY | sound
 *	resize INDEX	the disk has another size now			ok
 *	quit		leave everything pinned				bye
 *	remove		take the tracker down, and quit			bye
 * "ready", with the mode and whether it resumed, is said first.
 */
#include "fileio.h"
#include "tracker-private.h"
#include "wallclock.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PENDING	     0
#define LEISURE	     1
#define READ_BYTES   (1 * MIB)
#define IDLE_MS	     10
#define SUSPECT_LOOKS	 4
#define SUSPECT_APART_MS 60
#define BATCH	     4096 /* records between two looks at the commands */

struct followed {
	struct tracker_disk info;
	const char *image;
	int disk_fd, image_fd;
};

struct follow {
	struct tracker *t;
	struct followed disks[DISKS_MAX];
	uint16_t count;
	void *buf;
	const char *pin_dir;
	bool stopped, done, no_base, spares;
	bool without[TRACKER_LINKS_MAX];
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "follow: ");
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static void die_fault(const struct fault *f, const char *what, int err)
{
	char text[1024];

	die("%s: %s: %s", what, strerror(-err), f->arg_count ? fault_format(f, LANGUAGE_EN, text, sizeof(text)) : "");
}

/* --- planes ------------------------------------------------------------------ */

static uint64_t *plane(struct follow *f, uint16_t disk, unsigned int which)
{
	uint64_t words;

	return tracker_plane(f->t, disk, which, &words);
}

static void plane_set(struct follow *f, uint16_t disk, unsigned int which, uint64_t region, uint64_t count)
{
	uint64_t *bits = plane(f, disk, which);

	for (uint64_t r = region; r < region + count; r++)
		bits[r / 64] |= 1ULL << r % 64;
}

static void plane_clear(struct follow *f, uint16_t disk, unsigned int which, uint64_t region, uint64_t count)
{
	uint64_t *bits = plane(f, disk, which);

	for (uint64_t r = region; r < region + count; r++)
		bits[r / 64] &= ~(1ULL << r % 64);
}

/* First run of set bits at or after *@region. */
static uint64_t plane_run(struct follow *f, uint16_t disk, unsigned int which, uint64_t *region, uint64_t max)
{
	const uint64_t *bits = plane(f, disk, which);
	uint64_t end = f->disks[disk].info.region_count, r = *region, n = 0;

	while (r < end && !(bits[r / 64] >> r % 64 & 1))
		r += bits[r / 64] ? 1 : 64 - r % 64;
	if (r >= end)
		return 0;
	*region = r;
	while (n < max && r + n < end && (bits[(r + n) / 64] >> (r + n) % 64 & 1))
		n++;
	return n;
}

static bool plane_empty(struct follow *f, uint16_t disk, unsigned int which)
{
	uint64_t region = 0;

	return plane_run(f, disk, which, &region, 1) == 0;
}

/* --- the log ------------------------------------------------------------------ */

static void apply(struct follow *f, const struct tracker_record *rec)
{
	struct followed *d = &f->disks[rec->disk];
	uint64_t end = MIN(rec->offset_bytes + rec->length_bytes, d->info.size_bytes);
	static const char zeroes[65536];
	int err = 0;

	if (rec->offset_bytes >= end)
		return;
	if (rec->op == TRACKER_WRITE) {
		err = fileio_pwrite_full(d->image_fd, rec->payload, end - rec->offset_bytes, rec->offset_bytes);
	} else {
		for (uint64_t at = rec->offset_bytes; at < end && !err;) {
			uint64_t n = MIN(end - at, sizeof(zeroes));

			err = fileio_pwrite_full(d->image_fd, zeroes, n, at);
			at += n;
		}
	}
	if (err)
		die("%s: %s", d->image, strerror(-err));
	if (rec->reread) {
		uint64_t first = rec->offset_bytes >> d->info.region_shift;
		uint64_t last = (end - 1) >> d->info.region_shift;

		plane_set(f, rec->disk, LEISURE, first, last - first + 1);
	}
}

/* Apply what lies before @target, at most @max records; true: all of it. */
static bool apply_until(struct follow *f, uint64_t target, uint64_t max)
{
	while (tracker_consumed(f->t) < target) {
		struct tracker_record rec;

		if (max-- == 0)
			return false;
		if (tracker_peek(f->t, tracker_consumed(f->t), &rec) != 1)
			continue; /* one is being filled, or the rest was thrown away: looked at again */
		if (rec.position >= target) {
			tracker_consume(f->t, target);
			return true;
		}
		apply(f, &rec);
		tracker_consume(f->t, rec.next);
		if (tracker_is_full(f->t))
			tracker_carry(f->t);
	}
	return true;
}

/* --- reading ------------------------------------------------------------------- */

/* I2: all that was captured before the read was issued goes in first. */
static void read_run(struct follow *f, uint16_t disk, uint64_t region, uint64_t count)
{
	struct followed *d = &f->disks[disk];
	uint64_t offset = region << d->info.region_shift;
	uint64_t bytes = MIN(count << d->info.region_shift, d->info.size_bytes - offset);
	uint64_t begun = tracker_position(f->t);
	int err = fileio_pread_full(d->disk_fd, f->buf, bytes, offset);

	if (err)
		die("reading disk %u at %llu: %s", disk, (unsigned long long)offset, strerror(-err));
	apply_until(f, begun, UINT64_MAX);
	err = fileio_pwrite_full(d->image_fd, f->buf, bytes, offset);
	if (err)
		die("%s: %s", d->image, strerror(-err));
	plane_clear(f, disk, PENDING, region, count);
}

/* Read what is marked, at most @max runs.  True: nothing was. */
static bool read_marked(struct follow *f, unsigned int max)
{
	bool clean = true;

	for (uint16_t disk = 0; disk < f->count; disk++) {
		uint64_t most = READ_BYTES >> f->disks[disk].info.region_shift, region = 0, n;

		while ((n = tracker_live_next(f->t, disk, &region, UINT64_MAX)) > 0) {
			plane_set(f, disk, PENDING, region, n); /* first (I3) */
			n = tracker_live_take(f->t, disk, &region, n);
			region += n;
		}
		region = 0;
		while (max > 0 && (n = plane_run(f, disk, PENDING, &region, MAX(most, 1))) > 0) {
			read_run(f, disk, region, n);
			region += n;
			max--;
			clean = false;
		}
	}
	return clean;
}

static bool nothing_marked(struct follow *f)
{
	for (uint16_t disk = 0; disk < f->count; disk++)
		if (tracker_live_count(f->t, disk) || !plane_empty(f, disk, PENDING))
			return false;
	return true;
}

/* --- commands -------------------------------------------------------------------- */

static void settle(struct follow *f)
{
	for (;;) {
		bool clean;

		apply_until(f, tracker_position(f->t), UINT64_MAX);
		clean = read_marked(f, UINT32_MAX) && nothing_marked(f);
		for (uint16_t disk = 0; disk < f->count; disk++) {
			uint64_t region = 0, n;

			while ((n = plane_run(f, disk, LEISURE, &region, UINT64_MAX)) > 0) {
				plane_set(f, disk, PENDING, region, n);
				plane_clear(f, disk, LEISURE, region, n);
				region += n;
				clean = false;
			}
		}
		if (clean && tracker_consumed(f->t) == tracker_position(f->t))
			break;
	}
	printf("settled\n");
}

static void copy_image(const char *from, const char *folder)
{
	const char *slash = strrchr(from, '/');
	char command[2 * PATH_MAX + 64];

	snprintf(command, sizeof(command), "cp --sparse=always --reflink=auto '%s' '%s/%s'", from, folder,
		 slash ? slash + 1 : from);
	if (system(command))
		die("%s failed", command);
}

/*
 * The order matters: the position is taken first and the marks are looked at
 * after it.  A write that was marked and not carried was marked before it was told,
 * so it is seen here, or is later than the position (I4).
 */
static void point(struct follow *f, const char *folder)
{
	uint64_t position, time_us;

	do {
		apply_until(f, tracker_position(f->t), UINT64_MAX);
		read_marked(f, UINT32_MAX);
		time_us = wallclock_now_us();
		position = tracker_position(f->t);
	} while (!nothing_marked(f));
	apply_until(f, position, UINT64_MAX);
	for (uint16_t disk = 0; disk < f->count; disk++)
		copy_image(f->disks[disk].image, folder);
	printf("point %llu %llu\n", (unsigned long long)position, (unsigned long long)time_us);
}

static void print_counters(struct follow *f)
{
	printf("{\"mode\": \"%s\", \"ring_bytes\": %llu, \"disks\": [",
	       tracker_mode(f->t) == TRACKER_PAYLOAD ? "payload" : "dirty-map",
	       (unsigned long long)tracker_ring_bytes(f->t));
	for (uint16_t disk = 0; disk < f->count; disk++) {
		struct tracker_counters n;

		if (tracker_counters(f->t, disk, &n))
			die("no counters");
		printf("%s{\"requests\": %llu, \"bytes\": %llu, \"ring_full\": %llu, \"unreadable\": %llu, "
		       "\"overlap\": %llu, \"other\": %llu, \"discarded\": %llu, \"passthrough\": %llu, "
		       "\"marks\": %llu, \"nested\": %llu, \"unseen\": %llu}",
		       disk ? ", " : "", (unsigned long long)n.requests, (unsigned long long)n.bytes,
		       (unsigned long long)n.lost_ring_full_bytes, (unsigned long long)n.lost_unreadable_bytes,
		       (unsigned long long)n.lost_overlap_bytes, (unsigned long long)n.lost_other_bytes,
		       (unsigned long long)n.discarded_bytes, (unsigned long long)n.passthrough_commands,
		       (unsigned long long)n.marks, (unsigned long long)n.nested_runs,
		       (unsigned long long)n.unseen_bytes);
	}
	printf("]}\n");
}

static void suspect(struct follow *f, uint16_t disk)
{
	const char *why = NULL;

	/* Some doubts take several looks, apart in time (books.c). */
	for (int i = 0; i < SUSPECT_LOOKS && tracker_suspect(f->t, disk, &why) != 1; i++)
		poll(NULL, 0, SUSPECT_APART_MS);
	if (tracker_suspect(f->t, disk, &why) == 1) {
		printf("suspect %s\n", why);
		plane_set(f, disk, PENDING, 0, f->disks[disk].info.region_count);
	} else {
		printf("sound\n");
	}
	tracker_suspect_clear(f->t, disk);
}

static uint64_t disk_bytes(int fd)
{
	uint64_t bytes;

	if (ioctl(fd, BLKGETSIZE64, &bytes))
		die("size: %s", strerror(errno));
	return bytes;
}

static void resize(struct follow *f, uint16_t disk)
{
	struct followed *d = &f->disks[disk];
	int err;

	d->info.size_bytes = disk_bytes(d->disk_fd);
	err = tracker_resize_disk(f->t, disk, d->info.size_bytes);
	if (!err)
		err = tracker_disk(f->t, disk, &d->info);
	if (err || ftruncate(d->image_fd, (off_t)d->info.size_bytes))
		die("resize: %s", strerror(err ? -err : errno));
	printf("ok\n");
}

static void command(struct follow *f, char *line)
{
	char *arg = strchr(line, ' ');

	if (arg)
		*arg++ = '\0';
	if (strcmp(line, "settle") == 0) {
		settle(f);
	} else if (strcmp(line, "point") == 0 && arg) {
		point(f, arg);
	} else if (strcmp(line, "counters") == 0) {
		print_counters(f);
	} else if (strcmp(line, "suspect") == 0 && arg) {
		suspect(f, (uint16_t)atoi(arg));
	} else if (strcmp(line, "resize") == 0 && arg) {
		resize(f, (uint16_t)atoi(arg));
	} else if (strcmp(line, "stop") == 0 || strcmp(line, "go") == 0) {
		f->stopped = line[0] == 's';
		printf("ok\n");
	} else if (strcmp(line, "quit") == 0 || strcmp(line, "remove") == 0) {
		f->done = true;
		tracker_close(f->t);
		if (line[0] == 'r' && tracker_remove(f->pin_dir))
			die("remove: %s", strerror(errno));
		printf("bye\n");
	} else {
		die("what is \"%s\"?", line);
	}
	fflush(stdout);
}

static void take_commands(struct follow *f)
{
	static char text[8192];
	static size_t have;
	ssize_t n = read(STDIN_FILENO, text + have, sizeof(text) - 1 - have);
	char *end;

	if (n <= 0) {
		f->done = true;
		return;
	}
	have += (size_t)n;
	text[have] = '\0';
	while (!f->done && (end = strchr(text, '\n'))) {
		*end++ = '\0';
		command(f, text);
		have -= (size_t)(end - text);
		memmove(text, end, have + 1);
	}
}

static void loop(struct follow *f)
{
	while (!f->done) {
		struct pollfd fds[] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = f->stopped ? -1 : tracker_ring_fd(f->t), .events = POLLIN },
		};
		bool idle = f->stopped || (apply_until(f, tracker_position(f->t), BATCH) && read_marked(f, 8));

		if (poll(fds, ARRAY_LEN(fds), idle ? IDLE_MS : 0) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (fds[0].revents)
			take_commands(f);
	}
}

/* --- beginning --------------------------------------------------------------------- */

static void open_disk(struct follow *f, char *spec)
{
	struct followed *d = &f->disks[f->count];
	char *image = strchr(spec, '=');
	struct stat st;

	if (!image)
		die("DISK=IMAGE, not \"%s\"", spec);
	*image++ = '\0';
	d->image = image;
	d->disk_fd = open(spec, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (d->disk_fd < 0 || fstat(d->disk_fd, &st))
		die("%s: %s", spec, strerror(errno));
	d->image_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	d->info = (struct tracker_disk){ .disk = f->count, .device = st.st_rdev, .size_bytes = disk_bytes(d->disk_fd) };
	if (d->image_fd < 0 || ftruncate(d->image_fd, (off_t)d->info.size_bytes))
		die("%s: %s", image, strerror(errno));
	f->count++;
}

static void choose_programs(struct follow *f)
{
	if (f->spares && tracker_attach_spares(f->t))
		die("spare programs: %s", strerror(errno));
	for (size_t i = 0; i < TRACKER_LINKS_MAX; i++) {
		static const char *const names[TRACKER_LINKS_MAX] = { "first", "issue", "second", "third" };
		char path[PATH_MAX];

		if (!f->without[i])
			continue;
		if (unlink(link_path(f->t, names[i], path)) || close(f->t->link_fds[i]))
			die("%s: %s", path, strerror(errno));
		f->t->link_fds[i] = -1;
	}
}

static void begin(struct follow *f, const struct tracker_options *o)
{
	struct fault fault = { 0 };
	bool resumed;
	int err = tracker_open(f->pin_dir, o, &f->t, &resumed, &fault);

	if (err)
		die_fault(&fault, f->pin_dir, err);
	for (uint16_t i = 0; i < f->count; i++) {
		struct followed *d = &f->disks[i];

		err = tracker_add_disk(f->t, &d->info, &fault);
		if (err)
			die_fault(&fault, "adding", err);
		err = tracker_prove(f->t, i, d->disk_fd, &fault);
		if (err && err != -EOPNOTSUPP)
			die_fault(&fault, "proving", err);
		if (!d->info.kept && !f->no_base)
			plane_set(f, i, PENDING, 0, d->info.region_count);
	}
	choose_programs(f);
	printf("ready %s %s\n", tracker_mode(f->t) == TRACKER_PAYLOAD ? "payload" : "dirty-map",
	       resumed ? "resumed" : "new");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct tracker_options o = { 0 };
	struct follow f = { 0 };
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--dirty-map") == 0)
			o.dirty_map_only = true;
		else if (strcmp(argv[i], "--no-base") == 0)
			f.no_base = true;
		else if (strcmp(argv[i], "--spares") == 0)
			f.spares = true;
		else if (strcmp(argv[i], "--without") == 0 && i + 1 < argc)
			f.without[(unsigned int)(atoi(argv[++i]) - 1) % TRACKER_LINKS_MAX] = true;
		else if (strcmp(argv[i], "--ring") == 0 && i + 1 < argc)
			o.ring_bytes = strtoull(argv[++i], NULL, 0);
		else
			die("what is %s?", argv[i]);
	}
	if (argc - i < 2)
		die("usage: follow [--ring BYTES] [--dirty-map] [--no-base] [--spares] [--without N]... PIN_DIR DISK=IMAGE...");
	f.pin_dir = argv[i++];
	if (posix_memalign(&f.buf, 4096, READ_BYTES))
		die("memory");
	for (; i < argc; i++)
		open_disk(&f, argv[i]);
	begin(&f, &o);
	loop(&f);
	return 0;
}
