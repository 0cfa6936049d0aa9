/* SPDX-License-Identifier: Apache-2.0 */
#include "xxh3.h"
#include "xxh3-variant.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>
#include <cmocka.h>

#define BYTES (128 * KIB)
#define ROUNDS 3000

static unsigned int seed;
static uint8_t bytes[BYTES];

static int print_seed(void **state)
{
	const char *env = getenv("GODWIT_SEED");
	unsigned int rng;

	rng = seed = env ? (unsigned int)strtoul(env, NULL, 0) : (unsigned int)getpid();
	print_message("GODWIT_SEED=%u\n", seed);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)rand_r(&rng);
	return 0;
}

/* Of all lengths at which the algorithm is another, and some more. */
static size_t some_length(unsigned int i, unsigned int *rng)
{
	return i < 600 ? i : (size_t)rand_r(rng) % (i % 4 ? 8 * KIB : BYTES - 64);
}

static void check(const struct xxh3_variant *v)
{
	unsigned int rng = seed;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		size_t len = some_length(i, &rng), first = len ? (size_t)rand_r(&rng) % len : 0;
		const uint8_t *at = bytes + rand_r(&rng) % 64;
		uint64_t hash[2], salt = (uint64_t)rand_r(&rng) << 32 | i;
		XXH128_hash_t wide = XXH3_128bits_withSeed(at, len, salt);

		assert_true(v->one(at, len) == XXH3_64bits(at, len));
		assert_true(v->two(at, first, at + first, len - first) == XXH3_64bits(at, len));
		v->wide(at, len, salt, hash);
		assert_true(hash[0] == wide.low64 && hash[1] == wide.high64);
	}
}

static void test_the_plain_variant_gives_what_the_library_gives(void **state)
{
	check(&xxh3_plain);
}

static void test_the_variant_for_avx2_gives_what_the_library_gives(void **state)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2")) {
		check(&xxh3_avx2);
		return;
	}
#endif
	print_message("this processor has no AVX2\n");
	skip();
}

static void test_the_one_that_is_chosen_gives_what_the_library_gives(void **state)
{
	struct xxh3_variant chosen = { xxh3_64, xxh3_64_of_two, xxh3_128 };

	check(&chosen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_plain_variant_gives_what_the_library_gives),
		cmocka_unit_test(test_the_variant_for_avx2_gives_what_the_library_gives),
		cmocka_unit_test(test_the_one_that_is_chosen_gives_what_the_library_gives),
	};

	return cmocka_run_group_tests(tests, print_seed, NULL);
}
