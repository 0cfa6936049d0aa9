/* SPDX-License-Identifier: Apache-2.0 */
/* What people type: identities, times, durations, installation tokens.  What is taken has
 * one text, which is taken again and means the same. */
#include "fuzz.h"
#include "instance.h"
#include "pki.h"
#include "utf8.h"
#include "wallclock.h"
#include "when.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void check_uuid(const char *text)
{
	char again[UUID_TEXT_LEN + 1];
	struct uuid u, v;
	uint64_t epoch;

	if (uuid_parse(text, &u))
		return;
	assert(strlen(text) == UUID_TEXT_LEN);
	assert(uuid_parse(uuid_format(&u, again), &v) == 0 && uuid_equal(&u, &v));
	if (uuid_to_epoch(&v, &u, &epoch) == 0)
		v = uuid_from_epoch(&v, epoch);
	assert(uuid_equal(&u, &v));
}

static void check_time(const char *text)
{
	char again[WALLCLOCK_TEXT_LEN + 1];
	uint64_t us, same;

	if (wallclock_parse(text, &us))
		return;
	assert(strlen(wallclock_format(us, again)) == WALLCLOCK_TEXT_LEN);
	assert(wallclock_parse(again, &same) == 0 && same == us);
}

static void check_duration(const char *text)
{
	char again[32];
	uint64_t seconds, same;

	if (when_duration(text, &seconds))
		return;
	assert(seconds <= (uint64_t)UINT32_MAX * 604800);
	if (seconds > UINT32_MAX) /* as many seconds cannot be typed */
		return;
	snprintf(again, sizeof(again), "%llus", (unsigned long long)seconds);
	assert(when_duration(again, &same) == 0 && same == seconds);
}

/* The command line: one option, whatever its name. */
static const char *typed;

const char *cli_option(const struct cli *c, const char *name)
{
	return typed;
}

int cli_fail_message(const struct cli *c, enum message_code code, ...)
{
	assert(code == MSG_TIME_NOT_UNDERSTOOD);
	return CLI_FAILED;
}

char *text_copy(const char *text)
{
	char *copy = strdup(text);

	assert(copy);
	return copy;
}

static void check_option(const char *text)
{
	char time[WALLCLOCK_TEXT_LEN + 1] = "", *at;
	uint64_t us;
	bool good;

	typed = text;
	good = when_option(NULL, "from", time);
	assert(good == (wallclock_parse(text, &us) == 0) && good == (strlen(time) == WALLCLOCK_TEXT_LEN));
	at = when_at(NULL);
	assert(wallclock_is_now(text) ? strcmp(at, "latest") == 0 : good || strcmp(at, text) == 0);
	free(at);
}

static void check_token(const char *text)
{
	char again[PKI_TOKEN_TEXT_LEN + 1];
	struct pki_token t, same;

	if (pki_token_parse(text, &t))
		return;
	assert(strlen(pki_token_format(&t, again)) == PKI_TOKEN_TEXT_LEN);
	assert(pki_token_parse(again, &same) == 0 && memcmp(&t, &same, sizeof(t)) == 0);
}

static void check_clean(const char *text)
{
	size_t size = strlen(text) / 2 + 1;
	char *clean = malloc(size);

	if (!clean)
		abort();
	utf8_clean(text, clean, size);
	assert(strlen(clean) < size && utf8_is_printable(clean, strlen(clean)));
	if (utf8_is_printable(text, strlen(text)))
		assert(strncmp(text, clean, strlen(clean)) == 0);
	free(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	check_uuid(text);
	check_time(text);
	check_duration(text);
	check_option(text);
	check_token(text);
	check_clean(text);
	free(text);
	return 0;
}
