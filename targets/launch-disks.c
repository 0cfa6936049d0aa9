/* SPDX-License-Identifier: Apache-2.0 */
/* The disks of the point: looked at, and served over NBD. */
#include "launch-private.h"
#include "log.h"
#include "nbdkit.h"
#include "wallclock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define NBDKIT_START_US (20 * USEC_PER_SEC)
#define NBDKIT_START_AGAIN_US (180 * USEC_PER_SEC) /* as qemu.c's CONNECT_AGAIN_US */

void launch_end_disks(struct launch *l)
{
	for (unsigned int i = 0; i < l->disk_count; i++) {
		struct disk *d = &l->disks[i];

		loop_close(l->loop, &d->process.ready_fd);
		loop_close(l->loop, &d->process.stderr_fd);
		if (d->process.pid > 0) {
			(void)kill(d->process.pid, SIGKILL); /* it only reads */
			(void)waitpid(d->process.pid, NULL, 0);
			d->process.pid = 0;
		}
		if (l->target_disks[i].socket[0])
			(void)unlink(l->target_disks[i].socket);
	}
}

void launch_reap_disks(struct launch *l)
{
	for (unsigned int i = 0; i < l->disk_count; i++) {
		struct disk *d = &l->disks[i];
		struct fault f;

		if (d->process.pid <= 0 || waitpid(d->process.pid, NULL, WNOHANG) != d->process.pid)
			continue;
		d->process.pid = 0;
		(void)fault_set(&f, 0, MSG_LAUNCH_STORE_GONE, "machine", l->spec.machine, NULL);
		if (l->powering_off && !l->standing)
			launch_end(l); /* all of this machine is told to end: it is cut off, as by a power cut */
		else if (!l->standing)
			launch_fail(l, &f);
	}
}

/* --- serving --------------------------------------------------------------------------------- */

static void disk_said(void *context, uint32_t events)
{
	struct disk *d = context;
	char text[512];
	ssize_t n = read(d->process.stderr_fd, text, sizeof(text) - 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_close(d->launch->loop, &d->process.stderr_fd);
		return;
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	log_warn("nbdkit: %s", text);
}

static void disk_ready(void *context, uint32_t events)
{
	struct disk *d = context;
	struct launch *l = d->launch;
	char pid[32];
	ssize_t n = read(d->process.ready_fd, pid, sizeof(pid));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	loop_close(l->loop, &d->process.ready_fd);
	if (n <= 0) /* dead: child_ended() tells */
		return;
	d->ready = true;
	for (unsigned int i = 0; i < l->disk_count; i++)
		if (!l->disks[i].ready)
			return;
	launch_start_machine(l);
}

static void disks_not_ready(void *context)
{
	struct fault f;

	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_STARTED, "reason", "nbdkit was not ready in time", NULL);
	launch_fail(context, &f);
}

static int serve_disk(struct launch *l, unsigned int i)
{
	struct target_disk *t = &l->target_disks[i];
	struct disk *d = &l->disks[i];
	struct nbdkit_options o = {
		.store_dir = l->spec.store, .exports_dir = l->folder, .epoch = l->spec.epoch, .disk = t->disk,
	};
	int err = nbdkit_listen_unix(t->socket, &o.listen_fd);

	if (err)
		return err;
	err = nbdkit_spawn(&o, &d->process);
	close(o.listen_fd);
	if (err)
		return err;
	return loop_watch(l->loop, d->process.ready_fd, EPOLLIN, disk_ready, d) ?:
	       loop_watch(l->loop, d->process.stderr_fd, EPOLLIN, disk_said, d);
}

void launch_serve_disks(struct launch *l)
{
	struct fault f;

	l->deadline.fire = disks_not_ready;
	l->deadline.context = l;
	loop_set_timer(l->loop, &l->deadline, monotonic_now_us() + (l->resumed ? NBDKIT_START_AGAIN_US : NBDKIT_START_US));
	for (unsigned int i = 0; i < l->disk_count; i++) {
		int err = serve_disk(l, i);

		if (err) {
			(void)fault_set(&f, err, MSG_LAUNCH_NOT_STARTED, "reason", strerror(-err), NULL);
			launch_fail(l, &f);
			return;
		}
	}
}


/* --- looking at the disks -------------------------------------------------------------------- */

struct look {
	struct launch *launch;
	struct store_reader *reader;
};

static uint64_t look_size(void *context, unsigned int disk)
{
	const struct look *k = context;

	return k->launch->target_disks[disk].size_bytes;
}

static unsigned int look_sector(void *context, unsigned int disk)
{
	const struct look *k = context;

	return k->launch->target_disks[disk].sector_bytes;
}

static int look_read(void *context, unsigned int disk, uint64_t offset, uint32_t length, void *ret)
{
	const struct look *k = context;

	return store_read(k->reader, (uint16_t)k->launch->target_disks[disk].disk, offset, length, ret);
}

static void name_socket(struct launch *l, unsigned int i)
{
	struct target_disk *t = &l->target_disks[i];

	snprintf(t->socket, sizeof(t->socket), "%s/disk%u.sock", l->folder, i);
}

static void note_disks(struct launch *l, struct store_reader *r)
{
	struct store_disk disks[DISKS_MAX];
	size_t n = MIN(store_reader_disks(r, disks, DISKS_MAX), (size_t)DISKS_MAX);

	for (size_t i = 0; i < n; i++) {
		struct target_disk *t = &l->target_disks[l->disk_count];

		*t = (struct target_disk){
			.disk = disks[i].disk,
			.size_bytes = disks[i].size_bytes,
			.sector_bytes = disks[i].sector_bytes,
		};
		name_socket(l, l->disk_count);
		l->disks[l->disk_count] = (struct disk){ .launch = l, .process = { .ready_fd = -1, .stderr_fd = -1 } };
		l->disk_count++;
	}
}

/* What is asked for is not tried where it cannot be. */
static int check_firmware(const struct launch *l, const struct bootdisk *b, struct fault *f)
{
	if (b->firmware == FIRMWARE_NONE)
		return fault_set(f, -ENOEXEC, MSG_LAUNCH_NOT_BOOTABLE, "machine", l->spec.machine, NULL);
	if (l->spec.firmware == FIRMWARE_UEFI && !b->has_uefi)
		return fault_set(f, -ENOEXEC, MSG_LAUNCH_NO_ESP, "machine", l->spec.machine, NULL);
	if (l->spec.firmware == FIRMWARE_BIOS && !b->has_code)
		return fault_set(f, -ENOEXEC, MSG_LAUNCH_NO_BOOT_CODE, "machine", l->spec.machine, NULL);
	return 0;
}

int launch_look_at_disks(struct launch *l, struct fault *f)
{
	struct look k = { .launch = l };
	struct bootdisk_source s = { .size_bytes = look_size, .sector_bytes = look_sector, .read = look_read,
				     .context = &k };
	struct bootdisk b;
	int err = store_reader_open(l->spec.store, &store_sys_default, l->spec.epoch, &k.reader);

	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_POINT, "machine", l->spec.machine, "reason", strerror(-err),
				 NULL);
	note_disks(l, k.reader);
	record_point(l->record, store_reader_point(k.reader));
	wallclock_format(store_reader_point(k.reader)->time_us, l->point_time);
	s.count = l->disk_count;
	for (unsigned int i = 0; i < l->disk_count && l->spec.hardware.boot_disk_known; i++)
		if (l->target_disks[i].disk == l->spec.hardware.boot_disk)
			s.likely = i;
	l->point = k.reader;
	err = bootdisk_find(&s, l->spec.firmware ?: l->spec.source_firmware, &b);
	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_POINT, "machine", l->spec.machine, "reason", strerror(-err),
				 NULL);
	err = check_firmware(l, &b, f);
	if (err)
		return err;
	l->boot_disk = b.disk;
	l->esp_offset = b.esp_offset;
	l->esp_bytes = b.esp_bytes;
	l->firmware = l->spec.firmware ?: b.firmware;
	record_boot(l->record, bootdisk_firmware_name(l->firmware), b.disk, b.gpt);
	return 0;
}

/* Of another boot: its disks say by these names where the rest of them is. */
int launch_find_point_again(struct launch *l, struct fault *f)
{
	int err = store_reader_open(l->spec.store, &store_sys_default, l->spec.epoch, &l->point);

	if (err)
		return fault_set(f, err, MSG_LAUNCH_NO_POINT, "machine", l->spec.machine, "reason", strerror(-err),
				 NULL);
	for (unsigned int i = 0; i < l->disk_count; i++)
		name_socket(l, i);
	return 0;
}
