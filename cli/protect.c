/* SPDX-License-Identifier: Apache-2.0 */
/*
 * godwit protect - start an agent on this machine for some of its disks.
 *
 * The agent checks the disks, enrols with a token and runs from its state
 * folder, <data>/agents/NAME.  If it cannot be started the enrolment is taken
 * back; where that cannot be done (the console is elsewhere), or where it is not
 * known whether there was one, the folder with its key stays: with it the same
 * command goes on, without it the name would be taken by nobody.
 */
#include "api.h"
#include "enrolment.h"
#include "fileio.h"
#include "follow.h"
#include "local.h"
#include "name.h"
#include "output.h"
#include "program.h"
#include "removal.h"
#include "words.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGV_MAX (DISKS_MAX + 16)

struct protection {
	struct cli *c;
	const char *name;
	char *state, *url, *token;
	bool elsewhere; /* the console is not this instance's */
};

/* --- with which token ------------------------------------------------------------------------ */

static int token_from_options(struct protection *p, const char *url)
{
	const char *token = cli_option(p->c, "token"), *file = cli_option(p->c, "token-file");
	int r = CLI_DONE;

	if (token && file)
		return cli_usage(p->c, "--token and --token-file are two ways to say the same: give one");
	if (!file && !enrolment_take_token(&token))
		return cli_usage(p->c, "--console needs a token too, by --token-file, GODWIT_TOKEN or --token: "
				       "make one with `godwit token` at that console");
	if (cli_switch(p->c, "wait"))
		return cli_usage(p->c, "--wait needs an instance on this machine; `godwit status` at the console shows it");
	p->elsewhere = true;
	p->url = instance_console(p->c, url);
	if (!p->url)
		return CLI_FAILED;
	p->token = file ? instance_read_token(file, &r) : text_copy(token);
	return p->token ? CLI_DONE :
			  cli_fail_message(p->c, MSG_TOKEN_FILE_UNREADABLE, "file", file, "reason", strerror(-r), NULL);
}

static int token_from_instance(struct protection *p)
{
	p->token = local_make_token(p->c, "agent");
	if (!p->token)
		return CLI_FAILED;
	p->url = text_copy(p->c->console_url);
	return CLI_DONE;
}

/* --- the agent ---------------------------------------------------------------------------------- */

/* `godwit-agent check` or `enrol`; it says itself what is wrong. */
static int run_agent(const struct protection *p, const char *program, const char *verb)
{
	const char *argv[ARGV_MAX], *proxy = cli_option(p->c, "proxy");
	size_t n = 0;
	int r;

	argv[n++] = program;
	argv[n++] = verb;
	argv[n++] = "--state";
	argv[n++] = p->state;
	if (strcmp(verb, "enrol") == 0) {
		argv[n++] = "--console";
		argv[n++] = p->url;
		argv[n++] = "--name";
		argv[n++] = p->name;
		if (proxy) {
			argv[n++] = "--proxy";
			argv[n++] = proxy;
		}
	}
	for (size_t i = 0; i < p->c->operand_count; i++)
		argv[n++] = p->c->operands[i];
	argv[n] = NULL;
	r = program_run_with_token(argv, p->token);
	if (interrupted())
		return interrupt_status();
	return r < 0 ? cli_fail_errno(p->c, program, r) : r == 0 ? CLI_DONE : CLI_FAILED;
}

static bool has_file(const struct protection *p, const char *name)
{
	char *path = instance_path(p->c, "agents/%s/%s", p->name, name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

/* The console does not know the machine any more, or never did; the agent drops a key that it refused. */
static bool is_unknown(struct protection *p)
{
	char why[256];
	json_t *answer;

	if (!has_file(p, "agent.json"))
		return !has_file(p, "agent.key");
	if (p->elsewhere ||
	    api_try(p->c, "DELETE", NULL, API_SOON_MS, &answer, why, sizeof(why), "/machines/%s?force=1", p->name) < 0)
		return false;
	json_decref(answer);
	return true;
}

static void take_back(struct protection *p)
{
	(void)local_stop_agent(p->c, p->name);
	if (is_unknown(p))
		removal_folder(p->state);
	else
		(void)cli_fail_message(p->c, MSG_PROTECT_UNFINISHED, "machine", p->name, "folder", p->state, NULL);
}

static bool same_disks(const struct protection *p, const json_t *disks)
{
	struct stat a, b;

	if (json_array_size(disks) != p->c->operand_count)
		return false;
	for (size_t i = 0; i < p->c->operand_count; i++)
		if (stat(p->c->operands[i], &a) < 0 || stat(get_text(json_array_get(disks, i), "device", ""), &b) < 0 ||
		    a.st_rdev != b.st_rdev)
			return false;
	return true;
}

/* Enrolled by this very command, whose agent could not be started then. */
static bool is_begun(const struct protection *p)
{
	json_t *j = local_agent_json(p->c, p->name);
	bool begun = j && !local_agent(p->c, p->name) && strcmp(get_text(j, "name", ""), p->name) == 0 &&
		     strcmp(get_text(j, "console", ""), p->url) == 0 && same_disks(p, get_array(j, "disks"));

	json_decref(j);
	return begun;
}

static int enrol_and_start(struct protection *p)
{
	char *program = program_find(p->c, "godwit-agent");
	bool fresh;
	int r;

	if (!program)
		return CLI_FAILED;
	fresh = !has_file(p, "agent.json");
	r = is_begun(p) ? CLI_DONE : run_agent(p, program, "enrol");
	if (r == CLI_DONE)
		r = local_start_agent(p->c, p->name);
	if (r != CLI_DONE && fresh)
		take_back(p);
	free(program);
	return r;
}

/* --- the verb ---------------------------------------------------------------------------------------- */

static void show(const struct protection *p)
{
	const char *data = p->c->data;
	bool usual = strcmp(data, DATA_FOLDER_DEFAULT) == 0;
	char text[WORDS_MAX];

	if (p->elsewhere)
		snprintf(text, sizeof(text), say(p->c, "%s is protected: its agent is running. At the console, `godwit status %s "
				      "--watch` shows the initial sync.",
				      "%s の保護を開始しました。コンソール側の `godwit status %s --watch` で初期同期を確認できます。"),
			 p->name, p->name);
	else
		snprintf(text, sizeof(text), say(p->c, "%s is protected: its agent is running and the initial sync has begun. "
				      "Watch it: godwit status %s --watch%s%s",
				      "%s の保護と初期同期を開始しました。確認: godwit status %s --watch%s%s"),
			 p->name, p->name, usual ? "" : " --data ", usual ? "" : data);
	p->c->output->done(p->c, "protect", p->name, text);
	fflush(stdout);
}

static int protect(struct protection *p)
{
	const char *url = cli_option(p->c, "console");
	int r = instance_select(p->c);

	if (r == CLI_DONE && !url && (cli_option(p->c, "token") || cli_option(p->c, "token-file")))
		return cli_usage(p->c, "--token and --token-file belong to --console");
	if (r == CLI_DONE && url)
		r = token_from_options(p, url);
	if (r == CLI_DONE)
		r = local_lock(p->c);
	if (r != CLI_DONE)
		return r;
	p->state = instance_path(p->c, "agents/%s", p->name);
	interrupt_catch();
	if (!url) /* after the waiting for the lock: it is good for a moment only */
		r = token_from_instance(p);
	if (r == CLI_DONE)
		r = enrol_and_start(p);
	if (r != CLI_DONE) {
		local_tidy(p->c);
		return r;
	}
	if (!cli_switch(p->c, "wait") || !cli_switch(p->c, "json"))
		show(p);
	return cli_switch(p->c, "wait") ? follow_to_continuous(p->c, p->name) : CLI_DONE;
}

static int run_protect(struct cli *c)
{
	struct protection p = { .c = c, .name = cli_option(c, "name") };
	int r;

	if (!p.name)
		return cli_usage(c, "--name is missing: what to call this machine");
	if (!name_is_ok(p.name))
		return cli_usage(c, "--name is made of letters, digits, \".\", \"_\" and \"-\", at most 63, and begins with a "
				    "letter or digit: not \"%s\"", p.name);
	if (geteuid() != 0)
		return cli_fail_message(c, MSG_NOT_ROOT, NULL);
	r = protect(&p);
	free(p.state);
	free(p.url);
	free(p.token);
	return r;
}

static const struct verb_option options[] = {
	{ "name", "NAME", "what to call this machine" },
	{ "wait", NULL, "show the progress until it is continuously protected" },
	{ "console", "URL", "a console elsewhere; with a token of `godwit token` there" },
	{ "token-file", "FILE", "the installation token is in it" },
	{ "token", "TOKEN", "the same, for every local user to see; or in GODWIT_TOKEN" },
	{ "proxy", "URL", "HTTP proxy on the way to the console" },
	{ NULL },
};

const struct verb verb_protect = {
	.name = "protect",
	.operands = "DISK...",
	.summary = "Replicate disks of this machine, from now on and continuously",
	.details = "DISK is a whole disk, such as /dev/sda; several disks of a machine are kept in one order.\n"
		   "Nothing is stopped, rebooted or loaded into the kernel as a module.",
	.options = options,
	.uses = USES_DATA | USES_JSON,
	.operands_min = 1,
	.operands_max = DISKS_MAX,
	.first = OPERAND_DISK,
	.others = OPERAND_DISK,
	.run = run_protect,
};
