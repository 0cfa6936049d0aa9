/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qmp - the line to a running qemu (QEMU Machine Protocol: one JSON object a line).
 *
 * Commands are answered in their order; events come in between.  Nothing waits:
 * the owner polls qmp_fd() and calls qmp_read().
 */
#ifndef GODWIT_QMP_H
#define GODWIT_QMP_H

#include "base.h"
#include <jansson.h>

struct qmp;

struct qmp_ops {
	void (*event)(void *context, const char *name, const json_t *data);
	void (*closed)(void *context); /* qemu is gone, or talks nonsense; free the qmp later, not here */
};

/* To the socket at @path.  -ENOENT, -ECONNREFUSED: qemu does not listen yet. */
_must_check_ int qmp_connect(const char *path, const struct qmp_ops *ops, void *context, struct qmp **ret);
void qmp_free(struct qmp *q);
int qmp_fd(const struct qmp *q);
void qmp_read(struct qmp *q);

/*
 * Queue a command; @arguments (may be NULL) is stolen.  @done is called once, with what it
 * returned or with qemu's words about why not; also when the line closes first.
 */
void qmp_command(struct qmp *q, const char *name, json_t *arguments,
		 void (*done)(void *context, const json_t *result, const char *error), void *context);

#endif
