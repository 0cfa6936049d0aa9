/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of slots, a file's number modulo its size; a slot that is taken by
 * another file is taken over, unless somebody reads from it right now: then
 * the file is opened for this one read.
 */
#include "files.h"

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

void files_free(struct files *f)
{
	unsigned int i;

	if (!f)
		return;
	for (i = 0; i < SLOTS; i++) {
		if (f->slots[i].dat.fd >= 0)
			dat_close(&f->slots[i].dat);
	}
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

static int read_once(struct files *f, const struct entry *e, void *out)
{
	struct dat d;
	int err = dat_open(f->sys, f->dir, e->file, &d);

	if (err < 0)
		return err;
	err = dat_read(&d, e, out);
	dat_close(&d);
	return err;
}

int files_read(struct files *f, const struct entry *e, void *out)
{
	struct slot *s;
	int err;

	pthread_mutex_lock(&f->mutex);
	s = slot_get(f, e->file, &err);
	pthread_mutex_unlock(&f->mutex);
	if (!s)
		return err < 0 ? err : read_once(f, e, out);
	err = dat_read(&s->dat, e, out);
	pthread_mutex_lock(&f->mutex);
	s->users--;
	pthread_mutex_unlock(&f->mutex);
	return err;
}
