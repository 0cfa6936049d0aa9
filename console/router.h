/* SPDX-License-Identifier: Apache-2.0 */
/* router - the table of everything that the console answers to, and the look-up in it. */
#ifndef GODWIT_CONSOLE_ROUTER_H
#define GODWIT_CONSOLE_ROUTER_H

#include "request.h"

/* The table, ended by a NULL method. */
extern const struct route router_table[];

/*
 * The entry of @table for a request, its `{}` in @ret_params.  NULL: there is
 * none; then @ret_allow has the methods that the path would take, "" for a
 * path that is not known at all.
 */
const struct route *router_find(const struct route *table, const char *method, const char *path,
				char ret_params[PARAMS_MAX][PARAM_MAX], char *ret_allow, size_t allow_size);

#endif
