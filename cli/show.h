/* SPDX-License-Identifier: Apache-2.0 */
/* show - figures as people read them, columns, and the width of a terminal. */
#ifndef GODWIT_SHOW_H
#define GODWIT_SHOW_H

#include "cli.h"

#define SHOW_TEXT_MAX 64

/* Units of time in Japanese from now on. */
void show_in_japanese(void);

/* "512 B", "1.5 GiB".  @ret_text has SHOW_TEXT_MAX bytes; returned, as below. */
char *show_bytes(uint64_t bytes, char *ret_text);
char *show_duration(double seconds, char *ret_text);		  /* "0.6 s", "4 min", "2 h 10 min" */
char *show_rate(double bytes_per_second, char *ret_text);	  /* "310 MiB/s" */
char *show_clock(const char *rfc3339, char *ret_text);		  /* local: "09:41:07.12", with the day if not today */
int show_age(const char *rfc3339, double *ret_seconds);		  /* now minus then; -EINVAL */
unsigned int show_percent(uint64_t done, uint64_t total);	  /* rounded down; 100 only when all is done */

/* Columns that the text takes on a terminal (a Japanese character takes two). */
size_t show_width(const char *text);
size_t show_terminal_columns(int fd); /* 80 when it is not a terminal */

/* Print @text and blanks up to @columns; cut where it is wider. */
void show_padded(const char *text, size_t columns);

/* --- tables: all cells first, then columns as wide as they need to be --------- */

struct table;
struct table *table_new(size_t columns); /* dies when there is no memory */
void table_add(struct table *t, const char *cell);
void table_addf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_right(struct table *t, size_t column); /* align this one right */
void table_print(struct table *t, const char *indent);
void table_free(struct table *t);

#endif
