/* SPDX-License-Identifier: Apache-2.0 */
#include "console.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

void console_log(enum log_level level, const char *fmt, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	char line[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&lock);
	log_write(level, "%s", line);
	pthread_mutex_unlock(&lock);
}

int console_catalogue_failed(struct console *c, const char *doing, int err)
{
	console_log(LOG_ERROR, "%s: the catalogue failed: %s (%s)", doing, strerror(-err),
		    c->catalogue ? catalogue_error(c->catalogue) : "");
	return err;
}
