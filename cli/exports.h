/* SPDX-License-Identifier: Apache-2.0 */
/* exports - disks at a point, offered by the replication server over NBD. */
#ifndef GODWIT_EXPORTS_H
#define GODWIT_EXPORTS_H

#include "cli.h"

/* The id of the machine's disk that @wanted (device, its last part, or id)
 * names; the only one if NULL.  To be freed.  CLI_DONE, or having said why not. */
_must_check_ int exports_choose_disk(struct cli *c, const char *machine, const char *wanted, char **ret_id);

/* The API's answer, or NULL having said why.  @disk NULL: all.  --listen is used. */
json_t *exports_start(struct cli *c, const char *machine, const char *at, const char *disk, bool writable);

/* Quietly: for cleaning up. */
void exports_stop(struct cli *c, const char *export);

/* Whether this machine can open the URI: a socket of another machine cannot. */
_must_check_ int exports_reachable(const struct cli *c, const char *uri);

/* Bytes that are not known to be zero; @size_bytes if it cannot be found out. */
uint64_t exports_data_bytes(const char *uri, uint64_t size_bytes);

#endif
