/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"
#include "cli-config.h"
#include "fileio.h"
#include "program.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

int boot_save(const struct cli *c, const struct instance *i)
{
	char *path = instance_path(c, "units.env");
	char *text = text_format("# Written by `godwit up`; /etc/default/godwit has the last word.\n"
				 "CONSOLE_OPTIONS=--listen %s --port %llu\n"
				 "SERVER_OPTIONS=--listen %s --port %llu\n",
				 i->listen, (unsigned long long)i->console_port, i->listen, (unsigned long long)i->port);
	int r = fileio_replace(path, text, strlen(text), 0644);

	free(text);
	free(path);
	return r;
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

/* What it says of a failure is no help: the agent is started by hand then, and says it itself. */
static bool systemctl_does(const char *verb, const char *unit)
{
	return program_run((const char *const[]){ "sh", "-c", "exec systemctl --quiet \"$@\" >/dev/null 2>&1", "sh", verb, unit,
						  NULL }) == 0;
}

static bool is_installed(const char *program)
{
	struct stat its, installed;

	return stat(program, &its) == 0 && stat(GODWIT_SBINDIR "/godwit-agent", &installed) == 0 &&
	       its.st_dev == installed.st_dev && its.st_ino == installed.st_ino;
}

/* In a launched copy the unit's condition holds it back, and that is no failure of
 * systemctl's: only the unit's state says it. */
bool boot_start_agent(const struct cli *c, const char *name, const char *program)
{
	char *unit;
	bool good;

	if (!possible(c, "godwit-agent@.service") || !is_installed(program))
		return false;
	unit = text_format("godwit-agent@%s.service", name);
	good = systemctl_does("start", unit) && systemctl_does("is-active", unit);
	if (!good)
		(void)systemctl_does("stop", unit); /* it is not to be tried again beside ours */
	free(unit);
	return good;
}
