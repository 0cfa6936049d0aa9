/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions act on the calling thread: they are called before a program
 * makes others.
 *
 * Landlock has no wrapper in the C library.  Rights that the running kernel
 * does not know yet are left out of the request (uapi linux/landlock.h names
 * the version of each).  Access to devices' ioctls is not restricted: what is
 * open already must go on working.
 */
#include "confine.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13) /* version 2 */
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* version 3 */
#endif

#define FS_ALL_V1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* the highest of version 1 */
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define FS_OF_A_FILE \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE | \
	 LANDLOCK_ACCESS_FS_TRUNCATE)

static bool is_kept(cap_value_t cap, const int *keep, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (keep[i] == cap)
			return true;
	return false;
}

/* @to gets the kept capabilities that this process has. */
static int fill_kept(cap_t from, cap_t to, const int *keep, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cap_value_t cap = keep[i];
		cap_flag_value_t has = CAP_CLEAR;

		if (cap_get_flag(from, cap, CAP_PERMITTED, &has) != 0)
			return -errno;
		if (has == CAP_SET && (cap_set_flag(to, CAP_PERMITTED, 1, &cap, CAP_SET) != 0 ||
				       cap_set_flag(to, CAP_EFFECTIVE, 1, &cap, CAP_SET) != 0))
			return -errno;
	}
	return 0;
}

static int set_kept(const int *keep, size_t n)
{
	cap_t from = cap_get_proc(), to = cap_init();
	int err = from && to ? fill_kept(from, to, keep, n) : -ENOMEM;

	if (err == 0 && cap_set_proc(to) != 0)
		err = -errno;
	cap_free(from);
	cap_free(to);
	return err;
}

int confine_capabilities(const int *keep, size_t n)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	/* Without CAP_SETPCAP the bounding set cannot be changed, and need not
	 * be: no_new_privs limits what a child gets to what we have. */
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (!is_kept(cap, keep, n) && cap_drop_bound(cap) != 0 && errno != EPERM)
			return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return -errno;
	return set_kept(keep, n);
}

int confine_drop_capability(int capability)
{
	cap_value_t cap = capability;
	cap_t caps;
	int err = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || (cap_drop_bound(cap) != 0 && errno != EPERM))
		return -errno;
	caps = cap_get_proc();
	if (!caps)
		return -errno;
	/* Ambient capabilities are inheritable ones, too. */
	if (cap_set_flag(caps, CAP_EFFECTIVE, 1, &cap, CAP_CLEAR) != 0 ||
	    cap_set_flag(caps, CAP_PERMITTED, 1, &cap, CAP_CLEAR) != 0 ||
	    cap_set_flag(caps, CAP_INHERITABLE, 1, &cap, CAP_CLEAR) != 0 || cap_set_proc(caps) != 0)
		err = -errno;
	cap_free(caps);
	return err;
}

static uint64_t rights_of_version(long version)
{
	uint64_t rights = FS_ALL_V1;

	if (version >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	return rights;
}

static int add_path(int ruleset, uint64_t handled, const struct confine_path *p)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = open(p->path, O_PATH | O_CLOEXEC) };
	struct stat st;
	int err = 0;

	if (rule.parent_fd < 0)
		return -errno;
	/* What can be written cannot be executed, and the other way round. */
	rule.allowed_access = p->writable ? handled & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE : FS_READ;
	if (fstat(rule.parent_fd, &st) != 0)
		err = -errno;
	else if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_A_FILE;
	if (err == 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
		err = -errno;
	close(rule.parent_fd);
	return err;
}

int confine_paths(const struct confine_path *paths, bool *ret_active)
{
	struct landlock_ruleset_attr attr = { 0 };
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset, err = 0;

	if (version < 1) { /* ENOSYS: too old; EOPNOTSUPP: switched off at boot */
		*ret_active = false;
		return 0;
	}
	attr.handled_access_fs = rights_of_version(version);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -errno;
	for (; err == 0 && paths->path; paths++)
		err = add_path(ruleset, attr.handled_access_fs, paths);
	if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		err = -errno;
	if (err == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		err = -errno;
	close(ruleset);
	if (err == 0)
		*ret_active = true;
	return err;
}
