/* SPDX-License-Identifier: Apache-2.0 */
/* godwit pause, resume, rescan, scrub: one call and one sentence each. */
#include "api.h"
#include "output.h"
#include "words.h"
#include <stdio.h>

static int control(struct cli *c, const char *english, const char *japanese)
{
	const char *name = c->operands[0];
	char text[WORDS_MAX];
	json_t *answer = api_call(c, "POST", NULL, API_SOON_MS, "/machines/%s/%s", name, c->verb->name);

	if (!answer)
		return CLI_FAILED;
	json_decref(answer);
	snprintf(text, sizeof(text), say(c, english, japanese), name, name);
	c->output->done(c, c->verb->name, name, text);
	return CLI_DONE;
}

static int run_pause(struct cli *c)
{
	return control(c, "%s is paused: what is written now is remembered and sent after `godwit resume %s`",
		       "%s を一時停止しました。書き込みは記録され、`godwit resume %s` の後に送信されます");
}

static int run_resume(struct cli *c)
{
	return control(c, "%s goes on; `godwit status %s` shows it catching up",
		       "%s を再開しました。`godwit status %s` で確認できます");
}

/* What a rescan waits for (docs/api.md). */
static const char *rescan_words(const struct cli *c, const char *begins)
{
	if (strcmp(begins, "resume") == 0)
		return say(c, "%s will be compared with its replica by hashes after `godwit resume %s`",
			   "%s は再開後にハッシュで比較します: godwit resume %s");
	if (strcmp(begins, "agent") == 0)
		return say(c, "%s will be compared with its replica by hashes when its agent is back; `godwit status %s` shows it",
			   "エージェントが戻り次第 %s をハッシュで比較します。`godwit status %s` で確認できます");
	if (strcmp(begins, "server") == 0)
		return say(c, "%s will be compared with its replica by hashes when its replication server is back; `godwit status %s` "
			      "shows it",
			   "レプリケーションサーバーが戻り次第 %s をハッシュで比較します。`godwit status %s` で確認できます");
	return say(c, "%s is compared with its replica by hashes, and differences are sent; `godwit status %s` shows it",
		   "%s をハッシュで比較し、差分を送信します。`godwit status %s` で確認できます");
}

static int run_rescan(struct cli *c)
{
	const char *name = c->operands[0];
	json_t *answer = api_call(c, "POST", NULL, API_SOON_MS, "/machines/%s/rescan", name);
	char text[WORDS_MAX];

	if (!answer)
		return CLI_FAILED;
	snprintf(text, sizeof(text), rescan_words(c, get_text(answer, "begins", "now")), name, name);
	json_decref(answer);
	c->output->done(c, c->verb->name, name, text);
	return CLI_DONE;
}

static int run_scrub(struct cli *c)
{
	return control(c, "The whole store of %s is being read back and checked; the result will be in `godwit events %s`",
		       "%s の保存データ全体を検査しています。結果は `godwit events %s` に表示されます");
}

const struct verb verb_pause = {
	.name = "pause",
	.operands = "NAME",
	.summary = "Stop sending; what is written meanwhile is remembered",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_pause,
};

const struct verb verb_resume = {
	.name = "resume",
	.operands = "NAME",
	.summary = "Go on after a pause",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_resume,
};

const struct verb verb_rescan = {
	.name = "rescan",
	.operands = "NAME",
	.summary = "Compare source and replica by hashes and send what differs",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_rescan,
};

const struct verb verb_scrub = {
	.name = "scrub",
	.operands = "NAME",
	.summary = "Read back everything that is stored of a machine and check it",
	.details = "Runs in the background; the result is an event.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_scrub,
};
