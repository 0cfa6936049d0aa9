# SPDX-License-Identifier: Apache-2.0
# The judges themselves: each finds what it is there to find.
load lib
setup() { test_begin; }
teardown() { test_end; }

# written: a ledger's run on $T/disk, its time in $AT.
written() {
	truncate -s 8M "$T/disk"
	ledger write --log "$T/log" --threads 4 --seconds 1 --rate 2000 --seed "$GODWIT_SEED" "$@" "$T/disk"
	AT=$(now_us)
}
check() { ledger check --log "$T/log" --at "$AT" "$T/disk" "$@"; }

@test "the ledger agrees with the disk it wrote" {
	written
	check
}

@test "the ledger misses a write that is not there, and says which" {
	written
	tail=$(ledger tail "$T/disk" | cut -d' ' -f1)
	cp "$T/disk" "$T/before"
	ledger write --log "$T/log" --threads 1 --seconds 1 --rate 50 --seed 1 "$T/disk"
	AT=$(now_us)
	cp "$T/before" "$T/disk"
	run -1 check
	grep -Eq "another run|not in the log|missing is write" <<<"$output"
}

@test "the ledger finds a lost sector, a torn one and one in another's place" {
	written
	cp "$T/disk" "$T/good"
	dd if=/dev/zero of="$T/disk" bs=512 count=1 conv=notrunc status=none
	run -1 check
	grep -q "sector 0: zeroes, missing is write" <<<"$output"
	cp "$T/good" "$T/disk"
	printf x | dd of="$T/disk" bs=1 seek=300 conv=notrunc status=none
	run -1 check
	grep -q "sector 0: torn" <<<"$output"
	cp "$T/good" "$T/disk"
	dd if="$T/good" of="$T/disk" bs=512 count=1 seek=1 conv=notrunc status=none
	run -1 check
	grep -q "sector 1: torn, misplaced" <<<"$output"
}

@test "the ledger finds what is from the future" {
	before=$(now_us)
	written
	AT=$before
	run -1 check
	grep -q "from the future" <<<"$output"
}

@test "the ledger finds a twin whose first is missing" {
	truncate -s 8M "$T/disk" "$T/twin"
	ledger write --log "$T/log" --threads 2 --seconds 1 --rate 1000 "$T/disk" "$T/twin"
	AT=$(now_us)
	check "$T/twin"
	dd if=/dev/zero of="$T/disk" bs=4096 count=4 conv=notrunc status=none
	run -1 check "$T/twin"
	grep -q "the twin is here" <<<"$output"
}

@test "fsload finds a file that lost a cell, one that is gone and one that should be" {
	mkdir "$T/fs"
	fsload run --log "$T/fslog" --dir "$T/fs" --threads 1 --files 10 --direct 0 --fsync 50 --rate 2000 --seconds 1 \
		--seed "$GODWIT_SEED"
	AT=$(now_us)
	fs() { fsload check --log "$T/fslog" --dir "$T/fs" --at "$AT"; }
	fs
	cp -a "$T/fs" "$T/good"
	judged=0
	for f in "$T"/fs/t0/*; do
		[ -s "$f" ] || continue
		printf x | dd of="$f" bs=1 seek=0 conv=notrunc status=none
		fs >"$T/out" || { judged=1; grep -q "cell 0 has damage" "$T/out"; }
		cp "$T/good/t0/${f##*/}" "$f"
	done
	[ $judged = 1 ]
	rm "$T"/fs/t0/*
	run -1 fs
	grep -q "No such file" <<<"$output"
}

@test "imgdiff finds a single sector and says which write is there" {
	written
	cp "$T/disk" "$T/other"
	imgdiff "$T/disk" "$T/other"
	dd if=/dev/zero of="$T/other" bs=512 count=1 seek=9 conv=notrunc status=none
	run -1 imgdiff "$T/disk" "$T/other"
	grep -Eq "sector 9: write [0-9]+ of .* \| zeroes" <<<"$output"
	truncate -s 9M "$T/other"
	run -1 imgdiff "$T/disk" "$T/other"
}

# Refused is an answer, too.
reachable() { in_ns timeout 1 bash -c "echo >/dev/tcp/$NEAR/9" 2>/dev/null || [ $? != 124 ]; }

@test "the library's disks, link and clean-up leave nothing behind" {
	disk_make D 32M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	link_make
	link_rate 8mbit
	reachable
	link_cut
	must_fail reachable
	link_mend
	link_rate full
	wait_until 10 "the link" reachable
	load_start ledger write --log "$T/log" "$T/disk"
	folder=$T ns=$NS
	test_end
	[ ! -e "$folder" ]
	! losetup -a | grep -q "$folder" || false
	[ ! -e "/run/netns/$ns" ]
	T=
}
