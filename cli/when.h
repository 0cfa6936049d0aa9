/* SPDX-License-Identifier: Apache-2.0 */
/* when - moments as people type them, made into what the API takes. */
#ifndef GODWIT_WHEN_H
#define GODWIT_WHEN_H

#include "cli.h"
#include "wallclock.h"

/* The time of an option into @ret_text (WALLCLOCK_TEXT_LEN + 1), which is left
 * alone when it was not given.  False after saying what is wrong. */
_must_check_ bool when_option(const struct cli *c, const char *name, char *ret_text);

/* --at, "latest" without it and for this very moment: what is not a time is a point's
 * id or label, which the console knows.  To be freed. */
char *when_at(const struct cli *c);

/* "90s", "12h", "7d", or plain seconds. */
_must_check_ int when_duration(const char *text, uint64_t *ret_seconds);

/* The same in milliseconds: "500" and "500ms" are 500, "1s" is 1000. */
_must_check_ int when_milliseconds(const char *text, uint64_t *ret_ms);

#endif
