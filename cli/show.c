/* SPDX-License-Identifier: Apache-2.0 */
#include "show.h"
#include "wallclock.h"
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

char *show_bytes(uint64_t bytes, char *ret_text)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	/* 1023.96 KiB is not to become "1024.0 KiB". */
	if (value >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(ret_text, SHOW_TEXT_MAX, unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return ret_text;
}

char *show_rate(double bytes_per_second, char *ret_text)
{
	char text[SHOW_TEXT_MAX];

	show_bytes(bytes_per_second > 0 ? (uint64_t)bytes_per_second : 0, text);
	snprintf(ret_text, SHOW_TEXT_MAX, "%.40s/s", text);
	return ret_text;
}

static bool japanese;

void show_in_japanese(void)
{
	japanese = true;
}

static void two_units(char *text, unsigned long long n, const char *unit, unsigned long long rest,
		      const char *rest_unit)
{
	if (rest)
		snprintf(text, SHOW_TEXT_MAX, "%llu %s %llu %s", n, unit, rest, rest_unit);
	else
		snprintf(text, SHOW_TEXT_MAX, "%llu %s", n, unit);
}

char *show_duration(double seconds, char *ret_text)
{
	unsigned long long s;

	if (seconds < 0)
		seconds = 0;
	s = (unsigned long long)(seconds + 0.5);
	if (seconds < 9.95)
		snprintf(ret_text, SHOW_TEXT_MAX, japanese ? "%.1f 秒" : "%.1f s", seconds);
	else if (s < 120)
		snprintf(ret_text, SHOW_TEXT_MAX, japanese ? "%llu 秒" : "%llu s", s);
	else if (s < 3600)
		snprintf(ret_text, SHOW_TEXT_MAX, japanese ? "%llu 分" : "%llu min", (s + 30) / 60);
	else if (s < 2 * 86400)
		two_units(ret_text, s / 3600, japanese ? "時間" : "h", s % 3600 / 60, japanese ? "分" : "min");
	else
		two_units(ret_text, s / 86400, japanese ? "日" : "days", s % 86400 / 3600, japanese ? "時間" : "h");
	return ret_text;
}

char *show_clock(const char *rfc3339, char *ret_text)
{
	struct tm then, today;
	uint64_t us;
	time_t s, now = time(NULL);
	char day[32] = "";

	if (wallclock_parse(rfc3339, &us) < 0) {
		snprintf(ret_text, SHOW_TEXT_MAX, "%.40s", rfc3339);
		return ret_text;
	}
	s = (time_t)(us / USEC_PER_SEC);
	localtime_r(&s, &then);
	localtime_r(&now, &today);
	if (then.tm_yday != today.tm_yday || then.tm_year != today.tm_year)
		strftime(day, sizeof(day), "%Y-%m-%d ", &then);
	snprintf(ret_text, SHOW_TEXT_MAX, "%s%02d:%02d:%02d.%02u", day, then.tm_hour, then.tm_min, then.tm_sec,
		 (unsigned int)(us % USEC_PER_SEC / 10000));
	return ret_text;
}

int show_age(const char *rfc3339, double *ret_seconds)
{
	uint64_t us;

	if (!rfc3339 || wallclock_parse(rfc3339, &us) < 0)
		return -EINVAL;
	*ret_seconds = ((double)wallclock_now_us() - (double)us) / (double)USEC_PER_SEC;
	return 0;
}

unsigned int show_percent(uint64_t done, uint64_t total)
{
	if (total == 0)
		return 0;
	return done >= total ? 100 : (unsigned int)((double)done * 100 / (double)total);
}

/* Columns of the character at @text, and its bytes in *@ret_bytes. */
static size_t character_width(const char *text, size_t *ret_bytes)
{
	mbstate_t state = { 0 };
	wchar_t wide;
	size_t n = mbrtowc(&wide, text, MB_CUR_MAX, &state);
	int columns;

	if (n == 0 || n == (size_t)-1 || n == (size_t)-2) {
		*ret_bytes = 1;
		return 1;
	}
	*ret_bytes = n;
	columns = wcwidth(wide);
	return columns < 0 ? 0 : (size_t)columns;
}

size_t show_width(const char *text)
{
	size_t columns = 0, bytes;

	for (; *text; text += bytes)
		columns += character_width(text, &bytes);
	return columns;
}

size_t show_terminal_columns(int fd)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
		return size.ws_col;
	return 80;
}

void show_padded(const char *text, size_t columns)
{
	size_t used = 0, bytes;

	for (; *text; text += bytes) {
		size_t width = character_width(text, &bytes);

		if (used + width > columns)
			break;
		fwrite(text, 1, bytes, stdout);
		used += width;
	}
	for (; used < columns; used++)
		putchar(' ');
}

/* --- tables ------------------------------------------------------------------- */

struct table {
	size_t columns, used, room;
	uint64_t right; /* bit per column */
	char **cells;
};

static void *must(void *p)
{
	if (!p) {
		fputs("godwit: out of memory\n", stderr);
		exit(CLI_FAILED);
	}
	return p;
}

struct table *table_new(size_t columns)
{
	struct table *t = must(calloc(1, sizeof(*t)));

	assert(columns > 0 && columns < 64);
	t->columns = columns;
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->used; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

void table_add(struct table *t, const char *cell)
{
	if (t->used == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->cells = must(realloc(t->cells, t->room * sizeof(*t->cells)));
	}
	t->cells[t->used++] = must(strdup(cell ? cell : ""));
}

void table_addf(struct table *t, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_add(t, text);
}

void table_right(struct table *t, size_t column)
{
	assert(column < t->columns);
	t->right |= 1ULL << column;
}

static size_t column_width(const struct table *t, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < t->used; i += t->columns)
		widest = MAX(widest, show_width(t->cells[i]));
	return widest;
}

void table_print(struct table *t, const char *indent)
{
	size_t widths[64] = { 0 };

	assert(t->used % t->columns == 0);
	for (size_t i = 0; i < t->columns; i++)
		widths[i] = column_width(t, i);
	for (size_t i = 0; i < t->used; i++) {
		size_t column = i % t->columns;
		bool last = column + 1 == t->columns, right = t->right >> column & 1;
		const char *cell = t->cells[i];

		if (column == 0)
			fputs(indent, stdout);
		if (right) {
			show_padded("", widths[column] - show_width(cell));
			fputs(cell, stdout);
		} else if (last) {
			fputs(cell, stdout);
		} else {
			show_padded(cell, widths[column]);
		}
		fputs(last ? "\n" : "  ", stdout);
	}
}
