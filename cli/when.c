/* SPDX-License-Identifier: Apache-2.0 */
#include "when.h"
#include "instance.h"
#include <errno.h>
#include <stdlib.h>

bool when_option(const struct cli *c, const char *name, char *ret_text)
{
	const char *text = cli_option(c, name);
	uint64_t us;

	if (!text)
		return true;
	if (wallclock_parse(text, &us) < 0) {
		cli_fail_message(c, MSG_TIME_NOT_UNDERSTOOD, "text", text, NULL);
		return false;
	}
	wallclock_format(us, ret_text);
	return true;
}

char *when_at(const struct cli *c)
{
	const char *text = cli_option(c, "at");
	char time[WALLCLOCK_TEXT_LEN + 1];
	uint64_t us;

	/* No point is as new as this moment: what is meant is the newest there is. */
	if (!text || wallclock_is_now(text))
		return text_copy("latest");
	if (wallclock_parse(text, &us) < 0)
		return text_copy(text);
	return text_copy(wallclock_format(us, time));
}

int when_duration(const char *text, uint64_t *ret_seconds)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 }, { "w", 604800 } };
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-' || number > UINT32_MAX)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(units[i].unit, end) == 0) {
			*ret_seconds = number * units[i].seconds;
			return 0;
		}
	}
	return -EINVAL;
}

int when_milliseconds(const char *text, uint64_t *ret_ms)
{
	unsigned long long number;
	uint64_t seconds;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-' || number > UINT32_MAX)
		return -EINVAL;
	if (*end == '\0' || strcmp(end, "ms") == 0) {
		*ret_ms = number;
		return 0;
	}
	if (when_duration(text, &seconds) < 0)
		return -EINVAL;
	*ret_ms = seconds * 1000;
	return 0;
}
