/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"

#include "wallclock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS 256u

/* Two addresses in one slot take turns; a bounded table cannot do better, and
 * an attacker with many addresses is limited by the number of slots. */
struct slot {
	char address[48];
	uint64_t since_us;
	unsigned int count;
};

struct attempts {
	pthread_mutex_t lock;
	struct slot slots[SLOTS];
};

struct attempts *attempts_new(void)
{
	struct attempts *a = calloc(1, sizeof(*a));

	if (a)
		pthread_mutex_init(&a->lock, NULL);
	return a;
}

void attempts_free(struct attempts *a)
{
	if (!a)
		return;
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static unsigned int slot_number(const char *address)
{
	uint32_t hash = 2166136261u;

	while (*address)
		hash = (hash ^ (uint8_t)*address++) * 16777619u;
	return hash % SLOTS;
}

bool attempts_failed(struct attempts *a, const char *address, uint64_t now_us)
{
	struct slot *s = &a->slots[slot_number(address)];
	bool too_many;

	pthread_mutex_lock(&a->lock);
	if (strcmp(s->address, address) || now_us - s->since_us > ATTEMPTS_PERIOD_S * USEC_PER_SEC) {
		snprintf(s->address, sizeof(s->address), "%s", address);
		s->since_us = now_us;
		s->count = 0;
	}
	too_many = ++s->count > ATTEMPTS_MOST;
	pthread_mutex_unlock(&a->lock);
	return too_many;
}
