/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log - one line per fact, to standard error and, when asked, to a rotated file.
 *
 *	2026-11-22T09:41:07.123456Z info  agent: connected to 10.0.0.5:1500
 *
 * Libraries never log: they return errors.  The program that decides what
 * happens next logs it, once.  Not thread-safe by lock: every line is one
 * write(2), which O_APPEND makes whole.
 */
#ifndef GODWIT_LOG_H
#define GODWIT_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* @program is the word before the colon; the pointer is kept. */
void log_init(const char *program, enum log_level least);

/*
 * Also append to @path, renaming it when it has grown to @max_bytes:
 * "agent.log.0" is the newest, then agent.log.1 ... up to @keep files.
 * @path must end in ".0".  0 or -errno.
 */
int log_to_file(const char *path, unsigned long long max_bytes, unsigned int keep);

/* Stop writing to standard error (a daemon whose lines go to a file). */
void log_quiet_stderr(void);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
