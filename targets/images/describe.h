/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe - a machine that is written for elsewhere, in words: a libvirt domain file, a
 * shell script that starts it with plain qemu, and a text for people.
 */
#ifndef GODWIT_DESCRIBE_H
#define GODWIT_DESCRIBE_H

#include "target.h"

/* Into @folder; its files are to be used in m->to.  0 or -errno. */
_must_check_ int describe_machine(const struct target_machine *m, const char *folder);

/* What libvirt calls the machine, which may run beside its original: web-6f6ff1e0. */
const char *describe_name(const struct target_machine *m, char *ret, size_t size);

bool describe_has_domain(const struct target_machine *m); /* libvirt knows the images' format */

#endif
