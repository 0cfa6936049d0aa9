/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has an installation token becomes a machine or a replication server.
 *
 *	name not taken				new
 *	name taken, same key			the same again: the answer was lost
 *	name taken, machine_id given and right,
 *	an administrator's token as well	enrolled anew with another key, unless
 *						the old one is at work
 *	the same without that token		403: an installation token makes new ones only
 *	name taken otherwise			409
 *
 * Signing needs no lock; the catalogue is asked again when the certificate is
 * there, so two who enrol at once under one name do not both get it.
 */
#include "db_access.h"
#include "db_events.h"
#include "desired.h"
#include "handlers.h"
#include "identity.h"
#include "name.h"
#include "names.h"
#include "resource.h"
#include "settings.h"
#include "wallclock.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define CERTIFICATE_DAYS 3650u
#define TOKEN_DEFAULT_S 86400
#define TOKEN_LEAST_S 60
#define TOKEN_MOST_S 31536000
#define MACHINES_MOST 4096 /* what a replication server takes */
#define MACHINES_MOST_TEXT "4096"
#define EXPIRED_KEPT_S (30 * 86400) /* so that "expired" can be told from "wrong" */

/* --- tokens -------------------------------------------------------------------------------- */

static int token_lifetime(struct request *r, const json_t *expires, int64_t *ret_s)
{
	char text[32];

	*ret_s = expires ? json_integer_value(expires) : TOKEN_DEFAULT_S;
	if (*ret_s >= TOKEN_LEAST_S && *ret_s <= TOKEN_MOST_S)
		return 0;
	snprintf(text, sizeof(text), "%lld", (long long)*ret_s);
	return request_refuse(r, 400, MSG_VALUE_BAD, "name", "expires_seconds", "value", text, "expected",
			      "a whole number from 60 to 31536000", NULL);
}

static int check_role(struct request *r, const char *role)
{
	if (!strcmp(role, "agent") || !strcmp(role, "server"))
		return 0;
	return request_refuse(r, 400, MSG_VALUE_BAD, "name", "role", "value", role, "expected", "agent or server", NULL);
}

int handle_token_create(struct request *r)
{
	json_t *role, *expires;
	const struct member members[] = { { "role", MEMBER_TEXT, true, &role },
					  { "expires_seconds", MEMBER_INTEGER, false, &expires },
					  { NULL } };
	char text[PKI_TOKEN_TEXT_LEN + 1], until[WALLCLOCK_TEXT_LEN + 1];
	uint64_t now = wallclock_now_us();
	struct pki_token token;
	uint8_t hash[HASH_BYTES];
	struct db *db;
	int64_t seconds;
	int status = request_members(r, r->body, "the request", members), err;

	if (!status)
		status = check_role(r, json_string_value(role));
	if (!status)
		status = token_lifetime(r, expires, &seconds);
	if (status)
		return status;
	memcpy(token.ca_pin, r->console->ca_pin, sizeof(token.ca_pin));
	if (getrandom(token.secret, sizeof(token.secret), 0) != sizeof(token.secret))
		abort();
	identity_token_hash(&token, hash);
	wallclock_format(now + (uint64_t)seconds * USEC_PER_SEC, until);
	db = catalogue_write(r->console->catalogue);
	db_token_drop_expired(db, now - EXPIRED_KEPT_S * USEC_PER_SEC);
	db_token_add(db, hash, r->console->project_id, json_string_value(role), now + (uint64_t)seconds * USEC_PER_SEC);
	resource_event(r, db, NULL, NULL, MSG_TOKEN_CREATED, "role", json_string_value(role), "expires", until, NULL);
	err = catalogue_commit(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "keeping a token", err);
	live_announce(r->console->live, LIVE_EVENTS);
	return request_answer(r, 201, json_pack("{s:s, s:O, s:s}", "token", pki_token_format(&token, text), "role", role,
						"expires", until));
}

static int check_token(struct request *r, const char *text, const char *role, char ret_project[ID_SIZE])
{
	uint8_t hash[HASH_BYTES];
	char wanted[16], expired[WALLCLOCK_TEXT_LEN + 1];
	struct pki_token token;
	uint64_t expires_us;
	struct db *db;
	bool known;
	int err;

	if (pki_token_parse(text, &token) || CRYPTO_memcmp(token.ca_pin, r->console->ca_pin, sizeof(token.ca_pin)))
		return identity_wrong_secret(r, 401, MSG_TOKEN_WRONG);
	identity_token_hash(&token, hash);
	db = catalogue_read(r->console->catalogue);
	known = db_token_get(db, hash, ret_project, wanted, sizeof(wanted), &expires_us);
	err = catalogue_read_end(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "looking up a token", err);
	if (!known || strcmp(wanted, role))
		return identity_wrong_secret(r, 401, MSG_TOKEN_WRONG);
	if (expires_us <= wallclock_now_us())
		return request_refuse(r, 401, MSG_TOKEN_EXPIRED, "expired", wallclock_format(expires_us, expired), NULL);
	return 0;
}

/* --- what an enrolment is ------------------------------------------------------------------- */

struct enrolment {
	bool agent;
	char project_id[ID_SIZE], id[ID_SIZE], name[NAME_MAX_LEN + 1];
	uint8_t key[16];
	char *certificate;
	json_t *token, *role, *request, *name_json, *machine_id, *facts, *disks; /* borrowed of the body */
	json_t *clean_disks;
	bool again; /* the machine is there */
};

static int read_members(struct request *r, struct enrolment *e)
{
	const struct member members[] = { { "token", MEMBER_TEXT, true, &e->token },
					  { "role", MEMBER_TEXT, true, &e->role },
					  { "request", MEMBER_TEXT, true, &e->request },
					  { "name", MEMBER_TEXT, true, &e->name_json },
					  { "machine_id", MEMBER_TEXT, false, &e->machine_id },
					  { "facts", MEMBER_OBJECT, false, &e->facts },
					  { "disks", MEMBER_ARRAY, false, &e->disks },
					  { NULL } };
	int status = request_members(r, r->body, "the request", members);

	if (!status)
		status = check_role(r, json_string_value(e->role));
	if (status)
		return status;
	e->agent = !strcmp(json_string_value(e->role), "agent");
	return check_token(r, json_string_value(e->token), json_string_value(e->role), e->project_id);
}

static int check_facts(struct request *r, json_t *facts)
{
	json_t *hostname, *os, *kernel, *cpus, *memory, *version, *firmware;
	const struct member members[] = { { "hostname", MEMBER_TEXT, false, &hostname },
					  { "os", MEMBER_TEXT, false, &os },
					  { "kernel", MEMBER_TEXT, false, &kernel },
					  { "cpus", MEMBER_INTEGER, false, &cpus },
					  { "memory_bytes", MEMBER_INTEGER, false, &memory },
					  { "version", MEMBER_TEXT, false, &version },
					  { "firmware", MEMBER_TEXT, false, &firmware },
					  { NULL } };

	return facts ? request_members(r, facts, "facts", members) : 0;
}

static int read_name(struct request *r, struct enrolment *e)
{
	const char *name = json_string_value(e->name_json);
	struct uuid id;

	if (!name_is_ok(name))
		return request_refuse(r, 400, MSG_MACHINE_NAME_BAD, "name", name, NULL);
	snprintf(e->name, sizeof(e->name), "%s", name);
	if (e->machine_id && uuid_parse(json_string_value(e->machine_id), &id))
		return request_refuse(r, 400, MSG_VALUE_BAD, "name", "machine_id", "value",
				      json_string_value(e->machine_id), "expected", "a UUID", NULL);
	if (e->machine_id)
		uuid_format(&id, e->id);
	return 0;
}

/* --- whose name it is ------------------------------------------------------------------------- */

struct holder {
	bool found;
	char id[ID_SIZE];
	uint8_t key[16];
};

static struct holder find_holder(struct db *db, const struct enrolment *e, const char *id_or_name)
{
	struct machine_row m = { 0 };
	struct server_row s = { 0 };
	struct holder h = { 0 };

	if (e->agent) {
		h.found = db_machine_find(db, id_or_name, &m);
		memcpy(h.id, m.id, sizeof(h.id));
		memcpy(h.key, m.key, sizeof(h.key));
	} else {
		h.found = db_server_find(db, id_or_name, &s);
		memcpy(h.id, s.id, sizeof(h.id));
		memcpy(h.key, s.key, sizeof(h.key));
	}
	return h;
}

static int settle_identity(struct request *r, struct db *db, struct enrolment *e)
{
	struct holder h = find_holder(db, e, e->name);
	bool same_key = h.found && !memcmp(h.key, e->key, sizeof(h.key));
	enum message_code taken = e->agent ? MSG_MACHINE_NAME_TAKEN : MSG_SERVER_NAME_TAKEN;
	struct uuid id = uuid_random();

	if (e->machine_id && (!h.found || strcmp(h.id, e->id))) {
		if (h.found)
			return request_refuse(r, 409, taken, "name", e->name, NULL);
		return request_refuse(r, 404, e->agent ? MSG_MACHINE_UNKNOWN : MSG_SERVER_UNKNOWN,
				      e->agent ? "machine" : "server", e->name, NULL);
	}
	if (!h.found && e->agent && db_machine_count(db) >= MACHINES_MOST)
		return request_refuse(r, 409, MSG_MACHINES_TOO_MANY, "most", MACHINES_MOST_TEXT, NULL);
	if (!h.found) {
		uuid_format(&id, e->id);
		return 0;
	}
	if (!e->machine_id && !same_key)
		return request_refuse(r, 409, taken, "name", e->name, NULL);
	if (!same_key && r->is != WHO_ADMIN)
		return request_refuse(r, 403, MSG_API_FORBIDDEN, "who", r->who, NULL);
	if (!same_key && live_connected(r->console->live, h.id))
		return request_refuse(r, 409, MSG_MACHINE_CONNECTED, "name", e->name, NULL);
	memcpy(e->id, h.id, sizeof(e->id));
	e->again = true;
	return 0;
}

/* --- certificate -------------------------------------------------------------------------------- */

static int sign(struct request *r, struct enrolment *e)
{
	const struct console *c = r->console;
	char common_name[64];
	int err;

	snprintf(common_name, sizeof(common_name), "%s:%s", e->agent ? "agent" : "server", e->id);
	free(e->certificate);
	e->certificate = NULL;
	err = pki_sign(c->ca_key_path, c->ca_path, json_string_value(e->request), common_name, NULL, CERTIFICATE_DAYS,
		       &e->certificate);
	if (!err)
		err = pki_pin_pem(e->certificate, e->key);
	if (err == -EBADMSG)
		return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason",
				      "\"request\" is not a PKCS #10 request signed with its own key of at least P-256", NULL);
	return err ? request_catalogue_failed(r, "signing a certificate", err) : 0;
}

/* --- keeping it ------------------------------------------------------------------------------------ */

static void keep_machine(struct request *r, struct db *db, struct enrolment *e)
{
	struct machine_row m = { .state = "started", .enrolled_us = (int64_t)wallclock_now_us() };
	struct server_row s;

	memcpy(m.id, e->id, sizeof(m.id));
	memcpy(m.name, e->name, sizeof(m.name));
	memcpy(m.key, e->key, sizeof(m.key));
	memcpy(m.project_id, e->project_id, sizeof(m.project_id));
	if (e->again) {
		db_machine_enrol_again(db, m.id, m.key);
	} else {
		if (db_server_choose(db, &s))
			memcpy(m.server_id, s.id, sizeof(m.server_id));
		db_machine_add(db, &m);
	}
	if (e->facts)
		db_machine_set_facts(db, m.id, e->facts);
	if (e->clean_disks)
		db_disks_replace(db, m.id, e->clean_disks);
	if (e->again)
		resource_event(r, db, &m, NULL, MSG_MACHINE_ENROLLED_AGAIN, "address", r->address, NULL);
	else
		resource_event(r, db, &m, NULL, MSG_MACHINE_ENROLLED, NULL);
}

static void keep_server(struct request *r, struct db *db, struct enrolment *e)
{
	struct server_row s = { .port = 1500, .enrolled_us = (int64_t)wallclock_now_us() };

	memcpy(s.id, e->id, sizeof(s.id));
	memcpy(s.name, e->name, sizeof(s.name));
	memcpy(s.key, e->key, sizeof(s.key));
	if (e->again)
		db_server_enrol_again(db, s.id, s.key);
	else
		db_server_add(db, &s);
	if (e->facts)
		db_server_set_facts(db, s.id, e->facts);
	db_machine_assign_homeless(db, s.id);
	if (e->again)
		resource_event(r, db, NULL, NULL, MSG_SERVER_ENROLLED_AGAIN, "server", s.name, "address", r->address, NULL);
	else
		resource_event(r, db, NULL, NULL, MSG_SERVER_ENROLLED, "server", s.name, NULL);
}

/* Whose identity it is decides what the certificate says, and its key decides
 * whose it is: so it is signed for a made-up id first, to read the key, and
 * again when the id is settled. */
static int keep(struct request *r, struct enrolment *e)
{
	struct db *db = catalogue_write(r->console->catalogue);
	int status = settle_identity(r, db, e), err;

	if (!status)
		status = sign(r, e);
	if (status) {
		catalogue_abandon(r->console->catalogue);
		return status;
	}
	if (e->agent)
		keep_machine(r, db, e);
	else
		keep_server(r, db, e);
	err = catalogue_commit(r->console->catalogue);
	return err ? request_catalogue_failed(r, "enrolling", err) : 0;
}

/* --- the answer -------------------------------------------------------------------------------------- */

static int answer(struct request *r, const struct enrolment *e)
{
	struct db *db = catalogue_read(r->console->catalogue);
	json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "id", e->id, "name", e->name, "certificate", e->certificate, "ca",
				 r->console->ca_pem);
	struct machine_row m;
	int err;

	json_object_set_new(body, "server",
			    e->agent && db_machine_by_id(db, e->id, &m) ? desired_server(r, db, &m) : json_null());
	if (e->agent)
		json_object_set_new(body, "settings", settings_in_force(db, e->id));
	err = catalogue_read_end(r->console->catalogue);
	if (err) {
		json_decref(body);
		return request_catalogue_failed(r, "enrolling", err);
	}
	return request_answer(r, 201, body);
}

/* Machines that got a server, the server that got machines. */
static void wake_all(struct console *c)
{
	struct machine_row *machines;
	struct server_row *servers;
	struct db *db = catalogue_read(c->catalogue);
	size_t m = db_machine_list(db, false, NULL, &machines), s = db_server_list(db, &servers);

	(void)!catalogue_read_end(c->catalogue);
	for (size_t i = 0; i < m; i++)
		live_wake(c->live, machines[i].id);
	for (size_t i = 0; i < s; i++)
		live_wake(c->live, servers[i].id);
	free(machines);
	free(servers);
	live_announce(c->live, LIVE_EVENTS);
}

int handle_enrol(struct request *r)
{
	struct enrolment e = { 0 };
	struct uuid made_up = uuid_random();
	char wanted[ID_SIZE];
	int status = read_members(r, &e);

	if (!status && e.machine_id)
		status = identity_check_bearer(r);
	if (!status)
		status = check_facts(r, e.facts);
	if (!status)
		status = read_name(r, &e);
	if (!status && e.agent && e.disks)
		status = names_check_disks(r, e.disks, &e.clean_disks);
	if (!status) {
		snprintf(r->who, sizeof(r->who), "%s:%s", e.agent ? "agent" : "server", e.name);
		memcpy(wanted, e.id, sizeof(wanted));
		uuid_format(&made_up, e.id);
		status = sign(r, &e);
		memcpy(e.id, wanted, sizeof(e.id));
	}
	if (!status)
		status = keep(r, &e);
	if (!status) {
		console_log(LOG_INFO, "%s enrolled as %s from %s", r->who, e.id, r->address);
		wake_all(r->console);
		status = answer(r, &e);
	}
	free(e.certificate);
	json_decref(e.clean_disks);
	return status;
}
