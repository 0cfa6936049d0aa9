/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model - what a store must say, kept in the simplest way there is: for each
 * epoch, which write each sector comes from.
 *
 * The model drives the store with random operations and compares.  It knows
 * what was acknowledged, and what was under way when a call failed, which may
 * or may not be there afterwards.
 */
#ifndef GODWIT_TEST_MODEL_H
#define GODWIT_TEST_MODEL_H

#include "memsys.h"
#include "store.h"

#define MODEL_DISKS 2

struct model;

struct model *model_new(uint64_t seed, const struct store_policy *policy);
void model_free(struct model *m);
const struct uuid *model_machine(const struct model *m);
uint64_t model_now_us(const struct model *m);
uint64_t model_last_epoch(const struct model *m);

/* One random put.  What the store returned. */
int model_put(struct model *m, struct store_writer *w);
/* Commit an epoch.  Acknowledged when it returns 0. */
int model_commit(struct model *m, struct store_writer *w);
/* Name a random point, or take its name away. */
int model_label(struct model *m, const char *dir, const struct store_sys *sys);

/* A writer was opened: what was under way is there or it is not.  Fails the
 * test if what was acknowledged is not. */
void model_opened(struct model *m, const struct store_writer *w);
/* The writer is gone: what was put and not committed is forgotten. */
void model_dropped(struct model *m);

/* The disk as it is now, with everything put, through the writer. */
void model_check_writer(struct model *m, struct store_writer *w);

/* Every point: none missing that must be kept, none that never was; the
 * contents of @samples of them (0: all), read in pieces of all sizes. */
void model_check(struct model *m, const char *dir, const struct store_sys *sys, unsigned int samples);

/*
 * Compare what an open reader shows.  Reads may be refused with -EBADMSG if
 * @damaged, with anything once the power of @mem (may be NULL) is cut; wrong
 * bytes never.  Returns how many were refused.
 */
unsigned int model_check_reader(struct model *m, struct store_reader *r, bool damaged, const struct memsys *mem);

#endif
