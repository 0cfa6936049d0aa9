/* SPDX-License-Identifier: Apache-2.0 */
#include "router.h"

#include "handlers.h"

#include <stdio.h>

#define V1 "/api/godwit/v1"

const struct route router_table[] = {
	{ "GET", V1 "/health", WHO_ANYONE, handle_health, NULL, 0 },
	{ "GET", "/metrics", WHO_ADMIN, handle_metrics, NULL, 0 },

	{ "POST", V1 "/tokens", WHO_ADMIN, handle_token_create, NULL, BODY_MAX },
	{ "POST", V1 "/enrol", WHO_ANYONE, handle_enrol, NULL, ENROL_BODY_MAX },

	{ "GET", V1 "/machines", WHO_ADMIN, handle_machine_list, NULL, 0 },
	{ "GET", V1 "/machines/{}", WHO_ADMIN, handle_machine_get, NULL, 0 },
	{ "DELETE", V1 "/machines/{}", WHO_ADMIN, handle_machine_remove, "force", 0 },
	{ "POST", V1 "/machines/{}/pause", WHO_ADMIN, handle_machine_pause, NULL, 0 },
	{ "POST", V1 "/machines/{}/resume", WHO_ADMIN, handle_machine_resume, NULL, 0 },
	{ "POST", V1 "/machines/{}/stop", WHO_ADMIN, handle_machine_stop, NULL, 0 },
	{ "POST", V1 "/machines/{}/rescan", WHO_ADMIN, handle_machine_rescan, NULL, 0 },
	{ "POST", V1 "/machines/{}/mark", WHO_ADMIN, handle_mark, NULL, BODY_MAX },
	{ "POST", V1 "/machines/{}/verify", WHO_ADMIN, handle_verify_start, NULL, 0 },
	{ "GET", V1 "/machines/{}/verify", WHO_ADMIN, handle_verify_get, NULL, 0 },
	{ "POST", V1 "/machines/{}/scrub", WHO_ADMIN, handle_scrub, NULL, 0 },
	{ "POST", V1 "/machines/{}/disks", WHO_AGENT, handle_disks, NULL, BODY_MAX },

	{ "GET", V1 "/settings", WHO_ADMIN, handle_settings_table, NULL, 0 },
	{ "GET", V1 "/machines/{}/settings", WHO_ADMIN, handle_settings_get, NULL, 0 },
	{ "PATCH", V1 "/machines/{}/settings", WHO_ADMIN, handle_settings_change, NULL, BODY_MAX },

	{ "GET", V1 "/machines/{}/points", WHO_ADMIN, handle_point_list, "from to limit newest", 0 },
	{ "GET", V1 "/machines/{}/points/{*}", WHO_ADMIN, handle_point_get, NULL, 0 },
	{ "POST", V1 "/machines/{}/exports", WHO_ADMIN, handle_export_create, NULL, BODY_MAX },
	{ "GET", V1 "/exports", WHO_ADMIN, handle_export_list, NULL, 0 },
	{ "DELETE", V1 "/exports/{}", WHO_ADMIN, handle_export_remove, NULL, 0 },

	{ "GET", V1 "/blueprint", WHO_ADMIN, handle_blueprint_table, NULL, 0 },
	{ "GET", V1 "/machines/{}/blueprint", WHO_ADMIN, handle_blueprint_get, NULL, 0 },
	{ "PATCH", V1 "/machines/{}/blueprint", WHO_ADMIN, handle_blueprint_change, NULL, BODY_MAX },
	{ "POST", V1 "/machines/{}/launches", WHO_ADMIN, handle_launch_create, NULL, BODY_MAX },
	{ "GET", V1 "/launches", WHO_ADMIN, handle_launch_list, "machine limit", 0 },
	{ "GET", V1 "/launches/{}", WHO_ADMIN, handle_launch_get, NULL, 0 },
	{ "DELETE", V1 "/launches/{}", WHO_ADMIN, handle_launch_end, NULL, 0 },
	{ "GET", V1 "/launches/{}/console-log", WHO_ADMIN, handle_launch_log, "from", 0 },
	{ "GET", V1 "/launches/{}/screenshot", WHO_ADMIN, handle_launch_screenshot, "base64", 0 },
	{ "POST", V1 "/launches/{}/keep", WHO_ADMIN, handle_launch_keep, NULL, 0 },
	{ "GET", V1 "/jobs", WHO_ADMIN, handle_job_list, "machine limit", 0 },
	{ "GET", V1 "/jobs/{}", WHO_ADMIN, handle_job_get, NULL, 0 },

	{ "GET", V1 "/events", WHO_ADMIN, handle_event_list, "machine after limit wait", 0 },
	{ "GET", V1 "/servers", WHO_ADMIN, handle_server_list, NULL, 0 },
	{ "DELETE", V1 "/servers/{}", WHO_ADMIN, handle_server_remove, NULL, 0 },

	{ "GET", V1 "/link", WHO_AGENT | WHO_SERVER, handle_link_poll, "version wait", 0 },
	{ "POST", V1 "/link/reply", WHO_AGENT | WHO_SERVER, handle_link_reply, NULL, 64 * MIB, BODY_MAX },
	{ "POST", V1 "/link/status", WHO_AGENT | WHO_SERVER, handle_link_status, NULL, 16 * MIB, BODY_MAX },
	{ "POST", V1 "/link/events", WHO_AGENT | WHO_SERVER, handle_link_events, NULL, 4 * MIB },
	{ NULL },
};

/* "{}" is one part of the path, not empty; "{*}" all that is left. */
static bool path_fits(const char *pattern, const char *path, char ret_params[PARAMS_MAX][PARAM_MAX])
{
	unsigned int n = 0;

	while (*pattern) {
		size_t len;

		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		len = pattern[1] == '*' ? strlen(path) : strcspn(path, "/");
		if (len == 0 || len >= PARAM_MAX || n == PARAMS_MAX)
			return false;
		memcpy(ret_params[n], path, len);
		ret_params[n++][len] = '\0';
		path += len;
		pattern = strchr(pattern, '}') + 1;
	}
	return *path == '\0';
}

const struct route *router_find(const struct route *table, const char *method, const char *path,
				char ret_params[PARAMS_MAX][PARAM_MAX], char *ret_allow, size_t allow_size)
{
	size_t used = 0;

	*ret_allow = '\0';
	for (const struct route *r = table; r->method; r++) {
		if (!path_fits(r->path, path, ret_params))
			continue;
		if (!strcmp(r->method, method))
			return r;
		if (used < allow_size)
			used += (size_t)snprintf(ret_allow + used, allow_size - used, "%s%s", used ? ", " : "", r->method);
	}
	return NULL;
}
