/* SPDX-License-Identifier: Apache-2.0 */
#include "exports.h"
#include "api.h"
#include "instance.h"
#include "program.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define START_TIMEOUT_MS 60000

/* --- which disk ----------------------------------------------------------------------------- */

static bool names_disk(const json_t *disk, const char *wanted)
{
	const char *device = get_text(disk, "device", ""), *slash = strrchr(device, '/');

	return strcmp(wanted, device) == 0 || (slash && strcmp(wanted, slash + 1) == 0) ||
	       strcmp(wanted, get_text(disk, "id", "")) == 0;
}

static void list_disks(const json_t *disks, char *text, size_t size)
{
	const json_t *disk;
	size_t i, n = 0;

	*text = '\0';
	json_array_foreach(disks, i, disk) {
		n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "", get_text(disk, "device", "?"));
		if (n >= size)
			return;
	}
}

static int choose(struct cli *c, const char *machine, const json_t *disks, const char *wanted, char **ret_id)
{
	char list[FAULT_VALUE_MAX];
	const json_t *disk;
	size_t i;

	list_disks(disks, list, sizeof(list));
	if (!wanted && json_array_size(disks) > 1)
		return cli_fail_message(c, MSG_MACHINE_HAS_SEVERAL_DISKS, "machine", machine, "disks", list, NULL);
	json_array_foreach(disks, i, disk) {
		if (!wanted || names_disk(disk, wanted)) {
			*ret_id = text_copy(get_text(disk, "id", ""));
			return CLI_DONE;
		}
	}
	return cli_fail_message(c, MSG_MACHINE_HAS_NO_SUCH_DISK, "machine", machine, "disk", wanted ? wanted : "", "disks",
				list, NULL);
}

int exports_choose_disk(struct cli *c, const char *machine, const char *wanted, char **ret_id)
{
	json_t *answer = api_get(c, "/machines/%s", machine);
	int r;

	if (!answer)
		return CLI_FAILED;
	r = choose(c, machine, get_array(answer, "disks"), wanted, ret_id);
	json_decref(answer);
	return r;
}

/* --- starting and stopping -------------------------------------------------------------------- */

json_t *exports_start(struct cli *c, const char *machine, const char *at, const char *disk, bool writable)
{
	const char *listen = cli_option(c, "listen");
	json_t *body = json_pack("{s:s, s:b, s:s, s:s*}", "at", at, "writable", writable, "listen",
				 listen ? listen : "unix", "disk", disk);
	json_t *answer;

	if (!body) {
		cli_usage(c, "--at is not valid UTF-8");
		return NULL;
	}
	answer = api_call(c, "POST", body, START_TIMEOUT_MS, "/machines/%s/exports", machine);
	json_decref(body);
	return answer;
}

void exports_stop(struct cli *c, const char *export)
{
	json_t *answer;
	char why[256];

	if (api_try(c, "DELETE", NULL, API_SOON_MS, &answer, why, sizeof(why), "/exports/%s", export) == 0)
		json_decref(answer);
}

/* --- the URI ------------------------------------------------------------------------------------ */

int exports_reachable(const struct cli *c, const char *uri)
{
	const char *mark = "socket=", *found = strstr(uri, mark);
	char *socket;
	int r = CLI_DONE;

	if (strncmp(uri, "nbd+unix:", 9) != 0 || !found)
		return CLI_DONE;
	found += strlen(mark);
	socket = text_format("%.*s", (int)strcspn(found, "&"), found);
	if (!strchr(socket, '%') && access(socket, F_OK) < 0)
		r = cli_fail_message(c, MSG_EXPORT_ELSEWHERE, "socket", socket, NULL);
	free(socket);
	return r;
}

uint64_t exports_data_bytes(const char *uri, uint64_t size_bytes)
{
	const char *const argv[] = { "nbdinfo", "--map", "--totals", "--json", uri, NULL };
	uint64_t data = 0;
	json_t *map, *extent;
	FILE *out;
	pid_t pid;
	size_t i;
	int fd;

	if (!program_in_path("nbdinfo") || program_start(argv, &pid, &fd) < 0)
		return size_bytes;
	out = fdopen(fd, "r");
	map = out ? json_loadf(out, 0, NULL) : NULL;
	if (out)
		fclose(out);
	if (program_wait(pid) != 0 || !json_is_array(map)) {
		json_decref(map);
		return size_bytes;
	}
	/* Bit 1 of an extent's type: reads as zeroes. */
	json_array_foreach(map, i, extent)
		if (!(get_u64(extent, "type") & 2))
			data += get_u64(extent, "size");
	json_decref(map);
	return MIN(data, size_bytes);
}
