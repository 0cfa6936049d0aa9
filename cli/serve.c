/* SPDX-License-Identifier: Apache-2.0 */
/* godwit serve - a machine's disks at a point, as network disks. */
#include "api.h"
#include "exports.h"
#include "output.h"
#include "program.h"
#include "when.h"
#include "words.h"
#include <stdio.h>
#include <stdlib.h>

static int list(struct cli *c)
{
	json_t *answer = api_get(c, "/exports");

	if (!answer)
		return CLI_FAILED;
	c->output->exports(c, get_array(answer, "exports"));
	json_decref(answer);
	return CLI_DONE;
}

static int stop(struct cli *c, const char *export)
{
	json_t *answer = api_call(c, "DELETE", NULL, API_SOON_MS, "/exports/%s", export);
	char text[WORDS_MAX];

	if (!answer)
		return CLI_FAILED;
	json_decref(answer);
	snprintf(text, sizeof(text), say(c, "%s is not served any more", "%s の提供を終了しました"), export);
	c->output->done(c, "stop", NULL, text);
	return CLI_DONE;
}

static int serve(struct cli *c, const char *machine)
{
	const char *wanted = cli_option(c, "disk");
	char *disk = NULL, *at;
	json_t *served;

	if (wanted && exports_choose_disk(c, machine, wanted, &disk) != CLI_DONE)
		return CLI_FAILED;
	interrupt_catch();
	at = when_at(c);
	served = exports_start(c, machine, at, disk, cli_switch(c, "writable"));
	free(at);
	free(disk);
	if (!served)
		return CLI_FAILED;
	/* What nobody has been told of is not to stay. */
	if (interrupted())
		exports_stop(c, get_text(served, "export", ""));
	else
		c->output->served(c, machine, served);
	json_decref(served);
	return interrupted() ? interrupt_status() : CLI_DONE;
}

static int run_serve(struct cli *c)
{
	const char *export = cli_option(c, "stop");

	if (cli_switch(c, "list") + (export != NULL) + c->operand_count != 1)
		return cli_usage(c, "say either a machine's NAME, or --list, or --stop EXPORT");
	if (cli_switch(c, "list"))
		return list(c);
	return export ? stop(c, export) : serve(c, c->operands[0]);
}

static const struct verb_option options[] = {
	{ "at", "latest|POINT|TIME", "the moment: a point's id or label, or a time (latest)", "latest" },
	{ "disk", "DISK", "only this disk: device, name or id" },
	{ "writable", NULL, "copy-on-write: what is written is kept until it is stopped, the point stays as it is" },
	{ "listen", "ADDRESS", "offer it on TCP there, without encryption; else on a Unix socket" },
	{ "list", NULL, "what is being served" },
	{ "stop", "EXPORT", "stop serving" },
	{ NULL },
};

const struct verb verb_serve = {
	.name = "serve",
	.operands = "NAME",
	.summary = "Show a machine's disks, as they were at some moment, as network disks (NBD)",
	.details = "Prints their URIs and returns; they are served until --stop, or until the server stops.",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_serve,
};
