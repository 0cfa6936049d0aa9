/* SPDX-License-Identifier: Apache-2.0 */
/* godwit launch, drill - a machine from a point. */
#include "api.h"
#include "fileio.h"
#include "instance.h"
#include "launch-follow.h"
#include "output.h"
#include "when.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BEGIN_TIMEOUT_MS 60000 /* the console waits 45 s for the server */
#define BLUEPRINT_MAX (64 * KIB)

/* --blueprint FILE as an object; NULL after saying what is wrong. */
static json_t *read_blueprint(struct cli *c, const char *file)
{
	json_error_t e;
	json_t *blueprint;
	size_t len;
	char *text;
	int err = fileio_slurp(file, BLUEPRINT_MAX, &text, &len);

	if (err) {
		cli_fail_message(c, MSG_BLUEPRINT_FILE_BAD, "file", file, "reason", strerror(-err), NULL);
		return NULL;
	}
	blueprint = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	free(text);
	if (json_is_object(blueprint))
		return blueprint;
	cli_fail_message(c, MSG_BLUEPRINT_FILE_BAD, "file", file, "reason",
			 blueprint ? "it is not an object" : e.text, NULL);
	json_decref(blueprint);
	return NULL;
}

/* --images FOLDER and --format: where, by its full path, and how. */
static void add_images(const struct cli *c, json_t *body)
{
	const char *folder = cli_option(c, "images"), *format = cli_option(c, "format");
	char *here = *folder == '/' ? text_copy("") : getcwd(NULL, 0), *full;
	size_t len;

	full = *folder == '/' ? text_copy(folder) : text_format("%s/%s", here ? here : "", folder);
	for (len = strlen(full); len > 1 && full[len - 1] == '/';)
		full[--len] = '\0';
	json_object_set_new(body, "to", json_string(full));
	if (format)
		json_object_set_new(body, "format", json_string(format));
	free(here);
	free(full);
}

/* {launch, job}, or NULL after saying why not. */
static json_t *begin(struct cli *c, const char *kind)
{
	const char *file = cli_option(c, "blueprint");
	json_t *blueprint = file ? read_blueprint(c, file) : NULL, *body, *answer;
	char *at;

	if (file && !blueprint)
		return NULL;
	at = when_at(c);
	body = json_pack("{s:s, s:s}", "at", at, "kind", kind);
	free(at);
	if (!body) {
		json_decref(blueprint);
		cli_usage(c, "--at is not valid UTF-8");
		return NULL;
	}
	if (blueprint)
		json_object_set_new(body, "blueprint", blueprint);
	if (strcmp(kind, "images") == 0)
		add_images(c, body);
	answer = api_call(c, "POST", body, BEGIN_TIMEOUT_MS, "/machines/%s/launches", c->operands[0]);
	json_decref(body);
	return answer;
}

static int launch(struct cli *c, const char *kind)
{
	json_t *ids = begin(c, kind);

	return launch_show(c, ids, get_text(ids, "launch", ""));
}

static int run_launch(struct cli *c)
{
	if (cli_switch(c, "test") && cli_switch(c, "cutover"))
		return cli_usage(c, "say either --test or --cutover");
	if (cli_option(c, "images") && (cli_switch(c, "test") || cli_switch(c, "cutover")))
		return cli_usage(c, "--images writes the machine and does not start it: say it without --test or --cutover");
	if (cli_option(c, "format") && !cli_option(c, "images"))
		return cli_usage(c, "--format goes with --images");
	if (cli_option(c, "images"))
		return launch(c, "images");
	return launch(c, cli_switch(c, "cutover") ? "cutover" : "test");
}

static const struct verb_option launch_options[] = {
	{ "at", "latest|POINT|TIME", "the moment: a point's id or label, or a time (latest)", "latest" },
	{ "test", NULL, "to try: it runs from the store until it is terminated or kept (the default)" },
	{ "cutover", NULL, "for good: once it has booted it gets all its data for its own" },
	{ "images", "FOLDER", "do not start it here: write it to that folder on the server's machine, for elsewhere" },
	{ "format", "raw|qcow2|vmdk|vhdx", "of the images (qcow2)", "qcow2 raw vmdk vhdx" },
	{ "blueprint", "FILE", "a JSON object whose members win over the machine's blueprint" },
	{ "wait", NULL, "show the progress until it has booted, or is written" },
	{ NULL },
};

const struct verb verb_launch = {
	.name = "launch",
	.operands = "NAME",
	.summary = "Start a machine from a point, while its replication goes on",
	.details =
	    "Nothing is copied: it runs on a copy-on-write view of the point, in an isolated network unless the\n"
	    "blueprint says otherwise. With --wait the exit status is 0 only if it has booted.\n"
	    "--images writes its disks, a libvirt domain file, a script for plain qemu and a README.txt that\n"
	    "says how to use them, into a new or an empty folder on the replication server.",
	.options = launch_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_launch,
};

static int run_drill(struct cli *c)
{
	return launch(c, "drill");
}

static const struct verb_option drill_options[] = {
	{ "at", "latest|POINT|TIME", "the moment: a point's id or label, or a time (latest)", "latest" },
	{ "blueprint", "FILE", "a JSON object whose members win over the machine's blueprint" },
	{ "wait", NULL, "show the progress until it is over" },
	{ NULL },
};

const struct verb verb_drill = {
	.name = "drill",
	.operands = "NAME",
	.summary = "Launch a machine in isolation, see that it boots, and take it away again",
	.details =
	    "The proof stays: `godwit launches NAME`. With --wait the exit status is 0 only if it has booted.\n"
	    "`godwit settings NAME drill_every_seconds=1d` repeats it every day.",
	.options = drill_options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_drill,
};
