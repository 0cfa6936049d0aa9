/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output - what a verb shows, once for people and once for programs.
 *
 * A verb hands over what it learnt, in the shape that docs/api.md gives it,
 * and never prints it itself; so what one form shows the other has, too.  The
 * JSON documents are described in godwit(1) and only ever gain members.
 */
#ifndef GODWIT_OUTPUT_H
#define GODWIT_OUTPUT_H

#include "cli.h"

struct output {
	/* status: all machines; one of them in detail; one round of --watch */
	void (*machines)(const struct cli *c, const json_t *machines);
	void (*machine)(const struct cli *c, const json_t *machine);
	void (*watch)(const struct cli *c, const json_t *machines, bool one);

	void (*points)(const struct cli *c, const json_t *answer);
	void (*marked)(const struct cli *c, const char *machine, const json_t *point);
	void (*settings)(const struct cli *c, const json_t *before, const json_t *settings,
			 const json_t *described);
	void (*events)(const struct cli *c, const json_t *events);
	void (*event)(const struct cli *c, const json_t *event); /* one of --follow */
	void (*exports)(const struct cli *c, const json_t *exports);
	void (*served)(const struct cli *c, const char *machine, const json_t *export);
	void (*image)(const struct cli *c, const json_t *image); /* machine, disk, file, format, point, size_bytes */
	void (*blueprint)(const struct cli *c, const json_t *before, const json_t *blueprint,
			  const json_t *described);
	void (*launches)(const struct cli *c, const json_t *launches);
	void (*launch)(const struct cli *c, const json_t *launch); /* one, and what can be done with it */
	void (*launch_in_full)(const struct cli *c, const json_t *launch);
	void (*verified)(const struct cli *c, const char *machine, const json_t *verify);
	void (*token)(const struct cli *c, const json_t *token);
	void (*instance)(const struct cli *c, const json_t *instance);

	/* It was done, and there is nothing else to show.  @text is in c->language. */
	void (*done)(const struct cli *c, const char *what, const char *machine, const char *text);
};

/* Of output_text, in a file of their own. */
void output_text_launches(const struct cli *c, const json_t *launches);
void output_text_launch(const struct cli *c, const json_t *launch);
void output_text_launch_in_full(const struct cli *c, const json_t *launch);

extern const struct output output_text, output_json;

/* Beginning of a redraw on a terminal, and its end; nothing elsewhere. */
void output_redraw_begin(void);
void output_redraw_end(void);

#endif
