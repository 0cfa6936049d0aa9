/* SPDX-License-Identifier: Apache-2.0 */
/* nbdkit - one nbdkit process serving one disk of one point on a socket made here. */
#ifndef GODWIT_NBDKIT_H
#define GODWIT_NBDKIT_H

#include "base.h"
#include <sys/types.h>

struct nbdkit_options {
	const char *store_dir, *exports_dir;
	uint64_t epoch;
	unsigned int disk;
	bool writable;
	int listen_fd;
};

struct nbdkit_process {
	pid_t pid;
	int ready_fd;  /* its pid in text when it is ready; non-blocking */
	int stderr_fd; /* non-blocking */
};

_must_check_ int nbdkit_spawn(const struct nbdkit_options *o, struct nbdkit_process *ret);

/* A listening socket at @path, for root only.  -ENAMETOOLONG. */
_must_check_ int nbdkit_listen_unix(const char *path, int *ret_fd);

/* A listening socket at a numeric address, on a port of the kernel's choice. */
_must_check_ int nbdkit_listen_tcp(const char *address, int *ret_fd, uint16_t *ret_port);

#endif
