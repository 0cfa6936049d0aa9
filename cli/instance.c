/* SPDX-License-Identifier: Apache-2.0 */
#include "instance.h"
#include "api.h"
#include "daemon.h"
#include "fileio.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SMALL_FILE_MAX (64 * KIB)

static char *must(char *text)
{
	if (!text) {
		fputs("godwit: out of memory\n", stderr);
		exit(CLI_FAILED);
	}
	return text;
}

char *text_copy(const char *text)
{
	return must(strdup(text));
}

static char *format_va(const char *fmt, va_list ap)
{
	char *text;

	return must(vasprintf(&text, fmt, ap) < 0 ? NULL : text);
}

char *text_format(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format_va(fmt, ap);
	va_end(ap);
	return text;
}

int instance_select(struct cli *c)
{
	const char *data = cli_option(c, "data");
	char here[PATH_MAX];

	if (!data)
		data = getenv("GODWIT_DATA");
	if (!data || !*data)
		data = DATA_FOLDER_DEFAULT;
	if (*data == '/') {
		c->data = text_copy(data);
	} else {
		if (!getcwd(here, sizeof(here)))
			return cli_fail_errno(c, "the current folder", -errno);
		c->data = text_format("%s/%s", here, data);
	}
	/* "x/" and "x" are the same instance. */
	for (size_t n = strlen(c->data); n > 1 && c->data[n - 1] == '/'; n--)
		c->data[n - 1] = '\0';
	return CLI_DONE;
}

char *instance_path(const struct cli *c, const char *fmt, ...)
{
	char *rest, *path;
	va_list ap;

	assert(c->data);
	va_start(ap, fmt);
	rest = format_va(fmt, ap);
	va_end(ap);
	path = text_format("%s/%s", c->data, rest);
	free(rest);
	return path;
}

/* --- instance.json ---------------------------------------------------------------- */

int instance_load(const struct cli *c, struct instance *ret)
{
	char *path = instance_path(c, "instance.json"), *text;
	struct instance i = INSTANCE_DEFAULT;
	json_t *object;
	size_t length;
	int r = fileio_slurp(path, SMALL_FILE_MAX, &text, &length);

	free(path);
	if (r < 0)
		return r;
	object = json_loadb(text, length, 0, NULL);
	free(text);
	if (!json_is_object(object)) {
		json_decref(object);
		return -EBADMSG;
	}
	i.port = get_u64(object, "port");
	i.console_port = get_u64(object, "console_port");
	snprintf(i.listen, sizeof(i.listen), "%s", get_text(object, "listen", i.listen));
	json_decref(object);
	if (i.port == 0 || i.port > 65535 || i.console_port == 0 || i.console_port > 65535)
		return -EBADMSG;
	*ret = i;
	return 0;
}

int instance_save(const struct cli *c, const struct instance *i)
{
	char *path = instance_path(c, "instance.json"), *url = instance_url(i), *text;
	json_t *object = json_pack("{s:I, s:I, s:s, s:s}", "port", (json_int_t)i->port, "console_port",
				   (json_int_t)i->console_port, "listen", i->listen, "console_url", url);
	int r = -ENOMEM;

	text = json_dumps(object, JSON_INDENT(2));
	if (text)
		r = fileio_replace(path, text, strlen(text), 0644);
	free(text);
	json_decref(object);
	free(url);
	free(path);
	return r;
}

char *instance_url(const struct instance *i)
{
	bool any = strcmp(i->listen, "0.0.0.0") == 0 || strcmp(i->listen, "::") == 0;
	const char *host = any ? "127.0.0.1" : i->listen;

	return text_format(strchr(host, ':') ? "https://[%s]:%llu" : "https://%s:%llu", host,
			   (unsigned long long)i->console_port);
}

/* --- which console, and with which key ----------------------------------------------- */

char *instance_read_token(const char *path, int *ret_errno)
{
	size_t length;
	char *text, *end;

	*ret_errno = fileio_slurp(path, SMALL_FILE_MAX, &text, &length);
	if (*ret_errno < 0)
		return NULL;
	end = text + strcspn(text, " \t\r\n");
	*end = '\0';
	return text;
}

char *instance_console(const struct cli *c, const char *url)
{
	const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
	size_t length = strcspn(host, "/?#@");

	/* Nothing but slashes may follow. */
	if ((!scheme || strncmp(url, "https://", 8) == 0) && length && !host[length + strspn(host + length, "/")])
		return text_format("https://%.*s", (int)length, host);
	(void)cli_fail_message(c, MSG_CONSOLE_URL_BAD, "url", url, NULL);
	return NULL;
}

static int remote_credentials(struct cli *c, const char *url)
{
	const char *token = cli_option(c, "token-file"), *ca = cli_option(c, "ca");
	char *console = instance_console(c, url);
	int r = CLI_DONE;

	if (!console)
		return CLI_FAILED;
	if (!token || !ca)
		r = cli_fail_message(c, MSG_TOKEN_FILE_NEEDED, "url", url, NULL);
	else if (!(c->bearer = instance_read_token(token, &r)))
		r = cli_fail_message(c, MSG_TOKEN_FILE_UNREADABLE, "file", token, "reason", strerror(-r), NULL);
	if (r != CLI_DONE) {
		free(console);
		return CLI_FAILED;
	}
	c->ca_path = text_copy(ca);
	c->console_url = console;
	return CLI_DONE;
}

/* Why the folder cannot be used: not there, not ours to read, or not running. */
static int no_token(const struct cli *c, const struct instance *i, int err)
{
	char *pid = instance_path(c, "console/console.pid");
	bool running = daemon_running(pid) > 0;

	free(pid);
	if (err == -EACCES)
		return cli_fail_message(c, MSG_NOT_ROOT, NULL);
	if (i && !running)
		return cli_fail_message(c, MSG_INSTANCE_NOT_RUNNING, "data", c->data, NULL);
	return cli_fail_message(c, MSG_INSTANCE_NOT_FOUND, "data", c->data, NULL);
}

static int local_credentials(struct cli *c)
{
	char *path;
	struct instance i;
	int r;

	if (!c->data && instance_select(c) != CLI_DONE)
		return CLI_FAILED;
	r = instance_load(c, &i);
	if (r == -EBADMSG)
		return cli_fail_message(c, MSG_INSTANCE_DAMAGED, "data", c->data, NULL);
	if (r < 0)
		return no_token(c, NULL, r);
	path = instance_path(c, "admin.token");
	c->bearer = instance_read_token(path, &r);
	free(path);
	if (!c->bearer)
		return no_token(c, &i, r);
	path = instance_path(c, "console/console.pid");
	r = daemon_running(path) > 0;
	free(path);
	if (!r)
		return cli_fail_message(c, MSG_INSTANCE_NOT_RUNNING, "data", c->data, NULL);
	c->ca_path = instance_path(c, "console/ca.crt");
	c->console_url = instance_url(&i);
	return CLI_DONE;
}

int instance_credentials(struct cli *c)
{
	const char *url = c->verb->uses & USES_CONSOLE ? cli_option(c, "console") : NULL;

	assert(!c->console_url);
	if (url)
		return remote_credentials(c, url);
	return local_credentials(c);
}
