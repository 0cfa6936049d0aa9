/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"
#include "cli-config.h"
#include "instance.h"
#include "program.h"
#include <stdlib.h>
#include <unistd.h>

static bool possible(const struct cli *c, const char *unit_file)
{
	char *path = text_format("%s/%s", GODWIT_UNITDIR, unit_file);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there && access("/run/systemd/system", F_OK) == 0 && strcmp(c->data, DATA_FOLDER_DEFAULT) == 0;
}

static void change(const char *unit, bool on)
{
	/* It says itself what is wrong; the programs run all the same. */
	(void)program_run((const char *const[]){ "systemctl", "--quiet", on ? "enable" : "disable", unit, NULL });
}

void boot_instance(const struct cli *c, bool on)
{
	if (possible(c, "godwit-console.service")) {
		change("godwit-console.service", on);
		change("godwit-server.service", on);
	}
}

void boot_agent(const struct cli *c, const char *name, bool on)
{
	char *unit;

	if (!possible(c, "godwit-agent@.service"))
		return;
	unit = text_format("godwit-agent@%s.service", name);
	change(unit, on);
	free(unit);
}
