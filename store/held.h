/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held - the points of a store that launches on the same server come back for,
 * whether they run now or not: what godwit-server tells its upkeep (`held`),
 * for godwit-store, which is run without it.
 */
#ifndef GODWIT_STORE_HELD_H
#define GODWIT_STORE_HELD_H

#include "bytes.h"

/*
 * The epochs (uint64_t) that the spec.json of some launch beside @dir, a
 * server's store/<machine>, names: also of launches that are over, for it does
 * no harm.  None if @dir is anywhere else.  -errno: one cannot be read, its
 * path is in @ret_path; -EBADMSG: it makes no sense.
 */
_must_check_ int held_by_launches(const char *dir, struct bytes *ret, char *ret_path, size_t size);

#endif
