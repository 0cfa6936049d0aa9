/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session - the state machine of one connection.
 *
 *	        HELLO           last DISK, admitted
 *	GREETING ----> DISKS ----------------------> OPEN
 *	   |             |                            |
 *	   '-------------+----------------------------+--> OVER
 *	                    refused, or ended from outside
 *
 * A frame is handled in two steps.  validate_frame() looks at the bytes and
 * at the session and changes nothing; whatever a peer can get wrong is found
 * there, the checksum of its payload included (W3).  take_frame() then does
 * what the frame asks, and only the world can fail it: the store, the staging
 * disk.  Either way of failing ends in refuse(), the one place where a
 * session becomes OVER (W4); the store's owner then closes the writer, which
 * drops what was not committed.
 *
 * The output is bounded: while it holds more than half of its room no frame
 * is taken, so a peer that sends and never reads stops itself.
 */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum session_state { GREETING, DISKS, OPEN, OVER };

/* Which frames a state takes. */
static const uint32_t state_takes[] = {
	[GREETING] = 1u << WIRE_HELLO,
	[DISKS] = 1u << WIRE_DISK,
	[OPEN] = 1u << WIRE_DISK | 1u << WIRE_DATA | 1u << WIRE_ZERO | 1u << WIRE_HASH | 1u << WIRE_COMMIT |
		 1u << WIRE_PING | 1u << WIRE_PROBE,
	[OVER] = 0,
};

struct session_disk {
	bool known;
	struct wire_disk is;
};

struct session {
	enum session_state state;
	const struct session_ops *ops;
	void *context;
	struct uuid peer;

	struct wire_hello hello;
	unsigned int disks_greeted;
	struct session_disk disks[DISKS_MAX];

	uint64_t last_epoch, last_time_us; /* what the next COMMIT must follow */
	uint64_t record_count;		   /* DATA and ZERO since the last COMMIT */
	uint64_t entry_count;		   /* what the store keeps of them, and of DISK */
	uint64_t unchecked_bytes;	   /* DATA since the room was asked for */
	uint64_t staging_us, receive_us;   /* since the last COMMIT */
	uint64_t probe_bytes, probe_staging_us, probe_receive_us;

	struct session_figures figures;
	struct session_end end;

	size_t out_start, out_end;
	uint8_t out[SESSION_OUTPUT_BYTES];
	uint8_t chunk[CHUNK_BYTES];
};

union message {
	struct wire_hello hello;
	struct wire_disk disk;
	struct wire_data data;
	struct wire_zero zero;
	struct wire_hash hash;
	struct wire_commit commit;
	struct wire_ping ping;
	struct {
		const uint8_t *payload;
		uint32_t len;
	} probe;
};

#define OUTPUT_FRAME_MAX (WIRE_HEADER_BYTES + WIRE_BODY_MAX)
_Static_assert(SESSION_OUTPUT_BYTES >= 2 * OUTPUT_FRAME_MAX, "a REFUSE must always fit behind the rest");

int session_new(const struct session_ops *ops, void *context, const struct uuid *peer, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->state = GREETING;
	s->ops = ops;
	s->context = context;
	s->peer = *peer;
	*ret = s;
	return 0;
}

void session_free(struct session *s)
{
	free(s);
}

/* --- output ------------------------------------------------------------------ */

/* Room for one frame of any kind; session_input() and refuse() see to it that
 * there is. */
static uint8_t *output_room(struct session *s)
{
	if (s->out_start == s->out_end)
		s->out_start = s->out_end = 0;
	if (sizeof(s->out) - s->out_end < OUTPUT_FRAME_MAX) {
		memmove(s->out, s->out + s->out_start, s->out_end - s->out_start);
		s->out_end -= s->out_start;
		s->out_start = 0;
	}
	assert(sizeof(s->out) - s->out_end >= OUTPUT_FRAME_MAX);
	return s->out + s->out_end;
}

static bool output_is_full(const struct session *s)
{
	return s->out_end - s->out_start > SESSION_OUTPUT_BYTES / 4;
}

const uint8_t *session_output(const struct session *s, size_t *ret_len)
{
	*ret_len = s->out_end - s->out_start;
	return s->out + s->out_start;
}

void session_sent(struct session *s, size_t n)
{
	assert(n <= s->out_end - s->out_start);
	s->out_start += n;
}

/* --- the end ----------------------------------------------------------------- */

static int refuse(struct session *s, int err, enum wire_refusal reason, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(struct session *s, int err, enum wire_refusal reason, const char *fmt, ...)
{
	va_list ap;

	assert(s->state != OVER);
	s->state = OVER;
	s->end.refused = true;
	s->end.err = err;
	s->end.refuse.reason = (uint16_t)reason;
	va_start(ap, fmt);
	vsnprintf(s->end.refuse.text, sizeof(s->end.refuse.text), fmt, ap);
	va_end(ap);
	s->out_end += wire_put_refuse(output_room(s), &s->end.refuse);
	return -ECONNABORTED;
}

/* The store said no. */
static int refuse_store(struct session *s, int err, const char *what)
{
	if (err == -ENOSPC || err == -EDQUOT)
		return refuse(s, err, WIRE_REFUSED_STAGING_FULL,
			      "the staging disk is full; what was acknowledged is safe");
	return refuse(s, err, WIRE_REFUSED_STORE, "%s: %s", what, strerror(-err));
}

void session_refuse(struct session *s, enum wire_refusal reason, const char *text)
{
	if (s->state != OVER)
		(void)refuse(s, 0, reason, "%s", text);
}

/* --- validation: nothing is changed ------------------------------------------ */

/* Why a frame is not taken. */
struct objection {
	enum wire_refusal reason;
	char text[160];
};

static bool object(struct objection *o, enum wire_refusal reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool object(struct objection *o, enum wire_refusal reason, const char *fmt, ...)
{
	va_list ap;

	o->reason = reason;
	va_start(ap, fmt);
	vsnprintf(o->text, sizeof(o->text), fmt, ap);
	va_end(ap);
	return false;
}

static bool parse_body(const struct wire_frame *f, const uint8_t *body, union message *m)
{
	switch (f->type) {
	case WIRE_HELLO:
		return wire_parse_hello(body, f->length, &m->hello) == 0;
	case WIRE_DISK:
		return wire_parse_disk(body, f->length, &m->disk) == 0;
	case WIRE_DATA:
		return wire_parse_data(body, f->length, &m->data) == 0;
	case WIRE_ZERO:
		return wire_parse_zero(body, f->length, &m->zero) == 0;
	case WIRE_HASH:
		return wire_parse_hash(body, f->length, &m->hash) == 0;
	case WIRE_COMMIT:
		return wire_parse_commit(body, f->length, &m->commit) == 0;
	case WIRE_PING:
		return wire_parse_ping(body, f->length, &m->ping) == 0;
	case WIRE_PROBE:
		m->probe.payload = body;
		m->probe.len = f->length;
		return true;
	default:
		return false;
	}
}

static bool validate_hello(const struct session *s, const struct wire_hello *h, struct objection *o)
{
	if (h->version_min > WIRE_VERSION_MAX || h->version_max < WIRE_VERSION_MIN)
		return object(o, WIRE_REFUSED_VERSION,
			      "this server speaks protocol versions %d to %d, the agent %u to %u; install %s",
			      WIRE_VERSION_MIN, WIRE_VERSION_MAX, h->version_min, h->version_max,
			      h->version_min > WIRE_VERSION_MAX ? "a newer server" : "a newer agent");
	if (!uuid_equal(&h->machine, &s->peer))
		return object(o, WIRE_REFUSED_IDENTITY, "the certificate is another machine's");
	assert(h->disk_count > 0 && h->disk_count <= DISKS_MAX);
	return true;
}

static bool validate_entry_count(const struct session *s, uint64_t more, struct objection *o)
{
	if (more > SESSION_EPOCH_ENTRIES_MAX - s->entry_count)
		return object(o, WIRE_REFUSED_MALFORMED, "an epoch of more than %u pieces", SESSION_EPOCH_ENTRIES_MAX);
	return true;
}

static bool validate_disk(const struct session *s, const struct wire_disk *d, struct objection *o)
{
	const struct session_disk *known;

	assert(d->disk < DISKS_MAX);
	known = &s->disks[d->disk];
	if (!known->known)
		return true;
	if (s->state == DISKS)
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u is named twice", d->disk);
	if (!uuid_equal(&d->id, &known->is.id))
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u has become another disk", d->disk);
	if (d->size_bytes < known->is.size_bytes)
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u has shrunk from %llu to %llu bytes", d->disk,
			      (unsigned long long)known->is.size_bytes, (unsigned long long)d->size_bytes);
	return validate_entry_count(s, 1, o);
}

/* That it is of whole sectors, and of DATA within a chunk, the parser has seen to. */
static bool validate_range(const struct session *s, uint16_t disk, uint64_t offset, uint64_t length, struct objection *o)
{
	assert(disk < DISKS_MAX && length > 0 && offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0);
	if (!s->disks[disk].known)
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u is not known", disk);
	if (offset > s->disks[disk].is.size_bytes || length > s->disks[disk].is.size_bytes - offset)
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u: %llu bytes at %llu are past its end", disk,
			      (unsigned long long)length, (unsigned long long)offset);
	return true;
}

static bool validate_record_count(const struct session *s, struct objection *o)
{
	if (s->record_count >= SESSION_EPOCH_RECORDS_MAX)
		return object(o, WIRE_REFUSED_MALFORMED, "an epoch of more than %u records", SESSION_EPOCH_RECORDS_MAX);
	return true;
}

/* W3; @chunk is scratch. */
static bool validate_payload(const struct wire_data *d, uint8_t *chunk, struct objection *o)
{
	const uint8_t *payload = d->stored;

	if (d->codec != CODEC_RAW) {
		if (payload_decompress(d->codec, d->stored, d->stored_bytes, chunk, d->length_bytes))
			return object(o, WIRE_REFUSED_CHECKSUM, "disk %u: the payload at %llu cannot be decompressed",
				      d->disk, (unsigned long long)d->offset_bytes);
		payload = chunk;
	}
	assert(d->codec != CODEC_RAW || d->stored_bytes == d->length_bytes);
	if (payload_checksum(payload, d->length_bytes) != d->checksum)
		return object(o, WIRE_REFUSED_CHECKSUM, "disk %u: the payload at %llu does not match its checksum",
			      d->disk, (unsigned long long)d->offset_bytes);
	return true;
}

static bool validate_hash(const struct session *s, const struct wire_hash *h, struct objection *o)
{
	uint64_t size;

	if (!validate_range(s, h->disk, h->offset_bytes, h->length_bytes, o))
		return false;
	size = s->disks[h->disk].is.size_bytes;
	assert(h->offset_bytes % CHUNK_BYTES == 0);
	if (h->length_bytes != MIN(CHUNK_BYTES, size - h->offset_bytes))
		return object(o, WIRE_REFUSED_MALFORMED, "disk %u: a hash of %u bytes at %llu is not of a whole chunk",
			      h->disk, h->length_bytes, (unsigned long long)h->offset_bytes);
	return true;
}

static bool validate_commit(const struct session *s, const struct wire_commit *c, struct objection *o)
{
	if (c->epoch != s->last_epoch + 1)
		return object(o, WIRE_REFUSED_MALFORMED, "epoch %llu after epoch %llu", (unsigned long long)c->epoch,
			      (unsigned long long)s->last_epoch);
	if (c->time_us <= s->last_time_us)
		return object(o, WIRE_REFUSED_MALFORMED, "epoch %llu is not later than the one before",
			      (unsigned long long)c->epoch);
	if (c->record_count != s->record_count)
		return object(o, WIRE_REFUSED_MALFORMED, "epoch %llu has %llu records, %llu came",
			      (unsigned long long)c->epoch, (unsigned long long)c->record_count,
			      (unsigned long long)s->record_count);
	return true;
}

/* Everything a peer can get wrong.  @s is not changed, but for its scratch. */
static bool validate_frame(struct session *s, const struct wire_frame *f, const uint8_t *body, union message *m,
			   struct objection *o)
{
	if (f->type >= 32 || !(state_takes[s->state] & 1u << f->type))
		return object(o, WIRE_REFUSED_MALFORMED, "%s is not for this moment", wire_type_name(f->type));
	if (!parse_body(f, body, m))
		return object(o, WIRE_REFUSED_MALFORMED, "%s has a field out of its range", wire_type_name(f->type));
	switch (f->type) {
	case WIRE_HELLO:
		return validate_hello(s, &m->hello, o);
	case WIRE_DISK:
		return validate_disk(s, &m->disk, o);
	case WIRE_DATA:
		return validate_record_count(s, o) && validate_entry_count(s, 1, o) &&
		       validate_range(s, m->data.disk, m->data.offset_bytes, m->data.length_bytes, o) &&
		       validate_payload(&m->data, s->chunk, o);
	case WIRE_ZERO:
		return validate_record_count(s, o) &&
		       validate_range(s, m->zero.disk, m->zero.offset_bytes, m->zero.length_bytes, o) &&
		       validate_entry_count(s, store_zero_entries(m->zero.offset_bytes, m->zero.length_bytes), o);
	case WIRE_HASH:
		return validate_hash(s, &m->hash, o);
	case WIRE_COMMIT:
		return validate_commit(s, &m->commit, o);
	default:
		return true;
	}
}

/* --- what frames do ---------------------------------------------------------- */

static void staged(struct session *s, uint64_t since_us)
{
	uint64_t us = s->ops->now_us(s->context) - since_us;

	s->staging_us += us;
	s->figures.staging_us += us;
}

static int store_disk(struct session *s, const struct wire_disk *d)
{
	struct store_disk disk = { .disk = d->disk,
				   .sector_bytes = d->sector_bytes,
				   .size_bytes = d->size_bytes,
				   .id = d->id };
	int err;

	_Static_assert(sizeof(disk.name) == sizeof(d->name), "a name fits");
	memcpy(disk.name, d->name, sizeof(disk.name));
	err = s->ops->put_disk(s->context, &disk);
	if (err == -EINVAL)
		return refuse(s, err, WIRE_REFUSED_STORE, "disk %u is smaller than the disk that the store has, or another one",
			      d->disk);
	return err ? refuse_store(s, err, "the store cannot take a disk") : 0;
}

static int welcome(struct session *s)
{
	struct wire_refuse why = { .reason = WIRE_REFUSED_STORE };
	struct wire_welcome w = { .version = MIN(s->hello.version_max, WIRE_VERSION_MAX) };
	int err = s->ops->admit(s->context, &s->hello, &why);

	if (err)
		return refuse(s, err, why.reason, "%s", why.text);
	for (unsigned int i = 0; i < DISKS_MAX; i++) {
		if (s->disks[i].known && store_disk(s, &s->disks[i].is))
			return -ECONNABORTED;
	}
	s->last_epoch = w.durable_epoch = s->ops->last_epoch(s->context);
	s->last_time_us = s->ops->last_time_us(s->context);
	s->figures.durable_epoch = s->last_epoch;
	s->figures.durable_time_us = s->last_time_us;
	s->state = OPEN;
	s->out_end += wire_put_welcome(output_room(s), &w);
	return 0;
}

static int take_hello(struct session *s, const struct wire_hello *h)
{
	s->hello = *h;
	s->state = DISKS;
	return 0;
}

static int take_disk(struct session *s, const struct wire_disk *d)
{
	s->disks[d->disk].known = true;
	s->disks[d->disk].is = *d;
	s->entry_count++;
	if (s->state == OPEN)
		return store_disk(s, d);
	return ++s->disks_greeted == s->hello.disk_count ? welcome(s) : 0;
}

static int check_room(struct session *s)
{
	int err = s->ops->room(s->context);

	s->unchecked_bytes = 0;
	return err ? refuse_store(s, err, "the staging area cannot be examined") : 0;
}

static int take_data(struct session *s, const struct wire_data *d)
{
	uint64_t since = s->ops->now_us(s->context);
	int err = s->ops->put_data(s->context, d);

	staged(s, since);
	if (err)
		return refuse_store(s, err, "the store cannot take data");
	s->record_count++;
	s->entry_count++;
	s->unchecked_bytes += d->stored_bytes;
	return s->unchecked_bytes >= SESSION_ROOM_CHECK_BYTES ? check_room(s) : 0;
}

static int take_zero(struct session *s, const struct wire_zero *z)
{
	uint64_t since = s->ops->now_us(s->context);
	int err = s->ops->put_zero(s->context, z);

	staged(s, since);
	if (err)
		return refuse_store(s, err, "the store cannot take zeroes");
	s->record_count++;
	s->entry_count += store_zero_entries(z->offset_bytes, z->length_bytes);
	return 0;
}

/* W2: compared with everything before it, committed or not. */
static int take_hash(struct session *s, const struct wire_hash *h)
{
	struct wire_differ d = { .disk = h->disk, .offset_bytes = h->offset_bytes, .length_bytes = h->length_bytes };
	uint64_t hash[2];
	int err = s->ops->read(s->context, h->disk, h->offset_bytes, h->length_bytes, s->chunk);

	if (err && err != -EBADMSG && err != -EIO)
		return refuse_store(s, err, "the store cannot be read");
	/* What cannot be read back is damaged, by what it says or by the disk that has it: the
	 * source still has it, and what it sends for it lies elsewhere. */
	if (!err)
		payload_hash(s->chunk, h->length_bytes, h->seed, hash);
	d.differs = err || hash[0] != h->hash[0] || hash[1] != h->hash[1];
	s->out_end += wire_put_differ(output_room(s), &d);
	return 0;
}

static int take_commit(struct session *s, const struct wire_commit *c)
{
	struct store_epoch e = { .epoch = c->epoch, .time_us = c->time_us };
	struct wire_durable d = { .epoch = c->epoch };
	uint64_t since = s->ops->now_us(s->context);
	int err;

	_Static_assert(WIRE_COMMIT_POINT == STORE_EPOCH_POINT && WIRE_COMMIT_LABELLED == STORE_EPOCH_LABELLED,
		       "the flags are the same on the wire and in the store");
	_Static_assert(sizeof(e.label) == sizeof(c->label), "a label fits");
	e.flags = c->flags;
	memcpy(e.label, c->label, sizeof(e.label));
	err = s->ops->commit(s->context, &e);
	staged(s, since);
	if (err)
		return refuse_store(s, err, "the store cannot commit");

	s->last_epoch = c->epoch;
	s->last_time_us = c->time_us;
	s->record_count = s->entry_count = 0;
	s->figures.durable_epoch = c->epoch;
	s->figures.durable_time_us = c->time_us;
	if (c->flags & WIRE_COMMIT_POINT) {
		s->figures.point_epoch = c->epoch;
		s->figures.point_time_us = c->time_us;
	}
	d.staging_us = s->staging_us;
	d.receive_us = s->receive_us;
	s->staging_us = s->receive_us = 0;
	s->out_end += wire_put_durable(output_room(s), &d);
	return check_room(s);
}

static int take_ping(struct session *s, const struct wire_ping *p)
{
	s->out_end += wire_put_ping(output_room(s), p, true);
	return 0;
}

/* A PROBE without payload ends the speed test. */
static int take_probe(struct session *s, const uint8_t *payload, uint32_t len)
{
	uint64_t since = s->ops->now_us(s->context);
	struct wire_probe_done d;
	int err = len ? s->ops->probe_write(s->context, payload, len) : s->ops->probe_end(s->context);

	s->probe_staging_us += s->ops->now_us(s->context) - since;
	s->probe_bytes += len;
	if (err)
		return refuse_store(s, err, "the staging area cannot be probed");
	if (len)
		return 0;
	d = (struct wire_probe_done){ s->probe_bytes, s->probe_receive_us, s->probe_staging_us };
	s->probe_bytes = s->probe_receive_us = s->probe_staging_us = 0;
	s->out_end += wire_put_probe_done(output_room(s), &d);
	return 0;
}

static int take_frame(struct session *s, uint16_t type, const union message *m)
{
	switch (type) {
	case WIRE_HELLO:
		return take_hello(s, &m->hello);
	case WIRE_DISK:
		return take_disk(s, &m->disk);
	case WIRE_DATA:
		return take_data(s, &m->data);
	case WIRE_ZERO:
		return take_zero(s, &m->zero);
	case WIRE_HASH:
		return take_hash(s, &m->hash);
	case WIRE_COMMIT:
		return take_commit(s, &m->commit);
	case WIRE_PING:
		return take_ping(s, &m->ping);
	case WIRE_PROBE:
		return take_probe(s, m->probe.payload, m->probe.len);
	default:
		assert(!"validated");
		return -ECONNABORTED;
	}
}

/* --- input ------------------------------------------------------------------- */

/* One frame from the @len bytes at @buf: its size, 0 if it is not whole yet,
 * or -ECONNABORTED. */
static ssize_t input_frame(struct session *s, const uint8_t *buf, size_t len)
{
	struct objection o;
	struct wire_frame f;
	union message m;

	if (len < WIRE_HEADER_BYTES)
		return 0;
	if (wire_parse_frame(buf, &f))
		return refuse(s, -EPROTO, WIRE_REFUSED_MALFORMED, "not a frame of this protocol");
	if (len - WIRE_HEADER_BYTES < f.length)
		return 0;
	if (wire_check_frame(buf, buf + WIRE_HEADER_BYTES, f.length))
		return refuse(s, -EBADMSG, WIRE_REFUSED_CHECKSUM, "%s was changed on its way", wire_type_name(f.type));
	if (!validate_frame(s, &f, buf + WIRE_HEADER_BYTES, &m, &o))
		return refuse(s, -EPROTO, o.reason, "%s", o.text);
	if (take_frame(s, f.type, &m))
		return -ECONNABORTED;
	return (ssize_t)(WIRE_HEADER_BYTES + f.length);
}

int session_input(struct session *s, const uint8_t *buf, size_t len, size_t *ret_consumed)
{
	uint64_t epoch = s->last_epoch;
	size_t consumed = 0;
	int err = 0;

	while (!err && s->last_epoch == epoch) {
		ssize_t n;

		if (s->state == OVER) {
			err = -ECONNABORTED;
			break;
		}
		if (output_is_full(s)) {
			err = -EAGAIN;
			break;
		}
		n = input_frame(s, buf + consumed, len - consumed);
		if (n == 0)
			break;
		if (n < 0)
			err = (int)n;
		else
			consumed += (size_t)n;
	}
	s->figures.received_bytes += consumed;
	*ret_consumed = consumed;
	return err;
}

/* --- figures ----------------------------------------------------------------- */

/* An agent that has nothing to send is no slow network: only what passes
 * between the first record of an epoch and its COMMIT counts. */
void session_waited(struct session *s, uint64_t us)
{
	if (s->probe_bytes > 0)
		s->probe_receive_us += us;
	if (s->record_count == 0)
		return;
	s->receive_us += us;
	s->figures.receive_us += us;
}

bool session_is_open(const struct session *s)
{
	return s->state == OPEN;
}

const struct session_end *session_get_end(const struct session *s)
{
	return &s->end;
}

const struct session_figures *session_get_figures(const struct session *s)
{
	return &s->figures;
}
