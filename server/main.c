/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-server: the program that receives and keeps the data (godwit-server(8)). */
#include "daemon.h"
#include "enrol.h"
#include "enrolment.h"
#include "log.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef GODWIT_VERSION
#define GODWIT_VERSION "unknown"
#endif

#define DEFAULT_STATE "/var/lib/godwit/server"

static const char usage_text[] =
	"usage: godwit-server enrol --console URL [--token TOKEN] [--state DIR] [--name NAME]\n"
	"                           [--address ADDR] [--port N] [--proxy URL]\n"
	"       godwit-server run [--state DIR] [--listen ADDR] [--port N] [--machines FILE]\n"
	"                         [--proxy URL] [--daemon]\n"
	"       godwit-server --help | --version\n"
	"godwit-server(8) describes them.\n";

enum option_value {
	OPT_STATE = 256,
	OPT_CONSOLE,
	OPT_TOKEN,
	OPT_NAME,
	OPT_ADDRESS,
	OPT_PORT,
	OPT_LISTEN,
	OPT_MACHINES,
	OPT_PROXY,
	OPT_DAEMON,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option options[] = {
	{ "state", required_argument, NULL, OPT_STATE },
	{ "console", required_argument, NULL, OPT_CONSOLE },
	{ "token", required_argument, NULL, OPT_TOKEN },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "address", required_argument, NULL, OPT_ADDRESS },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "machines", required_argument, NULL, OPT_MACHINES },
	{ "proxy", required_argument, NULL, OPT_PROXY },
	{ "daemon", no_argument, NULL, OPT_DAEMON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

struct arguments {
	struct server_options run;
	struct enrol_options enrol;
	const char *address;
};

static int usage(int status)
{
	fputs(usage_text, status ? stderr : stdout);
	return status;
}

static bool parse_port(const char *text, int *ret)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 0 || n > UINT16_MAX)
		return false;
	*ret = (int)n;
	return true;
}

/* The exit status if there is nothing more to do, else -1. */
static int parse(int argc, char **argv, struct arguments *a)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case OPT_STATE:
			a->run.state = optarg;
			break;
		case OPT_CONSOLE:
			a->enrol.console = optarg;
			break;
		case OPT_TOKEN:
			a->enrol.token = optarg;
			break;
		case OPT_NAME:
			a->enrol.name = optarg;
			break;
		case OPT_ADDRESS:
			a->address = optarg;
			break;
		case OPT_PORT:
			if (!parse_port(optarg, &a->run.port)) {
				fprintf(stderr, "godwit-server: --port takes a number from 0 to 65535\n");
				return 2;
			}
			break;
		case OPT_LISTEN:
			a->run.listen = optarg;
			break;
		case OPT_MACHINES:
			a->run.machines_file = optarg;
			break;
		case OPT_PROXY:
			a->run.proxy = a->enrol.proxy = optarg;
			break;
		case OPT_DAEMON:
			a->run.background = true;
			break;
		case OPT_HELP:
			return usage(0);
		case OPT_VERSION:
			printf("godwit-server %s\n", GODWIT_VERSION);
			return 0;
		default:
			return usage(2);
		}
	}
	return -1;
}

static int fail(const struct fault *f)
{
	char text[1024];

	fprintf(stderr, "godwit-server: %s\n", fault_format(f, LANGUAGE_EN, text, sizeof(text)));
	return 1;
}

static int run_enrol(struct arguments *a)
{
	struct settings s;
	struct fault f;
	char id[UUID_TEXT_LEN + 1];
	int err;

	if (!a->enrol.console || !enrolment_take_token(&a->enrol.token))
		return usage(2);
	err = settings_open(a->run.state, &s);
	if (err) {
		(void)fault_set(&f, err, MSG_SERVER_STATE_UNUSABLE, "state", a->run.state, "reason", strerror(-err),
				NULL);
		return fail(&f);
	}
	if (a->address)
		snprintf(s.address, sizeof(s.address), "%s", a->address);
	if (a->run.port >= 0)
		s.port = (uint16_t)a->run.port;
	if (enrol(&s, &a->enrol, &f))
		return fail(&f);
	printf("enrolled as server %s with %s\n", uuid_format(&s.id, id), s.console);
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments a = { .run = { .state = DEFAULT_STATE, .port = -1 } };
	int status = parse(argc, argv, &a);

	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return usage(2);
	log_init("server", LOG_INFO);
	if (strcmp(argv[optind], "enrol") == 0)
		return run_enrol(&a);
	if (strcmp(argv[optind], "run") == 0)
		return server_run(&a.run);
	return usage(2);
}
