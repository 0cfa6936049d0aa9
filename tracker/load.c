// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF object into the kernel.  Two classes of programs are in it: those
 * that carry payload, for kernels that have what they need, and one that only
 * marks.  Which the kernel can run is found out by trying.
 */
#include "tracker-private.h"
#include "tracker.skel.h"
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level, (void)fmt, (void)args;
	return 0;
}

/* Until 5.10 block_rq_issue had the queue before the request. */
static bool issue_has_queue(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *type;
	bool has = false;
	int id;

	if (!btf)
		return false;
	id = btf__find_by_name_kind(btf, "btf_trace_block_rq_issue", BTF_KIND_TYPEDEF);
	if (id > 0) {
		type = btf__type_by_id(btf, btf__type_by_id(btf, (uint32_t)id)->type); /* a pointer ... */
		type = type ? btf__type_by_id(btf, type->type) : NULL;		       /* ... to a function */
		has = type && btf_is_func_proto(type) && btf_vlen(type) == 3;
	}
	btf__free(btf);
	return has;
}

static void choose_programs(struct tracker_bpf *s, bool payload)
{
	bpf_program__set_autoload(s->progs.first, payload);
	bpf_program__set_autoload(s->progs.second, payload);
	bpf_program__set_autoload(s->progs.third, payload);
	bpf_program__set_autoload(s->progs.issue, payload);
	bpf_program__set_autoload(s->progs.mark, !payload);
}

static int load_class(const struct tracker *t, bool payload, struct tracker_bpf **ret)
{
	struct tracker_bpf *s = tracker_bpf__open();
	int err;

	if (!s)
		return -errno;
	choose_programs(s, payload);
	s->rodata->issue_has_queue = issue_has_queue();
	err = bpf_map__set_max_entries(s->maps.ring, (uint32_t)t->options.ring_bytes);
	if (!err)
		err = tracker_bpf__load(s);
	if (err) {
		tracker_bpf__destroy(s);
		return err;
	}
	*ret = s;
	return 0;
}

static void configure(const struct tracker *t, struct tracker_bpf *s, bool payload)
{
	struct shared_config c = { .layout = SHARED_LAYOUT, .payload_programs = payload };
	uint32_t zero = 0;

	while (2ULL << c.wake_shift <= t->options.ring_bytes / 8)
		c.wake_shift++;
	c.ring_bytes = t->options.ring_bytes;
	(void)bpf_map__update_elem(s->maps.config, &zero, sizeof(zero), &c, sizeof(c), BPF_ANY);
}

static int pin_maps(const struct tracker *t, struct tracker_bpf *s)
{
	const struct {
		const struct bpf_map *map;
		const char *name;
	} pins[] = {
		{ s->maps.config, PIN_CONFIG },	  { s->maps.counters, PIN_COUNTERS }, { s->maps.cpus, PIN_CPUS },
		{ s->maps.overlap, PIN_OVERLAP }, { s->maps.ring, PIN_RING },	      { s->maps.live, PIN_LIVE },
		{ s->maps.proof, PIN_PROOF },
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(pins); i++)
		if (bpf_obj_pin(bpf_map__fd(pins[i].map), pin_path(t, pins[i].name, path)))
			return -errno;
	if (bpf_obj_pin(bpf_program__fd(s->progs.prove_issue), pin_path(t, PIN_PROVE_ISSUE, path)) ||
	    bpf_obj_pin(bpf_program__fd(s->progs.prove_completion), pin_path(t, PIN_PROVE_COMPLETION, path)))
		return -errno;
	return 0;
}

/* Attach and pin: it runs on when this process is gone. */
static int attach(const struct tracker *t, const struct bpf_program *program, const char *name)
{
	int fd = bpf_raw_tracepoint_open(NULL, bpf_program__fd(program)), err = 0;
	char path[PATH_MAX];

	if (fd < 0)
		return -errno;
	if (bpf_obj_pin(fd, pin_path(t, name, path)))
		err = -errno;
	close(fd);
	return err;
}

static int attach_class(const struct tracker *t, struct tracker_bpf *s, bool payload)
{
	static const char *const names[] = PIN_LINKS;
	const struct bpf_program *programs[] = { s->progs.first, s->progs.second, s->progs.third, s->progs.issue };

	_Static_assert(ARRAY_LEN(names) == ARRAY_LEN(programs), "a name for each");
	if (!payload)
		return attach(t, s->progs.mark, PIN_LINK_MARK);
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		int err = attach(t, programs[i], names[i]);

		if (err)
			return err;
	}
	return 0;
}

static int load_fault(struct fault *f, int err)
{
	struct utsname u;

	uname(&u);
	return fault_set(f, -EOPNOTSUPP, MSG_KERNEL_TOO_OLD, "kernel", u.release, "reason", strerror(-err), NULL);
}

int load_pinned(const struct tracker *t, struct fault *ret_fault)
{
	libbpf_print_fn_t before = libbpf_set_print(quiet);
	struct tracker_bpf *s = NULL;
	bool payload = false;
	int err = -EOPNOTSUPP;

#ifdef __x86_64__
	err = load_class(t, true, &s);
	payload = !err;
#endif
	if (err && err != -ENOMEM)
		err = load_class(t, false, &s);
	libbpf_set_print(before);
	if (err)
		return load_fault(ret_fault, err);
	configure(t, s, payload);
	err = pin_maps(t, s);
	if (!err)
		err = attach_class(t, s, payload);
	tracker_bpf__destroy(s);
	if (err)
		return fault_set(ret_fault, err, MSG_CAPTURE_UNAVAILABLE, "folder", t->pin_dir, "reason", strerror(-err),
				 NULL);
	return 0;
}
