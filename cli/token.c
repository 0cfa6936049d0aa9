/* SPDX-License-Identifier: Apache-2.0 */
/* godwit token - an installation token, with which another machine enrols. */
#include "api.h"
#include "instance.h"
#include "output.h"
#include "when.h"
#include <stdlib.h>
#include <unistd.h>

/* Where other machines reach the console: not by this machine's loopback. */
static char *console_seen_from_outside(const struct cli *c)
{
	const char *loopback = "https://127.0.0.1:";
	char name[256];

	if (strncmp(c->console_url, loopback, strlen(loopback)) != 0 || gethostname(name, sizeof(name)) < 0)
		return text_copy(c->console_url);
	name[sizeof(name) - 1] = '\0';
	return text_format("https://%s:%s", name, c->console_url + strlen(loopback));
}

static int run_token(struct cli *c)
{
	const char *role = cli_option(c, "role"), *expires = cli_option(c, "expires");
	uint64_t seconds = 86400;
	json_t *body, *token;
	char *console;

	if (expires && when_duration(expires, &seconds) < 0)
		return cli_usage(c, "--expires is a duration like 1h or 7d, not \"%s\"", expires);
	body = json_pack("{s:s, s:I}", "role", role ? role : "agent", "expires_seconds", (json_int_t)seconds);
	token = api_call(c, "POST", body, API_SOON_MS, "/tokens");
	json_decref(body);
	if (!token)
		return CLI_FAILED;
	console = console_seen_from_outside(c);
	json_object_set_new(token, "console", json_string(console));
	free(console);
	c->output->token(c, token);
	json_decref(token);
	return CLI_DONE;
}

static const struct verb_option options[] = {
	{ "role", "agent|server", "what enrols with it (agent)", "agent server" },
	{ "expires", "DURATION", "how long it can be used: 1h, 7d (1d)" },
	{ NULL },
};

const struct verb verb_token = {
	.name = "token",
	.operands = "",
	.summary = "Make an installation token, with which other machines enrol",
	.details = "It can be used any number of times until it expires, and it also tells the machine how to\n"
		   "recognise this console: no certificate needs to be copied.",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.run = run_token,
};
