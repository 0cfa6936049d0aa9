/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api - one call of the console's API (docs/api.md), or one sentence why not.
 *
 * The connection is made at the first call, to the instance that the options
 * select.  Paths are given without the leading /api/godwit/v1; a `%s` of a
 * path is escaped.
 */
#ifndef GODWIT_API_H
#define GODWIT_API_H

#include "cli.h"

#define API_SOON_MS 15000u

/* The decoded answer (an empty object when there was none), to be
 * json_decref'ed; NULL after saying on standard error what is wrong. */
json_t *api_call(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms, const char *path, ...)
	__attribute__((format(printf, 5, 6)));
json_t *api_get(struct cli *c, const char *path, ...) __attribute__((format(printf, 2, 3)));

/*
 * The same without saying anything: 0 with *@ret_answer, or -errno with the
 * sentence in @ret_text.  -ENOENT and -EBUSY stand for 404 and 409;
 * -ECONNREFUSED, -ETIMEDOUT ... for no answer.
 */
int api_try(struct cli *c, const char *method, const json_t *body, unsigned int timeout_ms, json_t **ret_answer,
	    char *ret_text, size_t text_size, const char *path, ...) __attribute__((format(printf, 8, 9)));

/* Free the connection. */
void api_done(struct cli *c);

/* Members of an answer, with what to take when they are not there. */
const char *get_text(const json_t *object, const char *name, const char *otherwise);
uint64_t get_u64(const json_t *object, const char *name);
double get_number(const json_t *object, const char *name, double otherwise);
const json_t *get_object(const json_t *object, const char *name); /* an empty one */
const json_t *get_array(const json_t *object, const char *name);  /* an empty one */

#endif
