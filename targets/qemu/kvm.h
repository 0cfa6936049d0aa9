/* SPDX-License-Identifier: Apache-2.0 */
/* kvm - does hardware virtualisation run a guest here?  Found out by running one:
 * a device node that opens is no proof. */
#ifndef GODWIT_KVM_H
#define GODWIT_KVM_H

#include "base.h"

#define QEMU	  "qemu-system-x86_64"
#define KVM_CACHE "/run/godwit/kvm"

/* "kvm" or "tcg".  The first call may take some seconds where /dev/kvm is there and does not
 * work, or while another process finds it out; an answer that is sure is kept in @cache_path
 * for this boot. */
const char *kvm_accelerator(const char *qemu, const char *cache_path);

#endif
