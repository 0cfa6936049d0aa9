/* SPDX-License-Identifier: Apache-2.0 */
/* godwit blueprint - what a launched machine is to be like. */
#include "assign.h"
#include "output.h"

static void show(struct cli *c, const json_t *before, const json_t *now, const json_t *members)
{
	c->output->blueprint(c, before, now, members);
}

static int run_blueprint(struct cli *c)
{
	static const struct assigned blueprint = { "blueprint", "/blueprint", "members", show };

	return assign_run(c, &blueprint);
}

const struct verb verb_blueprint = {
	.name = "blueprint",
	.operands = "NAME [KEY=VALUE...]",
	.summary = "Show what a launched machine will be like, or change some of it",
	.details =
		"  cpus            processors (2)\n"
		"  memory_mib      memory (1024)\n"
		"  firmware        auto (as the disks say), bios or uefi\n"
		"  network         isolated (a card without a way out), none, user (out by address translation)\n"
		"                  or bridge (on a bridge of the replication server's machine: reached from\n"
		"                  outside; never a drill)\n"
		"  bridge          the bridge's name, for network=bridge; or several, br0,br1: the first for the first\n"
		"                  card and so on, the last one for the rest\n"
		"  forward         [ADDRESS:]PORT:GUESTPORT[,...]: TCP ports of the replication server's machine that\n"
		"                  lead to it, for network=isolated or user; PORT 0: a free one; ADDRESS: 127.0.0.1\n"
		"  disk_bus        auto (as its initramfs has drivers for), virtio, scsi, sata or nvme\n"
		"  convert         change what is bound to the old hardware: auto (only what is), never or always\n"
		"  new_identity    yes: a machine id and SSH host keys of its own (no)\n"
		"  proof           that it has booted: login (a prompt on the serial console), agent, text\n"
		"                  or command\n"
		"  proof_text      the text on the serial console, for proof=text\n"
		"  proof_command   for proof=command: it is run in the machine until it succeeds\n"
		"  post_launch     a command that is run in the machine once, when it has booted\n"
		"  after_restart   start or leave: a machine that is kept or cut over, when the server's machine was restarted\n"
		"  poweroff_seconds  for a machine that is kept or cut over to power itself off, when the server's\n"
		"                  machine goes down (90s); 0: it is not asked to\n"
		"  proof_seconds   how long to wait for the proof (10m)\n"
		"KEY=default goes back to the default. It is used from the next launch on.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 64,
	.first = OPERAND_MACHINE,
	.run = run_blueprint,
};
