/* SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define FALLBACK      "EFI/BOOT/BOOTX64.EFI"
#define LISTING_BYTES (256 * KIB)
#define ESP_MAX_BYTES (4 * GIB) /* it is copied into the launch's folder and back */

/* The best first.  Without Secure Boot the shim is not needed, and GRUB finds what is its
 * own wherever it is started from; a shim looks beside itself. */
static const char *const wanted[] = { "grubx64.efi", "systemd-bootx64.efi", "refind_x64.efi", "shimx64.efi",
				      "bootmgfw.efi", "elilo.efi" };

/* 0 is the best; what is no loader is UINT_MAX. */
static unsigned int rank(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strlen(name);

	for (unsigned int i = 0; i < ARRAY_LEN(wanted); i++)
		if (strcasecmp(name, wanted[i]) == 0)
			return i;
	/* Any other x64 program but the shim's helpers: MokManager, fallback. */
	if (len > 7 && strcasecmp(name + len - 7, "x64.efi") == 0 && strcasecmp(name, "mmx64.efi") != 0 &&
	    strcasecmp(name, "fbx64.efi") != 0)
		return ARRAY_LEN(wanted);
	return UINT_MAX;
}

int loader_choose(const char *listing, char *ret_path, size_t size)
{
	char *copy = strdup(listing), *save = NULL;
	unsigned int best = UINT_MAX;
	int err = -ENOENT;

	if (!copy)
		return -ENOMEM;
	for (char *line = strtok_r(copy, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		const char *path = strncmp(line, "::/", 3) == 0 ? line + 3 : line;

		if (strcasecmp(path, FALLBACK) == 0) {
			err = -EEXIST;
			break;
		}
		if (rank(path) < best && strlen(path) < size) {
			best = rank(path);
			snprintf(ret_path, size, "%s", path);
			err = 0;
		}
	}
	free(copy);
	return err;
}

/* The partition as a file of its own, sparse. */
static int take_out(const struct loader *l, const char *esp, char *said, size_t size)
{
	char from[PATH_MAX];
	const char *const argv[] = { "qemu-img", "convert", "--image-opts", from, "-O", "raw", esp, NULL };

	snprintf(from, sizeof(from),
		 "driver=raw,offset=%llu,size=%llu,file.driver=nbd,file.server.type=unix,file.server.path=%s",
		 (unsigned long long)l->esp_offset, (unsigned long long)l->esp_bytes, l->socket);
	return tool_run(argv, l->folder, said, size);
}

static int put_back(const struct loader *l, const char *esp, char *said, size_t size)
{
	char to[PATH_MAX];
	const char *const argv[] = { "qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", esp, to, NULL };

	snprintf(to, sizeof(to), "driver=raw,offset=%llu,size=%llu,file.driver=qcow2,file.file.driver=file,"
		 "file.file.filename=%s", (unsigned long long)l->esp_offset, (unsigned long long)l->esp_bytes,
		 l->overlay);
	return tool_run(argv, l->folder, said, size);
}

static int copy_loader(const struct loader *l, const char *esp, const char *path, char *said, size_t size)
{
	char from[PATH_MAX];
	const char *const folder[] = { "mmd", "-i", esp, "-D", "s", "::/EFI/BOOT", NULL };
	const char *const copy[] = { "mcopy", "-i", esp, "-o", from, "::/" FALLBACK, NULL };

	(void)!tool_run(folder, l->folder, said, size); /* it may be there */
	snprintf(from, sizeof(from), "::/%s", path);
	return tool_run(copy, l->folder, said, size);
}

static int list(const struct loader *l, const char *esp, char *said, size_t size)
{
	const char *const argv[] = { "mdir", "-i", esp, "-b", "-/", "::/EFI", NULL };
	int err = tool_run(argv, l->folder, said, size);

	/* "File "::/EFI" not found" */
	return err == -EIO && strstr(said, "not found") ? -ENOENT : err;
}

static int ensure(const struct loader *l, const char *esp, char *said, char *path, size_t path_size)
{
	int err = take_out(l, esp, said, LISTING_BYTES) ?: list(l, esp, said, LISTING_BYTES);

	if (!err)
		err = loader_choose(said, path, path_size);
	return err ? err : copy_loader(l, esp, path, said, LISTING_BYTES) ?: put_back(l, esp, said, LISTING_BYTES);
}

int loader_ensure(const struct loader *l, char *note, size_t size)
{
	char esp[PATH_MAX], path[512] = "", *said;
	int err;

	note[0] = 0;
	if (l->esp_bytes > ESP_MAX_BYTES) {
		snprintf(note, size, "its EFI system partition has %llu MiB: whether there is a loader at " FALLBACK
			 " was not seen, more than %llu MiB are not copied for that",
			 (unsigned long long)(l->esp_bytes / MIB), (unsigned long long)(ESP_MAX_BYTES / MIB));
		return -EFBIG;
	}
	if (!tool_is_there("mdir") || !tool_is_there("mcopy")) {
		snprintf(note, size, "mtools is not installed: whether there is a loader at " FALLBACK " was not seen");
		return -ENOPKG;
	}
	said = malloc(LISTING_BYTES);
	if (!said)
		return -ENOMEM;
	snprintf(esp, sizeof(esp), "%s/esp.raw", l->folder);
	err = ensure(l, esp, said, path, sizeof(path));
	if (!err)
		snprintf(note, size, "there was no " FALLBACK ": %s is there now, too, on the machine's own disk", path);
	else if (err != -EEXIST && err != -ENOENT)
		snprintf(note, size, "the loader could not be seen to: %s", err == -EIO ? said : strerror(-err));
	(void)unlink(esp);
	free(said);
	return err == -EEXIST ? 0 : err;
}
