/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wallclock - times of day, always microseconds since 1970 in UTC, and the
 * monotonic clock for durations.
 */
#ifndef GODWIT_WALLCLOCK_H
#define GODWIT_WALLCLOCK_H

#include "base.h"

#define USEC_PER_SEC 1000000ULL
#define USEC_PER_MSEC 1000ULL
#define WALLCLOCK_TEXT_LEN 27 /* 2026-11-22T09:41:07.123456Z */

uint64_t wallclock_now_us(void); /* CLOCK_REALTIME */
uint64_t monotonic_now_us(void); /* CLOCK_MONOTONIC */
uint64_t boottime_now_us(void);  /* CLOCK_BOOTTIME: goes on while suspended */

/* RFC 3339, UTC, six digits, "Z".  @ret_text has WALLCLOCK_TEXT_LEN + 1.
 * Returns @ret_text. */
char *wallclock_format(uint64_t time_us, char *ret_text);

/*
 * What people type: RFC 3339 with any offset and 0-9 fractional digits;
 * "YYYY-MM-DD HH:MM[:SS]" in local time; "HH:MM[:SS]" today, local time;
 * "now"; "10s ago", "5m ago", "2h ago", "1d ago".  -EINVAL if none fits.
 */
_must_check_ int wallclock_parse(const char *text, uint64_t *ret_us);

/* Is it a way to say "at this moment": "now", "0s ago", "0m ago" ...? */
bool wallclock_is_now(const char *text);

#endif
