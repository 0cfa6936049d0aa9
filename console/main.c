/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-console - the control plane: the API of docs/api.md over a catalogue and a CA. */
#include "console.h"
#include "confine.h"
#include "daemon.h"
#include "db_access.h"
#include "db_events.h"
#include "httpd.h"
#include "identity.h"
#include "setup.h"
#include "ticks.h"
#include "wallclock.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define PORT_DEFAULT 8443u
#define LOG_BYTES (16 * MIB)
#define LOG_FILES 5u
#define TICK_MS 1000
#define KEEP_EVERY_TICKS 30u
#define TOKEN_SECONDS 86400u
#define EXIT_USAGE 2

struct options {
	const char *data, *listen, *role;
	unsigned int port;
	bool background;
};

/* --- saying things -------------------------------------------------------------------------- */

static int die(const struct fault *f)
{
	char text[2048];

	fprintf(stderr, "godwit-console: %s\n", fault_format(f, LANGUAGE_EN, text, sizeof(text)));
	return EXIT_FAILURE;
}

static int usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *fmt, ...)
{
	char reason[FAULT_VALUE_MAX];
	struct fault f;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	fault_set(&f, -EINVAL, MSG_CONSOLE_USAGE, "reason", reason, NULL);
	(void)die(&f);
	return EXIT_USAGE;
}

/* --- run ---------------------------------------------------------------------------------------- */

static void record_start(struct console *c)
{
	struct db *db = catalogue_write(c->catalogue);
	struct fault f;
	int err;

	fault_set(&f, 0, MSG_CONSOLE_STARTED, "version", CONSOLE_VERSION, NULL);
	db_event_add(db, &(struct event){ .project_id = c->project_id, .who = "console", .fault = &f });
	err = catalogue_commit(c->catalogue);
	if (err)
		console_catalogue_failed(c, "recording the start", err);
}

/* Until SIGTERM or SIGINT. */
static void keep_time(struct console *c, int signals)
{
	struct pollfd p = { .fd = signals, .events = POLLIN };
	struct signalfd_siginfo info;

	for (unsigned int tick = 1;; tick++) {
		if (poll(&p, 1, TICK_MS) > 0 && read(signals, &info, sizeof(info)) == sizeof(info) &&
		    (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT))
			return;
		ticks_run(c, tick % KEEP_EVERY_TICKS == 0);
		ticks_launches(c);
	}
}

static int serve(struct console *c, int fd, const char *key, const char *chain, int signals)
{
	struct httpd *h;
	int err = ticks_load(c);

	if (err)
		return console_catalogue_failed(c, "reading the catalogue", err);
	record_start(c);
	daemon_raise_files(); /* two connections an agent */
	err = httpd_start(c, fd, key, chain, c->ca_pem, &h);
	if (err) {
		console_log(LOG_ERROR, "HTTPS cannot be started");
		return err;
	}
	daemon_ready(EXIT_SUCCESS);
	keep_time(c, signals);
	console_log(LOG_INFO, "stopping");
	live_stop(c->live);
	httpd_stop(h);
	ticks_run(c, true);
	return 0;
}

/* What strangers send is read by a process that has its own folder and nothing
 * else.  The port is bound by now. */
static int give_up_rights(const char *data)
{
	const struct confine_path wanted[] = { { data, true },	       { "/etc", false }, { "/usr", false },
					       { "/lib", false },      { "/lib64", false }, { "/dev/null", true },
					       { "/dev/urandom", false } };
	struct confine_path there[ARRAY_LEN(wanted) + 1] = { 0 };
	size_t n = 0;
	bool active;
	int err = confine_capabilities(NULL, 0);

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (access(wanted[i].path, F_OK) == 0)
			there[n++] = wanted[i];
	return err ? err : confine_paths(there, &active);
}

static int start_log(const char *dir, struct fault *f)
{
	char *path;
	int err;

	if (asprintf(&path, "%s/console.log.0", dir) < 0)
		abort();
	err = log_to_file(path, LOG_BYTES, LOG_FILES);
	if (err)
		fault_set(f, err, MSG_CONSOLE_DATA_UNUSABLE, "path", path, "reason", strerror(-err), NULL);
	free(path);
	return err;
}

static int take_lock(const char *data, const char *dir, struct fault *f)
{
	char *path, pid[16];
	pid_t other = 0;
	int err;

	if (asprintf(&path, "%s/console.pid", dir) < 0)
		abort();
	err = daemon_lock(path, &other);
	snprintf(pid, sizeof(pid), "%d", (int)other);
	if (err == -EBUSY)
		fault_set(f, err, MSG_CONSOLE_ALREADY_RUNNING, "data", data, "pid", pid, NULL);
	else if (err)
		fault_set(f, err, MSG_CONSOLE_DATA_UNUSABLE, "path", path, "reason", strerror(-err), NULL);
	free(path);
	return err;
}

static int run_in(const struct options *o, const char *data, const char *dir, struct fault *f)
{
	struct console c = { .started_us = wallclock_now_us(), .live = live_new(), .attempts = attempts_new() };
	char *key = NULL, *chain = NULL;
	unsigned int port;
	int fd = -1, signals = -1, err;

	if (!c.live || !c.attempts)
		abort();
	if (o->background && daemon_detach())
		return fault_set(f, -errno, MSG_CONSOLE_DATA_UNUSABLE, "path", dir, "reason", strerror(errno), NULL);
	err = take_lock(data, dir, f);
	if (!err)
		err = start_log(dir, f);
	if (!err)
		err = setup_console(&c, data, dir, o->listen, &key, &chain, f);
	if (!err)
		err = httpd_listen(o->listen, o->port, &fd, &port, f);
	if (!err) {
		signals = daemon_signal_fd();
		console_log(LOG_INFO, "godwit-console %s listens on %s, port %u; data in %s", CONSOLE_VERSION,
			    o->listen ? o->listen : "every address", port, data);
		err = give_up_rights(data);
		if (!err)
			err = serve(&c, fd, key, chain, signals);
		if (err)
			fault_set(f, err, MSG_CONSOLE_DATA_UNUSABLE, "path", dir, "reason", strerror(-err), NULL);
	}
	if (signals >= 0)
		close(signals);
	free(key);
	free(chain);
	live_free(c.live);
	attempts_free(c.attempts);
	setup_done(&c);
	return err;
}

static int run(const struct options *o)
{
	char *data = NULL, *dir = NULL;
	struct fault f;
	int err = setup_folder(o->data, &data, &dir, &f);

	log_init("console", LOG_INFO);
	if (!err)
		err = run_in(o, data, dir, &f);
	free(data);
	free(dir);
	if (err) {
		die(&f);
		daemon_ready(EXIT_FAILURE);
	}
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* --- token ------------------------------------------------------------------------------------------ */

/* Straight into the catalogue, which may be in use by a running console. */
static int print_token(struct console *c, const char *role)
{
	char text[PKI_TOKEN_TEXT_LEN + 1];
	struct pki_token token;
	uint8_t hash[HASH_BYTES];
	struct db *db;
	int err;

	memcpy(token.ca_pin, c->ca_pin, sizeof(token.ca_pin));
	if (getrandom(token.secret, sizeof(token.secret), 0) != sizeof(token.secret))
		return -EIO;
	identity_token_hash(&token, hash);
	db = catalogue_write(c->catalogue);
	db_token_add(db, hash, c->project_id, role, wallclock_now_us() + TOKEN_SECONDS * USEC_PER_SEC);
	err = catalogue_commit(c->catalogue);
	if (!err)
		puts(pki_token_format(&token, text));
	return err;
}

static int token(const struct options *o)
{
	struct console c = { 0 };
	char *dir;
	struct fault f;
	int err;

	if (asprintf(&dir, "%s/console", o->data) < 0)
		abort();
	err = setup_open(&c, dir, &f);
	if (!err) {
		err = print_token(&c, o->role);
		if (err)
			fault_set(&f, err, MSG_CATALOGUE_FAILED, "reason", strerror(-err), NULL);
	}
	setup_done(&c);
	free(dir);
	return err ? die(&f) : EXIT_SUCCESS;
}

/* --- options ------------------------------------------------------------------------------------------- */

enum { OPT_DATA = 1, OPT_LISTEN, OPT_PORT, OPT_DAEMON, OPT_ROLE, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
	{ "data", required_argument, NULL, OPT_DATA }, { "listen", required_argument, NULL, OPT_LISTEN },
	{ "port", required_argument, NULL, OPT_PORT }, { "daemon", no_argument, NULL, OPT_DAEMON },
	{ "role", required_argument, NULL, OPT_ROLE }, { "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION }, { NULL },
};

static int parse_port(const char *text, unsigned int *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > 65535)
		return usage("%s is not a port: it must be a number from 0 (any that is free) to 65535", text);
	*ret = (unsigned int)value;
	return 0;
}

static void print_help(void)
{
	puts("godwit-console run --data DIR [--listen ADDR] [--port N] [--daemon]\n"
	     "godwit-console token --data DIR --role agent|server\n"
	     "\n"
	     "  --data DIR     the instance's folder; made if it is not there\n"
	     "  --listen ADDR  address to listen on (every one)\n"
	     "  --port N       port to listen on (8443)\n"
	     "  --daemon       go to the background when ready\n"
	     "  --role ROLE    what the token enrols");
}

int main(int argc, char **argv)
{
	struct options o = { .port = PORT_DEFAULT };
	const char *verb;
	int opt;

	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (opt) {
		case OPT_DATA:
			o.data = optarg;
			break;
		case OPT_LISTEN:
			o.listen = optarg;
			break;
		case OPT_PORT:
			if (parse_port(optarg, &o.port))
				return EXIT_USAGE;
			break;
		case OPT_DAEMON:
			o.background = true;
			break;
		case OPT_ROLE:
			o.role = optarg;
			break;
		case OPT_HELP:
			print_help();
			return EXIT_SUCCESS;
		case OPT_VERSION:
			puts("godwit-console " CONSOLE_VERSION);
			return EXIT_SUCCESS;
		default:
			return usage("an option is wrong");
		}
	}
	verb = argv[optind];
	if (!verb || argv[optind + 1])
		return usage("one command is needed: run or token");
	if (!o.data)
		return usage("--data is needed");
	if (!strcmp(verb, "run"))
		return run(&o);
	if (strcmp(verb, "token"))
		return usage("%s is not a command", verb);
	if (!o.role || (strcmp(o.role, "agent") && strcmp(o.role, "server")))
		return usage("--role must be agent or server");
	return token(&o);
}
