/* SPDX-License-Identifier: Apache-2.0 */
#include "handlers.h"
#include "request.h"

int handle_health(struct request *r)
{
	return request_answer(r, 200, json_pack("{s:s, s:s}", "name", "godwit-console", "version", CONSOLE_VERSION));
}
