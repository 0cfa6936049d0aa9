/* SPDX-License-Identifier: Apache-2.0 */
/* confine - a process gives up what it does not need before it reads what strangers send. */
#ifndef GODWIT_CONFINE_H
#define GODWIT_CONFINE_H

#include "base.h"

/* Drop every capability but those in @keep (CAP_... numbers, @n of them), for
 * ever, children included; sets no_new_privs. */
_must_check_ int confine_capabilities(const int *keep, size_t n);

/* Drop only this one (CAP_...), for ever, children included; sets no_new_privs.  0, too, if it was not there. */
_must_check_ int confine_drop_capability(int capability);

/* Landlock: from now on only these folders (NULL-terminated; each either read
 * or read-write) can be opened.  0 also on kernels without Landlock: *@ret_active
 * says so. */
struct confine_path {
	const char *path;
	bool writable;
};
_must_check_ int confine_paths(const struct confine_path *paths, bool *ret_active);

#endif
