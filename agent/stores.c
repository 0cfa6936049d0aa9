/* SPDX-License-Identifier: Apache-2.0 */
#include "stores.h"
#include "pki.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOCK "/server.pid"

/* The state folder of the replication server that @pid is, as it calls it itself. */
static bool server_state(const char *pid, char *ret, size_t size)
{
	char folder[300], link[600], path[PATH_MAX];
	bool found = false;
	struct dirent *entry;
	DIR *fds;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
	fds = opendir(folder);
	while (fds && !found && (entry = readdir(fds))) {
		ssize_t n;

		snprintf(link, sizeof(link), "%s/%s", folder, entry->d_name);
		n = readlink(link, path, sizeof(path) - 1);
		path[MAX(n, 0)] = '\0';
		found = n > (ssize_t)strlen(LOCK) && strcmp(path + n - strlen(LOCK), LOCK) == 0;
		if (found)
			snprintf(ret, size, "%.*s", (int)(n - (ssize_t)strlen(LOCK)), path);
	}
	if (fds)
		closedir(fds);
	return found;
}

static bool is_server(const char *pid)
{
	char path[300], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	(void)!fgets(name, sizeof(name), f);
	fclose(f);
	return strcmp(name, "godwit-server\n") == 0;
}

static bool is_of_console(const char *pid, const char *state, const uint8_t ca_pin[16])
{
	char path[PATH_MAX + 320];
	uint8_t pin[16];

	snprintf(path, sizeof(path), "/proc/%s/root%s/ca.crt", pid, state);
	return pki_pin(path, pin) == 0 && memcmp(pin, ca_pin, sizeof(pin)) == 0;
}

unsigned int stores_here(const uint8_t ca_pin[16], struct store_here ret[STORES_MAX])
{
	DIR *all = opendir("/proc");
	struct dirent *entry;
	char state[PATH_MAX - 8];
	unsigned int count = 0;

	while (all && count < STORES_MAX && (entry = readdir(all))) {
		struct store_here *s = &ret[count];

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !is_server(entry->d_name) ||
		    !server_state(entry->d_name, state, sizeof(state)) || !is_of_console(entry->d_name, state, ca_pin))
			continue;
		snprintf(s->shown, sizeof(s->shown), "%s/store", state);
		snprintf(s->path, sizeof(s->path), "/proc/%.20s/root%s", entry->d_name, s->shown);
		/* The same place by its own name, where there is one file system tree. */
		if (access(s->shown, F_OK) == 0)
			snprintf(s->path, sizeof(s->path), "%s", s->shown);
		count++;
	}
	if (all)
		closedir(all);
	return count;
}
