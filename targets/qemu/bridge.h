/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bridge - a machine's network cards as ports of bridges of this machine.
 *
 * Each card is given a tap, which is a port of its bridge for as long as somebody has its
 * descriptor open and no longer: whoever made it closes it once qemu has it, and with qemu, however
 * that ends, tap and port are gone.  Making one takes CAP_NET_ADMIN; having one takes nothing.
 */
#ifndef GODWIT_QEMU_BRIDGE_H
#define GODWIT_QEMU_BRIDGE_H

#include "base.h"
#include "hardware.h"
#include "message.h"

struct bridge_ports {
	int fds[HARDWARE_CARDS_MAX]; /* of the taps, one a card; close-on-exec */
	unsigned int count;
};

/* Of @bridges (hardware_bridge_of()): is each there that a machine of @count cards has a card on, and are there taps?
 * -errno with what is missing for @machine, a name for people. */
_must_check_ int bridge_check(const char *bridges, unsigned int count, const char *machine, struct fault *ret_fault);

/* A port for each of @count cards, by their @macs, of its bridge.  The caller's, until bridge_close_ports(); -errno
 * with the bridge: none is left. */
_must_check_ int bridge_open_ports(const char *bridges, const char *const *macs, unsigned int count,
				   const char *machine, struct bridge_ports *ret, struct fault *ret_fault);

/* In a child that is about to become qemu: it keeps them. */
_must_check_ int bridge_hand_on(const struct bridge_ports *p);

void bridge_close_ports(struct bridge_ports *p);

#endif
