/* SPDX-License-Identifier: Apache-2.0 */
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

size_t vector_load(const char *name, uint8_t *buf, size_t size)
{
	char path[512], line[1024];
	unsigned int byte;
	size_t len = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.hex", VECTORS_DIR, name);
	f = fopen(path, "re");
	if (!f)
		fail_msg("cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		for (const char *p = line; sscanf(p, "%2x", &byte) == 1 && *p != '#'; p += 2) {
			assert_true(len < size);
			buf[len++] = (uint8_t)byte;
		}
	}
	fclose(f);
	return len;
}
