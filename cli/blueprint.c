/* SPDX-License-Identifier: Apache-2.0 */
/* godwit blueprint - what a launched machine is to be like. */
#include "api.h"
#include "assign.h"
#include "output.h"

static int show(struct cli *c, const json_t *before, const json_t *blueprint)
{
	json_t *table = api_get(c, "/blueprint");

	if (!table)
		return CLI_FAILED;
	c->output->blueprint(c, before, blueprint, get_array(table, "members"));
	json_decref(table);
	return CLI_DONE;
}

static int change(struct cli *c, const char *name, const json_t *before)
{
	json_t *body = assign_read(c), *after;
	int r;

	if (!body)
		return CLI_USAGE;
	after = api_call(c, "PATCH", body, API_SOON_MS, "/machines/%s/blueprint", name);
	json_decref(body);
	if (!after)
		return CLI_FAILED;
	r = show(c, before, after);
	json_decref(after);
	return r;
}

static int run_blueprint(struct cli *c)
{
	json_t *blueprint = api_get(c, "/machines/%s/blueprint", c->operands[0]);
	int r;

	if (!blueprint)
		return CLI_FAILED;
	r = c->operand_count == 1 ? show(c, NULL, blueprint) : change(c, c->operands[0], blueprint);
	json_decref(blueprint);
	return r;
}

const struct verb verb_blueprint = {
	.name = "blueprint",
	.operands = "NAME [KEY=VALUE...]",
	.summary = "Show what a launched machine will be like, or change some of it",
	.details =
		"  cpus            processors (2)\n"
		"  memory_mib      memory (1024)\n"
		"  firmware        auto (as the disks say), bios or uefi\n"
		"  network         isolated (a card without a way out), none, or user (out by address translation)\n"
		"  disk_bus        virtio, scsi, sata or nvme\n"
		"  proof           that it has booted: login (a prompt on the serial console), agent or text\n"
		"  proof_text      the text on the serial console, for proof=text\n"
		"  proof_seconds   how long to wait for the proof (10m)\n"
		"KEY=default goes back to the default. It is used from the next launch on.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 64,
	.first = OPERAND_MACHINE,
	.run = run_blueprint,
};
