/* SPDX-License-Identifier: Apache-2.0 */
/* godwit verify - compare source and replica by hashes, while both are in use. */
#include "api.h"
#include "output.h"
#include "program.h"
#include "progress.h"
#include "show.h"
#include "words.h"
#include <errno.h>
#include <stdio.h>

#define LOOK_EVERY_MS 250

static bool in_state(const json_t *verify, const char *state)
{
	return strcmp(get_text(verify, "state", ""), state) == 0;
}

static void show(struct cli *c, struct progress *p, const json_t *verify)
{
	uint64_t checked = get_u64(verify, "checked_bytes"), total = get_u64(verify, "total_bytes");
	char note[WORDS_MAX], left[SHOW_TEXT_MAX];

	snprintf(note, sizeof(note), say(c, "%u %%, %s left", "%u %%、残り %s"), MIN(show_percent(checked, total), 99),
		 show_bytes(total > checked ? total - checked : 0, left));
	progress_update(p, say(c, "Comparing", "比較中"), checked, total, total ? note : "");
}

/* The end's document, or NULL. */
static json_t *wait_for_end(struct cli *c, const char *name)
{
	struct progress p;

	progress_begin(&p);
	for (;; pause_ms(LOOK_EVERY_MS)) {
		json_t *verify;

		if (interrupted()) {
			progress_clear(&p);
			return NULL;
		}
		verify = api_get(c, "/machines/%s/verify", name);
		if (!verify || (!in_state(verify, "running") && !in_state(verify, "waiting"))) {
			progress_clear(&p);
			return verify;
		}
		show(c, &p, verify);
		json_decref(verify);
	}
}

static int conclude(struct cli *c, const char *name, const json_t *verify)
{
	const json_t *error = get_object(verify, "error");
	char text[WORDS_MAX], remedy[WORDS_MAX], hinted[WORDS_HINT_MAX];

	if (in_state(verify, "done")) {
		c->output->verified(c, name, verify);
		return get_u64(verify, "differing_bytes") || get_u64(verify, "unsettled_bytes") ? CLI_FAILED : CLI_DONE;
	}
	message_words(error, text, remedy);
	fprintf(stderr, say(c, "godwit: %s could not be verified: %s. %s\n", "godwit: %s を検証できませんでした: %s。%s\n"),
		name, text, words_with_data(c, remedy, hinted));
	return CLI_FAILED;
}

static int run_verify(struct cli *c)
{
	const char *name = c->operands[0];
	json_t *verify = api_call(c, "POST", NULL, API_SOON_MS, "/machines/%s/verify", name);
	int r;

	if (!verify)
		return CLI_FAILED;
	json_decref(verify);
	interrupt_catch();
	verify = wait_for_end(c, name);
	if (!verify)
		return interrupted() ? interrupt_status() : CLI_FAILED;
	r = conclude(c, name, verify);
	json_decref(verify);
	return r;
}

const struct verb verb_verify = {
	.name = "verify",
	.operands = "NAME",
	.summary = "Compare source and replica by hashes, while both are in use",
	.details = "Exit status 0 only if all of it was compared and is equal.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 1,
	.first = OPERAND_MACHINE,
	.run = run_verify,
};
