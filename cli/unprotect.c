/* SPDX-License-Identifier: Apache-2.0 */
/* godwit unprotect - end the protection of a machine and delete its store. */
#include "api.h"
#include "local.h"
#include "output.h"
#include "program.h"
#include "removal.h"
#include "wallclock.h"
#include "words.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DELETE_TIMEOUT_MS 30000
#define AGENT_END_US (10 * USEC_PER_SEC)
#define LOOK_EVERY_MS 50

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

void removal_folder(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A person is asked; a script has to say that it means it. */
static bool confirmed(struct cli *c, const char *name, const json_t *machine)
{
	unsigned long long points = get_u64(get_object(machine, "store"), "points");
	char question[WORDS_MAX], number[24];

	if (cli_switch(c, "yes"))
		return true;
	if (isatty(STDIN_FILENO) != 1) {
		snprintf(number, sizeof(number), "%llu", points);
		(void)cli_fail_message(c, MSG_UNPROTECT_NOT_CONFIRMED, "machine", name, "points", number, NULL);
		return false;
	}
	snprintf(question, sizeof(question),
		 say(c, "This deletes the replica of %s and its %llu points. Type its name to go on: ",
		     "%s のレプリカと復旧ポイント %llu 個を削除します。続けるには名前を入力してください: "), name, points);
	if (confirm_by_typing(question, name))
		return true;
	fprintf(stderr, say(c, "Nothing was changed.\n", "変更していません。\n"));
	return false;
}

/* Whether the machine's agent has its folder here: one of that name may be another console's. */
static bool agent_is_here(const struct cli *c, const char *name, const char *id)
{
	json_t *j;
	bool here;

	if (!c->data || strchr(name, '/'))
		return false;
	j = local_agent_json(c, name);
	here = j && strcmp(get_text(j, "id", ""), id) == 0;
	json_decref(j);
	return here;
}

/* It unpins its BPF programs and exits when the console tells it; then its folder goes. */
static void remove_agent(struct cli *c, const char *name)
{
	uint64_t deadline = monotonic_now_us() + AGENT_END_US;
	char *state = instance_path(c, "agents/%s", name);

	while (local_agent(c, name) && monotonic_now_us() < deadline && !interrupted())
		pause_ms(LOOK_EVERY_MS);
	(void)local_stop_agent(c, name); /* also if it has ended: it is not to come back at boot */
	removal_folder(state);
	free(state);
}

static int unprotect(struct cli *c, const char *name, const char *id)
{
	bool here = agent_is_here(c, name, id);
	char text[WORDS_MAX];
	json_t *answer;

	/* An agent that is not running cannot take its programs out of the kernel. */
	if (here && !cli_switch(c, "force") && local_start_agent(c, name) != CLI_DONE)
		fprintf(stderr, say(c, "With --force its agent is not asked.\n", "--force を付けるとエージェントに問い合わせません。\n"));
	answer = cli_switch(c, "force") ?
			 api_call(c, "DELETE", NULL, DELETE_TIMEOUT_MS, "/machines/%s?force=1", name) :
			 api_call(c, "DELETE", NULL, DELETE_TIMEOUT_MS, "/machines/%s", name);
	if (!answer)
		return CLI_FAILED;
	json_decref(answer);
	if (here)
		remove_agent(c, name);
	snprintf(text, sizeof(text), say(c, "%s is not protected any more; its replica is deleted",
			      "%s の保護を終了し、レプリカを削除しました"), name);
	c->output->done(c, "unprotect", name, text);
	return CLI_DONE;
}

static int run_unprotect(struct cli *c)
{
	json_t *machine = api_get(c, "/machines/%s", c->operands[0]);
	const char *name;
	int r;

	if (!machine)
		return CLI_FAILED;
	name = get_text(machine, "name", c->operands[0]);
	r = confirmed(c, name, machine) ? unprotect(c, name, get_text(machine, "id", "")) : CLI_FAILED;
	json_decref(machine);
	return r;
}

static const struct verb_option options[] = {
	{ "yes", NULL, "do not ask; needed where there is no terminal" },
	{ "force", NULL, "even if its agent is away; and launched machines that need its store are ended" },
	{ NULL },
};

const struct verb verb_unprotect = {
	.name = "unprotect",
	.operands = "NAME",
	.summary = "End the protection of a machine and delete its replica with all its points",
	.options = options,
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_unprotect,
};
