/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include "utf8.h"
#include "uuid.h"
#include "wallclock.h"

#include <stdio.h>

#define LABEL_MOST 127u
#define DISK_NAME_MOST 255u

bool names_label_ok(const char *label)
{
	size_t len = strlen(label);
	struct uuid id;
	uint64_t time;

	return len >= 1 && len <= LABEL_MOST && utf8_is_printable(label, len) && strcmp(label, "latest") &&
	       uuid_parse(label, &id) && wallclock_parse(label, &time);
}

static int bad_disk(struct request *r, size_t i, const char *name, const char *expected)
{
	char place[64];

	snprintf(place, sizeof(place), "disks[%zu].%s", i, name);
	return request_refuse(r, 400, MSG_VALUE_BAD, "name", place, "value", "not allowed", "expected", expected, NULL);
}

static bool is_given_twice(const json_t *list, const char *id)
{
	json_t *d;
	size_t i;

	json_array_foreach(list, i, d)
		if (!strcmp(json_string_value(json_object_get(d, "id")), id))
			return true;
	return false;
}

static int check_disk(struct request *r, size_t i, json_t *disk, json_t *list)
{
	json_t *id, *name, *size, *sector;
	const struct member members[] = { { "id", MEMBER_TEXT, true, &id },
					  { "name", MEMBER_TEXT, true, &name },
					  { "size_bytes", MEMBER_INTEGER, true, &size },
					  { "sector_bytes", MEMBER_INTEGER, false, &sector },
					  { NULL } };
	int status = request_members(r, disk, "a disk", members);
	json_int_t sector_bytes;
	char text[ID_SIZE];
	struct uuid u;

	if (status)
		return status;
	sector_bytes = sector ? json_integer_value(sector) : SECTOR_BYTES;
	if (uuid_parse(json_string_value(id), &u))
		return bad_disk(r, i, "id", "a UUID");
	if (is_given_twice(list, uuid_format(&u, text)))
		return bad_disk(r, i, "id", "another one than the disks before it");
	if (!utf8_is_printable(json_string_value(name), json_string_length(name)) || !json_string_length(name) ||
	    json_string_length(name) > DISK_NAME_MOST)
		return bad_disk(r, i, "name", "the device's path");
	if (json_integer_value(size) < 0 || json_integer_value(size) % SECTOR_BYTES)
		return bad_disk(r, i, "size_bytes", "a multiple of 512");
	if (sector_bytes != 512 && sector_bytes != 4096)
		return bad_disk(r, i, "sector_bytes", "512 or 4096");
	json_array_append_new(list, json_pack("{s:s, s:O, s:O, s:I}", "id", text, "name", name, "size_bytes", size,
					      "sector_bytes", sector_bytes));
	return 0;
}

int names_check_disks(struct request *r, json_t *disks, json_t **ret)
{
	json_t *list = json_array(), *d;
	int status = 0;
	size_t i;

	if (json_array_size(disks) > DISKS_MAX)
		status = request_refuse(r, 400, MSG_VALUE_BAD, "name", "disks", "value", "too many", "expected",
					"at most 64 disks", NULL);
	json_array_foreach(disks, i, d) {
		if (status)
			break;
		status = check_disk(r, i, d, list);
	}
	if (status) {
		json_decref(list);
		return status;
	}
	*ret = list;
	return 0;
}
