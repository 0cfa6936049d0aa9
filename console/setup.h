/* SPDX-License-Identifier: Apache-2.0 */
/* setup - the console's folder: made at the first start, checked at every other. */
#ifndef GODWIT_CONSOLE_SETUP_H
#define GODWIT_CONSOLE_SETUP_H

#include "console.h"
#include "message.h"

/* DATA/console, made absolute, to be freed. */
_must_check_ int setup_folder(const char *data, char **ret_data, char **ret_dir, struct fault *ret_fault);

/*
 * CA, the console's key and a fresh certificate for @listen (NULL: every
 * address), the catalogue, the first account and project, and admin.token.
 * Fills @c but for live and attempts.
 */
_must_check_ int setup_console(struct console *c, const char *data, const char *dir, const char *listen,
			       char **ret_key_pem, char **ret_chain_pem, struct fault *ret_fault);
void setup_done(struct console *c);

/* Only what a running console has made already: CA and catalogue. */
_must_check_ int setup_open(struct console *c, const char *dir, struct fault *ret_fault);

#endif
