// SPDX-License-Identifier: Apache-2.0
/*
 * spare - more completion programs, where completions nest.
 *
 * The kernel does not run a program that is running already on the CPU (since 6.2, and in
 * some before): a completion in an interrupt that hit the program is kept from it, and
 * counted as a miss.  T6 has it found by audit and marked, which costs a read and holds
 * the next point up for it.  Two more programs, called for each completion and mostly with
 * nothing to do, carry it instead; but calling them costs each write a few percent of what a
 * disk as fast as memory takes for it.
 *
 * Most machines complete all requests at one level (a hard interrupt, a soft one), and
 * there nothing nests.  So the spare ones are attached when misses are common, and stay.
 * The kernel's count is of all disks, also those not tracked: they run the program, too.
 */
#include "tracker-private.h"
#include "wallclock.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#define COMMON_MISSES 8 /* in a second; fewer are cheaper marked */
#define WINDOW_US     1000000

bool spare_is_wanted(struct nesting *n, uint64_t misses, uint64_t now_us)
{
	uint64_t passed_us = now_us - n->at_us;
	bool wanted = n->at_us && passed_us < 2 * WINDOW_US && misses - n->misses > COMMON_MISSES;

	if (!n->at_us || passed_us >= WINDOW_US)
		*n = (struct nesting){ .at_us = now_us, .misses = misses };
	return wanted;
}

void spare_look(struct tracker *t)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);

	if (t->config->spares || bpf_obj_get_info_by_fd(t->first_fd, &info, &bytes))
		return;
	if (spare_is_wanted(&t->nesting, info.recursion_misses, boottime_now_us()) && tracker_attach_spares(t))
		t->nesting.at_us = 0; /* later again; until then what is missed is marked */
}

int tracker_attach_spares(struct tracker *t)
{
	static const char *const payload[] = PROGRAMS_PAYLOAD, *const spare[] = PROGRAMS_SPARE;
	char path[PATH_MAX];
	int err = 0;

	if (!t->config->payload_programs)
		return 0;
	/* First the word, then the link: whoever runs a spare program had the first one leave its token. */
	__atomic_store_n(&t->config->spares, 1, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < ARRAY_LEN(spare) && !err; i++) {
		int *link_fd = &t->link_fds[ARRAY_LEN(payload) + i];
		int program_fd = *link_fd < 0 ? bpf_obj_get(pin_path(t, spare[i], path)) : -1;

		if (*link_fd >= 0)
			continue;
		err = program_fd < 0 ? -errno : load_attach(t, program_fd, spare[i]);
		if (program_fd >= 0)
			close(program_fd);
		if (!err)
			*link_fd = bpf_obj_get(link_path(t, spare[i], path));
	}
	if (err)
		__atomic_store_n(&t->config->spares, 0, __ATOMIC_SEQ_CST);
	return err;
}
