/* SPDX-License-Identifier: Apache-2.0 */
#include "dat.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define SKIP_BYTES 8192u
#define UNREADABLE_BYTES 4096u /* read errors come in pages */

int dat_open(const struct store_sys *sys, const char *dir, uint32_t number, struct dat *ret)
{
	uint8_t buf[DATA_HEADER_BYTES];
	char name[DATA_NAME_BYTES];
	char *path = sys_path(dir, data_name(number, name));
	struct data_header h;
	int fd, err;

	if (!path)
		return -ENOMEM;
	fd = sys->open(sys, path, O_RDONLY, 0);
	free(path);
	if (fd < 0)
		return fd;
	err = sys_read(sys, fd, buf, sizeof(buf), 0);
	if (err == 0)
		err = data_header_get(buf, &h);
	if (err == 0 && h.number != number)
		err = -EBADMSG;
	if (err < 0) {
		sys->close(sys, fd);
		return err == -ENODATA ? -EBADMSG : err;
	}
	*ret = (struct dat){ sys, fd, h };
	return 0;
}

void dat_close(struct dat *d)
{
	d->sys->close(d->sys, d->fd);
	d->fd = -1;
}

bool dat_matches(const struct record *r, const struct entry *e)
{
	return r->type == RECORD_DATA && r->version == e->version && r->disk == key_disk(e->key) &&
	       r->offset_bytes == key_index(e->key) * CHUNK_BYTES + (uint64_t)e->first * SECTOR_BYTES &&
	       r->length_bytes == (uint64_t)e->count * SECTOR_BYTES && r->stored_bytes == e->stored_bytes &&
	       r->codec == e->codec;
}

/* Header and payload in one call, the payload straight to where it is wanted. */
static int read_stored(const struct dat *d, const struct entry *e, uint8_t *header, void *stored)
{
	uint64_t position = (uint64_t)e->position << POSITION_SHIFT;
	struct iovec iov[2] = { { header, RECORD_BYTES }, { stored, e->stored_bytes } };
	ssize_t n = d->sys->preadv(d->sys, d->fd, iov, 2, position);
	int err;

	if (n < 0)
		return (int)n;
	if ((size_t)n == RECORD_BYTES + (size_t)e->stored_bytes)
		return 0;
	err = sys_read(d->sys, d->fd, header, RECORD_BYTES, position);
	if (err == 0)
		err = sys_read(d->sys, d->fd, stored, e->stored_bytes, position + RECORD_BYTES);
	return err == -ENODATA ? -EBADMSG : err;
}

int dat_read(const struct dat *d, const struct entry *e, void *out)
{
	uint8_t header[RECORD_BYTES], packed[CHUNK_BYTES];
	bool raw = e->codec == CODEC_RAW;
	uint32_t length = (uint32_t)e->count * SECTOR_BYTES;
	struct record r;
	int err;

	assert(!(e->flags & ENTRY_ZERO) && e->stored_bytes <= CHUNK_BYTES);
	err = read_stored(d, e, header, raw ? out : packed);
	if (err == 0)
		err = record_get(header, d->header.salt, (uint64_t)e->position << POSITION_SHIFT, &r);
	if (err == 0 && !dat_matches(&r, e))
		err = -EBADMSG;
	if (err == 0 && !raw)
		err = payload_decompress(e->codec, packed, e->stored_bytes, out, length);
	if (err == 0 && payload_checksum(out, length) != r.checksum)
		err = -EBADMSG;
	return err;
}

int dat_fetch(const struct dat *d, const struct entry *e, void *stored, void *payload, uint64_t *ret_checksum)
{
	uint8_t header[RECORD_BYTES];
	uint32_t length = (uint32_t)e->count * SECTOR_BYTES;
	struct record r = { 0 };
	int err = read_stored(d, e, header, stored);
	bool known, whole;

	if (err == -EBADMSG)
		memset(stored, 0, e->stored_bytes); /* the file ends before it */
	else if (err < 0)
		return err;
	known = err == 0 && record_get(header, d->header.salt, (uint64_t)e->position << POSITION_SHIFT, &r) == 0 &&
		dat_matches(&r, e);
	whole = payload_decompress(e->codec, stored, e->stored_bytes, payload, length) == 0;
	if (known && whole && payload_checksum(payload, length) == r.checksum) {
		*ret_checksum = r.checksum;
		return 0;
	}
	*ret_checksum = known ? r.checksum : whole ? ~payload_checksum(payload, length) : 0;
	return 1;
}

int dat_unpack(const struct record *r, const uint8_t *stored, void *out)
{
	int err = payload_decompress(r->codec, stored, r->stored_bytes, out, (uint32_t)r->length_bytes);

	if (err == 0 && payload_checksum(out, r->length_bytes) != r->checksum)
		err = -EBADMSG;
	return err;
}

/* --- walking ------------------------------------------------------------------------ */

int dat_walk_begin(const struct dat *d, struct dat_walk *ret)
{
	*ret = (struct dat_walk){ .dat = d, .position = DATA_HEADER_BYTES };
	ret->window = malloc(WALK_BYTES);
	return ret->window ? 0 : -ENOMEM;
}

void dat_walk_end(struct dat_walk *w)
{
	free(w->window);
	w->window = NULL;
}

/* The window holds @length bytes from @at on: 1; the file ends before: 0.
 * Where what is skipped is longer than a call takes to copy, nothing is read ahead. */
static int walk_need(struct dat_walk *w, uint64_t at, size_t length)
{
	const struct store_sys *sys = w->dat->sys;
	size_t have = 0, want = w->skipped >= SKIP_BYTES ? length : WALK_BYTES;

	if (at >= w->window_at && at + length <= w->window_at + w->window_bytes)
		return 1;
	assert(length <= WALK_BYTES);
	while (have < want) {
		struct iovec iov = { w->window + have, want - have };
		ssize_t n = sys->preadv(sys, w->dat->fd, &iov, 1, at + have);

		if (n < 0 && have < length)
			return (int)n;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	w->window_at = at;
	w->window_bytes = have;
	return length <= have;
}

int dat_walk_next(struct dat_walk *w, bool data, struct record *ret, uint64_t *ret_position,
		  const uint8_t **ret_payload)
{
	struct record r;
	const uint8_t *payload = NULL;
	int have = walk_need(w, w->position, RECORD_BYTES);

	if (have <= 0)
		return have;
	if (record_get(w->window + (w->position - w->window_at), w->dat->header.salt, w->position, &r) < 0)
		return 0;
	w->skipped = 0;
	if (r.type == RECORD_DATA && !data) {
		w->skipped = r.stored_bytes;
	} else {
		have = walk_need(w, w->position, RECORD_BYTES + r.stored_bytes);
		if (have <= 0)
			return have;
		payload = w->window + (w->position - w->window_at) + RECORD_BYTES;
		if ((r.type == RECORD_DISK || r.type == RECORD_COMMIT) &&
		    payload_checksum(payload, r.stored_bytes) != r.checksum)
			return 0;
	}
	*ret = r;
	*ret_position = w->position;
	*ret_payload = payload;
	w->position += record_total_bytes(r.stored_bytes);
	return 1;
}

/* --- looking for what should have been reached by walking ------------------------------ */

int dat_find_commit(const struct dat *d, uint64_t position, uint64_t after, uint64_t *ret_epoch)
{
	uint64_t newest = after;
	bool unreadable = false;
	struct dat_walk w;
	struct record r;
	int err = dat_walk_begin(d, &w);

	if (err < 0)
		return err;
	while ((err = walk_need(&w, position, RECORD_BYTES)) != 0) {
		const uint8_t *at = w.window + (position - w.window_at);

		if (err < 0 && err != -EIO)
			break;
		if (err == -EIO) { /* what the disk cannot read back ends somewhere */
			unreadable = true;
			position = (position / UNREADABLE_BYTES + 1) * UNREADABLE_BYTES;
			continue;
		}
		if (at[0] == RECORD_COMMIT && record_get(at, d->header.salt, position, &r) == 0)
			newest = MAX(newest, version_epoch(r.version));
		position += 1u << POSITION_SHIFT;
	}
	dat_walk_end(&w);
	if (err == 0 && unreadable && newest == after)
		err = -EIO;
	if (err == 0)
		*ret_epoch = newest > after ? newest : 0;
	return err;
}
