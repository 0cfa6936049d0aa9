/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS library asks callers for a certificate but lets everybody in, so that
 * people need none; what is presented is checked here: the chain up to our CA
 * (which GnuTLS was given as the only trusted one), its purpose, the role and
 * id in its common name, and that it is the key enrolled last.
 */
#include "identity.h"

#include "db_access.h"
#include "db_machines.h"
#include "db_servers.h"
#include "wallclock.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

void identity_token_hash(const struct pki_token *t, uint8_t ret_hash[32])
{
	uint8_t all[32];

	memcpy(all, t->ca_pin, 16);
	memcpy(all + 16, t->secret, 16);
	SHA256(all, sizeof(all), ret_hash);
	OPENSSL_cleanse(all, sizeof(all));
}

int identity_wrong_secret(struct request *r, int status, enum message_code code)
{
	if (attempts_failed(r->console->attempts, r->address, monotonic_now_us()))
		return request_refuse(r, 429, MSG_TOO_MANY_ATTEMPTS, "address", r->address, NULL);
	console_log(LOG_WARN, "a wrong token from %s", r->address);
	return request_refuse(r, status, code, "reason", "the token is not one of this console", NULL);
}

/* --- people ------------------------------------------------------------------------------ */

static int check_bearer(struct request *r, const char *text)
{
	struct pki_token token;
	uint8_t hash[HASH_BYTES];
	char name[64];
	bool known;
	struct db *db;
	int err;

	if (pki_token_parse(text, &token))
		return identity_wrong_secret(r, 401, MSG_API_NOT_AUTHENTICATED);
	identity_token_hash(&token, hash);
	db = catalogue_read(r->console->catalogue);
	known = db_user_by_token(db, hash, name, sizeof(name));
	err = catalogue_read_end(r->console->catalogue);
	if (err)
		return request_catalogue_failed(r, "looking up a user", err);
	if (!known)
		return identity_wrong_secret(r, 401, MSG_API_NOT_AUTHENTICATED);
	r->is = WHO_ADMIN;
	snprintf(r->who, sizeof(r->who), "%s", name);
	return 0;
}

/* --- programs ----------------------------------------------------------------------------- */

struct presented {
	char role[16];
	char id[ID_SIZE];
	uint8_t key[16];
};

/* A handshake happens once, so what was found cannot change, but for the end
 * of the certificate's time, which is years away. */
struct identity_memory {
	bool known;
	struct presented presented;
};

struct identity_memory *identity_memory_new(void)
{
	return calloc(1, sizeof(struct identity_memory));
}

void identity_memory_free(struct identity_memory *m)
{
	free(m);
}

static struct identity_memory *memory_of(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static gnutls_session_t session_of(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return info ? (gnutls_session_t)info->tls_session : NULL;
}

static bool split_name(const char *common_name, struct presented *ret)
{
	const char *colon = strchr(common_name, ':');
	struct uuid id;

	if (!colon || (size_t)(colon - common_name) >= sizeof(ret->role) || uuid_parse(colon + 1, &id))
		return false;
	memcpy(ret->role, common_name, (size_t)(colon - common_name));
	ret->role[colon - common_name] = '\0';
	uuid_format(&id, ret->id);
	return true;
}

static bool read_leaf(const gnutls_datum_t *der, struct presented *ret)
{
	char name[64];
	uint8_t key[32];
	size_t name_size = sizeof(name), key_size = sizeof(key);
	gnutls_x509_crt_t cert;
	bool ok;

	if (gnutls_x509_crt_init(&cert))
		return false;
	ok = gnutls_x509_crt_import(cert, der, GNUTLS_X509_FMT_DER) == 0 &&
	     gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &name_size) == 0 &&
	     gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, key, &key_size) == 0 && split_name(name, ret);
	gnutls_x509_crt_deinit(cert);
	memcpy(ret->key, key, sizeof(ret->key));
	return ok;
}

/* NULL and @ret filled, or why not. */
static const char *read_presented(struct request *r, struct presented *ret)
{
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
					  .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT };
	gnutls_session_t session = session_of(r);
	const gnutls_datum_t *chain;
	unsigned int count = 0, status = 0;

	chain = session ? gnutls_certificate_get_peers(session, &count) : NULL;
	if (!chain || !count)
		return "neither a token nor a certificate was sent";
	if (gnutls_certificate_verify_peers(session, &purpose, 1, &status))
		return "the certificate cannot be checked";
	if (status & GNUTLS_CERT_EXPIRED)
		return "the certificate has expired";
	if (status & GNUTLS_CERT_NOT_ACTIVATED)
		return "the certificate is not valid yet: compare the clocks";
	if (status)
		return "the certificate is not of this console's CA";
	if (!read_leaf(&chain[0], ret))
		return "the certificate names neither an agent nor a server";
	return NULL;
}

/* The same, remembered. */
static const char *recall_presented(struct request *r, struct presented *ret)
{
	struct identity_memory *m = memory_of(r);
	const char *reason;

	if (m && m->known) {
		*ret = m->presented;
		return NULL;
	}
	reason = read_presented(r, ret);
	if (!reason && m) {
		m->known = true;
		m->presented = *ret;
	}
	return reason;
}

static int no_such_peer(struct request *r)
{
	return request_refuse(r, 403, MSG_MACHINE_REMOVED, NULL);
}

static int check_key(struct request *r, const struct presented *p, const uint8_t key[16], const char *name)
{
	if (CRYPTO_memcmp(p->key, key, sizeof(p->key)))
		return request_refuse(r, 401, MSG_CERTIFICATE_SUPERSEDED, "name", name, NULL);
	snprintf(r->who, sizeof(r->who), "%s:%s", p->role, name);
	memcpy(r->peer_id, p->id, sizeof(r->peer_id));
	return 0;
}

static int check_agent(struct request *r, const struct presented *p)
{
	struct machine_row m;
	struct db *db = catalogue_read(r->console->catalogue);
	bool known = db_machine_by_id(db, p->id, &m);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a machine", err);
	/* A removed machine's agent is let in until it has heard of it. */
	if (!known || (m.removed && m.told))
		return no_such_peer(r);
	r->is = WHO_AGENT;
	return check_key(r, p, m.key, m.name);
}

static int check_server(struct request *r, const struct presented *p)
{
	struct server_row s;
	struct db *db = catalogue_read(r->console->catalogue);
	bool known = db_server_find(db, p->id, &s);
	int err = catalogue_read_end(r->console->catalogue);

	if (err)
		return request_catalogue_failed(r, "looking up a server", err);
	if (!known)
		return no_such_peer(r);
	r->is = WHO_SERVER;
	return check_key(r, p, s.key, s.name);
}

/* NULL: there is none. */
static const char *bearer_of(struct request *r)
{
	const char *header = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);

	return header && !strncasecmp(header, "Bearer ", 7) ? header + 7 + strspn(header + 7, " ") : NULL;
}

int identity_check_bearer(struct request *r)
{
	const char *bearer = bearer_of(r);

	return bearer ? check_bearer(r, bearer) : 0;
}

int identity_check(struct request *r)
{
	const char *bearer = bearer_of(r);
	struct presented p;
	const char *reason;
	int status;

	if (bearer) {
		status = check_bearer(r, bearer);
	} else {
		reason = recall_presented(r, &p);
		if (reason)
			return request_refuse(r, 401, MSG_API_NOT_AUTHENTICATED, "reason", reason, NULL);
		if (!strcmp(p.role, "agent"))
			status = check_agent(r, &p);
		else if (!strcmp(p.role, "server"))
			status = check_server(r, &p);
		else
			status = request_refuse(r, 401, MSG_API_NOT_AUTHENTICATED, "reason",
						"the certificate names neither an agent nor a server", NULL);
	}
	if (!status && !(r->route->who & r->is))
		status = request_refuse(r, 403, MSG_API_FORBIDDEN, "who", r->who, NULL);
	if (!status && r->is != WHO_ADMIN)
		live_seen(r->console->live, r->is == WHO_AGENT ? LIVE_AGENT : LIVE_SERVER, r->peer_id);
	return status;
}
