/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console - what every handler of the API needs.
 *
 *	main ---> httpd ---> router ---> handlers (one file a resource)
 *	                                   |    |
 *	                             catalogue  live
 *	                              (SQLite)  (memory)
 *
 * One thread a connection; the main thread keeps time (ticks) and waits for
 * signals.  The members below do not change while connections are served.
 */
#ifndef GODWIT_CONSOLE_H
#define GODWIT_CONSOLE_H

#include "attempts.h"
#include "base.h"
#include "catalogue.h"
#include "live.h"
#include "log.h"
#include "pki.h"
#include "uuid.h"

#define CONSOLE_VERSION "0.1.0"
#define ID_SIZE (UUID_TEXT_LEN + 1)

struct console {
	char *data;	   /* the instance's folder */
	char *ca_key_path, *ca_path;
	char *ca_pem;
	uint8_t ca_pin[16];
	struct catalogue *catalogue;
	struct live *live;
	struct attempts *attempts;
	char project_id[ID_SIZE]; /* the one that everything belongs to for now */
	uint64_t started_us;
};

/* log.h's functions are for one thread. */
void console_log(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Also says it when the catalogue failed; returns @err. */
int console_catalogue_failed(struct console *c, const char *doing, int err);

#endif
