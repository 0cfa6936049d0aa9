/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue - the console's SQLite file, and how it is read and written.
 *
 * Two connections, so that reading does not wait for a sync: the writer's and
 * the reader's, each used by one thread at a time.  Between _read() and
 * _read_end(), and between _write() and _commit() or _abandon(), everything
 * is one transaction.  No function that waits for the network or for another
 * program is called in between.
 *
 * Errors stick: after one, every further call of the transaction does nothing
 * and finds nothing, and _commit() and _read_end() return it.  So only the end
 * has to be checked.
 *
 * A write that _commit() returned 0 for is there after kill -9 and power loss.
 */
#ifndef GODWIT_CONSOLE_CATALOGUE_H
#define GODWIT_CONSOLE_CATALOGUE_H

#include "base.h"
#include <jansson.h>
#include <sqlite3.h>

struct catalogue;
struct db; /* one connection, while it is held */

/* -EPROTONOSUPPORT: written by a newer console; -EBADMSG: not a catalogue, or
 * damaged; -errno. */
_must_check_ int catalogue_open(const char *path, struct catalogue **ret);
void catalogue_close(struct catalogue *c);

struct db *catalogue_read(struct catalogue *c);
_must_check_ int catalogue_read_end(struct catalogue *c);
struct db *catalogue_write(struct catalogue *c);
_must_check_ int catalogue_commit(struct catalogue *c);
void catalogue_abandon(struct catalogue *c);

/* The last error of SQLite on the writer, for the log. */
const char *catalogue_error(struct catalogue *c);

/*
 * One statement; @sql is a literal (its address is the key of the cache).
 * Parameters by the letters of @types: t text or NULL, i int64_t, b a
 * sqlite_blob pair (const void *, size_t), n nothing.
 */
sqlite3_stmt *db_query(struct db *db, const char *sql, const char *types, ...);
bool db_next(struct db *db, sqlite3_stmt *s); /* the next row; false at the end */
void db_done(struct db *db, sqlite3_stmt *s); /* before the end */
void db_run(struct db *db, const char *sql, const char *types, ...);
int64_t db_changes(struct db *db);	     /* rows touched by the last db_run() */
int64_t db_last_id(struct db *db);
void db_fail(struct db *db, int err);	     /* make the error stick */
int db_error(const struct db *db);

/* The column as text, "" for NULL, cut to @size; as JSON, NULL for NULL. */
void db_text(sqlite3_stmt *s, int column, char *buf, size_t size);
json_t *db_json(sqlite3_stmt *s, int column);

#endif
