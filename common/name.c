/* SPDX-License-Identifier: Apache-2.0 */
#include "name.h"
#include "uuid.h"

#define NAME_MOST 63u

bool name_is_ok(const char *name)
{
	static const char letters[] = "._-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t len = strlen(name);
	struct uuid id;

	return len >= 1 && len <= NAME_MOST && !strchr("._-", name[0]) && strspn(name, letters) == len &&
	       uuid_parse(name, &id) != 0;
}
