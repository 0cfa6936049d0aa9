/* SPDX-License-Identifier: Apache-2.0 */
/* words - what is said of a machine, in the two languages, always in the same words. */
#ifndef GODWIT_WORDS_H
#define GODWIT_WORDS_H

#include "cli.h"

#define WORDS_MAX 512

/* One of two texts, by the language. */
const char *say(const struct cli *c, const char *english, const char *japanese);

/* What is printed of a text whose hints, "`godwit VERB ...`", are for the instance that --data named:
 * they name it, too.  @ret_text has WORDS_HINT_MAX bytes; returned. */
#define WORDS_HINT_MAX 2048
const char *words_with_data(const struct cli *c, const char *text, char *ret_text);

/* "initial_sync" -> "Initial sync"; an unknown stage is shown as it is. */
const char *stage_words(const struct cli *c, const char *stage);

/* Place of a stage on the way to continuous protection, 0 for the others:
 * initiating 1, initial_sync 2, flushing_backlog 3, creating_first_snapshot 4, continuous 5. */
unsigned int stage_step(const char *stage);
const char *stage_of_step(unsigned int step);

/* What is left to do in this stage, in bytes and time: "43 %, 1.1 GiB left,
 * about 4 min"; empty when there is nothing to say.  Never "100 %". */
char *stage_progress(const struct cli *c, const json_t *machine, char *ret_text);

/* Bytes scanned and to be scanned, of all its disks. */
void machine_scan(const json_t *machine, uint64_t *ret_done, uint64_t *ret_total);

/* Text and remedy of an event or a problem, as the console says it in our language. */
void message_words(const json_t *message, char *ret_text, char *ret_remedy);

#endif
