/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of slots, a file's number modulo its size; a slot that is taken by
 * another file is taken over, unless somebody reads from it right now: then
 * the file is opened for this one read.
 */
#include "files.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define SLOTS 256u

struct slot {
	struct dat dat; /* fd < 0: empty */
	unsigned int users;
};

struct files {
	const struct store_sys *sys;
	char *dir;
	pthread_mutex_t mutex;
	struct slot slots[SLOTS];
};

int files_new(const struct store_sys *sys, const char *dir, struct files **ret)
{
	struct files *f = calloc(1, sizeof(*f));
	unsigned int i;

	if (!f)
		return -ENOMEM;
	f->sys = sys;
	f->dir = strdup(dir);
	if (!f->dir) {
		free(f);
		return -ENOMEM;
	}
	pthread_mutex_init(&f->mutex, NULL);
	for (i = 0; i < SLOTS; i++)
		f->slots[i].dat.fd = -1;
	*ret = f;
	return 0;
}

void files_forget(struct files *f)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		assert(f->slots[i].users == 0);
		if (f->slots[i].dat.fd >= 0)
			dat_close(&f->slots[i].dat);
	}
}

void files_free(struct files *f)
{
	if (!f)
		return;
	files_forget(f);
	pthread_mutex_destroy(&f->mutex);
	free(f->dir);
	free(f);
}

/* The slot of @number, with this reader among its users; NULL: open it yourself. */
static struct slot *slot_get(struct files *f, uint32_t number, int *ret_err)
{
	struct slot *s = &f->slots[(number ^ number >> 24) % SLOTS];
	struct dat d;

	*ret_err = 0;
	if (s->dat.fd >= 0 && s->dat.header.number == number) {
		s->users++;
		return s;
	}
	if (s->users > 0)
		return NULL;
	*ret_err = dat_open(f->sys, f->dir, number, &d);
	if (*ret_err < 0)
		return NULL;
	if (s->dat.fd >= 0)
		dat_close(&s->dat);
	s->dat = d;
	s->users = 1;
	return s;
}

/* An open file for one use: from the table, or opened for it. */
struct use {
	struct slot *slot; /* NULL: @own */
	struct dat own;
};

static int use_begin(struct files *f, uint32_t number, struct use *u)
{
	int err;

	pthread_mutex_lock(&f->mutex);
	u->slot = slot_get(f, number, &err);
	pthread_mutex_unlock(&f->mutex);
	return u->slot || err < 0 ? err : dat_open(f->sys, f->dir, number, &u->own);
}

static const struct dat *use_dat(const struct use *u)
{
	return u->slot ? &u->slot->dat : &u->own;
}

static void use_end(struct files *f, struct use *u)
{
	if (!u->slot) {
		dat_close(&u->own);
		return;
	}
	pthread_mutex_lock(&f->mutex);
	u->slot->users--;
	pthread_mutex_unlock(&f->mutex);
}

int files_read(struct files *f, const struct entry *e, void *out)
{
	struct use u;
	int err = use_begin(f, e->file, &u);

	if (err < 0)
		return err;
	err = dat_read(use_dat(&u), e, out);
	use_end(f, &u);
	return err;
}

int files_fetch(struct files *f, const struct entry *e, void *stored, void *payload, uint64_t *ret_checksum)
{
	struct use u;
	int err = use_begin(f, e->file, &u);

	if (err < 0)
		return err;
	err = dat_fetch(use_dat(&u), e, stored, payload, ret_checksum);
	use_end(f, &u);
	return err;
}
