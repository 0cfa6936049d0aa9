/* SPDX-License-Identifier: Apache-2.0 */
/* tool - a short program run to its end, without rights and with one folder to write to. */
#ifndef GODWIT_TOOL_H
#define GODWIT_TOOL_H

#include "base.h"
#include "confine.h"
#include "message.h"
#include <sys/types.h>

bool tool_is_there(const char *program); /* in PATH */

/* All of them, up to a NULL; -ENOENT with the fault. */
_must_check_ int tool_need(const char *const programs[], struct fault *ret_fault);

/* What reads what strangers wrote: this process has no rights from now on, and may open nothing
 * but programs and their configuration, a few devices, and of @more (up to a NULL path, at
 * most TOOL_PATHS_MAX) what is there. */
#define TOOL_PATHS_MAX 8u
_must_check_ int tool_confine(const struct confine_path *more);

/* What it says goes to @said: all of it on success, its first line on failure.  0; -EIO: it
 * failed; -ETIMEDOUT: it had not ended after TOOL_SECONDS, and was killed; -errno: it could not be started. */
#define TOOL_SECONDS 120u
_must_check_ int tool_run(const char *const argv[], const char *folder, char *said, size_t size);

_must_check_ int tool_run_for(const char *const argv[], const char *folder, unsigned int seconds, char *said, size_t size);

/* The same, not waited for: what it says comes from *@ret_fd (non-blocking).  @reads, which may be NULL, is one
 * more folder to read from. */
_must_check_ int tool_start(const char *const argv[], const char *folder, const char *reads, pid_t *ret_pid, int *ret_fd);

#endif
