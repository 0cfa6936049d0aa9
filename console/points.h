/* SPDX-License-Identifier: Apache-2.0 */
/* points - how a point is named to the replication server. */
#ifndef GODWIT_CONSOLE_POINTS_H
#define GODWIT_CONSOLE_POINTS_H

#include <jansson.h>

/* "latest", an id or a label as it is; a time, however it was written, in UTC. */
json_t *points_at(const char *at);

#endif
