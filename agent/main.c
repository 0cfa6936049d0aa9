/* SPDX-License-Identifier: Apache-2.0 */
/* godwit-agent: the program on the source machine (godwit-agent(8)). */
#include "agent.h"
#include "confine.h"
#include "enrol.h"
#include "enrolment.h"
#include "facts.h"
#include "log.h"
#include "tracker.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef GODWIT_VERSION
#define GODWIT_VERSION "unknown"
#endif

#define DEFAULT_STATE "/var/lib/godwit-agent"

static const char usage_text[] =
	"usage: godwit-agent enrol --console URL [--token TOKEN] --name NAME [--state DIR] [--proxy URL] DISK...\n"
	"       godwit-agent run [--state DIR] [--daemon] [--ring-bytes N] [--dirty-map-only]\n"
	"                        [--server ADDR:PORT]\n"
	"       godwit-agent check [--state DIR] DISK...\n"
	"       godwit-agent facts [--state DIR]\n"
	"       godwit-agent --help | --version\n"
	"godwit-agent(8) describes them.\n";

enum option_value {
	OPT_STATE = 256,
	OPT_CONSOLE,
	OPT_TOKEN,
	OPT_NAME,
	OPT_PROXY,
	OPT_DAEMON,
	OPT_RING_BYTES,
	OPT_DIRTY_MAP_ONLY,
	OPT_SERVER,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option options[] = {
	{ "state", required_argument, NULL, OPT_STATE },
	{ "console", required_argument, NULL, OPT_CONSOLE },
	{ "token", required_argument, NULL, OPT_TOKEN },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "proxy", required_argument, NULL, OPT_PROXY },
	{ "daemon", no_argument, NULL, OPT_DAEMON },
	{ "ring-bytes", required_argument, NULL, OPT_RING_BYTES },
	{ "dirty-map-only", no_argument, NULL, OPT_DIRTY_MAP_ONLY },
	{ "server", required_argument, NULL, OPT_SERVER },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

struct arguments {
	struct agent_options run;
	struct enrol_options enrol;
};

static int usage(int status)
{
	fputs(usage_text, status ? stderr : stdout);
	return status;
}

static int fail(const struct fault *f)
{
	char text[2048];

	fprintf(stderr, "godwit-agent: %s\n", fault_format(f, LANGUAGE_EN, text, sizeof(text)));
	return 1;
}

static bool parse_ring(const char *text, uint64_t *ret)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *end || n < TRACKER_RING_LEAST || n > TRACKER_RING_MOST || (n & (n - 1)))
		return false;
	*ret = n;
	return true;
}

/* The exit status if there is nothing more to do, else -1. */
static int parse(int argc, char **argv, struct arguments *a)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case OPT_STATE:
			a->run.state = a->enrol.state = optarg;
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
		case OPT_PROXY:
			a->enrol.proxy = optarg;
			break;
		case OPT_DAEMON:
			a->run.background = true;
			break;
		case OPT_RING_BYTES:
			if (!parse_ring(optarg, &a->run.ring_bytes)) {
				fprintf(stderr, "godwit-agent: --ring-bytes takes a power of two from %llu to %llu\n",
					(unsigned long long)TRACKER_RING_LEAST, (unsigned long long)TRACKER_RING_MOST);
				return 2;
			}
			break;
		case OPT_DIRTY_MAP_ONLY:
			a->run.dirty_map_only = true;
			break;
		case OPT_SERVER:
			a->run.server = optarg;
			break;
		case OPT_HELP:
			return usage(0);
		case OPT_VERSION:
			printf("godwit-agent %s\n", GODWIT_VERSION);
			return 0;
		default:
			return usage(2);
		}
	}
	return -1;
}

static int run_enrol(struct arguments *a)
{
	static struct settings s;
	struct fault f;
	char id[UUID_TEXT_LEN + 1];

	if (!a->enrol.console || !enrolment_take_token(&a->enrol.token) || !a->enrol.name || !a->enrol.disk_count)
		return usage(2);
	if (enrol(&a->enrol, &s, &f))
		return fail(&f);
	printf("enrolled as machine %s with %s\n", uuid_format(&s.machine, id), s.console);
	return 0;
}

static int run_check(const struct arguments *a)
{
	static struct settings s;
	struct fault f;

	if (!a->enrol.disk_count)
		return usage(2);
	if (enrol_check(a->enrol.state, a->enrol.disks, a->enrol.disk_count, &s, &f))
		return fail(&f);
	for (unsigned int i = 0; i < s.disk_count; i++)
		printf("%s: %llu bytes, can be protected\n", s.disks[i].info.path,
		       (unsigned long long)s.disks[i].info.size_bytes);
	return 0;
}

/* It reads other programs' files, and has others read them: without rights, and writing only
 * where they put what they unpack. */
static int confine_look(const char *folder)
{
	const struct confine_path paths[] = { { "/", false }, { "/dev/null", true }, { folder, true }, { NULL, false } };
	bool active;

	return confine_capabilities(NULL, 0) ?: confine_paths(paths, &active);
}

static int run_facts(const struct arguments *a)
{
	static struct settings s;
	static struct hardware h;
	char folder[SETTINGS_PATH_MAX];
	struct stat st;
	int err = settings_open(a->run.state, &s) ?: settings_load(&s);
	json_t *j;

	if (err) {
		fprintf(stderr, "godwit-agent: %s: %s\n", a->run.state, strerror(-err));
		return 1;
	}
	for (unsigned int i = 0; i < s.disk_count; i++)
		if (stat(s.disks[i].info.path, &st) == 0)
			s.disks[i].info.device = st.st_rdev;
	settings_path(&s, "facts", folder);
	(void)mkdir(folder, 0700);
	(void)setenv("TMPDIR", folder, 1);
	(void)setenv("LC_ALL", "C", 1);
	err = confine_look(folder) ?: facts_gather(&s, &h);
	if (!err) {
		j = hardware_to_json(&h);
		json_dumpf(j, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(j);
	}
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct arguments a = { .run = { .state = DEFAULT_STATE }, .enrol = { .state = DEFAULT_STATE } };
	int status = parse(argc, argv, &a);
	const char *verb;

	if (status >= 0)
		return status;
	if (optind >= argc)
		return usage(2);
	verb = argv[optind++];
	a.enrol.disks = argv + optind;
	a.enrol.disk_count = (unsigned int)(argc - optind);
	log_init("agent", LOG_INFO);
	if (strcmp(verb, "enrol") == 0)
		return run_enrol(&a);
	if (strcmp(verb, "check") == 0)
		return run_check(&a);
	if (strcmp(verb, "facts") == 0 && !a.enrol.disk_count)
		return run_facts(&a);
	if (strcmp(verb, "run") == 0 && !a.enrol.disk_count)
		return agent_run(&a.run);
	return usage(2);
}
