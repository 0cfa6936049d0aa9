/* SPDX-License-Identifier: Apache-2.0 */
/* A fault as JSON, from another program or a newer one. */
#include "fuzz.h"
#include "link.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, 0, NULL), *again;
	struct fault f, same;
	char buf[512];

	if (!j)
		return 0;
	if (fault_from_json(j, &f) == 0) {
		fault_format(&f, LANGUAGE_EN, buf, sizeof(buf));
		fault_format(&f, LANGUAGE_JA, buf, sizeof(buf));
		again = fault_to_json(&f);
		assert(again && fault_from_json(again, &same) == 0);
		assert(same.code == f.code && same.arg_count == f.arg_count);
		for (unsigned int i = 0; i < f.arg_count; i++)
			assert(strlen(f.args[i].value) < FAULT_VALUE_MAX);
		json_decref(again);
	}
	json_decref(j);
	return 0;
}
