/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz - one file, fuzz_<target>.c, for each parser of what strangers send.
 *
 * Built with -Dfuzz=true (clang) it is a libFuzzer program; built in any case
 * with replay.c it runs once over each file of its corpus, as a test.  A target
 * states what must hold with assert(), which stays on.
 */
#ifndef GODWIT_FUZZ_H
#define GODWIT_FUZZ_H

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
