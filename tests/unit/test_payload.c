/* SPDX-License-Identifier: Apache-2.0 */
#include "payload.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static unsigned int seed;

static int print_seed(void **state)
{
	const char *env = getenv("GODWIT_SEED");

	seed = env ? (unsigned int)strtoul(env, NULL, 0) : (unsigned int)getpid();
	print_message("GODWIT_SEED=%u\n", seed);
	return 0;
}

/* Text-like bytes; @alphabet 256 does not compress. */
static void fill(uint8_t *buf, uint32_t len, unsigned int alphabet, unsigned int *rng)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((unsigned int)rand_r(rng) % alphabet);
}

static void test_checksums_are_those_of_xxh3(void **state)
{
	uint64_t hash[2], other[2];

	/* From the xxHash project's own test vectors for no input. */
	assert_true(payload_checksum("", 0) == 0x2d06800538d394c2);
	payload_hash("", 0, 0, hash);
	assert_true(hash[0] == 0x6001c324468d497f && hash[1] == 0x99aa06d3014798d8);
	payload_hash("godwit", 6, 1, hash);
	payload_hash("godwit", 6, 2, other);
	assert_true(hash[0] != other[0] && hash[1] != other[1]);
}

static void round_trip(enum payload_codec codec, uint32_t len, unsigned int alphabet, unsigned int *rng)
{
	uint8_t *in = malloc(len + 1), *stored = malloc(len + 1), *out = malloc(len + 1);
	uint8_t used = 99;
	uint32_t n;

	fill(in, len, alphabet, rng);
	n = payload_compress(codec, 3, in, len, stored, &used);
	assert_true(used == codec ? codec == CODEC_RAW || n < len : used == CODEC_RAW);
	assert_true(used == CODEC_RAW ? n == len : n > 0);
	assert_int_equal(payload_decompress(used, stored, n, out, len), 0);
	assert_memory_equal(in, out, len);
	if (alphabet <= 4 && len >= 4096 && codec != CODEC_RAW)
		assert_int_equal(used, codec);
	free(in);
	free(stored);
	free(out);
}

static void test_every_codec_gives_back_what_it_took(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 511, 512, 4096, 65535, CHUNK_BYTES };
	static const unsigned int alphabets[] = { 1, 4, 60, 256 };
	unsigned int rng = seed;

	for (int codec = CODEC_RAW; codec <= CODEC_ZSTD; codec++)
		for (size_t l = 0; l < ARRAY_LEN(lengths); l++)
			for (size_t a = 0; a < ARRAY_LEN(alphabets); a++)
				round_trip((enum payload_codec)codec, lengths[l], alphabets[a], &rng);
}

static void test_what_does_not_shrink_is_stored_as_it_is(void **state)
{
	static uint8_t in[CHUNK_BYTES], out[CHUNK_BYTES];
	unsigned int rng = seed;
	uint8_t used = 99;

	fill(in, sizeof(in), 256, &rng);
	for (int codec = CODEC_RAW; codec <= CODEC_ZSTD; codec++) {
		assert_int_equal(payload_compress((enum payload_codec)codec, 1, in, sizeof(in), out, &used), sizeof(in));
		assert_int_equal(used, CODEC_RAW);
		assert_memory_equal(in, out, sizeof(in));
	}
}

/* The buffers are of exactly the size said, so that the address sanitizer sees
 * what goes past their ends. */
static void test_wrong_lengths_are_refused(void **state)
{
	unsigned int rng = seed;

	for (int codec = CODEC_RAW; codec <= CODEC_ZSTD; codec++) {
		static uint8_t in[8192], stored[8192], out[CHUNK_BYTES * 2];
		uint8_t used;
		uint32_t n;

		fill(in, sizeof(in), 4, &rng);
		n = payload_compress((enum payload_codec)codec, 3, in, sizeof(in), stored, &used);
		assert_int_equal(used, codec);
		assert_int_equal(payload_decompress(used, stored, n, out, sizeof(in) - 1), -EBADMSG);
		assert_int_equal(payload_decompress(used, stored, n, out, sizeof(in) + 1), -EBADMSG);
		assert_int_equal(payload_decompress(used, stored, n - 1, out, sizeof(in)), -EBADMSG);
		assert_int_equal(payload_decompress(used, stored, 0, out, sizeof(in)), -EBADMSG);
		assert_int_equal(payload_decompress(used, stored, n, out, n - 1), -EBADMSG);
		assert_int_equal(payload_decompress(used, stored, n, out, CHUNK_BYTES + 1), -EBADMSG);
	}
	assert_int_equal(payload_decompress(CODEC_ZSTD + 1, "abcd", 4, &rng, 4), -EBADMSG);
}

static void test_damaged_payloads_never_reach_past_the_buffers(void **state)
{
	unsigned int rng = seed;

	for (unsigned int round = 0; round < 2000; round++) {
		int codec = CODEC_LZ4 + (int)(round & 1);
		uint32_t len = 512 * (1 + (uint32_t)rand_r(&rng) % 16);
		uint8_t *in = malloc(len), *stored = malloc(len), *out = malloc(len), used, *exact;
		uint32_t n;

		fill(in, len, 8, &rng);
		n = payload_compress((enum payload_codec)codec, 1, in, len, stored, &used);
		for (unsigned int i = 0; i < 3; i++)
			stored[(uint32_t)rand_r(&rng) % n] ^= (uint8_t)rand_r(&rng);
		exact = malloc(n);
		memcpy(exact, stored, n);
		(void)!payload_decompress(used, exact, n, out, len);
		free(in);
		free(stored);
		free(exact);
		free(out);
	}
}

static void *many_round_trips(void *arg)
{
	unsigned int rng = seed + (unsigned int)(uintptr_t)arg;

	for (unsigned int i = 0; i < 200; i++)
		round_trip((enum payload_codec)(i % 3), 4096, 4, &rng);
	return NULL;
}

static void test_threads_do_not_disturb_each_other(void **state)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_round_trips, (void *)i), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checksums_are_those_of_xxh3),
		cmocka_unit_test(test_every_codec_gives_back_what_it_took),
		cmocka_unit_test(test_what_does_not_shrink_is_stored_as_it_is),
		cmocka_unit_test(test_wrong_lengths_are_refused),
		cmocka_unit_test(test_damaged_payloads_never_reach_past_the_buffers),
		cmocka_unit_test(test_threads_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests_name("payload", tests, print_seed, NULL);
}
