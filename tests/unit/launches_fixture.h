/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of launches share: a console, a server that does what a test tells it, an
 * agent called m, and the records that the server posts of its launches.
 */
#ifndef GODWIT_LAUNCHES_FIXTURE_H
#define GODWIT_LAUNCHES_FIXTURE_H

#include "console_fixture.h"

#include <pthread.h>

extern struct fixture con;
extern struct caller agent, server;

#define ADMIN(status, method, path, ...) fixture_admin(&con, status, method, path, __VA_ARGS__)

int launches_setup(void **state);
int launches_teardown(void **state);

bool is_null_in(const json_t *object, const char *name);
json_t *get(const char *what, const char *id);
json_t *call(int status, const char *method, const char *launch, const char *what); /* about one launch */

/* --- a server that answers what it is asked, until it is told to stop ------------------------ */

struct answer {
	const char *verb, *fault; /* NULL: it goes well, with ... */
	json_t *result;		  /* ... this, or nothing */
};

struct fake {
	pthread_t thread;
	struct caller line; /* of its own: a connection is for one thread */
	const struct answer *answers; /* ends with a NULL verb; a verb that is not there is not answered */
	json_t *commands;	      /* as they came */
	bool stop;
	pthread_mutex_t lock;
	pthread_cond_t came;
};

extern const struct answer all_well[];

void fake_start(struct fake *f, const struct answer *answers);
void fake_stop(struct fake *f);
json_t *command_of(struct fake *f, const char *verb); /* the first of that verb, waited for */
json_t *newest_launch(void);

/* --- records --------------------------------------------------------------------------------- */

extern bool has_points;
extern char second[ID_SIZE]; /* another machine that has a point, or "" */

void post_status(json_t *records);
void post_one(const json_t *record);
json_t *new_record(const char *launch, const char *kind);
void move(json_t *record, const char *state, const char *message);
void boot(json_t *record);
void fault_of(json_t *record, const char *code);

/* POST, answered by a server that takes everything; ids into the buffers. */
void ask(const char *kind, char launch[ID_SIZE], char job[ID_SIZE]);
void expect_job(const char *id, const char *type, const char *status, size_t lines);
void expect_state(const char *launch, const char *state);
bool has_event(const char *code, const char *launch);

#endif
