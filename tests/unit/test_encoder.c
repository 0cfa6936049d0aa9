// SPDX-License-Identifier: Apache-2.0
/* Which codec the agent chooses by itself. */
#include "encoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const enum payload_codec codecs[] = { CODEC_RAW, CODEC_LZ4, CODEC_ZSTD };

static void a_link_that_is_the_bottleneck_is_compressed_for_and_the_harder_the_slower_it_is(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
		assert_int_equal(encoder_codec_for(codecs[i], 0, true), CODEC_ZSTD);
		assert_int_equal(encoder_codec_for(codecs[i], 10 * MIB, true), CODEC_ZSTD);
		assert_int_equal(encoder_codec_for(codecs[i], 110 * MIB, true), CODEC_LZ4);
	}
}

static void a_fast_link_is_never_compressed_for_although_it_takes_no_more(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
		assert_int_equal(encoder_codec_for(codecs[i], 500 * MIB, true), CODEC_RAW);
		assert_int_equal(encoder_codec_for(codecs[i], 500 * MIB, false), CODEC_RAW);
	}
}

static void a_link_that_would_take_more_changes_nothing(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++)
		assert_int_equal(encoder_codec_for(codecs[i], 50 * MIB, false), codecs[i]);
}

/* The same link, seen through each codec in turn: what is compressed leaves as much of it as raw data did. */
static void the_choice_comes_to_rest(void **state)
{
	for (uint64_t rate = MIB; rate < 1000 * MIB; rate += MIB) {
		enum payload_codec first = encoder_codec_for(CODEC_RAW, rate, true);

		assert_int_equal(encoder_codec_for(first, rate, true), first);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_link_that_is_the_bottleneck_is_compressed_for_and_the_harder_the_slower_it_is),
		cmocka_unit_test(a_fast_link_is_never_compressed_for_although_it_takes_no_more),
		cmocka_unit_test(a_link_that_would_take_more_changes_nothing),
		cmocka_unit_test(the_choice_comes_to_rest),
	};

	return cmocka_run_group_tests_name("encoder", tests, NULL, NULL);
}
