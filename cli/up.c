/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit up - console, replication server and the agents of a data folder.
 *
 * Each program says itself when it is ready (common/daemon.h), so "started" is
 * true when this returns.  What runs already is left alone: running this twice
 * is fine, and after a crash it starts what is missing.
 */
#include "api.h"
#include "boot.h"
#include "local.h"
#include "output.h"
#include "port.h"
#include "program.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What the folder says, changed by what the options say. */
static int decide(struct cli *c, struct instance *ret)
{
	struct instance i = INSTANCE_DEFAULT;
	const char *listen = cli_option(c, "listen");
	int r = instance_load(c, &i);

	if (r < 0 && r != -ENOENT)
		return cli_fail_message(c, MSG_INSTANCE_DAMAGED, "data", c->data, NULL);
	if (!cli_option_number(c, "port", 1, 65535, i.port, &i.port) ||
	    !cli_option_number(c, "console-port", 1, 65535, i.console_port, &i.console_port))
		return CLI_USAGE;
	if (i.port == i.console_port)
		return cli_usage(c, "--port and --console-port must differ");
	if (listen && port_check(listen, 0) == -EINVAL)
		return cli_usage(c, "--listen is an IP address of this machine, not \"%s\"", listen);
	if (listen)
		snprintf(i.listen, sizeof(i.listen), "%s", listen);
	*ret = i;
	return CLI_DONE;
}

static bool same(const struct instance *a, const struct instance *b)
{
	return a->port == b->port && a->console_port == b->console_port && strcmp(a->listen, b->listen) == 0;
}

static int check_port(struct cli *c, const struct instance *i, uint64_t port, const char *option)
{
	int r = port_check(i->listen, (uint16_t)port);
	char text[24], owner[128];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)port);
	if (r == -EADDRINUSE)
		return cli_fail_message(c, MSG_PORT_IN_USE, "port", text, "process",
					port_owner((uint16_t)port, owner, sizeof(owner)), "option", option, NULL);
	if (r < 0)
		return cli_fail_message(c, MSG_ADDRESS_UNUSABLE, "port", text, "address", i->listen, "reason",
					strerror(-r), NULL);
	return CLI_DONE;
}

static int check_running_otherwise(struct cli *c, const struct instance *wanted)
{
	struct instance is;
	char text[128];

	if ((!local_console(c) && !local_server(c)) || instance_load(c, &is) < 0 || same(&is, wanted))
		return CLI_DONE;
	snprintf(text, sizeof(text), "--port %llu --console-port %llu --listen %s", (unsigned long long)is.port,
		 (unsigned long long)is.console_port, is.listen);
	return cli_fail_message(c, MSG_INSTANCE_RUNS_OTHERWISE, "data", c->data, "running", text, NULL);
}

static int start_agents(struct cli *c)
{
	char **names;
	size_t n = local_agents(c, &names);
	int r = CLI_DONE;

	for (size_t i = 0; i < n; i++) {
		/* One that fails has said why; the others are started all the same. */
		if (!interrupted() && local_start_agent(c, names[i]) != CLI_DONE)
			r = CLI_FAILED;
	}
	local_agents_free(names, n);
	return r;
}

static int start_all(struct cli *c, const struct instance *i)
{
	int r = CLI_DONE;

	if (!local_console(c))
		r = check_port(c, i, i->console_port, "--console-port");
	if (r == CLI_DONE && !local_server(c))
		r = check_port(c, i, i->port, "--port");
	if (r == CLI_DONE) {
		r = instance_save(c, i);
		if (r == 0)
			r = boot_save(c, i);
		if (r < 0)
			return cli_fail_message(c, MSG_FOLDER_UNUSABLE, "folder", c->data, "reason", strerror(-r), NULL);
	}
	if (r == CLI_DONE)
		r = local_start_console(c, i);
	if (r == CLI_DONE)
		r = local_start_server(c, i);
	if (r == CLI_DONE)
		r = start_agents(c);
	return r;
}

static void show(struct cli *c, const struct instance *i, bool ran)
{
	char *url = instance_url(i), *token = instance_path(c, "admin.token");
	json_t *document = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:b}", "data", c->data, "console_url", url, "port",
				     (json_int_t)i->port, "console_port", (json_int_t)i->console_port, "listen", i->listen,
				     "admin_token_file", token, "already_running", ran);

	c->output->instance(c, document);
	json_decref(document);
	free(token);
	free(url);
}

/* Of a machine whose console is elsewhere: nothing else of the folder is this machine's. */
static int run_agents(struct cli *c)
{
	char **names, text[WORDS_MAX];
	size_t n = local_agents(c, &names);
	int r;

	local_agents_free(names, n);
	if (cli_option(c, "port") || cli_option(c, "console-port") || cli_option(c, "listen"))
		return cli_usage(c, "--agents starts no console and no server: it takes no port and no address");
	if (n == 0)
		return cli_fail_message(c, MSG_NO_AGENTS_HERE, "data", c->data, NULL);
	r = local_lock(c);
	if (r != CLI_DONE)
		return r;
	interrupt_catch();
	r = start_agents(c);
	if (r != CLI_DONE)
		return r;
	snprintf(text, sizeof(text), say(c, "The agents run: %zu", "動作中のエージェント: %zu"), n);
	c->output->done(c, "up", NULL, text);
	return CLI_DONE;
}

static int run_up(struct cli *c)
{
	bool console, server;
	struct instance i;
	int r = instance_select(c);

	if (r == CLI_DONE && cli_switch(c, "agents"))
		return run_agents(c);
	if (r == CLI_DONE)
		r = decide(c, &i); /* what is wrong on the command line leaves no folder behind */
	if (r == CLI_DONE)
		r = local_lock(c);
	if (r == CLI_DONE)
		r = decide(c, &i);
	if (r == CLI_DONE)
		r = check_running_otherwise(c, &i);
	if (r != CLI_DONE)
		return r;
	interrupt_catch();
	console = local_console(c) != 0;
	server = local_server(c) != 0;
	r = start_all(c, &i);
	if (r == CLI_DONE) {
		boot_instance(c, true);
		show(c, &i, console && server);
		return CLI_DONE;
	}
	/* What this call started is taken back; what ran before goes on. */
	if (!server)
		(void)local_stop_server(c);
	if (!console)
		(void)local_stop_console(c);
	local_tidy(c);
	return r;
}

static const struct verb_option options[] = {
	{ "port", "PORT", "TCP port of the replication server (1500)" },
	{ "console-port", "PORT", "TCP port of the console (8443)" },
	{ "listen", "ADDRESS", "address that both listen on (0.0.0.0: all)" },
	{ "agents", NULL, "only the agents that are here, whose console is elsewhere" },
	{ NULL },
};

const struct verb verb_up = {
	.name = "up",
	.operands = "",
	.summary = "Start console and replication server on a data folder, and the agents it has",
	.details = "The folder is made if it is not there; it remembers ports and address. Starts what is not\n"
		   "running, so running it again does no harm.",
	.options = options,
	.uses = USES_DATA | USES_JSON,
	.run = run_up,
};
