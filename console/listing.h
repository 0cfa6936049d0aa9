/* SPDX-License-Identifier: Apache-2.0 */
/* listing - what a GET of many things, or of one, does around showing them. */
#ifndef GODWIT_CONSOLE_LISTING_H
#define GODWIT_CONSOLE_LISTING_H

#include "catalogue.h"
#include "request.h"

#define LISTING_LIMIT_DEFAULT 100
#define LISTING_LIMIT_MOST 1000

/* ?machine&limit: {@name: what @list shows}, newest first.  A machine that is not known is refused if nothing
 * of it is. */
int listing_of_machine(struct request *r, const char *name,
		       json_t *(*list)(const struct request *r, struct db *db, const char *machine, int64_t limit));

/* The one whose id the path has: what @view shows, or, when that is NULL, refused with @unknown, whose
 * argument is called @kind. */
int listing_one(struct request *r, const char *kind, enum message_code unknown,
		json_t *(*view)(const struct request *r, struct db *db, const char *id));

#endif
