/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit down - stop what `godwit up` started.
 *
 * The agents' BPF programs stay in the kernel and remember what is written, so
 * nothing needs to be compared when they are started again.
 */
#include "boot.h"
#include "local.h"
#include "output.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>

static int stop_agents(struct cli *c, unsigned int *ret_stopped)
{
	char **names;
	size_t n = local_agents(c, &names);
	int r = CLI_DONE;

	*ret_stopped = 0;
	for (size_t i = 0; i < n; i++) {
		if (local_agent(c, names[i]))
			++*ret_stopped;
		if (local_stop_agent(c, names[i]) != CLI_DONE)
			r = CLI_FAILED;
	}
	local_agents_free(names, n);
	return r;
}

/* Those of a machine whose console is elsewhere have a folder that is no instance's. */
static bool has_agents(const struct cli *c)
{
	char **names;
	size_t n = local_agents(c, &names);

	local_agents_free(names, n);
	return n > 0;
}

static int run_down(struct cli *c)
{
	unsigned int agents = 0;
	bool ran, alone;
	struct instance i;
	char text[WORDS_MAX];
	int r = instance_select(c);

	if (r != CLI_DONE)
		return r;
	alone = instance_load(c, &i) == -ENOENT;
	if (alone && !has_agents(c))
		return cli_fail_message(c, MSG_INSTANCE_NOT_FOUND, "data", c->data, NULL);
	r = local_lock(c);
	if (r != CLI_DONE)
		return r;
	ran = local_console(c) || local_server(c);
	/* Agents first: so they end with everything acknowledged that can be. */
	if (!cli_switch(c, "keep-agents"))
		r = stop_agents(c, &agents);
	if (local_stop_server(c) != CLI_DONE || local_stop_console(c) != CLI_DONE)
		r = CLI_FAILED;
	boot_instance(c, false);
	if (r != CLI_DONE)
		return r;
	if (!ran && !agents)
		snprintf(text, sizeof(text), "%s", say(c, "Nothing was running", "動作中のものはありませんでした"));
	else if (agents && alone)
		snprintf(text, sizeof(text),
			 say(c, "Stopped. Writes go on being remembered in the kernel; `godwit up --agents --data %s` sends them",
			     "停止しました。書き込みはカーネル内で記録され、`godwit up --agents --data %s` で送信されます"), c->data);
	else if (agents)
		snprintf(text, sizeof(text),
			 say(c, "Stopped. Writes go on being remembered in the kernel; `godwit up` sends them",
			     "停止しました。書き込みはカーネル内で記録され、`godwit up` で送信されます"));
	else
		snprintf(text, sizeof(text), "%s", say(c, "Stopped", "停止しました"));
	c->output->done(c, "down", NULL, text);
	return CLI_DONE;
}

static const struct verb_option options[] = {
	{ "keep-agents", NULL, "leave the agents of this machine running: they go on when the server is back" },
	{ NULL },
};

const struct verb verb_down = {
	.name = "down",
	.operands = "",
	.summary = "Stop console, replication server and the agents that run here",
	.details = "What is written meanwhile is remembered in the kernel and sent after `godwit up`.",
	.options = options,
	.uses = USES_DATA | USES_JSON,
	.run = run_down,
};
