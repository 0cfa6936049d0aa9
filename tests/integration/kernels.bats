# SPDX-License-Identifier: Apache-2.0
# Capture on two kernels of the matrix (tests/vm/kernel-matrix runs all of them):
# Debian's oldest, which has no bpf_loop, and the one that most have.
load lib
load launch
setup() {
	test_begin
	needs qemu-system-x86_64 fio mke2fs dmsetup sg_dd busybox
}
teardown() { test_end; }

@test "capture is exact on the oldest kernel, on every kind of disk" { matrix_of bullseye dirty-map; }
@test "capture is exact on the common kernel, on every kind of disk" { matrix_of bookworm payload; }

matrix_of() { # SUITE MODE: what is to be chosen there by itself
	local cache=${GODWIT_KERNELS:-$BUILD/kernels}
	"$VM/fetch-kernels" "$cache" "$1" >/dev/null 2>"$T/fetch.out" ||
		skip "no kernel to boot: $(tail -n 1 "$T/fetch.out")"
	"$VM/kernel-matrix" "$BUILD" "$cache" "$1" >"$T/matrix.out" 2>&1 || { cat "$T/matrix.out"; fail "$1"; return 1; }
	say "$(tail -n 2 "$T/matrix.out")"
	[ "$(grep -c "mode=$2 equal" "$T/matrix.out")" -ge 4 ] || { cat "$T/matrix.out"; fail "not in mode $2"; return 1; }
	grep -q "disk=scsi-passthrough mode=$2 noticed" "$T/matrix.out" || { cat "$T/matrix.out"; fail "passthrough"; return 1; }
	grep -q '^6 passed, 0 failed' "$T/matrix.out" || { cat "$T/matrix.out"; fail "not five kinds of disk"; }
}
