/* SPDX-License-Identifier: Apache-2.0 */
/* launch-follow - a launch by its id's beginning, and on its way. */
#ifndef GODWIT_LAUNCH_FOLLOW_H
#define GODWIT_LAUNCH_FOLLOW_H

#include "cli.h"

/* Less of an id is a slip of the finger rather than a name. */
#define LAUNCH_WORD_MIN 4

/* The launch whose id is @word or begins with it, as GET /launches has it;
 * NULL after saying what is wrong. */
json_t *launch_find(struct cli *c, const char *word);

/* The same among those of GET /launches. */
json_t *launch_choose(const struct cli *c, const json_t *launches, const char *word);

/* Show the progress until @job is over; the launch as it is then in *@ret, to be
 * json_decref'ed.  CLI_FAILED after saying why it failed; an interruption ends
 * the showing only. */
_must_check_ int launch_follow(struct cli *c, const char *launch, const char *job, json_t **ret);

/* What was begun with the answer @ids, which is taken over (NULL: it failed, and that
 * was said): with --wait its progress, and how @launch is then. */
_must_check_ int launch_show(struct cli *c, json_t *ids, const char *launch);

/* "booted" -> "Booted". */
const char *launch_state_words(const struct cli *c, const char *state);

/* The first 8 digits, which are enough for people. */
#define LAUNCH_SHORT_LEN 8

#endif
