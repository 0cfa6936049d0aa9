/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory - is there room for one more machine's memory here?
 *
 * A machine takes its memory page by page, so what is free now is promised in part to those
 * that run already: of each launch beside this one, what its machine was given and does not
 * have yet.  Of two that begin at the same time the one that was asked for first counts in
 * the other, and not the other way round.
 */
#ifndef GODWIT_MEMORY_H
#define GODWIT_MEMORY_H

#include "base.h"

/* Of the launches in the folders beside @folder. */
uint64_t memory_promised_bytes(const char *folder);

/* What can be had, without what is promised. */
uint64_t memory_free_bytes(const char *folder);

#endif
