// SPDX-License-Identifier: Apache-2.0
/* What the programs have counted, and what of it makes a disk suspect (T5). */
#include "tracker-private.h"
#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

int counters_sum(const struct tracker *t, uint16_t disk, struct shared_counters *ret)
{
	int cpus = libbpf_num_possible_cpus();
	struct shared_counters *per_cpu, sum = { 0 };
	uint32_t key = disk;

	if (cpus < 0)
		return cpus;
	per_cpu = calloc((size_t)cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	if (bpf_map_lookup_elem(t->counters_fd, &key, per_cpu)) {
		int err = -errno;

		free(per_cpu);
		return err;
	}
	for (int i = 0; i < cpus; i++) {
		sum.requests += per_cpu[i].requests;
		sum.bytes += per_cpu[i].bytes;
		sum.lost_full += per_cpu[i].lost_full;
		sum.lost_unreadable += per_cpu[i].lost_unreadable;
		sum.lost_overlap += per_cpu[i].lost_overlap;
		sum.lost_other += per_cpu[i].lost_other;
		sum.discarded += per_cpu[i].discarded;
		sum.passthrough += per_cpu[i].passthrough;
		sum.marks += per_cpu[i].marks;
		sum.blind += per_cpu[i].blind;
		sum.unseen += per_cpu[i].unseen;
	}
	free(per_cpu);
	*ret = sum;
	return 0;
}

static uint64_t nested_runs(const struct tracker *t)
{
	int cpus = libbpf_num_possible_cpus();
	struct shared_cpu *per_cpu;
	uint32_t zero = 0;
	uint64_t sum = 0;

	per_cpu = cpus > 0 ? calloc((size_t)cpus, sizeof(*per_cpu)) : NULL;
	if (per_cpu && bpf_map_lookup_elem(t->cpus_fd, &zero, per_cpu) == 0)
		for (int i = 0; i < cpus; i++)
			sum += per_cpu[i].spare_runs;
	free(per_cpu);
	return sum;
}

int tracker_counters(struct tracker *t, uint16_t disk, struct tracker_counters *ret)
{
	struct shared_counters s;
	int err;

	if (disk >= DISKS_MAX)
		return -ENOENT;
	err = counters_sum(t, disk, &s);
	if (err)
		return err;
	*ret = (struct tracker_counters){
		.requests = s.requests,
		.bytes = s.bytes,
		.lost_ring_full_bytes = s.lost_full,
		.lost_unreadable_bytes = s.lost_unreadable,
		.lost_overlap_bytes = s.lost_overlap,
		.lost_other_bytes = s.lost_other,
		.discarded_bytes = s.discarded,
		.passthrough_commands = s.passthrough,
		.unseen_bytes = s.unseen,
		.marks = s.marks,
		.nested_runs = nested_runs(t),
	};
	return 0;
}

int audit(struct tracker *t)
{
	uint64_t from = 0;

	if (t->audit_fd < 0)
		return 0;
	do {
		LIBBPF_OPTS(bpf_test_run_opts, o, .ctx_in = &from, .ctx_size_in = sizeof(from));

		if (bpf_prog_test_run_opts(t->audit_fd, &o))
			return -errno;
		assert(o.retval > from && o.retval <= SHARED_FLIGHT_BUCKETS);
		from = o.retval;
	} while (from < SHARED_FLIGHT_BUCKETS);
	spare_look(t);
	return 0;
}

int tracker_suspect(struct tracker *t, uint16_t disk, const char **ret_why)
{
	const struct shared_disk *d = &t->config->disks[disk];
	struct shared_counters s;

	assert(disk < DISKS_MAX);
	if (counters_sum(t, disk, &s)) {
		*ret_why = "the counters of capture cannot be read";
		return 1;
	}
	t->disks[disk].passthrough_told = s.passthrough;
	t->disks[disk].blind_told = s.blind;
	if (s.passthrough != d->passthrough_seen) {
		*ret_why = "a command was sent to the disk past the block layer";
		return 1;
	}
	if (s.blind != d->blind_seen) {
		*ret_why = "an operation completed whose range is not known";
		return 1;
	}
	if (d->device && !tracker_is_there(t, disk)) /* the agent is about to find out */
		return -EAGAIN;
	switch (books_look(t, disk)) {
	case BOOKS_DISAGREE:
		*ret_why = "the kernel has written more to the disk than capture saw";
		return 1;
	case BOOKS_DOUBT:
		return -EAGAIN;
	default:
		return 0;
	}
}

void tracker_suspect_clear(struct tracker *t, uint16_t disk)
{
	struct shared_disk *d = &t->config->disks[disk];

	assert(disk < DISKS_MAX);
	d->passthrough_seen = t->disks[disk].passthrough_told;
	d->blind_seen = t->disks[disk].blind_told;
	books_settle(t, disk);
}
