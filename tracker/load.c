// SPDX-License-Identifier: Apache-2.0
/*
 * The BPF programs into the kernel.  Which of them it can run is found out by
 * trying, best first; GODWIT_BPF_VERBOSE=1 in the environment shows on standard
 * error what libbpf and the verifier say to each.
 */
#include "tracker-private.h"
#include "tracker.skel.h"
#include "tracker_plain.skel.h"
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

static const struct program_class {
	const void *(*elf)(size_t *ret_bytes);
	bool payload; /* else marks only */
} classes[] = {
#ifdef __x86_64__
	{ tracker_bpf__elf_bytes, true },	/* bpf_loop() and atomics: 5.17 */
	{ tracker_plain_bpf__elf_bytes, true }, /* atomics: 5.12 */
#endif
	{ tracker_plain_bpf__elf_bytes, false },
};

static const char *const payload_programs[] = PROGRAMS_PAYLOAD;
static const char *const mark_programs[] = PROGRAMS_MARK;
static const char *const pinned_programs[] = { PIN_PROVE_ISSUE, PIN_PROVE_COMPLETION };
static const char *const pinned_with_payload[] = PIN_PAYLOAD;

static int print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	if (level == LIBBPF_DEBUG || !getenv("GODWIT_BPF_VERBOSE"))
		return 0;
	return vfprintf(stderr, fmt, args);
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

static int program_fd(const struct bpf_object *o, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(o, name));
}

static void choose(struct bpf_object *o, const char *const *names, size_t count, bool load)
{
	for (size_t i = 0; i < count; i++)
		bpf_program__set_autoload(bpf_object__find_program_by_name(o, names[i]), load);
}

static void choose_programs(struct bpf_object *o, bool payload)
{
	choose(o, payload_programs, ARRAY_LEN(payload_programs), payload);
	choose(o, pinned_with_payload, ARRAY_LEN(pinned_with_payload), payload);
	choose(o, mark_programs, ARRAY_LEN(mark_programs), !payload);
}

static int load_class(const struct tracker *t, const struct program_class *class, struct bpf_object **ret)
{
	size_t bytes;
	const void *elf = class->elf(&bytes);
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "tracker_bpf");
	struct bpf_object *o = bpf_object__open_mem(elf, bytes, &options);
	uint8_t has_queue = issue_has_queue(); /* the one constant of the programs */
	int err;

	if (!o)
		return -errno;
	choose_programs(o, class->payload);
	err = bpf_map__set_initial_value(bpf_object__find_map_by_name(o, ".rodata"), &has_queue, sizeof(has_queue));
	if (!err)
		err = bpf_map__set_max_entries(bpf_object__find_map_by_name(o, PIN_RING),
					       (uint32_t)t->options.ring_bytes); /* <= TRACKER_RING_MOST */
	if (!err)
		err = bpf_object__load(o);
	if (err) {
		bpf_object__close(o);
		return err;
	}
	*ret = o;
	return 0;
}

static void configure(const struct tracker *t, const struct bpf_object *o, bool payload)
{
	struct shared_config c = { .layout = SHARED_LAYOUT, .payload_programs = payload, .spares = !payload,
				   .gate.reason[SHARED_PAYLOAD_OFF] = 1 };
	uint32_t zero = 0;

	while (2ULL << c.wake_shift <= t->options.ring_bytes / 8)
		c.wake_shift++;
	c.ring_bytes = t->options.ring_bytes;
	(void)bpf_map_update_elem(bpf_object__find_map_fd_by_name(o, PIN_CONFIG), &zero, &c, BPF_ANY);
}

static int pin_programs(const struct tracker *t, const struct bpf_object *o, const char *const *names, size_t count)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < count; i++)
		if (bpf_obj_pin(program_fd(o, names[i]), pin_path(t, names[i], path)))
			return -errno;
	return 0;
}

static int pin_objects(const struct tracker *t, const struct bpf_object *o, bool payload)
{
	static const char *const maps[] = { PIN_CONFIG, PIN_COUNTERS, PIN_CPUS, PIN_OVERLAP,
					    PIN_RING,	PIN_LIVE,     PIN_PROOF };
	char path[PATH_MAX];
	int err;

	for (size_t i = 0; i < ARRAY_LEN(maps); i++)
		if (bpf_obj_pin(bpf_object__find_map_fd_by_name(o, maps[i]), pin_path(t, maps[i], path)))
			return -errno;
	err = pin_programs(t, o, pinned_programs, ARRAY_LEN(pinned_programs));
	if (!err && payload)
		err = pin_programs(t, o, pinned_with_payload, ARRAY_LEN(pinned_with_payload));
	return err;
}

char *link_path(const struct tracker *t, const char *program, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/link_%s", t->pin_dir, program);
	return buf;
}

int load_attach(const struct tracker *t, int program_fd, const char *program)
{
	int fd = bpf_raw_tracepoint_open(NULL, program_fd), err = 0;
	char path[PATH_MAX];

	if (fd < 0)
		return -errno;
	if (bpf_obj_pin(fd, link_path(t, program, path)))
		err = -errno;
	close(fd);
	return err;
}

static int attach_class(const struct tracker *t, const struct bpf_object *o, bool payload)
{
	const char *const *names = payload ? payload_programs : mark_programs;
	size_t count = payload ? ARRAY_LEN(payload_programs) : ARRAY_LEN(mark_programs);
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = load_attach(t, program_fd(o, names[i]), names[i]);
	return err;
}

static int load_fault(struct fault *f, int err)
{
	struct utsname u;

	uname(&u);
	return fault_set(f, -EOPNOTSUPP, MSG_KERNEL_TOO_OLD, "kernel", u.release, "reason", strerror(-err), NULL);
}

int load_pinned(const struct tracker *t, struct fault *ret_fault)
{
	libbpf_print_fn_t before = libbpf_set_print(print);
	struct bpf_object *o = NULL;
	bool payload = false;
	int err = -EOPNOTSUPP;

	for (size_t i = 0; i < ARRAY_LEN(classes) && err && err != -ENOMEM; i++) {
		payload = classes[i].payload;
		err = load_class(t, &classes[i], &o);
	}
	libbpf_set_print(before);
	if (err)
		return load_fault(ret_fault, err);
	configure(t, o, payload);
	err = pin_objects(t, o, payload);
	if (!err)
		err = attach_class(t, o, payload);
	bpf_object__close(o);
	if (err)
		return fault_set(ret_fault, err, MSG_CAPTURE_UNAVAILABLE, "folder", t->pin_dir, "reason", strerror(-err),
				 NULL);
	return 0;
}
