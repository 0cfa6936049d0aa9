/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instance - the data folder that --data selects (docs/architecture.md), or a
 * console elsewhere: URL, CA and key.
 */
#ifndef GODWIT_INSTANCE_H
#define GODWIT_INSTANCE_H

#include "cli.h"

/* What `godwit up` was told; instance.json. */
struct instance {
	uint64_t port, console_port;
	char listen[64];  /* address to listen on */
	char address[64]; /* where this machine itself reaches it */
};

#define INSTANCE_DEFAULT ((struct instance){ .port = 1500, .console_port = 8443, .listen = "0.0.0.0" })

/* c->data, absolute.  Needs USES_DATA or USES_CONSOLE.  CLI_DONE, or CLI_FAILED having said why. */
_must_check_ int instance_select(struct cli *c);

/* "<data>/<rest>", to be freed.  Dies when there is no memory. */
char *instance_path(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* 0, -ENOENT not an instance (yet), -EBADMSG. */
_must_check_ int instance_load(const struct cli *c, struct instance *ret);
_must_check_ int instance_save(const struct cli *c, const struct instance *i);

/* "https://127.0.0.1:8443", to be freed. */
char *instance_url(const struct instance *i);

/* console_url, ca_path and bearer of @c, from --console ... or from the folder.
 * CLI_DONE, or CLI_FAILED having said why. */
_must_check_ int instance_credentials(struct cli *c);

/* strdup(), asprintf() that die when there is no memory. */
char *text_copy(const char *text);
char *text_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The console that a person means by @url, to be freed; NULL after saying what is wrong with it. */
char *instance_console(const struct cli *c, const char *url);

/* The first word of a small file, to be freed, or NULL with -errno. */
char *instance_read_token(const char *path, int *ret_errno);

#endif
