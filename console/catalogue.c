/* SPDX-License-Identifier: Apache-2.0 */
#include "catalogue.h"

#include "schema.h"
#include "wallclock.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define STATEMENTS_MAX 128
#define BUSY_TIMEOUT_MS 5000
#define OPEN_AGAIN_MS 10

struct db {
	sqlite3 *handle;
	int err;
	struct {
		const char *sql;
		sqlite3_stmt *statement;
	} cache[STATEMENTS_MAX];
	size_t cached;
};

struct catalogue {
	pthread_mutex_t write_lock, read_lock;
	struct db writer, reader;
	char error[256]; /* under write_lock */
};

/* --- connections ----------------------------------------------------------------- */

static int errno_of(int sqlite_result)
{
	switch (sqlite_result & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_BUSY:
		return -EBUSY;
	case SQLITE_CANTOPEN:
		return -ENOENT;
	default:
		return -EIO;
	}
}

static int execute(sqlite3 *handle, const char *sql)
{
	return errno_of(sqlite3_exec(handle, sql, NULL, NULL, NULL));
}

static int open_connection(const char *path, int flags, struct db *db)
{
	int err = errno_of(sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL));

	if (err)
		return err;
	sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	return execute(db->handle, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;");
}

static int64_t pragma_value(sqlite3 *handle, const char *sql)
{
	sqlite3_stmt *s;
	int64_t value = -1;

	if (sqlite3_prepare_v2(handle, sql, -1, &s, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(s) == SQLITE_ROW)
		value = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return value;
}

/* Another process may have been quicker since the version was read. */
static int take_step(sqlite3 *handle, size_t step)
{
	char *version = NULL;
	int err = execute(handle, "BEGIN IMMEDIATE");

	if (err)
		return err;
	if (pragma_value(handle, "PRAGMA user_version") != (int64_t)step) {
		(void)!execute(handle, "ROLLBACK");
		return 0;
	}
	if (asprintf(&version, "PRAGMA user_version = %zu", step + 1) < 0)
		version = NULL;
	err = version ? execute(handle, schema_steps[step]) : -ENOMEM;
	if (!err)
		err = execute(handle, version);
	if (!err)
		err = execute(handle, "COMMIT");
	if (err)
		(void)!execute(handle, "ROLLBACK");
	free(version);
	return err;
}

static int migrate(sqlite3 *handle)
{
	int64_t version = pragma_value(handle, "PRAGMA user_version");
	int64_t application = pragma_value(handle, "PRAGMA application_id");
	char *sql;
	int err = 0;

	if (version < 0 || (version > 0 && application != SCHEMA_APPLICATION_ID))
		return -EBADMSG;
	if (version > (int64_t)schema_step_count)
		return -EPROTONOSUPPORT;
	if (asprintf(&sql, "PRAGMA application_id = %d", SCHEMA_APPLICATION_ID) < 0)
		return -ENOMEM;
	if (version == 0)
		err = execute(handle, sql);
	free(sql);
	for (size_t step = (size_t)version; !err && step < schema_step_count; step++)
		err = take_step(handle, step);
	return err;
}

static void close_connection(struct db *db)
{
	for (size_t i = 0; i < db->cached; i++)
		sqlite3_finalize(db->cache[i].statement);
	sqlite3_close(db->handle);
	*db = (struct db){ 0 };
}

static void close_both(struct catalogue *c)
{
	close_connection(&c->reader);
	close_connection(&c->writer);
}

static int open_both(const char *path, struct catalogue *c)
{
	int err = open_connection(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &c->writer);

	if (!err)
		err = execute(c->writer.handle, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
	if (!err && pragma_value(c->writer.handle, "SELECT quick_check = 'ok' FROM pragma_quick_check(1)") == 0)
		err = -EBADMSG;
	if (!err)
		err = migrate(c->writer.handle);
	if (!err)
		err = open_connection(path, SQLITE_OPEN_READONLY, &c->reader);
	return err;
}

/*
 * While another process changes the journal's mode, or is the last to close the file,
 * SQLite answers "busy" at once, whatever time it was given.  So here it is given once more.
 */
static int open_patiently(const char *path, struct catalogue *c)
{
	uint64_t until = monotonic_now_us() + BUSY_TIMEOUT_MS * USEC_PER_MSEC;
	int err = open_both(path, c);

	while (err == -EBUSY && monotonic_now_us() < until) {
		close_both(c);
		(void)poll(NULL, 0, OPEN_AGAIN_MS);
		err = open_both(path, c);
	}
	return err;
}

int catalogue_open(const char *path, struct catalogue **ret)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	mode_t mask;
	int err;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->write_lock, NULL);
	pthread_mutex_init(&c->read_lock, NULL);
	mask = umask(0077);
	err = open_patiently(path, c);
	umask(mask);
	if (err) {
		catalogue_close(c);
		return err;
	}
	*ret = c;
	return 0;
}

void catalogue_close(struct catalogue *c)
{
	if (!c)
		return;
	close_both(c);
	pthread_mutex_destroy(&c->read_lock);
	pthread_mutex_destroy(&c->write_lock);
	free(c);
}

/* --- transactions ------------------------------------------------------------------- */

struct db *catalogue_read(struct catalogue *c)
{
	pthread_mutex_lock(&c->read_lock);
	c->reader.err = execute(c->reader.handle, "BEGIN");
	return &c->reader;
}

int catalogue_read_end(struct catalogue *c)
{
	int err = c->reader.err;

	(void)!execute(c->reader.handle, "COMMIT");
	pthread_mutex_unlock(&c->read_lock);
	return err;
}

struct db *catalogue_write(struct catalogue *c)
{
	pthread_mutex_lock(&c->write_lock);
	c->writer.err = execute(c->writer.handle, "BEGIN IMMEDIATE");
	return &c->writer;
}

int catalogue_commit(struct catalogue *c)
{
	int err = c->writer.err;

	if (!err)
		err = execute(c->writer.handle, "COMMIT");
	if (err) {
		snprintf(c->error, sizeof(c->error), "%s", sqlite3_errmsg(c->writer.handle));
		(void)!execute(c->writer.handle, "ROLLBACK");
	}
	pthread_mutex_unlock(&c->write_lock);
	return err;
}

void catalogue_abandon(struct catalogue *c)
{
	(void)!execute(c->writer.handle, "ROLLBACK");
	pthread_mutex_unlock(&c->write_lock);
}

const char *catalogue_error(struct catalogue *c)
{
	return c->error;
}

/* --- statements ------------------------------------------------------------------------ */

void db_fail(struct db *db, int err)
{
	if (!db->err)
		db->err = err;
}

int db_error(const struct db *db)
{
	return db->err;
}

static sqlite3_stmt *find_statement(struct db *db, const char *sql)
{
	sqlite3_stmt *s = NULL;

	for (size_t i = 0; i < db->cached; i++)
		if (db->cache[i].sql == sql) {
			assert(!sqlite3_stmt_busy(db->cache[i].statement));
			return db->cache[i].statement;
		}
	assert(db->cached < STATEMENTS_MAX);
	db_fail(db, errno_of(sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL)));
	if (s) {
		db->cache[db->cached].sql = sql;
		db->cache[db->cached++].statement = s;
	}
	return s;
}

static void bind(struct db *db, sqlite3_stmt *s, const char *types, va_list ap)
{
	const void *blob;
	int result = SQLITE_OK;

	for (int i = 1; *types && result == SQLITE_OK; types++, i++) {
		switch (*types) {
		case 't':
			result = sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
			break;
		case 'i':
			result = sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
			break;
		case 'b':
			blob = va_arg(ap, const void *);
			result = sqlite3_bind_blob64(s, i, blob, va_arg(ap, size_t), SQLITE_TRANSIENT);
			break;
		default:
			assert(*types == 'n');
			result = sqlite3_bind_null(s, i);
		}
	}
	db_fail(db, errno_of(result));
}

static sqlite3_stmt *prepare(struct db *db, const char *sql, const char *types, va_list ap)
{
	sqlite3_stmt *s = db->err ? NULL : find_statement(db, sql);

	if (!s)
		return NULL;
	assert(sqlite3_bind_parameter_count(s) == (int)strlen(types));
	bind(db, s, types, ap);
	return s;
}

sqlite3_stmt *db_query(struct db *db, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s;
	va_list ap;

	va_start(ap, types);
	s = prepare(db, sql, types, ap);
	va_end(ap);
	return s;
}

bool db_next(struct db *db, sqlite3_stmt *s)
{
	int result;

	if (!s)
		return false;
	if (db->err) {
		sqlite3_reset(s);
		return false;
	}
	result = sqlite3_step(s);
	if (result == SQLITE_ROW)
		return true;
	if (result != SQLITE_DONE)
		db_fail(db, errno_of(result));
	sqlite3_reset(s);
	return false;
}

void db_done(struct db *db, sqlite3_stmt *s)
{
	if (s)
		sqlite3_reset(s);
}

void db_run(struct db *db, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s;
	va_list ap;

	va_start(ap, types);
	s = prepare(db, sql, types, ap);
	va_end(ap);
	while (db_next(db, s))
		;
}

int64_t db_changes(struct db *db)
{
	return db->err ? 0 : sqlite3_changes64(db->handle);
}

int64_t db_last_id(struct db *db)
{
	return sqlite3_last_insert_rowid(db->handle);
}

void db_text(sqlite3_stmt *s, int column, char *buf, size_t size)
{
	const unsigned char *text = sqlite3_column_text(s, column);
	size_t len = text ? strnlen((const char *)text, size - 1) : 0;

	if (len)
		memcpy(buf, text, len);
	buf[len] = '\0';
}

json_t *db_json(sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	return text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
}
