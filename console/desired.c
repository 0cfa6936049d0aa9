/* SPDX-License-Identifier: Apache-2.0 */
#include "desired.h"

#include "payload.h"
#include "pki.h"
#include "resource.h"
#include "settings.h"

#include <stdlib.h>

json_t *desired_server(const struct request *r, struct db *db, const struct machine_row *m)
{
	char key[PKI_PIN_TEXT_LEN + 1];
	struct server_row s;

	if (!*m->server_id || !db_server_find(db, m->server_id, &s))
		return json_null();
	return json_pack("{s:s, s:I, s:s}", "address", resource_server_address(r, &s), "port", (json_int_t)s.port, "key",
			 pki_pin_format(s.key, key));
}

static json_t *agent_desired(const struct request *r, struct db *db)
{
	struct machine_row m;

	if (!db_machine_by_id(db, r->peer_id, &m))
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "id", m.id, "name", m.name, "state", m.state, "settings",
			 settings_in_force(db, m.id), "server", desired_server(r, db, &m), "disks", db_disks(db, m.id));
}

static json_t *retention(struct db *db, const char *machine_id)
{
	json_t *s = settings_in_force(db, machine_id), *retention;

	retention = json_pack("{s:O, s:O, s:O}", "every", json_object_get(s, "retention_every_seconds"), "hourly",
			      json_object_get(s, "retention_hourly_seconds"), "daily",
			      json_object_get(s, "retention_daily_seconds"));
	json_decref(s);
	return retention;
}

/* What a replication server needs of it. */
static json_t *kept_machine(struct db *db, const struct machine_row *m)
{
	char key[PKI_PIN_TEXT_LEN + 1];

	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", m->id, "name", m->name, "state",
			 m->removed ? "removed" : m->state, "key", pki_pin_format(m->key, key), "retention",
			 retention(db, m->id));
}

static json_t *server_desired(const struct request *r, struct db *db)
{
	struct machine_row *rows;
	struct server_row s;
	json_t *list;
	size_t count;

	if (!db_server_find(db, r->peer_id, &s))
		return NULL;
	list = json_array();
	count = db_machine_list(db, true, s.id, &rows);
	for (size_t i = 0; i < count; i++)
		if (!rows[i].removed || !rows[i].store_gone)
			json_array_append_new(list, kept_machine(db, &rows[i]));
	free(rows);
	return json_pack("{s:s, s:s, s:o}", "id", s.id, "name", s.name, "machines", list);
}

int desired_of(struct request *r, json_t **ret)
{
	struct db *db = catalogue_read(r->console->catalogue);
	json_t *desired = r->is == WHO_AGENT ? agent_desired(r, db) : server_desired(r, db);
	int err = catalogue_read_end(r->console->catalogue);

	if (err) {
		json_decref(desired);
		return request_catalogue_failed(r, "reading a desired state", err);
	}
	if (!desired)
		return request_refuse(r, 403, MSG_MACHINE_REMOVED, NULL);
	*ret = desired;
	return 0;
}

uint64_t desired_version(const json_t *desired)
{
	char *text = json_dumps(desired, JSON_COMPACT | JSON_SORT_KEYS);
	uint64_t version = text ? payload_checksum(text, strlen(text)) >> 11 : 0;

	free(text);
	return version;
}
