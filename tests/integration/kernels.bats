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

@test "capture is exact on the oldest kernel, on every kind of disk, and an agent there says that it has the dirty map alone" {
	matrix_of bullseye dirty-map
	the_matrix_says 6 "agent mode=dirty-map equal"
	the_matrix_says 1 "disk=all agent mode=dirty-map verified equal"
	the_matrix_says 1 "^15 passed, 0 failed"
}
@test "capture is exact on the common kernel, on every kind of disk" {
	matrix_of bookworm payload --tracker-only # an agent has whole machines with it, tests/vm/machines.bats
	the_matrix_says 1 "^8 passed, 0 failed"
}

matrix_of() { # SUITE MODE [OPTION]: what the tracker is to choose there by itself
	local cache=${GODWIT_KERNELS:-$BUILD/kernels}
	"$VM/fetch-kernels" "$cache" "$1" >/dev/null 2>"$T/fetch.out" ||
		skip "no kernel to boot: $(tail -n 1 "$T/fetch.out")"
	"$VM/kernel-matrix" ${3-} "$BUILD" "$cache" "$1" >"$T/matrix.out" 2>&1 || { cat "$T/matrix.out"; fail "$1"; return 1; }
	say "$(tail -n 2 "$T/matrix.out")"
	# virtio, SCSI, NVMe, and a volume over each
	the_matrix_says 6 "disk=[a-z-]* mode=$2 equal" "disk=virtio-marks"
	the_matrix_says 1 "disk=virtio-marks mode=dirty-map equal"
	the_matrix_says 1 "disk=scsi-passthrough mode=$2 noticed"
}
the_matrix_says() { # TIMES WHAT [BUT]: lines with it, but those with BUT
	local times
	times=$(grep -v -- "${3:-no such line}" "$T/matrix.out" | grep -c -- "$2")
	[ "$times" = "$1" ] || { cat "$T/matrix.out"; fail "$times times, not $1: $2"; }
}
