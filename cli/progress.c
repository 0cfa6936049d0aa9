/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"
#include "show.h"
#include "wallclock.h"
#include <stdio.h>
#include <unistd.h>

#define BAR_COLUMNS 24
#define LINE_EVERY_US (5 * USEC_PER_SEC)
#define LINE_EVERY_PERCENT 10

void progress_begin(struct progress *p)
{
	memset(p, 0, sizeof(*p));
	p->terminal = isatty(STDERR_FILENO) == 1;
}

static void bar(char *text, uint64_t done, uint64_t total)
{
	size_t full = (size_t)((double)MIN(done, total) * BAR_COLUMNS / (double)total);

	*text++ = '[';
	for (size_t i = 0; i < BAR_COLUMNS; i++)
		*text++ = i < full ? '#' : '-';
	*text++ = ']';
	*text = '\0';
}

static void redraw(struct progress *p, const char *label, uint64_t done, uint64_t total, const char *note)
{
	char drawn[BAR_COLUMNS + 3] = "", line[512];
	size_t columns = show_terminal_columns(STDERR_FILENO);

	if (total)
		bar(drawn, done, total);
	snprintf(line, sizeof(line), "%s  %s%s%s", label, drawn, *drawn ? "  " : "", note);
	/* A line that wraps could not be drawn over: first the bar goes, then the end. */
	if (show_width(line) >= columns)
		snprintf(line, sizeof(line), "%s  %s", label, note);
	while (show_width(line) >= columns) {
		size_t n = strlen(line) - 1;

		while (n && ((unsigned char)line[n] & 0xc0) == 0x80)
			n--;
		line[n] = '\0';
	}
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
	p->shown = true;
}

void progress_update(struct progress *p, const char *label, uint64_t done, uint64_t total, const char *note)
{
	unsigned int percent = total ? show_percent(done, total) : 0;
	uint64_t now = monotonic_now_us();
	bool another = strcmp(p->label, label) != 0;

	if (another)
		snprintf(p->label, sizeof(p->label), "%s", label);
	if (p->terminal) {
		redraw(p, label, done, total, note);
		return;
	}
	if (!another && now - p->line_us < LINE_EVERY_US && percent < p->percent + LINE_EVERY_PERCENT)
		return;
	fprintf(stderr, "%s%s%s\n", label, *note ? ": " : "", note);
	p->line_us = now;
	p->percent = percent;
}

void progress_finish(struct progress *p, const char *label, const char *note)
{
	progress_clear(p);
	fprintf(stderr, "%s%s%s\n", label, *note ? ": " : "", note);
	p->label[0] = '\0';
	p->percent = 0;
}

void progress_clear(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
