/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest - the line to godwit-launched in a launched machine, which runs commands there.
 *
 * A virtio-serial port, org.godwit.launch.0; lines, commands and output in base64:
 *
 *	the machine: ready			whenever it begins to listen
 *	this end:    run NAME COMMAND		one at a time
 *	the machine: ran NAME STATUS OUTPUT	the end of the output
 *
 * What comes from there is a stranger's: too long a line, or another, is not heard.
 */
#ifndef GODWIT_GUEST_H
#define GODWIT_GUEST_H

#include "base.h"
#include "loop.h"

#define GUEST_PORT "org.godwit.launch.0"
#define GUEST_OUTPUT_MAX 4096u

struct guest;

struct guest_ops {
	void (*ready)(void *context);
	/* @output: printable, lines end with '\n'. */
	void (*ran)(void *context, const char *name, int status, const char *output);
};

/* -errno while there is nothing at @path. */
_must_check_ int guest_connect(struct loop *loop, const char *path, const struct guest_ops *ops, void *context,
			       struct guest **ret);
void guest_free(struct guest *g);
_must_check_ int guest_run(struct guest *g, const char *name, const char *command);

/* One line, without its end, as the machine sent it: whether it was understood. */
bool guest_take_line(const struct guest_ops *ops, void *context, const char *line);

#endif
