/* SPDX-License-Identifier: Apache-2.0 */
/* dat - reading data files: one record, or one after the other. */
#ifndef GODWIT_STORE_DAT_H
#define GODWIT_STORE_DAT_H

#include "format.h"
#include "sys.h"

struct dat {
	const struct store_sys *sys;
	int fd;
	struct data_header header;
};

/* -EBADMSG: no valid header, or one that says another number. */
_must_check_ int dat_open(const struct store_sys *sys, const char *dir, uint32_t number, struct dat *ret);
void dat_close(struct dat *d);

/* The payload of the record that @e tells of, checked (S5): exactly e->count
 * sectors into @out.  -EBADMSG. */
_must_check_ int dat_read(const struct dat *d, const struct entry *e, void *out);

/*
 * For copying: the stored bytes and the payload (room for CHUNK_BYTES each)
 * and the checksum.  1: the record is damaged; the checksum is then one that
 * the stored bytes do not have.
 */
int dat_fetch(const struct dat *d, const struct entry *e, void *stored, void *payload, uint64_t *ret_checksum);

/* Is @r the record that @e tells of? */
bool dat_matches(const struct record *r, const struct entry *e);

/* A walk over the records in order of position. */
#define WALK_BYTES (256u * 1024u)
struct dat_walk {
	const struct dat *dat;
	uint64_t position;	/* of the next record */
	uint64_t skipped;	/* bytes of the last record, if it was not wanted */
	uint64_t window_at;	/* in the file */
	size_t window_bytes;
	uint8_t *window;
};
_must_check_ int dat_walk_begin(const struct dat *d, struct dat_walk *ret);
void dat_walk_end(struct dat_walk *w);

/*
 * 1: the next record in *@ret, where it is in *@ret_position, and in
 * *@ret_payload its stored bytes (valid until the next call), of DATA only if
 * @data, else NULL.  0: here the valid records end.
 */
int dat_walk_next(struct dat_walk *w, bool data, struct record *ret, uint64_t *ret_position,
		  const uint8_t **ret_payload);

/*
 * The newest epoch after @after of which a commit record stands anywhere behind
 * @position, whatever lies before it; 0: none.  For telling damage from an
 * unfinished end.  -EIO: none is found, but the disk cannot read everything back.
 */
_must_check_ int dat_find_commit(const struct dat *d, uint64_t position, uint64_t after, uint64_t *ret_epoch);

/* Decompress and check a record's stored bytes into @out (r->length_bytes). */
_must_check_ int dat_unpack(const struct record *r, const uint8_t *stored, void *out);

#endif
