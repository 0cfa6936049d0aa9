/* SPDX-License-Identifier: Apache-2.0 */
/* daemon - what every long-running program does the same: going to the
 * background, its pid file as a lock, and signals as a file descriptor. */
#ifndef GODWIT_DAEMON_H
#define GODWIT_DAEMON_H

#include "base.h"
#include <sys/types.h>

/*
 * Lock @pid_path for the life of this process and write the pid.  -EBUSY:
 * another holds it (its pid in *@ret_other).  The descriptor stays open
 * (close-on-exec) and is not returned.  The lock is the process's own: call it
 * after daemon_detach(); children do not have it.
 */
_must_check_ int daemon_lock(const char *pid_path, pid_t *ret_other);

/* The pid of the process that holds @pid_path locked, or 0. */
pid_t daemon_running(const char *pid_path);

/*
 * Fork into the background.  The parent waits until the child calls
 * daemon_ready() and exits with its status, so that "started" is true when the
 * command returns.  Call before threads and locks are made.
 */
_must_check_ int daemon_detach(void);
void daemon_ready(int status); /* closes 0-2 in the background; in the foreground systemd is told, if it asked */

/* SIGTERM, SIGINT, SIGHUP, SIGCHLD blocked and readable from the descriptor
 * returned; SIGPIPE ignored.  -errno.  Programs started by execve(2) inherit
 * that: unblock and reset in the child first (posix_spawnattr_setsigmask). */
int daemon_signal_fd(void);

/* As many open files as this process may have at all. */
void daemon_raise_files(void);

/* The kernel's boot id, or that in the file named by GODWIT_BOOT_ID_FILE, by which tests
 * imitate a reboot; zero-padded; "" when there is none. */
void daemon_boot_id(char ret[64]);

/* SIGTERM to the holder of @pid_path, and wait for its end with a deadline:
 * 0, -ESRCH not running, -ETIMEDOUT. */
_must_check_ int daemon_stop(const char *pid_path, unsigned int timeout_ms);

#endif
