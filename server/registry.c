/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"
#include "fileio.h"
#include "pki.h"

#include <errno.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (4 * MIB)

static int state_from_name(const char *name, enum machine_state *ret)
{
	static const char *const names[] = {
		[MACHINE_STARTED] = "started",
		[MACHINE_PAUSED] = "paused",
		[MACHINE_STOPPED] = "stopped",
		[MACHINE_REMOVED] = "removed",
	};

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum machine_state)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int seconds_from_json(const json_t *retention, const char *name, uint32_t *seconds)
{
	const json_t *j = json_object_get(retention, name);

	if (!j)
		return 0;
	if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) > UINT32_MAX)
		return -EINVAL;
	*seconds = (uint32_t)json_integer_value(j);
	return 0;
}

static int machine_from_json(const json_t *j, struct machine *m)
{
	const char *id = json_string_value(json_object_get(j, "id"));
	const char *name = json_string_value(json_object_get(j, "name"));
	const char *state = json_string_value(json_object_get(j, "state"));
	const json_t *retention = json_object_get(j, "retention"), *key = json_object_get(j, "key");

	if (!id || uuid_parse(id, &m->id) || !state || state_from_name(state, &m->state))
		return -EINVAL;
	m->has_key = key != NULL;
	if (key && (!json_is_string(key) || pki_pin_parse(json_string_value(key), m->key)))
		return -EINVAL;
	name = name ? name : id;
	if (strlen(name) >= sizeof(m->name))
		return -EINVAL;
	strcpy(m->name, name);
	m->retention = STORE_POLICY_DEFAULT;
	if (seconds_from_json(retention, "every", &m->retention.every_s) ||
	    seconds_from_json(retention, "hourly", &m->retention.hourly_s) ||
	    seconds_from_json(retention, "daily", &m->retention.daily_s))
		return -EINVAL;
	return 0;
}

int registry_from_json(const json_t *desired, struct registry *ret)
{
	const json_t *list = json_object_get(desired, "machines");
	struct registry r = { 0 };
	int err = 0;

	if (!json_is_array(list) || json_array_size(list) > REGISTRY_MACHINES_MAX)
		return -EINVAL;
	r.machines = calloc(json_array_size(list) + 1, sizeof(*r.machines));
	if (!r.machines)
		return -ENOMEM;
	for (; !err && r.count < json_array_size(list); r.count++)
		err = machine_from_json(json_array_get(list, r.count), &r.machines[r.count]);
	if (err) {
		registry_done(&r);
		return err;
	}
	*ret = r;
	return 0;
}

int registry_from_file(const char *path, struct registry *ret)
{
	json_t *j;
	char *text;
	size_t len;
	int err = fileio_slurp(path, FILE_BYTES_MAX, &text, &len);

	if (err)
		return err;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	err = j ? registry_from_json(j, ret) : -EINVAL;
	json_decref(j);
	return err;
}

void registry_done(struct registry *r)
{
	free(r->machines);
	*r = (struct registry){ 0 };
}

const struct machine *registry_find(const struct registry *r, const struct uuid *id)
{
	for (size_t i = 0; i < r->count; i++) {
		if (uuid_equal(&r->machines[i].id, id))
			return &r->machines[i];
	}
	return NULL;
}
