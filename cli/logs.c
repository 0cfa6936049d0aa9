/* SPDX-License-Identifier: Apache-2.0 */
/* godwit log - the log of an agent, of the console or of the replication server on this machine. */
#include "cli.h"
#include "instance.h"
#include "local.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LINES_MOST 1000000

/* Whether it is there or not cannot be seen, or not read. */
static bool is_forbidden(const char *path)
{
	return access(path, R_OK) < 0 && errno == EACCES;
}

static int no_agent(const struct cli *c, const char *name)
{
	char **names, list[FAULT_VALUE_MAX] = "console, server";
	size_t n = local_agents(c, &names), used = strlen(list);

	for (size_t i = 0; i < n && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, ", %s", names[i]);
	local_agents_free(names, n);
	if (!name)
		return cli_usage(c, "say whose: %s", list);
	return cli_fail_message(c, MSG_AGENT_NOT_HERE, "machine", name, "data", c->data, "here", list, NULL);
}

/* To be freed. */
static char *log_path(const struct cli *c, const char *whose)
{
	char *path = strchr(whose, '/') ? NULL : instance_path(c, "agents/%s/agent.log.0", whose);

	if (path && access(path, F_OK) == 0)
		return path;
	free(path);
	if (strcmp(whose, "console") == 0 || strcmp(whose, "server") == 0)
		return instance_path(c, "%s/%s.log.0", whose, whose);
	return NULL;
}

/* The only agent here, when none was named.  To be freed. */
static char *only_agent(const struct cli *c)
{
	char **names, *name = NULL;
	size_t n = local_agents(c, &names);

	if (n == 1)
		name = text_copy(names[0]);
	local_agents_free(names, n);
	return name;
}

static int run_log(struct cli *c)
{
	char *whose, *path, *folder, number[24];
	uint64_t lines;
	int r;

	if (!cli_option_number(c, "lines", 1, LINES_MOST, 40, &lines))
		return CLI_USAGE;
	r = instance_select(c);
	if (r != CLI_DONE)
		return r;
	whose = c->operand_count ? text_copy(c->operands[0]) : only_agent(c);
	path = whose ? log_path(c, whose) : NULL;
	folder = instance_path(c, "agents");
	if (is_forbidden(path ? path : folder))
		r = cli_fail_message(c, MSG_NOT_ROOT, NULL);
	else if (!path)
		r = no_agent(c, whose);
	free(folder);
	free(whose);
	if (r != CLI_DONE) {
		free(path);
		return r;
	}
	if (cli_switch(c, "path")) {
		puts(path);
		free(path);
		return CLI_DONE;
	}
	snprintf(number, sizeof(number), "%llu", (unsigned long long)lines);
	execlp("tail", "tail", "-n", number, cli_switch(c, "follow") ? "-F" : "--", path, (char *)NULL);
	return cli_fail_errno(c, "tail", -errno);
}

static const struct verb_option options[] = {
	{ "path", NULL, "only say where it is" },
	{ "lines", "N", "the last N lines (40)" },
	{ "follow", NULL, "go on showing lines as they come" },
	{ NULL },
};

const struct verb verb_log = {
	.name = "log",
	.operands = "[NAME|console|server]",
	.summary = "Show the log of an agent, the console or the replication server on this machine",
	.options = options,
	.uses = USES_DATA,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_log,
};
