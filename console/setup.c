/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	DATA/admin.token		0600: the first user's API token
 *	DATA/console/ca.key, ca.crt	made once; with them lost, everybody enrols anew
 *	DATA/console/console.key	made once
 *	DATA/console/console.crt	signed anew at every start, since names and
 *					addresses of the machine may have changed
 *	DATA/console/catalogue.sqlite
 *
 * Of the admin's token the catalogue has only a hash.  If the file and the hash
 * do not belong together (the file was deleted, or is of another CA), a new
 * token is made: the catalogue first, then the file, so that a crash between
 * the two is repaired by the next start.
 */
#include "setup.h"

#include "db_access.h"
#include "fileio.h"
#include "identity.h"

#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERTIFICATE_DAYS 3650u
#define NAMES_MAX 32u
#define TOKEN_FILE_MAX 4096u
#define PEM_MAX 65536u

static char *path_in(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		abort();
	return path;
}

static int unusable(struct fault *f, const char *path, int err)
{
	return fault_set(f, err, MSG_CONSOLE_DATA_UNUSABLE, "path", path, "reason", strerror(-err), NULL);
}

int setup_folder(const char *data, char **ret_data, char **ret_dir, struct fault *ret_fault)
{
	char *absolute, *dir;
	int err = fileio_mkdirs(data, 0755);

	if (err)
		return unusable(ret_fault, data, err);
	absolute = realpath(data, NULL);
	if (!absolute)
		return unusable(ret_fault, data, -errno);
	dir = path_in(absolute, "console");
	err = fileio_mkdirs(dir, 0700);
	if (err) {
		err = unusable(ret_fault, dir, err);
		free(dir);
		free(absolute);
		return err;
	}
	*ret_data = absolute;
	*ret_dir = dir;
	return 0;
}

/* --- certificates ------------------------------------------------------------------------ */

struct names {
	char texts[NAMES_MAX][NI_MAXHOST];
	const char *list[NAMES_MAX + 1];
	size_t count;
};

static void add_name(struct names *n, const char *name)
{
	for (size_t i = 0; i < n->count; i++)
		if (!strcmp(n->texts[i], name))
			return;
	if (n->count == NAMES_MAX || !*name || strlen(name) >= sizeof(n->texts[0]) || strchr(name, '%'))
		return;
	strcpy(n->texts[n->count], name);
	n->list[n->count] = n->texts[n->count];
	n->count++;
}

/* For browsers and curl; godwit's own programs know the console by its CA. */
static void collect_names(struct names *n, const char *listen)
{
	char name[NI_MAXHOST];
	struct ifaddrs *all;

	add_name(n, "localhost");
	add_name(n, "127.0.0.1");
	add_name(n, "::1");
	if (gethostname(name, sizeof(name)) == 0)
		add_name(n, name);
	if (listen)
		add_name(n, listen);
	if (getifaddrs(&all))
		return;
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		socklen_t len;

		if (!a->ifa_addr || (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
			continue;
		len = a->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		if (getnameinfo(a->ifa_addr, len, name, sizeof(name), NULL, 0, NI_NUMERICHOST) == 0)
			add_name(n, name);
	}
	freeifaddrs(all);
}

static int make_certificate(struct console *c, const char *dir, const char *listen, char **ret_chain)
{
	char *key_path = path_in(dir, "console.key"), *cert_path = path_in(dir, "console.crt"), *request = NULL,
	     *cert = NULL;
	struct names names = { 0 };
	int err = pki_make_key(key_path);

	collect_names(&names, listen);
	if (!err)
		err = pki_make_request(key_path, "console", &request);
	if (!err)
		err = pki_sign(c->ca_key_path, c->ca_path, request, "console", names.list, CERTIFICATE_DAYS, &cert);
	if (!err)
		err = fileio_replace(cert_path, cert, strlen(cert), 0644);
	if (!err && asprintf(ret_chain, "%s%s", cert, c->ca_pem) < 0)
		err = -ENOMEM;
	free(request);
	free(cert);
	free(key_path);
	free(cert_path);
	return err;
}

static int make_keys(struct console *c, const char *dir, const char *listen, char **ret_key, char **ret_chain)
{
	char *key_path = path_in(dir, "console.key");
	size_t len;
	int err;

	c->ca_key_path = path_in(dir, "ca.key");
	c->ca_path = path_in(dir, "ca.crt");
	err = pki_make_key(c->ca_key_path);
	if (!err)
		err = pki_make_ca(c->ca_key_path, c->ca_path);
	if (!err)
		err = pki_pin(c->ca_path, c->ca_pin);
	if (!err)
		err = fileio_slurp(c->ca_path, PEM_MAX, &c->ca_pem, &len);
	if (!err)
		err = make_certificate(c, dir, listen, ret_chain);
	if (!err)
		err = fileio_slurp(key_path, PEM_MAX, ret_key, &len);
	free(key_path);
	return err;
}

/* --- the admin's token ----------------------------------------------------------------------- */

static bool token_is_good(struct console *c, const char *path)
{
	struct pki_token token;
	uint8_t hash[HASH_BYTES];
	char *text, name[64];
	struct db *db;
	size_t len;
	bool good;

	if (fileio_slurp(path, TOKEN_FILE_MAX, &text, &len))
		return false;
	text[strcspn(text, "\r\n \t")] = '\0';
	good = pki_token_parse(text, &token) == 0 && !memcmp(token.ca_pin, c->ca_pin, sizeof(token.ca_pin));
	OPENSSL_cleanse(text, len);
	free(text);
	if (!good)
		return false;
	identity_token_hash(&token, hash);
	db = catalogue_read(c->catalogue);
	good = db_user_by_token(db, hash, name, sizeof(name));
	return catalogue_read_end(c->catalogue) == 0 && good;
}

static int make_token(struct console *c, const char *path)
{
	char text[PKI_TOKEN_TEXT_LEN + 2];
	struct pki_token token;
	uint8_t hash[HASH_BYTES];
	struct db *db;
	int err;

	memcpy(token.ca_pin, c->ca_pin, sizeof(token.ca_pin));
	if (getrandom(token.secret, sizeof(token.secret), 0) != sizeof(token.secret))
		return -EIO;
	identity_token_hash(&token, hash);
	db = catalogue_write(c->catalogue);
	db_user_set_token(db, "admin", hash);
	err = catalogue_commit(c->catalogue);
	if (err)
		return err;
	pki_token_format(&token, text);
	strcat(text, "\n");
	err = fileio_replace(path, text, strlen(text), 0600);
	OPENSSL_cleanse(text, sizeof(text));
	return err;
}

/* --- the catalogue ------------------------------------------------------------------------------ */

static int open_catalogue(struct console *c, const char *path, struct fault *f)
{
	struct db *db;
	int err = catalogue_open(path, &c->catalogue);

	if (err == -EPROTONOSUPPORT)
		return fault_set(f, err, MSG_CATALOGUE_TOO_NEW, "path", path, NULL);
	if (err == -EBADMSG)
		return fault_set(f, err, MSG_CATALOGUE_DAMAGED, "path", path, NULL);
	if (err)
		return unusable(f, path, err);
	db = catalogue_write(c->catalogue);
	db_access_init(db);
	db_first_project(db, c->project_id);
	err = catalogue_commit(c->catalogue);
	return err ? unusable(f, path, err) : 0;
}

int setup_console(struct console *c, const char *data, const char *dir, const char *listen, char **ret_key_pem,
		  char **ret_chain_pem, struct fault *ret_fault)
{
	char *catalogue = path_in(dir, "catalogue.sqlite"), *token = path_in(data, "admin.token");
	int err = make_keys(c, dir, listen, ret_key_pem, ret_chain_pem);

	c->data = strdup(data);
	if (err)
		err = unusable(ret_fault, dir, err);
	else
		err = open_catalogue(c, catalogue, ret_fault);
	if (!err && !token_is_good(c, token)) {
		err = make_token(c, token);
		if (err)
			err = unusable(ret_fault, token, err);
	}
	free(catalogue);
	free(token);
	return err;
}

int setup_open(struct console *c, const char *dir, struct fault *ret_fault)
{
	char *catalogue = path_in(dir, "catalogue.sqlite");
	int err;

	c->ca_path = path_in(dir, "ca.crt");
	err = pki_pin(c->ca_path, c->ca_pin);
	if (!err && access(catalogue, F_OK))
		err = -errno;
	if (err)
		err = unusable(ret_fault, dir, err);
	else
		err = open_catalogue(c, catalogue, ret_fault);
	free(catalogue);
	return err;
}

void setup_done(struct console *c)
{
	catalogue_close(c->catalogue);
	free(c->data);
	free(c->ca_key_path);
	free(c->ca_path);
	free(c->ca_pem);
}
