/* SPDX-License-Identifier: Apache-2.0 */
/*
 * symptom - what a serial console says of a machine that will not boot.
 *
 * None of it is certain: a boot loader may have another entry to try.  So a symptom is
 * why there was no proof, and not itself the end of a launch.
 */
#ifndef GODWIT_SYMPTOM_H
#define GODWIT_SYMPTOM_H

#include "base.h"
#include "message.h"

/* The last one in @text, the end of what the console said: its code, and the line that it is in.  False: none. */
bool symptom_find(const char *text, enum message_code *ret_code, char *ret_line, size_t size);

/* Has a machine got further since the last of them in @text: is it there, and has something been said after it
 * that only one that boots says? */
bool symptom_is_over(const char *text);

#endif
