/* SPDX-License-Identifier: Apache-2.0 */
/* godwit settings - show a machine's settings, or change some. */
#include "assign.h"
#include "output.h"

static void show(struct cli *c, const json_t *before, const json_t *now, const json_t *members)
{
	c->output->settings(c, before, now, members);
}

static int run_settings(struct cli *c)
{
	static const struct assigned settings = { "settings", "/settings", "settings", show };

	return assign_run(c, &settings);
}

const struct verb verb_settings = {
	.name = "settings",
	.operands = "NAME [KEY=VALUE...]",
	.summary = "Show a machine's settings, or change some of them",
	.details =
		"  throttle_mbit_per_second   Mbit/s at most on the network; 0: no limit\n"
		"  epoch_ms                   milliseconds between points while there are writes, 100 to 60000 (500)\n"
		"  compression                auto, none, lz4 or zstd\n"
		"  retention_every_seconds    every point is kept for so long (1d)\n"
		"  retention_hourly_seconds   then one an hour until this age (7d)\n"
		"  retention_daily_seconds    then one a day until this age (30d)\n"
		"  capture                    payload, or dirty-map\n"
		"  drill_every_seconds        a drill so often: is the newest point still a machine? 0: never\n"
		"Durations may be given with a unit: ms (of milliseconds), s, m, h, d, w. KEY=default goes back to the default.\n"
		"A change is in force within a second and is an event.",
	.uses = USES_CONSOLE | USES_JSON,
	.operands_min = 1,
	.operands_max = 64,
	.first = OPERAND_MACHINE,
	.run = run_settings,
};
