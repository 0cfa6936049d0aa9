/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings - the server's state folder and what server.json says in it.
 *
 *	server.json	{"id", "console", "address", "port"}: made by enrolment
 *	server.key, server.crt, ca.crt
 *	server.log.0, server.pid, desired.json
 *	store/<machine uuid>/
 *	exports/
 */
#ifndef GODWIT_SETTINGS_H
#define GODWIT_SETTINGS_H

#include "base.h"
#include "uuid.h"

#define SETTINGS_PATH_MAX 4096

struct settings {
	char state[SETTINGS_PATH_MAX]; /* absolute */
	struct uuid id;
	char console[512]; /* URL; empty: no console */
	char address[256]; /* where agents reach this server; empty: as they reach the console */
	uint16_t port;
};

/* @name in the state folder.  Returns @ret_path, which has SETTINGS_PATH_MAX. */
char *settings_path(const struct settings *s, const char *name, char *ret_path);

/* Make the state folder's path absolute and its folders. */
_must_check_ int settings_open(const char *state, struct settings *ret);

/* -ENOENT: not enrolled; -EINVAL: not a server.json. */
_must_check_ int settings_load(struct settings *s);
_must_check_ int settings_save(const struct settings *s);

#endif
