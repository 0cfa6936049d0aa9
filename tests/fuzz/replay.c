/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay - a fuzz target over the files and folders named, each once.
 *
 * A file whose name ends in ".hex" is decoded first ("#" begins a comment), so
 * that the test vectors serve as inputs.  Each input lies in memory of exactly
 * its own size.
 */
#include "fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define INPUT_MAX (1 << 20)

static unsigned int inputs;

static size_t decode(char *text, size_t len)
{
	size_t out = 0;
	char *save = NULL;

	text[len] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned int byte;

		for (const char *p = line; *p != '#' && sscanf(p, "%2x", &byte) == 1; p += 2)
			text[out++] = (char)byte;
	}
	return out;
}

static void replay_file(const char *path)
{
	static char buf[INPUT_MAX + 1];
	const char *dot = strrchr(path, '.');
	FILE *f = fopen(path, "re");
	uint8_t *input;
	size_t len;

	if (!f) {
		perror(path);
		exit(1);
	}
	len = fread(buf, 1, INPUT_MAX, f);
	fclose(f);
	if (dot && strcmp(dot, ".hex") == 0)
		len = decode(buf, len);
	input = malloc(len ? len : 1);
	if (!input)
		abort();
	memcpy(input, buf, len);
	LLVMFuzzerTestOneInput(input, len);
	free(input);
	inputs++;
}

static void replay(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) != 0) {
		perror(path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path);
		return;
	}
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char entry[4096];

		if (names[i]->d_name[0] != '.') {
			snprintf(entry, sizeof(entry), "%s/%s", path, names[i]->d_name);
			replay(entry);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%u inputs\n", inputs);
	return inputs > 0 ? 0 : 1;
}
