/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: one document on standard output, the members of docs/api.md as they
 * came; with --watch and --follow one document a line.
 */
#include "output.h"
#include "api.h"
#include <stdio.h>

static void print(const json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
}

static void print_line(const json_t *document)
{
	json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	fflush(stdout);
}

/* {"name": value} around what is shown; @value is borrowed. */
static json_t *wrap(const char *name, const json_t *value)
{
	return json_pack("{s:O}", name, (json_t *)value);
}

static void json_machines(const struct cli *c, const json_t *machines)
{
	json_t *document = wrap("machines", machines);

	print(document);
	json_decref(document);
}

static void json_machine(const struct cli *c, const json_t *machine)
{
	json_t *document = json_pack("{s:[O]}", "machines", (json_t *)machine);

	print(document);
	json_decref(document);
}

static void json_watch(const struct cli *c, const json_t *machines, bool one)
{
	json_t *document = wrap("machines", machines);

	print_line(document);
	json_decref(document);
}

static void json_as_it_came(const struct cli *c, const json_t *answer)
{
	print(answer);
}

static void json_marked(const struct cli *c, const char *machine, const json_t *point)
{
	print(point);
}

static void json_settings(const struct cli *c, const json_t *before, const json_t *settings,
			  const json_t *described)
{
	json_t *document = wrap("settings", settings);

	print(document);
	json_decref(document);
}

static void json_blueprint(const struct cli *c, const json_t *before, const json_t *blueprint, const json_t *described)
{
	json_t *document = wrap("blueprint", blueprint);

	print(document);
	json_decref(document);
}

static void json_launches(const struct cli *c, const json_t *launches)
{
	json_t *document = wrap("launches", launches);

	print(document);
	json_decref(document);
}

static void json_events(const struct cli *c, const json_t *events)
{
	json_t *document = wrap("events", events);

	print(document);
	json_decref(document);
}

static void json_event(const struct cli *c, const json_t *event)
{
	print_line(event);
}

static void json_exports(const struct cli *c, const json_t *exports)
{
	json_t *document = wrap("exports", exports);

	print(document);
	json_decref(document);
}

static void json_served(const struct cli *c, const char *machine, const json_t *served)
{
	print(served);
}

static void json_verified(const struct cli *c, const char *machine, const json_t *verify)
{
	print(verify);
}

static void json_done(const struct cli *c, const char *what, const char *machine, const char *text)
{
	json_t *document = machine ? json_pack("{s:s, s:s}", "done", what, "machine", machine) :
				     json_pack("{s:s}", "done", what);

	print(document);
	json_decref(document);
}

const struct output output_json = {
	.machines = json_machines,
	.machine = json_machine,
	.watch = json_watch,
	.points = json_as_it_came,
	.marked = json_marked,
	.settings = json_settings,
	.blueprint = json_blueprint,
	.launches = json_launches,
	.launch = json_as_it_came,
	.launch_in_full = json_as_it_came,
	.events = json_events,
	.event = json_event,
	.exports = json_exports,
	.served = json_served,
	.image = json_as_it_came,
	.verified = json_verified,
	.token = json_as_it_came,
	.instance = json_as_it_came,
	.done = json_done,
};
