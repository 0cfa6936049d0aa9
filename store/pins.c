/* SPDX-License-Identifier: Apache-2.0 */
#include "pins.h"
#include "bytes.h"
#include "format.h"
#include "search.h"

#include <inttypes.h>
#include <stdio.h>

#define PINS_MAX_BYTES (16 * MIB)
#define POLICY_MAX_BYTES 4096
#define SUM_LINE_BYTES 21 /* "sum " and 16 digits and a newline */

/* --- text files that end with a line with the checksum of what is before it ---- */

static int text_load(const struct store_sys *sys, const char *dir, const char *name, size_t max, char **ret)
{
	char *text, line[SUM_LINE_BYTES + 1];
	size_t len;
	int err = sys_slurp(sys, dir, name, max, &text, &len);

	if (err < 0)
		return err == -EFBIG ? -EBADMSG : err;
	if (len >= SUM_LINE_BYTES) {
		snprintf(line, sizeof(line), "sum %016" PRIx64 "\n", payload_checksum(text, len - SUM_LINE_BYTES));
		if (memcmp(text + len - SUM_LINE_BYTES, line, SUM_LINE_BYTES) == 0) {
			text[len - SUM_LINE_BYTES] = '\0';
			*ret = text;
			return 0;
		}
	}
	free(text);
	return -EBADMSG;
}

static int text_save(const struct store_sys *sys, const char *dir, const char *name, struct bytes *text)
{
	char line[SUM_LINE_BYTES + 1];
	int err;

	snprintf(line, sizeof(line), "sum %016" PRIx64 "\n", payload_checksum(text->data, text->len));
	err = bytes_append(text, line, SUM_LINE_BYTES);
	return err < 0 ? err : sys_replace(sys, dir, name, text->data, text->len);
}

/* --- pins ------------------------------------------------------------------------- */

static const char pins_head[] = "godwit pins 1\n";

static uint64_t epoch_at(const void *table, size_t index)
{
	return ((const struct pin *)table)[index].epoch;
}

/* Where @epoch is, or would be. */
static size_t pins_place(const struct pins *p, uint64_t epoch)
{
	return search_below(p->list, p->count, epoch_at, epoch);
}

const struct pin *pins_find(const struct pins *p, uint64_t epoch)
{
	size_t at = pins_place(p, epoch);

	return at < p->count && p->list[at].epoch == epoch ? &p->list[at] : NULL;
}

int pins_set(struct pins *p, uint64_t epoch, const char *label)
{
	size_t at = pins_place(p, epoch);
	struct pin *list;

	if (!label_valid(label))
		return -EINVAL;
	if (at == p->count || p->list[at].epoch != epoch) {
		list = reallocarray(p->list, p->count + 1, sizeof(*list));
		if (!list)
			return -ENOMEM;
		memmove(list + at + 1, list + at, (p->count - at) * sizeof(*list));
		p->list = list;
		p->count++;
	}
	p->list[at] = (struct pin){ .epoch = epoch };
	memcpy(p->list[at].label, label, strlen(label));
	return 0;
}

static int parse_pin(struct pins *p, char *line)
{
	char *end;
	uint64_t epoch;

	errno = 0;
	epoch = strtoull(line, &end, 10);
	if (errno != 0 || end == line || *end != ' ' || epoch == 0 || epoch > EPOCH_MAX)
		return -EBADMSG;
	return pins_set(p, epoch, end + 1) == -ENOMEM ? -ENOMEM : label_valid(end + 1) ? 0 : -EBADMSG;
}

int pins_load(const struct store_sys *sys, const char *dir, struct pins *ret)
{
	struct pins p = { 0 };
	char *text, *line, *next;
	int err = text_load(sys, dir, "pins", PINS_MAX_BYTES, &text);

	if (err == -ENOENT) {
		*ret = p;
		return 0;
	}
	if (err < 0)
		return err;
	if (strncmp(text, pins_head, sizeof(pins_head) - 1) != 0)
		err = -EBADMSG;
	for (line = text + sizeof(pins_head) - 1; err == 0 && *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		err = parse_pin(&p, line);
	}
	free(text);
	if (err < 0)
		pins_done(&p);
	else
		*ret = p;
	return err;
}

int pins_load_if_whole(const struct store_sys *sys, const char *dir, struct pins *ret)
{
	int err = pins_load(sys, dir, ret);

	if (err == -EBADMSG) {
		*ret = (struct pins){ 0 };
		return 0;
	}
	return err;
}

void pins_done(struct pins *p)
{
	free(p->list);
	*p = (struct pins){ 0 };
}

int pins_save(const struct store_sys *sys, const char *dir, const struct pins *p)
{
	char line[STORE_LABEL_MAX + 32];
	struct bytes text = { 0 };
	int err = bytes_append(&text, pins_head, sizeof(pins_head) - 1);
	size_t i;

	for (i = 0; i < p->count && err == 0; i++) {
		int n = snprintf(line, sizeof(line), "%" PRIu64 " %s\n", p->list[i].epoch, p->list[i].label);

		err = bytes_append(&text, line, (size_t)n);
	}
	if (err == 0)
		err = text_save(sys, dir, "pins", &text);
	bytes_done(&text);
	return err;
}

/* --- policy --------------------------------------------------------------------------- */

int store_policy_set(const char *dir, const struct store_sys *sys, const struct store_policy *policy)
{
	char line[128];
	struct bytes text = { 0 };
	int n = snprintf(line, sizeof(line), "godwit policy 1\nevery %" PRIu32 "\nhourly %" PRIu32 "\ndaily %" PRIu32 "\n",
			 policy->every_s, policy->hourly_s, policy->daily_s);
	int err = bytes_append(&text, line, (size_t)n);

	if (err == 0)
		err = text_save(sys, dir, "policy", &text);
	bytes_done(&text);
	return err;
}

int store_policy_get(const char *dir, const struct store_sys *sys, struct store_policy *ret)
{
	struct store_policy p;
	char *text;
	int end = 0, err = text_load(sys, dir, "policy", POLICY_MAX_BYTES, &text);

	if (err == -ENOENT) {
		*ret = STORE_POLICY_DEFAULT;
		return 0;
	}
	if (err < 0)
		return err;
	if (sscanf(text, "godwit policy 1\nevery %" SCNu32 "\nhourly %" SCNu32 "\ndaily %" SCNu32 "\n%n", &p.every_s,
		   &p.hourly_s, &p.daily_s, &end) != 3 || end == 0 || text[end] != '\0')
		err = -EBADMSG;
	free(text);
	if (err == 0)
		*ret = p;
	return err;
}
