/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile or broken server sends, against the agent's own session and
 * engine; disk and tracker are plain memory (plain_tracker), TLS is a buffer.
 *
 * The input is a course of events: writes, reads that end, answers true and false,
 * connections that break, agents that die.  The server's side is a model: it
 * keeps what it was sent, and is held to what it said.  What it says that
 * cannot be true must be refused.  At each POINT its image must be a state that the
 * disk was in, and after all, when the server has become honest, image and disk must
 * become equal.
 *
 * Lies that nobody can see through are left out: to have what was sent and not
 * stored, to find the same what differs.
 */
#include "fuzz.h"
#include "../unit/plain_tracker.h"
/* For its states and for tls_read() to be ours. */
#include "../../agent/session.c"
#include "engine-private.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#define INPUT_MAX  4096
#define STATES_MAX 8192
#define EPOCHS	   4u /* remembered: more than can be in flight */
#define HASHES	   (2 * HASHES_MAX)
#define READS	   4

static const struct uuid machine = { { 1, 2, 3, 4 } };

struct epoch_sent {
	uint64_t epoch;
	bool point;
	uint8_t image[PLAIN_BYTES];
};

struct read_asked {
	bool busy;
	uint64_t offset;
	uint32_t length;
	void *buffer;
};

/* The server's side. */
struct model {
	uint64_t durable, sent;	    /* epochs: said to be durable; whole, in this connection or the last */
	struct epoch_sent epochs[EPOCHS];
	uint8_t image[PLAIN_BYTES]; /* of `durable' */
	uint8_t staged[PLAIN_BYTES];
	bool point;		    /* `durable' is one */
	uint64_t records;
	struct wire_hash hashes[HASHES];
	unsigned int hash_first, hash_count;
	uint8_t in[2 * (WIRE_HEADER_BYTES + WIRE_BODY_MAX)]; /* from the agent */
	size_t in_used;
};

static struct world {
	struct tracker *tracker;
	struct engine_memory memory;
	struct engine *engine;
	struct session *session;
	struct read_asked reads[ENGINE_READS_MAX];
	uint64_t now_us, stamp;
	struct model m;
	uint8_t to_agent[8192];
	size_t to_agent_used;
	bool server_closes, stuck; /* stuck: the socket takes nothing */
	uint64_t states[STATES_MAX];
	unsigned int state_count;
	const uint8_t *in, *in_end;
} w;

/* --- TLS ------------------------------------------------------------------------- */

int tls_new(struct tls_context *c, int fd, bool server, struct tls **ret)
{
	return -ENOMEM;
}

void tls_free(struct tls *t)
{
}

int tls_handshake(struct tls *t)
{
	return -EAGAIN;
}

int tls_peer(const struct tls *t, char ret_role[16], struct uuid *ret_id)
{
	return -EKEYREJECTED;
}

const char *tls_error(const struct tls *t)
{
	return "";
}

short tls_events(const struct tls *t)
{
	return 0;
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	size_t n = MIN(len, w.to_agent_used);

	if (!n)
		return w.server_closes ? 0 : -EAGAIN;
	memcpy(buf, w.to_agent, n);
	memmove(w.to_agent, w.to_agent + n, w.to_agent_used - n);
	w.to_agent_used -= n;
	return (ssize_t)n;
}

static void model_take(const uint8_t *bytes, size_t n);

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	size_t n = MIN(len, sizeof(w.m.in) / 2);

	if (w.stuck)
		return -EAGAIN;
	model_take(buf, n);
	return (ssize_t)n;
}

/* --- the server's model ------------------------------------------------------------ */

static void remember_state(void)
{
	if (w.state_count < STATES_MAX)
		w.states[w.state_count++] = XXH3_64bits(plain_tracker_disk(w.tracker), PLAIN_BYTES);
}

static void check_point(const uint8_t *image)
{
	uint64_t state = XXH3_64bits(image, PLAIN_BYTES);
	unsigned int i = w.state_count;

	while (i > 0 && w.states[i - 1] != state)
		i--;
	assert(i > 0 || w.state_count == STATES_MAX);
}

static struct epoch_sent *epoch_of_number(uint64_t epoch)
{
	struct epoch_sent *s = &w.m.epochs[epoch % EPOCHS];

	return s->epoch == epoch ? s : NULL;
}

/* The server has it, and everything before it, and said so. */
static void model_durable(uint64_t epoch)
{
	const struct epoch_sent *s = epoch_of_number(epoch);

	assert(s && epoch > w.m.durable && epoch <= w.m.sent);
	memcpy(w.m.image, s->image, PLAIN_BYTES);
	w.m.durable = epoch;
	w.m.point = s->point;
	if (s->point)
		check_point(s->image);
}

static void check_range(uint16_t disk, uint64_t offset, uint64_t length)
{
	assert(disk == 0 && length && offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0);
	assert(offset < PLAIN_BYTES && length <= PLAIN_BYTES - offset);
}

static void model_data(const struct wire_data *d)
{
	check_range(d->disk, d->offset_bytes, d->length_bytes);
	assert(payload_decompress(d->codec, d->stored, d->stored_bytes, w.m.staged + d->offset_bytes, d->length_bytes) == 0);
	assert(payload_checksum(w.m.staged + d->offset_bytes, d->length_bytes) == d->checksum);
	w.m.records++;
}

static void model_commit(const struct wire_commit *c)
{
	struct epoch_sent *s = &w.m.epochs[c->epoch % EPOCHS];

	assert(c->epoch == w.m.sent + 1 && c->record_count == w.m.records);
	s->epoch = c->epoch;
	s->point = c->flags & WIRE_COMMIT_POINT;
	memcpy(s->image, w.m.staged, PLAIN_BYTES);
	w.m.sent = c->epoch;
	w.m.records = 0;
}

static void model_frame(uint16_t type, const uint8_t *body, uint32_t length)
{
	union {
		struct wire_data data;
		struct wire_zero zero;
		struct wire_hash hash;
		struct wire_commit commit;
	} f;

	switch (type) {
	case WIRE_DATA:
		assert(wire_parse_data(body, length, &f.data) == 0);
		model_data(&f.data);
		break;
	case WIRE_ZERO:
		assert(wire_parse_zero(body, length, &f.zero) == 0);
		check_range(f.zero.disk, f.zero.offset_bytes, f.zero.length_bytes);
		memset(w.m.staged + f.zero.offset_bytes, 0, f.zero.length_bytes);
		w.m.records++;
		break;
	case WIRE_HASH: /* answered as of this moment: W2 */
		assert(wire_parse_hash(body, length, &f.hash) == 0);
		check_range(f.hash.disk, f.hash.offset_bytes, f.hash.length_bytes);
		{
			uint64_t hash[2];

			payload_hash(w.m.staged + f.hash.offset_bytes, f.hash.length_bytes, f.hash.seed, hash);
			f.hash.seed = hash[0] != f.hash.hash[0] || hash[1] != f.hash.hash[1];
		}
		assert(w.m.hash_count < HASHES);
		w.m.hashes[(w.m.hash_first + w.m.hash_count++) % HASHES] = f.hash;
		break;
	case WIRE_COMMIT:
		assert(wire_parse_commit(body, length, &f.commit) == 0);
		model_commit(&f.commit);
		break;
	default:
		assert(type == WIRE_HELLO || type == WIRE_DISK || type == WIRE_PING);
	}
}

static void model_take(const uint8_t *bytes, size_t n)
{
	struct wire_frame f;
	size_t at = 0;

	assert(n <= sizeof(w.m.in) - w.m.in_used);
	memcpy(w.m.in + w.m.in_used, bytes, n);
	w.m.in_used += n;
	while (w.m.in_used - at >= WIRE_HEADER_BYTES) {
		const uint8_t *frame = w.m.in + at;

		assert(wire_parse_frame(frame, &f) == 0);
		if (w.m.in_used - at < WIRE_HEADER_BYTES + f.length)
			break;
		assert(wire_check_frame(frame, frame + WIRE_HEADER_BYTES, f.length) == 0);
		model_frame(f.type, frame + WIRE_HEADER_BYTES, f.length);
		at += WIRE_HEADER_BYTES + f.length;
	}
	memmove(w.m.in, w.m.in + at, w.m.in_used - at);
	w.m.in_used -= at;
}

/* Whatever there is, it is not what it was. */
static void model_scramble(uint64_t with)
{
	for (unsigned int i = 0; i < PLAIN_BYTES; i += 8)
		put_le64(w.m.image + i, with * 0x9e3779b97f4a7c15ULL + i / 4096);
	w.m.point = false;
}

/* --- the agent's side ----------------------------------------------------------------- */

static int on_read(void *context, uint16_t disk, uint64_t offset, uint32_t length, void *buffer, unsigned int slot)
{
	check_range(disk, offset, length);
	assert(slot < ENGINE_READS_MAX && !w.reads[slot].busy);
	w.reads[slot] = (struct read_asked){ true, offset, length, buffer };
	return 0;
}

static uint64_t on_size(void *context, uint16_t disk)
{
	struct tracker_disk d;

	return tracker_disk(w.tracker, disk, &d) == 0 ? d.size_bytes : 0;
}

static uint64_t on_boot(void *context)
{
	return 1700000000000000ULL + w.now_us;
}

static uint64_t on_now(void *context)
{
	return w.now_us;
}

static void on_event(void *context, enum engine_event event, uint16_t disk, uint64_t value, const char *text)
{
	assert(event != ENGINE_MISMATCH && event != ENGINE_CAPTURE_WRONG);
}

static void on_durable(void *context, const struct wire_commit *commit, const struct wire_durable *answer)
{
	assert(commit->epoch <= w.m.sent); /* never one that the server has not got */
}

static void on_fault(void *context, const struct fault *f)
{
}

static void on_welcomed(void *context)
{
}

static const struct engine_ops ops = { on_read, on_size, on_boot, on_now, on_event, on_durable, NULL };

static void agent_begin(void)
{
	struct engine_options o = { .tracker = w.tracker, .memory = &w.memory, .ops = &ops, .arena_bytes = 40 * BLOCK_BYTES,
				    .outbox_bytes = 300 * KIB, .read_bytes = CHUNK_BYTES, .reads = READS, .epoch_us = 50000,
				    .idle_us = 100000, .hash_seed = 5 };
	struct session_options so = { .machine = machine, .fault = on_fault, .welcome = on_welcomed };
	struct engine_disk_options d = { .sector_bytes = 512, .id = { { 9 } }, .name = "/dev/a" };

	assert(engine_memory_is_sound(&w.memory));
	if (engine_new(&o, &w.engine) || engine_add_disk(w.engine, &d))
		abort();
	so.engine = w.engine;
	if (session_new(&so, &w.session))
		abort();
	w.session->state = SESSION_WAITING;
	w.session->retry_at_us = UINT64_MAX;
}

static void agent_end(void)
{
	session_free(w.session);
	engine_free(w.engine);
	memset(w.reads, 0, sizeof(w.reads));
}

static bool is_streaming(void)
{
	return w.session->state == SESSION_STREAMING;
}

static void run(void)
{
	(void)engine_run(w.engine);
	(void)session_run(w.session, monotonic_now_us());
	w.session->retry_at_us = UINT64_MAX; /* nobody dials here */
	(void)engine_run(w.engine);
}

static void say(const uint8_t *frame, size_t n)
{
	if (n > sizeof(w.to_agent) - w.to_agent_used)
		return;
	memcpy(w.to_agent + w.to_agent_used, frame, n);
	w.to_agent_used += n;
	/* What it makes of this frame, before it does anything else. */
	if (w.session->state >= SESSION_GREETING)
		(void)receive(w.session);
	w.session->retry_at_us = UINT64_MAX;
}

static void break_link(void)
{
	w.server_closes = true;
	if (w.session->state >= SESSION_GREETING)
		(void)receive(w.session);
	w.session->retry_at_us = UINT64_MAX;
	w.to_agent_used = 0;
	w.server_closes = false;
	assert(w.session->state == SESSION_WAITING);
}

/* --- what the server says --------------------------------------------------------------- */

static void greet(void)
{
	break_link();
	w.m.in_used = w.m.records = 0;
	w.m.hash_first = w.m.hash_count = 0;
	engine_greet(w.engine, &machine, 1);
	w.session->state = SESSION_GREETING;
	w.session->entered_us = w.session->spoke_us = w.session->heard_us = monotonic_now_us();
}

/* An epoch that the agent began to send and of which the server has not all: to
 * have it is a lie that cannot be seen through. */
static bool may_be_known(uint64_t epoch)
{
	for (unsigned int i = 0; i < ENGINE_CUTS; i++)
		if (w.memory.cuts[i].epoch >= epoch)
			return true;
	return false;
}

static void say_welcome(uint64_t durable)
{
	struct wire_welcome m = { .version = 1, .durable_epoch = durable };
	uint8_t frame[WIRE_HEADER_BYTES + 64];

	if (w.session->state != SESSION_GREETING || durable > WIRE_EPOCH_MAX || (durable > w.m.sent && may_be_known(durable)))
		return;
	say(frame, wire_put_welcome(frame, &m));
	if (!is_streaming())
		return;
	if (durable > w.m.durable && durable <= w.m.sent && epoch_of_number(durable)) {
		model_durable(durable);
	} else if (durable != w.m.durable) {
		model_scramble(durable);
		w.m.durable = durable;
	}
	w.m.sent = w.m.durable;
	for (unsigned int i = 0; i < EPOCHS; i++)
		w.m.epochs[i].epoch = 0;
	memcpy(w.m.staged, w.m.image, PLAIN_BYTES);
}

static void say_durable(uint64_t epoch)
{
	struct wire_durable m = { .epoch = epoch };
	uint8_t frame[WIRE_HEADER_BYTES + 64];
	bool was = is_streaming(), true_one = was && epoch > w.m.durable && epoch <= w.m.sent;

	if (!epoch || epoch > WIRE_EPOCH_MAX)
		return;
	say(frame, wire_put_durable(frame, &m));
	assert(is_streaming() == true_one);
	if (true_one)
		model_durable(epoch);
}

static void say_differ(bool lie)
{
	const struct wire_hash *h = &w.m.hashes[w.m.hash_first];
	struct wire_differ m = { .disk = h->disk, .offset_bytes = h->offset_bytes, .length_bytes = h->length_bytes };
	uint8_t frame[WIRE_HEADER_BYTES + 64];

	if (!w.m.hash_count || !is_streaming())
		return;
	m.differs = lie || h->seed;
	w.m.hash_first = (w.m.hash_first + 1) % HASHES;
	w.m.hash_count--;
	say(frame, wire_put_differ(frame, &m));
	assert(is_streaming());
}

/* A frame of any type with any body; its checksum is right. */
static void say_anything(uint8_t type, uint8_t *body, size_t n)
{
	uint8_t frame[WIRE_HEADER_BYTES + 256] = { 0 };
	struct wire_welcome welcome;
	struct wire_durable durable;
	XXH3_state_t state;

	if (type == WIRE_WELCOME && wire_parse_welcome(body, (uint32_t)n, &welcome) == 0) {
		say_welcome(welcome.durable_epoch);
		return;
	}
	if (type == WIRE_DURABLE && wire_parse_durable(body, (uint32_t)n, &durable) == 0) {
		say_durable(durable.epoch);
		return;
	}
	if (type == WIRE_DIFFER)
		return;
	put_le16(frame, type);
	put_le32(frame + 4, (uint32_t)n);
	memcpy(frame + WIRE_HEADER_BYTES, body, n);
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, frame, 8);
	XXH3_64bits_update(&state, body, n);
	put_le64(frame + 8, XXH3_64bits_digest(&state));
	say(frame, WIRE_HEADER_BYTES + n);
}

/* The answer to another question than the one that was asked first, well formed. */
static void say_wrong_differ(uint64_t what)
{
	struct wire_hash h = w.m.hash_count ? w.m.hashes[w.m.hash_first] : (struct wire_hash){ .length_bytes = CHUNK_BYTES };
	struct wire_differ m = { .disk = h.disk, .offset_bytes = h.offset_bytes, .length_bytes = h.length_bytes };
	const uint64_t chunks = (PLAIN_BYTES + CHUNK_BYTES - 1) / CHUNK_BYTES;
	uint8_t frame[WIRE_HEADER_BYTES + 64];

	if (!is_streaming() || (!w.m.hash_count && w.engine->asked_count))
		return;
	if (w.m.hash_count && what % 3 == 0)
		m.disk = (uint16_t)(1 + what / 3 % (DISKS_MAX - 1));
	else if (w.m.hash_count && what % 3 == 1)
		m.offset_bytes = (m.offset_bytes / CHUNK_BYTES + 1 + what / 3 % (chunks - 1)) % chunks * CHUNK_BYTES;
	else if (w.m.hash_count) /* never of no length: that could not be put into a frame */
		m.length_bytes += m.length_bytes > SECTOR_BYTES ? -SECTOR_BYTES : SECTOR_BYTES;
	say(frame, wire_put_differ(frame, &m));
	assert(!is_streaming());
}

/* --- the course ----------------------------------------------------------------------------- */

static uint64_t number(unsigned int bytes)
{
	uint64_t n = 0;

	while (bytes-- && w.in < w.in_end)
		n = n << 8 | *w.in++;
	return n;
}

static void write_some(bool discard)
{
	uint32_t sector = (uint32_t)(number(1) * 2) % PLAIN_SECTORS, count = 1 + (uint32_t)number(1) % 64;
	bool carry = count != 13;

	count = MIN(count, PLAIN_SECTORS - sector);
	if (discard)
		plain_tracker_discard(w.tracker, sector, count);
	else
		plain_tracker_write(w.tracker, sector, count, ++w.stamp, carry);
	remember_state();
}

static void end_reads(unsigned int what)
{
	for (unsigned int slot = 0; slot < ENGINE_READS_MAX; slot++) {
		struct read_asked *r = &w.reads[slot];

		if (!r->busy || (what && slot % 4 != what % 4))
			continue;
		memcpy(r->buffer, plain_tracker_disk(w.tracker) + r->offset, r->length);
		r->busy = false;
		engine_read_done(w.engine, slot, what > 250 ? -EIO : 0);
	}
}

/* A moment in which all goes well. */
static void go_on(void)
{
	w.now_us += 10000;
	end_reads(0);
	run();
	while (is_streaming() && w.m.hash_count)
		say_differ(false);
	if (is_streaming() && w.m.sent > w.m.durable)
		say_durable(w.m.sent);
}

static void step(void)
{
	uint8_t body[160] = { 0 }, type;
	size_t n;

	if (w.session->inbox_used) /* the beginning of rubbish: what comes now is rubbish, too */
		break_link();
	switch (number(1) % 19) {
	case 0:
	case 1:
		write_some(false);
		break;
	case 2:
		write_some(true);
		break;
	case 3:
		end_reads((unsigned int)number(1));
		break;
	case 4:
		run();
		break;
	case 5:
		w.now_us += 1 + number(1) * 5000;
		break;
	case 6:
		if (w.m.sent > w.m.durable)
			say_durable(w.m.durable + 1 + number(1) % (w.m.sent - w.m.durable));
		break;
	case 7:
		say_differ(number(1) & 1);
		break;
	case 8:
		type = (uint8_t)number(1);
		n = number(1) % sizeof(body);
		for (size_t i = 0; i < n; i++)
			body[i] = (uint8_t)number(1);
		say_anything(type, body, n);
		break;
	case 9:
		n = number(1) % sizeof(body);
		for (size_t i = 0; i < n; i++)
			body[i] = (uint8_t)number(1);
		say(body, n);
		break;
	case 10:
		break_link();
		break;
	case 11:
		greet();
		run();
		say_welcome(w.m.durable);
		break;
	case 12:
		greet();
		say_welcome(w.m.durable + number(1) - 8);
		break;
	case 13:
		greet();
		say_welcome(number(8));
		break;
	case 14:
		agent_end();
		agent_begin();
		w.to_agent_used = 0;
		break;
	case 15:
		n = number(1);
		if (n & 1)
			(void)!engine_verify(w.engine);
		else if (n & 2)
			engine_rescan(w.engine, 0);
		else
			(void)!engine_mark(w.engine, n & 4 ? "label" : "");
		w.stuck = n & 128;
		break;
	case 16:
		say_durable(w.m.durable + number(1) - 8);
		break;
	case 17:
		say_wrong_differ(number(1));
		break;
	case 18:
		for (n = number(1) % 32; n > 0; n--)
			go_on();
		break;
	}
}

static bool is_settled(void)
{
	struct engine_figures f;
	struct engine_disk_figures d;

	engine_figures(w.engine, &f);
	if (engine_disk_figures(w.engine, 0, &d))
		abort();
	return is_streaming() && f.clean && !d.leisure_bytes && !f.ring_used_bytes && !w.engine->touched && !w.engine->closed &&
	       !w.m.hash_count && w.m.durable == w.m.sent && w.m.point;
}

/* From now on the server is honest, and nothing is written. */
static void become_equal(void)
{
	w.stuck = false;
	greet();
	run();
	say_welcome(w.m.durable);
	for (int i = 0; !is_settled(); i++) {
		assert(i < 20000);
		go_on();
		assert(is_streaming());
	}
	assert(memcmp(w.m.image, plain_tracker_disk(w.tracker), PLAIN_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > INPUT_MAX)
		return 0;
	log_quiet_stderr();
	memset(&w, 0, sizeof(w));
	w.in = data;
	w.in_end = data + size;
	w.now_us = 1000000;
	w.tracker = plain_tracker_new(number(1) & 1 ? 64 * KIB : MIB);
	remember_state();
	agent_begin();
	while (w.in < w.in_end)
		step();
	become_equal();
	agent_end();
	plain_tracker_free(w.tracker);
	return 0;
}
