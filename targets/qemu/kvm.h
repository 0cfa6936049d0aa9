/* SPDX-License-Identifier: Apache-2.0 */
/* kvm - does hardware virtualisation run a guest here?  Found out by running one:
 * a device node that opens is no proof. */
#ifndef GODWIT_KVM_H
#define GODWIT_KVM_H

#include "base.h"

/* "kvm" or "tcg".  The first call may take some seconds where /dev/kvm is there
 * and does not work; the answer is kept in @cache_path for this boot. */
const char *kvm_accelerator(const char *qemu, const char *cache_path);

#endif
