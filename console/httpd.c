/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread a connection, so that a handler may wait (long polls, answers of
 * servers).  The order in a request:
 *
 *	headers in -> route, query, length, identity -> refuse, or take the body
 *	body in    -> JSON -> handler -> answer
 *
 * A refusal is sent when the body has been read, though not kept: who is still
 * sending when the connection closes would not hear it.  Only what is far too
 * long is cut off.
 */
#include "httpd.h"

#include "identity.h"
#include "router.h"
#include "utf8.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <unistd.h>

#define CONNECTIONS_MAX 10000u /* two an agent: the most that may enrol (enrol.c), servers, people */
#define OTHER_FILES 64u	       /* the catalogue's, the log's, those of enrolments under way */
#define STACK_BYTES (2 * MIB)
#define EMPTY_BODY_MAX 64u /* "{}" and some blanks */
#define OVERFLOW_READ_MOST (8 * MIB)
#define IDLE_TIMEOUT_S 120u /* longer than any handler waits: it counts from the last byte read */
#define STRANGER_TIMEOUT_S 30u /* until it is known who calls */
#define PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

struct httpd {
	struct MHD_Daemon *daemon;
	char *key_pem, *chain_pem, *ca_pem;
};

/* --- the socket ------------------------------------------------------------------------- */

static int bind_one(const struct addrinfo *a)
{
	int on = 1, off = 0, err;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static unsigned int bound_port(int fd)
{
	struct sockaddr_storage s;
	socklen_t len = sizeof(s);

	if (getsockname(fd, (struct sockaddr *)&s, &len) < 0)
		return 0;
	if (s.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&s)->sin6_port);
	return ntohs(((struct sockaddr_in *)&s)->sin_port);
}

/* Every address: IPv6's "any" takes IPv4 as well, where there is IPv6. */
static int bind_any(const char *address, const char *service, const char **ret_reason)
{
	static const char *const every[] = { "::", "0.0.0.0", NULL };
	const char *const one[] = { address, NULL };
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *found;
	int fd = -EADDRNOTAVAIL;

	for (const char *const *a = address ? one : every; *a && fd < 0 && fd != -EADDRINUSE; a++) {
		int err = getaddrinfo(*a, service, &hints, &found);

		if (err) {
			*ret_reason = gai_strerror(err);
			continue;
		}
		fd = bind_one(found);
		*ret_reason = fd < 0 ? strerror(-fd) : NULL;
		freeaddrinfo(found);
	}
	return fd;
}

int httpd_listen(const char *address, unsigned int port, int *ret_fd, unsigned int *ret_port, struct fault *ret_fault)
{
	const char *shown = address ? address : "every address", *reason = "";
	char service[16];
	int fd;

	snprintf(service, sizeof(service), "%u", port);
	fd = bind_any(address, service, &reason);
	if (fd == -EADDRINUSE)
		return fault_set(ret_fault, fd, MSG_CONSOLE_PORT_IN_USE, "address", shown, "port", service, NULL);
	if (fd < 0)
		return fault_set(ret_fault, fd, MSG_CONSOLE_LISTEN_FAILED, "address", shown, "port", service, "reason",
				 reason, NULL);
	*ret_fd = fd;
	*ret_port = bound_port(fd);
	return 0;
}

/* --- what a request says about itself ------------------------------------------------------ */

static void take_address(struct request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = info ? info->client_addr : NULL;

	snprintf(r->address, sizeof(r->address), "unknown");
	if (a && a->sa_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, r->address, sizeof(r->address));
	} else if (a && a->sa_family == AF_INET6) {
		const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(six))
			inet_ntop(AF_INET, six->s6_addr + 12, r->address, sizeof(r->address));
		else
			inet_ntop(AF_INET6, six, r->address, sizeof(r->address));
	}
}

/* "name:port", "[address]:port" -> the name or address. */
static void take_host(struct request *r)
{
	const char *host = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	size_t len;

	if (!host)
		return;
	if (*host == '[')
		len = strcspn(++host, "]");
	else
		len = strcspn(host, ":");
	if (len < sizeof(r->host) && utf8_is_printable(host, len))
		snprintf(r->host, sizeof(r->host), "%.*s", (int)len, host);
}

/* The better liked of the two languages; English when in doubt. */
static enum message_language choose_language(const char *query, const char *accept)
{
	double best = 0;
	enum message_language language = LANGUAGE_EN;

	if (query)
		return strcmp(query, "ja") ? LANGUAGE_EN : LANGUAGE_JA;
	while (accept && *accept) {
		size_t len = strcspn(accept, ",");
		const char *q = memmem(accept, len, ";q=", 3);
		double weight = q ? strtod(q + 3, NULL) : 1;
		bool ja = !strncasecmp(accept, "ja", 2), en = !strncasecmp(accept, "en", 2);

		if ((ja || en) && weight > best) {
			best = weight;
			language = ja ? LANGUAGE_JA : LANGUAGE_EN;
		}
		accept += len;
		accept += strspn(accept, ", ");
	}
	return language;
}

static void take_language(struct request *r)
{
	r->language = choose_language(request_query(r, "lang"),
				      MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND,
								  MHD_HTTP_HEADER_ACCEPT_LANGUAGE));
}

/* --- answers -------------------------------------------------------------------------------- */

static struct MHD_Response *response_of(struct request *r, int status)
{
	json_t *body = NULL;
	char *text;
	struct MHD_Response *response;

	if (status == MHD_HTTP_NO_CONTENT)
		return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
	if (r->text) {
		text = r->text;
		r->text = NULL;
		response = MHD_create_response_from_buffer(r->text_len ? r->text_len : strlen(text), text,
							   MHD_RESPMEM_MUST_FREE);
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					r->text_type ? r->text_type : "text/plain; version=0.0.4; charset=utf-8");
		return response;
	}
	body = status >= 400 ? request_fault_body(&r->fault, r->language) : json_incref(r->answer);
	text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(15));
	json_decref(body);
	if (!text)
		return NULL;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	return response;
}

static void add_refusal_headers(struct request *r, int status, struct MHD_Response *response)
{
	if (status == 401)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	for (unsigned int i = 0; status == 405 && i < r->fault.arg_count; i++)
		if (!strcmp(r->fault.args[i].name, "allowed"))
			MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->fault.args[i].value);
	if (status == 429 || status == 503)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "10");
}

static enum MHD_Result send_answer(struct request *r, int status)
{
	struct MHD_Response *response = response_of(r, status);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (status >= 400)
		add_refusal_headers(r, status, response);
	result = MHD_queue_response(r->connection, (unsigned int)status, response);
	MHD_destroy_response(response);
	return result;
}

/* --- from headers to handler ------------------------------------------------------------------ */

struct query_check {
	const char *allowed;
	char unknown[64];
};

static bool is_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *w = words; w && *w; w += strcspn(w, " "), w += strspn(w, " "))
		if (strcspn(w, " ") == len && !strncmp(w, word, len))
			return true;
	return false;
}

static enum MHD_Result check_one_query(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct query_check *q = arg;

	if (strcmp(name, "lang") && !is_word(q->allowed, name) && !*q->unknown)
		snprintf(q->unknown, sizeof(q->unknown), "%s", *name ? name : "?");
	return MHD_YES;
}

static int check_query(struct request *r)
{
	struct query_check q = { .allowed = r->route->query };
	char reason[128];

	MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, check_one_query, &q);
	if (!*q.unknown)
		return 0;
	snprintf(reason, sizeof(reason), "there is no parameter \"%s\"", q.unknown);
	return request_refuse(r, 422, MSG_API_NOT_UNDERSTOOD, "reason", reason, NULL);
}

static size_t body_max(const struct request *r)
{
	if (r->is == WHO_AGENT && r->route->agent_body_max)
		return r->route->agent_body_max;
	return MAX(r->route->body_max, EMPTY_BODY_MAX);
}

static int too_large(struct request *r)
{
	char limit[24];

	snprintf(limit, sizeof(limit), "%zu", body_max(r));
	return request_refuse(r, 413, MSG_API_BODY_TOO_LARGE, "limit", limit, NULL);
}

static int check_length(struct request *r)
{
	const char *length = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return length && strtoull(length, NULL, 10) > body_max(r) + OVERFLOW_READ_MOST ? too_large(r) : 0;
}

static int find_route(struct request *r, const char *method, const char *path)
{
	char allowed[64];

	if (!utf8_is_printable(path, strlen(path)))
		return request_refuse(r, 404, MSG_API_PATH_UNKNOWN, "path", path, NULL);
	/* HEAD is GET without a body in the answer, which is the library's business. */
	r->route = router_find(router_table, strcmp(method, "HEAD") ? method : "GET", path, r->params, allowed,
			       sizeof(allowed));
	if (r->route)
		return 0;
	if (*allowed)
		return request_refuse(r, 405, MSG_API_METHOD_WRONG, "path", path, "method", method, "allowed", allowed,
				      NULL);
	return request_refuse(r, 404, MSG_API_PATH_UNKNOWN, "path", path, NULL);
}

static int begin(struct request *r, const char *method, const char *path)
{
	int status;

	take_address(r);
	take_host(r);
	take_language(r);
	status = find_route(r, method, path);
	if (!status && !(r->route->who & WHO_ANYONE)) {
		status = identity_check(r);
		if (!status)
			MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, IDLE_TIMEOUT_S);
	}
	if (!status)
		status = check_query(r);
	if (!status)
		status = check_length(r);
	return status;
}

/* What is not wanted is read on for a while and thrown away, so that its sender
 * hears why. */
static int drop_body(struct request *r, size_t len)
{
	r->raw_overflowed = true;
	r->raw_len += len;
	return r->raw_len > MAX(BODY_MAX, r->route ? body_max(r) : 0) + OVERFLOW_READ_MOST ? -EMSGSIZE : 0;
}

static int take_body(struct request *r, const char *data, size_t len)
{
	if (r->refusal || r->raw_overflowed || r->raw_len + len > body_max(r))
		return drop_body(r, len);
	if (r->raw_len + len > r->raw_room) {
		size_t room = MAX(r->raw_room * 2, r->raw_len + len);
		char *raw = realloc(r->raw, room);

		if (!raw)
			return -ENOMEM;
		r->raw = raw;
		r->raw_room = room;
	}
	memcpy(r->raw + r->raw_len, data, len);
	r->raw_len += len;
	return 0;
}

static int run_handler(struct request *r)
{
	int status = r->raw_overflowed ? too_large(r) : request_parse(r);

	return status ? status : r->route->handle(r);
}

static void log_request(const struct request *r, const char *method, const char *path, int status)
{
	if (r->is == WHO_ADMIN && strcmp(method, "GET") && strcmp(method, "HEAD"))
		console_log(LOG_INFO, "%s from %s: %s %.200s: %d", r->who, r->address, method, path, status);
	else if (status >= 500)
		console_log(LOG_WARN, "%s from %s: %s %.200s: %d %s", *r->who ? r->who : "somebody", r->address, method,
			    path, status, message_name(r->fault.code));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
				  const char *version, const char *data, size_t *len, void **state)
{
	struct request *r = *state;
	int status;

	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return MHD_NO;
		*state = r;
		r->console = arg;
		r->connection = connection;
		r->refusal = begin(r, method, path);
		return r->refusal == 413 ? send_answer(r, r->refusal) : MHD_YES;
	}
	if (*len) {
		if (take_body(r, data, *len))
			return MHD_NO; /* no memory, or no end to it */
		*len = 0;
		return MHD_YES;
	}
	status = r->refusal ? r->refusal : run_handler(r);
	log_request(r, method, path, status);
	return send_answer(r, status);
}

static void on_done(void *arg, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code)
{
	struct request *r = *state;

	if (!r)
		return;
	json_decref(r->body);
	json_decref(r->answer);
	free(r->text);
	free(r->raw);
	free(r);
	*state = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = identity_memory_new();
	} else {
		identity_memory_free(*context);
		*context = NULL;
	}
}

/* What the library has to say about broken connections is for developers. */
static void on_library_log(void *arg, const char *fmt, va_list ap)
{
	char line[512];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	while (len && line[len - 1] == '\n')
		line[--len] = '\0';
	console_log(LOG_DEBUG, "http: %s", line);
}

/* --- starting and stopping ----------------------------------------------------------------------- */

/* Each is a descriptor.  One address has half of them at most, so that there is always room for
 * others; it may be that of a router, behind which there are many agents. */
static unsigned int connections_most(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur > CONNECTIONS_MAX + OTHER_FILES)
		return CONNECTIONS_MAX;
	return files.rlim_cur > 2 * OTHER_FILES ? (unsigned int)files.rlim_cur - OTHER_FILES : OTHER_FILES;
}

int httpd_start(struct console *c, int fd, const char *key_pem, const char *chain_pem, const char *ca_pem,
		struct httpd **ret)
{
	struct httpd *h = calloc(1, sizeof(*h));
	unsigned int most = connections_most();

	if (!h)
		return -ENOMEM;
	h->key_pem = strdup(key_pem);
	h->chain_pem = strdup(chain_pem);
	h->ca_pem = strdup(ca_pem);
	h->daemon = MHD_start_daemon(
		MHD_USE_TLS | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
			MHD_USE_ERROR_LOG | MHD_USE_ITC,
		0, NULL, NULL, on_request, c, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_MEM_KEY, h->key_pem, MHD_OPTION_HTTPS_MEM_CERT,
		h->chain_pem, MHD_OPTION_HTTPS_MEM_TRUST, h->ca_pem, MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES,
		MHD_OPTION_NOTIFY_COMPLETED, on_done, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
		MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_PER_IP_CONNECTION_LIMIT, most / 2,
		MHD_OPTION_CONNECTION_TIMEOUT, STRANGER_TIMEOUT_S, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
		MHD_OPTION_END);
	if (!h->daemon) {
		httpd_stop(h);
		return -EIO;
	}
	*ret = h;
	return 0;
}

void httpd_stop(struct httpd *h)
{
	if (!h)
		return;
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	free(h->key_pem);
	free(h->chain_pem);
	free(h->ca_pem);
	free(h);
}
