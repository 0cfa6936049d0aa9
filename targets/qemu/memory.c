/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"
#include "daemon.h"
#include "spec.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* @pid's memory, if it is a qemu that @parent has started. */
static uint64_t resident_bytes(int pid, pid_t parent)
{
	char path[64], comm[32] = "";
	unsigned long long pages = 0;
	int from = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%31[^)]) %*c %d", comm, &from) != 2)
		from = 0;
	fclose(f);
	if (from != parent || strncmp(comm, "qemu-system", 11) != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t machine_bytes(pid_t launch)
{
	DIR *d = opendir("/proc");
	uint64_t sum = 0;
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (atoi(e->d_name) > 1)
			sum += resident_bytes(atoi(e->d_name), launch);
	if (d)
		closedir(d);
	return sum;
}

static uint64_t promised_of(const char *folder, uint64_t own_asked_us)
{
	char path[PATH_MAX + 16];
	struct launch_spec s;
	struct fault f;
	uint64_t has;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/launch.pid", folder);
	pid = daemon_running(path);
	if (pid <= 0 || pid == getpid())
		return 0;
	snprintf(path, sizeof(path), "%s/spec.json", folder);
	if (spec_read(path, &s, &f) || s.kind == LAUNCH_IMAGES)
		return 0;
	has = machine_bytes(pid);
	if (!has && s.asked_us > own_asked_us)
		return 0;
	return s.memory_bytes > has ? s.memory_bytes - has : 0;
}

uint64_t memory_promised_bytes(const char *folder)
{
	char path[PATH_MAX];
	struct launch_spec own;
	struct dirent *e;
	uint64_t sum = 0;
	struct fault f;
	DIR *d;

	snprintf(path, sizeof(path), "%s/spec.json", folder);
	if (spec_read(path, &own, &f))
		own.asked_us = UINT64_MAX;
	snprintf(path, sizeof(path), "%s/..", folder);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/../%s", folder, e->d_name);
		sum += promised_of(path, own.asked_us);
	}
	if (d)
		closedir(d);
	return sum;
}

static uint64_t available_bytes(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * KIB;
}

uint64_t memory_free_bytes(const char *folder)
{
	uint64_t available = available_bytes(), promised = memory_promised_bytes(folder);

	return available > promised ? available - promised : 0;
}
