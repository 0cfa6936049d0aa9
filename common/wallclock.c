/* SPDX-License-Identifier: Apache-2.0 */
#include "wallclock.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

/* 9999-12-31T23:59:59.999999Z: what the text has room for. */
#define LATEST_US (253402300799ULL * USEC_PER_SEC + 999999)

static uint64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t wallclock_now_us(void)
{
	return now_us(CLOCK_REALTIME);
}

uint64_t monotonic_now_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

uint64_t boottime_now_us(void)
{
	return now_us(CLOCK_BOOTTIME);
}

char *wallclock_format(uint64_t time_us, char *ret_text)
{
	uint64_t us = MIN(time_us, LATEST_US);
	time_t sec = (time_t)(us / USEC_PER_SEC);
	char digits[8];
	struct tm tm;

	gmtime_r(&sec, &tm);
	strftime(ret_text, WALLCLOCK_TEXT_LEN + 1, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(digits, sizeof(digits), "%06u", (unsigned int)(us % USEC_PER_SEC));
	ret_text[19] = '.';
	memcpy(ret_text + 20, digits, 6);
	ret_text[26] = 'Z';
	ret_text[27] = '\0';
	return ret_text;
}

/*
 * The parser takes from the left what fits and moves the cursor on, only if it
 * fits.  No field is wider than its digits, so nothing overflows.
 */
static bool take_digits(const char **p, unsigned int count, int *ret)
{
	int v = 0;

	for (unsigned int i = 0; i < count; i++) {
		if (!isdigit((unsigned char)(*p)[i]))
			return false;
		v = v * 10 + ((*p)[i] - '0');
	}
	*p += count;
	*ret = v;
	return true;
}

static bool take_char(const char **p, const char *any_of)
{
	if (**p == '\0' || !strchr(any_of, **p))
		return false;
	(*p)++;
	return true;
}

static bool take_fraction(const char **p, uint64_t *ret_us)
{
	uint64_t us = 0, unit = USEC_PER_SEC / 10;
	unsigned int n;

	for (n = 0; n < 9 && isdigit((unsigned char)**p); n++, (*p)++) {
		us += (uint64_t)(**p - '0') * unit;
		unit /= 10;
	}
	*ret_us = us;
	return n > 0;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static bool take_date(const char **p, struct tm *tm)
{
	int year, month, day;

	if (!take_digits(p, 4, &year) || !take_char(p, "-") || !take_digits(p, 2, &month) || !take_char(p, "-") ||
	    !take_digits(p, 2, &day))
		return false;
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return false;
	tm->tm_year = year - 1900;
	tm->tm_mon = month - 1;
	tm->tm_mday = day;
	return true;
}

/* HH:MM[:SS[.fraction]]; a leap second counts as the one after it. */
static bool take_time(const char **p, struct tm *tm, uint64_t *ret_us, bool *ret_has_seconds)
{
	*ret_us = 0;
	*ret_has_seconds = false;
	tm->tm_sec = 0;
	if (!take_digits(p, 2, &tm->tm_hour) || !take_char(p, ":") || !take_digits(p, 2, &tm->tm_min))
		return false;
	if (take_char(p, ":")) {
		if (!take_digits(p, 2, &tm->tm_sec) || (take_char(p, ".,") && !take_fraction(p, ret_us)))
			return false;
		*ret_has_seconds = true;
	}
	return tm->tm_hour <= 23 && tm->tm_min <= 59 && tm->tm_sec <= 60;
}

static bool take_offset(const char **p, int64_t *ret_seconds)
{
	int sign = **p == '-' ? -1 : 1, hours, minutes;

	if (take_char(p, "Zz")) {
		*ret_seconds = 0;
		return true;
	}
	if (!take_char(p, "+-") || !take_digits(p, 2, &hours) || !take_char(p, ":") || !take_digits(p, 2, &minutes) ||
	    hours > 23 || minutes > 59)
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

static int finish(int64_t seconds, uint64_t us, uint64_t *ret_us)
{
	if (seconds < 0 || (uint64_t)seconds > LATEST_US / USEC_PER_SEC)
		return -EINVAL;
	*ret_us = (uint64_t)seconds * USEC_PER_SEC + us;
	return 0;
}

static int finish_local(struct tm *tm, uint64_t us, uint64_t *ret_us)
{
	tm->tm_isdst = -1;
	return finish(mktime(tm), us, ret_us);
}

static int parse_date_time(const char *p, uint64_t *ret_us)
{
	struct tm tm = { 0 };
	bool has_seconds;
	int64_t offset;
	uint64_t us;

	if (!take_date(&p, &tm))
		return -EINVAL;
	if (*p == '\0') /* its midnight, local time */
		return finish_local(&tm, 0, ret_us);
	if (!take_char(&p, "Tt ") || !take_time(&p, &tm, &us, &has_seconds))
		return -EINVAL;
	if (*p == '\0')
		return finish_local(&tm, us, ret_us);
	if (!has_seconds || !take_offset(&p, &offset) || *p != '\0')
		return -EINVAL;
	return finish(timegm(&tm) - offset, us, ret_us);
}

static int parse_time_today(const char *p, uint64_t *ret_us)
{
	time_t now = (time_t)(wallclock_now_us() / USEC_PER_SEC);
	bool has_seconds;
	struct tm tm;
	uint64_t us;

	localtime_r(&now, &tm);
	if (!take_time(&p, &tm, &us, &has_seconds) || *p != '\0')
		return -EINVAL;
	return finish_local(&tm, us, ret_us);
}

/* The microseconds of "s", "sec", "second", "seconds" and so on; 0: it is no unit. */
static uint64_t unit_us(const char *word, size_t length)
{
	static const struct {
		const char *names; /* separated by blanks */
		uint64_t seconds;
	} units[] = { { "s sec secs second seconds", 1 },
		      { "m min mins minute minutes", 60 },
		      { "h hour hours", 3600 },
		      { "d day days", 86400 } };

	for (size_t i = 0; i < ARRAY_LEN(units) && length; i++) {
		for (const char *name = units[i].names; *name; name += strspn(name, " ")) {
			size_t n = strcspn(name, " ");

			if (n == length && memcmp(name, word, n) == 0)
				return units[i].seconds * USEC_PER_SEC;
			name += n;
		}
	}
	return 0;
}

/* How long ago is "10s ago", "10 seconds ago"? */
static bool take_ago(const char *p, uint64_t most_us, uint64_t *ret_us)
{
	uint64_t n = 0, unit;
	size_t length;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		n = n * 10 + (uint64_t)(*p - '0');
		if (n > most_us)
			return false;
	}
	p += *p == ' ';
	length = strcspn(p, " ");
	unit = unit_us(p, length);
	if (unit == 0 || strcmp(p + length, " ago") != 0 || n > most_us / unit)
		return false;
	*ret_us = n * unit;
	return true;
}

static int parse_ago(const char *p, uint64_t *ret_us)
{
	uint64_t now = wallclock_now_us(), ago;

	if (!take_ago(p, now, &ago))
		return -EINVAL;
	*ret_us = now - ago;
	return 0;
}

bool wallclock_is_now(const char *text)
{
	uint64_t ago;

	return strcmp(text, "now") == 0 || (take_ago(text, UINT64_MAX / 10 - 1, &ago) && ago == 0);
}

int wallclock_parse(const char *text, uint64_t *ret_us)
{
	if (strcmp(text, "now") == 0) {
		*ret_us = wallclock_now_us();
		return 0;
	}
	if (parse_date_time(text, ret_us) == 0 || parse_time_today(text, ret_us) == 0)
		return 0;
	return parse_ago(text, ret_us);
}
